"""Screens as xterm.js draws them, compared cell by cell; tests/node/screens.mjs has the terminals.

    with Screens() as screens:
        ada = Viewer(screens, 80, 24)
        ada.out(0, b"hello")            # output at its offset, as docs/protocol.md
        bob = Viewer(screens, 80, 24)
        …
        assert not differences(ada.screen(), bob.screen())

`Viewer.screen(at=OFFSET)` shows a viewer as it was at an offset: two viewers are compared where
both have been, however far each one is.
"""

import base64
import json
import shutil
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple, Self

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "tests" / "node" / "screens.mjs"

HEADLESS = ROOT / "tests" / "node" / "node_modules" / "@xterm" / "headless"

needs_screens = pytest.mark.skipif(
    not (shutil.which("node") and HEADLESS.is_dir()),
    reason="node, or tests/node/node_modules/@xterm/headless, is missing (scripts/setup.sh test)",
)
"""Marks tests that compare screens."""


class Cell(NamedTuple):
    """One cell of a screen; equal cells look the same."""

    chars: str
    """Its character with all that combines with it; empty where nothing was ever written."""
    width: int
    """1, 2, or 0 for the right half of a wide character."""
    foreground: str
    """Empty for the default, a number of the palette, or `#rrggbb`."""
    background: str
    flags: str
    """Names of attributes, with blanks between: `bold underline`."""
    underline: str
    """Style and colour of the underline."""
    link: str
    """Address of a hyperlink."""


@dataclass(frozen=True)
class Screen:
    """All that a terminal shows, and what of its state decides how it goes on."""

    cols: int
    rows: int
    buffer: str
    """`normal` or `alternate`."""
    cursor: tuple[int, int]
    """Column and row, from 0."""
    title: str
    modes: Mapping[str, Any]
    """Cursor shown or not and its style, mouse, pasting, keys, wrapping, …"""
    hidden: Mapping[str, Any]
    """Scroll region, current attributes, tab stops, …: seen only by what the next bytes do."""
    lines: Sequence[Sequence[Cell]]
    wrapped: Sequence[bool]
    """Whether a line goes on from the one above."""

    @property
    def text(self) -> list[str]:
        """The lines as text, without blanks at their ends."""
        return ["".join(c.chars or " " * c.width for c in line).rstrip() for line in self.lines]


def differences(
    one: Screen, other: Screen, *, hidden: bool = False, title: bool = True, most: int = 20
) -> list[str]:
    """Return sentences on all that differs between two screens; empty when nothing does.

    Args:
        one: A screen.
        other: Another.
        hidden: Whether what is not seen counts, too.
        title: Whether the title counts; it is not part of a late joiner's screen everywhere.
        most: Sentences on single cells at most.
    """
    found = []
    for name in ("cols", "rows", "buffer", "cursor", *(["title"] if title else [])):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            found.append(f"{name}: {mine!r} / {theirs!r}")
    for name in ("modes", *(["hidden"] if hidden else [])):
        mine, theirs = getattr(one, name), getattr(other, name)
        keys = sorted(mine.keys() | theirs.keys())
        found += [
            f"{name}.{key}: {mine.get(key)!r} / {theirs.get(key)!r}"
            for key in keys
            if mine.get(key) != theirs.get(key)
        ]
    if len(one.lines) != len(other.lines):
        found.append(f"lines: {len(one.lines)} / {len(other.lines)}")
    found += [
        f"row {y}: wrapped {mine} / {theirs}"
        for y, (mine, theirs) in enumerate(zip(one.wrapped, other.wrapped, strict=False))
        if mine != theirs
    ]
    cells = [
        f"row {y}, column {x}: {_described(mine, theirs)}"
        for y, (a, b) in enumerate(zip(one.lines, other.lines, strict=False))
        if a != b
        for x, (mine, theirs) in enumerate(zip(a, b, strict=False))
        if mine != theirs
    ]
    if len(cells) > most:
        cells[most:] = [f"and {len(cells) - most} cells more"]
    return found + cells


def _described(one: Cell, other: Cell) -> str:
    return ", ".join(
        f"{name} {mine!r} / {theirs!r}"
        for name, mine, theirs in zip(Cell._fields, one, other, strict=True)
        if mine != theirs
    )


def report(one: Screen, other: Screen, found: Sequence[str]) -> str:
    """Return what differs, with the texts of both screens where they do, for people."""
    lines = list(found)
    for y, (mine, theirs) in enumerate(zip(one.text, other.text, strict=False)):
        if mine != theirs:
            lines += [f"{y:3} - {mine}", f"{y:3} + {theirs}"]
    return "\n".join(lines)


def assert_same(one: Screen, other: Screen, *, hidden: bool = False, title: bool = True) -> None:
    """Fail with a report when two screens differ."""
    found = differences(one, other, hidden=hidden, title=title)
    assert not found, report(one, other, found)


