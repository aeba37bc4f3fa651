"""The command `ttybridge`: reads the options and the environment, starts what they ask for.

This is the one module that reads the environment. Errors of users end in lines on stderr and
an exit status, never in a traceback. stdout holds only what was asked for: the link, or what
a subcommand prints.
"""

import contextlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ttybridge import __version__, arguments, logs, manual, settings, subcommands
from ttybridge.config import Config
from ttybridge.errors import ConfigError, TtyBridgeError
from ttybridge.output import discard, write
from ttybridge.tokens import NGROK_VARIABLE, SECRET_VARIABLES

STOPPED_BY_CTRL_C = 130
"""Exit status when Ctrl-C comes before the bridge takes it as the order to stop (128 + SIGINT)."""

_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")
"""What Python puts into LC_CTYPE when it finds the C locale (PEP 538)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        argv: Arguments after the program's name; those of the process by default.
    """
    _print_whatever_it_is()
    # Before anything can change the environment.
    snapshot = take_snapshot()
    environ = {os.fsdecode(name): os.fsdecode(value) for name, value in snapshot.items()}
    # Programs that are started from here, and the terminal, have no use for our secrets.
    for name in SECRET_VARIABLES:
        snapshot.pop(name.encode(), None)
        os.environ.pop(name, None)
    try:
        return _run(sys.argv[1:] if argv is None else argv, environ, snapshot)
    except ConfigError as error:
        _complain(error.problems)
        _stderr(f"Try '{_title(argv)} --help'.")
        return error.exit_code
    except TtyBridgeError as error:
        _complain((str(error),))
        return error.exit_code
    except KeyboardInterrupt:
        return STOPPED_BY_CTRL_C
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain at exit, when it
        # flushes what is left.
        _discard_output()
        return 0


def _title(argv: Sequence[str] | None) -> str:
    given = arguments.parse(sys.argv[1:] if argv is None else argv)
    return f"ttybridge {given.subcommand.name}".strip()


def _print_whatever_it_is() -> None:
    """Have characters escaped that the encoding of stdout or stderr lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def take_snapshot() -> dict[bytes, bytes]:
    """Return the environment that this process was started with.

    Where Python has put LC_CTYPE into the environment by itself, that is undone. Without
    /proc it cannot be known, and the value stays.
    """
    snapshot = dict(os.environb)
    if snapshot.get(b"LC_CTYPE") in _COERCED:
        with contextlib.suppress(OSError):
            original = Path("/proc/self/environ").read_bytes().split(b"\0")
            values = [entry[9:] for entry in original if entry.startswith(b"LC_CTYPE=")]
            if not values:
                del snapshot[b"LC_CTYPE"]
            elif values[0] == b"C":
                snapshot[b"LC_CTYPE"] = values[0]
    return snapshot


def _run(argv: Sequence[str], environ: Mapping[str, str], snapshot: Mapping[bytes, bytes]) -> int:
    given = arguments.parse(argv)
    if given.help:
        sys.stdout.write(manual.help_text(given.subcommand) + "\n")
        return _flushed(0)
    if given.version:
        sys.stdout.write(f"ttybridge {__version__}\n")
        return _flushed(0)
    if given.subcommand is subcommands.REFERENCE and not given.problems:
        sys.stdout.write(manual.markdown())
        return _flushed(0)
    if given.subcommand is subcommands.DOCTOR and not given.problems:
        return _flushed(_doctor(given, environ, snapshot))
    if given.subcommand is subcommands.PLAY:
        from ttybridge import play

        return _flushed(play.run(given, sys.stdout))
    if given.subcommand in subcommands.CLIENTS:
        from ttybridge.client import commands

        return _flushed(commands.run(given, environ, snapshot, sys.stdout))
    file = settings.find_config_file(given.flags, environ)
    config = settings.resolve(given.flags, environ, file, problems=given.problems)
    logs.configure(verbosity=config.verbose, quiet=config.quiet)
    if config.token is not None:
        logs.hide(config.token)
    if config.host_key_secret is not None:
        logs.hide(config.host_key_secret)
    if given.subcommand is subcommands.ENV:
        from ttybridge import env_command

        status = env_command.run(config, snapshot, given.switches, out=sys.stdout, err=sys.stderr)
        return _flushed(status)
    if given.subcommand is not subcommands.BRIDGE:
        return _flushed(_about_running(given, config, snapshot))
    return _bridge(config, environ, snapshot)


def _about_running(
    given: arguments.Arguments, config: Config, snapshot: Mapping[bytes, bytes]
) -> int:
    """Run a command about bridges that run."""
    from ttybridge import people_commands, record_commands, running

    match given.subcommand:
        case subcommands.STATUS:
            return running.status(config, snapshot, given.switches, sys.stdout)
        case subcommands.LINK:
            return running.link(config, snapshot, given.flags.keys(), sys.stdout)
        case subcommands.RECORD:
            return record_commands.record(given, config, snapshot, sys.stdout)
        case subcommands.AUDIT:
            return record_commands.audit(given, config, snapshot, sys.stdout)
        case _:
            return people_commands.run(given, config, snapshot, sys.stdout, sys.stderr)


def _doctor(
    given: arguments.Arguments, environ: Mapping[str, str], snapshot: Mapping[bytes, bytes]
) -> int:
    """Run the doctor, for whom a wrong configuration is a finding like others."""
    from ttybridge import doctor

    problems: Sequence[str] = ()
    try:
        file = settings.find_config_file(given.flags, environ)
        config = settings.resolve(given.flags, environ, file)
    except ConfigError as error:
        config, problems = Config(), error.problems
    as_json = "--json" in given.switches
    is_public = "--public" in given.switches
    return doctor.run(
        config, snapshot, problems, as_json=as_json, out=sys.stdout, is_public=is_public
    )


def _bridge(config: Config, environ: Mapping[str, str], snapshot: Mapping[bytes, bytes]) -> int:
    # Imported here, so that --help does not wait for the web server's modules.
    from ttybridge.announce import Announcer
    from ttybridge.bridge import Listener, run

    if config.tunnel_name == "ngrok":
        environ = _with_ngrok_token(environ)
    with contextlib.ExitStack() as cleanup:
        announcer = Announcer(config, cleanup)
        listener = Listener(announcer.started, announcer.changed, announcer.say)
        finished = run(config, snapshot, listener, environ)
    if finished.message and not config.quiet:
        _stderr(finished.message)
    return finished.status


def _with_ngrok_token(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with a token for ngrok, asked for where there is none yet."""
    from ttybridge.tunnels.ngrok_config import has_token

    if token := environ.get(NGROK_VARIABLE):
        logs.hide(token)
        return environ
    if has_token(environ) or not (sys.stdin and sys.stdin.isatty()):
        return environ
    import getpass

    _stderr("ngrok needs the token of your account: https://dashboard.ngrok.com/get-started")
    try:
        token = getpass.getpass("Token (not shown): ").strip()
    except EOFError:
        return environ
    if token:
        logs.hide(token)
    return {**environ, NGROK_VARIABLE: token} if token else environ


def _complain(problems: Sequence[str]) -> None:
    for problem in problems:
        for line in problem.splitlines() or [""]:
            _stderr(f"ttybridge: error: {logs.one_line(line.strip())}")


def _stderr(line: str) -> None:
    write(sys.stderr, line + "\n")


def _flushed(status: int) -> int:
    """Write out what is buffered, so that a closed pipe is noticed here and not at exit."""
    sys.stdout.flush()
    return status


def _discard_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
            continue
        discard(stream)


if __name__ == "__main__":
    sys.exit(main())
