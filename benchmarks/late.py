"""Late joiners: how soon each shows exactly what another viewer shows, cell by cell."""

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from benchmarks.frames import BINARY, CLOSE, READ_BYTES, TEXT, Frames, connect, frame
from benchmarks.servers import Server, Ttybridge
from tests.screens import Screens, Viewer, differences

FLOOD = Path(__file__).with_name("flood.py")

WATCHED_S = 0.5
"""How long a late joiner is watched, in seconds."""

SETTLE_S = 0.5
"""How long what is shown runs before somebody joins, in seconds."""

DEADLINE_S = 20.0

SCENES: dict[str, tuple[str, ...]] = {
    "vim": (
        "sh",
        "-c",
        "exec vim -u NONE -i NONE -N -c 'syntax on' -c 'set nu cursorline' "
        '-c \'call timer_start(40, {-> execute("normal! \\<C-e>j") + execute("redraw")}, '
        '{"repeat": -1})\' ' + str(Path(__file__).resolve()),
    ),
    "htop": ("htop", "-d", "2"),
    "flood": (sys.executable, str(FLOOD), "1e6", "600"),
    "clear": (
        "sh",
        "-c",
        "while :; do clear; ls --color=always -C /usr/bin | head -25; sleep 0.1; done",
    ),
}
"""What runs in the session while people join."""


class Reader:
    """A viewer of the page's protocol whose screen can be asked for.

    Attributes:
        viewer: Its screen.
        arrivals: Offset and time of the end of each chunk of output.
        lock: Held while something is taken in.
    """

    def __init__(self, server: Server, screens: Screens, headers: dict[str, str]) -> None:
        """Connect, and begin to read."""
        self.began = time.monotonic()
        self.viewer = Viewer(screens, server.cols, server.rows)
        self.arrivals: list[tuple[int, float]] = []
        self.lock = threading.Lock()
        self._frames = Frames()
        self._out = self._offset = 0
        self._line = connect("127.0.0.1", server.port, server.path, headers)
        hello = {
            "protocol": 1,
            "cols": server.cols,
            "rows": server.rows,
            "display": "session",
        }
        self._line.sendall(frame(TEXT, b"40" + json.dumps(hello).encode()))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while data := self._line.recv(READ_BYTES):
                now = time.monotonic()
                with self.lock:
                    for opcode, begin, end in self._frames.feed(data):
                        if opcode == CLOSE:
                            return
                        self._take(opcode, self._frames.data[begin:end], now)
                if self._out:
                    self._line.sendall(frame(TEXT, b'42["ack",%d]' % self.viewer.offset))
                    self._out = 0
        except OSError:
            return

    def _take(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == BINARY:
            self.viewer.out(self._offset, payload)
            self.arrivals.append((self.viewer.offset, now))
            self._out += len(payload)
        elif payload == b"2":
            self._line.sendall(frame(TEXT, b"3"))
        elif payload.startswith(b'451-["out",'):
            self._offset = int(payload[11 : payload.index(b",", 11)])
        elif payload.startswith(b"42"):
            name, *args = json.loads(payload[2:])
            if name == "ping":
                self._line.sendall(frame(TEXT, b'42["pong",%d]' % args[0]))
            self.viewer.event(name, args)

    def close(self) -> None:
        """Leave."""
        self._line.close()
        self.viewer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds.

    Raises:
        RuntimeError: It does not, for too long.
    """
    until = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"{what}: not within {DEADLINE_S:.0f} s")
        time.sleep(0.005)


def join(server: Server, screens: Screens, reference: Reader) -> tuple[float | None, list[str]]:
    """Have somebody join.

    Returns:
        The time in milliseconds after which the screen was exact (None: it never was), and what
        differs at the end.
    """
    headers = server.headers()
    with Reader(server, screens, headers) as late:
        wait_for(lambda: late.arrivals, "a late joiner's first output")
        time.sleep(WATCHED_S)
        with late.lock:
            arrivals = list(late.arrivals)
        wait_for(lambda: reference.viewer.offset >= arrivals[-1][0], "the other viewer's output")
        exact = None
        found: list[str] = []
        # Many chunks come in a flood: after the first exact one, only the last is looked at.
        for offset, at in arrivals:
            if exact is not None and offset != arrivals[-1][0]:
                continue
            if offset < reference.viewer.shown:
                continue  # a key frame of the past: what has come since follows at once
            with late.lock, reference.lock:
                found = differences(
                    reference.viewer.screen(at=offset), late.viewer.screen(at=offset), title=False
                )
            if not found and exact is None:
                exact = (at - late.began) * 1000
        return exact, found


def run(
    server: Server, screens: Screens, joins: int, scenes: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Have people join during every scene, in turns.

    Returns:
        Milliseconds by scene, what differed, and hard resets of the viewer who was there all along.
    """
    times: dict[str, list[float]] = {scene: [] for scene in scenes}
    wrong: list[str] = []
    with Reader(server, screens, server.headers()) as reference:
        wait_for(lambda: reference.arrivals, "the first viewer's output")
        for number, (scene, command) in enumerate(scenes.items()):
            server.play(*command)
            time.sleep(SETTLE_S)
            for _ in range(joins * (number + 1) // len(scenes) - joins * number // len(scenes)):
                exact, found = join(server, screens, reference)
                if exact is not None:
                    times[scene].append(exact)
                if exact is None or found:
                    wrong += [f"{scene}: {text}" for text in found[:5]]
        # The first one is not a repaint: it is where this viewer has begun.
        hard = reference.viewer.hard_resets - 1
    return {"times": times, "wrong": wrong, "hardResets": hard}


def measure(joins: int) -> dict[str, Any]:
    """Run it with all scenes, and print what was seen."""
    with Ttybridge() as server, Screens() as screens:
        numbers = run(server, screens, joins, SCENES)
    every = [each for found in numbers["times"].values() for each in found]
    for scene, found in [*numbers["times"].items(), ("all", every)]:
        print(
            f"{scene:6} {len(found):3} joins with an exact screen, after"
            f" {statistics.median(found or [0]):.0f} ms (median), {max(found, default=0):.0f} ms"
            " at most"
        )
    print(f"of {joins} joins; hard resets of who was there before: {numbers['hardResets']}")
    for text in numbers["wrong"][:20]:
        print(f"   differs: {text}")
    return numbers
