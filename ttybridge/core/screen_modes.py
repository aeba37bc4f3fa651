"""The state of a terminal after some output: what a replay from the middle must begin with.

Followed is what a program sets once and relies on later: private modes (alternate screen, mouse,
bracketed paste, cursor), keypad, character set, scroll region, pen (colours and attributes),
cursor style and colour, title. The text comes with the replay itself.
"""

import re
from typing import Self

_SEQUENCE = re.compile(
    rb"\x1b(?:\[(?:[0-9;]{0,16}+(?:(?P<region>r)|(?P<style> q))"
    rb"|\?(?P<modes>[0-9;]{1,64}+)(?P<set>[hl]))"
    rb"|\](?P<osc>0|2|12|112)(?:;(?P<text>[^\x07\x1b]{0,1024}))?(?:\x07|\x1b\\)"
    rb"|(?P<keypad>[=>])|(?P<full>c))"
)
"""Colours, by far the most common, are told apart at their last byte: nothing is tried twice."""
_CHARSET = re.compile(rb"\x1b\([0-9A-B]")
_SGR = re.compile(rb"\x1b\[(?P<pen>[0-9;:]{0,256})m|\x1b(?P<full>c)")
_RESETS = (b"\x1b[0m", b"\x1b[m", b"\x1bc")
_TELLING = b"\x1b[]=>(crqhlmK"
"""The bytes by which sequences are told apart: without all others, a colour is ESC [ m, and none of
`_SEQUENCE` is."""
_REST = bytes(set(range(256)) - set(_TELLING))
_UNFINISHED = re.compile(
    rb"\x1b(?:\[[0-?]{0,256}[ -/]{0,8}|\(|\][^\x07\x1b]{0,1024}\x1b?|P[^\x1b]{0,256}\x1b?)?\Z"
)
"""The beginning of a sequence that the rest of is still to come."""
_LONGEST = 1032
"""Longest sequence that is put together from parts, in bytes."""

_MAX_MODES, _MODE_DIGITS = 128, 5
"""Most private modes that are remembered, the last that were set, and their digits: xterm has 70,
with up to four digits. A program that prints numbers without end would fill the memory with them,
and send each newcomer all of them."""

_ALTERNATE = (b"1049", b"1047", b"47")

_PEN = {
    **{b"1": "bold", b"2": "dim", b"3": "italic", b"4": "underline", b"21": "underline"},
    **{b"5": "blink", b"6": "blink", b"7": "inverse", b"8": "hidden", b"9": "strike"},
    **{b"53": "overline", b"38": "text", b"48": "ground", b"58": "line"},
    **{b"%d" % code: "text" for code in (*range(30, 38), *range(90, 98))},
    **{b"%d" % code: "ground" for code in (*range(40, 48), *range(100, 108))},
}
"""What each parameter of SGR sets (ECMA-48, xterm's control sequences)."""
_UNSET = {
    **{b"22": ("bold", "dim"), b"23": ("italic",), b"24": ("underline",), b"25": ("blink",)},
    **{b"27": ("inverse",), b"28": ("hidden",), b"29": ("strike",), b"55": ("overline",)},
    **{b"39": ("text",), b"49": ("ground",), b"59": ("line",)},
}
_COLOUR_PARTS = {b"5": 3, b"2": 5}
"""How many parameters a colour takes up, by the one after 38, 48 or 58."""


PIECE_BYTES = 8 * 1024
"""How much output `LaterModes` looks at in one moment, in bytes: some 0.03 ms."""

MOST_LATER_BYTES = 256 * 1024
"""Most output that `LaterModes` keeps for later, in bytes."""


