"""What a terminal types by itself is told from what a person types."""

import pytest

from ttybridge.core.answers import Owed, is_answer


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b[?1;2c", b"\x1b[>0;276;0c", b"\x1b[=1c", b"\x1b[24;80R", b"\x1b[?24;80;1R",
        b"\x1b[0n",        b"\x1b[?2026;2$y", b"\x1b[4;600;800t", b"\x1b[?0u", b"\x1b[I", b"\x1b[O",
        b"\x1b]11;rgb:1111/2222/3333\x07", b"\x1b]4;1;rgb:ff/00/00\x1b\\", b"\x1bP1$r0m\x1b\\",
        b"\x1bP>|xterm.js(6.0.0)\x1b\\", b"\x1b[?1;2c\x1b[>0;276;0c",
    ],
)  # fmt: skip
def test_answers_are_known(data: bytes) -> None:
    assert is_answer(data)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"a", b"ls\n", b"\x1b", b"\x1b[A", b"\x1bOA", b"\x1b[1;5A", b"\x1b[3~", b"\x1b[15;5~",
        b"\x1b[200~paste\x1b[201~", b"\x1b[<0;10;20M", b"\x1b[<0;10;20m", b"\x1b[M !!", b"\x1bx",
        b"\x1b[13;2u", b"x\x1b[?1;2c", b"\x03", "é".encode(),
    ],
)  # fmt: skip
def test_keys_mouse_and_pastes_are_not(data: bytes) -> None:
    assert not is_answer(data)


def test_as_many_answers_pass_as_there_were_questions() -> None:
    owed = Owed()
    assert not owed.takes(b"\x1b[>0;276;0c"), "nothing was asked"
    owed.asked(b"\x1b[?1049h\x1b[22;0;0t\x1b[>c\x1b[>qtext\x1b]11;?\x07\x1b[6n")
    assert owed.takes(b"\x1b[>0;276;0c\x1bP>|xterm.js(6.0.0)\x1b\\")
    assert owed.takes(b"\x1b[I"), "focus is told without being asked for"
    assert owed.takes(b"\x1b]11;rgb:1111/2222/3333\x07")
    assert owed.takes(b"\x1b[3;7R")
    assert not owed.takes(b"\x1b[3;7R")
    owed.asked(b"\x1b[>q\x1b[c")
    assert not owed.takes(b"\x1b[>0;276;0c"), "another question was asked"
    assert owed.takes(b"\x1b[?1;2c")
