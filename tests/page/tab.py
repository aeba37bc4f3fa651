"""One tab of a real browser, with the terminal in it: types, reads the screen, notes complaints."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.conftest import DEADLINE_S, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, WebSocket
    from playwright.sync_api import Request as PageRequest

WATCH = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`Content Security Policy: ${event.violatedDirective} ${event.blockedURI}`);
});
"""

RECORD = """
(() => {
  const define = Object.defineProperty;
  const taken = [];
  const bytesOf = (data) =>
    typeof data === "string" ? new TextEncoder().encode(data) : data.slice();
  Object.defineProperty = (object, name, property) => {
    if (object === window && name === "ttybridge") {
      const terminal = property.value.terminal;
      const write = terminal.write.bind(terminal);
      terminal.write = (data, parsed) => { taken.push(bytesOf(data)); write(data, parsed); };
    }
    return define(object, name, property);
  };
  window.takenByTheTerminal = async () => {
    const all = new Uint8Array(await new Blob(taken).arrayBuffer());
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", all));
    const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return [all.length, hex];
  };
})();
"""
"""Keeps everything that the page hands to its terminal, the sequences of a reset included."""

SCREEN = """() => {
  const terminal = window.ttybridge.terminal, buffer = terminal.buffer.active;
  return Array.from({ length: terminal.rows }, (_, y) =>
    buffer.getLine(buffer.baseY + y)?.translateToString(true) ?? "");
}"""

ALL_LINES = """() => {
  const buffer = window.ttybridge.terminal.buffer.active;
  return Array.from({ length: buffer.length }, (_, y) =>
    buffer.getLine(y)?.translateToString(true) ?? "");
}"""

RENDERER = "() => document.querySelector('#terminal').dataset.renderer ?? ''"

CELLS = """([row, from, count]) => {
  const buffer = window.ttybridge.terminal.buffer.active;
  const line = buffer.getLine(buffer.baseY + row);
  return Array.from({ length: count }, (_, x) => {
    const cell = line.getCell(from + x);
    return [cell.getChars(), cell.getWidth(),
      cell.isFgRGB() ? cell.getFgColor() : null, cell.isBgRGB() ? cell.getBgColor() : null];
  });
}"""


