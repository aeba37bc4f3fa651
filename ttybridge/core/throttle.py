"""Slows down the answers to wrong tokens.

Only the answer to a wrong token waits. The right token and every session that runs go through at
once, because behind a tunnel everybody may share one address.
"""

from collections import OrderedDict

from ttybridge.core.authority import parse_address

FIRST_DELAY_S = 0.1
"""Wait after the first wrong token: a person who mistypes does not notice it."""

MAX_DELAY_S = 5.0
"""Longest wait: browsers and proxies give up on an answer only after 30 s or more."""

FORGET_S = 600.0
"""Seconds without a wrong token after which an address starts anew."""

MAX_ADDRESSES = 4096
"""Addresses that are remembered, about 200 bytes each; the one quiet for longest goes first."""

MAX_WAITING = 64
"""Answers that may wait at once; each holds a connection and its descriptor."""


class Throttle:
    """Counts wrong tokens per address and tells how long each answer waits."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._waiting = 0

    def failed(self, address: str, now: float) -> float:
        """Note one wrong token and return the seconds that its answer waits.

        Args:
            address: Of the client; an IPv6 client counts by its /64 network.
            now: Seconds on any clock that goes forward.
        """
        key = _key(address)
        count, last = self._failures.pop(key, (0, now))
        count = 1 if now - last > FORGET_S else count + 1
        self._failures[key] = (count, now)
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return float(min(FIRST_DELAY_S * 2 ** min(count - 1, 16), MAX_DELAY_S))

    def enter(self) -> bool:
        """Take a place among the waiting answers; False when all MAX_WAITING are taken."""
        if self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        return True

    @property
    def waiting(self) -> int:
        """How many answers wait."""
        return self._waiting

    def leave(self) -> None:
        """Give the place back."""
        self._waiting -= 1


def _key(address: str) -> str:
    parsed = parse_address(address)
    if parsed is None:
        return "unknown"
    if parsed.version == 6:
        return str(int(parsed) >> 64)
    return str(parsed)
