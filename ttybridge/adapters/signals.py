"""The signals that stop the bridge, and the one that must not."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterator

log = logging.getLogger(__name__)


@contextlib.contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """Set the event on SIGINT and SIGTERM, and on SIGHUP when our terminal is gone."""
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
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
        if nohup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _has_terminal() -> bool:
    """Tell whether this process has a controlling terminal that can be used."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