class Tab:
    """A tab that shows, or is to show, the page of a bridge.

    Attributes:
        page: The tab, as Playwright sees it.
        violations: What breaks the page's promises: uncaught errors, blocked content.
        console_errors: Everything the console shows in red, refused connections included.
        hosts: `host:port` of all requests and WebSockets.
    """

    def __init__(self, page: "Page", *, records: bool = False) -> None:
        """Watch a fresh tab.

        Args:
            page: The tab.
            records: Whether to keep what the terminal is given, for `taken`.
        """
        self.page = page
        self.violations: list[str] = []
        self.console_errors: list[str] = []
        self.hosts: set[str] = set()
        page.set_default_timeout(DEADLINE_S * 1000)
        page.add_init_script(WATCH)
        if records:
            page.add_init_script(RECORD)
        page.on("pageerror", lambda error: self.violations.append(str(error)))
        page.on("console", self._on_console)
        page.on("request", self._on_request)
        page.on("websocket", self._on_websocket)

    def open(self, link: str) -> "Tab":
        """Open a link and wait until the terminal is connected and shows something."""
        self.page.goto(link)
        self.wait_for_state("connected")
        wait_until(self.renderer, "the renderer is chosen: its characters have the final size")
        wait_until(lambda: any(self.screen()) or self.offset() > 0, "the terminal shows something")
        return self

    def state(self) -> str:
        """Return the state of the page: `connected`, `reconnecting`, …; empty before it runs."""
        return str(self.page.evaluate("() => window.ttybridge?.state() ?? ''"))

    def wait_for_state(self, *states: str) -> None:
        """Wait until the page is in one of the states."""
        wait_until(lambda: self.state() in states, f"the page is {' or '.join(states)}")

    def renderer(self) -> str:
        """Return what draws the terminal, `webgl` or `dom`; empty while that is open."""
        return str(self.page.evaluate(RENDERER))

    def offset(self) -> int:
        """Return the count of output bytes that the page has taken in."""
        return int(self.page.evaluate("() => window.ttybridge.offset()"))

    def size(self) -> tuple[int, int]:
        """Return columns and rows of the terminal."""
        terminal = "window.ttybridge.terminal"
        cols, rows = self.page.evaluate(f"() => [{terminal}.cols, {terminal}.rows]")
        return int(cols), int(rows)

    def screen(self) -> list[str]:
        """Return the rows of the screen, without blanks at their ends."""
        return [row.rstrip() for row in self.page.evaluate(SCREEN)]

    def lines(self) -> list[str]:
        """Return all lines, those that have scrolled away included."""
        return [line.rstrip() for line in self.page.evaluate(ALL_LINES)]

    def cells(self, row: int, column: int, count: int) -> list[list[Any]]:
        """Return characters, width, and the 24-bit colours (front, back) of cells in a row."""
        return list(self.page.evaluate(CELLS, [row, column, count]))

    def is_alternate(self) -> bool:
        """Tell whether the terminal shows the alternate screen."""
        return bool(
            self.page.evaluate("() => window.ttybridge.terminal.buffer.active.type === 'alternate'")
        )

    def row_of(self, pattern: str) -> int | None:
        """Return the number of the first row of the screen that matches, or None."""
        rows = self.screen()
        return next((y for y, row in enumerate(rows) if re.search(pattern, row)), None)

    def wait_for(self, pattern: str) -> int:
        """Wait until a row of the screen matches, and return its number."""
        found: list[int] = []

        def look() -> bool:
            row = self.row_of(pattern)
            found[:] = [] if row is None else [row]
            return row is not None

        def say() -> str:
            return f"{pattern!r} on the screen; it shows:\n" + "\n".join(self.screen())

        self.wait_until(look, say)
        return found[0]

    def wait_until(self, condition: Callable[[], object], say: Callable[[], str]) -> None:
        """Wait for a condition; what it was is told only when it fails."""
        try:
            wait_until(condition, "-")
        except BaseException as failure:
            raise AssertionError(f"not in time: {say()}") from failure

    def type(self, text: str) -> None:
        """Press the keys of a text."""
        self.page.keyboard.type(text)

    def press(self, *keys: str) -> None:
        """Press keys by their names, as `Enter` or `Control+d`."""
        for key in keys:
            self.page.keyboard.press(key)

    def run(self, command: str) -> None:
        """Type a command line and Enter."""
        self.type(command)
        self.press("Enter")

    def check_window(self) -> None:
        """Ask the shell in tmux until its window has the tab's size, less the status line.

        tmux 3.3a tells programs of a new size some time after it has taken it itself.
        """
        cols, rows = self.size()

        def fits() -> bool:
            self.run("clear; stty size; echo asked-$((1))")
            self.wait_for("^asked-1$")
            return self.row_of(f"^{rows - 1} {cols}$") is not None

        wait_until(fits, f"the window has {cols} columns and {rows - 1} rows")

    def paste(self, text: str) -> None:
        """Put a text on the browser's clipboard and press the browser's keys for pasting."""
        self.page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
        self.press("Shift+Insert")

    def wait_until_sent(self) -> None:
        """Wait until the hint about a large paste is gone: the bridge has all of it."""
        wait_until(lambda: self.page.is_hidden("#progress"), "the paste is sent")

    def taken(self) -> tuple[int, str]:
        """Return length and SHA-256 of everything that the terminal was given."""
        length, digest = self.page.evaluate("() => window.takenByTheTerminal()")
        return int(length), str(digest)

    def reconnect(self) -> None:
        """Press "Reconnect now" if it is there, and wait for the connection."""

        def is_connected() -> bool:
            if self.page.is_visible("#reconnect"):
                # The click is dispatched, not aimed: the button may go away at any moment.
                self.page.dispatch_event("#reconnect", "click")
            return self.state() == "connected"

        wait_until(is_connected, "the page is connected again")

    def _on_console(self, message: "ConsoleMessage") -> None:
        if message.type != "error":
            return
        self.console_errors.append(message.text)
        if "Content Security Policy" in message.text:
            self.violations.append(message.text)

    def _on_request(self, request: "PageRequest") -> None:
        if not request.url.startswith(("data:", "blob:", "about:")):
            self.hosts.add(urlsplit(request.url).netloc)

    def _on_websocket(self, websocket: "WebSocket") -> None:
        self.hosts.add(urlsplit(websocket.url).netloc)
