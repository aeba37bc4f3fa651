"""What a terminal emulator types by itself, in answer to a program's question.

When several clients share one pty, all their terminals answer, and one that is shown old output
answers questions that were asked long ago. So does one whose client has got another pty meanwhile.
Those answers must not reach the program as input.
"""

import re
from collections import Counter
from functools import cache

QUESTION, ANSWER = 1, 2
"""Where they stand in a line of the table."""

_KINDS = (
    # kind, question, answer
    ("da1", rb"\x1b\[0?c", rb"\x1b\[\?[0-9;]*c"),  # device attributes
    ("da2", rb"\x1b\[>0?c", rb"\x1b\[>[0-9;]*c"),
    ("da3", rb"\x1b\[=0?c", rb"\x1b\[=[0-9;]*c"),
    ("version", rb"\x1b\[>0?q", rb"\x1bP>\|[^\x1b]{0,4096}\x1b\\"),  # XTVERSION
    ("position", rb"\x1b\[\??6n", rb"\x1b\[\??[0-9]+(?:;[0-9]+)+R"),  # CPR, DECXCPR
    ("status", rb"\x1b\[\??5n", rb"\x1b\[\??[0-9;]*n"),  # DSR
    ("mode", rb"\x1b\[\??[0-9]+\$p", rb"\x1b\[\??[0-9;]+\$y"),  # DECRQM
    ("window", rb"\x1b\[(?:1[1-9]|2[01])t", rb"\x1b\[[0-9;]+t"),  # XTWINOPS
    ("keys", rb"\x1b\[\?u", rb"\x1b\[\?[0-9]+u"),  # keyboard flags
    # colours: OSC 4, 10, 11, 12
    ("colour", rb"\x1b\][0-9;]+;\?", rb"\x1b\][0-9]+;[^\x07\x1b]{0,512}(?:\x07|\x1b\\)"),
    ("setting", rb"\x1bP[$+]q", rb"\x1bP[^\x1b]{0,4096}\x1b\\"),  # DECRQSS, XTGETTCAP
)
_FOCUS = rb"\x1b\[[IO]"  # gained, lost
_ANSWER = b"(?:" + b"|".join((*(answer for _, _, answer in _KINDS), _FOCUS)) + b")+"


@cache  # compiled for the first client, not at the start
def _named(index: int) -> "re.Pattern[bytes]":
    kinds = ((name.encode(), question, answer) for name, question, answer in _KINDS)
    return re.compile(b"|".join(b"(?P<%s>%s)" % (kind[0], kind[index]) for kind in kinds))


def is_answer(data: bytes) -> bool:
    r"""Tell whether input is nothing but answers of a terminal emulator.

    `ESC [ 1 ; 5 R` is both a cursor position and Ctrl-F3; it counts as an answer.

    >>> is_answer(b"\x1b[?1;2c"), is_answer(b"\x1b[A"), is_answer(b"ls\n")
    (True, False, False)
    """
    return data.startswith(b"\x1b") and bool(re.fullmatch(_ANSWER, data))


class Owed:
    r"""Counts the questions that a terminal was asked, and lets as many answers through.

    >>> owed = Owed()
    >>> owed.asked(b"\x1b[>c"), owed.takes(b"\x1b[>0;276;0c"), owed.takes(b"\x1b[>0;276;0c")
    (None, True, False)
    """

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self._open: Counter[str | None] = Counter()

    def asked(self, output: bytes) -> None:
        """Take in output; a question that is cut in two is not seen, and its answer is dropped."""
        if b"\x1b" in output:
            self._open.update(found.lastgroup for found in _named(QUESTION).finditer(output))

    def takes(self, data: bytes) -> bool:
        """Tell whether answers were asked for; what nobody asks for, such as focus, always is."""
        answers = Counter(found.lastgroup for found in _named(ANSWER).finditer(data))
        if any(self._open[kind] < count for kind, count in answers.items()):
            return False
        self._open.subtract(answers)
        return True
