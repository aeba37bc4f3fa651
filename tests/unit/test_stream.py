"""The output stream: offsets, credit, policies, resumption; any order of events."""

import functools
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ttybridge.core.cursor import (
    HIGH_BYTES,
    LEAST_HIGH_BYTES,
    Chunk,
    Cursor,
    Finished,
    Policy,
    Reset,
)
from ttybridge.core.output_log import BLOCK_BYTES, OutputLog
from ttybridge.core.pace import LEAST_BYTES, START_BYTES, WATCHING_SLACK_S
from ttybridge.core.stream import (
    ACK_BYTES,
    CATCH_UP_BYTES,
    LATE_BYTES,
    LEAST_ROOM_BYTES,
    PATIENCE_S,
    SKIP_BYTES,
    Stream,
    least_log_bytes,
)
from ttybridge.model import End, EndReason, ExitStatus

WINDOW = 256 * 1024
END = End(ExitStatus(code=3), EndReason.EXITED, "ended", restart=False)


def _nothing() -> None:
    pass


def shared(log_bytes: int = 4 << 20) -> Stream:
    return Stream(log_bytes=log_bytes, replays=True)


def own(log_bytes: int = 2 << 20) -> Stream:
    return Stream(log_bytes=log_bytes, replays=False)


def pausing(stream: Stream, window: int = WINDOW, *, acks: bool = True) -> Cursor:
    return stream.subscribe(Policy.PAUSE, window, _nothing, acks=acks)


def skipping(stream: Stream, window: int = WINDOW, *, acks: bool = True) -> Cursor:
    return stream.subscribe(Policy.SKIP, window, _nothing, acks=acks)


def drain(stream: Stream, cursor: Cursor, limit: int = 1 << 20) -> bytes:
    """Take chunks until there is none, without acknowledging."""
    parts = []
    while isinstance(item := stream.take(cursor, limit), Chunk):
        parts.append(item.data)
    assert item is None, item
    return b"".join(parts)


class TestOutputLog:
    def test_returns_the_bytes_of_any_range_that_it_holds(self) -> None:
        data = random.Random(1).randbytes(3 * BLOCK_BYTES + 17)
        log = OutputLog(1 << 20)
        for at in range(0, len(data), 1000):
            log.append(data[at : at + 1000])
        log.trim(BLOCK_BYTES + 5)
        assert log.slice(BLOCK_BYTES + 5, len(data)) == data[BLOCK_BYTES + 5 :]
        assert (
            log.slice(2 * BLOCK_BYTES - 1, 2 * BLOCK_BYTES + 1)
            == (data[2 * BLOCK_BYTES - 1 : 2 * BLOCK_BYTES + 1])
        )

    def test_refuses_offsets_outside(self) -> None:
        log = OutputLog(100)
        log.append(b"abc")
        log.trim(1)
        for offset in (0, 4):
            with pytest.raises(IndexError):
                log.read(offset, 1)

    def test_goes_on_after_everything_was_forgotten(self) -> None:
        log = OutputLog(100)
        log.append(b"a" * 70_000)
        log.trim(70_000)
        log.append(b"xyz")
        assert log.read(70_000, 10) == b"xyz"
        assert log.read(70_001, 10) == b"yz"


class TestCredit:
    def test_never_more_than_the_window_is_under_way(self) -> None:
        stream = shared()
        cursor = pausing(stream, 1000)
        stream.append(b"x" * 5000)
        assert len(drain(stream, cursor)) == 1000
        stream.ack(cursor, 400)
        assert len(drain(stream, cursor)) == 400

    def test_an_acknowledgement_beyond_what_was_sent_counts_as_what_was_sent(self) -> None:
        stream = shared()
        cursor = pausing(stream, 1000)
        stream.append(b"x" * 5000)
        drain(stream, cursor)
        stream.ack(cursor, 10**9)
        stream.ack(cursor, -5)
        assert cursor.acked == cursor.sent == 1000
        assert len(drain(stream, cursor)) == 1000

    def test_a_client_that_does_not_acknowledge_is_not_held(self) -> None:
        stream = shared()
        cursor = pausing(stream, 1000, acks=False)
        stream.append(b"x" * 5000)
        assert len(drain(stream, cursor)) == 5000


