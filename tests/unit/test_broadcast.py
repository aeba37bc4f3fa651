"""The shared output of a tmux client: key frames, credit, skipping to the present; any order."""

import math
import re
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ttybridge.core import broadcast
from ttybridge.core.broadcast import KEY_BYTES, LATE_S, LITTLE_BYTES, ORIGIN, Broadcast
from ttybridge.core.cursor import Chunk, Cursor, Finished, Policy, Reset, Resized
from ttybridge.core.pace import START_BYTES
from ttybridge.core.shared_log import JOINED_BYTES, SharedLog
from ttybridge.core.tmux import SYNC_BEGIN, SYNC_END
from ttybridge.model import End, EndReason, ExitStatus, WindowSize

WINDOW = 256 * 1024
SIZE = WindowSize(cols=8, rows=4)
END = End(ExitStatus(), EndReason.EXITED, "ended", restart=True)


def marker(size: WindowSize = SIZE) -> bytes:
    """What tmux prints when it begins to repaint."""
    return b"\x1b[m\x1b[?25h\x1b[?2004l\x1b[1;1H\x1b[1;%dr" % size.rows


def repaint(screen: bytes, size: WindowSize = SIZE) -> bytes:
    return marker(size) + SYNC_BEGIN + screen + SYNC_END


class Stage:
    """A broadcast with a clock, and what it has asked for."""

    def __init__(self, log_bytes: int = broadcast.LOG_BYTES) -> None:
        self.now = 0.0
        self.asked = self.emptied = 0
        self.stream = Broadcast(
            SIZE, now=lambda: self.now, ask=self._ask, on_empty=self._empty, log_bytes=log_bytes
        )
        self.now = 1.0  # the first key frame is not fresh any more

    def _ask(self) -> None:
        self.asked += 1

    def _empty(self) -> None:
        self.emptied += 1

    def join(self, window: int = WINDOW, *, acks: bool = True) -> Cursor:
        return self.stream.subscribe(Policy.SKIP, window, lambda: None, acks=acks)

    def key(self, screen: bytes = b"screen") -> None:
        """Have the client repaint."""
        self.stream.begin_key()
        self.stream.append(repaint(screen))

    def drain(self, cursor: Cursor, *, acks: bool = True) -> list[object]:
        items: list[object] = []
        while (item := self.stream.take(cursor, 1 << 20)) is not None:
            items.append(item)
            if isinstance(item, Finished):
                break
            if acks and isinstance(item, Chunk):
                self.stream.ack(cursor, item.offset + len(item.data))
        return items


def output(items: list[object]) -> bytes:
    return b"".join(item.data for item in items if isinstance(item, Chunk))


def test_the_first_viewer_gets_everything_from_the_first_byte() -> None:
    stage = Stage()
    stage.stream.append(b"\x1b[?1049h first")
    items = stage.drain(stage.join())
    assert items[:2] == [Reset(ORIGIN, "replay", hard=True), Resized(SIZE)]
    assert output(items) == b"\x1b[?1049h first"
    assert stage.asked == 0


def test_a_late_joiner_waits_for_a_key_frame_and_begins_there() -> None:
    stage = Stage()
    first = stage.join()
    stage.drain(first)
    stage.stream.append(b"\x1b[?1049h\x1b[4 q\x1b[31m" + b"x" * 3 * KEY_BYTES)
    stage.drain(first)
    late = stage.join()
    assert stage.stream.take(late, 1000) is None
    assert stage.asked == 1
    stage.key()
    items = stage.drain(late)
    assert output(items) == (
        b"\x1b[?1049h\x1b[?25h\x1b[?2004l\x1b[1;4r\x1b[4 q"
        + SYNC_BEGIN + b"\x1b[2J" + SYNC_BEGIN + b"screen" + SYNC_END
    )  # fmt: skip
    assert output(stage.drain(first)) == marker() + (
        SYNC_BEGIN + b"\x1b[2J" + SYNC_BEGIN + b"screen" + SYNC_END
    )


def test_newcomers_share_a_key_frame_while_the_output_since_is_short() -> None:
    stage = Stage()
    stage.key()
    stage.now += 10
    stage.stream.append(b"x" * START_BYTES)
    assert stage.drain(stage.join())
    assert stage.asked == 0
    stage.stream.append(b"x")
    assert not stage.drain(stage.join())
    assert stage.asked == 1


