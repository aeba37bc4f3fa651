"""Tells the user what happens: the banner with the link, a new link, and what takes long.

The link goes to stdout, because it is what was asked for; everything else goes to stderr. The
bridge goes on when nobody reads either.
"""

import contextlib
import shutil
import sys
from typing import TextIO

from ttybridge import __version__, logs
from ttybridge.advice import advice
from ttybridge.config import Config
from ttybridge.core.banner import PublicLine, make_banner
from ttybridge.output import write
from ttybridge.started import Changed, Started


class Announcer:
    """Prints for one run."""

    def __init__(self, config: Config, cleanup: contextlib.ExitStack) -> None:
        """Remember the options.

        Args:
            config: The options.
            cleanup: Called at the end of the run.
        """
        self._config, self._cleanup = config, cleanup

    def started(self, started: Started) -> None:
        """Print the banner on stderr with the link in its middle, on stdout."""
        config = self._config
        _hide(started.link)
        _hide(started.ssh_command.strip("'"))
        banner = make_banner(
            version=__version__,
            link=started.link,
            session=started.session,
            mode=started.mode,
            notes=(*advice(config), *started.notes),
            token_generated=started.token_generated,
            ssh=started.ssh,
            public=self._public(started) if config.is_public else None,
            proxied=started.proxied,
            columns=shutil.get_terminal_size().columns,
        )
        self._explain(banner.head)
        write(sys.stdout, banner.link + "\n")
        self._explain(banner.tail)
        if config.open:
            open_browser(started.link, self._cleanup)

    def changed(self, changed: Changed) -> None:
        """Print the new link after the address has changed, or works again."""
        _hide(changed.link)
        self._explain("The public address has changed, or works again; the link is now:\n")
        write(sys.stdout, changed.link + "\n")
        self._explain(self._qr(changed.link))
        if changed.ssh is not None:
            self._explain(f"SSH: {changed.ssh.command}\n")

    def say(self, sentence: str) -> None:
        """Print a sentence about what takes long."""
        self._explain(logs.one_line(sentence) + "\n")

    def _public(self, started: Started) -> PublicLine:
        config = self._config
        return PublicLine(
            local=started.local,
            life_s=config.link_life_s,
            uses=config.link_uses,
            ssh_command=started.ssh_command,
            has_ssh_address=started.has_ssh_address,
            qr=self._qr(started.link),
        )

    def _qr(self, link: str) -> str:
        """Return the link as a QR code, where it can be looked at."""
        if not self._config.qr or not _is_terminal(sys.stderr):
            return ""
        from ttybridge.qr import qr_text

        return qr_text(link)

    def _explain(self, text: str) -> None:
        if not self._config.quiet:
            write(sys.stderr, text)


def _hide(link: str) -> None:
    """Have the credential in a link hidden in the log."""
    secret = link.rpartition("=")[2]
    if "?" in link and secret:
        logs.hide(secret)


def _is_terminal(stream: TextIO) -> bool:
    with contextlib.suppress(ValueError):
        return stream.isatty()
    return False


def open_browser(link: str, cleanup: contextlib.ExitStack) -> None:
    """Open a link in the user's browser, or say that none could be started."""
    from ttybridge.browser import Opener

    def failed() -> None:
        write(sys.stderr, "No browser could be started here: open the link yourself.\n")

    try:
        opener = Opener(link)
        cleanup.callback(opener.close)
        opener.start(failed)
    except OSError:
        failed()
