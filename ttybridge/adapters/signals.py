"""The signals that stop the bridge, the one that must not, and the one that tells of children."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

log = logging.getLogger(__name__)

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """Set the event on SIGINT and SIGTERM, and on SIGHUP when our terminal is gone.

    Enter it before any child is started. What a parent ignores or blocks stays so across exec:
    SIGCHLD is set to its default, for while it is ignored the kernel reaps our children and
    nobody learns how they ended. That, and that none of these is blocked, lasts.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    had_terminal = _has_terminal()
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def on_hangup() -> None:
        # `detach-client -P` sends SIGHUP to the parent of the tmux client, which is us.
        if had_terminal and not _has_terminal():
            stop.set()
        else:
            log.info("SIGHUP ignored: the terminal is still there, or there never was one")

    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGHUP, (lambda: None) if nohup else on_hangup)
    # Last: one that waits arrives now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_STOPPING, signal.SIGCHLD))
    try:
        yield stop
    finally:
        for number in _STOPPING:
            loop.remove_signal_handler(number)
        if nohup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def ends_before(task: "asyncio.Task[Any]", stop: asyncio.Event) -> bool:
    """Wait for a task's end or for `stop`, whichever is first; the task goes on.

    Returns:
        Whether the task has ended.
    """
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        return task.done()
    finally:
        stopped.cancel()
        await asyncio.gather(stopped, return_exceptions=True)


def _has_terminal() -> bool:
    """Tell whether this process has a controlling terminal that can be used."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
