"""Keeps one agent of a tunnel, and ends it when the bridge is gone.

Started as `python -IS warden.py PIPE PROGRAM ARGUMENTS…`, in a session of its own. PIPE is a named
pipe that the bridge holds open for writing: when the bridge ends, in whatever way, the other end
reports it, and the agent is ended, with all processes of its group. When the warden itself is
killed, the kernel kills the agent.
Input and output are the agent's; the exit status is the agent's own (128 + N after signal N).
It stands alone: nothing of the package is imported.
"""

import contextlib
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
"""Option of prctl(2): the signal that a child gets when its parent ends."""

GRACE_S = 2.0
"""Time for the agent to end by itself after SIGTERM, in seconds."""


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; without ctypes, it does not."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before that was asked for
        os._exit(1)


def start(argv: list[str]) -> int:
    """Start the agent and return its process id."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            die_with_parent(parent)
            os.execvp(argv[0], argv)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)
    return pid


def ended(pid: int) -> int | None:
    """Return the agent's exit status as a shell has it; None while it runs."""
    done, status = os.waitpid(pid, os.WNOHANG)
    if not done:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def is_let_go(pipe: int) -> bool:
    """Tell whether nobody holds the other end of the pipe any more."""
    polling = select.poll()
    polling.register(pipe, 0)  # POLLHUP is always reported
    return bool(polling.poll(0))


def main(argv: list[str]) -> int:
    """Run the agent until it ends, the bridge ends, or SIGTERM or SIGINT comes."""
    pipe = os.open(argv[0], os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    wake, waker = os.pipe()
    for descriptor in (wake, waker):
        os.set_blocking(descriptor, False)
        os.set_inheritable(descriptor, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    with contextlib.suppress(BlockingIOError):  # nothing to read, and somebody who could write
        if os.read(pipe, 1) == b"":
            return 1  # the bridge has ended already
    pid = start(argv[1:])
    polling = select.poll()
    polling.register(pipe, 0)  # POLLHUP is always reported
    polling.register(wake, select.POLLIN)
    until: float | None = None
    while (status := ended(pid)) is None:
        left_s = None if until is None else max(0.0, until - time.monotonic())
        found = dict(polling.poll(None if left_s is None else left_s * 1000 + 1))
        signals: bytes = b""
        if wake in found:
            with contextlib.suppress(BlockingIOError):
                signals = os.read(wake, 64)
        if pipe in found:
            polling.unregister(pipe)
        is_told = any(n in signals for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        if until is None and (is_told or pipe in found):
            until = time.monotonic() + GRACE_S
            os.kill(pid, signal.SIGTERM)
        elif until is not None and time.monotonic() >= until:
            os.kill(pid, signal.SIGKILL)
    if is_let_go(pipe) and os.getpgrp() == os.getpid():
        # Nobody else is left to end what the agent has started; this ends ourselves, too.
        os.killpg(0, signal.SIGKILL)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
