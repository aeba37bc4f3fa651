"""The result of one of the doctor's checks."""

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "FAIL"
"""States of a check: as it should be; works, but not all of it; the bridge does not start."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check."""

    name: str
    """What was checked, in a word or two."""
    state: str
    """`ok`, `warn` or `FAIL`."""
    text: str
    """What was found."""
    hint: str = ""
    """How to mend it."""
