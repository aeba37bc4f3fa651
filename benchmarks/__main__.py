"""ttybridge beside other web terminals: each row of the table, in turns, against the goals.

python -m benchmarks [--only echo,bulk] [--peers ttybridge,ttyd] [--rounds 3] [--mb 100] [--quick]

Prints the tables as Markdown, and all numbers as one JSON object in the last line; see
benchmarks/README.md.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.foreign import Foreign
from benchmarks.peer import Peer
from benchmarks.peers import ALL as PEERS
from benchmarks.peers.ttyd import VARIABLE
from benchmarks.report import Run, Sample, markdown, replaced
from benchmarks.text import write_text
from benchmarks.wires.ceiling import ceilings
from benchmarks.workload import Case, Settings, Workload, WrongOutputError
from benchmarks.workloads import ALL as WORKLOADS

ONE = 1_000_000
"""Bytes of a megabyte."""

QUICK_BYTES = 500_000
"""Text of `--quick`."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog="workloads: " + ", ".join(workload.name for workload in WORKLOADS),
    )
    parser.add_argument("--only", default="", help="workloads, separated by commas")
    parser.add_argument("--peers", default="", help="peers, separated by commas")
    parser.add_argument("--modes", default="", help="direct or tmux alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mb", type=float, default=100.0, help="text of the throughput rows")
    parser.add_argument("--keys", type=int, default=300, help="keys of an echo measurement")
    parser.add_argument("--stall", type=float, default=20.0, help="how long a client stops, in s")
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--ttyd", default="", help="the program; otherwise from PATH, or fetched")
    parser.add_argument("--quick", action="store_true", help="see that it works; no measurement")
    parser.add_argument("--write", type=Path, help="put the tables into this document, too")
    return parser.parse_args()


def chosen(given: str, known: list[str]) -> list[str]:
    """Return what a list on the command line names, all for none; exits when one is unknown."""
    names = [name for name in given.split(",") if name] or known
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"not known: {', '.join(unknown)}; there are: {', '.join(known)}")
    return [name for name in known if name in names]


def settings_of(wanted: argparse.Namespace, folder: Path) -> Settings:
    """Write the text, and return how much of everything there is to do."""
    text = folder / "text"
    size, digest = write_text(text, QUICK_BYTES if wanted.quick else int(wanted.mb * ONE))
    if wanted.quick:
        return Settings(
            text, size, digest, keys=12, stall_s=0.5, viewers=5, viewers_s=0.5, sessions=4,
            polling_keys=10, typed=8, settle_s=0.3, patience_s=10, is_quick=True,
        )  # fmt: skip
    return Settings(
        text, size, digest, keys=wanted.keys, stall_s=wanted.stall, viewers=wanted.viewers,
        sessions=wanted.sessions,
    )  # fmt: skip


def take(workload: Workload, mode: str, peer: Peer, number: int, settings: Settings) -> Sample:
    """Measure one case."""
    foreign = Foreign()
    numbers, error = {}, ""
    with tempfile.TemporaryDirectory(prefix="tb-bench-") as folder:
        gc.collect()
        gc.disable()  # a collection would count as a late echo
        try:
            numbers = workload.measure(Case(peer, mode, settings, Path(folder)))
        except WrongOutputError as wrong:
            error = f"WRONG: {wrong}"
        except (OSError, EOFError, RuntimeError) as failure:
            error = f"failed: {str(failure).strip() or type(failure).__name__}"
        finally:
            gc.enable()
    return Sample(workload.name, mode, peer.name, number, numbers, error, foreign.share())


def samples_of(
    workloads: list[Workload], peers: list[Peer], modes: list[str], rounds: int, settings: Settings
) -> Iterator[Sample]:
    """Measure everything: the peers of a row in turns, then the next round of it."""
    for workload in workloads:
        for mode in [mode for mode in workload.modes if mode in modes]:
            for number in range(min(rounds, workload.most_rounds)):
                for peer in peers:
                    if workload.includes(peer, mode):
                        yield take(workload, mode, peer, number, settings)


def describe(sample: Sample) -> str:
    """Return a sample as a line."""
    what = " ".join(f"{key}={value:.4g}" for key, value in sample.numbers.items())
    return (
        f"{sample.workload:10}{sample.mode:8}{sample.peer:11}{sample.error or what}"
        f"  [other work {sample.foreign * 100:.0f} %]"
    )


def machine() -> str:
    """Return where this runs."""
    tmux = subprocess.run(["tmux", "-V"], capture_output=True, text=True, check=False)
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} processors ({model}), "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"{tmux.stdout.strip()}. Load average at the begin: {load}."
    )


def main() -> int:
    """Run what was asked for."""
    wanted = arguments()
    if wanted.ttyd:
        os.environ[VARIABLE] = wanted.ttyd
    names = chosen(wanted.only, [workload.name for workload in WORKLOADS])
    workloads = [workload for workload in WORKLOADS if workload.name in names]
    names = chosen(wanted.peers, [peer.name for peer in PEERS])
    asked = [peer for peer in PEERS if peer.name in names]
    modes = chosen(wanted.modes, ["direct", "tmux"])
    rounds = 1 if wanted.quick else wanted.rounds
    skipped = {workload.title: reason for workload in workloads if (reason := workload.missing())}
    workloads = [workload for workload in workloads if workload.title not in skipped]
    where = machine()
    absent = {peer.name: reason for peer in asked if (reason := peer.missing())}
    peers = [peer for peer in asked if peer.name not in absent]
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="tb-bench-text-") as folder:
        settings = settings_of(wanted, Path(folder))
        for sample in samples_of(workloads, peers, modes, rounds, settings):
            print(describe(sample), file=sys.stderr, flush=True)
            samples.append(sample)
    versions = {peer.name: peer.version() for peer in peers}
    taken = {} if wanted.quick else ceilings()
    run = Run(workloads, samples, versions, absent | skipped, where, rounds, taken)
    text = markdown(run)
    print(text)
    if wanted.write:
        wanted.write.write_text(replaced(wanted.write.read_text(), text))
    print(json.dumps(numbers_of(run)))
    return 1 if any(sample.error.startswith("WRONG") for sample in samples) else 0


def numbers_of(run: Run) -> dict[str, object]:
    """Return all numbers for a program."""
    return {
        "machine": run.machine,
        "versions": dict(run.versions),
        "absent": dict(run.absent),
        "ceilings": dict(run.ceilings),
        "samples": [asdict(sample) for sample in run.samples],
        "goals": [
            {
                "workload": workload.name,
                "mode": mode,
                "goal": outcome.goal.text(),
                "verdict": outcome.verdict.value,
                "value": None if outcome.value != outcome.value else outcome.value,
                "peer": outcome.peer,
            }
            for workload, mode, outcome in run.outcomes()
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
