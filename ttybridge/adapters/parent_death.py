"""Has a child end with the bridge, even when that is killed: PR_SET_PDEATHSIG of prctl(2)."""

import os
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
"""Option of prctl(2): the signal that a child gets when the thread that made it ends (Linux)."""


def killed_with_parent() -> Callable[[], None]:
    """Return what a child has to run between fork and exec, to be killed when its parent ends.

    Only for children that the main thread starts, which lives as long as the process. Where the
    call does not exist, it does nothing.
    """
    import ctypes  # takes milliseconds, and few children need it

    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return lambda: None
    parent = os.getpid()

    def run() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it has ended before
            os._exit(0)

    return run
