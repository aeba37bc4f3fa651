"""The one table of what can be asked for, with the right that each needs; serves two entrances.

The control socket has all of it at `/NAME`, the page's HTTP API a part of it at `api/NAME`. Rights
are checked here and nowhere else, before anything of the request is read.
"""

import asyncio
import contextlib
import inspect
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from ttybridge.core.people import Actor, clean_name
from ttybridge.core.permissions import Action, Entrance, may
from ttybridge.errors import AccessDenied, ConfigError, TtyBridgeError
from ttybridge.model import Role
from ttybridge.web.operations import Answer, Operations, Output

log = logging.getLogger(__name__)

MAX_LIFE_S = 30 * 86400
"""Longest time that a link can be opened, in seconds."""

SHARE_LIFE_S = 86400.0
"""How long a link for others can be opened when nothing is said, in seconds."""

MAX_USES = 10_000
"""Most browsers that a link with a limit lets in."""

MAX_WHO, MAX_LABEL = 200, 200
"""Longest name of somebody, and longest label of a marker, in characters."""

Asked = Mapping[str, Any]
"""The body of a request."""


@dataclass(frozen=True, slots=True)
class Route:
    """Something that can be asked for."""

    method: str
    """GET or POST."""
    path: str
    """Where, with a slash at its front."""
    action: Action
    """The right that it needs."""
    run: Callable[[Operations, Actor, Asked], Answer | Output | Awaitable[Answer]]
    """Does it; only the control socket can hand on output."""
    is_local: bool = False
    """Whether the control socket alone offers it."""


def check(actor: Actor, action: Action) -> None:
    """Refuse what somebody may not ask for at the entrance that was taken.

    Raises:
        AccessDenied: It is not allowed (403).
    """
    if not may(actor.role, action, actor.entrance):
        whose = "An" if actor.role.value[0] in "aeiou" else "A"
        raise AccessDenied(
            f"{whose} {actor.role.value} may not {_MAY_NOT.get(action, action.value)}.",
            status=403,
            hint="Ask an owner.",
        )


async def answer(
    route: Route,
    operations: Operations | None,
    actor: Callable[[], Actor],
    read: Callable[[], Awaitable[bytes]],
) -> Answer | Output:
    """Do what is asked for, if the one who asks may.

    Args:
        route: What.
        operations: The bridge; None while it starts.
        actor: Says who asks; may refuse with AccessDenied.
        read: Reads the body, after the right to ask has been checked.

    Raises:
        TtyBridgeError: It is refused, wrong, or cannot be done; see `status_of`.
    """
    asking = actor()
    check(asking, route.action)
    if operations is None:
        raise AccessDenied("The bridge is still starting.", status=503, hint="Try again.")
    asked = parse_body(await read()) if route.method == "POST" else {}
    found = route.run(operations, asking, asked)
    return await found if inspect.isawaitable(found) else found


def refusal(error: Exception) -> web.Response:
    """Return the answer that says why something was not done."""
    if isinstance(error, web.HTTPException):
        return said(error.status, f"{error.reason}.")
    if isinstance(error, ConfigError):
        return said(400, " ".join(error.problems))
    if isinstance(error, AccessDenied):
        return said(error.status, error.message, error.hint)
    if isinstance(error, TtyBridgeError):
        return said(409, error.message, error.hint)
    log.error("a request to the bridge failed", exc_info=error)
    return said(500, "Something went wrong in the bridge.", "Its log says what.")


def said(status: int, error: str, hint: str = "") -> web.Response:
    """Return an error as JSON."""
    return web.json_response({"error": error, "hint": hint}, status=status)


def parse_body(data: bytes) -> dict[str, Any]:
    """Return the object in a body; nothing at all stands for an empty one.

    Raises:
        ConfigError: It is something else.
    """
    try:
        found = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(["The body is not a JSON object."])
    return found


def _people(operations: Operations, actor: Actor, _asked: Asked) -> Answer:
    return operations.people(actor)