class ScreenModes:
    r"""Follows the state that a byte stream leaves a terminal in, however it is cut.

    >>> modes = ScreenModes()
    >>> modes.feed(b"\x1b[?1049h\x1b[?25l\x1b[1;31mred\x1b[?20")
    >>> modes.feed(b"04h\x1b[?25h\x1b[22m")
    >>> modes.prelude()
    b'\x1b[?1049h\x1b[?2004h\x1b[?25h\x1b[31m'
    """

    def __init__(self) -> None:
        self._private: dict[bytes, bytes] = {}
        self._single: dict[str, bytes] = {}
        self._pen: dict[str, bytes] = {}
        self._rest = b""

    def copy(self) -> Self:
        """Return an independent copy."""
        twin = type(self)()
        twin._private, twin._single = dict(self._private), dict(self._single)
        twin._pen, twin._rest = dict(self._pen), self._rest
        return twin

    def feed(self, data: bytes) -> None:
        """Take in output."""
        data = self._rest + data if self._rest else data
        cut = _begin_of_rest(data)
        # Without what is still to come: a cut is in a colour every other time.
        self._rest, data = data[cut:], data[:cut] if cut < len(data) else data
        bare = data.translate(None, _REST)
        others = _count_others(bare)
        if others:
            self._look_closely(data, bare, others)
        start = 0
        for reset in _RESETS:
            start = max(start, data.rfind(reset, start))
        for found in _SGR.finditer(data, start):
            self._dip(b"0" if found["full"] else found["pen"])

    def _look_closely(self, data: bytes, bare: bytes, others: int) -> None:
        """Take in what is no colour.

        Args:
            data: The output.
            bare: The output without `_REST`.
            others: How many escapes in it are no colours.
        """
        charsets = bare.count(b"\x1b(")
        if others != charsets + bare.count(b"\x1b[K"):  # there may be a `_SEQUENCE`
            for found in _SEQUENCE.finditer(data):
                self._apply(found)
        if charsets:  # in a flood it comes with every colour
            last = data.rfind(b"\x1b(")
            while last >= 0 and not _CHARSET.match(data, last):  # of another country
                last = data.rfind(b"\x1b(", 0, last)
            if last >= 0 and data.find(b"\x1bc", last) < 0:
                self._single["charset"] = data[last : last + 3]

    def _apply(self, found: re.Match[bytes]) -> None:
        if found["full"]:
            self._private, self._single = {}, {}
        elif found["modes"]:
            for mode in found["modes"].split(b";"):
                self._private.pop(mode, None)
                if 0 < len(mode) <= _MODE_DIGITS:
                    self._private[mode] = found["set"]
            while len(self._private) > _MAX_MODES:
                del self._private[next(iter(self._private))]
        elif found["osc"] == b"112":
            self._single.pop("colour", None)
        elif found["osc"]:
            self._single["colour" if found["osc"] == b"12" else "title"] = found[0]
        else:
            kinds = ("keypad", "region", "style")
            self._single[next(kind for kind in kinds if found[kind] is not None)] = found[0]

    def _dip(self, text: bytes) -> None:
        """Apply the parameters of one SGR sequence to the pen."""
        parts = text.split(b";")
        at = 0
        while at < len(parts):
            code, width = parts[at].split(b":")[0], 1
            if code in (b"38", b"48", b"58") and b":" not in parts[at]:
                width = _COLOUR_PARTS.get(b"".join(parts[at + 1 : at + 2]), 1)
            if code.strip(b"0") == b"":
                self._pen = {}
            elif parts[at] == b"4:0":
                self._pen.pop("underline", None)
            elif code in _PEN:
                self._pen[_PEN[code]] = b";".join(parts[at : at + width])
            for kind in _UNSET.get(code, ()):
                self._pen.pop(kind, None)
            at += width

    def prelude(self) -> bytes:
        """Return the sequences that bring a fresh terminal into this state.

        The beginning of a sequence whose rest is still to come is their end.
        """
        first = sorted(self._private.items(), key=lambda item: item[0] not in _ALTERNATE)
        parts = [b"\x1b[?" + mode + value for mode, value in first]
        parts += [self._single[kind] for kind in sorted(self._single)]
        if self._pen:
            parts.append(b"\x1b[" + b";".join(self._pen.values()) + b"m")
        return b"".join(parts) + self._rest


class LaterModes:
    r"""`ScreenModes` after output that is looked at later, in pieces, when there is time.

    >>> later = LaterModes()
    >>> later.add(b"\x1b[?25l")
    >>> later.look_at_some()
    >>> later.add(b"\x1b[1m")
    >>> later.state().prelude()
    b'\x1b[?25l\x1b[1m'

    Attributes:
        waiting_bytes: Output that was not looked at yet.
    """

    def __init__(self) -> None:
        self._modes = ScreenModes()
        self._waiting: list[memoryview] = []
        self.waiting_bytes = 0

    def add(self, data: bytes) -> None:
        """Take in output; it is looked at now when too much waits already."""
        self._waiting.append(memoryview(data))
        self.waiting_bytes += len(data)
        while self.waiting_bytes > MOST_LATER_BYTES:
            self.look_at_some()

    def look_at_some(self) -> None:
        """Look at one piece of the output that waits; there may be none."""
        if self._waiting:
            first = self._waiting[0]
            if len(first) > PIECE_BYTES:
                self._waiting[0] = first[PIECE_BYTES:]
            else:
                del self._waiting[0]
            piece = bytes(first[:PIECE_BYTES])
            self.waiting_bytes -= len(piece)
            self._modes.feed(piece)

    def state(self) -> ScreenModes:
        """Return the state after all output; it is the caller's."""
        while self._waiting:
            self.look_at_some()
        return self._modes.copy()


def _count_others(bare: bytes) -> int:
    """Return how many escapes of some output, without `_REST`, are no colours."""
    return bare.count(b"\x1b") - bare.count(b"\x1b[m")


def _begin_of_rest(data: bytes) -> int:
    """Return where a sequence begins whose rest is still to come; the length when none does."""
    least = max(0, len(data) - _LONGEST)
    last = data.rfind(b"\x1b", least)
    if last > 0 and last == len(data) - 1:  # it may end a text that another one began
        before = data.rfind(b"\x1b", least, last)
        if before >= 0 and _UNFINISHED.match(data, before):
            return before
    return last if last >= 0 and _UNFINISHED.match(data, last) else len(data)
