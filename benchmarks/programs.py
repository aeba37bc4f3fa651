"""Starting servers, and ending them with everything that they have started."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.processes import PROC, children_of

ROOT = Path(__file__).resolve().parents[1]

START_S = 20.0
"""Longest time for a server to start, in seconds."""

END_S = 10.0
"""Longest time for a program to end by itself, in seconds."""


def clean_environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that servers and programs get: the same for all.

    Nobody's own of tmux, of ttybridge, and of Python: PYTHONDONTWRITEBYTECODE alone makes each
    start compile everything anew.
    """
    foreign = ("TMUX", "TTYBRIDGE_", "PYTHON")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return env | {"LANG": "C.UTF-8", "TERM": "xterm-256color", "HOME": str(home), **more}


def undisturbed(argv: Sequence[str]) -> list[str]:
    """Return a command that ignores no signal, though this process may: after nohup, or with &.

    What is ignored stays so in all that is started: Ctrl-C would do nothing in a shell.
    """
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    ignored = [number for number in numbers if signal.getsignal(number) == signal.SIG_IGN]
    if not ignored:
        return list(argv)
    names = ",".join(number.name.removeprefix("SIG") for number in ignored)
    return ["env", f"--default-signal={names}", *argv]


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a server listens; raises RuntimeError, with its log, when it does not."""
    until = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until or process.poll() is not None:
                text = log.read_text(errors="replace")[-1000:]
                raise RuntimeError(f"{process.args!r} did not start:\n{text}") from None
            time.sleep(0.001)
        else:
            return


def lives(pid: int) -> bool:
    """Return whether a process runs; one that has ended and was not reaped does not."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> None:
    """End a program of ours by a signal, and by force when that is not enough."""
    process.send_signal(number)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_end(pids: Iterable[int]) -> None:
    """Wait until processes that are not our children have ended; end those that do not."""
    left = list(pids)
    for number, seconds in ((0, 0.5), (signal.SIGHUP, 1.0), (signal.SIGKILL, END_S)):
        until = time.monotonic() + seconds
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while (left := [pid for pid in left if lives(pid)]) and time.monotonic() < until:
            time.sleep(0.002)
    if left:
        raise RuntimeError(f"processes {left} do not end")


def tmux_pid(socket_path: Path, env: Mapping[str, str]) -> int:
    """Return the process of a tmux server; 0 when there is none."""
    argv: Sequence[str] = ("tmux", "-S", str(socket_path), "display-message", "-p", "#{pid}")
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def kill_tmux(socket_path: Path, env: Mapping[str, str]) -> None:
    """End a tmux server, and all that runs in it."""
    pid = tmux_pid(socket_path, env)
    pids = [pid, *children_of(pid)] if pid else []
    argv: Sequence[str] = ("tmux", "-S", str(socket_path), "kill-server")
    subprocess.run(argv, env=env, capture_output=True, check=False)
    await_end(pids)  # a shell writes its history when it is gone
