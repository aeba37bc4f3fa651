"""What is to be reached, and whether it was; pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

OURS = "ttybridge"

FLOORS = frozenset({"pty", "ssh"})
"""No web terminals: what cannot be passed by one, and what is not asked to be."""


class Verdict(Enum):
    """What became of a goal."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound of one of our numbers, by itself or as a multiple of a peer's."""

    number: str
    """Which number, by its key."""
    bound: float
    """The bound, or the factor of the peer's number."""
    is_floor: bool = False
    """Whether the number is to be at least the bound, instead of at most."""
    against: str = ""
    """A peer, or "best" for the best of all other web terminals; "" for an absolute bound."""
    without: frozenset[str] = frozenset()
    """Peers that "best" does not look at."""
    unit: str = ""

    def text(self) -> str:
        """Return the goal as in the table.

        >>> Goal("p50_ms", 1.25, against="ttyd").text(), Goal("lost", 0).text()
        ('p50_ms ≤ 1.25 × ttyd', 'lost ≤ 0')
        """
        sign = "≥" if self.is_floor else "≤"
        whom = {"": "", "best": " × the best of the others"}.get(self.against, f" × {self.against}")
        unit = f" {self.unit}" if self.unit and not self.against else ""
        return f"{self.number} {sign} {self.bound:g}{whom}{unit}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A goal beside what was measured."""

    goal: Goal
    verdict: Verdict
    value: float
    """Our number, or its ratio to the peer's; not a number when it was not measured."""
    peer: str = ""
    """Whom we were compared with."""


def judge(goal: Goal, medians: Mapping[str, Mapping[str, float]]) -> Outcome:
    """Compare our median with a goal.

    Args:
        goal: The goal.
        medians: By peer, its numbers by key; a number that is missing was not measured. A peer
            whose result was wrong has none.

    >>> judge(Goal("ms", 2, against="b"), {"ttybridge": {"ms": 3.0}, "b": {"ms": 2.0}})
    ... # doctest: +ELLIPSIS
    Outcome(goal=..., verdict=<Verdict.MET: 'met'>, value=1.5, peer='b')
    """
    ours = medians.get(OURS, {}).get(goal.number, math.nan)
    peer, theirs = "", 1.0
    if goal.against == "best":
        peer, theirs = _best(goal, medians)
    elif goal.against:
        peer, theirs = goal.against, medians.get(goal.against, {}).get(goal.number, math.nan)
    value = ours / theirs if theirs else (math.nan if ours == 0 else math.inf)
    if math.isnan(ours) or math.isnan(theirs):
        return Outcome(goal, Verdict.NOT_MEASURED, math.nan, peer)
    bound = goal.bound * theirs
    is_met = ours >= bound if goal.is_floor else ours <= bound
    return Outcome(goal, Verdict.MET if is_met else Verdict.MISSED, value, peer)


def _best(goal: Goal, medians: Mapping[str, Mapping[str, float]]) -> tuple[str, float]:
    others = {
        name: numbers[goal.number]
        for name, numbers in medians.items()
        if name not in FLOORS | goal.without | {OURS} and goal.number in numbers
    }
    known = {name: value for name, value in others.items() if not math.isnan(value)}
    if not known:
        return "", math.nan
    choose = max if goal.is_floor else min
    return choose(known.items(), key=lambda item: item[1])