class Offered(list[Chunk]):
    """What a client was offered."""

    def __init__(self, *, takes: bool = True) -> None:
        super().__init__()
        self.takes = takes

    def __call__(self, chunk: Chunk) -> bool:
        self.append(chunk)
        return self.takes


class TestOffers:
    """What comes while a client has all that came before is sent to all such clients as one."""

    def test_all_who_have_everything_get_the_same_chunk(self) -> None:
        stream = shared()
        got = [Offered(), Offered(), Offered()]
        woken: list[int] = []
        for number, mine in enumerate(got):
            wake = functools.partial(woken.append, number)
            stream.subscribe(Policy.SKIP, WINDOW, wake).offer = mine
        stream.append(b"12")
        stream.append(b"3" * (BLOCK_BYTES - 1))
        for mine in got:
            assert mine == [Chunk(0, b"12"), Chunk(2, b"3" * (BLOCK_BYTES - 1))]
            assert mine[1] is got[0][1], "it is made once for all"
        assert woken == [], "nobody has to look into the log"
        assert {cursor.sent for cursor in stream.cursors} == {BLOCK_BYTES + 1}

    @pytest.mark.parametrize("why", ["has not got it all", "has no room", "says no", "takes none"])
    def test_others_are_woken(self, why: str) -> None:
        stream = shared()
        woken: list[str] = []
        cursor = stream.subscribe(Policy.PAUSE, 1000, lambda: woken.append(why))
        offered = Offered(takes=why != "says no")
        if why == "has not got it all":
            stream.append(b"before")
        if why != "takes none":
            cursor.offer = offered
        woken.clear()
        stream.append(b"x" * (1001 if why == "has no room" else 10))
        assert woken == [why]
        assert len(offered) == (why == "says no")
        assert drain(stream, cursor).endswith(b"x" * 10)

    def test_a_chunk_is_no_larger_than_the_line_shows_to_be_right(self) -> None:
        stream = Stream(log_bytes=4 << 20, replays=True, now=lambda: 0.0)
        cursor, offered = pausing(stream), Offered()
        cursor.offer = offered
        assert cursor.pace is not None
        stream.append(b"x" * (cursor.pace.most_at_once + 1))
        assert offered == []
        drain(stream, cursor)
        stream.append(b"x" * cursor.pace.most_at_once)
        assert len(offered) == 1

    def test_a_chunk_is_no_larger_than_a_block_of_the_log(self) -> None:
        stream = shared()
        cursor, offered = pausing(stream), Offered()
        cursor.offer = offered
        stream.append(b"x" * (BLOCK_BYTES + 1))
        assert offered == []
        assert drain(stream, cursor) == b"x" * (BLOCK_BYTES + 1)


