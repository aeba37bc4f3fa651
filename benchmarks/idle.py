"""What a client costs that does nothing: the way to its prompt, and the server's memory.

`python -m benchmarks.idle`: 100 clients come one after the other and stay. Beside `plain_bridge`,
in turns; `--against DIR` takes another checkout in.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.client import Client, stay
from benchmarks.processes import cost_of
from benchmarks.startup import (
    ROOT,
    Home,
    come_in,
    free_port,
    prepare,
    server_argv,
    spread,
    wait_until_up,
)

SETTLE_S = 2.0
"""Time after the last client until memory is looked at, in seconds."""


def measure(argv: list[str], port: int, home: Home, env: dict[str, str], count: int) -> list[float]:
    """Have clients come; return the time of each to its prompt in ms, and the KB of each, last."""
    process = subprocess.Popen(
        argv, env=env, cwd=home.path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    clients: list[Client] = []
    try:
        wait_until_up(process, port)
        clients.append(come_in(port))  # what the first one makes, the others find
        before, took = 0, []
        for number in range(count + 1):
            began = time.perf_counter()
            clients.append(come_in(port))
            took.append((time.perf_counter() - began) * 1e3)
            if number == 0:
                stay(clients, SETTLE_S)
                before = cost_of([process.pid]).memory
        stay(clients, SETTLE_S)
        after = cost_of([process.pid]).memory
    finally:
        for client in clients:
            client.close()
        process.terminate()
        process.wait()
    return [*took[1:], (after - before) / 1024 / count]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--mode", choices=("direct", "tmux"))
    given = parser.parse_args()
    checkouts = {"ttybridge": ROOT}
    if given.against:
        checkouts["against"] = given.against.resolve()
    prepare(checkouts.values())
    found: dict[str, list[list[float]]] = {}
    home = Home()
    try:
        for _ in range(given.rounds):
            for mode in (given.mode,) if given.mode else ("direct", "tmux"):
                for name in ("plain", *checkouts):
                    port = free_port()
                    with home.tmux() as tmux:
                        argv = server_argv(name, mode, port, tmux)
                        if name != "plain":
                            argv[3:3] = ["--max-clients", str(given.clients + 10)]
                        env = home.of(checkouts.get(name, ROOT))
                        took = measure([sys.executable, *argv], port, home, env, given.clients)
                    found.setdefault(f"{name}, {mode}", []).append(took)
    finally:
        home.remove()
    print(f"{given.clients} clients, median (min–max)")
    print(f"{'':22}{'to the prompt, p50 ms':>24}{'p99 ms':>20}{'KB of the server each':>24}")
    for name, rounds in found.items():
        times = [sorted(each[:-1]) for each in rounds]
        p50 = spread([statistics.median(each) for each in times], 1)
        p99 = spread([each[len(each) * 99 // 100] for each in times], 1)
        memory = spread([each[-1] for each in rounds], 1)
        print(f"{name:22}{p50:>24}{p99:>20}{memory:>24}")


if __name__ == "__main__":
    main()
