"""Python calls on the two hottest paths: a key with its echo, and a megabyte of output.

python -m benchmarks.calls [--tree FOLDER] [--top 12]

Counts do not depend on what else the machine does, so two versions can be compared: `--tree` names
another working tree of this project with its page built. The server runs in `cProfile` twice for
each path, with different amounts of work; the difference is what the work has cost.
"""

import argparse
import pstats
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.driving import Client
from benchmarks.peer import NO_MORE
from benchmarks.peers.ttybridge import RunningTtybridge, Ttybridge
from benchmarks.programs import ROOT

WAIT_S = 60.0
"""Most time for one run to answer, in seconds."""

KEYS = (200, 1200)
MEGABYTES = (4, 24)
"""How much work there is in the two runs."""

READY = b"ready-for-keys"

LINE = "0123456789 the quick brown fox \x1b[32mjumps\x1b[0m over the lazy dog"


class Profiled(Ttybridge):
    """ttybridge of any working tree, in a profiler."""

    def __init__(self, tree: Path, result: Path) -> None:
        """Run what is in `tree`; `result` takes the profile when the server ends."""
        self._tree, self._result = tree, result

    def start(
        self, mode: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] = NO_MORE
    ) -> RunningTtybridge:
        """Start it with a direct command."""
        command = [sys.executable, "-m", "cProfile", "-o", str(self._result), "-m", "ttybridge"]
        command += ["--quiet", "--port", "0", "--wait", "--", *argv]
        more = {"PYTHONPATH": str(self._tree), **env}
        return RunningTtybridge(command, mode=mode, folder=folder, env=more, port=0)


def type_keys(count: int) -> tuple[list[str], Callable[[Client], None]]:
    """Return a program, and what presses so many keys and awaits the echo of each."""

    def drive(client: Client) -> None:
        client.wait(READY, WAIT_S)
        for _ in range(count):
            client.wire.write(b"k")
            client.wait(b"k", WAIT_S)

    return ["bash", "-c", f"stty -echo raw; printf {READY.decode()}; exec cat"], drive


def show_text(megabytes: int) -> tuple[list[str], Callable[[Client], None]]:
    """Return a program, and what has it write so many megabytes and reads them."""

    def drive(client: Client) -> None:
        client.wait(READY, WAIT_S)
        client.wire.write(b"\n")
        client.wait(b"written", WAIT_S)

    flood = f"yes $'{LINE}' | head -c {megabytes * 1_000_000}; printf writ; printf ten; exec cat"
    return ["bash", "-c", f"stty -echo; printf {READY.decode()}; read -r _; {flood}"], drive


def calls_of(tree: Path, argv: Sequence[str], drive: Callable[[Client], None]) -> Counter[str]:
    """Return how often each function of the server was called in a run."""
    with tempfile.TemporaryDirectory(prefix="ttybridge-calls-") as name:
        folder, result = Path(name), Path(name) / "profile"
        with Profiled(tree, result).start("direct", argv, folder) as running:
            with running.open() as wire:
                drive(Client(wire))
            running.process.terminate()
            running.process.wait(WAIT_S)
        calls: Counter[str] = Counter()
        for (file, _, function), (_, count, *_rest) in pstats.Stats(str(result)).stats.items():  # type: ignore[attr-defined]
            calls[f"{Path(file).stem}.{function}" if file != "~" else function] += count
        return calls


def per_unit(
    tree: Path,
    path: Callable[[int], tuple[list[str], Callable[[Client], None]]],
    amounts: tuple[int, int],
) -> Counter[str]:
    """Return the calls that one unit of work takes, times 1000."""
    less, more = (calls_of(tree, *path(amount)) for amount in amounts)
    span = amounts[1] - amounts[0]
    return Counter({name: 1000 * (more[name] - less[name]) // span for name in more})


def main() -> None:
    """Print both paths."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tree", type=Path, default=ROOT, help="working tree of the server")
    parser.add_argument("--top", type=int, default=12, help="how many functions to name")
    options = parser.parse_args()
    for title, path, amounts in (
        ("one key and its echo", type_keys, KEYS),
        ("one megabyte of text", show_text, MEGABYTES),
    ):
        calls = per_unit(options.tree.resolve(), path, amounts)
        print(f"{title}: {sum(calls.values()) / 1000:.0f} calls")
        for name, count in calls.most_common(options.top):
            print(f"  {count / 1000:8.2f}  {name}")


if __name__ == "__main__":
    main()
