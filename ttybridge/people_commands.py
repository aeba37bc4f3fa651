"""The commands about the people of a bridge that runs: who, share, grant, kick, lock and others."""

import dataclasses
import json
import re
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

from ttybridge import readers
from ttybridge import subcommands as sub
from ttybridge.arguments import Arguments
from ttybridge.client.control import Control
from ttybridge.client.people import Here, SharedLink, Somebody
from ttybridge.config import Config
from ttybridge.core.people import clean_name
from ttybridge.errors import ConfigError
from ttybridge.running import one_bridge, show_qr
from ttybridge.settings import did_you_mean

_ROLES = ("viewer", "editor", "owner")
_LINK_ID = re.compile(r"l[1-9][0-9]*")
_MAX_LIFE_S = 30 * 86400


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
    as_json = "--json" in given.switches
    choose = f" --label {config.label}" if config.label else ""
    match given.subcommand:
        case sub.WHO:
            here = control.people()
            out.write(_dumped(here) if as_json else "".join(_who_lines(here, choose)))
        case sub.SHARE:
            name = given.values.get("--name", "")
            made = control.share(role or "viewer", name=name, life_s=life_s, uses=uses)
            out.write(made.url + "\n")
            out.flush()
            err.write(f"{_shared(made)} To end it: ttybridge revoke {made.id}{choose}\n")
            show_qr(config, made.url)
        case sub.LINKS:
            links = control.links()
            as_text = "".join(_link_lines(links, time.time()))
            out.write(_dumped(links) if as_json else as_text)
        case sub.REVOKE if _LINK_ID.fullmatch(who):
            control.revoke(who)
        case sub.REVOKE:
            control.grant(who, "viewer")
        case sub.KICK:
            if note := control.kick(who):
                err.write(note + "\n")
        case sub.GRANT:
            control.grant(who, role or "editor")
        case sub.APPROVE:
            control.approve("--off" not in given.switches)
        case _:
            _simple(control, who)[given.subcommand.name]()
    return 0


def _simple(control: Control, who: str) -> dict[str, Callable[[], None]]:
    return {
        "admit": lambda: control.admit(who),
        "refuse": lambda: control.refuse(who),
        "lock": lambda: control.lock(True),
        "unlock": lambda: control.lock(False),
    }


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


def _dumped(found: Here | Sequence[SharedLink]) -> str:
    plain = (
        dataclasses.asdict(found)
        if isinstance(found, Here)
        else [dataclasses.asdict(each) for each in found]
    )
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def _who_lines(here: Here, choose: str) -> Iterator[str]:
    waiting = [each for each in here.people if each.state == "waiting"]
    present = [each for each in here.people if each.state != "waiting"]
    if waiting:
        yield "These wait to be let in:\n"
        rows = [
            (f"  {each.id}", _name(each), each.role, each.via, each.address,
             f"ttybridge admit {each.id}{choose}")
            for each in waiting
        ]  # fmt: skip
        yield from table(rows)
        yield "\n"
    if present:
        head = ("ID", "NAME", "ROLE", "HOW", "SINCE", "IDLE", "SIZE", "TRIP", "")
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
        short(max(0.0, time.time() - each.since)),
        short(each.idle_s),
        f"{each.cols}x{each.rows}",
        "–" if each.rtt_ms is None else f"{each.rtt_ms:.0f} ms",
        "; ".join(notes),
    )


def _name(each: Somebody) -> str:
    return clean_name(each.name) or "–"


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
        f"For {who}, to {can}: {many or f'{made.uses} browsers'}, to be opened within "
        f"{short(made.ends_at - time.time() + 0.5)}."
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
