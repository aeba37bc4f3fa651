"""An audience: many viewers of one session, newcomers, and a viewer on a thin line.

python -m benchmarks.audience [--viewers 200] [--seconds 10] [--rounds 2] [--ttyd PATH]

Prints tables, and one JSON object with all numbers at the end; see benchmarks/README.md.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import ceiling, late, slow
from benchmarks.crowd import Crowd, Seen
from benchmarks.flood import TICK_S
from benchmarks.processes import Cost, busy_s, children_of, cost_of
from benchmarks.servers import Server, Ttybridge, Ttyd
from benchmarks.ttyd import fetch_ttyd, find_ttyd

FLOOD = Path(__file__).with_name("flood.py")

AFTER_S = 1.0
"""Most time after the output's end in which its last bytes may still come, in seconds."""

OTHERS_SHARE = 0.1
"""Share of the machine that others may use before the ratios mean little."""

PARTS = ("server", "clients", "tmux")


@dataclass(frozen=True)
class Run:
    """One server with all its viewers, once."""

    name: str
    seen: Seen
    cost: dict[str, Cost]
    """What its parts have cost: the server, its tmux clients, the tmux server."""
    harness_s: float
    """CPU seconds of the viewers' process."""
    source_s: float
    """CPU seconds of the program that writes; the same work for every server."""
    others_s: float
    """CPU seconds of everything else on the machine: of another's work, not of any server."""
    wall_s: float

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all parts."""
        return sum(part.cpu_s for part in self.cost.values())

    @property
    def memory(self) -> int:
        """Bytes of all parts."""
        return sum(part.memory for part in self.cost.values())


def fan_out(server: Server, *, viewers: int, rate: float, seconds: float) -> Run:
    """Have many viewers watch output at a steady rate."""
    with Crowd(server, viewers) as crowd:
        time.sleep(min(1.0, seconds / 4))  # what joining has started is over
        harness = crowd.measure()
        before, begin, busy = server.costs(), time.monotonic(), busy_s()
        pane = server.play(sys.executable, str(FLOOD), str(rate), str(seconds))
        source = 0.0
        while time.monotonic() < begin + seconds:
            time.sleep(0.1)
            source = max(source, cost_of(children_of(pane)).cpu_s)
        time.sleep(min(AFTER_S, seconds / 2))
        after, wall = server.costs(), time.monotonic() - begin
        busy = busy_s() - busy
        reports, harness_after = crowd.report()
    cost = {part: after[part].since(before[part]) for part in PARTS}
    harness = harness_after - harness
    known = sum(part.cpu_s for part in cost.values()) + harness + source
    seen = Seen.of(reports, int(seconds / TICK_S))
    return Run(server.name, seen, cost, harness, source, max(0.0, busy - known), wall)


def median_of(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    """Return the median of a number of several runs."""
    return statistics.median(value(run) for run in runs)


ROWS: tuple[tuple[str, str, Callable[[Run], float]], ...] = (
    ("stamps received, %", ".1f", lambda r: r.seen.received * 100),
    ("output per viewer, MB", ".2f", lambda r: r.seen.output / 1e6),
    ("messages per viewer", ".0f", lambda r: r.seen.messages),
    ("delay p50, ms", ".1f", lambda r: r.seen.p50),
    ("delay p99, ms", ".1f", lambda r: r.seen.p99),
    ("delay max, ms", ".1f", lambda r: r.seen.worst),
    ("last viewer p50, ms", ".1f", lambda r: r.seen.last_p50),
    ("last viewer p99, ms", ".1f", lambda r: r.seen.last_p99),
    ("age of the newest stamp, max, ms", ".0f", lambda r: r.seen.stale_max),
    ("CPU of the server, s", ".2f", lambda r: r.cost["server"].cpu_s),
    ("CPU of tmux clients, s", ".2f", lambda r: r.cost["clients"].cpu_s),
    ("CPU of the tmux server, s", ".2f", lambda r: r.cost["tmux"].cpu_s),
    ("CPU of all three, s", ".2f", lambda r: r.cpu_s),
    ("memory of all three, MB", ".1f", lambda r: r.memory / 1e6),
    ("processes", ".0f", lambda r: sum(part.count for part in r.cost.values())),
    ("hard resets", ".0f", lambda r: r.seen.hard),
    ("viewers cut off", ".0f", lambda r: r.seen.lost),
    ("CPU of the viewers, s", ".2f", lambda r: r.harness_s),
    ("CPU of the writing program, s", ".2f", lambda r: r.source_s),
    ("CPU of everything else, s", ".2f", lambda r: r.others_s),
)


def print_table(runs: Sequence[Run]) -> None:
    """Print the medians of every server, and the ratio of the first one to the others."""
    names = list(dict.fromkeys(run.name for run in runs))
    print(f"{'':34}" + "".join(f"{name:>14}" for name in names), end="")
    print(f"{'ratio':>12}" if len(names) > 1 else "")
    for title, form, value in ROWS:
        medians = [median_of([r for r in runs if r.name == name], value) for name in names]
        line = f"{title:34}" + "".join(f"{median:>14{form}}" for median in medians)
        if len(medians) > 1:
            line += f"{medians[0] / medians[1]:>12.3f}" if medians[1] else f"{'-':>12}"
        print(line)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0, help="output per run")
    parser.add_argument("--rate", type=float, default=1e6, help="bytes of output a second")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each server, in turns")
    parser.add_argument("--joins", type=int, default=50, help="late joiners")
    parser.add_argument("--thin", type=float, default=20e3, help="bytes a second of the thin line")
    parser.add_argument("--ttyd", default="", help="the program; otherwise from PATH, or fetched")
    parser.add_argument("--no-ttyd", action="store_true", help="measure this project alone")
    parser.add_argument("--only", choices=("fan-out", "late", "slow"), help="one part alone")
    return parser.parse_args()


def main() -> int:
    """Run everything that was asked for."""
    wanted = arguments()
    with_ttyd = not wanted.no_ttyd and wanted.only in (None, "fan-out")
    ttyd = find_ttyd(wanted.ttyd) or fetch_ttyd() if with_ttyd else None
    if ttyd is None and with_ttyd:
        print("There is no ttyd: measuring ttybridge alone. Give it with --ttyd PATH.")
    numbers: dict[str, object] = {}
    if wanted.only in (None, "fan-out"):
        print(f"== {wanted.viewers} viewers, {wanted.rate / 1e6:g} MB/s for {wanted.seconds:g} s")
        runs = []
        for _ in range(wanted.rounds):
            for start in (Ttybridge, lambda: Ttyd(ttyd) if ttyd else None):
                server = start()
                if server is None:
                    continue
                with server:
                    run = fan_out(
                        server,
                        viewers=wanted.viewers,
                        rate=wanted.rate,
                        seconds=wanted.seconds,
                    )
                runs.append(run)
                print(f"   {run.name}: {run.cpu_s:.2f} CPU s, last p99 {run.seen.last_p99:.1f} ms")
        print_table(runs)
        share = max(run.others_s / run.wall_s for run in runs) / (os.cpu_count() or 1)
        if share > OTHERS_SHARE:
            print(
                f"! Other work took {share * 100:.0f} % of this machine: who needs much had less"
                " than it needs, and the ratios flatter it. Repeat this when it is quiet."
            )
        top = ceiling.measure(wanted.viewers, seconds=min(1.5, wanted.seconds / 4))
        print(f"the viewers' process takes, in a CPU second: {top.describe()}")
        numbers["fanOut"] = [asdict(run) | {"cpu_s": run.cpu_s} for run in runs]
        numbers["ceiling"] = asdict(top)
    if wanted.only in (None, "late"):
        print(f"== {wanted.joins} late joiners, each screen compared cell by cell")
        numbers["late"] = late.measure(wanted.joins)
    if wanted.only in (None, "slow"):
        print(f"== one viewer at {wanted.thin / 1e3:g} KB/s, {wanted.rate / 1e6:g} MB/s of output")
        numbers["slow"] = slow.measure(
            rate=wanted.rate, seconds=wanted.seconds, thin=wanted.thin, others=4
        )
    print(json.dumps(numbers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
