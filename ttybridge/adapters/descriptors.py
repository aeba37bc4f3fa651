"""Turns visitors away while no descriptor is left, instead of leaving them waiting.

asyncio (Python 3.11 to 3.13) tries to accept a hundred times in a row then, and logs each try,
every second. Here one descriptor is kept in reserve: it is given up for a moment, in which who
waits is accepted and hung up on.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

log = logging.getLogger(__name__)

WARN_EVERY_S = 60.0
"""Shortest time between two warnings, in seconds."""

AT_ONCE = 1000
"""Most visitors that are turned away at once; those who come later are when asyncio looks again."""


@contextlib.contextmanager
def refusing_when_full() -> Iterator[None]:
    """Turn visitors away while there are no descriptors, as long as the context lasts."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    reserve = _Reserve()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error, listener = context.get("exception"), context.get("socket")
        is_full = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
        if is_full and listener is not None and "accept" in context.get("message", ""):
            reserve.refuse(listener.fileno(), loop.time())
        elif before is not None:
            before(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(before)
        reserve.close()


class _Reserve:
    """A descriptor that is kept for the time when there is no other."""

    def __init__(self) -> None:
        self._file = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._warned_at: float | None = None
        self._refused = 0

    def refuse(self, listener: int, now: float) -> None:
        """Hang up on everybody who waits at a listening socket, and warn now and then."""
        self.close()
        # Not closed at the end: it is asyncio's.
        waiting = socket.socket(fileno=listener)
        try:
            for _ in range(AT_ONCE):
                waiting.accept()[0].close()
                self._refused += 1
        except OSError:
            pass  # nobody waits any more, or somebody else has taken the descriptor
        finally:
            waiting.detach()
            with contextlib.suppress(OSError):
                self._file = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        if self._warned_at is None or now - self._warned_at >= WARN_EVERY_S:
            self._warned_at = now
            log.warning(
                "Out of descriptors: %d visitors were turned away. A higher `ulimit -n` before the "
                "start allows more.",
                self._refused,
            )
            self._refused = 0

    def close(self) -> None:
        """Give the descriptor up; twice is fine."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
