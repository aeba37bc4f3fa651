"""Ties the agents of tunnels to this process: they end when it does, even by SIGKILL."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ttybridge.tunnels import warden

WARDEN = str(Path(warden.__file__).absolute())
"""The warden's script."""


@dataclass(frozen=True, slots=True)
class Leash:
    """A named pipe that this process holds; wardens watch its other end."""

    pipe: Path
    """The named pipe."""

    def argv(self, *argv: str) -> list[str]:
        """Return the command line that runs a program under a warden.

        To be started in a session of its own, so that Ctrl-C in our terminal does not reach it.
        SIGTERM to the warden ends the program; so does the end of this process.
        """
        # -I and -S: nothing of the user's environment or site is loaded.
        return [sys.executable, "-IS", WARDEN, str(self.pipe), *argv]


@contextlib.contextmanager
def leash(folder: Path) -> Iterator[Leash]:
    """Hold a leash in a private folder; on leaving, what is still on it is ended.

    Raises:
        OSError: The pipe cannot be made.
    """
    pipe = folder / "leash"
    os.mkfifo(pipe, 0o600)
    # For reading, too: opening a pipe for writing alone waits for a reader.
    held = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield Leash(pipe)
    finally:
        os.close(held)
        pipe.unlink(missing_ok=True)