class TestPausing:
    def test_a_slow_reader_pauses_the_pty_until_it_has_caught_up(self) -> None:
        stream = shared()
        cursor = pausing(stream)
        stream.append(b"a")
        drain(stream, cursor)
        assert not stream.should_pause(0)  # it is no late joiner any more
        stream.append(b"x" * (HIGH_BYTES + WINDOW))
        drain(stream, cursor)
        assert stream.should_pause(0)
        stream.ack(cursor, cursor.sent)
        drain(stream, cursor)
        assert not stream.should_pause(0)

    def test_who_was_there_from_the_beginning_is_no_late_joiner(
        self,
    ) -> None:
        stream = shared()
        cursor = pausing(stream, 1000)
        stream.append(b"x" * 2 * HIGH_BYTES)
        assert stream.should_pause(0)
        stream.ack(cursor, len(drain(stream, cursor)))
        assert stream.should_pause(1000)
        assert not cursor.lost

    def test_the_pty_rests_while_all_who_are_there_wait_and_take_nothing(self) -> None:
        stream = shared()
        stream.append(b"x" * HIGH_BYTES)
        late, watching = pausing(stream, 1000), skipping(stream, 1000)
        stream.append(b"x" * HIGH_BYTES)
        assert stream.should_pause(0)  # a late joiner alone, or with those who only watch
        late.joining, late.lost = False, "behind"
        assert stream.should_pause(0)  # one that has lost its place as well
        other = pausing(stream)
        while got := drain(stream, other):
            stream.ack(other, other.sent)
            assert got
        assert not stream.should_pause(0)
        stream.unsubscribe(other)
        stream.unsubscribe(late)
        assert not stream.should_pause(0)
        stream.unsubscribe(watching)
        assert not stream.should_pause(0)

    def test_alone_it_may_take_as_long_as_it_wants(self) -> None:
        stream = shared()
        cursor = pausing(stream, 1000)
        stream.append(b"a")
        drain(stream, cursor)
        stream.should_pause(0)
        stream.append(b"x" * 2 * HIGH_BYTES)
        assert stream.should_pause(0)
        assert stream.should_pause(1000)
        assert not cursor.lost

    def test_it_holds_others_up_for_a_bounded_time_only(self) -> None:
        stream = shared()
        slow, quick = pausing(stream, 1000), pausing(stream)
        stream.append(b"a")
        for cursor in (slow, quick):
            drain(stream, cursor)
        stream.should_pause(0)
        data = b"x" * 2 * HIGH_BYTES
        stream.append(data)
        while got := drain(stream, quick):
            stream.ack(quick, quick.sent)
            assert got
        assert stream.should_pause(10)
        assert stream.should_pause(10 + PATIENCE_S - 0.1)
        assert not stream.should_pause(10 + PATIENCE_S)
        assert slow.lost == "behind"

    def test_a_lost_connection_holds_nobody_up_while_others_read(self) -> None:
        stream = shared()
        away, here = pausing(stream, 1000), pausing(stream)
        stream.append(b"a")
        for cursor in (away, here):
            drain(stream, cursor)
            stream.ack(cursor, 1)
        away.parked = True
        stream.append(b"x" * 2 * HIGH_BYTES)
        while drain(stream, here):
            stream.ack(here, here.sent)
        assert not stream.should_pause(0)

    def test_alone_a_lost_connection_pauses_the_pty_so_that_nothing_is_lost(self) -> None:
        stream = shared()
        away = pausing(stream)
        stream.append(b"a")
        drain(stream, away)
        stream.should_pause(0)
        away.parked = True
        stream.append(b"x" * 2 * HIGH_BYTES)
        assert stream.should_pause(0)

    def test_a_program_goes_on_for_a_while_whose_only_client_has_lost_its_connection(self) -> None:
        stream = shared()
        away = pausing(stream, LEAST_BYTES)
        stream.append(b"x" * LEAST_HIGH_BYTES)
        away.parked = True
        stream.append(b"x" * (HIGH_BYTES - LEAST_HIGH_BYTES - 1))
        assert not stream.should_pause(0)
        stream.append(b"x")
        assert stream.should_pause(0)
        stream.resume(away, 0)
        assert len(drain(stream, away)) == LEAST_BYTES
        assert stream.should_pause(0)

    def test_a_late_joiner_holds_nobody_up_while_it_reads_the_log(self) -> None:
        stream = shared()
        early = pausing(stream)
        stream.append(b"x" * HIGH_BYTES)
        drain(stream, early)
        stream.append(b"x" * HIGH_BYTES)
        drain(stream, early)
        late = pausing(stream, 1000)
        assert not stream.should_pause(0)
        assert not late.lost


