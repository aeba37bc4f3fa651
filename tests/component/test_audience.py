"""The audience: a late joiner's screen against another viewer's, cell by cell, with real tmux."""

import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from tests.conftest import DEADLINE_S, Tmux, clean_environment
from tests.screens import Screens, Viewer, differences, needs_screens, report
from ttybridge.adapters.pty import Pty
from ttybridge.adapters.tmux_control import TmuxControl
from ttybridge.adapters.tmux_watch import TmuxWatch
from ttybridge.core import broadcast
from ttybridge.core.broadcast import Broadcast
from ttybridge.core.cursor import Chunk, Finished, Reset, Resized
from ttybridge.core.environment import pty_environment
from ttybridge.core.tmux import SYNC_BEGIN, SYNC_END, Target
from ttybridge.model import ClientId, EndReason, Role, WindowSize
from ttybridge.sessions import audience
from ttybridge.sessions.attachment import Attachment
from ttybridge.sessions.audience import SharedTerminal
from ttybridge.sessions.place import Place
from ttybridge.sessions.terminal import Terminal
from ttybridge.sessions.tmux import TmuxTerminals

JOINS = int(os.environ.get("TTYBRIDGE_TEST_JOINS", "12"))
"""How many late joiners are compared; 50 for a thorough look."""

SIZE = WindowSize(cols=100, rows=30)
FIRST_SCREEN_S = 2.0
"""Longest time to a late joiner's whole screen; 0.3 s on a machine that is not busy."""


