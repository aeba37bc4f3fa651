"""Watches a page that is shown something hostile: what it sends, opens, asks for and changes."""

import base64
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from tests.conftest import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

T = TypeVar("T")

SPIES = Path(__file__).with_name("spies.js").read_text()
"""Notes calls that output must not lead to, and elements that come outside of the terminal."""

LOOK = Path(__file__).with_name("look.js").read_text()

MAX_TITLE = 140

STEADY = 10
"""Looks in a row that find the same."""

UNSEEN = {*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F)} | {
    *range(0x2066, 0x206A)
}
"""Controls, and characters that turn text around: in no title and no name."""


def check_plain(text: str, limit: int) -> None:
    """Check that a text can be shown in one line, in its place."""
    assert not UNSEEN & {ord(char) for char in text}, ascii(text)
    assert len(text) <= limit, ascii(text[:300])


def steady(look: Callable[[], T], what: str) -> T:
    """Look until it is the same some times in a row, and return that; fail when it never is."""
    looks: list[T] = []

    def is_steady() -> bool:
        looks.append(look())
        return len(looks) >= STEADY and all(one == looks[-1] for one in looks[-STEADY:])

    wait_until(is_steady, what)
    return looks[-1]


DIFFERENCE = """async (pictures) => {
  const pixels = async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes]));
    const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, image.width, image.height).data;
  };
  const [one, other] = await Promise.all(pictures.map(pixels));
  if (one.length !== other.length) return 255;
  return one.reduce((largest, value, at) => Math.max(largest, Math.abs(value - other[at])), 0);
}"""


def difference(page: "Page", *pictures: bytes) -> int:
    """Return the largest difference between two screenshots, in steps of a colour of 256."""
    texts = [base64.b64encode(picture).decode() for picture in pictures]
    return int(page.evaluate(DIFFERENCE, texts))


class Watch:
    """Looks at one tab; to be made before the page is loaded.

    Attributes:
        typed: What the page has sent as input, in order.
        events: Pop-ups, dialogs, downloads and further pages that came.
        hosts: Where requests went.
    """

    def __init__(self, page: "Page", box: str = "#terminal") -> None:
        self.page = page
        self.box = box
        self.typed: list[str] = []
        self.events: list[str] = []
        self.hosts: set[str] = set()
        self._start: dict[str, Any] = {}
        page.add_init_script(SPIES)
        page.on("websocket", lambda socket: socket.on("framesent", self._on_frame))
        page.on("dialog", self._on_dialog)
        page.on("popup", lambda popup: self.events.append(f"pop-up {popup.url}"))
        page.on("download", lambda download: self.events.append(f"download {download.url}"))
        page.on("framenavigated", lambda frame: self.events.append(f"went to {frame.url}"))
        page.on("worker", lambda worker: self.events.append(f"worker {worker.url}"))
        page.on("filechooser", lambda _: self.events.append("file chooser"))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def begin(self) -> None:
        """Count from here on."""
        # It fits the window again when its fonts and its renderer are there.
        steady(lambda: self.page.evaluate(LOOK, self.box)["size"], "a steady size")
        self._start = self.page.evaluate(LOOK, self.box)
        self.events.clear()
        self.typed.clear()
        self.hosts.clear()

    def seen(self) -> dict[str, Any]:
        """Look once."""
        return dict(self.page.evaluate(LOOK, self.box))

    def check(self, *, hosts: set[str], allowed: tuple[tuple[str, str], ...] = ()) -> None:
        """Check that nothing has happened that output must not lead to.

        Args:
            hosts: Where requests may go.
            allowed: What may have been called or added: a name, and how its first argument begins.
        """
        now = self.seen()
        assert now["canary"] == [], "a script ran"
        bad = [one for one in now["seen"] if not any(
            one[0] == name and str((*one, "")[1]).startswith(start) for name, start in allowed
        )]  # fmt: skip
        assert bad == [], bad
        assert self.events == [], self.events
        assert self.hosts <= hosts, self.hosts
        for what in ("address", "frames", "size", "overflow"):
            assert now[what] == self._start[what], (what, now[what], self._start[what])
        assert (now["stray"], now["above"]) == ([], []), (now["stray"], now["above"])
        assert (now["planted"], now["dialogs"], now["fullscreen"]) == (0, 0, False)
        check_plain(now["title"], MAX_TITLE)

    def _on_frame(self, payload: str | bytes) -> None:
        if isinstance(payload, str) and payload.startswith('42["in"'):
            self.typed.append(json.loads(payload[2:])[2])

    def _on_dialog(self, dialog: Any) -> None:
        if dialog.type == "beforeunload":
            dialog.accept()  # the test itself goes on to another page
            return
        self.events.append(f"dialog {dialog.type} {dialog.message[:100]}")
        dialog.dismiss()


PUPPET = """
import os, select, sys, tty
feed, typed, wake = sys.argv[1:]
tty.setraw(0)
os.set_blocking(1, False)
bell = os.open(wake, os.O_RDWR)
source, log = open(feed, "rb"), open(typed, "ab", buffering=0)
waiting = memoryview(b"puppet-ready")
while True:
    readable, writable, _ = select.select([0, bell], [1] if waiting else [], [])
    if bell in readable:
        os.read(bell, 4096)
        waiting = memoryview(bytes(waiting) + source.read())
    if 0 in readable:
        got = os.read(0, 65536)
        if not got:
            break
        log.write(got)
    if writable:
        waiting = waiting[os.write(1, waiting[:65536]):]
"""
"""Prints what it is fed, byte by byte as it is, and keeps what is typed."""


class Puppet:
    """A program in the terminal that prints what the test says, and tells what was typed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._feed, self._typed, self._wake = (folder / name for name in ("feed", "typed", "wake"))
        self._feed.touch()
        self._typed.touch()
        os.mkfifo(self._wake)
        self._seen = 0
        script = folder / "puppet.py"
        script.write_text(PUPPET)
        self.argv = [sys.executable, str(script), *map(str, (self._feed, self._typed, self._wake))]

    def print(self, data: bytes) -> None:
        """Have bytes printed."""
        with self._feed.open("ab") as feed:
            feed.write(data)
        with self._wake.open("r+b", buffering=0) as wake:
            wake.write(b"!")

    @property
    def typed(self) -> bytes:
        """What was typed since `take`."""
        return self._typed.read_bytes()[self._seen :]

    def take(self) -> bytes:
        """Return what was typed, and count from here."""
        new = self.typed
        self._seen += len(new)
        return new