class TestSkipping:
    def test_a_client_that_is_behind_is_repainted_when_it_has_taken_in_what_was_sent(self) -> None:
        stream = own()
        cursor = skipping(stream, 2 * ACK_BYTES)
        stream.append(b"x" * (2 * ACK_BYTES + 1000))
        assert drain(stream, cursor) == b"x" * 2 * ACK_BYTES
        stream.append(b"y" * SKIP_BYTES)
        assert cursor.lost == "behind"
        stream.ack(cursor, ACK_BYTES)
        assert stream.take(cursor, 100) is None
        stream.ack(cursor, ACK_BYTES + 1)  # the client may never say that it has the rest
        reset = stream.take(cursor, 100)
        assert reset == Reset(stream.log.end, "behind", hard=False)
        stream.append(b"repaint")
        assert drain(stream, cursor) == b"repaint"

    def test_who_is_shown_the_last_part_again_has_time_to_take_it_in(self) -> None:
        stream = shared()
        cursor = skipping(stream, LEAST_BYTES)
        stream.append(b"line\n" * 20_000)
        stream.append(b"x")
        assert cursor.lost == "behind"
        assert isinstance(stream.take(cursor, 1), Reset)
        assert stream.log.end - cursor.sent > CATCH_UP_BYTES - 10
        drain(stream, cursor)
        stream.append(b"x" * 50_000)
        assert [cursor.lost] == [""]
        stream.append(b"x")  # it had the time, and did not
        assert [cursor.lost] == ["behind"]

    def test_the_log_is_forgotten_with_the_acknowledgements(self) -> None:
        stream = own()
        cursor = skipping(stream)
        for _ in range(100):
            stream.append(b"x" * 10_000)
            drain(stream, cursor)
            stream.ack(cursor, cursor.sent)
        assert stream.log.end == 1_000_000
        assert stream.log.start == stream.log.end

    def test_what_came_before_the_first_client_is_kept_for_it(self) -> None:
        stream = own()
        stream.append(b"first draw")
        cursor = skipping(stream)
        assert drain(stream, cursor) == b"first draw"

    def test_the_pty_is_never_paused(self) -> None:
        stream = own()
        skipping(stream, 10)
        stream.append(b"x" * (1 << 20))
        assert not stream.should_pause(0)

    def test_memory_stays_bounded_when_nobody_reads(self) -> None:
        stream = own(1 << 20)
        skipping(stream, 10)
        for _ in range(100):
            stream.append(b"x" * 65536)
        assert stream.log.end - stream.log.start <= 1 << 20


class TestResuming:
    def test_exactly_what_was_missed_comes_again(self) -> None:
        stream = own()
        cursor = skipping(stream)
        stream.append(b"0123456789")
        drain(stream, cursor)
        cursor.parked = True
        stream.append(b"abcdef")
        stream.resume(cursor, 7)
        assert drain(stream, cursor) == b"789abcdef"

    @pytest.mark.parametrize("offset", [11, 10**12])
    def test_an_offset_that_was_never_sent_is_repainted(self, offset: int) -> None:
        stream = own()
        cursor = skipping(stream)
        stream.append(b"0123456789")
        drain(stream, cursor)
        stream.resume(cursor, offset)
        assert isinstance(stream.take(cursor, 10), Reset)

    def test_an_offset_that_is_forgotten_is_repainted(self) -> None:
        stream = own()
        cursor = skipping(stream)
        stream.append(b"0123456789")
        drain(stream, cursor)
        stream.ack(cursor, 5)
        stream.resume(cursor, 4)
        assert stream.take(cursor, 10) == Reset(10, "lost", hard=False)

    def test_a_repaint_can_be_asked_for(self) -> None:
        stream = own()
        cursor = skipping(stream)
        stream.append(b"0123456789")
        drain(stream, cursor)
        stream.resume(cursor, 10, reset=True)
        assert stream.take(cursor, 10) == Reset(10, "lost", hard=False)


