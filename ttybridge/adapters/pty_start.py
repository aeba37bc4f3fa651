"""Starts a program on a new pty: by posix_spawn where that can be, else by ptyprocess, which forks.

To fork a process with Python in it, and to run Python in the child, takes 4 ms, in which the event
loop stands still for everybody; posix_spawn takes 0.3 ms. It cannot change the folder, so it
is for programs that run where the bridge does, as the clients of tmux usually do. On Linux, a
session leader without a terminal gets the one that it opens first as its own (tty_ioctl(4)).

Either way the program leads a session of its own, has default signals, an empty signal mask, and no
descriptor but the pty.
"""

import contextlib
import os
import signal
import sys
import termios
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import ptyprocess

from ttybridge.model import WindowSize

_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


def start(
    program: str,
    argv: Sequence[str],
    *,
    environment: Mapping[bytes, bytes],
    cwd: str,
    size: WindowSize,
) -> tuple[int, int]:
    """Start a program; returns when it has been started.

    Args:
        program: Its path.
        argv: What it is called as, and its arguments.
        environment: Its whole environment.
        cwd: Its working directory.
        size: The window size.

    Returns:
        Its process id, and the descriptor of the pty's other side.

    Raises:
        OSError: It cannot be started; nothing is left of it.
    """
    if sys.platform == "linux" and _is_own_folder(cwd):
        master, slave = os.openpty()
        try:
            termios.tcsetwinsize(slave, (size.rows, size.cols))
            pid = _spawn(program, argv, environment, os.ttyname(slave))
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        return pid, master
    return _fork(program, argv, environment, cwd, size)


def _is_own_folder(cwd: str) -> bool:
    try:
        return Path(cwd).samefile(".")
    except OSError:
        return False


def _spawn(program: str, argv: Sequence[str], environment: Mapping[bytes, bytes], tty: str) -> int:
    """Start a program on a terminal that nobody has as their own yet; return its process id."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, tty, os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()),
    ]
    return os.posix_spawn(
        program,
        list(argv),
        environment,
        file_actions=actions,
        setsid=True,
        setsigmask=(),
        setsigdef=_SIGNALS,
    )


def _inheritable() -> list[int]:
    """Return this process's descriptors that a child would get; Python's own are none of them."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        descriptor = int(entry.name)
        with contextlib.suppress(OSError):  # the one that the folder was read by
            if descriptor > 2 and os.get_inheritable(descriptor):
                found.append(descriptor)
    return found


def _fork(
    program: str,
    argv: Sequence[str],
    environment: Mapping[bytes, bytes],
    cwd: str,
    size: WindowSize,
) -> tuple[int, int]:
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of fork in a process with threads; the child only
            # resets signals and calls exec.
            warnings.simplefilter("ignore", DeprecationWarning)
            process = ptyprocess.PtyProcess.spawn(
                [program, *argv[1:]],
                env=dict(environment),
                preexec_fn=lambda: _prepare(cwd),
                dimensions=(size.rows, size.cols),
            )
    except OSError as error:
        _clean_up(error)
        raise
    return process.pid, _take_descriptor(process)


def _take_descriptor(process: ptyprocess.PtyProcess) -> int:
    """Return the pty's descriptor, and leave the process to be collected.

    Its file has two buffers, which nobody uses: 17 KB for each client. What ptyprocess would do
    when collected blocks for up to 0.4 s.
    """
    descriptor = os.dup(process.fd)
    process.fileobj.close()
    process.closed = True
    process.fd = -1
    return descriptor


def _clean_up(error: OSError) -> None:
    """Close and reap what ptyprocess 0.7 leaves behind when it could not start a program."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        left = frame.f_locals
        process = left.get("inst")
        if isinstance(process, ptyprocess.PtyProcess):
            process.fileobj.close()
            process.closed = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # somebody else waits for every child
                os.waitpid(process.pid, 0)
        elif "exec_err_pipe_read" in left:  # fork failed: its pipe is still open
            os.close(left["exec_err_pipe_read"])
            os.close(left["exec_err_pipe_write"])


def _prepare(cwd: str) -> None:
    """Change the folder and reset signals; runs between fork and exec.

    An error in here reaches the parent; one of ptyprocess's own `cwd` goes on in the child.
    """
    os.chdir(cwd)
    _reset_signals()


def _reset_signals() -> None:
    """Give the child default signal dispositions and an empty mask; runs between fork and exec.

    Under nohup, `&` or a notebook kernel SIGINT and SIGHUP are ignored, Python ignores SIGPIPE,
    and what is ignored stays so across exec: Ctrl-C would do nothing in every shell.
    """
    for number in _SIGNALS:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
