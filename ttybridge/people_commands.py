"""The commands about the people of a bridge that runs: who, share, grant, kick, lock and others."""

import json
import re
import shlex
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO
from urllib.parse import urlsplit

from ttybridge import readers
from ttybridge import subcommands as sub
from ttybridge.arguments import Arguments
from ttybridge.client.control import Control
from ttybridge.client.people import Here, SharedLink, Somebody
from ttybridge.config import Config
from ttybridge.core.people import clean_name
from ttybridge.errors import ConfigError, TtyBridgeError
from ttybridge.running import one_bridge, show_qr
from ttybridge.settings import did_you_mean

_ROLES = ("viewer", "editor", "owner")
_LINK_ID = re.compile(r"l[1-9][0-9]*")
_UNNAMED = re.compile(r"(?:owner|guest) c?([0-9-]+)", re.IGNORECASE)
_MAX_LIFE_S = 30 * 86400
_MAX_ADDRESS = 60
_NOW = {"viewer": "watches", "editor": "may type", "owner": "is an owner"}


def run(
    given: Arguments, config: Config, environment: Mapping[bytes, bytes], out: TextIO, err: TextIO
) -> int:
    """Run one of the commands; returns the exit status.

    Args:
        given: The command line.
        config: The options; a label chooses the bridge.
        environment: The environment, which says where bridges are.
        out: Where what was asked for is printed.
        err: Where the rest is.

    Raises:
        TtyBridgeError: No such bridge runs, or it refuses.
        ConfigError: A value is wrong.
    """
    life_s, uses, role = _life_s(given), _uses(given), _role(given)
    control = one_bridge(config, environment)
    who = " ".join((*given.words, *given.more))
    choose = f" --label {shlex.quote(config.label)}" if config.label else ""
    match given.subcommand:
        case sub.WHO | sub.LINKS if "--json" in given.switches:
            out.write(as_json(control.answer("people" if given.subcommand is sub.WHO else "links")))
        case sub.WHO:
            out.writelines(_who_lines(control.people(), choose))
        case sub.SHARE:
            name = given.values.get("--name", "")
            made = control.share(role or "viewer", name=name, life_s=life_s, uses=uses)
            out.write(made.url + "\n")
            out.flush()
            err.write(f"{_shared(made)} To end it: ttybridge revoke {made.id}{choose}\n")
            if _is_local(made.url):
                err.write(
                    "Works on this machine only. "
                    "For others, start the bridge with --ngrok or --cloudflared.\n"
                )
            else:
                show_qr(config, made.url)
        case sub.LINKS:
            out.writelines(_link_lines(control.links(), time.time()))
        case _:
            err.write(_done(given, control, who, choose, role) + "\n")
    return 0


def _done(given: Arguments, control: Control, who: str, choose: str, role: str | None) -> str:
    """Do what changes something, and say what has come of it."""
    match given.subcommand:
        case sub.REVOKE if _LINK_ID.fullmatch(who):
            control.revoke(who)
            return f"The link {who} opens nothing any more, and whoever came by it is out."
        case sub.REVOKE | sub.GRANT:
            role = "viewer" if given.subcommand is sub.REVOKE else role or "editor"
            who, called = _found(control, who, ("here", "away"))
            control.grant(who, role)
            return f"{called} {_NOW[role]} now."
        case sub.KICK:
            who, called = _found(control, who, ("here", "away", "waiting"))
            note = control.kick(who)
            chosen = re.sub(r"ttybridge revoke l\d+", lambda found: found[0] + choose, note)
            return f"{called} is out. {chosen}".rstrip()
        case sub.ADMIT:
            who, called = _found(control, who, ("waiting",))
            control.admit(who)
            return f"{called} comes in."
        case sub.REFUSE:
            who, called = _found(control, who, ("waiting",))
            control.refuse(who)
            return f"{called} is turned away."
        case sub.APPROVE:
            control.approve("--off" not in given.switches)
            if "--off" in given.switches:
                return "Newcomers come in at once."
            return f"Newcomers wait until an owner lets them in: ttybridge admit WHO{choose}"
        case _:
            control.lock(given.subcommand is sub.LOCK)
            return (
                "Nobody new comes in." if given.subcommand is sub.LOCK else "People come in again."
            )


def _found(control: Control, who: str, states: Sequence[str]) -> tuple[str, str]:
    """Return the id of somebody, and what to call the person.

    Where it is not clear, the bridge is asked as it was said: it knows whose clients are whose.

    Args:
        control: The bridge.
        who: An id, a name, or what unnamed people are called.
        states: Those that count.

    Raises:
        TtyBridgeError: Somebody has taken the name that another one is called by.
    """
    people = [each for each in control.people().people if each.state in states]
    number = _UNNAMED.fullmatch(who)
    named = [each for each in people if each.name == who]
    unnamed = [each for each in people if number and f"c{number[1]}" == each.id and not each.name]
    found = [each for each in people if each.id == who]
    if not found and named and unnamed:
        ids = ", ".join(each.id for each in (*unnamed, *named))
        raise TtyBridgeError(f"Several are called {who[:40]!r}: {ids}.", hint="Give an id.")
    found = found or named or unnamed
    if len(found) != 1:
        return who, clean_name(who)
    one = found[0]
    return one.id, f"{_name(one)} ({one.id})" if clean_name(one.name) else _name(one)


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", host) is not None


