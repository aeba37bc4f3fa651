"""Fuzzes the targets, one after the other, and prints a table: `python -m fuzz --seconds 60`.

An input that a target fails at is kept in `test-results/fuzz`, its traceback is shown, and the exit
status is 1. `python -m fuzz --replay FILE TARGET` runs it once more, without atheris.
"""

import argparse
import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
RESULTS = ROOT / "test-results" / "fuzz"
TARGETS = ("protocol", "access", "output")

LONGEST_INPUT = 4096
"""Longest input that is made, in bytes: where parsers have limits, tests name them."""

ONE_INPUT_S = 10
"""Time in which a target must be through with an input, in seconds; more is a finding."""

RSS_MB = 1024
"""Memory of a target's process that is a finding, in MB."""

NO_ATHERIS = (
    "atheris is not installed: it has wheels for CPython 3.11 to 3.14 on x86-64 Linux. "
    "`make fuzz` installs it there."
)


@dataclass(frozen=True)
class Ran:
    """What came of a target."""

    target: str
    seconds: float
    executions: int
    edges: int
    features: int
    corpus: int
    finding: str = ""

    @property
    def row(self) -> str:
        """A row of the table."""
        rate = self.executions / self.seconds if self.seconds else 0.0
        return (
            f"| `{self.target}` | {self.seconds:,.0f} | {self.executions:,} | {rate:,.0f} | "
            f"{self.edges:,} | {self.features:,} | {self.corpus:,} | {self.finding or 'none'} |"
        )


HEAD = (
    "| target | seconds | inputs | inputs/s | edges | features | corpus | findings |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
)


def fuzz(target: str, seconds: int, seed: int) -> Ran:
    """Fuzz one target for a time.

    Args:
        target: One of TARGETS.
        seconds: How long.
        seed: Where chance begins; 0 for another one each time.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    prefix = RESULTS / f"{target}-"
    with tempfile.TemporaryDirectory() as found:
        argv = [
            *(sys.executable, "-m", "fuzz.worker", target, found, str(CORPUS / target)),
            *(f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", f"-seed={seed}"),
            *(f"-timeout={ONE_INPUT_S}", f"-rss_limit_mb={RSS_MB}"),
            *(f"-artifact_prefix={prefix}", "-print_final_stats=1"),
        ]
        before = time.monotonic()
        done = subprocess.run(
            argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        spent = time.monotonic() - before
    said = done.stdout.decode(errors="replace")
    finding = re.findall(r"Test unit written to (\S+)", said)
    if done.returncode != 0:
        print(said[-6000:], file=sys.stderr)
    last = (re.findall(r"#(\d+)\s.*?cov: (\d+) ft: (\d+) corp: (\d+)/", said) or [("0",) * 4])[-1]
    inputs = re.search(r"stat::number_of_executed_units: (\d+)", said)
    named = Path(finding[-1]).name if finding else f"status {done.returncode}"
    return Ran(
        target,
        spent,
        int(inputs[1] if inputs else last[0]),
        *(int(last[1]), int(last[2]), int(last[3])),
        finding="" if done.returncode == 0 else named,
    )


def replay(file: Path, target: str) -> None:
    """Run one input; a finding raises."""
    importlib.import_module(f"fuzz.fuzz_{target}").one_input(file.read_bytes())


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target; 60 by default")
    parser.add_argument("--seed", type=int, default=0, help="where chance begins")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run this input once")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if asked.replay is not None:
        if len(asked.targets) != 1:
            parser.error("--replay takes one target")
        replay(asked.replay, asked.targets[0])
        print("nothing found")
        return 0
    if importlib.util.find_spec("atheris") is None:
        print(NO_ATHERIS, file=sys.stderr)
        return 2
    ran = []
    for target in asked.targets or TARGETS:
        ran.append(fuzz(target, asked.seconds, asked.seed))
        print(HEAD if len(ran) == 1 else "", end="\n" if len(ran) == 1 else "")
        print(ran[-1].row, flush=True)
    return int(any(each.finding for each in ran))


if __name__ == "__main__":
    sys.exit(main())
