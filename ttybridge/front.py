"""What stands in front of the session: the web server, SSH, recordings, the tunnel.

It is imported in a thread while the session comes up; see `loading`.
"""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from ttybridge.adapters.audit_file import AuditLog
from ttybridge.config import Config
from ttybridge.core.people import Actor
from ttybridge.core.permissions import Entrance
from ttybridge.model import Role
from ttybridge.operations import Running
from ttybridge.recordings import Recordings
from ttybridge.sessions.hub import Hub
from ttybridge.shared import Shared
from ttybridge.started import Changed, Started, shown_host
from ttybridge.usage import Usage
from ttybridge.web.assets import Page
from ttybridge.web.control import control_socket
from ttybridge.web.server import serve, title_of
from ttybridge.web.serving import Serving

if TYPE_CHECKING:
    from ttybridge.public import Address, Public
    from ttybridge.ssh.companion import Companion

STARTER = Actor(Role.OWNER, "--record", Entrance.CONTROL)
"""Who starts the recording that an option asks for."""


class Front:
    """Everything through which people come in."""

    def __init__(
        self,
        config: Config,
        shared: Shared,
        hub: Hub,
        audit: AuditLog,
        folder: Path,
        environ: Mapping[str, str],
    ) -> None:
        """Remember what is behind it; nothing is started yet.

        Args:
            config: The options.
            shared: The session, which is up.
            hub: Its people.
            audit: Takes events.
            folder: A private folder for the time of the run.
            environ: The environment with the secrets that a tunnel's provider may need.
        """
        self._config, self._shared, self._hub = config, shared, hub
        self._audit, self._folder, self._environ = audit, folder, environ

    @contextlib.asynccontextmanager
    async def open(
        self,
        page: Page,
        token: str | None,
        sockets: list[socket.socket],
        notes: Sequence[str],
        named: Mapping[str, str],
        *,
        changed: Callable[[Changed], None],
        say: Callable[[str], None],
        stop: Callable[[], None],
    ) -> AsyncIterator[Started]:
        """Let people in; on leaving, say goodbye to them and stop everything here.

        Args:
            page: The built page.
            token: What opens everything; None with --no-auth.
            sockets: Bound, not listening yet; closed by the caller.
            notes: What the session's start has to say.
            named: The environment of the session, as text.
            changed: Called when the public address has changed, or works again.
            say: Called with a sentence while something takes long.
            stop: Called when the control socket asks for the end.

        Raises:
            TtyBridgeError: Something could not be started; the rest is stopped again.
        """
        config, hub, shared = self._config, self._hub, self._shared
        port: int = sockets[0].getsockname()[1]
        notes = (*shared.notes, *notes)
        async with contextlib.AsyncExitStack() as stack:
            recordings = Recordings(
                shared.terminals,
                config,
                named,
                title=title_of(config),
                on_change=hub.people.changed,
                audit=self._audit.note,
                say=lambda text: serving.tell_pages(text, is_warning=True),
            )
            hub.on_typed = recordings.typed
            stack.push_async_callback(recordings.close)
            sshd: Companion | None = None
            if config.ssh:
                from ttybridge.ssh.companion import companion  # cryptography takes 50 ms to import

                sshd = await stack.enter_async_context(
                    companion(config, hub, shared.environment, self._folder)
                )
                notes += sshd.notes
            web = serve(config, hub, page, token, port, sockets, recordings, self._audit.note, sshd)
            serving = await stack.enter_async_context(web)
            local = f"http://{shown_host(config.host)}:{port}{config.base_path}/"
            control = shared.control if shared.container is None else None
            running = Running(config, hub, serving, local, port, sshd, control, self._folder, stop)
            running.recorder = recordings
            recordings.on_refused = lambda: serving.measures.meter.refuse("recordings")
            running.audit_events = lambda: tuple(self._audit.last)
            running.usage = usage = Usage(
                config, hub, serving, recordings, sshd, lambda: running.public
            )
            serving.api.operations = running
            if config.metrics:
                from ttybridge.adapters.process import Lag

                lag = Lag()
                await stack.enter_async_context(lag.watched())
                serving.metrics.families = lambda: usage.families(lag)
            if config.record is not None:
                await recordings.start(config.record, None, None, STARTER)
            if config.is_public:
                running.public = await stack.enter_async_context(
                    self._public(serving, running, port, sshd, changed, say)
                )
                notes += running.public.address.notes
                stack.push_async_callback(serving.say_goodbye)
            await stack.enter_async_context(control_socket(self._folder, running))
            link = f"{local}?token={token}" if token else local
            yield Started(
                link=running.new_link() if config.is_public else link,
                address=running.address,
                local=local,
                session=hub.terminals.session,
                mode=hub.terminals.mode,
                notes=notes,
                token_generated=token is not None and config.token is None,
                ssh=running.ssh_line,
                ssh_command=running.ssh_over_web,
                has_ssh_address=running.has_public_ssh,
                proxied=running.proxied,
            )

    def _public(
        self,
        serving: Serving,
        running: Running,
        port: int,
        sshd: "Companion | None",
        changed: Callable[[Changed], None],
        say: Callable[[str], None],
    ) -> "AbstractAsyncContextManager[Public]":
        """Return the tunnel, to be opened."""
        from ttybridge.public import context_of, locals_of, public

        def on_change(_: "Address") -> None:
            ssh = running.ssh_line if running.has_public_ssh else None
            changed(Changed(running.new_link(), ssh))

        config = self._config
        context = context_of(config, self._environ, self._folder, say)
        locals_ = locals_of(config, port, sshd.port if sshd else None)
        return public(config, serving, context, locals_, on_change)
