"""A real Chromium that opens the pages of servers, and what it tells of their terminals."""

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.driving import shell
from benchmarks.peer import Running
from benchmarks.workload import Case

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

WHOLE = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium(*names: str) -> Path | None:
    """Return the first of these programs that is installed; None without any."""
    return next((Path(found) for found in map(shutil.which, names) if found), None)


def playwrights_chromium() -> Path | None:
    """Return the Chromium without windows that Playwright has installed; None without one."""
    kept = os.environ.get("PLAYWRIGHT_BROWSERS_PATH", Path.home() / ".cache" / "ms-playwright")
    return next(Path(kept).glob("chromium_headless_shell-*/*/*headless*shell"), None)


WHOLE_CHROMIUM = find_chromium(*WHOLE)
"""One with windows, settings and profiles; None where there is none."""

CHROMIUM = (
    find_chromium("chromium-headless-shell")
    or WHOLE_CHROMIUM
    or playwrights_chromium()
    or Path("/nonexistent/chromium")
)
"""The one without windows, where it is: it takes a third of the processor's time."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PATHS = {"ttybridge": "/", "ttyd": "/", "wetty": "/"}
"""Where the pages are, of the peers that have one."""

BEHIND_A_LINE = {"TTYBRIDGE_ALLOW_HOST": "127.0.0.1"}
"""Variables of servers whose page is opened by the port of a line: a browser sends that as Host."""

ROWS = """
window.benchRows = () => {
  const terminal = window.ttybridge?.terminal ?? window.term ?? window.wetty_term;
  const buffer = terminal?.buffer?.active;
  if (!buffer) return [];
  const rows = Array.from({ length: terminal.rows }, (_, y) =>
    buffer.getLine(buffer.baseY + y)?.translateToString() ?? "");
  for (const cell of document.querySelectorAll("#terminal .prediction > span")) {
    const place = (share, of) => Math.round((parseFloat(share) / 100) * of);
    const col = place(cell.style.left, terminal.cols), row = place(cell.style.top, terminal.rows);
    if (rows[row] === undefined) continue;
    rows[row] = rows[row].slice(0, col) + (cell.textContent || " ") + rows[row].slice(col + 1);
  }
  return rows.map((row) => row.trimEnd());
};
"""
"""The rows of the screen as a person sees them: what has come from the server is in the terminal's
buffer, and what ttybridge's page guesses in a layer above it (static/src/overlay.ts)."""

WATCH = """(() => {
  const look = () => {
    if (window.benchRows().some((row) => /^tb[0-9]+>/.test(row)))
      window.benchPrompt = [performance.now(), performance.timeOrigin + performance.now()];
    else
      setTimeout(look, 2);
  };
  look();
})();"""
"""Notes when the prompt is in the terminal: milliseconds since the navigation began, and since
1970."""


def missing() -> str:
    """Say in a sentence why there is no browser; "" when there is."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: `make setup`"
    if not CHROMIUM.exists():
        return "chromium is not installed: `apt-get install chromium`"
    return ""


def start(case: Case) -> Running:
    """Start a server with a shell, whose page may be opened through a line."""
    return case.peer.start(case.mode, shell(case.folder), case.home(), BEHIND_A_LINE)


@contextlib.contextmanager
def chromium() -> Iterator["Browser"]:
    """Start it, without a window; what goes wrong with it becomes an OSError."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        except Error as error:
            raise OSError(error.message.partition("\n")[0]) from error
        finally:
            browser.close()


@contextlib.contextmanager
def fresh(browser: "Browser") -> Iterator["BrowserContext"]:
    """Make a profile with an empty cache."""
    context = browser.new_context(viewport={"width": 1000, "height": 640})
    context.set_default_timeout(60_000)
    context.add_init_script(ROWS)
    context.add_init_script(WATCH)
    try:
        yield context
    finally:
        context.close()


def sign_in(context: "BrowserContext", running: Running, address: str) -> None:
    """Get the cookie that a page needs which was open before; most servers have none."""
    token = getattr(running, "token", "")
    if token:
        answer = context.request.post(f"{address}/login", form={"token": token}, max_redirects=0)
        if answer.status != 303:
            raise OSError(f"no cookie: {answer.status}")


def open_page(context: "BrowserContext", url: str) -> tuple["Page", float, float]:
    """Open a page and wait for the prompt.

    Returns:
        The page, the milliseconds from the begin of the navigation to the prompt, and the time of
        the prompt as `time.time` has it.
    """
    page = context.new_page()
    page.goto(url, wait_until="commit")
    page.wait_for_function("() => window.benchPrompt", polling=5)
    took, at = page.evaluate("() => window.benchPrompt")
    return page, float(took), float(at) / 1000
