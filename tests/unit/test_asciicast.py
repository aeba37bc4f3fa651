"""Lines of recordings: written so that any player reads them, read so that none does harm."""

import json
import random
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core.asciicast import (
    MAX_LINE_BYTES,
    BadRecording,
    Event,
    Header,
    Reader,
    Writer,
)
from ttybridge.core.harmless import Harmless
from ttybridge.core.playback import Pacer
from ttybridge.model import WindowSize

SIZE = WindowSize(cols=80, rows=24)

V2 = b'{"version": 2, "width": 80, "height": 24}\n'
V3 = b'{"version": 3, "term": {"cols": 80, "rows": 24}}\n'


def lines_of(*texts: str) -> list[bytes]:
    return "".join(texts).encode().splitlines(keepends=True)


def read(*lines: bytes) -> tuple[Header, list[Event]]:
    reader = Reader(lines)
    return reader.header, list(reader.events())


@pytest.mark.parametrize("version", [2, 3])
def test_what_is_written_is_read_again(version: int) -> None:
    header = Header(version, SIZE, 1_795_546_855, "0 on box", "xterm-256color", "/bin/bash", 2.5)
    writer = Writer(header)
    lines = lines_of(
        writer.first_line(),
        writer.output(0.25, b"$ \x1b[1mls\r\n"),
        writer.resize(1.5, WindowSize(cols=120, rows=40)),
        writer.input(1.75, b"q"),
        writer.marker(2.0, "tests\npass"),
        writer.reset(2.0),
        writer.end(3.0, 7),
    )
    assert read(*lines) == (
        header,
        [
            Event(0.25, "o", "$ \x1b[1mls\r\n"),
            Event(1.5, "r", "120x40"),
            Event(1.75, "i", "q"),
            Event(2.0, "m", "tests pass"),
            Event(2.0, "o", "\x1bc"),
            *([Event(3.0, "x", "7")] if version == 3 else []),
        ],
    )


def test_the_lines_are_those_of_the_formats() -> None:
    v2 = Writer(Header(2, SIZE, 17, "T", "xterm", "/bin/sh"))
    assert json.loads(v2.first_line()) == {
        "version": 2, "width": 80, "height": 24, "timestamp": 17, "title": "T",
        "env": {"TERM": "xterm", "SHELL": "/bin/sh"},
    }  # fmt: skip
    assert [v2.output(1.5, b"a"), v2.output(2.0, "é".encode())] == [
        '[1.5, "o", "a"]\n',
        '[2.0, "o", "é"]\n',
    ]
    v3 = Writer(Header(3, SIZE, 17, "T", "xterm", "/bin/sh"))
    assert json.loads(v3.first_line()) == {
        "version": 3, "term": {"cols": 80, "rows": 24, "type": "xterm"}, "timestamp": 17,
        "title": "T", "env": {"SHELL": "/bin/sh"},
    }  # fmt: skip
    assert [v3.output(1.5, b"a"), v3.output(2.0, b"b"), v3.end(2.0, 0)] == [
        '[1.5, "o", "a"]\n',
        '[0.5, "o", "b"]\n',
        '[0.0, "x", "0"]\n',
    ]


@given(st.text(), st.binary(max_size=8), st.randoms())
def test_text_cut_anywhere_comes_out_as_if_it_had_come_at_once(
    text: str, noise: bytes, chance: random.Random
) -> None:
    data = text.encode("utf-8", "replace") + noise + "😀é".encode()
    cuts = sorted(chance.randint(0, len(data)) for _ in range(6))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    writer = Writer(Header(2, SIZE))
    lines = [writer.output(0, piece) for piece in pieces if piece] + [writer.end(0, None)]
    _, events = read(V2, *lines_of(*lines))
    assert "".join(e.data for e in events) == data.decode("utf-8", "replace")


def test_a_cut_character_is_dropped_when_the_output_goes_on_elsewhere() -> None:
    writer = Writer(Header(2, SIZE))
    lines = [writer.output(0, b"a\xf0\x9f"), writer.reset(1), writer.output(1, "é".encode())]
    assert [e.data for e in read(V2, *lines_of(*lines))[1]] == ["a", "\x1bc", "é"]


def test_intervals_add_up_to_the_time_after_many_events() -> None:
    writer = Writer(Header(3, SIZE))
    lines = [writer.output(n / 3, b".") for n in range(1, 20_001)]
    *_, last = read(V3, *lines_of(*lines))[1]
    assert last.at_s == pytest.approx(20_000 / 3, abs=1e-4)


