"""tmux's command lines, quoting, and the meaning of its words."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core import tmux
from ttybridge.core.tmux import Target
from ttybridge.model import EndReason, WindowSize


def test_the_original_command_is_run_to_the_letter_behind_our_terminal_features() -> None:
    argv = Target().take_over()
    assert argv[0] == "tmux"
    assert argv[-5:] == ["new-session", "-A", "-D", "-s", "0"]
    assert argv[1:-5] == ["-u", "-T", tmux.FEATURES]


def test_a_client_that_joins_detaches_nobody_and_leaves_the_environment() -> None:
    argv = Target(session="train").attach()
    assert argv[-4:] == ["attach-session", "-E", "-t", "=train"]
    assert "-d" not in argv
    assert "-D" not in argv


def test_a_viewer_attaches_read_only_and_does_not_count_for_the_size() -> None:
    argv = Target().attach(read_only=True)
    assert argv[argv.index("-f") + 1] == "read-only,ignore-size"


def test_one_that_follows_the_session_types_and_does_not_count_for_the_size() -> None:
    argv = Target().attach(follows=True)
    assert argv[argv.index("-f") + 1] == "ignore-size"


def test_whoever_watches_the_size_has_none_and_gets_no_output() -> None:
    argv = Target(session="train").watch()
    assert "-C" in argv
    assert argv[argv.index("-f") + 1] == "no-output,read-only,ignore-size"
    assert argv[-2:] == ["-t", "=train"]


@given(
    st.lists(st.sampled_from([b"a", b"\x1bP=1s\x1b\\", b"\x1bP=2s\x1b\\", b"\x1bP", b"\x1b[m"])),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_marks_of_redraws_are_translated_however_they_are_cut(
    parts: list[bytes], cuts: list[int]
) -> None:
    output = b"".join(parts) + b"."
    marks, got = tmux.Synchronized(), b""
    edges = [0, *sorted(min(c, len(output)) for c in cuts), len(output)]
    for begin, end in itertools.pairwise(edges):
        got += marks.feed(output[begin:end])
    translated = output.replace(b"\x1bP=1s\x1b\\", tmux.SYNC_BEGIN)
    assert got == translated.replace(b"\x1bP=2s\x1b\\", tmux.SYNC_END)


@pytest.mark.parametrize(
    ("target", "base"),
    [
        (Target(), ["tmux"]),
        (Target(socket_name="x"), ["tmux", "-L", "x"]),
        (Target(program="/opt/tmux", socket_path="/s"), ["/opt/tmux", "-S", "/s"]),
    ],
)
def test_every_command_names_the_same_server(target: Target, base: list[str]) -> None:
    size = WindowSize(cols=80, rows=24)
    commands = [
        target.take_over(),
        target.attach(),
        target.has_session(),
        target.watch(),
        target.ask_size(),
        target.list_clients(),
        target.show_environment(of_server=True),
        target.show_environment(of_server=False),
        target.source_stdin(),
        target.create(size, "/"),
    ]
    assert all(argv[: len(base)] == base for argv in commands)


def test_no_value_of_the_environment_is_in_an_argument_list() -> None:
    argv = Target().create(WindowSize(cols=80, rows=24), "/work")
    assert "source-file" in argv
    assert not any("set-environment" in word for word in argv)


def _unquote(text: bytes) -> bytes:
    assert text[:1] == text[-1:] == b'"'
    return re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), text[1:-1])


@given(st.binary(max_size=300))
def test_quoting_keeps_every_byte_and_leaves_nothing_that_tmux_reads(value: bytes) -> None:
    quoted = tmux.quote(value)
    assert _unquote(quoted) == value
    assert re.fullmatch(rb'"(?:[A-Za-z0-9 /:.,_+=@%-]|\\[0-7]{3})*"', quoted)


def test_the_session_gets_our_variables_and_hides_the_others() -> None:
    commands = tmux.environment_commands(
        Target(), {b"A": b"1\n", b"TERM": b"x"}, {b"A": b"0", b"OLD": b"2", b"TMUX": b"t"}
    )
    assert commands == (
        b'set-environment -t "=0" -r -- "OLD"\n'
        b'set-environment -t "=0" -- "A" "1\\012"\n'
        b'set-environment -t "=0" -- "TERM" "x"\n'
    )


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (b"\x1b[?1049l[detached (from session 0)]\r\n", EndReason.DETACHED),
        (b"[detached and SIGHUP (from session 0)]\r\n", EndReason.DETACHED),
        (b"\x1b[K[exited]\r\n", EndReason.EXITED),
        (b"[server exited]\r\n", EndReason.SERVER_EXITED),
        (b"[server exited unexpectedly]\r\n", EndReason.SERVER_EXITED),
        (b"[terminated]\r\n", EndReason.KILLED),
        (b"[lost tty]\r\n", EndReason.KILLED),
        (b"anything else", EndReason.KILLED),
        (b"", EndReason.KILLED),
    ],
)
def test_the_last_line_of_a_client_says_why_it_ended(tail: bytes, reason: EndReason) -> None:
    assert tmux.parse_end(tail) is reason


@pytest.mark.parametrize(
    ("text", "version"),
    [("tmux 3.3a", (3, 3)), ("tmux 3.2", (3, 2)), ("tmux next-3.6", (3, 6)), ("tmux master", None)],
)
def test_versions_are_read(text: str, version: tuple[int, int] | None) -> None:
    assert tmux.parse_version(text) == version
