"""Opens the link in a browser, without the token in any program's arguments."""

import html
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

OPEN_TIMEOUT_S = 20
"""Seconds after which a browser that has said nothing is taken for started."""

# Own process, so that a browser cannot write to our stdout or block us; -I keeps modules that
# lie in the working directory out.
_SCRIPT = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"


class Opener:
    """A page in a private folder that leads to the link; gone after `close`.

    Arguments of programs can be read by everyone on the machine, files of mode 0600 cannot.
    """

    def __init__(self, link: str) -> None:
        """Write the page.

        Raises:
            OSError: The temporary folder cannot be written.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="ttybridge-"))
        self.page = self._folder / "open.html"
        descriptor = os.open(self.page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(redirect_page(link))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, on_failure: Callable[[], None]) -> None:
        """Start the browser without waiting for it.

        Args:
            on_failure: Called in another thread when no browser could be started.
        """
        self._process = process = subprocess.Popen(
            [sys.executable, "-I", "-c", _SCRIPT, self.page.as_uri()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

        def watch() -> None:
            try:
                status = process.wait(OPEN_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                return
            if status > 0:
                on_failure()

        threading.Thread(target=watch, name="browser", daemon=True).start()

    def close(self) -> None:
        """Delete the page, and end the helper if it still runs; the browser stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def redirect_page(link: str) -> str:
    """Return a page that leads to the link, by itself or by a click.

    >>> '<a href="http://h/?token=a&amp;b">' in redirect_page("http://h/?token=a&b")
    True
    """
    address = html.escape(link, quote=True)
    return (
        '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
        f'<title>ttybridge</title><meta http-equiv="refresh" content="0; url={address}">'
        f'<p><a href="{address}">Open the terminal</a>'
    )
