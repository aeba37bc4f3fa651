"""How long the command takes: from its start to the first prompt, and its subcommands.

`python -m benchmarks.startup`; beside `plain_bridge`, in turns. `--against DIR` takes another
checkout in, for before and after.
"""

import argparse
import compileall
import contextlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.client import Client

ROOT = Path(__file__).resolve().parents[1]

PROMPT = b"ready$"
"""The shell's prompt; the first bytes of output may be something else."""

TOKEN = "a-token-for-measuring-how-fast-it-starts"  # noqa: S105

START_S = 20.0
"""Longest time for anything here, in seconds."""


@dataclass
class Times:
    """What was measured in one way, in milliseconds."""

    listening: list[float] = field(default_factory=list)
    """From the start of the process until it takes a connection."""
    prompt: list[float] = field(default_factory=list)
    """Until a client that connects as soon as it can has the shell's prompt."""
    cpu: list[float] = field(default_factory=list)
    """CPU time of the process until it has ended."""


class Home:
    """A folder with a shell that is fast to start, and the environment of all that is measured."""

    def __init__(self) -> None:
        """Make it."""
        self.path = Path(tempfile.mkdtemp(prefix="tb-start-"))
        for name in (".bashrc", ".bash_profile"):
            (self.path / name).write_text(f"PS1='{PROMPT.decode()} '\n")
        dropped = ("TMUX", "TTYBRIDGE_", "PYTHON", "XDG_")
        self.env = {n: v for n, v in os.environ.items() if not n.startswith(dropped)}
        self.env |= {"HOME": str(self.path), "SHELL": "/bin/bash", "LANG": "C.UTF-8"}
        self.env |= {"TERM": "xterm-256color", "TTYBRIDGE_TOKEN": TOKEN, "TMPDIR": str(self.path)}

    def of(self, checkout: Path) -> dict[str, str]:
        """Return the environment in which the package is that of a checkout."""
        return {**self.env, "PYTHONPATH": str(checkout)}

    @contextlib.contextmanager
    def tmux(self) -> Iterator[list[str]]:
        """Give a command line for a tmux server that does not run yet; end it afterwards."""
        base = ["tmux", "-S", str(self.path / "tmux")]
        try:
            yield base
        finally:
            subprocess.run([*base, "kill-server"], env=self.env, capture_output=True)

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.path, ignore_errors=True)


