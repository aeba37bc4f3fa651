"""The control socket: the running bridge, for commands of the same user on the same machine.

HTTP with JSON on a UNIX socket in a private folder; who reaches it is this user or root. It is what
`ttybridge status`, `ttybridge link` and the notebook extension speak to: docs/control.md.
"""

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from ttybridge.errors import ConfigError, TtyBridgeError

log = logging.getLogger(__name__)

SOCKET = "control"
"""Name of the socket in the bridge's private folder."""

MAX_BODY_BYTES = 16 << 20
"""Largest request: a whole environment, or the text of a cell."""

MAX_LINE_CHARS = 64 << 10
"""Most characters of output in one line of an answer; escaped, each may take twelve bytes."""

SHUTDOWN_TIMEOUT_S = 1.0
"""Time for requests that still run when the bridge stops, in seconds."""


class Operations(Protocol):
    """What the bridge can be asked for; each method raises TtyBridgeError with a sentence."""

    def status(self) -> Mapping[str, object]:
        """Return what the bridge says about itself."""

    def link(self, *, is_framed: bool, life_s: float | None, uses: int | None) -> str:
        """Return a new link to the page."""

    def serve_host(self, url: str) -> None:
        """Serve another public address from now on."""

    async def update_environment(
        self, changes: Mapping[bytes, bytes | None]
    ) -> tuple[int, int, list[str]]:
        """Change variables for new windows and logins.

        Returns:
            How many were set, how many were removed, and the names that are left alone.
        """

    def run(self, text: str) -> contextlib.AbstractAsyncContextManager[AsyncIterator[str | int]]:
        """Run a text in the shared pane; gives its output, piece by piece, and its exit status."""

    def stop(self) -> None:
        """Stop the bridge."""


@contextlib.asynccontextmanager
async def control_socket(folder: Path, operations: Operations) -> AsyncIterator[Path]:
    """Listen on `folder/control`; give its path.

    Args:
        folder: A folder that only this user can enter.
        operations: What is asked for.
    """
    control = _Control(operations)
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_say_errors])
    app.router.add_get("/status", control.status)
    app.router.add_post("/link", control.link)
    app.router.add_post("/hosts", control.hosts)
    app.router.add_post("/environment", control.environment)
    app.router.add_post("/run", control.run)
    app.router.add_post("/stop", control.stop)
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S, handler_cancellation=True
    )
    await runner.setup()
    path = folder / SOCKET
    try:
        await web.UnixSite(runner, str(path)).start()
        path.chmod(0o600)
        yield path
    finally:
        await runner.cleanup()
        with contextlib.suppress(OSError):
            path.unlink()


@web.middleware
async def _say_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except ConfigError as error:
        return web.json_response({"error": " ".join(error.problems), "hint": ""}, status=400)
    except TtyBridgeError as error:
        return web.json_response({"error": error.message, "hint": error.hint}, status=409)
    except web.HTTPException as error:
        return web.json_response({"error": f"{error.reason}.", "hint": ""}, status=error.status)
    except Exception:
        log.exception("a request on the control socket failed")
        message = {"error": "Something went wrong in the bridge.", "hint": "Its log says what."}
        return web.json_response(message, status=500)
    return response


class _Control:
    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def status(self, _request: web.Request) -> web.Response:
        return web.json_response(self._operations.status())

    async def link(self, request: web.Request) -> web.Response:
        asked = await _body(request)
        life_s, uses = asked.get("lifeS"), asked.get("uses")
        if not (life_s is None or (_is_number(life_s) and 0 < life_s <= 30 * 86400)):
            raise ConfigError(["lifeS is a number of seconds, 30 days at most."])
        if not (uses is None or (type(uses) is int and 1 <= uses <= 10_000)):
            raise ConfigError(["uses is a whole number from 1 to 10000."])
        if not isinstance(asked.get("frame", False), bool):
            raise ConfigError(["frame is true or false."])
        url = self._operations.link(is_framed=asked.get("frame") is True, life_s=life_s, uses=uses)
        return web.json_response({"url": url, "query": "?" + url.partition("?")[2]})

    async def hosts(self, request: web.Request) -> web.Response:
        self._operations.serve_host(_text(await _body(request), "url"))
        return web.json_response({})

    async def environment(self, request: web.Request) -> web.Response:
        asked = await _body(request)
        to_set, to_unset = asked.get("set", {}), asked.get("unset", [])
        if not (isinstance(to_set, dict) and isinstance(to_unset, list)):
            raise ConfigError(["set is an object of texts, unset a list of names."])
        changes: dict[bytes, bytes | None] = {}
        for name, value in [*to_set.items(), *((name, None) for name in to_unset)]:
            if not isinstance(name, str) or not (value is None or isinstance(value, str)):
                raise ConfigError(["Names and values of variables are texts."])
            changes[_bytes(name)] = None if value is None else _bytes(value)
        was_set, was_unset, skipped = await self._operations.update_environment(changes)
        return web.json_response({"set": was_set, "unset": was_unset, "skipped": skipped})

    async def run(self, request: web.Request) -> web.StreamResponse:
        text = _text(await _body(request), "text")
        async with self._operations.run(text) as output:
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            try:
                async for item in output:
                    for message in _messages(item):
                        await response.write(_line(message))
            except TtyBridgeError as error:
                await response.write(_line({"error": error.message, "hint": error.hint}))
            await response.write_eof()
        return response

    async def stop(self, _request: web.Request) -> web.Response:
        # Not before this has been answered.
        asyncio.get_running_loop().call_later(0.05, self._operations.stop)
        return web.json_response({})


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(["The body is not a JSON object."])
    return found


def _text(asked: Mapping[str, object], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigError([f"{name} is missing: give a text."])
    return value


def _bytes(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        raise ConfigError(["A variable has a character that no environment can hold."]) from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _messages(item: str | int) -> Iterator[Mapping[str, object]]:
    """Yield the messages for an item: a line of JSON is read whole, so output is cut."""
    if isinstance(item, int):
        yield {"status": item}
        return
    for at in range(0, len(item), MAX_LINE_CHARS):
        yield {"output": item[at : at + MAX_LINE_CHARS]}


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"
