"""What must hold: lines of output follow each other, and keys arrive at most once and in order."""

from collections.abc import Iterable

from tests.soak.program import line


class Violation(Exception):
    """Something that must hold does not."""


SSH_SAYS = (b"Connection to ", b"client_loop: ", b"Connection reset", b"kex_exchange")
"""What ssh itself prints when its line is lost."""


class Lines:
    """Checks one client's output of `program.py`: between resets, no byte lacks or comes twice.

    Attributes:
        count: Lines that were compared.
    """

    def __init__(self, *, may_lack: bool = False) -> None:
        """Begin.

        Args:
            may_lack: Whether lines may be missing, as they are to clients that poll by a library
                alone: that asks again when an answer is cut, and hears nothing of the loss.
        """
        self.count = 0
        self._may_lack = may_lack
        self._rest = b""
        self._next: int | None = None
        self._skips = True

    def reset(self) -> None:
        """Begin anew: output was skipped, and that was said."""
        self._rest, self._next, self._skips = b"", None, True

    def feed(self, data: bytes) -> None:
        """Take output in.

        Raises:
            Violation: It is not what the program prints next.
        """
        data = self._rest + data
        if (at := max(data.rfind(b"\x1b"), data.rfind(b"\x18"))) >= 0:
            self.reset()  # sequences come with repaints alone, at a reset or when a client joins
            data = data[at:]
        *whole, self._rest = data.split(b"\r\n")
        for each in whole:
            if self._skips:
                self._skips = False  # cut at its start
                continue
            self._compare(each)

    def _compare(self, text: bytes) -> None:
        if any(words in text for words in SSH_SAYS):
            self.reset()
            return
        number = int(text[1:10]) if text[:1] == b"L" and text[1:10].isdigit() else -1
        if self._may_lack:
            is_whole = number >= 0 and text + b"\r\n" == line(number)
            if not is_whole or self._next is None or number > self._next:
                self._next = max(number + 1, self._next or 0) if is_whole else self._next
                return  # something is missing, perhaps from the middle of a line
        if self._next is not None and number != self._next:
            raise Violation(f"line {self._next} was due, and {text[:60]!r} came")
        if number < 0 or text + b"\r\n" != line(number):
            raise Violation(f"a line is damaged: {text[:80]!r}")
        self._next = number + 1
        self.count += 1


DIGITS = 11
"""Characters of each client's own alphabet: ten digits, and the end of a number."""

FIRST = 0x4E00
"""The first character of the first alphabet; all have three bytes in UTF-8."""


def spell(client: int, number: int) -> str:
    """Write a number in a client's own digits, so that what others type between does not matter."""
    base = FIRST + client * DIGITS
    return "".join(chr(base + int(digit)) for digit in str(number)) + chr(base + 10)


class Keys:
    """Reads the numbers that clients have typed from what the program has kept."""

    def __init__(self, clients: int) -> None:
        self.last = [0] * clients
        self.arrived = [0] * clients
        self._may_lack: list[set[int]] = [set() for _ in range(clients)]
        self._half = [""] * clients
        self._rest = b""
        self.strict = [True] * clients
        """Whether every number of the client has to arrive that is not in `excuse`."""

    def excuse(self, client: int, typed: int) -> None:
        """Note that all up to `typed` that have not arrived may be lost: the place is gone."""
        self._may_lack[client].update(range(self.last[client] + 1, typed + 1))

    def is_settled(self, client: int, number: int) -> bool:
        """Tell whether a number has arrived, or may be lost."""
        return self.last[client] >= number or number in self._may_lack[client]

    def feed(self, data: bytes) -> None:
        """Take in what was typed.

        Raises:
            Violation: A number came twice, too early, or with others missing before it.
        """
        data = self._rest + data
        end = len(data)
        while end and (data[end - 1] & 0xC0) == 0x80:  # a character that is cut
            end -= 1
        end = max(0, end - 1)
        if len(data) - end == 3 or (data and data[-1] < 0x80):
            end = len(data)
        self._rest = data[end:]
        self._take(data[:end].decode(errors="replace"))

    def _take(self, text: Iterable[str]) -> None:
        for character in text:
            client, digit = divmod(ord(character) - FIRST, DIGITS)
            if not 0 <= client < len(self.last):
                continue  # what other actions type
            if digit < 10:
                self._half[client] += str(digit)
                continue
            number, self._half[client] = int(self._half[client] or 0), ""
            self._note(client, number)

    def _note(self, client: int, number: int) -> None:
        last = self.last[client]
        if number <= last:
            raise Violation(f"client {client}: key {number} came after key {last}")
        missing = set(range(last + 1, number)) - self._may_lack[client]
        if missing and self.strict[client]:
            raise Violation(f"client {client}: keys {sorted(missing)[:5]} are missing at {number}")
        self._may_lack[client] = {n for n in self._may_lack[client] if n > number}
        self.last[client] = number
        self.arrived[client] += 1