def first_prompt(argv: Sequence[str], port: int, home: Home, env: dict[str, str]) -> Times:
    """Start a server and come in as soon as it listens; see `Times`."""
    began = time.perf_counter()
    process = subprocess.Popen(
        argv, env=env, cwd=home.path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        wait_until_up(process, port)
        listening = time.perf_counter()
        come_in(port).close()
        prompt = time.perf_counter()
    finally:
        usage = None
        process.terminate()
        if process.returncode is None:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    assert usage is not None
    cpu = (usage.ru_utime + usage.ru_stime) * 1e3
    return Times([(listening - began) * 1e3], [(prompt - began) * 1e3], [cpu])


def wait_until_up(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a server takes connections.

    Raises:
        RuntimeError: It does not.
    """
    until = time.perf_counter() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.perf_counter() > until:
                raise RuntimeError("the server did not start; it said why above") from None
            time.sleep(0.001)
        else:
            return


def come_in(port: int) -> Client:
    """Come in, and wait until the prompt is there."""
    client = Client(port, TOKEN)
    client.wait_for(PROMPT)
    return client


def run_to_end(argv: Sequence[str], home: Home, env: dict[str, str]) -> float:
    """Return how long a command takes, in milliseconds."""
    began = time.perf_counter()
    subprocess.run(argv, env=env, cwd=home.path, stdin=subprocess.DEVNULL, capture_output=True)
    return (time.perf_counter() - began) * 1e3


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def server_argv(name: str, mode: str, port: int, tmux: Sequence[str]) -> list[str]:
    """Return the arguments of Python that start a server.

    Args:
        name: `plain`, or anything else for ttybridge.
        mode: `direct` or `tmux`.
        port: Where it listens.
        tmux: Command line of tmux with the server's socket.
    """
    if name == "plain":
        command = ["bash"] if mode == "direct" else [*tmux, "new", "-A", "-s", "0"]
        return ["-m", "benchmarks.plain_bridge", str(port), *command]
    command = ["--", "bash"] if mode == "direct" else [*tmux[1:]]
    return ["-m", "ttybridge", "-q", "--port", str(port), *command]


def prepare(checkouts: Iterable[Path]) -> None:
    """Compile everything, as pip does when it installs: what is measured is not the compiler."""
    for folder in (sysconfig.get_path("purelib"), ROOT / "benchmarks"):
        compileall.compile_dir(str(folder), quiet=2)
    for checkout in checkouts:
        compileall.compile_dir(str(checkout / "ttybridge"), quiet=2)


def measure_starts(checkouts: dict[str, Path], home: Home, rounds: int) -> dict[str, Times]:
    """Measure the way to the first prompt of every server, in turns."""
    found: dict[str, Times] = {}
    for _ in range(rounds):
        for mode in ("direct", "tmux"):
            for name in ("plain", *checkouts):
                port = free_port()
                with home.tmux() as tmux:
                    env = home.of(checkouts.get(name, ROOT))
                    argv = server_argv(name, mode, port, tmux)
                    took = first_prompt([sys.executable, *argv], port, home, env)
                times = found.setdefault(f"{name}, {mode}", Times())
                times.listening += took.listening
                times.prompt += took.prompt
                times.cpu += took.cpu
    return found


SUBCOMMANDS = (
    *("--version", "--help", "status", "link", "share", "who", "env", "doctor"),
    *("share --help", "ssh --help", "connect --help", "ssh http://127.0.0.1:9", "options"),
    "connect http://127.0.0.1:9",
)
"""What is run to its end; a bridge runs meanwhile, and nobody listens on port 9."""


def measure_commands(checkouts: dict[str, Path], home: Home, rounds: int) -> dict[str, list[float]]:
    """Measure subcommands, in turns."""
    found: dict[str, list[float]] = {}
    port = free_port()
    argv = [sys.executable, "-m", "ttybridge", "-q", "--port", str(port), "--", "bash"]
    bridge = subprocess.Popen(
        argv, env=home.of(ROOT), cwd=home.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    try:
        assert bridge.stdout is not None
        bridge.stdout.readline()
        for _ in range(rounds):
            took = run_to_end([sys.executable, "-c", "pass"], home, home.env)
            found.setdefault("python -c pass", []).append(took)
            for command in SUBCOMMANDS:
                for name, checkout in checkouts.items():
                    argv = [sys.executable, "-m", "ttybridge", *command.split()]
                    took = run_to_end(argv, home, home.of(checkout))
                    found.setdefault(f"{name} {command}", []).append(took)
    finally:
        bridge.send_signal(signal.SIGTERM)
        bridge.communicate()
    return found


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return the median with the least and the greatest."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--only", choices=("start", "commands"))
    given = parser.parse_args()
    checkouts = {"ttybridge": ROOT}
    if given.against:
        checkouts["against"] = given.against.resolve()
    prepare(checkouts.values())
    home = Home()
    try:
        if given.only != "commands":
            starts = measure_starts(checkouts, home, given.rounds)
            print(f"{'ms: median (min–max)':24}{'listening':>22}{'first prompt':>22}{'CPU':>22}")
            for name, times in starts.items():
                columns = (times.listening, times.prompt, times.cpu)
                print(f"{name:24}" + "".join(f"{spread(c):>22}" for c in columns))
        if given.only != "start":
            for name, took in measure_commands(checkouts, home, given.rounds).items():
                print(f"{name:44}{spread(took):>22}")
    finally:
        home.remove()


if __name__ == "__main__":
    main()
