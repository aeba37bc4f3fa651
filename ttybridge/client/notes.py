"""Sentences of the client itself on a terminal that somebody else draws on."""

import re

from ttybridge.core.people import clean_name
from ttybridge.core.screen_modes import ScreenModes
from ttybridge.logs import one_line
from ttybridge.model import WindowSize

HELP = (
    "ttybridge connect: after Enter,",
    "  ~.   leaves; the session goes on",
    "  ~h   raises your hand, or lowers it",
    "  ~^Z  suspends this program; fg comes back",
    "  ~~   types a tilde",
    "  ~?   shows this",
    "Any key goes on.",
)
"""What `~?` shows."""

PUSH_TITLE, POP_TITLE = b"\x1b[22;2t", b"\x1b[23;2t"
"""Keep the title of the window, and bring it back (xterm; others ignore them)."""

BELL = b"\x07"

_CAN = b"\x18"
"""Ends a sequence that was cut."""

_TAIL = 4096
"""Bytes of output that are kept to see whether a sequence is open."""

_COMPLETE = re.compile(
    rb"""(?xs)
    \x1b (?:
        \[ [0-?]* [ -/]* [@-~]                              # CSI
      | [\]PX^_] [^\x07\x1b\x18\x1a]* (?: \x07 | \x18 | \x1a )   # a string, with a short end
      | [ -/]+ [0-~]                                        # character sets and the like
      | [0-OQ-WYZ\\`-~]                                     # two characters, ST among them
      | \x18
    )"""
)


_TITLE = re.compile(rb"\x1b\][02];[^\x07\x1b]*(?:\x07|\x1b\\)")


class OutputEnd:
    r"""Tells in which state output has left the terminal, and whether something may be put in here.

    >>> end = OutputEnd()
    >>> end.feed(b"abc\x1b[3")
    >>> end.is_between
    False
    >>> end.feed(b"1m")
    >>> end.is_between
    True
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._tail = b""
        self._modes = ScreenModes()

    def feed(self, data: bytes) -> None:
        """Take in output."""
        self._tail = (self._tail + data[-_TAIL:])[-_TAIL:]
        self._modes.feed(data)

    @property
    def modes(self) -> bytes:
        """What brings a restored terminal into the state again; a repaint has to follow."""
        return self._modes.prelude()

    @property
    def title(self) -> bytes:
        """The sequence with which the output has set the window's title; empty when it has not."""
        found = _TITLE.search(self._modes.prelude())
        return found[0] if found else b""

    @property
    def is_between(self) -> bool:
        """Whether no sequence and no character is cut here, as far as can be seen."""
        last = self._tail.rfind(b"\x1b")
        if last >= 0 and not _COMPLETE.match(self._tail, last):
            return False
        return not _is_cut(self._tail[-4:])


def _is_cut(data: bytes) -> bool:
    r"""Tell whether bytes end inside a character.

    >>> _is_cut("é".encode()[:1]), _is_cut("é".encode())
    (True, False)
    """
    for back, byte in enumerate(reversed(data), 1):
        if byte < 0x80:
            return False
        if byte >= 0xC0:
            return back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4)
    return False


def title(text: str) -> bytes:
    """Return the sequence that sets the window's title."""
    return b"\x1b]2;" + plain(text).encode() + b"\x07"


def status_line(text: str, size: WindowSize) -> bytes:
    """Return a sentence for the last line of the screen; only a repaint takes it away."""
    return _CAN + _at(size.rows, f" {text}"[: size.cols - 1].ljust(size.cols - 1))


def help_box(size: WindowSize) -> bytes:
    """Return the help in the upper left corner; only a repaint takes it away."""
    width = min(max(map(len, HELP)) + 2, size.cols - 1)
    lines = HELP[: size.rows]
    return _CAN + b"".join(
        _at(row, f" {line}"[:width].ljust(width)) for row, line in enumerate(lines, 1)
    )


def plain(text: str) -> str:
    """Return text of the bridge as one line without controls, of bounded length."""
    return one_line(text)[:300]


def role_words(role: str, by: str) -> str:
    """Say that somebody may type now, or no longer.

    >>> role_words("viewer", "")
    'You may only watch now: what you type is not sent; Ctrl-C leaves'
    >>> role_words("editor", "owner")
    'An owner gave you the keyboard; Ctrl-C goes to the session now'
    """
    who = clean_name(by)
    who = _ROLES.get(who, who)
    who = who[:1].upper() + who[1:]
    if role == "viewer":
        now = f"{who} took the keyboard back" if who else "You may only watch now"
        return f"{now}: what you type is not sent; Ctrl-C leaves"
    now = f"{who} gave you the keyboard" if who else "You may type now"
    return f"{now}; Ctrl-C goes to the session now"


_ROLES = {"owner": "an owner", "editor": "an editor"}
"""What somebody without a name is called."""


def _at(row: int, text: str) -> bytes:
    return b"\x1b7\x1b[%d;1H\x1b[0;7m" % row + text.encode() + b"\x1b[0m\x1b8"
