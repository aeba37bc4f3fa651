"""Counts what happened to clients: refusals by reason, bytes, log lines. It knows no client."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from ttybridge.core.limits import LOG_LINES

REASONS = {
    "attachment": "binary packets and frames, or announced ones",
    "body": "request bodies that did not arrive in time",
    "credential": "requests without an accepted credential",
    "door": "people who were not let in",
    "full": "clients for whom there was no place",
    "handshakes": "connections of a client that has too many which have not joined",
    "head": "request heads that did not arrive in time",
    "host": "requests under a name that is not served",
    "joining": "connections that did not join in time",
    "method": "requests with a method that is not used",
    "origin": "requests that another website sent",
    "packet": "malformed packets",
    "pending": "connections cut because too many had no request under way",
    "recordings": "recordings that were not made, or ended, for the room that they take",
    "request": "malformed requests",
    "size": "bodies and messages that were too large",
    "ssh": "SSH connections over the web address that were too many",
    "throttled": "wrong tokens that were too many",
    "unavailable": "clients to which the session could not be opened, or the bridge was stopping",
}
"""Why clients are refused: the label of `ttybridge_refused_total`, and what it counts."""

OF_STATUS = {
    400: "request",
    401: "credential",
    403: "origin",
    405: "method",
    413: "size",
    421: "host",
    429: "throttled",
}
"""The reason behind an answer of the gate."""


class Meter:
    """Counts for one run.

    Attributes:
        refused: Refusals by reason; each of `REASONS` is there.
        received_bytes: What came over TCP connections that have ended.
        sent_bytes: What their clients have got.
        largest_bytes: The largest message that was taken.
        not_logged: Log lines that were left out.
    """

    def __init__(self, log_lines: int = LOG_LINES) -> None:
        """Count from zero.

        Args:
            log_lines: Most lines in the log about one bad connection.
        """
        self.refused: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.received_bytes = self.sent_bytes = 0
        self.largest_bytes = 0
        self.not_logged = 0
        self.most_lines = 0
        self._log_lines = log_lines
        self._lines: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._bodies: dict[object, float] = {}

    def refuse(self, reason: str) -> None:
        """Count a refusal.

        Raises:
            KeyError: There is no such reason.
        """
        if reason not in REASONS:
            raise KeyError(reason)
        self.refused[reason] += 1

    def took(self, size_bytes: int) -> None:
        """Note the size of a message."""
        if size_bytes > self.largest_bytes:
            self.largest_bytes = size_bytes

    def may_log(self, connection: object) -> bool:
        """Tell whether a line may be logged about a bad connection, and count it.

        Args:
            connection: What lives as long as the connection, such as its transport; None where
                there is none any more.
        """
        lines = self._lines.get(connection, 0) if connection is not None else 0
        if lines >= self._log_lines:
            self.not_logged += 1
            return False
        if connection is not None:
            self._lines[connection] = lines + 1
        self.most_lines = max(self.most_lines, lines + 1)
        return True

    @contextmanager
    def body(self, now: float) -> Iterator[None]:
        """Count a body as under way meanwhile; `now` is in seconds on the event loop's clock."""
        key = object()
        self._bodies[key] = now
        try:
            yield
        finally:
            del self._bodies[key]

    def body_s(self, now: float) -> float:
        """Return how long the slowest body under way has taken until now, in seconds."""
        return max(0.0, now - min(self._bodies.values())) if self._bodies else 0.0
