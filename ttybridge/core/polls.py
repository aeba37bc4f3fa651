"""Polling with several requests under way, the client's side: docs/protocol.md.

The same rules as in the page (`static/src/polling.ts`). Requests on several connections overtake
each other: POSTs carry a number, by which the bridge puts them in order, and so do its answers to
GETs. Until an answer has come with a number, and where one has come without, there is one request
of each kind: something on the way may have taken the numbers off.
"""

import math

NUMBER = "n"
"""Query parameter with the number of a POST, from 1."""

NUMBER_HEADER = "X-TTYBridge-Poll"
"""Header with the number of an answer to a GET, from 1; 0 for one that has nothing and no place in
the order."""

MAX_REQUESTS = 3
"""Requests of each kind that may be under way; browsers allow six for a host."""

LIVELY_S = 0.5
"""How long several GETs are held after something was sent, in seconds."""

MAX_EARLY = 1000
"""Answers that may wait for the one before them: a minute of typing, while one is on its way."""

MAX_EARLY_BYTES = 16 * 1024 * 1024
"""What they may hold: the bridge's window is 512 KiB."""


class Polls:
    """What may be sent on one connection, and in which order answers count.

    Attributes:
        is_numbered: Whether answers come with numbers; None until there is one.
        is_lost: Whether an answer is missing that none of the GETs under way can bring.
        posts: POSTs under way.
    """

    def __init__(self) -> None:
        """Begin with POST 1 and answer 1; the first answer, which opens a connection, has none."""
        self.is_numbered: bool | None = None
        self.is_lost = False
        self.posts = 0
        self._last_post = 0
        self._posted_at = -math.inf
        self._last_poll = 0
        self._under_way: set[int] = set()
        self._next_answer = 1
        self._early: dict[int, bytes] = {}
        # The GETs, under way when an answer came too early, one of which must bring the one before.
        self._owing: set[int] | None = None
        self._has_failed = False

    @property
    def may_post(self) -> bool:
        """Whether one more POST may be sent."""
        return self.posts < (MAX_REQUESTS if self.is_numbered else 1)

    def begin_post(self, now: float) -> int:
        """Return the number of a POST that is sent at a monotonic time."""
        self._posted_at = now
        self.posts += 1
        self._last_post += 1
        return self._last_post

    def end_post(self) -> None:
        """Note that a POST is answered, or has failed."""
        self.posts -= 1

    @property
    def is_over(self) -> bool:
        """Whether nothing can come any more: an answer is missing, or the last GET has failed."""
        return self.is_lost or (self._has_failed and not self._under_way)

    def wants_get(self, now: float) -> bool:
        """Tell whether one more GET is of use."""
        if self.is_lost or self._has_failed:
            return False
        is_lively = bool(self.is_numbered) and now - self._posted_at < LIVELY_S
        return len(self._under_way) < (MAX_REQUESTS if is_lively else 1)

    def begin_get(self) -> int:
        """Return what to call a GET that is sent."""
        self._last_poll += 1
        self._under_way.add(self._last_poll)
        return self._last_poll

    def fail_get(self, poll: int) -> None:
        """Note that a GET has brought nothing: others may still bring the goodbye."""
        self._under_way.discard(poll)
        self._has_failed = True

    def answer(self, poll: int, number: str | None, body: bytes) -> list[bytes]:
        """Take in the answer to a GET; return the bodies whose turn it is now.

        Args:
            poll: What the GET is called.
            number: The answer's, as it came; "0" for one that says nothing and has no place in the
                order, None where there is none.
            body: What it carries.
        """
        self._under_way.discard(poll)
        if self._owing is not None:
            self._owing.discard(poll)
        found: list[bytes] = []
        if number is None:
            found = self._take_plain(body)
        else:
            self.is_numbered = self.is_numbered is not False
            if number != "0":
                found = self._take(number, body)
        # Libraries ask again by themselves when a connection ends under a GET; the answer that was
        # lost with it does not come again.
        if self._owing is not None and not self._owing:
            self.is_lost = True
        return found

    def _take_plain(self, body: bytes) -> list[bytes]:
        self.is_numbered = False
        if self._under_way or self._early:
            self.is_lost = True  # nobody knows what comes first
            return []
        return [body]

    def _take(self, text: str, body: bytes) -> list[bytes]:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
        if number < self._next_answer or number in self._early:
            self.is_lost = True
            return []
        self._early[number] = body
        found = []
        while self._next_answer in self._early:
            found.append(self._early.pop(self._next_answer))
            self._next_answer += 1
            self._owing = None
        if self._early and self._owing is None:
            self._owing = set(self._under_way)
        held = sum(map(len, self._early.values()))
        if len(self._early) > MAX_EARLY or held > MAX_EARLY_BYTES:
            self.is_lost = True
        return found