async def _grant(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    await operations.grant(actor, _who(asked), _role(asked, None))
    return {}


async def _kick(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    return {"note": await operations.kick(actor, _who(asked))}


async def _admit(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    await operations.admit(actor, _who(asked))
    return {}


async def _refuse(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    await operations.refuse(actor, _who(asked))
    return {}


async def _lock(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    await operations.lock(actor, on=_switch(asked, "on"))
    return {}


async def _approve(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    await operations.approve(actor, on=_switch(asked, "on"))
    return {}


async def _share(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    role = _role(asked, Role.VIEWER)
    name = asked.get("name", "")
    if not isinstance(name, str):
        raise ConfigError(["name is a text."])
    life_s, uses = _life_s(asked), _uses(asked)
    if uses is None and role is not Role.VIEWER:
        uses = 1  # a link that lets people type goes to one of them
    return await operations.share(
        actor,
        role,
        name=clean_name(name),
        life_s=SHARE_LIFE_S if life_s is None else life_s,
        uses=uses,
    )


def _links(operations: Operations, actor: Actor, _asked: Asked) -> Answer:
    return operations.links(actor)


async def _revoke(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    await operations.revoke(actor, _text(asked, "link", MAX_WHO))
    return {}


def _recordings(operations: Operations, actor: Actor, _asked: Asked) -> Answer:
    return operations.recordings(actor)


async def _record(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    if not _switch(asked, "on"):
        return await operations.stop_recording(actor)
    chosen = asked.get("format")
    if chosen not in (None, "v2", "v3"):
        raise ConfigError(["format is v2 or v3."])
    with_input = None if asked.get("input") is None else _switch(asked, "input")
    file = None
    if asked.get("file") is not None:
        file = Path(_text(asked, "file", 4096))
        if actor.entrance is not Entrance.CONTROL:
            raise ConfigError(["file can be chosen on the bridge's machine only: leave it out."])
        if not file.is_absolute() or "\0" in str(file):
            raise ConfigError(["file is an absolute path."])
    return await operations.record(actor, file=file, format=chosen, with_input=with_input)


async def _marker(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    await operations.marker(actor, _text(asked, "label", MAX_LABEL))
    return {}


def _audit(operations: Operations, actor: Actor, _asked: Asked) -> Answer:
    return operations.audit(actor)


def _status(operations: Operations, actor: Actor, _asked: Asked) -> Answer:
    return operations.status(actor)


def _link(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    is_framed = "frame" in asked and _switch(asked, "frame")
    life_s, uses = _life_s(asked), _uses(asked)
    url = operations.link(actor, is_framed=is_framed, life_s=life_s, uses=uses)
    return {"url": url, "query": "?" + url.partition("?")[2]}


def _hosts(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    operations.serve_host(actor, _text(asked, "url"))
    return {}


async def _environment(operations: Operations, actor: Actor, asked: Asked) -> Answer:
    to_set, to_unset = asked.get("set", {}), asked.get("unset", [])
    if not (isinstance(to_set, dict) and isinstance(to_unset, list)):
        raise ConfigError(["set is an object of texts, unset a list of names."])
    changes: dict[bytes, bytes | None] = {}
    for name, value in [*to_set.items(), *((name, None) for name in to_unset)]:
        if not isinstance(name, str) or not (value is None or isinstance(value, str)):
            raise ConfigError(["Names and values of variables are texts."])
        changes[_bytes(name)] = None if value is None else _bytes(value)
    was_set, was_unset, skipped = await operations.update_environment(actor, changes)
    return {"set": was_set, "unset": was_unset, "skipped": skipped}


def _run(operations: Operations, actor: Actor, asked: Asked) -> Output:
    return operations.run(actor, _text(asked, "text"))


def _stop(operations: Operations, actor: Actor, _asked: Asked) -> Answer:
    # Not before this has been answered.
    asyncio.get_running_loop().call_later(0.05, operations.stop, actor)
    return {}


ROUTES = (
    Route("GET", "/people", Action.SEE_PEOPLE, _people),
    Route("POST", "/grant", Action.GIVE_KEYBOARD, _grant),
    Route("POST", "/kick", Action.REMOVE, _kick),
    Route("POST", "/admit", Action.ADMIT, _admit),
    Route("POST", "/refuse", Action.ADMIT, _refuse),
    Route("POST", "/lock", Action.ADMIT, _lock),
    Route("POST", "/approve", Action.ADMIT, _approve),
    Route("POST", "/share", Action.SHARE_VIEWER, _share),
    Route("GET", "/links", Action.SHARE, _links),
    Route("POST", "/revoke", Action.SHARE, _revoke),
    Route("GET", "/recordings", Action.REPLAY, _recordings),
    Route("POST", "/record", Action.RECORD, _record),
    Route("POST", "/marker", Action.RECORD, _marker),
    Route("GET", "/audit", Action.MANAGE, _audit),
    Route("GET", "/status", Action.MANAGE, _status),
    Route("POST", "/link", Action.MANAGE, _link),
    Route("POST", "/stop", Action.MANAGE, _stop),
    Route("POST", "/hosts", Action.MANAGE, _hosts, is_local=True),
    Route("POST", "/environment", Action.MANAGE, _environment, is_local=True),
    Route("POST", "/run", Action.RUN, _run, is_local=True),
)
"""Everything that can be asked for. Links for editors and owners need more: `may_share`."""

_MAY_NOT = {
    Action.GIVE_KEYBOARD: "give the keyboard",
    Action.REMOVE: "remove anybody",
    Action.ADMIT: "let people in, or keep them out",
    Action.SHARE_VIEWER: "make links",
    Action.SHARE: "see links, or end them",
    Action.RECORD: "record",
    Action.REPLAY: "see recordings",
    Action.MANAGE: "manage the bridge",
    Action.RUN: "run that here",
}
"""Actions, as a refusal names them."""


def _text(asked: Asked, name: str, limit: int | None = None) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError([f"{name} is missing: give a text."])
    if limit is not None and len(value) > limit:
        raise ConfigError([f"{name} is longer than {limit} characters."])
    return value


def _who(asked: Asked) -> str:
    return _text(asked, "who", MAX_WHO).strip()


def _switch(asked: Asked, name: str) -> bool:
    value = asked.get(name)
    if not isinstance(value, bool):
        raise ConfigError([f"{name} is true or false."])
    return value


def _role(asked: Asked, default: Role | None) -> Role:
    value = asked.get("role", default)
    if isinstance(value, Role):
        return value
    with contextlib.suppress(ValueError):
        return Role(value)
    raise ConfigError(["role is viewer, editor or owner."])


def _life_s(asked: Asked) -> float | None:
    value = asked.get("lifeS")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (value is None or (is_number and 0 < value <= MAX_LIFE_S)):
        raise ConfigError(["lifeS is a number of seconds, 30 days at most."])
    return value


def _uses(asked: Asked) -> int | None:
    value = asked.get("uses")
    if not (value is None or (type(value) is int and 1 <= value <= MAX_USES)):
        raise ConfigError([f"uses is a whole number from 1 to {MAX_USES}."])
    return value


def _bytes(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        raise ConfigError(["A variable has a character that no environment can hold."]) from None