def _role(given: Arguments) -> str | None:
    role = given.values.get("--role")
    if role is not None and role not in _ROLES:
        near = did_you_mean(role, _ROLES)
        raise ConfigError([f"--role {role[:40]!r}: give viewer, editor or owner.{near}"])
    return role


def _life_s(given: Arguments) -> float | None:
    text = given.values.get("--life")
    if text is None:
        return None
    try:
        return readers.seconds(1, _MAX_LIFE_S)(text)
    except ValueError:
        message = f"--life {text[:40]!r}: give a time up to 30d, such as 45m, 8h or 7d."
        raise ConfigError([message]) from None


def _uses(given: Arguments) -> int | None:
    text = given.values.get("--uses")
    if text is None:
        return None
    try:
        return readers.integer(1, 10_000, "a number of browsers")(text)
    except ValueError as error:
        raise ConfigError([f"--uses {text[:40]!r}: {error}"]) from None


def as_json(answer: Mapping[str, object]) -> str:
    r"""Return an answer as JSON to read; what a terminal would not show is escaped.

    >>> print(as_json({"name": "山\x9b2J"}), end="")
    {
      "name": "山\u009b2J"
    }
    """
    text = json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _who_lines(here: Here, choose: str) -> Iterator[str]:
    waiting = [each for each in here.people if each.state == "waiting"]
    present = [each for each in here.people if each.state != "waiting"]
    if waiting:
        yield "These wait to be let in:\n"
        rows = [
            (f"  {each.id}", _name(each), each.role, each.via, _address(each),
             f"ttybridge admit {each.id}{choose}")
            for each in waiting
        ]  # fmt: skip
        yield from table(rows)
        yield "\n"
    if present:
        head = ("ID", "NAME", "ROLE", "HOW", "FROM", "SINCE", "IDLE", "SIZE", "TRIP", "")
        yield from table([head, *(_row(each, choose) for each in present)])
    else:
        yield "Nobody is here.\n"
    if here.locked:
        yield f"Nobody new comes in: ttybridge unlock{choose}\n"
    if here.approve:
        yield f"Newcomers wait to be let in: ttybridge approve --off{choose}\n"
    if here.recording is not None:
        typed = ", with what is typed" if here.recording.get("input") else ""
        yield f"The session is recorded{typed}: ttybridge record stop{choose}\n"


def _row(each: Somebody, choose: str) -> tuple[str, ...]:
    notes = []
    if each.hand:
        notes.append(f"asks for the keyboard: ttybridge grant {each.id}{choose}")
    if each.state == "away":
        notes.append("connection lost")
    if each.given != each.role:
        notes.append(f"came as {each.given}")
    if each.link:
        notes.append(f"link {each.link}")
    return (
        each.id,
        _name(each),
        each.role,
        each.via,
        _address(each),
        short(max(0.0, time.time() - each.since)),
        short(each.idle_s),
        f"{each.cols}x{each.rows}",
        "–" if each.rtt_ms is None else f"{each.rtt_ms:.0f} ms",
        "; ".join(notes),
    )


def _name(each: Somebody) -> str:
    """Return a person's name, or what the page calls somebody without one."""
    word = "Owner" if each.role == "owner" else "Guest"
    return clean_name(each.name) or f"{word} {each.id}"


def _address(each: Somebody) -> str:
    return "".join(c for c in each.address if c.isprintable())[:_MAX_ADDRESS] or "–"


def _link_lines(links: Sequence[SharedLink], now: float) -> Iterator[str]:
    if not links:
        yield "No shared link is open. To make one: ttybridge share\n"
        return
    rows = [("ID", "ROLE", "NAME", "OPENED", "LEFT", "ENDS", "HERE")]
    for each in links:
        left = "any" if each.uses is None else str(each.uses)
        ends = f"in {short(each.ends_at - now)}" if each.ends_at > now else "ended"
        here = " ".join(each.people) or "–"
        name = clean_name(each.name) or "–"
        rows.append((each.id, each.role, name, f"{each.opened}x", left, ends, here))
    yield from table(rows)


def _shared(made: SharedLink) -> str:
    who = clean_name(made.name) or ("viewers" if made.role == "viewer" else f"an {made.role}")
    many = {None: "any number of browsers", 1: "one browser"}.get(made.uses)
    can = {"viewer": "watch", "editor": "type"}.get(made.role, "type, and manage the bridge")
    return (
        f"For {who}, to {can}: {many or f'{made.uses} browsers'}. Ends in "
        f"{short(made.ends_at - time.time() + 0.5)}, with everybody who came by it."
    )


def short(time_s: float) -> str:
    """Say roughly how long something lasts.

    >>> short(7.2), short(90), short(3 * 3600 + 120), short(86400)
    ('7s', '1m', '3h', '24h')
    """
    for unit_s, mark, above in ((86400, "d", 2 * 86400), (3600, "h", 3600), (60, "m", 60)):
        if time_s >= above:
            return f"{int(time_s // unit_s)}{mark}"
    return f"{max(0, int(time_s))}s"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; columns that have nothing but a heading are left out."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(_width, column)) for column in columns]
    for row in rows:
        cells = (
            cell + " " * (width - _width(cell))
            for cell, width in zip(row, widths, strict=True)
            if width
        )
        yield "  ".join(cells).rstrip() + "\n"


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    marks = sum(unicodedata.combining(c) != 0 for c in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(c) in "WF" for c in text)
