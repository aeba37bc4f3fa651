"""The commands about the recording of a bridge that runs, and about its log: record, audit."""

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from ttybridge.adapters.audit_file import path_of
from ttybridge.arguments import Arguments
from ttybridge.client.control import Control
from ttybridge.config import Config
from ttybridge.errors import ConfigError
from ttybridge.logs import one_line
from ttybridge.people_commands import as_json, short, table
from ttybridge.running import one_bridge
from ttybridge.settings import did_you_mean

_ACTIONS = ("start", "stop", "status", "marker")

_OWN = {"start": ("--format", "--input"), "status": ("--json",)}
"""Which action takes which flags."""


def record(
    given: Arguments, config: Config, environment: Mapping[bytes, bytes], out: TextIO
) -> int:
    """Start, stop, mark or show a recording; returns the exit status.

    Args:
        given: The command line.
        config: The options; a label chooses the bridge.
        environment: The environment, which says where bridges are.
        out: Where to print.

    Raises:
        TtyBridgeError: No such bridge runs, or it refuses.
        ConfigError: A word or a value is wrong.
    """
    action = given.words[0]
    if problems := list(_problems(action, given)):
        raise ConfigError(problems)
    control = one_bridge(config, environment)
    if action == "start":
        file = Path(given.more[0]).absolute() if given.more else None
        with_input = True if "--input" in given.switches else None
        made = control.record(file, format=given.values.get("--format"), with_input=with_input)
        typed = ", with what is typed" if made.get("input") else ""
        out.write(f"The session is recorded{typed}: {_place(made)}\n")
    elif action == "stop":
        out.write(_ended(control.stop_recording()))
    elif action == "marker":
        label = " ".join(given.more)
        control.marker(label)
        sys.stderr.write(f"Marked: {one_line(label)}\n")
    else:
        _status(control, "--json" in given.switches, out)
    return 0


def audit(given: Arguments, config: Config, environment: Mapping[bytes, bytes], out: TextIO) -> int:
    """Print the last events; parameters and errors as for `record`."""
    past = path_of(
        config.audit_log, {os.fsdecode(n): os.fsdecode(v) for n, v in environment.items()}
    )
    events = one_bridge(config, environment, hint=_past(past)).audit()
    if "--json" in given.switches:
        out.write("".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events))
    else:
        out.write("".join(table([_event(each) for each in events])) if events else "Nothing yet.\n")
    return 0


def _past(file: Path | None) -> str:
    """Say where the events of bridges are that ran before."""
    if file is None or not file.is_file():
        return "Start one: ttybridge."
    return f"What happened before is in {one_line(str(file))}, a line of JSON each."


def _problems(action: str, given: Arguments) -> Iterator[str]:
    if action not in _ACTIONS:
        near = did_you_mean(action, _ACTIONS)
        yield f"{action[:40]!r} is nothing that ttybridge record does.{near or _ALL}"
        return
    for flag in sorted(given.switches.difference(_OWN.get(action, ()))):
        yield f"{flag} is not an option of ttybridge record {action}."
    if given.values.get("--format") not in (None, "v2", "v3"):
        yield f"--format {given.values['--format'][:40]!r}: give v2 or v3."
    if action == "marker" and not given.more:
        yield "ttybridge record marker needs a label, such as: ttybridge record marker tests pass."
    if action in ("stop", "status") and given.more:
        yield f"ttybridge record {action} takes no {given.more[0][:40]!r}."
    if action == "start" and len(given.more) > 1:
        yield "ttybridge record start takes one FILE; a name with spaces goes in quotes."


_ALL = " Give start, stop, status or marker."


def _status(control: Control, is_json: bool, out: TextIO) -> None:
    now, kept = control.people().recording, control.recordings()
    if is_json:
        out.write(as_json({"recording": now, "recordings": list(kept)}))
        return
    if now is None:
        out.write("Nothing is being recorded. To start: ttybridge record start\n")
    else:
        typed = ", with what is typed" if now.get("input") else ""
        since = short(time.time() - _number(now, "since"))
        out.write(f"Being recorded for {since}{typed}: {_place(now)}\n")
    if kept:
        out.write("\n" + "".join(table([("NAME", "LENGTH", "SIZE", "MADE"), *map(_row, kept)])))


def _ended(made: Mapping[str, Any]) -> str:
    name = one_line(str(made.get("name") or "?"))
    length, size = short(_number(made, "seconds")), _size(_number(made, "bytes"))
    play = f"To play it: ttybridge play {shlex.quote(_place(made))}"
    return f"Recorded: {name}, {length}, {size}\n{play}\n"


def _row(made: Mapping[str, Any]) -> Sequence[str]:
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(_number(made, "startedAt")))
    return (_place(made), short(_number(made, "seconds")), _size(_number(made, "bytes")), started)


def _place(made: Mapping[str, Any]) -> str:
    """Return the file of a recording, or its name."""
    return one_line(str(made.get("file") or made.get("name") or "?"))


def _size(size_bytes: float) -> str:
    for unit in ("B", "K", "M"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f}{unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f}G"


def _number(made: Mapping[str, Any], name: str) -> float:
    value = made.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _event(event: Mapping[str, Any]) -> Sequence[str]:
    more = (f"{name}={value}" for name, value in event.items() if name not in ("at", "event"))
    at, what = event.get("at", ""), event.get("event", "")
    return tuple(one_line(str(cell)) for cell in (at, what, " ".join(more)))
