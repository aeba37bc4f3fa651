"""The tables: what was measured, beside the goals; pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.goals import Goal, Outcome, Verdict, judge
from benchmarks.stats import spread
from benchmarks.workload import Column, Numbers, Workload

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
"""Around what a run writes into a document."""

FOREIGN_SHARE = 0.1
"""Share of the machine that other work may have before the numbers mean little."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one case."""

    workload: str
    mode: str
    peer: str
    round: int
    numbers: Numbers
    error: str = ""
    """Why there are no numbers."""
    foreign: float = 0.0
    """Share of all processors that other work had meanwhile."""


@dataclass(frozen=True, slots=True)
class Run:
    """All of a run."""

    workloads: Sequence[Workload]
    samples: Sequence[Sample]
    versions: Mapping[str, str]
    """By peer, those that took part."""
    absent: Mapping[str, str]
    """By peer, or by workload, why it did not."""
    machine: str
    """One sentence: processors, kernel, versions, load."""
    rounds: int
    ceilings: Mapping[str, float] = field(default_factory=dict)
    """MB that our clients take in a second of their own CPU time, by protocol."""

    def medians(self, workload: Workload, mode: str) -> dict[str, dict[str, float]]:
        """Return the medians of all rounds, by peer and column.

        A peer that has failed in one round has none: it did not do what was asked for.
        """
        found: dict[str, dict[str, float]] = {}
        for peer, samples in self.by_peer(workload, mode).items():
            if any(sample.error for sample in samples):
                continue
            found[peer] = {}
            for column in workload.columns:
                values = [s.numbers[column.key] for s in samples if column.key in s.numbers]
                known = spread(values)
                if known is not None:
                    found[peer][column.key] = known.median
        return found

    def by_peer(self, workload: Workload, mode: str) -> dict[str, list[Sample]]:
        """Return the samples of a row, by peer, in the order of the peers."""
        found: dict[str, list[Sample]] = {}
        for peer in self.versions:
            mine = [
                s
                for s in self.samples
                if (s.workload, s.mode, s.peer) == (workload.name, mode, peer)
            ]
            if mine:
                found[peer] = mine
        return found

    def outcomes(self) -> list[tuple[Workload, str, Outcome]]:
        """Return what became of every goal of the rows that were run."""
        return [
            (workload, mode, judge(goal, self.medians(workload, mode)))
            for workload in self.workloads
            for mode in workload.modes
            if self.by_peer(workload, mode)
            for goal in workload.goals.get(mode, ())
        ]


def markdown(run: Run) -> str:
    """Return everything as Markdown."""
    parts = [head(run), goals(run)]
    for workload in run.workloads:
        for mode in workload.modes:
            if run.by_peer(workload, mode):
                parts.append(row(run, workload, mode))
    return "\n\n".join(parts) + "\n"


def head(run: Run) -> str:
    """Return where and with what it ran."""
    lines = [f"{run.machine} Rounds: {run.rounds}, in turns; medians, in brackets least and most."]
    share = max((sample.foreign for sample in run.samples), default=0.0)
    lines.append(f"Other work took at most {share * 100:.0f} % of the processors.")
    if share > FOREIGN_SHARE:
        lines.append("That is too much for absolute numbers; see the ratios.")
    if run.ceilings:
        taken = ", ".join(f"{name} {rate:.0f}" for name, rate in run.ceilings.items())
        lines.append(f"What its clients take by themselves, in MB for a second of CPU: {taken}.")
    versions = [f"- {peer}: {version}" for peer, version in run.versions.items()]
    absent = [f"- {peer} is absent: {reason}" for peer, reason in run.absent.items()]
    return "\n".join([" ".join(lines), "", *versions, *absent])


def goals(run: Run) -> str:
    """Return the table of the goals."""
    cells = [["workload", "mode", "goal", "ours", "ratio", "verdict"]]
    for workload, mode, outcome in run.outcomes():
        cells.append(
            [
                workload.title,
                mode,
                goal_text(workload, outcome.goal),
                ours(run, workload, mode, outcome.goal),
                ratio(outcome),
                outcome.verdict.value,
            ]
        )
    return "### Goals\n\n" + table(cells)


def goal_text(workload: Workload, goal: Goal) -> str:
    """Return a goal with its column's title in the place of the key."""
    title = {column.key: column.title for column in workload.columns}[goal.number]
    return goal.text().replace(goal.number, title.partition(",")[0], 1)


def ours(run: Run, workload: Workload, mode: str, goal: Goal) -> str:
    """Return our number."""
    column = next(c for c in workload.columns if c.key == goal.number)
    samples = run.by_peer(workload, mode).get("ttybridge", [])
    return cell(column, samples)


def ratio(outcome: Outcome) -> str:
    """Return the ratio to a peer; a dash for an absolute goal."""
    if outcome.verdict is Verdict.NOT_MEASURED or not outcome.peer:
        return "–"
    return f"{outcome.value:.2f} × {outcome.peer}"


def row(run: Run, workload: Workload, mode: str) -> str:
    """Return the table of a workload in one mode."""
    cells = [["", *(column.title for column in workload.columns)]]
    notes = []
    for peer, samples in run.by_peer(workload, mode).items():
        cells.append([peer, *(cell(column, samples) for column in workload.columns)])
        errors = dict.fromkeys(sample.error for sample in samples if sample.error)
        notes += [f"{peer}: {error}" for error in errors]
    title = workload.title if len(workload.modes) == 1 else f"{workload.title}: {mode}"
    return "\n".join([f"### {title}", "", table(cells), *(f"\n{note}" for note in notes)])


def cell(column: Column, samples: Sequence[Sample]) -> str:
    """Return a number over all rounds: a word where there is none."""
    if any(sample.error.startswith("WRONG") for sample in samples):
        return "WRONG"
    if any(sample.error for sample in samples):
        return "failed"
    known = spread([s.numbers[column.key] for s in samples if column.key in s.numbers])
    return known.text(column.form) if known else "–"


def table(cells: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with columns in line; the first row is its head.

    >>> print(table([["a", "bb"], ["ccc", "d"]]))
    | a   | bb |
    |-----|----|
    | ccc | d  |
    """
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]

    def text(row: Iterable[str]) -> str:
        padded = (f" {value:{width}} " for value, width in zip(row, widths, strict=True))
        return f"|{'|'.join(padded)}|"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([text(cells[0]), rule, *(text(row) for row in cells[1:])])


def replaced(document: str, text: str) -> str:
    """Return a document with another text between its markers; all else stays.

    Raises:
        ValueError: The document does not have the two markers, once each and in order.
    """
    pattern = f"{re.escape(BEGIN)}\n.*?{re.escape(END)}"
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError(f"the document needs {BEGIN} and {END}, once each")
    made, count = re.subn(
        pattern, lambda _: f"{BEGIN}\n{text}{END}", document, count=1, flags=re.DOTALL
    )
    if not count:
        raise ValueError(f"{END} comes before {BEGIN}")
    return made
