"""What the client of `ttybridge connect` says and shows, message by message, without a network."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.client import notes, window_title
from ttybridge.client.input_queue import MAX_UNDER_WAY, InputQueue
from ttybridge.client.output_position import ACK_EVERY_BYTES
from ttybridge.client.session import ACK_AFTER_S, HARD_RESET, SOFT_RESET, Ending, News, Session
from ttybridge.client.transport import Event
from ttybridge.model import WindowSize

JOINED = {
    "id": "c1", "key": "k", "resumed": False, "offset": 0, "input": 0, "role": "owner",
    "mode": "tmux", "maxInput": 16384, "display": "own",
}  # fmt: skip


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the code under test has no event for it
        await asyncio.sleep(0.002)


class Line:
    """A connection that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.is_polling = False

    def send(self, name: str, *args: object) -> None:
        self.sent.append((name, *args))


class Screen:
    """A terminal that takes output when it is told to."""

    def __init__(self) -> None:
        self.shown = b""
        self._done: list[Callable[[], None]] = []

    def write(self, data: bytes, done: Callable[[], None] = lambda: None) -> None:
        self.shown += data
        self._done.append(done)

    def take(self) -> None:
        waiting, self._done = self._done, []
        for done in waiting:
            done()


class Joined:
    """A session that has joined."""

    def __init__(self, **more: object) -> None:
        self.screen = Screen()
        self.session = Session(self.screen, WindowSize(cols=80, rows=24), "Ada")
        self.news: list[News] = []
        self.session.on_news = self.news.append
        self.line = self.connect(**more)

    def connect(self, **more: object) -> Line:
        line = Line()
        self.session.begin(line)  # type: ignore[arg-type]
        self.say("joined", JOINED | more)
        self.line = line
        return line

    def say(self, name: str, *args: object) -> Ending | None:
        return self.session.on_event(Event(name, args))


async def test_output_is_acknowledged_when_the_terminal_has_taken_it() -> None:
    joined, rest = Joined(), 5
    joined.say("out", 0, b"x" * (2 * ACK_EVERY_BYTES + rest))
    assert joined.line.sent == []
    joined.screen.take()
    at_once = [("ack", 16 * 1024), ("ack", 32 * 1024)]
    assert joined.line.sent == at_once
    assert ACK_AFTER_S < 0.1
    await asyncio.wait_for(until(lambda: len(joined.line.sent) == 3), 5)
    assert joined.line.sent == [*at_once, ("ack", 32 * 1024 + rest)]


async def test_by_polling_an_acknowledgement_goes_with_the_next_key() -> None:
    joined = Joined()
    joined.line.is_polling = True
    joined.say("out", 0, b"abc")
    joined.screen.take()
    joined.session.type(b"x")
    joined.session.type(b"y")
    assert joined.line.sent == [("ack", 3), ("in", 1, "x", True), ("in", 2, "y", True)]


async def test_after_a_resume_what_was_taken_is_told_without_new_output() -> None:
    joined = Joined()
    joined.say("out", 0, b"abc")
    joined.screen.take()
    await asyncio.wait_for(until(lambda: joined.line.sent == [("ack", 3)]), 5)
    joined.session.lose()
    line = joined.connect(resumed=True, offset=3)
    await asyncio.wait_for(until(lambda: line.sent == [("ack", 3)]), 5)


async def test_a_resume_tells_what_was_taken_and_drops_what_comes_twice() -> None:
    joined = Joined()
    joined.say("out", 0, b"abc")
    joined.session.lose()
    hello = joined.session.hello()
    assert hello["resume"] == {"id": "c1", "key": "k", "offset": 3, "reset": False}
    joined.connect(resumed=True, offset=3)
    joined.say("out", 1, b"bcde")
    assert joined.screen.shown == b"abcde"


async def test_a_gap_asks_for_a_repaint() -> None:
    joined = Joined()
    with pytest.raises(ValueError, match="missing"):
        joined.say("out", 1, b"x")
    joined.session.lose()
    resume = joined.session.hello()["resume"]
    assert isinstance(resume, dict)
    assert resume["reset"] is True


@pytest.mark.parametrize(("hard", "sequence"), [(True, HARD_RESET), (False, SOFT_RESET)])
async def test_a_reset_clears_or_ends_a_cut_sequence(hard: bool, sequence: bytes) -> None:
    joined = Joined()
    joined.say("out", 0, b"abc\x1b[")
    joined.say("reset", {"offset": 900, "reason": "behind", "hard": hard})
    joined.say("out", 900, b"new")
    assert joined.screen.shown == b"abc\x1b[" + sequence + b"new"


