"""What a terminal emulator types by itself, in answer to a program's question.

When several clients share one pty, all their terminals answer, and one that is shown old output
answers questions that were asked long ago. Those answers must not reach the program as input.
"""

import re

_ANSWER = re.compile(
    rb"(?:"
    rb"\x1b\[[?>=][0-9;]*c"  # device attributes (DA1, DA2, DA3)
    rb"|\x1b\[\??[0-9]+(?:;[0-9]+)+R"  # cursor position (CPR, DECXCPR)
    rb"|\x1b\[\??[0-9;]*n"  # device status (DSR)
    rb"|\x1b\[\??[0-9;]+\$y"  # mode (DECRPM)
    rb"|\x1b\[[0-9;]+t"  # window (XTWINOPS)
    rb"|\x1b\[\?[0-9]+u"  # keyboard flags
    rb"|\x1b\[[IO]"  # focus gained, focus lost
    rb"|\x1b\][0-9]+;[^\x07\x1b]{0,512}(?:\x07|\x1b\\)"  # colours (OSC 4, 10, 11, 12)
    rb"|\x1bP[^\x1b]{0,4096}\x1b\\"  # settings, version (DECRQSS, XTVERSION, XTGETTCAP)
    rb")+"
)


def is_answer(data: bytes) -> bool:
    r"""Tell whether input is nothing but answers of a terminal emulator.

    `ESC [ 1 ; 5 R` is both a cursor position and Ctrl-F3; it counts as an answer.

    >>> is_answer(b"\x1b[?1;2c"), is_answer(b"\x1b[A"), is_answer(b"ls\n")
    (True, False, False)
    """
    return bool(_ANSWER.fullmatch(data))
