"""The running bridge, as the control socket and the page's `api/` ask it."""

import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ttybridge import __version__
from ttybridge.config import Config
from ttybridge.core import environment as env
from ttybridge.core.people import Actor
from ttybridge.errors import TerminalError
from ttybridge.operations_people import Sharing
from ttybridge.sessions.door import shown
from ttybridge.sessions.hub import Hub
from ttybridge.started import ssh_line
from ttybridge.usage import Usage
from ttybridge.web.serving import Serving

if TYPE_CHECKING:
    from ttybridge.adapters.pane_run import PaneRun, PaneRuns
    from ttybridge.adapters.tmux_control import TmuxControl
    from ttybridge.core.banner import SshLine
    from ttybridge.public import Public
    from ttybridge.ssh.companion import Companion

FRAME_LINK_S = 600.0
"""Time in which the link of a frame can be opened, in seconds: it is opened at once, and only a
notebook that is slow to show its output takes longer."""


class Running(Sharing):
    """The running bridge, as the control socket and the page's `api/` ask it.

    Attributes:
        usage: What is used of the limits.
        public: The tunnel; None without one, or before it is open.
    """

    usage: Usage

    def __init__(
        self,
        config: Config,
        hub: Hub,
        serving: Serving,
        local: str,
        port: int,
        sshd: "Companion | None",
        control: "TmuxControl | None",
        folder: Path,
        stop: Callable[[], None],
    ) -> None:
        """Remember the parts.

        Args:
            config: The options.
            hub: The session.
            serving: The web server.
            local: The page's address on this machine, with a slash at its end.
            port: Its port.
            sshd: The companion sshd; None without --ssh.
            control: Runs tmux commands; None where there is no tmux on this machine.
            folder: A private folder for the time of the run.
            stop: Stops the bridge.
        """
        super().__init__(config, hub, serving)
        self._local, self._port, self._sshd = local, port, sshd
        self._control, self._folder = control, folder
        self._runs: PaneRuns | None = None
        self._stop = stop
        self.public: Public | None = None
        self._started_at = time.time()

    @property
    def address(self) -> str:
        """The page's address for others, with a slash at its end."""
        if self.public is None:
            return self._local
        return f"{self.public.address.url}{self._config.base_path}/"

    @property
    def ssh_line(self) -> "SshLine | None":
        """What to tell about SSH: at its public address if it has one, else on this machine."""
        if self._sshd is None:
            return None
        address = self.public.address.ssh if self.public is not None else None
        return ssh_line(self._config, self._sshd, self._hub.terminals, address)

    @property
    def has_public_ssh(self) -> bool:
        """Whether sshd has a public address of its own."""
        return self.public is not None and self.public.address.ssh is not None

    @property
    def ssh_over_web(self) -> str:
        """The command that logs in over the public address, with a link; may be empty."""
        if self._sshd is None or self.public is None:
            return ""
        return f"ttybridge ssh '{self.new_link(uses=1)}'"

    @property
    def proxied(self) -> tuple[str, ...]:
        """Addresses of this machine's web apps; of a range the first is enough."""
        if self.public is not None and self.address.startswith("http://"):
            return ()  # over plain http browsers do not say which page asks for an app
        return tuple(f"{self.address}proxy/{ports.start}/" for ports in self._config.proxy)

    def stop(self, actor: Actor | None = None) -> None:
        """Stop the bridge; None where it is not known who wants that."""
        self._hub.people.note("stop", by=shown(actor) if actor else "")
        self._stop()

    def link(self, actor: Actor, *, is_framed: bool, life_s: float | None, uses: int | None) -> str:
        """Return a new link that lets an owner in, and note that; see `new_link`."""
        url = self.new_link(is_framed=is_framed, life_s=life_s, uses=uses)
        text, note = url.partition("?link=")[2], self._hub.people.note
        for made in self._serving.links():
            if made.text == text:
                role, ends_at = made.role.value, made.ends_at
                note(
                    "link", link=made.id, role=role, uses=made.uses, endsAt=ends_at, by=shown(actor)
                )
        return url

    def new_link(
        self, *, is_framed: bool = False, life_s: float | None = None, uses: int | None = None
    ) -> str:
        """Return a new link that lets an owner in; what is not said is as the bridge was told.

        Raises:
            TerminalError: It is for a frame, and there is no token: any site could frame the page.
        """
        if is_framed and self._config.no_auth:
            raise TerminalError(
                "A terminal in a frame needs a token, and this bridge has none.",
                hint="Start it without --no-auth.",
            )
        default_s = FRAME_LINK_S if is_framed else self._config.link_life_s
        return self._serving.link(
            self.address,
            life_s=default_s if life_s is None else life_s,
            uses=(1 if is_framed else self._config.link_uses) if uses is None else uses,
            is_framed=is_framed,
        )

    def status(self, _actor: Actor) -> Mapping[str, object]:
        """Return docs/control.md's object."""
        terminals = self._hub.terminals
        return {
            "version": __version__,
            "pid": os.getpid(),
            "label": self._config.label,
            "startedAt": self._started_at,
            "session": terminals.session,
            "mode": terminals.mode.value,
            "port": self._port,
            "address": self._local,
            "clients": len(self._hub.attachments),
            "tunnel": self._tunnel(),
            "ssh": self._ssh(),
            "proxy": [port for ports in self._config.proxy for port in ports],
            **self.usage.status(),
        }

    def _tunnel(self) -> dict[str, object] | None:
        if self.public is None:
            return None
        return {
            "name": self._config.tunnel_name,
            "state": self.public.state,
            "urls": list(self.public.urls),
            "notes": list(self.public.address.notes),
        }

    def _ssh(self) -> dict[str, object] | None:
        if self._sshd is None:
            return None
        line = ssh_line(self._config, self._sshd, self._hub.terminals, None)
        public = self.public.address.ssh if self.public is not None else None
        return {
            "user": line.user,
            "host": line.host,
            "port": line.port,
            "command": line.command,
            "hostKey": line.host_key.line,
            "fingerprint": line.host_key.fingerprint,
            "public": f"tcp://{public[0]}:{public[1]}" if public else None,
        }

    def serve_host(self, _actor: Actor, url: str) -> None:
        """Serve another public address from now on."""
        self._serving.add_public(url)

    async def update_environment(
        self, _actor: Actor, changes: Mapping[bytes, bytes | None]
    ) -> tuple[int, int, list[str]]:
        """Change variables for the session's new windows, and for later logins.

        Raises:
            TtyBridgeError: They cannot be changed.
        """
        terminals = self._hub.terminals
        update = env.update(changes)
        if self._sshd is not None:
            self._sshd.update_environment(changes)
        from ttybridge.sessions.tmux import TmuxTerminals

        if isinstance(terminals, TmuxTerminals):
            await terminals.update_environment(changes)
        was_set = sum(value is not None for value in update.changes.values())
        skipped = [os.fsdecode(name) for name in changes.keys() - update.changes.keys()]
        return was_set, len(update.changes) - was_set, skipped

    @contextlib.asynccontextmanager
    async def run(self, _actor: Actor, text: str) -> AsyncIterator[AsyncIterator[str | int]]:
        """Run a text in the shared pane; gives its output, then its exit status.

        Raises:
            TerminalError: There is no such pane, or it takes no line now.
        """
        if self._control is None:
            raise TerminalError(
                "Cells run in the tmux session of this machine, and the bridge has none: it "
                "shares a container's, or a command.",
                hint="Start it without --container and without a command.",
            )
        if self._runs is None:
            from ttybridge.adapters.pane_run import PaneRuns  # few bridges are asked for it

            self._runs = PaneRuns(self._control, self._folder)
        async with self._runs.run(text) as run:
            yield _items(run)


async def _items(run: "PaneRun") -> AsyncIterator[str | int]:
    """Give a run's output and its status.

    Raises:
        TerminalError: It ended without one.
    """
    async for piece in run:
        yield piece
    end = run.end
    if end is None or end.status is None:
        raise TerminalError(end.message if end else "The run was given up.")
    yield end.status
