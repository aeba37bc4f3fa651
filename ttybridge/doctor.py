"""`ttybridge doctor`: checks what the bridge needs, and says how to mend what is wrong."""

import importlib.util
import json
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from ttybridge.advice import advice
from ttybridge.check import FAIL, OK, WARN, Check
from ttybridge.config import DEFAULT_PORT, Config
from ttybridge.core.environment import TERM, child_environment
from ttybridge.core.tmux import MIN_VERSION, parse_version
from ttybridge.env_command import running_environment, shown, target_of
from ttybridge.errors import TtyBridgeError
from ttybridge.model import Mode

FILES_PER_CLIENT = 3
"""Descriptors of one client: its socket, its pty, and one more while a pty is being started."""

FILES_BESIDES = 64
"""Descriptors besides clients: listeners, event loop, files being sent."""

PROGRAM_TIMEOUT_S = 5
"""Seconds for a program to say its version."""

_PACKAGES = ("aiohttp", "socketio", "engineio", "ptyprocess", "itsdangerous", "cryptography")


def run(
    config: Config,
    snapshot: Mapping[bytes, bytes],
    problems: Sequence[str],
    *,
    as_json: bool,
    out: TextIO,
    is_public: bool = False,
) -> int:
    """Print all checks; return 0 when nothing fails, else 1.

    Args:
        config: The configuration; the defaults when it has problems.
        snapshot: Environment of this process.
        problems: What is wrong with the configuration.
        as_json: Print JSON instead of lines.
        out: Where to.
        is_public: Check the public address of the bridge that runs, and nothing else.
    """
    checks: list[Check] = []

    def report(check: Check) -> None:
        checks.append(check)
        if not as_json:
            hint = f" — {check.hint}" if check.hint else ""
            out.write(f"{check.state:<4}  {check.name}: {check.text}{hint}\n")
            out.flush()

    if is_public and not problems:
        from ttybridge.public_checks import public_checks

        public_checks(config, snapshot, report)
    else:
        for check in _configuration(config, problems):
            report(check)
        for check in () if is_public else _run_checks(config, snapshot):
            report(check)
    failed = sum(check.state == FAIL for check in checks)
    if as_json:
        value = {"ok": not failed, "checks": [asdict(check) for check in checks]}
        out.write(json.dumps(value, indent=2) + "\n")
    else:
        aim = "is reached" if is_public else "runs"
        verdict = f"{failed} to mend before it {aim}." if failed else "Nothing is in the way."
        out.write(f"{verdict}\n")
    return 1 if failed else 0


def _run_checks(config: Config, snapshot: Mapping[bytes, bytes]) -> Iterator[Check]:
    environ = child_environment(snapshot)
    checks: list[Callable[[], Iterator[Check]]] = [
        _python,
        _page,
        lambda: _port(config),
        lambda: _files(config),
        _pty,
        lambda: _locale(environ),
    ]
    if config.mode is Mode.DIRECT:
        checks.append(lambda: _command(config, environ))
    elif config.mode is Mode.CONTAINER:
        checks.append(lambda: _container(config, environ))
    else:
        checks += [lambda: _tmux(config, environ), lambda: _tmux_folder(config, environ)]
        checks += [_terminal_type, lambda: _session(config, environ)]
    if config.ssh:
        checks.append(lambda: _ssh(config, environ))
    for check in checks:
        try:
            yield from check()
        except TtyBridgeError as error:
            yield Check("check", FAIL, error.message, error.hint)
        except OSError as error:
            yield Check("check", WARN, f"could not be made: {error}")


def _configuration(config: Config, problems: Sequence[str]) -> Iterator[Check]:
    for problem in problems:
        yield Check("options", FAIL, problem)
    if not problems:
        where = str(config.config_file) if config.config_file else "no configuration file"
        yield Check("options", OK, where)
        if config.token is None and not config.no_auth:
            yield Check("token", OK, "a random one is made at each start")
        elif config.token is not None:
            yield Check("token", OK, f"given, {len(config.token)} characters")
    for note in advice(config):
        yield Check("access", WARN, note)


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    state = OK if sys.version_info >= (3, 11) else FAIL
    yield Check("python", state, version, "" if state == OK else "Python 3.11 or newer is needed.")
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        hint = "Install ttybridge again with: pip install ."
        yield Check("packages", FAIL, f"missing: {', '.join(missing)}", hint)
    else:
        yield Check("packages", OK, "all there")


