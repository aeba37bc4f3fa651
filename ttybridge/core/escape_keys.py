r"""The keys with which somebody speaks to the client itself, as in ssh: `~.` begins a line.

A tilde counts after a line break, and at the beginning; it is held until the next key says what it
means. Nothing counts inside a bracketed paste: a text with `~.` in it must not end the connection.
"""

from enum import Enum

_PASTE_BEGINS, _PASTE_ENDS = b"\x1b[200~", b"\x1b[201~"
"""What terminals put around pasted text when a program has asked for it (xterm, mode 2004)."""

_TILDE = 0x7E
_LINE_BREAKS = b"\r\n"


class Key(Enum):
    """What the key after a tilde asks for; the value is that key."""

    LEAVE = b"."
    HELP = b"?"
    HAND = b"h"
    SUSPEND = b"\x1a"


_BY_BYTE = {key.value[0]: key for key in Key}


class EscapeKeys:
    r"""Takes the keys that are for the client out of what is typed.

    >>> keys = EscapeKeys()
    >>> keys.feed(b"ls\r~"), keys.feed(b".")
    ([b'ls\r'], [<Key.LEAVE: b'.'>])
    """

    def __init__(self) -> None:
        """Begin at the start of a line."""
        self._may_begin = True
        self._holds = False
        self._pastes = False
        self._recent = b""

    def feed(self, data: bytes) -> list[bytes | Key]:
        r"""Take in what was typed, cut anywhere; return what to send, and keys, in order.

        >>> EscapeKeys().feed(b"~~x\r~?y")
        [b'~x\r', <Key.HELP: b'?'>, b'y']
        """
        found: list[bytes | Key] = []
        plain = bytearray()
        for byte in data:
            if self._holds:
                self._holds = False
                key = _BY_BYTE.get(byte)
                if key is not None:
                    if plain:
                        found.append(bytes(plain))
                        plain.clear()
                    found.append(key)
                    self._may_begin = True
                    continue
                self._note(_TILDE)
                plain.append(_TILDE)
                if byte == _TILDE:
                    continue
            elif byte == _TILDE and self._may_begin and not self._pastes:
                self._holds = True
                continue
            self._note(byte)
            plain.append(byte)
        if plain:
            found.append(bytes(plain))
        return found

    def _note(self, byte: int) -> None:
        """Remember what has passed: where a line begins, and a paste."""
        self._may_begin = byte in _LINE_BREAKS
        self._recent = (self._recent + bytes([byte]))[-len(_PASTE_BEGINS) :]
        if self._recent == _PASTE_BEGINS:
            self._pastes = True
        elif self._recent == _PASTE_ENDS:
            self._pastes = False