def test_time_never_goes_back() -> None:
    writer = Writer(Header(3, SIZE))
    lines = lines_of(writer.output(2.0, b"a"), writer.output(1.0, b"b"), writer.output(3.0, b"c"))
    assert [e.at_s for e in read(V3, *lines)[1]] == [2.0, 2.0, 3.0]
    assert [e.at_s for e in read(V2, b'[2, "o", "a"]\n', b'[1.9, "o", "b"]\n')[1]] == [2.0, 2.0]


def test_comments_blank_lines_and_unknown_kinds_are_passed_over() -> None:
    lines = (b"# a comment\n", b"\n", b'[1, "z", "?"]\n', b'[0.5, "o", "a"]\n')
    assert read(V3, *lines)[1] == [Event(1.5, "o", "a")]
    with pytest.raises(BadRecording, match="Line 2: this is not JSON"):
        read(V2, b"# not in v2\n", b'[1, "o", "a"]\n')


BAD_HEADERS = {
    "empty": (b"", "the file is empty"),
    "text": (b"$ ls\n", "not JSON"),
    "binary": (b"\xff\xfe\x00\n", "not UTF-8"),
    "list": (b"[1]\n", "no header"),
    "v1": (b'{"version": 1, "width": 80, "height": 24}\n', "version '1'"),
    "true": (b'{"version": true}\n', "version"),
    "no-size": (b'{"version": 2}\n', "window size"),
    "zero": (b'{"version": 2, "width": 0, "height": 24}\n', "window size"),
    "huge": (b'{"version": 2, "width": 1000000, "height": 24}\n', "window size"),
    "term": (b'{"version": 3, "term": 5}\n', "window size"),
    "deep": (b"[" * 100_000 + b"\n", "not JSON"),
    "digits": (b"1" * 5000 + b"\n", "not JSON|no header"),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_a_bad_header_is_refused_and_its_line_named(name: str) -> None:
    line, words = BAD_HEADERS[name]
    with pytest.raises(BadRecording, match=f"^Line 1: .*(?:{words})"):
        read(line)


BAD_EVENTS = {
    "short": b'[1, "o"]\n',
    "object": b"{}\n",
    "no-time": b'["1", "o", "a"]\n',
    "negative": b'[-1, "o", "a"]\n',
    "nan": b'[NaN, "o", "a"]\n',
    "infinite": b'[1e999, "o", "a"]\n',
    "true": b'[true, "o", "a"]\n',
    "no-text": b'[1, "o", 5]\n',
    "size": b'[1, "r", "80"]\n',
    "huge-size": b'[1, "r", "99999x1"]\n',
    "half": b'[1, "o", "a\n',
    "long": b"[" + b" " * MAX_LINE_BYTES + b"\n",
}


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_a_bad_event_is_refused_and_its_line_named(name: str) -> None:
    with pytest.raises(BadRecording, match=r"^Line 3: "):
        read(V2, b'[0, "o", "a"]\n', BAD_EVENTS[name], b'[2, "o", "b"]\n')


def test_a_last_line_that_was_not_written_to_its_end_is_left_out() -> None:
    assert read(V2, b'[0, "o", "a"]\n', b'[1, "o", "b')[1] == [Event(0, "o", "a")]


def test_lone_surrogates_are_replaced() -> None:
    assert read(V2, b'[0, "o", "a\\ud800"]\n')[1] == [Event(0, "o", "a\ufffd")]


# --- when events are due ---------------------------------------------------------------------


def shown(pacer: Pacer, times: Sequence[float], now: float) -> list[float]:
    """Return when each event is shown, by a clock that goes on with the waiting alone."""
    result = []
    for at in times:
        pacer.aim(at)
        now += pacer.wait_s(now)
        result.append(round(now, 6))
    return result


def test_speed_and_idle_limit_shorten_what_is_between_events() -> None:
    times = [0.5, 1.5, 61.5, 61.6]
    assert shown(Pacer(10.0), times, 10.0) == [10.5, 11.5, 71.5, 71.6]
    assert shown(Pacer(10.0, speed=2), times, 10.0) == [10.25, 10.75, 40.75, 40.8]
    limited = shown(Pacer(10.0, speed=2, idle_limit_s=1), times, 10.0)
    assert limited == [10.25, 10.75, 11.25, 11.3]


def test_time_lost_in_showing_is_made_up_for() -> None:
    pacer = Pacer(0.0)
    pacer.aim(1.0)
    pacer.aim(2.0)
    assert (pacer.wait_s(1.7), pacer.wait_s(2.5)) == (0.3, 0.0)


def test_a_pause_moves_everything_behind_it() -> None:
    pacer = Pacer(0.0)
    pacer.aim(1.0)
    pacer.pause(0.4)
    assert pacer.wait_s(100.0) == float("inf")
    pacer.pause(100.4)
    assert pacer.wait_s(100.4) == pytest.approx(0.6)


def test_a_step_shows_one_event_and_the_pause_goes_on() -> None:
    pacer = Pacer(0.0)
    pacer.aim(10.0)
    pacer.pause(4.0)
    pacer.step()
    assert pacer.wait_s(50.0) == 0
    pacer.show(50.0)
    pacer.aim(13.0)
    assert pacer.wait_s(60.0) == float("inf")
    pacer.pause(60.0)
    assert pacer.wait_s(60.0) == pytest.approx(3.0)


def test_a_step_between_two_events_is_for_the_second() -> None:
    pacer = Pacer(0.0)
    pacer.pause(1.0)
    pacer.step()
    pacer.aim(10.0)
    assert pacer.wait_s(2.0) == 0
    pacer.show(2.0)
    pacer.aim(12.0)
    pacer.pause(5.0)
    assert pacer.wait_s(5.0) == pytest.approx(2.0)


def test_a_new_speed_counts_for_what_is_left() -> None:
    pacer = Pacer(0.0)
    pacer.aim(10.0)
    pacer.change_speed(2.0, 4.0)
    assert pacer.wait_s(4.0) == pytest.approx(3.0)
    pacer.change_speed(1e9, 4.0)
    assert pacer.speed == 1024


# --- what of a recording reaches a terminal ---------------------------------------------------

HARMFUL = {
    "clipboard": "\x1b]52;c;aGVsbG8=\x07",
    "title": "\x1b]0;you are root\x1b\\",
    "colours": "\x1b]11;?\x07",
    "attributes": "\x1b[c\x1b[>c\x1b[=c\x1bZ",
    "position": "\x1b[6n\x1b[?6n\x05",
    "version": "\x1b[>q",
    "mode": "\x1b[?2026$p\x1b[4$p",
    "settings": "\x1bP$qm\x1b\\",
    "keyboard": "\x1b[?u\x1b[>1u",
    "window": "\x1b[8;5;5t\x1b[21t",
    "printer": "\x1b[5i",
    "strings": "\x1b_a\x1b\\\x1b^b\x1b\\\x1bXc\x1b\\",
    "eight-bit": "\x9d52;c;\x9c\x9b6n\x90$qm\x9c",
}

HARMLESS = (
    "plain é😀\r\n\t\x07\x1b[1;38;2;1;2;3mcolour\x1b[0m\x1b[10;5H\x1b[2J\x1b[?1049h\x1b[?25l\x1b[r"
    "\x1b(0lqk\x1b(B\x1b7\x1b8\x1b[u\x1b[s\x1b[2 q\x1b=\x1b>\x1bM\x1bc\x1b[!p\x1b[3X"
    "\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\\x1b]8;id=1;https://example.org\x07x\x1b]8;;\x07"
)


def take(*pieces: str) -> str:
    harmless = Harmless()
    return "".join(harmless.take(piece) for piece in pieces)


def test_what_draws_goes_through_unchanged_however_it_is_cut() -> None:
    assert take(HARMLESS) == HARMLESS
    assert take(*HARMLESS) == HARMLESS


@pytest.mark.parametrize("name", HARMFUL)
def test_what_asks_or_reaches_beyond_the_screen_is_taken_out(name: str) -> None:
    text = f"before{HARMFUL[name]}after"
    left = "before52;c;6n$qmafter" if name == "eight-bit" else "beforeafter"
    assert take(text) == take(*text) == left


def test_a_sequence_with_controls_in_it_is_shown_as_text() -> None:
    # Terminals carry out the line feed and go on with the sequence: it would ask, after all.
    assert "\x1b" not in take("\x1b[2\n1t")


def test_a_line_feed_at_a_cut_ends_no_string() -> None:
    assert take("a\x1b]\n", "4H\x07b") == take("a\x1b]\n4H\x07b") == "ab"
    assert take("a\x1b]8\n", "4H\x07b") == "ab"


def test_an_endless_sequence_is_not_kept() -> None:
    harmless = Harmless()
    for _ in range(100):
        harmless.take("\x1b]52;c;" + "A" * 10_000)
    assert harmless.take("\x07still here") == "still here"
    assert "\x1b" not in take("\x1b[" + "1;" * 10_000)


@given(st.text(alphabet="\x1b[]P\\;0852cntq>$?ux\x07\x9d\x9c\x18A \n"), st.randoms())
def test_no_cut_lets_anything_harmful_through(text: str, chance: random.Random) -> None:
    cuts = sorted(chance.randint(0, len(text)) for _ in range(4))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    out = take(*pieces)
    assert not re.search(r"\x1b\](?!8;)|\x1b[PX^_Z]|\x1b\[[0-?]*[cnti]|[\x05\x80-\x9f]", out)