def test_a_flood_right_behind_a_key_frame_does_not_make_newcomers_wait_for_another() -> None:
    stage = Stage()
    stage.stream.append(b"x" * 3 * KEY_BYTES)
    late = stage.join()
    assert not stage.drain(late)
    stage.stream.begin_key()
    stage.stream.append(repaint(b"screen") + b"flood" * KEY_BYTES)
    assert stage.drain(late)
    stage.now += 1
    assert not stage.drain(stage.join())


def offers(cursor: Cursor) -> list[Chunk]:
    """Have a viewer take what it is offered; return the list in which it comes."""
    taken: list[Chunk] = []

    def offer(chunk: Chunk) -> bool:
        taken.append(chunk)
        return True

    cursor.offer = offer
    return taken


def test_whoever_has_all_before_it_is_offered_the_newest_output() -> None:
    stage = Stage()
    cursor = stage.join()
    stage.drain(cursor)
    taken, at = offers(cursor), stage.stream.end
    stage.stream.append(b"new")
    assert taken == [Chunk(at, b"new")]
    assert stage.stream.take(cursor, 1000) is None
    assert cursor.sent == at + 3
    cursor.offer = lambda _chunk: False
    stage.stream.append(b"newer")
    assert stage.stream.take(cursor, 1000) == Chunk(at + 3, b"newer")


def test_nothing_is_offered_before_a_reset_a_prelude_or_a_size() -> None:
    stage = Stage()
    stage.stream.append(b"\x1b[?25l")
    late = stage.join()
    taken = offers(late)
    stage.stream.append(b"it has no place yet")
    stage.stream.begin_key()
    stage.stream.settle_key()
    assert isinstance(stage.stream.take(late, 1000), Reset)
    assert isinstance(stage.stream.take(late, 1000), Resized)
    assert late.sent == stage.stream.end
    stage.stream.append(b"its prelude comes first")
    assert taken == []
    assert output(stage.drain(late)).endswith(b"its prelude comes first")
    stage.stream.resize(WindowSize(cols=SIZE.cols + 1, rows=SIZE.rows))
    stage.stream.append(b"for another size")
    assert taken == []
    assert isinstance(stage.stream.take(late, 1000), Resized)


def test_all_get_the_same_bytes_object_for_the_same_offset() -> None:
    stage = Stage()
    cursors = [stage.join() for _ in range(3)]
    for cursor in cursors:
        stage.drain(cursor)
    data = b"y" * 5000
    stage.stream.append(data)
    for cursor in cursors:
        chunk = stage.stream.take(cursor, 1 << 16)
        assert isinstance(chunk, Chunk)
        assert chunk.data is data


def test_all_who_are_behind_get_the_same_joined_object() -> None:
    stage = Stage()
    cursors = [stage.join() for _ in range(3)]
    for cursor in cursors:
        stage.drain(cursor)
    for _ in range(100):
        stage.stream.append(b"z" * 100)
    chunks = [stage.stream.take(cursor, 1 << 16) for cursor in cursors]
    assert isinstance(chunks[0], Chunk)
    assert len(chunks[0].data) >= JOINED_BYTES
    assert all(isinstance(c, Chunk) and c.data is chunks[0].data for c in chunks)


def test_a_viewer_is_shown_the_present_when_what_it_would_get_is_old() -> None:
    stage = Stage()
    cursor = stage.join()
    stage.stream.append(SYNC_BEGIN + b"first" + SYNC_END)
    stage.drain(cursor)
    stage.stream.append(b"x" * (LITTLE_BYTES + 1))
    stage.now += LATE_S - 0.1
    stage.stream.append(b"y")
    assert output(stage.drain(cursor, acks=False))
    stage.stream.append(b"x" * (LITTLE_BYTES + START_BYTES))
    stage.drain(cursor, acks=False)
    stage.now += LATE_S + 0.1
    stage.stream.append(b"z" * LITTLE_BYTES)
    stage.stream.ack(cursor, cursor.sent)
    assert stage.stream.take(cursor, 1000) is None
    assert cursor.lost == "behind"
    stage.key(b"present")
    items = stage.drain(cursor)
    assert isinstance(items[0], Reset)
    assert items[0].reason == "behind"
    assert output(items).endswith(SYNC_BEGIN + b"present" + SYNC_END)