async def test_input_goes_out_in_numbered_messages_with_a_limit_under_way() -> None:
    joined = Joined(maxInput=10)
    joined.session.type("é".encode() * 100)
    assert len(joined.line.sent) == MAX_UNDER_WAY
    assert joined.line.sent[0] == ("in", 1, "Ã©" * 5, True)
    joined.say("inack", 3)
    assert [message[1] for message in joined.line.sent] == list(range(1, MAX_UNDER_WAY + 4))


async def test_what_a_watcher_types_is_not_sent_until_the_keyboard_is_given() -> None:
    joined = Joined(role="viewer")
    joined.session.type(b"secret")
    assert joined.line.sent == []
    joined.say("role", {"role": "editor", "by": "ada\x1b[31m"})
    joined.session.type(b"x")
    assert joined.line.sent == [("in", 1, "x", True)]
    assert joined.news[-1].text == ("Ada[31m gave you the keyboard; Ctrl-C goes to the session now")
    joined.say("role", {"role": "viewer", "by": "Ada"})
    joined.session.type(b"y")
    assert len(joined.line.sent) == 1
    assert joined.news[-1].is_urgent


async def test_input_of_a_cut_is_dropped_when_the_keyboard_is_gone_at_the_return() -> None:
    joined = Joined()
    joined.session.lose()
    joined.session.type(b"rm -r x\r")
    line = joined.connect(resumed=True, role="viewer")
    assert line.sent == []
    joined.say("role", {"role": "editor", "by": "Ada"})
    joined.session.type(b"x")
    assert line.sent == [("in", 1, "x", True)]


async def test_a_ping_is_answered_and_a_hand_is_raised_where_it_is_known() -> None:
    joined = Joined()
    joined.say("ping", 7)
    assert joined.session.raise_hand()
    assert joined.session.raise_hand()
    assert joined.line.sent == [("pong", 7), ("hand", True), ("hand", False)]
    joined.session.raise_hand()
    joined.session.lose()
    assert joined.connect(resumed=True).sent == [("hand", True)], "it stays up"
    assert joined.connect(resumed=False).sent == [], "a new place has none"
    old = Joined()
    old.session.knows_hands = False
    assert not old.session.raise_hand()
    assert old.line.sent == []


async def test_what_is_not_known_and_what_comes_too_early_is_passed_over() -> None:
    joined = Joined()
    joined.say("people", {"here": []})
    joined.say("surprise", 1, 2)
    early = Session(Screen(), WindowSize(cols=80, rows=24))
    assert early.on_event(Event("out", (0, b"x"))) is None


@pytest.mark.parametrize(
    "event",
    [
        ("joined", {}), ("joined", None), ("joined", JOINED | {"offset": -1}),
        ("out",), ("out", 0, "text"), ("out", True, b"x"), ("inack", "1"), ("reset", {}),
    ],
)  # fmt: skip
async def test_what_is_malformed_ends_the_connection_only(event: tuple[Any, ...]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Joined().say(*event)


def end(reason: str, code: int = 0, message: str = "", **more: object) -> dict[str, object]:
    return {"exitCode": code, "signal": 0, "reason": reason, "message": message} | more


@pytest.mark.parametrize(
    ("mode", "exit_", "expected"),
    [
        ("direct", end("exited", 3, "It ended."), Ending(3, "It ended.")),
        ("direct", end("killed", 0, "Killed.", signal=9), Ending(137, "Killed.")),
        ("tmux", end("detached", 0, "x", restart=True), Ending(0)),
        ("tmux", end("closing", 0, "It has stopped."), Ending(0, "It has stopped.")),
        ("tmux", end("removed"), Ending(1, "You were removed from the session.")),
        ("tmux", end("taken-over"), Ending(1, "Another connection has taken the session over.")),
        ("tmux", end("new word", 999, "a\x1b[31m\n"), Ending(1, "a\\x1b[31m\\n")),
        ("tmux", {}, Ending(1, "The session has ended.")),
    ],
)  # fmt: skip
async def test_every_end_has_a_status_and_a_sentence(
    mode: str, exit_: dict[str, object], expected: Ending
) -> None:
    assert Joined(mode=mode).say("exit", exit_) == expected


async def test_somebody_who_waits_is_told_and_may_be_turned_away() -> None:
    session = Session(Screen(), WindowSize(cols=80, rows=24))
    news: list[News] = []
    session.on_news = news.append
    session.on_event(Event("waiting", ({},)))
    assert session.waits
    assert "Ctrl-C leaves" in news[0].text
    refusal = session.on_event(Event("refused", ({"code": "locked", "hint": ""},)))
    assert refusal == Ending(1, "The session is locked: nobody new is let in.")


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=12),
    st.lists(st.sampled_from(["send", "ack", "cut before", "cut after"]), max_size=40),
    st.integers(1, 9),
)
def test_every_byte_arrives_once_and_in_order_whatever_is_cut(
    typed: list[bytes], steps: list[str], most: int
) -> None:
    queue, arrived, seen = InputQueue(), b"", 0
    queue.resume(0, most)

    def deliver(message: tuple[int, bytes]) -> None:
        nonlocal arrived, seen
        seq, data = message
        assert seq <= seen + 1, "a gap"
        if seq == seen + 1:
            arrived, seen = arrived + data, seq

    rest = list(typed)
    for step in [*steps, *["send", "ack"] * (sum(map(len, typed)) + 1)]:
        if rest:
            queue.push(rest.pop(0))
        if step == "ack":
            queue.acknowledge(seen)
            continue
        message = queue.next()
        if message is not None and step != "cut before":
            deliver(message)
        if step.startswith("cut"):
            queue.resume(seen, most)
    assert arrived == b"".join(typed)
    assert queue.bytes_left == 0