class TestReplay:
    def test_a_late_joiner_gets_everything_from_the_start(self) -> None:
        stream = shared()
        stream.append(b"one\r\ntwo\r\n")
        assert drain(stream, pausing(stream)) == b"one\r\ntwo\r\n"

    def test_a_trimmed_log_is_replayed_from_a_line_with_the_modes_that_hold_there(self) -> None:
        stream = shared(BLOCK_BYTES)
        stream.append(b"\x1b[?1049h\x1b[?2004h")
        for line in range(20_000):
            stream.append(b"line %d\r\n" % line)
        cursor = pausing(stream)
        reset = stream.take(cursor, 1 << 20)
        assert isinstance(reset, Reset)
        assert reset.hard
        first = stream.take(cursor, 1 << 20)
        assert first == Chunk(reset.offset, b"\x1b[?1049h\x1b[?2004h")
        rest = drain(stream, cursor)
        assert rest.startswith(b"line ")
        assert rest.endswith(b"line 19999\r\n")
        assert cursor.sent == stream.log.end

    def test_one_that_fell_behind_is_shown_the_latest_part(self) -> None:
        stream = shared()
        cursor = pausing(stream)
        stream.append(b"line\r\n" * 200_000)
        cursor.lost = "behind"
        reset = stream.take(cursor, 100)
        assert isinstance(reset, Reset)
        assert stream.log.end - reset.offset <= CATCH_UP_BYTES

    def test_a_cut_within_a_prelude_resets_again(self) -> None:
        stream = shared(BLOCK_BYTES)
        stream.append(b"\x1b[?1049h\x1b[?2004h" + b"line\r\n" * 50_000)
        cursor = pausing(stream)
        reset = stream.take(cursor, 1 << 20)
        assert isinstance(reset, Reset)
        for taken in (0, 3):
            cursor.parked = True
            stream.resume(cursor, reset.offset + taken)
            again = stream.take(cursor, 1 << 20)
            assert isinstance(again, Reset)
            chunk = stream.take(cursor, 1 << 20)
            assert isinstance(chunk, Chunk)
            assert chunk.data == b"\x1b[?1049h\x1b[?2004h"

    @pytest.mark.parametrize("window", [64 * 1024, 512 * 1024, 64 << 20])
    def test_the_least_log_loses_nothing_for_a_slow_client(self, window: int) -> None:
        stream = shared(least_log_bytes(window))
        cursor = pausing(stream, window)
        produced = 0
        while not stream.should_pause(0):
            stream.append(b"x" * 65536)
            produced += 65536
            drain(stream, cursor)
        stream.append(b"x" * 65536)  # what was being read when the pty was paused
        cursor.parked = True
        stream.resume(cursor, 0)
        assert not cursor.lost
        assert stream.log.end == produced + 65536


class TestEnd:
    def test_comes_after_the_last_byte(self) -> None:
        stream = shared()
        cursor = pausing(stream, 4)
        stream.append(b"0123456789")
        stream.finish(END)
        assert drain(stream, cursor) == b"0123"
        assert stream.take(cursor, 10) is None
        stream.ack(cursor, 4)
        assert drain(stream, cursor) == b"4567"
        stream.ack(cursor, 8)
        assert stream.take(cursor, 10) == Chunk(8, b"89")
        assert stream.take(cursor, 10) == Finished(END)

    def test_the_first_one_counts(self) -> None:
        stream = shared()
        stream.finish(END)
        stream.finish(End(ExitStatus(), EndReason.KILLED, "", restart=True))
        assert stream.take(pausing(stream), 1) == Finished(END)