def _page() -> Iterator[Check]:
    try:
        from ttybridge.web.assets import load_page

        load_page()
    except TtyBridgeError as error:
        yield Check("page", FAIL, error.message, error.hint)
    except ImportError as error:
        yield Check("page", FAIL, f"cannot be loaded: {error}")
    else:
        yield Check("page", OK, "built and complete")


def _port(config: Config) -> Iterator[Check]:
    reason = ""
    for port in config.ports:
        try:
            _bind(config.host, port)
        except OSError as error:
            reason = error.strerror or str(error)
            continue
        if port == 0:
            yield Check("port", OK, "any free one")
        elif port == config.ports[0]:
            yield Check("port", OK, f"{port} on {config.host} is free")
        else:
            yield Check("port", WARN, f"{DEFAULT_PORT} is taken ({reason}); {port} will be used")
        return
    ports = config.ports
    which = f"{ports[0]}" if len(ports) == 1 else f"{ports[0]} to {ports[-1]}"
    hint = "Give another one with --port, or --port 0 for any free one."
    yield Check("port", FAIL, f"{which} on {config.host}: {reason}", hint)


def _bind(host: str, port: int) -> None:
    """Try to listen as the bridge does; raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)


def _files(config: Config) -> Iterator[Check]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FILES_BESIDES + FILES_PER_CLIENT * config.max_clients
    if soft != resource.RLIM_INFINITY and soft < needed:
        clients = max((soft - FILES_BESIDES) // FILES_PER_CLIENT, 0)
        can_raise = hard == resource.RLIM_INFINITY or hard >= needed
        hint = f"ulimit -n {needed}, or " if can_raise else ""
        text = f"{soft} open files are allowed, {config.max_clients} clients need {needed}"
        yield Check("files", WARN, text, f"{hint}--max-clients {max(clients, 1)}.")
    else:
        yield Check("files", OK, f"enough open files for {config.max_clients} clients")


def _pty() -> Iterator[Check]:
    try:
        for descriptor in os.openpty():
            os.close(descriptor)
    except OSError as error:
        hint = "Mount devpts on /dev/pts, or raise kernel.pty.max."
        yield Check("pty", FAIL, f"none can be opened: {error.strerror}", hint)
    else:
        yield Check("pty", OK, "can be opened")


def _locale(environ: Mapping[bytes, bytes]) -> Iterator[Check]:
    name = next(
        (environ[key] for key in (b"LC_ALL", b"LC_CTYPE", b"LANG") if environ.get(key)), b""
    )
    if b"utf8" in name.lower().replace(b"-", b""):
        yield Check("locale", OK, shown(name))
    else:
        text = f"{shown(name) or 'none'} is not UTF-8, so programs may show ? for other letters"
        yield Check("locale", WARN, text, "export LANG=C.UTF-8")


def _tmux(config: Config, environ: Mapping[bytes, bytes]) -> Iterator[Check]:
    hint = "Install it with your package manager (apt install tmux), or pass --tmux PROGRAM."
    found = _which(config.tmux, environ)
    if found is None:
        yield Check("tmux", FAIL, f"{config.tmux} is not installed", hint)
        return
    answer = _ask([found, "-V"], environ)
    version = parse_version(answer or "")
    least = ".".join(map(str, MIN_VERSION))
    if answer is None:
        yield Check("tmux", FAIL, f"{found} does not run", hint)
    elif version is None:
        yield Check("tmux", WARN, f"{answer} at {found}: its version is not known")
    elif version < MIN_VERSION:
        reason = "it has attach-session -f and -T, which the bridge needs."
        yield Check("tmux", FAIL, f"{answer} is too old", f"Install {least} or newer: {reason}")
    else:
        yield Check("tmux", OK, f"{answer} at {found}")


def _tmux_folder(config: Config, environ: Mapping[bytes, bytes]) -> Iterator[Check]:
    """Check the folder of tmux's socket: tmux refuses one that others may enter."""
    if config.socket_path is not None:
        parent = config.socket_path.absolute().parent
        if not os.access(parent, os.W_OK | os.X_OK):
            yield Check("tmux socket", FAIL, f"{parent} is no folder that you can write to")
        return
    base = Path(os.fsdecode(environ.get(b"TMUX_TMPDIR") or b"/tmp"))
    folder = base / f"tmux-{os.getuid()}"
    try:
        found = folder.lstat()
    except FileNotFoundError:
        writable = os.access(base, os.W_OK | os.X_OK)
        state, text = (OK, "is made at the start") if writable else (FAIL, "cannot be made")
        hint = "" if writable else f"Make {base} writable, or set TMUX_TMPDIR."
        yield Check("tmux socket", state, f"{folder} {text}", hint)
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        hint = "Set TMUX_TMPDIR to a folder of yours."
        yield Check("tmux socket", FAIL, f"{folder} is not a folder of yours", hint)
    elif found.st_mode & 0o007:
        yield Check("tmux socket", FAIL, f"others may enter {folder}", f"chmod 700 {folder}")
    else:
        yield Check("tmux socket", OK, str(folder))


