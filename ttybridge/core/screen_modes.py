"""The modes of a terminal after some output: what a replay from the middle must begin with.

Only modes that a program sets once and relies on later are followed: private modes (alternate
screen, mouse, bracketed paste, cursor), the keypad and the character set. Text and colours come
with the replay itself.
"""

import re
from typing import Self

_SEQUENCE = re.compile(
    rb"\x1b(?:\[\?(?P<modes>[0-9;]{1,64})(?P<set>[hl])|(?P<keypad>[=>])|(?P<charset>\([0-9A-B])|(?P<full>c))"
)
_LONGEST = 68
"""Longest sequence that `_SEQUENCE` matches, in bytes."""

_ALTERNATE = (b"1049", b"1047", b"47")


class ScreenModes:
    r"""Follows the modes of a byte stream, however it is cut.

    >>> modes = ScreenModes()
    >>> modes.feed(b"\x1b[?1049h\x1b[?25l\x1b[?20")
    >>> modes.feed(b"04h\x1b[?25h")
    >>> modes.prelude()
    b'\x1b[?1049h\x1b[?2004h\x1b[?25h'
    """

    def __init__(self) -> None:
        self._private: dict[bytes, bytes] = {}
        self._keypad = b""
        self._charset = b""
        self._rest = b""

    def copy(self) -> Self:
        """Return an independent copy."""
        twin = type(self)()
        twin._private = dict(self._private)
        twin._keypad, twin._charset, twin._rest = self._keypad, self._charset, self._rest
        return twin

    def feed(self, data: bytes) -> None:
        """Take in output."""
        data = self._rest + data
        for found in _SEQUENCE.finditer(data):
            self._apply(found)
        last = data.rfind(b"\x1b", max(0, len(data) - _LONGEST))
        self._rest = data[last:] if last >= 0 and not _SEQUENCE.match(data, last) else b""

    def _apply(self, found: re.Match[bytes]) -> None:
        if found["full"]:
            self._private, self._keypad, self._charset = {}, b"", b""
        elif found["keypad"]:
            self._keypad = found["keypad"]
        elif found["charset"]:
            self._charset = found["charset"]
        else:
            for mode in found["modes"].split(b";"):
                self._private.pop(mode, None)
                self._private[mode] = found["set"]

    def prelude(self) -> bytes:
        """Return the sequences that bring a fresh terminal into these modes."""
        first = sorted(self._private.items(), key=lambda item: item[0] not in _ALTERNATE)
        parts = [b"\x1b[?" + mode + value for mode, value in first]
        parts += [b"\x1b" + code for code in (self._keypad, self._charset) if code]
        return b"".join(parts)