class Screens:
    """A Node process with terminals; ends with the `with` block."""

    def __init__(self) -> None:
        """Start it."""
        self._names = count()
        self._process = subprocess.Popen(
            ["node", str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)

    def open(self, cols: int, rows: int, *, scrollback: int = 0) -> str:
        """Open a terminal, and return its name; `scrollback` in lines."""
        name = str(next(self._names))
        self._say(do="open", name=name, cols=cols, rows=rows, scrollback=scrollback)
        return name

    def feed(self, name: str, data: bytes) -> None:
        """Give a terminal output; cut anywhere."""
        if data:
            self._say(do="feed", name=name, data=base64.b64encode(data).decode())

    def resize(self, name: str, cols: int, rows: int) -> None:
        """Set a terminal's size."""
        self._say(do="resize", name=name, cols=cols, rows=rows)

    def forget(self, name: str) -> None:
        """Remove a terminal."""
        self._say(do="close", name=name)

    def screen(self, name: str, *, scrollback: bool = False) -> Screen:
        """Return what a terminal shows now, on request with the lines that have left it."""
        self._say(do="state", name=name, scrollback=scrollback)
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        assert answer, "the process of the terminals has ended"
        state = json.loads(answer)
        lines = state.pop("lines")
        return Screen(
            **state | {"cursor": tuple(state["cursor"])},
            lines=[[Cell(*run[1:]) for run in runs for _ in range(run[0])] for _, runs in lines],
            wrapped=[wrapped for wrapped, _ in lines],
        )

    def of(self, data: bytes, cols: int, rows: int, *, scrollback: int = 0) -> Screen:
        """Return what a terminal shows after `data`."""
        name = self.open(cols, rows, scrollback=scrollback)
        self.feed(name, data)
        screen = self.screen(name, scrollback=bool(scrollback))
        self.forget(name)
        return screen

    def _say(self, **request: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()


@dataclass(frozen=True, slots=True)
class _Part:
    """Something that came for a viewer."""

    offset: int
    """Where the output goes on that follows it; of output itself, where it begins."""
    data: bytes = b""
    """Output, or what a reset writes to the terminal."""
    size: tuple[int, int] | None = None
    """A window size."""
    is_output: bool = False


class Viewer:
    """One client of the page's protocol, as far as its screen is concerned.

    What comes is kept until a screen is asked for, so that the screen may be one of the past.

    Attributes:
        offset: Output bytes that came, as docs/protocol.md counts.
        shown: Where the last screen was; there is none from before any more.
        hard_resets: Resets that cleared the screen.
        soft_resets: Other resets.
    """

    def __init__(
        self, screens: Screens, cols: int, rows: int, *, offset: int = 0, scrollback: int = 0
    ) -> None:
        """Open a terminal.

        Args:
            screens: Where.
            cols: Columns of the client's window.
            rows: Its rows.
            offset: Where the output begins: `offset` of `joined`.
            scrollback: Lines kept that have left the screen.
        """
        self._screens = screens
        self._name = screens.open(cols, rows, scrollback=scrollback)
        self._scrollback = scrollback > 0
        self._parts: deque[_Part] = deque()
        self.offset = self.shown = offset
        self.hard_resets = self.soft_resets = 0

    def out(self, offset: int, data: bytes) -> None:
        """Take in output; what the viewer has already is dropped, a gap fails."""
        assert offset <= self.offset, f"output at {offset}, expected {self.offset}"
        data = data[self.offset - offset :]
        if data:
            self._parts.append(_Part(self.offset, data, is_output=True))
            self.offset += len(data)

    def reset(self, offset: int, *, hard: bool) -> None:
        """Go on at another offset: `reset` of the protocol."""
        self.hard_resets += hard
        self.soft_resets += not hard
        self.offset = offset
        self._parts.append(_Part(offset, b"\x1bc" if hard else b"\x18"))

    def size(self, cols: int, rows: int) -> None:
        """From here on, the output is for a window of this size."""
        self._parts.append(_Part(self.offset, size=(cols, rows)))

    def event(self, name: str, args: Sequence[Any]) -> None:
        """Take in an event of the protocol; those that are not about the screen are ignored."""
        match name:
            case "joined":
                self.offset = self.shown = args[0]["offset"]
            case "out":
                self.out(args[0], args[1])
            case "reset":
                self.reset(args[0]["offset"], hard=args[0]["hard"])
            case "size":
                self.size(args[0]["cols"], args[0]["rows"])
            case _:
                pass

    def screen(self, *, at: int | None = None) -> Screen:
        """Return what it shows now, or what it showed when it had `at` bytes.

        Screens are asked for in the order of the stream; a size or a reset at `at` counts.
        """
        while self._parts and (at is None or self._parts[0].offset < at + (not self._at_output)):
            self._show(self._parts.popleft(), at)
        assert at is None or self.shown == at, f"it was never at {at}, but at {self.shown}"
        return self._screens.screen(self._name, scrollback=self._scrollback)

    @property
    def _at_output(self) -> bool:
        return self._parts[0].is_output

    def _show(self, part: _Part, at: int | None) -> None:
        """Show a part; output up to `at`: what is behind that is kept."""
        if part.size is not None:
            self._screens.resize(self._name, *part.size)
            return
        cut = len(part.data)
        if part.is_output and at is not None:
            cut = min(cut, at - part.offset)
        self._screens.feed(self._name, part.data[:cut])
        self.shown = part.offset + (cut if part.is_output else 0)
        if cut < len(part.data):
            self._parts.appendleft(_Part(part.offset + cut, part.data[cut:], is_output=True))

    def close(self) -> None:
        """Remove its terminal."""
        self._screens.forget(self._name)
