"""A real browser in a soak: a tab that loses its line, types, and shows consecutive lines."""

import queue
import re
import threading
import time
from typing import TYPE_CHECKING

from benchmarks.chromium import CHROMIUM, FLAGS
from tests.page.tab import Tab

if TYPE_CHECKING:
    from tests.soak.slots import Slot

AWAY_S = 120.0
"""Longest time that the tab may be without a connection, in seconds."""

LINE = re.compile(r"^L(\d{9}) [0-9a-f]+ ")


class BrowserCheck(threading.Thread):
    """A tab in a thread of its own: Playwright's loop is not ours.

    Attributes:
        fault: What was wrong, in words; empty while nothing was.
        reconnects: How often the tab was connected anew.
        offset: Output bytes that the page has taken in.
    """

    def __init__(self, link: str) -> None:
        super().__init__(daemon=True)
        self.fault = ""
        self.reconnects = self.offset = self.compared = 0
        self.is_connected = False
        self.texts: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.sizes: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._link = link
        self._ends = threading.Event()

    def run(self) -> None:
        """Open the tab and look after it until the end."""
        from playwright.sync_api import sync_playwright

        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                page = browser.new_context(viewport={"width": 1000, "height": 640}).new_page()
                tab = Tab(page)
                page.goto(self._link)
                self._look_after(tab)
                browser.close()
        except BaseException as error:  # told by the main thread, which looks at it
            self.fault = self.fault or f"browser: {error!r}"[:2000]

    def _look_after(self, tab: Tab) -> None:
        was_connected, since, looked = False, time.monotonic(), 0.0
        while not self._ends.is_set():
            tab.page.wait_for_timeout(50)
            state = tab.state()
            now = time.monotonic()
            self.is_connected = state == "connected"
            if self.is_connected:
                since = now
                self.reconnects += not was_connected
                while not self.texts.empty():
                    tab.page.keyboard.insert_text(self.texts.get())
            elif now - since > AWAY_S:
                self.fault = f"browser: {state} for {AWAY_S:.0f} s"
                return
            was_connected = self.is_connected
            while not self.sizes.empty():
                width, height = self.sizes.get()
                tab.page.set_viewport_size({"width": width, "height": height})
            if now - looked > 2:
                looked = now
                self._check(tab)

    def _check(self, tab: Tab) -> None:
        if tab.violations:
            self.fault = f"browser: {tab.violations}"
            return
        self.offset = tab.offset()
        before = -1
        for text in tab.lines():
            found = LINE.match(text)
            if found is None:
                before = -1  # half a line at the start of what was repainted
                continue
            number = int(found[1])
            if before >= 0 and number != before + 1:
                self.fault = f"browser: line {number} is shown after line {before}"
                return
            self.compared += 1
            before = number

    def stop(self) -> None:
        """Close the tab and wait for it."""
        self._ends.set()
        self.join(30)


def type_into(slot: "Slot", text: str) -> bool:
    """Type into the slot's tab; tell whether that was possible."""
    tab = slot.browser
    if tab is None or not tab.is_connected:
        return False
    tab.texts.put(text)
    return True