def _terminal_type() -> Iterator[Check]:
    name = TERM.decode()
    try:
        import curses
    except ImportError:
        yield Check("terminal", WARN, "cannot be checked: this Python has no curses")
        return
    try:
        curses.setupterm(name, 1)
    except curses.error:
        hint = "Install the terminal descriptions (apt install ncurses-base)."
        yield Check("terminal", FAIL, f"{name} is not known here", hint)
    else:
        yield Check("terminal", OK, name)


def _session(config: Config, environ: Mapping[bytes, bytes]) -> Iterator[Check]:
    if _which(config.tmux, environ) is None:
        return
    running = running_environment(target_of(config), environ)
    name = shown(config.session.encode())
    if running is None:
        yield Check("session", OK, f"{name} does not run yet and is made at the start")
    else:
        hint = "ttybridge env --diff shows what new windows will gain."
        yield Check("session", OK, f"{name} runs and is joined", hint)


def _command(config: Config, environ: Mapping[bytes, bytes]) -> Iterator[Check]:
    program = config.command[0]
    found = _which(program, environ)
    if found is None:
        yield Check("command", FAIL, f"{program!r} is not a program that can be run")
    else:
        yield Check("command", OK, found)


def _container(config: Config, environ: Mapping[bytes, bytes]) -> Iterator[Check]:
    wanted = ("docker", "podman") if config.container_engine == "auto" else (
        config.container_engine,)  # fmt: skip
    engines = [found for found in (_which(name, environ) for name in wanted) if found]
    if not engines:
        text = f"{' or '.join(wanted)} is not installed"
        yield Check("container", FAIL, text, "Install it, or leave out --container.")
        return
    name = config.container or ""
    for engine in engines:
        answer = _ask([engine, "inspect", "-f", "{{.State.Running}}", name], environ)
        if answer == "true":
            yield Check("container", OK, f"{name} runs under {engine}")
            return
    hint = f"Start it with: {Path(engines[0]).name} start {name}"
    yield Check("container", FAIL, f"{name} does not run under {' or '.join(engines)}", hint)


def _ssh(config: Config, environ: Mapping[bytes, bytes]) -> Iterator[Check]:
    try:
        from ttybridge.ssh_checks import ssh_checks  # cryptography takes 50 ms to import
    except ImportError as error:
        yield Check("ssh", FAIL, f"cannot be loaded: {error}")
    else:
        yield from ssh_checks(config, environ)


def _which(program: str, environ: Mapping[bytes, bytes]) -> str | None:
    return shutil.which(program, path=os.fsdecode(environ.get(b"PATH") or os.defpath.encode()))


def _ask(argv: list[str], environ: Mapping[bytes, bytes]) -> str | None:
    """Return what a program prints, or None when it fails."""
    try:
        done = subprocess.run(
            argv,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROGRAM_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None
