"""What is typed and sourced to run a text in a pane, and the way back to its output."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core.pane_run import (
    HOOK,
    Limits,
    Marked,
    Output,
    Shell,
    shell_of,
    sourced,
    typed_line,
)

NONCE = "0123456789abcdef"


def mark(word: str, nonce: str = NONCE) -> bytes:
    return f"\x1b]7717;{nonce};{word}\x07".encode()


PRINTED = (
    b"$ . /tmp/run\r\n\x1b[?2004l\r"
    + mark("begin")
    + b"\x1b[31mred\x1b[0m\r\n"
    + mark("9", "another")
    + mark("word")
    + b"100%\r\xc3\xa4\xff\xe4\xb8\x96\r\nno end"
    + mark("127")
    + b"\r\n$ "
    + mark("0")
)
OUTPUT = (
    "\x1b[31mred\x1b[0m\n\x1b]7717;another;9\x07"
    + mark("word").decode()
    + "100%\rä\ufffd世\nno end"
)


@given(st.lists(st.integers(0, len(PRINTED)), max_size=12))
def test_the_output_is_between_the_marks_however_it_is_cut(cuts: list[int]) -> None:
    marked = Marked(NONCE)
    bounds = [0, *sorted(cuts), len(PRINTED)]
    text = "".join([marked.feed(PRINTED[start:end]) for start, end in pairwise(bounds)])
    assert (text, marked.status, marked.finish()) == (OUTPUT, 127, "")


def test_one_byte_at_a_time_nothing_waits_that_cannot_become_a_mark() -> None:
    marked = Marked(NONCE)
    marked.feed(mark("begin"))
    assert [marked.feed(bytes([byte])) for byte in b"a\r\x1b[1m\r\n"] == [
        *("a", "", "\r", "\x1b[", "1", "m", "", "\n")
    ]
    assert not marked.status


def test_without_an_end_the_rest_is_kept_and_without_a_begin_nothing() -> None:
    cut = mark("1")[:-1]
    marked = Marked(NONCE)
    assert marked.feed(b"$ " * 1000 + mark("begin") + b"x\xc3" + cut) == "x"
    assert marked.finish() == "\ufffd" + cut.decode()
    silent = Marked(NONCE)
    assert silent.feed(PRINTED[:20]) + silent.finish() == ""
    assert not silent.has_begun


@pytest.mark.parametrize("shell", Shell)
def test_what_is_sourced_has_no_mark_in_it_that_the_terminal_could_show(shell: Shell) -> None:
    text = sourced(shell, NONCE, "/tmp/x")
    assert "\x1b" not in text
    assert "@" not in re.sub(r"\(@\)|\[@\]", "", text)
    assert text.count(f"7717;{NONCE};%s") >= 2
    assert "/tmp/x/cell\n" in text
    assert HOOK in text


@pytest.mark.parametrize(
    ("shell", "line"),
    [(Shell.BASH, " . /f/run"), (Shell.POSIX, " . /f/run"), (Shell.FISH, " source /f/run")],
)
def test_the_typed_line_sources_the_file_and_stays_out_of_the_history(
    shell: Shell, line: str
) -> None:
    assert typed_line(shell, "/f/run") == line


@pytest.mark.parametrize(
    ("program", "command", "shell"),
    [
        ("/usr/bin/bash", "-bash", Shell.BASH),
        ("/usr/bin/bash", "sh", Shell.BASH),
        ("/usr/bin/bash", "bash --rcfile /home/me/rc -i", Shell.BASH),
        ("/usr/bin/bash", "bash -o vi -l", Shell.BASH),
        ("/usr/bin/bash", "bash train.sh", None),
        ("/usr/bin/bash", "bash -x -- train.sh", None),
        ("/usr/bin/bash", "bash -lc make", None),
        ("/usr/bin/zsh", "zsh --no-rcs", Shell.ZSH),
        ("/usr/bin/fish", "fish --command ls", None),
        ("/usr/bin/fish", "fish", Shell.FISH),
        ("/usr/bin/dash", "/bin/sh -i", Shell.POSIX),
        ("/usr/bin/ksh93", "ksh", Shell.POSIX),
        ("/usr/bin/busybox", "-sh", Shell.POSIX),
        ("/usr/bin/busybox", "busybox ash", Shell.POSIX),
        ("/usr/bin/busybox", "busybox vi", None),
        ("/usr/bin/vim", "vim bash", None),
        ("/usr/bin/ssh", "ssh host", None),
        ("/usr/bin/python3.11", "python", None),
    ],
)
def test_a_shell_at_work_on_a_script_and_other_programs_are_no_shell_to_type_to(
    program: str, command: str, shell: Shell | None
) -> None:
    assert shell_of(program, command.split()) is shell


def test_output_that_comes_faster_than_it_is_taken_is_left_out_with_a_mark() -> None:
    output = Output(Limits(total=1000, waiting=10))
    output.put("12345")
    output.put("6789ä!")
    assert output.left_out == 7
    output.put("8")
    gap = "\n[ttybridge: 8 bytes are left out here; they came too fast]\n"
    assert output.take() == "12345" + gap, "nothing slips into a gap"
    output.put("abc")
    assert output.take() == "abc"
    output.put("x" * 11)
    assert output.take() == gap.replace("8", "11")
    assert output.take() == ""


def test_output_ends_at_its_limit_with_one_mark_and_the_rest_is_counted() -> None:
    output = Output(Limits(total=5, waiting=1000))
    output.put("abcdäxyz")
    output.put("more")
    text = output.take()
    assert text.startswith("abcd\n[ttybridge: more than 5 bytes;")
    assert output.left_out == 5 + 4
    output.put("still more")
    assert output.take() == ""