def test_what_is_under_way_when_a_viewer_is_skipped_counts_until_it_is_acknowledged() -> None:
    stage = Stage()
    cursor = stage.join()
    stage.stream.append(SYNC_BEGIN + SYNC_END)
    stage.drain(cursor)
    stage.stream.append(b"x" * 3 * START_BYTES)
    stage.drain(cursor, acks=False)
    old, window = cursor.sent, cursor.window
    half = window // 2
    stage.now += 1
    stage.stream.ack(cursor, old - half)
    assert cursor.window == window
    stage.key(b"k" * 3 * START_BYTES)
    assert len(output(stage.drain(cursor, acks=False)).partition(b"[2J")[2]) <= half
    sent = cursor.sent
    stage.stream.ack(cursor, old - half // 2)
    assert 0 < len(output(stage.drain(cursor, acks=False))) <= half // 2
    stage.stream.ack(cursor, old)
    assert cursor.acked <= sent
    assert cursor.credit <= cursor.window - (cursor.sent - sent)


def test_acknowledging_what_was_never_sent_gives_no_more_room() -> None:
    stage = Stage()
    cursor = stage.join()
    stage.stream.append(SYNC_BEGIN + SYNC_END)
    stage.drain(cursor)
    stage.stream.ack(cursor, 2**53)
    assert cursor.acked == cursor.sent
    stage.stream.append(b"x" * 3 * START_BYTES)
    window = cursor.window
    assert 0 < len(output(stage.drain(cursor, acks=False))) <= window


def test_a_little_that_is_old_is_sent_all_the_same() -> None:
    stage = Stage()
    cursor = stage.join()
    stage.stream.append(SYNC_BEGIN + SYNC_END)
    stage.drain(cursor)
    stage.stream.append(b"x" * 100)
    stage.now += 1000
    assert output(stage.drain(cursor)) == b"x" * 100


def test_a_key_frame_is_sent_whole_before_the_viewer_is_skipped_again() -> None:
    stage = Stage()
    stage.stream.append(b"x" * KEY_BYTES * 3)
    cursor = stage.join()
    stage.drain(cursor)
    screen = b"s" * 3 * START_BYTES
    stage.stream.begin_key()
    stage.stream.append(repaint(screen))
    items = stage.drain(cursor, acks=False)
    for _ in range(20):
        stage.now += LATE_S  # a line that is far too thin
        stage.stream.append(b"flood" * LITTLE_BYTES)
        items += stage.drain(cursor, acks=False)
        stage.stream.ack(cursor, cursor.sent)
    assert sum(isinstance(item, Reset) for item in items) == 1
    assert screen in output(items)


def test_a_window_size_is_told_where_it_changes_and_to_whoever_begins_later() -> None:
    stage = Stage()
    first = stage.join()
    stage.drain(first)
    larger = WindowSize(cols=20, rows=9)
    stage.stream.append(b"before")
    stage.stream.resize(larger)
    stage.stream.append(repaint(b"after", larger))
    items = stage.drain(first)
    kinds = [type(item) for item in items]
    assert kinds == [Chunk, Resized, Chunk]
    assert items[1] == Resized(larger)
    assert Resized(larger) in stage.drain(stage.join())
    assert stage.asked == 0  # the repaint after a change of the size is a key frame, too


def test_without_a_mark_a_key_frame_begins_where_the_repaint_was_asked_for() -> None:
    stage = Stage()
    stage.stream.append(b"\x1b[?1049h" + b"x" * 3 * KEY_BYTES)
    stage.stream.begin_key()
    stage.stream.append(b"redrawn")
    late = stage.join()
    assert not stage.drain(late)
    stage.stream.settle_key()
    assert output(stage.drain(late)) == b"\x1b[?1049hredrawn"


def test_what_ends_an_older_redraw_does_not_show_a_new_one_that_is_not_whole() -> None:
    stage = Stage()
    stage.stream.append(b"x" * 3 * KEY_BYTES)
    stage.stream.begin_key()
    stage.stream.append(marker() + SYNC_END + b"\x1b[3;3H")
    stage.stream.append(SYNC_END + SYNC_BEGIN + b"whole" + SYNC_END)
    shown = output(stage.drain(stage.join()))
    assert shown.partition(b"whole")[0].count(SYNC_END) == 0


def test_what_was_copied_is_not_copied_again_by_a_newcomer() -> None:
    stage = Stage()
    stage.key()
    stage.stream.append(b"\x1b]52;;c2VjcmV0\x07")
    late = stage.join()
    assert not stage.drain(late)
    stage.key()
    assert b"]52" not in output(stage.drain(late))


def test_a_lost_viewer_goes_on_where_it_stopped() -> None:
    stage = Stage()
    cursor = stage.join()
    stage.stream.append(b"first")
    stage.drain(cursor)
    cursor.parked = True
    stage.stream.append(b"second")
    stage.stream.resume(cursor, ORIGIN + 2)
    items = stage.drain(cursor)
    assert output(items) == b"rstsecond"
    assert not any(isinstance(item, Reset) for item in items)


def test_a_viewer_that_comes_back_with_a_wrong_offset_begins_at_a_key_frame() -> None:
    for offset in (0, ORIGIN - 1, ORIGIN + 1000):
        stage = Stage()
        cursor = stage.join()
        stage.stream.append(b"first")
        stage.drain(cursor)
        stage.stream.resume(cursor, offset)
        assert stage.stream.take(cursor, 100) == Reset(ORIGIN, "lost", hard=True)


def test_the_end_comes_after_all_output() -> None:
    stage = Stage()
    cursor = stage.join()
    stage.stream.append(b"last words")
    stage.stream.finish(END)
    items = stage.drain(cursor)
    assert output(items) == b"last words"
    assert items[-1] == Finished(END)


def test_the_end_is_told_to_whoever_waits_for_a_key_frame() -> None:
    stage = Stage()
    stage.stream.append(b"x" * KEY_BYTES * 3)
    cursor = stage.join()
    assert not stage.drain(cursor)
    stage.stream.begin_key()
    stage.stream.finish(END)
    items = stage.drain(cursor)
    assert isinstance(items[0], Reset)
    assert items[-1] == Finished(END)


def test_one_that_does_not_acknowledge_is_held_by_its_socket_alone() -> None:
    stage = Stage()
    cursor = stage.join(acks=False)
    stage.stream.append(b"x" * 3 * START_BYTES)
    assert len(output(stage.drain(cursor, acks=False))) == 3 * START_BYTES


def test_when_the_last_one_leaves_that_is_told_once() -> None:
    stage = Stage()
    one, other = stage.join(), stage.join()
    stage.stream.unsubscribe(one)
    assert stage.emptied == 0
    stage.stream.unsubscribe(other)
    stage.stream.unsubscribe(other)
    assert stage.emptied == 1
    assert stage.stream.take(other, 100) is None


@pytest.mark.parametrize("wait_s", [0.0, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("frame", [2000, 12_000])
def test_a_thin_line_stays_near_the_present_during_a_flood(wait_s: float, frame: int) -> None:
    stage = Stage()
    stage.stream.append(SYNC_BEGIN + b"k" * frame + SYNC_END)
    cursor = stage.join()
    made: deque[tuple[int, float]] = deque()
    line: deque[tuple[float, int]] = deque()
    free = worst = 0.0
    shown_at = stage.now
    shown, taken_at, due = ORIGIN, math.inf, math.inf
    while stage.now < 12:
        stage.now += 0.01
        made.append((stage.stream.end, stage.now))
        stage.stream.append(b"x" * 10_000)  # 1 MB/s; the line carries 20 KB/s
        if stage.asked and due == math.inf:
            stage.stream.begin_key()
            due = stage.now + 0.02
        if stage.now >= due:
            stage.stream.append(repaint(b"k" * frame))
            due, stage.asked = math.inf, 0
        for item in stage.drain(cursor, acks=False):
            if isinstance(item, Chunk):
                free = max(free, stage.now) + len(item.data) / 20e3
                line.append((free, item.offset + len(item.data)))
        while line and line[0][0] <= stage.now:
            shown = max(shown, line.popleft()[1])
            taken_at = min(taken_at, stage.now)
        if stage.now - taken_at >= wait_s:
            stage.stream.ack(cursor, shown)
            taken_at = math.inf
        while len(made) > 1 and made[1][0] <= shown:
            shown_at = made.popleft()[1]
        worst = max(worst, stage.now - shown_at)
    assert worst <= 2.0


class Screen:
    """A terminal of a few sequences: enough to tell where two differ."""

    _TOKEN = re.compile(rb"\x1b\[(\??)([0-9;]*)([A-Za-z])|([^\x1b])", re.DOTALL)
    _CUT = re.compile(rb"\x1b(?:\[\??[0-9;]*)?\Z")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.cells: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        self.modes: dict[bytes, bytes] = {}
        self.pen, self.at, self.region = b"", (1, 1), b""
        self.rest = b""

    def feed(self, data: bytes) -> None:
        data = self.rest + data
        cut = self._CUT.search(data)
        data, self.rest = (data[: cut.start()], data[cut.start() :]) if cut else (data, b"")
        for private, text, final, char in self._TOKEN.findall(data):
            if private:
                self.modes[text] = final
            elif final == b"m":
                self.pen = text
            elif final == b"H":
                row, _, column = text.partition(b";")
                self.at = (int(row or b"1"), int(column or b"1"))
            elif final == b"J":
                self.cells.clear()
            elif final == b"r":
                self.region, self.at = text, (1, 1)
            elif char:
                self.cells[self.at] = (char, self.pen)
                self.at = (self.at[0], self.at[1] + 1)

    @property
    def state(self) -> object:
        hiding = {k: v for k, v in self.modes.items() if k != b"2026"}
        return self.cells, hiding, self.pen, self.at, self.region

    def drawn(self) -> bytes:
        """All of it, as tmux draws it when it repaints."""
        parts = [
            b"\x1b[%d;%dH\x1b[%sm%s" % (*at, pen, char) for at, (char, pen) in self.cells.items()
        ]
        row, column = self.at
        modes = [b"\x1b[?%s%s" % mode for mode in self.modes.items()]
        return b"".join(parts + modes) + b"\x1b[%sm\x1b[%d;%dH" % (self.pen, row, column)


class Watching:
    """One viewer, and what it has."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.screen = Screen()
        self.next = -1
        self.got: list[tuple[int, bytes]] = []
        self.acked = 0


TOKENS = st.sampled_from(
    [b"a", b"bc", b"\x1b[2;3H", b"\x1b[3;1H", b"\x1b[31m", b"\x1b[m", b"\x1b[?25l", b"\x1b[?25h",
     b"\x1b[?1000h", b"\x1b[2J", SYNC_END, b"\x1b[0000000000000z" * 250, b"\x1b[1;2r"]
)  # fmt: skip


class BroadcastMachine(RuleBasedStateMachine):
    """Output, viewers that come, take, acknowledge, lose their line and leave, in any order."""

    @initialize()
    def begin(self) -> None:
        self.stage = Stage(log_bytes=200_000)
        self.stream = self.stage.stream
        self.tmux = Screen()
        self.everything = bytearray()
        self.watching: list[Watching] = []
        self.offered: list[Chunk] = []
        self.pending = False
        self._say(b"\x1b[?1049h" + SYNC_BEGIN + b"start" + SYNC_END)
        self.reference = self._new()
        self._take_all(self.reference)

    def _say(self, data: bytes) -> None:
        before = self.stream.end
        self.stream.append(data)
        chunk = self.stream._log.read(before, self.stream.end - before)
        assert len(self.everything) == before - ORIGIN
        self.everything += chunk
        assert all(offered.offset == before and offered.data == chunk for offered in self.offered)
        self.offered.clear()
        self.tmux.feed(data)

    def _new(self) -> Watching:
        watching = Watching(self.stage.join())
        self.watching.append(watching)
        return watching

    @rule(data=st.data())
    def offer(self, data: st.DataObject) -> None:
        """From now on, what one has room for reaches it at once, past `take`."""
        one = data.draw(st.sampled_from(self.watching))

        def offered(chunk: Chunk) -> bool:
            assert not one.cursor.lost
            assert one.cursor.sent - one.cursor.acked + len(chunk.data) <= one.cursor.window
            assert chunk.offset == one.next, "a gap, or a repetition"
            one.screen.feed(chunk.data)
            one.next = chunk.offset + len(chunk.data)
            self.offered.append(chunk)
            return True

        one.cursor.offer = offered

    def _take(self, one: Watching, limit: int) -> bool:
        before = one.cursor.sent - one.cursor.acked
        item = self.stream.take(one.cursor, limit)
        if isinstance(item, Chunk):
            if one.next >= ORIGIN or item.offset >= one.cursor.floor:
                assert item.offset == one.next, "a gap, or a repetition"
            at = item.offset - ORIGIN
            if item.offset >= one.cursor.floor:
                assert item.data == self.everything[at : at + len(item.data)]
                assert before + len(item.data) <= max(one.cursor.window, before)
            one.screen.feed(item.data)
            one.next = item.offset + len(item.data)
        elif isinstance(item, Reset):
            assert item.hard
            one.screen.reset()
            one.next = item.offset
        return item is not None

    def _take_all(self, one: Watching) -> None:
        for _ in range(1000):
            if one.next >= 0:
                self.stream.ack(one.cursor, one.next)
            if self._take(one, 1 << 20):
                continue
            if not one.cursor.lost:
                return
            self._repaint()
        raise AssertionError(f"it waits for ever: {one.cursor}")

    def _repaint(self) -> None:
        if not self.stream.is_key_due:
            self.stream.begin_key()
        screen = self.tmux.drawn()
        self._say(marker())
        self._say(SYNC_BEGIN + screen + SYNC_END)
        self.stage.asked = 0

    @rule(tokens=st.lists(TOKENS, min_size=1, max_size=12))
    def output(self, tokens: list[bytes]) -> None:
        self._say(b"".join(tokens))

    @rule(seconds=st.floats(0, 1))
    def wait(self, seconds: float) -> None:
        self.stage.now += seconds

    @precondition(lambda self: len(self.watching) < 5)
    @rule()
    def join(self) -> None:
        self._new()

    @precondition(lambda self: self.stage.asked)
    @rule()
    def repaint(self) -> None:
        self._repaint()

    @rule(data=st.data(), limit=st.integers(1, 70_000))
    def take(self, data: st.DataObject, limit: int) -> None:
        one = data.draw(st.sampled_from(self.watching))
        if not one.cursor.parked:
            self._take(one, limit)

    @rule(data=st.data(), share=st.floats(0, 1))
    def ack(self, data: st.DataObject, share: float) -> None:
        one = data.draw(st.sampled_from(self.watching))
        if one.next >= 0:
            self.stream.ack(one.cursor, one.next - int((1 - share) * 40_000))

    @rule(data=st.data(), back=st.integers(0, 5000))
    def lose_the_line(self, data: st.DataObject, back: int) -> None:
        one = data.draw(st.sampled_from(self.watching))
        one.cursor.parked = True
        # The terminal keeps what it has; only what it never got may come again.
        self.stream.resume(one.cursor, one.next, reset=back < 500)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.watching))
        if one is not self.reference:
            self.watching.remove(one)
            self.stream.unsubscribe(one.cursor)

    @invariant()
    def the_log_is_bounded(self) -> None:
        assert self.stream.end - self.stream.start <= 200_000

    def teardown(self) -> None:
        if not hasattr(self, "reference"):
            return
        self._repaint()
        for _ in range(2):  # what one makes tmux repaint, the others get, too
            for one in self.watching:
                self._take_all(one)
        for one in self.watching:
            assert one.next == self.stream.end
            assert one.screen.state == self.reference.screen.state


TestAnyOrder = BroadcastMachine.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40)


def test_whoever_waits_for_a_key_frame_is_reminded_to_ask_again_and_nobody_else() -> None:
    stage, woken = Stage(), []
    first = stage.stream.subscribe(Policy.SKIP, WINDOW, lambda: woken.append("first"))
    stage.drain(first)
    stage.stream.append(b"x" * 3 * KEY_BYTES)
    late = stage.stream.subscribe(Policy.SKIP, WINDOW, lambda: woken.append("late"))
    assert not stage.drain(late)
    woken.clear()
    stage.stream.remind()
    assert woken == ["late"]


def test_a_piece_that_is_longer_than_the_log_is_kept_whole() -> None:
    log = SharedLog(10, 100)
    log.append(b"a" * 50, 0.0)
    log.append(b"b" * 200, 0.0)
    assert (log.start, log.end) == (60, 260)
    assert log.read(60, 200) == b"b" * 200


def test_ranges_of_the_log_are_read_exactly_across_pieces() -> None:
    log, whole = SharedLog(7, 1 << 20), bytes(range(256)) * 40
    for at in range(0, len(whole), 97):
        log.append(whole[at : at + 97], 0.0)
    take: Callable[[int, int], bytes] = lambda at, n: log.read(7 + at, n)  # noqa: E731
    for at, length in ((0, 1), (0, 97), (96, 2), (97, 97), (50, 5000), (0, len(whole))):
        assert take(at, length) == whole[at : at + length]
        assert take(at, length) is take(at, length)
