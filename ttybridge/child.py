"""A bridge as a child process: starts it, waits until it serves, says why it ended."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from ttybridge.errors import ConfigError, TtyBridgeError

START_S = 240.0
"""Longest time for a bridge to serve, in seconds: a tunnel's agent may be downloaded first."""

STOP_S = 20.0
"""Longest time for a bridge to stop by itself, in seconds; then it is killed."""

_PREFIX = "ttybridge: error: "
_SCRIPT = """\
import sys
sys.path.append({folder!r})
from ttybridge import child, cli
child.follow({leash})
sys.exit(cli.main())
"""


def follow(leash: int) -> None:
    """In the child: be stopped when the starter is gone, however it ended.

    Args:
        leash: Descriptor of a pipe whose other end the starter holds; negative for none.
    """
    if leash < 0:
        return
    os.set_inheritable(leash, False)

    def wait() -> None:
        os.read(leash, 1)  # nothing is written: it returns when the other end is closed
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


class Child:
    """The process of a bridge, and its stderr in a file that only we can read."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[bytes, bytes],
        secrets: Mapping[str, str],
        *,
        outlives: bool,
    ) -> None:
        """Start it.

        Args:
            arguments: The words of the command line.
            environment: The environment for it and the session.
            secrets: Variables for it alone.
            outlives: Whether it goes on when this process ends.
        """
        self._owner = os.getpid()
        self._leash = -1
        theirs = -1
        if not outlives:
            theirs, self._leash = os.pipe()
        script = _SCRIPT.format(folder=str(Path(__file__).resolve().parents[1]), leash=theirs)
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as we are
        try:
            self._process = subprocess.Popen(
                # -P: a notebook's folder has files with whatever names; none of them is a module.
                [sys.executable, "-P", "-c", script, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**environment, **{n.encode(): os.fsencode(v) for n, v in secrets.items()}},
                start_new_session=True,
                pass_fds=() if outlives else (theirs,),
            )
        except BaseException as error:
            self._errors.close()
            self._let_go()
            if not isinstance(error, OSError):
                raise
            message = f"{sys.executable} cannot be started: {error.strerror}."
            raise TtyBridgeError(message) from error
        finally:
            if theirs >= 0:
                os.close(theirs)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_ours(self) -> bool:
        """Whether this process has started it, and was not forked from the one that did."""
        return os.getpid() == self._owner

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def log(self) -> str:
        """Return what it has written to stderr so far; empty when it is closed."""
        if self._errors.closed:
            return self._last
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode("utf-8", "replace")

    def wait_until_up(self) -> None:
        """Wait until it serves: it prints its link then.

        Raises:
            TtyBridgeError: It ended before; of the class that belongs to its exit status.
        """
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        if self._process.stdout.closed:
            raise self.reason("The bridge has ended")
        timer = threading.Timer(START_S, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        self._process.stdout.close()  # what it prints from here on, nobody needs
        if not line:
            self.wait(STOP_S)
            raise self.reason("The bridge ended before it was up")

    def check(self) -> None:
        """Raise TtyBridgeError when it has ended."""
        if not self.is_running:
            raise self.reason("The bridge has ended")

    def wait(self, timeout_s: float) -> None:
        """Wait for its end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def end(self) -> None:
        """End it, however it is."""
        if self.is_running:
            self._process.terminate()
            self.wait(STOP_S)
        if self.is_running:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Close its files, when it has ended and nobody waits for it any more."""
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._last = self.log()
        self._errors.close()
        self._let_go()

    def reason(self, what: str) -> TtyBridgeError:
        """Return the error with which it ended, in its own words where it gave some."""
        said = [line for line in self.log().splitlines() if line.strip()]
        errors = [line.removeprefix(_PREFIX) for line in said if line.startswith(_PREFIX)]
        status = self._process.poll()
        if not errors:
            last = "".join(f"\n{line}" for line in said[-5:]) if status else ""
            ended = f" (exit status {status})" if status else ""
            return TtyBridgeError(f"{what}{ended}.{last}")
        if status == ConfigError.exit_code:
            return ConfigError(errors)
        kinds = {kind.exit_code: kind for kind in TtyBridgeError.__subclasses__()}
        kinds[TtyBridgeError.exit_code] = TtyBridgeError  # which errors within a bridge share
        return kinds.get(status or 0, TtyBridgeError)("\n".join(errors))

    def _let_go(self) -> None:
        if self._leash >= 0:
            os.close(self._leash)
        self._leash = -1
