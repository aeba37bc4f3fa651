"""A pty with its stream: what happens to it while a client's line takes no more."""

import asyncio
import itertools
import signal
from collections.abc import Callable, Mapping, Sequence

import pytest

from ttybridge.core.cursor import Chunk, Cursor, Policy
from ttybridge.core.pace import TYPING_SLACK_S, WATCHING_SLACK_S
from ttybridge.core.screen_modes import PIECE_BYTES
from ttybridge.core.stream import LATE_BYTES, Stream
from ttybridge.model import DEFAULT_SIZE, End, EndReason, ExitStatus, Role, WindowSize
from ttybridge.sessions.pty import Launch
from ttybridge.sessions.terminal import (
    ANSWER_S,
    ECHO_CLIENTS,
    FLUSH_BYTES,
    LATE_AFTER_S,
    REST_S,
    SCREEN_BYTES,
    Terminal,
)

LOG_BYTES = 4 << 20

LAUNCH = Launch(["program"], {}, "/")


class ScriptedPty:
    """A pty whose output the test gives."""

    pid, pending_bytes, read_bytes = 0, 0, 1 << 16
    between_reads: Callable[[], None]

    def __init__(self, on_output: Callable[[bytes], None]) -> None:
        self.on_output = on_output
        self.is_paused = False
        self.pauses: list[float] = []
        self.was_paused, self.was_unpaused = asyncio.Event(), asyncio.Event()
        self.signals: list[int] = []
        self.was_signalled = asyncio.Event()
        self._paused_at = 0.0

    def pause(self) -> None:
        self.is_paused = True
        self.was_paused.set()
        self._paused_at = asyncio.get_running_loop().time()

    def unpause(self) -> None:
        if self.is_paused:
            self.is_paused = False
            self.was_unpaused.set()
            self.pauses.append(asyncio.get_running_loop().time() - self._paused_at)

    def write(self, data: bytes) -> None:
        pass

    def resize(self, size: WindowSize) -> None:
        pass

    def signal(self, number: int) -> None:
        self.signals.append(number)
        self.was_signalled.set()

    async def close(self) -> None:
        pass


def make(*, shared: bool) -> tuple[Terminal, ScriptedPty]:
    made: list[ScriptedPty] = []

    def spawn(
        argv: Sequence[str],
        *,
        environment: Mapping[bytes, bytes],
        cwd: str,
        size: WindowSize,
        on_output: Callable[[bytes], None],
        on_written: Callable[[int], None],
        on_end: Callable[[ExitStatus], None],
    ) -> ScriptedPty:
        made.append(ScriptedPty(on_output))
        return made[0]

    end = End(ExitStatus(), EndReason.EXITED, "", restart=False)
    terminal = Terminal(
        spawn,
        LAUNCH,
        DEFAULT_SIZE,
        log_bytes=LOG_BYTES,
        shared=shared,
        describe_end=lambda _status, _tail: end,
    )
    return terminal, made[0]


def subscribe(terminal: Terminal) -> Cursor:
    return terminal.stream.subscribe(
        terminal.policy_for(Role.EDITOR), 512 * 1024, lambda: None, acks=True
    )


def take_all(terminal: Terminal, cursor: Cursor) -> int:
    size = 0
    while isinstance(item := terminal.stream.take(cursor, 1 << 20), Chunk):
        size += len(item.data)
    return size


async def paused(pty: ScriptedPty) -> None:
    async with asyncio.timeout(10):
        await pty.was_paused.wait()
    pty.was_paused.clear()
    assert pty.is_paused


async def unpaused(pty: ScriptedPty, times: int) -> None:
    async with asyncio.timeout(10):
        while len(pty.pauses) < times:
            pty.was_unpaused.clear()
            await pty.was_unpaused.wait()


async def passed(seconds: float) -> None:
    """Let all timers run that were set before, and are due by then."""
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, passed.set)
    await passed.wait()