class TestLine:
    """A client's credit follows its line, and what waits for it here as well."""

    def on_a_line(self, bytes_s: float, seconds: float) -> tuple[Stream, Cursor]:
        """Return a stream after a flood, with a client that takes so many bytes a second."""
        self.now = 0.0
        stream = Stream(log_bytes=4 << 20, replays=True, now=lambda: self.now)
        cursor = pausing(stream, 512 * 1024)
        taken = 0.0
        while self.now < seconds:
            drain(stream, cursor)
            while not stream.should_pause(self.now):
                stream.append(b"x" * stream.room)
                drain(stream, cursor)
            self.now += 0.005
            taken = min(taken + 0.005 * bytes_s, cursor.sent)
            stream.ack(cursor, int(taken))
        return stream, cursor

    def test_it_begins_small(self) -> None:
        stream = Stream(log_bytes=4 << 20, replays=True, now=lambda: 0.0)
        cursor = pausing(stream, 512 * 1024)
        stream.append(b"x" * 512 * 1024)
        assert len(drain(stream, cursor)) == cursor.window == START_BYTES

    @pytest.mark.parametrize("bytes_s", [100e3, 1e6])
    def test_little_is_between_the_pty_and_a_slow_client(self, bytes_s: float) -> None:
        stream, cursor = self.on_a_line(bytes_s, 5)
        assert stream.log.end - cursor.acked < 0.15 * bytes_s + LEAST_HIGH_BYTES + LEAST_BYTES
        assert stream.log.end > 0.9 * 5 * bytes_s

    def test_a_quick_client_gets_much_at_once(self) -> None:
        stream, cursor = self.on_a_line(50e6, 2)
        while drain(stream, cursor):
            stream.ack(cursor, cursor.sent)
        assert not stream.should_pause(self.now)
        assert cursor.window == 512 * 1024
        assert cursor.high == HIGH_BYTES
        assert stream.room == BLOCK_BYTES

    def test_a_viewer_who_acknowledges_less_often_gets_everything(self) -> None:
        """As a viewer's page does (static/src/acks.ts): 16 KiB or 40 ms, later 128 KiB or 100."""
        self.now = 0.0
        stream = Stream(log_bytes=4 << 20, replays=True, now=lambda: self.now)
        cursor = skipping(stream, 512 * 1024)
        assert cursor.pace is not None
        cursor.pace.slack_s = WATCHING_SLACK_S
        since: float | None = None
        for tick in range(3000):  # of a millisecond, 1 MB/s
            self.now = tick / 1000
            stream.append(b"x" * 1000)
            assert not cursor.lost, f"behind after {tick} ms with a window of {cursor.window}"
            drain(stream, cursor)
            if cursor.sent > cursor.acked and since is None:
                since = self.now
            most, wait_s = (16, 0.04) if cursor.acked < 256 * 1024 else (128, 0.1)
            is_due = since is not None and self.now - since >= wait_s
            if cursor.sent - cursor.acked >= most * 1024 or is_due:
                stream.ack(cursor, cursor.sent)
                since = None
        assert cursor.sent == 3_000_000

    def test_no_more_is_read_than_the_slowest_has_room_for(self) -> None:
        stream = Stream(log_bytes=4 << 20, replays=True, now=lambda: 0.0)
        cursor = pausing(stream, 512 * 1024)
        stream.append(b"a")
        drain(stream, cursor)
        cursor.window = 4 * START_BYTES
        stream.should_pause(0)
        assert stream.room == cursor.high == START_BYTES
        stream.append(b"x" * (4 * START_BYTES + 1000))
        drain(stream, cursor)
        assert not stream.should_pause(0)
        assert stream.room == max(LEAST_ROOM_BYTES, cursor.high - 1001)

    def test_what_is_read_at_once_ends_where_a_chunk_does(self) -> None:
        stream, cursor = self.on_a_line(50e6, 2)
        while drain(stream, cursor):
            stream.ack(cursor, cursor.sent)
        stream.append(b"x" * 1000)
        sizes = []
        for _ in range(4):
            while isinstance(chunk := stream.take(cursor, 1 << 20), Chunk):
                sizes.append(len(chunk.data))
            stream.ack(cursor, cursor.sent)
            stream.should_pause(self.now)
            stream.append(b"x" * min(stream.room, stream.block_room))
        assert sizes[-2:] == [BLOCK_BYTES, BLOCK_BYTES]

    def test_a_client_with_much_unsent_is_late(self) -> None:
        stream = own()
        cursor = skipping(stream, 1000)
        stream.append(b"x" * (1000 + LATE_BYTES))
        drain(stream, cursor)
        assert not stream.is_late
        stream.append(b"x")
        assert stream.is_late
        cursor.parked = True
        assert not stream.is_late