async def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition that something outside makes true."""
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, f"not within {DEADLINE_S} s: {what}"
        await asyncio.sleep(0.01)


def stream_of(terminal: SharedTerminal) -> Broadcast:
    assert isinstance(terminal.stream, Broadcast)
    return terminal.stream


class Watcher:
    """Somebody who watches, and acknowledges at once, or after a pause."""

    def __init__(self, terminal: SharedTerminal, *, pause_s: float = 0.0) -> None:
        self.terminal, self.pause_s = terminal, pause_s
        self.items: list[Chunk | Reset | Resized] = []
        self.received = bytearray()
        self.viewer_offset = self.resets = 0
        self.end: Finished | None = None
        self.since, self.whole_s, self.whole_offset = time.monotonic(), 0.0, -1
        self._ready = asyncio.Event()
        self._ready.set()
        policy = terminal.policy_for(Role.VIEWER)
        self.cursor = terminal.stream.subscribe(policy, 256 * 1024, self._ready.set)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            item = self.terminal.stream.take(self.cursor, 64 * 1024)
            if item is None:
                await self._ready.wait()
                self._ready.clear()
                continue
            if isinstance(item, Finished):
                self.end = item
                return
            self.items.append(item)
            if isinstance(item, Chunk):
                self._look(item)
                self.viewer_offset = item.offset + len(item.data)
                if self.pause_s:
                    await asyncio.sleep(self.pause_s)
                self.terminal.stream.ack(self.cursor, self.viewer_offset)
            elif isinstance(item, Reset):
                self.resets += 1
                self.viewer_offset = item.offset

    def _look(self, item: Chunk) -> None:
        """Find the end of the first redraw: the prelude before it may have such a mark, too."""
        if not self.received and item.offset > broadcast.ORIGIN:
            self.received += b"-" * len(item.data)
            return
        base = item.offset - len(self.received)
        self.received += item.data
        if self.whole_offset < 0:
            begin = self.received.find(SYNC_BEGIN)
            end = self.received.find(SYNC_END, begin) if begin >= 0 else -1
            if end >= 0:
                self.whole_s = time.monotonic() - self.since
                self.whole_offset = base + end + len(SYNC_END)

    async def whole(self) -> int:
        """Wait for the first whole screen, and return where in the output that is."""
        await eventually(lambda: self.whole_offset >= 0, "a whole screen")
        return self.whole_offset

    async def reach(self, offset: int) -> None:
        """Wait until it has the output up to an offset."""
        await eventually(lambda: self.viewer_offset >= offset, f"output up to {offset}")

    async def finished(self) -> None:
        """Wait for the end of the stream."""
        await eventually(lambda: self.end is not None, "the end")

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.terminal.drop(self.cursor)

    def viewer(self, screens: Screens) -> Viewer:
        """Return its screen, which begins with nothing."""
        viewer = Viewer(screens, 10, 5)
        for item in self.items:
            if isinstance(item, Chunk):
                viewer.out(item.offset, item.data)
            elif isinstance(item, Reset):
                assert item.hard
                viewer.reset(item.offset, hard=True)
            else:
                viewer.size(item.size.cols, item.size.rows)
        return viewer


def compare(screens: Screens, first: Watcher, late: Watcher, *offsets: int) -> None:
    """Compare a late joiner's screens at some offsets with the first viewer's.

    The cursor that they have saved is left out: tmux never goes back to it, but at its end.
    """
    assert first.resets == late.resets == 1
    one, other = first.viewer(screens), late.viewer(screens)
    for at in offsets:
        mine, theirs = one.screen(at=at), other.screen(at=at)
        found = [
            difference
            for difference in differences(mine, theirs, hidden=True)
            if not difference.startswith("hidden.savedCursor")
        ]
        assert not found, report(mine, theirs, found)
    one.close()
    other.close()


def terminals_of(tmux: Tmux, home: Path) -> TmuxTerminals:
    text = clean_environment(HOME=str(home), SHELL="/bin/sh", PS1="$ ", ENV="")
    everything = {os.fsencode(name): os.fsencode(value) for name, value in text.items()}
    environment = pty_environment(everything, cwd=os.fsencode(home))
    return TmuxTerminals(
        TmuxControl(Target(socket_path=str(tmux.socket)), environment=environment, cwd=str(home)),
        Pty.spawn,
        environment=environment,
        cwd=str(home),
        exclusive=False,
        clipboard=False,
        container=None,
        run_id=secrets.token_hex(4),
    )


@pytest_asyncio.fixture
async def terminals(tmux: Tmux, tmp_path: Path) -> AsyncIterator[TmuxTerminals]:
    terminals = terminals_of(tmux, tmp_path)
    await terminals.start()
    yield terminals
    await terminals.close()


async def editor(terminals: TmuxTerminals, number: int, size: WindowSize | None = None) -> Terminal:
    size = size or SIZE
    return await terminals.open(ClientId(f"e{number}"), Place(Role.EDITOR, size))


async def shared(terminals: TmuxTerminals) -> SharedTerminal:
    terminal = await terminals.open(
        ClientId("v"), Place(Role.VIEWER, WindowSize(cols=20, rows=9), follows=True)
    )
    assert isinstance(terminal, SharedTerminal)
    return terminal


PROGRAMS = {
    "vim": "vim -u NONE -N +'syntax on' +'set number cursorline' /etc/services",
    "top": "top -d 0.2",
    "flood": "while :; do seq 1 3000; done",
    "colours": "while :; do for i in 31 42 1 7 4 95; do printf '\\033[%smword %s ' $i $i; done;"
    " printf '\\033[0m\\n'; done",
    "panes": "seq 200; tmux split-window -h 'while :; do date; sleep 0.02; done';"
    " tmux split-window 'top -d 0.2'; tmux copy-mode -t 0; tmux send-keys -t 0 -X page-up",
    "clear": "while :; do seq 1 60; clear; date; sleep 0.05; done",
    "wide": "while :; do printf '\\346\\274\\242\\345\\255\\227 \\360\\237\\230\\200 e\\314\\201 ';"
    " done",
}


@pytest.mark.node
@needs_screens
@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_late_joiner_sees_exactly_what_another_viewer_sees(
    terminals: TmuxTerminals,
    program: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broadcast, "LATE_S", 60)  # a busy machine is no reason to skip
    typing = await editor(terminals, 1)
    terminal = await shared(terminals)
    assert terminal.size == SIZE
    with Screens() as screens:
        first = Watcher(terminal)
        begun = await first.whole()
        typing.write(PROGRAMS[program].encode() + b"\r")
        await first.reach(begun + 2000)
        compared: list[tuple[Watcher, int]] = []
        for number in range(max(2, JOINS // len(PROGRAMS))):
            if program == "vim":
                typing.write(b"\x06" if number % 2 else b":split\r\x02/tcp\r")
            await asyncio.sleep(0.03 * number)  # at any moment of a redraw
            if number % 4:  # as if much had come since the last one
                stream_of(terminal)._keys.key = None
            late = Watcher(terminal)
            compared.append((late, await late.whole()))
        until = stream_of(terminal).end
        for watcher in (first, *(late for late, _ in compared)):
            await watcher.reach(until)
            await watcher.leave()
        for late, at in compared:
            compare(screens, first, late, at, until)
    times = [late.whole_s for late, _ in compared]
    with capsys.disabled():
        shown = " ".join(f"{1000 * t:.0f}" for t in times)
        sys.stdout.write(f"\n{program}: whole screens after {shown} ms ")
    assert max(times) <= FIRST_SCREEN_S
    await terminals.release(ClientId("e1"), typing)


@dataclass
class Seat:
    """What `fit` needs of an attachment."""

    terminal: Terminal
    size: WindowSize
    follows: bool = False
    told: list[WindowSize] = field(default_factory=list)

    def tell_size(self, size: WindowSize) -> None:
        self.told.append(size)


def fit(terminals: TmuxTerminals, *seats: Seat) -> None:
    terminals.fit(cast(list[Attachment], list(seats)))


def window(tmux: Tmux) -> str:
    return tmux("display-message", "-p", "-t", "=0:", "#{window_width}x#{window_height}")


async def until_window(tmux: Tmux, expected: str) -> None:
    await eventually(lambda: window(tmux) == expected, f"a window of {expected}")


async def until_sized(terminal: Terminal, size: WindowSize, what: str) -> None:
    await eventually(lambda: terminal.size == size, f"{size} after {what}")


def pids(tmux: Tmux) -> list[int]:
    """Process ids of all clients, those without a terminal, too."""
    return [int(pid) for pid in tmux("list-clients", "-F", "#{client_pid}", check=False).split()]


async def test_the_audience_has_the_size_of_the_window_and_the_status_lines(
    terminals: TmuxTerminals, tmux: Tmux
) -> None:
    typing = await editor(terminals, 1)
    terminal = await shared(terminals)
    watcher = Watcher(terminal)
    await watcher.whole()
    for command, size in (
        ("set-option -t =0: status off", (100, 30)),
        ("set-option -t =0: status 3", (100, 30)),
        ("set-option -t =0: status-position top", (100, 30)),
        ("set-option -t =0: status on", (100, 30)),
        ("split-window -d -t =0:", (100, 30)),
        ("resize-pane -Z -t =0:", (100, 30)),
        ("set-option -w -t =0: window-size manual", (100, 30)),
        ("resize-window -t =0: -x 60 -y 20", (60, 21)),
        ("set-option -t =0: status off", (60, 20)),
        ("new-window -t =0:", (100, 30)),
        ("select-window -t =0:0", (60, 20)),
    ):
        tmux(*command.split())
        await until_sized(terminal, WindowSize(*size), command)
    resized = [item.size for item in watcher.items if isinstance(item, Resized)]
    assert resized[0] == SIZE
    assert WindowSize(60, 21) in resized
    assert watcher.resets == 1
    await watcher.leave()
    await terminals.release(ClientId("e1"), typing)


@pytest.mark.node
@needs_screens
async def test_who_joins_after_a_change_of_the_size_sees_what_the_others_see(
    terminals: TmuxTerminals,
) -> None:
    typing = await editor(terminals, 1)
    terminal = await shared(terminals)
    first = Watcher(terminal)
    await first.whole()
    typing.write(b"seq 1 100\r")
    for cols, rows in ((60, 20), (130, 40)):
        typing.resize(WindowSize(cols, rows))
        await until_sized(terminal, typing.size, "a new size")
    late = Watcher(terminal)
    until = max(await late.whole(), stream_of(terminal).end)
    with Screens() as screens:
        for watcher in (first, late):
            await watcher.reach(until)
            await watcher.leave()
        compare(screens, first, late, until)


async def test_a_phone_that_follows_types_and_leaves_the_window_as_it_is(
    terminals: TmuxTerminals, tmux: Tmux
) -> None:
    wide = WindowSize(cols=200, rows=50)
    typing = await editor(terminals, 1, wide)
    phone = WindowSize(cols=40, rows=20)
    following = await terminals.open(ClientId("e2"), Place(Role.EDITOR, phone, follows=True))
    seats = Seat(typing, wide), Seat(following, phone, follows=True)
    fit(terminals, *seats)
    assert following.size == wide
    assert seats[1].told[-1] == wide
    following.write(b"echo from the ''phone\r")
    await eventually(lambda: "from the phone" in tmux.screen(), "what the phone has typed")
    assert window(tmux) == "200x49"
    seats[0].size = WindowSize(cols=120, rows=40)
    fit(terminals, *seats)
    await eventually(lambda: following.size == seats[0].size, "the phone follows")
    assert seats[1].told[-1] == seats[0].size
    assert not seats[0].told
    tmux("set-option", "-w", "-t", "=0:", "window-size", "smallest")
    seats[0].size = wide
    fit(terminals, *seats)
    await until_window(tmux, "200x49")
    await until_sized(following, wide, "the window has grown")
    await terminals.release(ClientId("e1"), typing)
    fit(terminals, seats[1])
    await eventually(lambda: len(tmux.clients()) == 1, "only the phone is left")
    following.write(b"echo still ''there\r")
    await eventually(lambda: "still there" in tmux.screen(), "what the phone has typed then")
    assert window(tmux) == "200x49"


async def test_the_window_follows_who_types_as_without_an_audience(
    terminals: TmuxTerminals, tmux: Tmux
) -> None:
    one = await editor(terminals, 1)
    other = await editor(terminals, 2, WindowSize(cols=60, rows=20))
    terminal = await shared(terminals)
    watcher = Watcher(terminal)
    for typing, expected in ((one, "100x29"), (other, "60x19"), (one, "100x29")):
        typing.write(b"x")
        await until_window(tmux, expected)
        terminal._make_key()  # as for a newcomer
        await eventually(lambda: not stream_of(terminal).is_key_due, "a key frame")
        assert window(tmux) == expected
    one.resize(WindowSize(cols=90, rows=30))
    await until_window(tmux, "90x29")
    terminal._make_key()
    await eventually(lambda: not stream_of(terminal).is_key_due, "a key frame")
    third = await editor(terminals, 3, WindowSize(cols=70, rows=20))
    await until_window(tmux, "70x19")
    terminal._make_key()
    await eventually(lambda: not stream_of(terminal).is_key_due, "a key frame")
    await terminals.release(ClientId("e3"), third)
    await until_window(tmux, "90x29")  # of those who are left, who was active last
    await terminals.release(ClientId("e1"), one)
    await until_window(tmux, "60x19")
    await watcher.leave()


async def test_viewers_alone_leave_the_window_as_it_is(
    terminals: TmuxTerminals, tmux: Tmux
) -> None:
    typing = await editor(terminals, 1)
    await until_window(tmux, "100x29")
    await terminals.release(ClientId("e1"), typing)
    tmux("set-hook", "-g", "window-resized", "set-option -g @resized yes")
    watcher = Watcher(await shared(terminals))
    await watcher.whole()
    assert window(tmux) == "100x29"
    assert not tmux("show-options", "-gqv", "@resized"), "it had another size for a moment"
    assert [item.size for item in watcher.items if isinstance(item, Resized)] == [SIZE]
    await watcher.leave()


async def test_a_change_is_asked_for_at_once_and_not_when_tmux_looks_the_next_time() -> None:
    answers = """
        echo '%session-changed $0 0'; rows=10
        while read -r command rest; do
            test "$command" = display-message || continue
            echo "size 80 $rows off"; rows=$((rows + 1))
            test $rows = 13 || echo '%layout-change @0 b25d,80x24,0,0,0'
        done
    """
    sizes: list[WindowSize] = []
    watch = TmuxWatch(["sh", "-c", answers], environment={}, cwd="/", on_size=sizes.append)
    await eventually(lambda: WindowSize(80, 12) in sizes, "the size after two changes")
    await watch.close()


async def test_a_session_that_ends_without_clients_ends_when_the_last_viewer_leaves(
    terminals: TmuxTerminals, tmux: Tmux
) -> None:
    typing = await editor(terminals, 1)
    watcher = Watcher(terminal := await shared(terminals))
    await watcher.whole()
    tmux("set-option", "-t", "=0:", "destroy-unattached", "on")
    await terminals.release(ClientId("e1"), typing)
    await asyncio.sleep(2 * audience.LAST_S)
    assert tmux("has-session", "-t", "=0") == ""
    await watcher.leave()
    await terminals.release(ClientId("v"), terminal)
    await eventually(lambda: not pids(tmux), "the session ends")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("kill-server", EndReason.SERVER_EXITED),
        ("kill-session -t =0", EndReason.EXITED),
        ("detach-client -s =0", EndReason.DETACHED),
    ],
)
async def test_the_end_is_told_to_all_viewers_and_they_can_start_anew(
    terminals: TmuxTerminals, tmux: Tmux, command: str, reason: EndReason
) -> None:
    watchers = [Watcher(await shared(terminals)) for _ in range(3)]
    for watcher in watchers:
        await watcher.whole()
    tmux(*command.split())
    for watcher in watchers:
        await watcher.finished()
        assert watcher.end is not None
        assert watcher.end.end.reason is reason
        assert watcher.end.end.restart
        await watcher.leave()
    again = Watcher(await shared(terminals))
    await again.whole()
    tmux("send-keys", "-t", "=0:", "echo a''new", "Enter")
    await eventually(lambda: b"anew" in again.received, "output of the new session")
    await again.leave()


async def test_nothing_is_left_some_time_after_the_last_viewer(
    terminals: TmuxTerminals, tmux: Tmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "LINGER_S", 0.2)
    typing = await editor(terminals, 1)
    alone = pids(tmux)
    watcher = Watcher(terminal := await shared(terminals))
    await watcher.whole()
    await eventually(lambda: len(pids(tmux)) == 3, "the shared client and the watch")
    await watcher.leave()
    await terminals.release(ClientId("v"), terminal)
    await eventually(lambda: pids(tmux) == alone, "only the editor's client")
    again = Watcher(await shared(terminals))
    await again.whole()
    await again.leave()
    await terminals.release(ClientId("e1"), typing)


async def test_what_is_recorded_is_what_the_audience_sees(terminals: TmuxTerminals) -> None:
    typing = await editor(terminals, 1)
    recorded = await terminals.recorded()
    assert recorded is await shared(terminals)
    assert recorded.size == SIZE
    recorded.write(b"never typed\r")
    recorded.resize(WindowSize(10, 10))
    assert recorded.size == SIZE
    await terminals.release(ClientId("e1"), typing)


async def test_the_watch_is_started_again_when_it_dies(
    terminals: TmuxTerminals, tmux: Tmux
) -> None:
    typing = await editor(terminals, 1)
    terminal = await shared(terminals)
    watcher = Watcher(terminal)
    await watcher.whole()

    def control_clients() -> list[int]:
        lines = tmux("list-clients", "-F", "#{client_control_mode} #{client_pid}").splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith("1 ")]

    await eventually(control_clients, "the watch")
    os.kill(dead := control_clients()[0], signal.SIGKILL)
    await eventually(lambda: [p for p in control_clients() if p != dead], "another watch")
    typing.resize(WindowSize(cols=66, rows=22))
    await eventually(lambda: terminal.size == typing.size, "the new size")
    await watcher.leave()
    await terminals.release(ClientId("e1"), typing)


async def test_nothing_is_left_when_the_bridge_ends(tmux: Tmux, tmp_path: Path) -> None:
    terminals = terminals_of(tmux, tmp_path)
    await terminals.start()
    watcher = Watcher(await shared(terminals))
    await watcher.whole()
    for number in range(2):
        await terminals.open(ClientId(f"e{number}"), Place(Role.EDITOR, SIZE, follows=True))
    begun = time.monotonic()
    await watcher.leave()
    for number in range(2):
        await terminals.release(ClientId(f"e{number}"), terminals._live[ClientId(f"e{number}")])
    await terminals.close()
    assert time.monotonic() - begun < 5
    await eventually(lambda: not pids(tmux), "no client is left")
    tmux("has-session", "-t", "=0")


async def test_who_has_fallen_behind_in_a_flood_is_shown_the_present_and_slows_nobody(
    terminals: TmuxTerminals, monkeypatch: pytest.MonkeyPatch
) -> None:
    typing = await editor(terminals, 1)
    terminal = await shared(terminals)
    quick, slow = Watcher(terminal), Watcher(terminal, pause_s=0.5)
    await quick.whole()
    typing.write(b"while :; do seq 1 3000; done\r")
    await eventually(lambda: slow.resets >= 3, "the slow one is skipped")
    assert slow.viewer_offset < quick.viewer_offset + broadcast.FRAME_BYTES
    assert len(slow.received) < len(quick.received) / 2
    typing.write(b"\x03")
    for watcher in (quick, slow):
        await watcher.leave()
    await terminals.release(ClientId("e1"), typing)