@pytest.mark.parametrize("clients", [1, ECHO_CLIENTS, ECHO_CLIENTS + 1])
async def test_output_is_joined_but_not_right_after_a_key_where_few_are_there(
    clients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FLUSH_S", "ECHO_S"):  # longer than the test
        monkeypatch.setattr(f"ttybridge.sessions.terminal.{name}", 1000.0)
    terminal, pty = make(shared=True)
    cursors = [subscribe(terminal) for _ in range(clients)]
    terminal.used_at = float("-inf")
    pty.on_output(b"first")
    pty.on_output(b"joined")
    assert take_all(terminal, cursors[-1]) == len("first")
    terminal.write(b"k")
    pty.on_output(b"k")
    assert take_all(terminal, cursors[-1]) == (len("joinedk") if clients <= ECHO_CLIENTS else 0)
    await terminal.close()


async def test_a_tmux_client_whose_line_is_full_is_left_unread_for_moments() -> None:
    terminal, pty = make(shared=False)
    cursor = subscribe(terminal)
    cursor.pace, cursor.window = None, 1000
    for times in (1, 2):
        pty.on_output(b"x" * FLUSH_BYTES)
        assert take_all(terminal, cursor) == 1000
        await paused(pty)
        await unpaused(pty, times)
        terminal.stream.ack(cursor, cursor.sent)
        while take_all(terminal, cursor):
            terminal.stream.ack(cursor, cursor.sent)
        assert not pty.is_paused
    assert all(REST_S * 0.9 <= pause < 1 for pause in pty.pauses)


async def test_after_a_key_of_a_late_tmux_client_it_repaints_once() -> None:
    terminal, pty = make(shared=False)
    cursor = subscribe(terminal)
    pty.on_output(b"x" * FLUSH_BYTES)
    await paused(pty)
    terminal.write(b"\x03")
    terminal.write(b"\x03")
    async with asyncio.timeout(10):
        await pty.was_signalled.wait()
    assert not pty.is_paused
    terminal.stream.unsubscribe(cursor)
    terminal.write(b"x")
    await passed(2 * ANSWER_S)
    assert pty.signals == [signal.SIGWINCH]


@pytest.mark.parametrize("shared", [False, True])
async def test_a_key_alone_makes_nothing_repaint(shared: bool) -> None:
    terminal, pty = make(shared=shared)
    subscribe(terminal)
    pty.on_output(b"x" * (FLUSH_BYTES if shared else SCREEN_BYTES))
    terminal.write(b"\x03")
    await passed(2 * ANSWER_S)
    assert not pty.signals


async def test_one_that_takes_everything_is_always_read() -> None:
    terminal, pty = make(shared=False)
    cursor = subscribe(terminal)
    for number in range(1, 21):
        pty.on_output(b"x" * (LATE_BYTES // 2))
        async with asyncio.timeout(10):
            while cursor.sent < number * (LATE_BYTES // 2):
                take_all(terminal, cursor)
                terminal.stream.ack(cursor, cursor.sent)
                await asyncio.sleep(0)
        assert not pty.is_paused
    assert not pty.was_paused.is_set()


async def test_one_whose_line_takes_a_flood_a_moment_later_is_always_read() -> None:
    terminal, pty = make(shared=False)
    cursor = subscribe(terminal)
    for _ in range(3):
        pty.on_output(b"x" * FLUSH_BYTES)
        assert terminal.stream.is_late
        while take_all(terminal, cursor):
            terminal.stream.ack(cursor, cursor.sent)
        pty.on_output(b"y" * LATE_BYTES)  # what came later is not late yet
        await passed(2 * LATE_AFTER_S)
        take_all(terminal, cursor)
        terminal.stream.ack(cursor, cursor.sent)
    assert not pty.was_paused.is_set()


async def test_what_is_read_of_a_shared_pty_at_once_follows_the_slowest_client() -> None:
    terminal, pty = make(shared=True)
    cursor = subscribe(terminal)
    pty.on_output(b"x")
    take_all(terminal, cursor)
    terminal.update_flow()
    assert pty.read_bytes == cursor.high < 1 << 16
    pty.on_output(b"x" * 64 * 1024)
    assert pty.is_paused
    while take_all(terminal, cursor):
        terminal.stream.ack(cursor, cursor.sent)
    terminal.update_flow()
    assert not pty.is_paused


async def test_who_only_watches_is_no_work_for_the_flow_of_a_pty_that_is_read() -> None:
    terminal, pty = make(shared=True)
    editor, viewer = subscribe(terminal), subscribe(terminal)
    terminal.assign(viewer, Role.VIEWER)
    looked: list[float] = []
    should_pause = terminal.stream.should_pause

    def look(now: float) -> bool:
        looked.append(now)
        return should_pause(now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal.stream, "should_pause", look)
        terminal.moved(viewer)
        assert len(looked) == 0
        terminal.moved(editor)
        assert len(looked) == 1
        pty.on_output(b"x" * 64 * 1024)
        assert pty.is_paused
        looked.clear()
        terminal.moved(viewer)  # a paused pty may go on now
        assert len(looked) == 1


async def test_who_only_watches_has_room_for_acknowledgements_that_come_later() -> None:
    terminal, _ = make(shared=True)
    cursor = subscribe(terminal)
    assert cursor.pace is not None
    for role, policy, slack_s in (
        (Role.VIEWER, Policy.SKIP, WATCHING_SLACK_S),
        (Role.EDITOR, Policy.PAUSE, TYPING_SLACK_S),
        (Role.VIEWER, Policy.SKIP, WATCHING_SLACK_S),
        (Role.OWNER, Policy.PAUSE, TYPING_SLACK_S),
    ):
        terminal.assign(cursor, role)
        assert cursor.policy is policy
        assert cursor.pace.slack_s == slack_s


async def test_what_follows_the_first_output_of_a_flood_to_a_crowd_goes_out_together() -> None:
    terminal, pty = make(shared=True)
    loop = asyncio.get_running_loop()
    now = begin = loop.time()
    flushes: list[float] = []
    append = terminal.stream.append

    def take_long(data: bytes) -> None:
        nonlocal now
        append(data)
        flushes.append(now)
        now += 0.003

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: now)
        patch.setattr(terminal.stream, "append", take_long)
        crowd = [subscribe(terminal) for _ in range(ECHO_CLIENTS + 1)]
        pty.on_output(b"first")
        assert flushes == [begin]
        for _ in range(2000):
            now += 0.001
            pty.on_output(b"x")
        late = [at for at in flushes if at > begin + 1]
        pauses = [after - before for before, after in itertools.pairwise(late)]
        # Three milliseconds are a tenth of thirty.
        assert 0.0295 < min(pauses) <= max(pauses) < 0.035
        terminal.drop(crowd.pop())  # the others are few enough to have it at once
        flushes.clear()
        terminal.write(b"key")
        pty.on_output(b"echo")
        assert flushes == [now - 0.003]


async def test_what_can_wait_is_done_between_two_reads_of_a_shared_pty() -> None:
    terminal, pty = make(shared=True)
    assert isinstance(terminal.stream, Stream)
    for _ in range(LOG_BYTES // FLUSH_BYTES + 2):
        pty.on_output(b"x" * FLUSH_BYTES)
    before = terminal.stream.waiting_bytes
    pty.between_reads()
    assert 0 < terminal.stream.waiting_bytes == before - PIECE_BYTES


async def test_a_shared_pty_is_paused_before_much_more_waits_than_there_is_room_for() -> None:
    terminal, pty = make(shared=True)
    cursor = subscribe(terminal)
    pty.on_output(b"x")
    take_all(terminal, cursor)
    total = 0
    while not pty.is_paused:
        pty.on_output(b"x" * 4096)
        total += 4096
    assert cursor.high <= total <= cursor.high + 2 * 4096


async def test_it_ends_when_it_is_closed_while_it_rests() -> None:
    terminal, pty = make(shared=False)
    cursor = subscribe(terminal)
    pty.on_output(b"x" * 40 * 1024)
    take_all(terminal, cursor)
    await paused(pty)
    await terminal.close()
    assert terminal.ended.done()
