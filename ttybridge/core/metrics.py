"""Numbers as text for Prometheus, in its text format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of the format."""

LAG_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Upper bounds of the histogram of an event loop's delays, in seconds; 2 s is what is promised."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Sample:
    """One number."""

    value: float
    """The number."""
    labels: Mapping[str, str]
    """Its labels; may be empty."""
    suffix: str = ""
    """What follows the name of its family: `_bucket`, `_sum`, `_count`."""


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name."""

    name: str
    """The name, with its unit and, for a counter, `_total`."""
    kind: str
    """`counter`, `gauge` or `histogram`."""
    help: str
    """What it is, in one sentence."""
    samples: tuple[Sample, ...]
    """The numbers."""


def gauge(name: str, help: str, value: float) -> Family:
    """Return a family of one number that goes up and down."""
    return Family(name, "gauge", help, (Sample(value, {}),))


def counter(name: str, help: str, value: float) -> Family:
    """Return a family of one number that only grows."""
    return Family(name, "counter", help, (Sample(value, {}),))


def by_label(kind: str, name: str, help: str, label: str, values: Mapping[str, float]) -> Family:
    """Return a family with a number for each value of a label."""
    samples = tuple(Sample(value, {label: key}) for key, value in values.items())
    return Family(name, kind, help, samples)


class Histogram:
    """Counts values by size.

    >>> lags = Histogram((0.1, 1.0))
    >>> for value in (0.05, 0.1, 5):
    ...     lags.add(value)
    >>> [(s.suffix, s.value) for s in lags.samples()]
    [('_bucket', 2), ('_bucket', 2), ('_bucket', 3), ('_sum', 5.15), ('_count', 3)]
    """

    def __init__(self, buckets: tuple[float, ...]) -> None:
        """Begin with nothing; `buckets` are upper bounds, the smallest first."""
        self._buckets = buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._buckets, value)] += 1
        self._sum += value

    def samples(self) -> tuple[Sample, ...]:
        """Return the counts; each bucket has those of all smaller ones, too."""
        found, count = [], 0
        for bound, more in zip((*self._buckets, float("inf")), self._counts, strict=True):
            count += more
            found.append(Sample(count, {"le": _number(bound)}, "_bucket"))
        return (*found, Sample(self._sum, {}, "_sum"), Sample(count, {}, "_count"))


def render(families: Iterable[Family]) -> str:
    r"""Return the text.

    >>> print(render([by_label("gauge", "a_limit", "What\nis.", "name", {'x"y': 1.0})]), end="")
    # HELP a_limit What\nis.
    # TYPE a_limit gauge
    a_limit{name="x\"y"} 1

    Raises:
        ValueError: A name or the name of a label is none.
    """
    lines = []
    for family in families:
        if not _NAME.fullmatch(family.name):
            raise ValueError(family.name)
        lines.append(f"# HELP {family.name} {_help(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [_line(family.name, sample) for sample in family.samples]
    return "".join(f"{line}\n" for line in lines)


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{_label(key)}="{_quoted(text)}"' for key, text in sample.labels.items())
    return f"{name}{sample.suffix}{f'{{{labels}}}' if labels else ''} {_number(sample.value)}"


def _label(name: str) -> str:
    if not _LABEL.fullmatch(name):
        raise ValueError(name)
    return name


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _help(text).replace('"', r"\"")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
