"""The command `ttybridge` as a process: its environment, its output, its exit status.

This is the one module that reads the environment. Errors of users end in lines on stderr and
an exit status, never in a traceback. stdout holds only what was asked for: the link, or what
a subcommand prints. What the arguments ask for is started by `command`.
"""

import contextlib
import io
import os
import sys
from collections.abc import Sequence

from ttybridge import __version__
from ttybridge.errors import ConfigError, TtyBridgeError
from ttybridge.output import discard, write

STOPPED_BY_CTRL_C = 130
"""Exit status when Ctrl-C comes before the bridge takes it as the order to stop (128 + SIGINT)."""

_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")
"""What Python puts into LC_CTYPE when it finds the C locale (PEP 538)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        argv: Arguments after the program's name; those of the process by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:  # shells and scripts ask for it: nothing else is imported
        write(sys.stdout, f"ttybridge {__version__}\n")
        return 0
    from ttybridge import command
    from ttybridge.tokens import SECRET_VARIABLES

    _print_whatever_it_is()
    # Before anything can change the environment.
    snapshot = take_snapshot()
    environ = {os.fsdecode(name): os.fsdecode(value) for name, value in snapshot.items()}
    # Programs that are started from here, and the terminal, have no use for our secrets.
    for name in SECRET_VARIABLES:
        snapshot.pop(name.encode(), None)
        os.environ.pop(name, None)
    try:
        status = command.run(words, environ, snapshot)
        sys.stdout.flush()  # so that a closed pipe is noticed here and not at exit
        return status
    except ConfigError as error:
        _complain(error.problems)
        _stderr(f"Try '{command.title(words)} --help'.")
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
            from pathlib import Path

            original = Path("/proc/self/environ").read_bytes().split(b"\0")
            values = [entry[9:] for entry in original if entry.startswith(b"LC_CTYPE=")]
            if not values:
                del snapshot[b"LC_CTYPE"]
            elif values[0] == b"C":
                snapshot[b"LC_CTYPE"] = values[0]
    return snapshot


def _complain(problems: Sequence[str]) -> None:
    from ttybridge import logs

    for problem in problems:
        for line in problem.splitlines() or [""]:
            _stderr(f"ttybridge: error: {logs.one_line(line.strip())}")


def _stderr(line: str) -> None:
    write(sys.stderr, line + "\n")


def _discard_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
            continue
        discard(stream)


if __name__ == "__main__":
    sys.exit(main())
