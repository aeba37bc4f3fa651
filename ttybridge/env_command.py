"""`ttybridge env`: the environment that the session gets, and how a running one differs."""

import json
import subprocess
from collections.abc import Collection, Iterator, Mapping
from typing import TextIO

from ttybridge.config import Config
from ttybridge.core import environment as env
from ttybridge.core.tmux import Target
from ttybridge.errors import MissingProgramError, TerminalError
from ttybridge.model import Mode

TMUX_TIMEOUT_S = 5
"""Seconds for one answer of tmux, which takes about 5 ms (measured on two busy cores)."""


def run(
    config: Config,
    snapshot: Mapping[bytes, bytes],
    switches: Collection[str],
    *,
    out: TextIO,
    err: TextIO,
) -> int:
    """Print what the switches ask for and return the exit status.

    Raises:
        MissingProgramError: `--diff`, and there is no tmux.
        TerminalError: tmux failed for another reason than a missing session.
    """
    ours = env.child_environment(snapshot)
    shows = _Shows(
        values=bool({"--values", "--show-secrets"} & set(switches)),
        secrets="--show-secrets" in switches,
    )
    if "--diff" in switches:
        if config.mode is Mode.CONTAINER:
            err.write("In a container the session has the container's environment, not this.\n")
            return 0
        return _print_diff(config, ours, shows, as_json="--json" in switches, out=out)
    for name in env.too_long(ours):
        err.write(f"ttybridge: warning: {shown(name)} is too long for any program to start with.\n")
    if "--json" in switches:
        listed = {text(name): shows.json(name, ours[name]) for name in sorted(ours)}
        _dump({"environment": listed} if shows.values else {"names": list(listed)}, out)
    else:
        out.writelines(f"{shown(name)}{shows.suffix(name, ours[name])}\n" for name in sorted(ours))
    return 0


def running_environment(target: Target, ours: Mapping[bytes, bytes]) -> dict[bytes, bytes] | None:
    """Return what new windows of the running session get, or None when it does not run.

    Args:
        target: Which tmux session.
        ours: Environment that tmux is run with; without TMUX, which would lead elsewhere.

    Raises:
        MissingProgramError: There is no such tmux.
        TerminalError: tmux does not answer.
    """
    if _tmux(target.has_session(), ours) is None:
        return None
    of_server = _tmux(target.show_environment(of_server=True), ours)
    of_session = _tmux(target.show_environment(of_server=False), ours)
    if of_server is None or of_session is None:
        return None
    return env.effective(
        env.parse_show_environment(of_server), env.parse_show_environment(of_session)
    )


def target_of(config: Config) -> Target:
    """Return the tmux session that the configuration names."""
    return Target(
        program=config.tmux,
        session=config.session,
        socket_name=config.socket_name or "",
        socket_path=str(config.socket_path or ""),
    )


def _tmux(argv: list[str], environ: Mapping[bytes, bytes]) -> bytes | None:
    """Run tmux; None when it says no."""
    try:
        done = subprocess.run(
            argv,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TMUX_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        message = f"{argv[0]} does not answer within {TMUX_TIMEOUT_S} s."
        raise TerminalError(message, hint="Its server may be stopped or overloaded.") from None
    except OSError as error:
        message = f"{argv[0]} cannot be run: {error.strerror}."
        hint = "Install tmux with your package manager, or pass --tmux PROGRAM."
        raise MissingProgramError(message, hint=hint) from None
    return done.stdout if done.returncode == 0 else None


class _Shows:
    """What is shown of values."""

    def __init__(self, *, values: bool, secrets: bool) -> None:
        self.values = values
        self._secrets = secrets

    def value(self, name: bytes, value: bytes) -> str:
        if env.is_secret(name, value) and not self._secrets:
            return env.mask(value)
        return shown(value)

    def suffix(self, name: bytes, value: bytes) -> str:
        return f"={self.value(name, value)}" if self.values else ""

    def json(self, name: bytes, value: bytes) -> str | None:
        """Return the exact value, or None for a secret."""
        return None if env.is_secret(name, value) and not self._secrets else text(value)


def _print_diff(
    config: Config, ours: Mapping[bytes, bytes], shows: _Shows, *, as_json: bool, out: TextIO
) -> int:
    running = running_environment(target_of(config), ours)
    difference = env.compare(ours, running or {})
    if as_json:
        parts = {"added": difference.added, "removed": difference.removed,
                 "changed": difference.changed}  # fmt: skip
        names = {key: [text(name) for name in part] for key, part in parts.items()}
        _dump({"session": config.session, "running": running is not None}
              | (names if running is not None else {}), out)  # fmt: skip
    elif running is None:
        out.write(f"No tmux session {shown(config.session.encode())} is running.\n")
        out.write("A new one gets exactly the environment of this shell.\n")
    else:
        out.writelines(_diff_lines(config, ours, running, difference, shows))
    return 0


def _diff_lines(
    config: Config,
    ours: Mapping[bytes, bytes],
    running: Mapping[bytes, bytes],
    difference: env.EnvironmentDiff,
    shows: _Shows,
) -> Iterator[str]:
    name = shown(config.session.encode())
    if not difference:
        yield f"New windows of tmux session {name} have the environment of this shell.\n"
        return
    total = sum(map(len, (difference.added, difference.removed, difference.changed)))
    variables = "1 variable" if total == 1 else f"{total} variables"
    yield f"New windows of tmux session {name} differ from this shell in {variables}:\n"
    for key in difference.added:
        yield f"  + {shown(key)}{shows.suffix(key, ours[key])} (only in this shell)\n"
    for key in difference.removed:
        yield f"  - {shown(key)}{shows.suffix(key, running[key])} (only in the session)\n"
    for key in difference.changed:
        note = "other value in the session"
        if shows.values:
            note = f"here: {shows.value(key, ours[key])}"
        yield f"  ~ {shown(key)}{shows.suffix(key, running[key])} ({note})\n"
    yield "Starting the bridge here gives new windows the environment of this shell:\n"
    yield "they gain what has a +, lose what has a -. Shells that run keep what they have.\n"


def text(value: bytes) -> str:
    """Return bytes as text for JSON; bytes that are not UTF-8 become lone surrogates."""
    return value.decode("utf-8", "surrogateescape")


def shown(value: bytes) -> str:
    r"""Return bytes as one line for people.

    >>> shown(b"a\nb\xff")
    'a\\nb\\xff'
    """
    decoded = value.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)


def _dump(value: object, out: TextIO) -> None:
    out.write(json.dumps(value, indent=2) + "\n")