class AnyOrder(RuleBasedStateMachine):
    """Three clients, any order of output, reading, acknowledging, losing and coming back."""

    @initialize(
        replays=st.booleans(),
        log_bytes=st.sampled_from([BLOCK_BYTES, 3 * BLOCK_BYTES, 20 * BLOCK_BYTES]),
        windows=st.lists(st.integers(1, 200_000), min_size=3, max_size=3),
        acks=st.lists(st.booleans(), min_size=3, max_size=3),
        is_paced=st.booleans(),
        offers=st.lists(st.booleans(), min_size=3, max_size=3),
    )
    def begin(
        self,
        replays: bool,
        log_bytes: int,
        windows: list[int],
        acks: list[bool],
        is_paced: bool,
        offers: list[bool],
    ) -> None:
        self.random = random.Random(7)
        self.now = 0.0
        clock = (lambda: self.now) if is_paced else None
        self.stream = Stream(log_bytes=log_bytes, replays=replays, now=clock)
        self.windows = windows
        self.everything = bytearray()
        policy = Policy.PAUSE if replays else Policy.SKIP
        self.cursors = [
            self.stream.subscribe(policy, window, _nothing, acks=a)
            for window, a in zip(windows, acks, strict=True)
        ]
        self.at: list[int] = [0, 0, 0]
        self.must_reset = [False, False, False]
        self.offers = offers
        self.is_busy = False
        for who in range(3):
            self.connect(who)

    def connect(self, who: int) -> None:
        """Have a client take what it is offered, where it is one that does."""
        if self.offers[who]:
            self.cursors[who].offer = lambda chunk: self.offered(who, chunk)

    def offered(self, who: int, chunk: Chunk) -> bool:
        if self.is_busy:
            return False
        self.got(who, chunk, is_prelude=False)
        return True

    def got(self, who: int, chunk: Chunk, *, is_prelude: bool) -> None:
        assert not self.must_reset[who], "bytes of the log instead of a prelude"
        assert chunk.offset == self.at[who], "a gap or a repeat"
        assert chunk.data
        if not is_prelude:
            expected = self.everything[chunk.offset : chunk.offset + len(chunk.data)]
            assert chunk.data == expected
        self.at[who] += len(chunk.data)

    @rule(is_busy=st.booleans())
    def lines_are_busy(self, is_busy: bool) -> None:
        self.is_busy = is_busy

    @rule(count=st.integers(1, 150_000))
    def output(self, count: int) -> None:
        data = self.random.randbytes(count)
        self.everything += data
        self.stream.append(data)

    @rule()
    def output_of_modes(self) -> None:
        data = b"\x1b[?1049h\x1b[?25l\n"
        self.everything += data
        self.stream.append(data)

    @rule(who=st.integers(0, 2), limit=st.integers(1, 100_000))
    def read(self, who: int, limit: int) -> None:
        cursor = self.cursors[who]
        if cursor.parked:
            return
        is_prelude = bool(cursor.prelude)
        item = self.stream.take(cursor, limit)
        if isinstance(item, Reset):
            assert item.offset <= len(self.everything)
            self.at[who] = item.offset
            self.must_reset[who] = False
        elif isinstance(item, Chunk):
            assert is_prelude or not cursor.acks or cursor.sent - cursor.acked <= cursor.window
            self.got(who, item, is_prelude=is_prelude)

    @rule(who=st.integers(0, 2), part=st.floats(0, 1.2))
    def acknowledge(self, who: int, part: float) -> None:
        cursor = self.cursors[who]
        if cursor.acks and not cursor.parked:
            offset = cursor.acked + int((self.at[who] - cursor.acked) * part)
            self.stream.ack(cursor, offset)

    @rule(who=st.integers(0, 2))
    def lose(self, who: int) -> None:
        self.cursors[who].parked, self.cursors[who].offer = True, None

    @rule(who=st.integers(0, 2), back=st.integers(-10, 50_000), reset=st.booleans())
    def come_back(self, who: int, back: int, reset: bool) -> None:
        if self.cursors[who].parked:
            offset = max(0, self.at[who] - back)
            self.must_reset[who] |= offset < self.cursors[who].floor
            self.stream.resume(self.cursors[who], offset, reset=reset)
            self.at[who] = offset
            self.connect(who)

    @rule(seconds=st.floats(0, 3))
    def flow(self, seconds: float) -> None:
        self.now += seconds
        self.stream.should_pause(self.now)

    @invariant()
    def bounds_hold(self) -> None:
        if not hasattr(self, "stream"):
            return
        log = self.stream.log
        assert log.end - log.start <= log.limit_bytes
        for cursor, window in zip(self.cursors, self.windows, strict=True):
            assert cursor.sent - cursor.acked <= window or not cursor.acks
            assert cursor.window <= window
        assert 0 < self.stream.room <= BLOCK_BYTES


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestAnyOrder = AnyOrder.TestCase
