"""Medians, percentiles and spreads of what was measured; pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of 100 values do not exceed (nearest rank).

    Nothing is interpolated: the answer is one of the values. Of no values it is not a number.

    >>> percentile([4, 1, 3, 2], 50), percentile([4, 1, 3, 2], 99), percentile([7], 50)
    (2, 4, 7)
    """
    if not values:
        return math.nan
    rank = math.ceil(percent / 100 * len(values))
    return sorted(values)[max(rank, 1) - 1]


@dataclass(frozen=True, slots=True)
class Spread:
    """A number over all rounds."""

    median: float
    least: float
    most: float
    count: int
    """Rounds in which it was measured."""

    def text(self, form: str) -> str:
        """Return it as "median (least–most)", the range only when there was more than one round.

        >>> Spread(2.0, 1.0, 4.0, 3).text(".1f"), Spread(2.0, 2.0, 2.0, 1).text(".1f")
        ('2.0 (1.0–4.0)', '2.0')
        """
        if self.count < 2:
            return format(self.median, form)
        return f"{self.median:{form}} ({self.least:{form}}–{self.most:{form}})"


def spread(values: Sequence[float]) -> Spread | None:
    """Return the spread of a number over rounds; None when no round has it.

    A round that has no number (not a number) is left out.

    >>> spread([3.0, 1.0, math.nan, 2.0])
    Spread(median=2.0, least=1.0, most=3.0, count=3)
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return None
    return Spread(statistics.median(known), min(known), max(known), len(known))