@pytest.mark.parametrize(
    ("output", "is_between"),
    [
        (b"text", True),
        (b"\x1b", False), (b"\x1b[", False), (b"\x1b[1;3", False), (b"\x1b[1;31m", True),
        (b"\x1b]0;title", False), (b"\x1b]0;title\x07", True), (b"\x1b]0;title\x1b\\", True),
        (b"\x1bP+q", False), (b"\x1b(", False), (b"\x1b(B", True), (b"\x1b7", True),
        (b"\xc3", False), ("€".encode()[:2], False), ("€".encode(), True),
    ],
)  # fmt: skip
def test_a_title_is_put_between_two_sequences_only(output: bytes, is_between: bool) -> None:
    end = notes.OutputEnd()
    for byte in output:
        end.feed(bytes([byte]))
    assert end.is_between is is_between


def test_what_a_restored_terminal_needs_is_remembered_however_the_output_is_cut() -> None:
    end = notes.OutputEnd()
    for byte in b"\x1b[?1049h\x1b[?1000h\x1b]2;vim\x07text\x1b[?1000l\x1b[?2004h":
        end.feed(bytes([byte]))
    assert end.modes.startswith(b"\x1b[?1049h")
    assert b"\x1b[?1000h" not in end.modes
    assert b"\x1b[?2004h" in end.modes
    assert end.title == b"\x1b]2;vim\x07"


class Window(Screen):
    """A terminal that is ours."""

    is_raw = True


async def test_the_title_says_something_for_a_while_and_is_the_sessions_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window_title, "SHOWN_S", 0.01)
    window, output = Window(), notes.OutputEnd()
    title = window_title.WindowTitle(window, output)  # type: ignore[arg-type]
    output.feed(b"\x1b]2;vim\x07\x1b[")
    title.say("Hello")
    assert window.shown == b"", "not inside a sequence"
    output.feed(b"m")
    title.flush()
    said = notes.PUSH_TITLE + notes.title("Hello")
    assert window.shown == said
    back = notes.POP_TITLE + b"\x1b]2;vim\x07"
    await asyncio.wait_for(until(lambda: window.shown == said + back), 1)
    assert title.end() == b""
    title.say("Lost", stays=True)
    title.say("Lost", stays=True)
    assert window.shown.count(notes.PUSH_TITLE) == 2, "once for each time that it is ours"
    await asyncio.sleep(0.03)
    assert window.shown.endswith(notes.title("Lost"))
    assert title.end() == notes.POP_TITLE


def test_a_line_fits_the_screen_and_has_no_controls() -> None:
    line = notes.status_line("x" * 200, WindowSize(cols=40, rows=9))
    assert b"\x1b[9;1H" in line
    assert line.count(b"x") == 38
    assert notes.title("a\x07b\x1b\\c") == b"\x1b]2;a\\x07b\\x1b\\c\x07"
