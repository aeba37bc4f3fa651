"""Builds everything from the configuration; starts it, waits, and stops it in reverse order."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttybridge import logs
from ttybridge.adapters.audit_file import AuditLog, path_of
from ttybridge.adapters.listen import bind
from ttybridge.adapters.pane_run import PaneRuns
from ttybridge.adapters.rundir import bases, private_folder
from ttybridge.adapters.signals import ends_before, stop_signals
from ttybridge.config import Config
from ttybridge.core.people import Actor
from ttybridge.core.permissions import Entrance
from ttybridge.model import End, Role
from ttybridge.operations import Running
from ttybridge.public import Address, Public, context_of, locals_of, public
from ttybridge.recordings import Recordings
from ttybridge.sessions.hub import Hub
from ttybridge.shared import Finished, Shared
from ttybridge.ssh.account import own_account
from ttybridge.started import Changed, Started, shown_host
from ttybridge.web.assets import load_page
from ttybridge.web.control import control_socket
from ttybridge.web.server import serve, title_of
from ttybridge.web.serving import Serving

STARTER = Actor(Role.OWNER, "--record", Entrance.CONTROL)
"""Who starts the recording that an option asks for."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to know what happens, in words for the user."""

    started: Callable[[Started], None]
    """Called once, when the bridge serves."""
    changed: Callable[[Changed], None]
    """Called when the public address has changed, or works again."""
    say: Callable[[str], None]
    """Called with a sentence while something takes long, such as a download."""


def run(
    config: Config,
    snapshot: Mapping[bytes, bytes],
    listener: Listener,
    environ: Mapping[str, str] | None = None,
) -> Finished:
    """Serve until Ctrl-C, SIGTERM, or the end of a direct command. Blocks.

    Args:
        config: The options.
        snapshot: The environment for the session.
        listener: Who is told.
        environ: The environment with the secrets that a tunnel's provider may need.

    Raises:
        TtyBridgeError: It could not start; everything that had started is stopped.
    """
    return asyncio.run(_serve(config, snapshot, listener, environ or {}))


async def _serve(
    config: Config,
    snapshot: Mapping[bytes, bytes],
    listener: Listener,
    environ: Mapping[str, str],
) -> Finished:
    with stop_signals() as stop:
        bridge = Bridge(config, snapshot, listener, environ, stop.set)
        async with contextlib.AsyncExitStack() as stack:
            starting = asyncio.create_task(stack.enter_async_context(bridge))
            if not await ends_before(starting, stop):
                # What it started is stopped in there, or by the stack if it was just up.
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                return Finished(130, "Stopped before it was up.")
            await starting
            listener.started(bridge.started)
            end = await bridge.wait(stop)
            stop.clear()  # from here on, Ctrl-C means that somebody does not want to wait
        return await bridge.finish(end, stop)


class Bridge:
    """One running bridge: an async context manager.

    Attributes:
        started: What to tell the user; set when the context is entered.
    """

    started: Started

    def __init__(
        self,
        config: Config,
        snapshot: Mapping[bytes, bytes],
        listener: Listener,
        environ: Mapping[str, str],
        stop: Callable[[], None],
    ) -> None:
        """Remember what to build; nothing is started yet.

        Args:
            config: The options.
            snapshot: The environment for the session.
            listener: Who is told what happens later.
            environ: The environment with the secrets that a tunnel's provider may need.
            stop: Called when the control socket asks for the end.
        """
        self._config = config
        self._listener, self._environ, self._stop = listener, environ, stop
        self._snapshot = snapshot
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "Bridge":
        """Start everything.

        Raises:
            TtyBridgeError: Something could not be started; the rest is stopped again.
        """
        config = self._config
        page = load_page()
        async with contextlib.AsyncExitStack() as stack:
            sockets = await bind(config.host, config.ports)
            for listener in sockets:
                stack.callback(listener.close)
            port: int = sockets[0].getsockname()[1]
            token = None if config.no_auth else str(config.token or secrets.token_urlsafe(32))
            if token is not None:
                logs.hide(token)
            shared = self._shared = Shared(config, self._snapshot)
            named = {os.fsdecode(n): os.fsdecode(v) for n, v in shared.environment.items()}
            audit = AuditLog(path_of(config.audit_log, named))
            hub = Hub(
                shared.terminals,
                max_clients=config.max_clients,
                max_viewers=config.max_viewers,
                resume_s=config.resume_s,
                window_bytes=config.window_bytes,
                make_key=lambda: secrets.token_urlsafe(24),
                approves=config.approve,
                locks_after_owner=config.lock,
            )
            hub.people.note = audit.note
            stack.push_async_callback(hub.close)
            if config.ssh:
                own_account()  # before tmux starts the account's shell, which may run nothing
            notes = await hub.start()
            recordings = Recordings(
                shared.terminals,
                config,
                named,
                title=title_of(config),
                on_change=hub.people.changed,
                audit=audit.note,
                say=lambda text: serving.tell_pages(text, is_warning=True),
            )
            hub.on_typed = recordings.typed
            stack.push_async_callback(recordings.close)
            folder = stack.enter_context(private_folder(bases(shared.environment)))
            sshd = None
            if config.ssh:
                from ttybridge.ssh.companion import companion  # cryptography takes 50 ms to import

                sshd = await stack.enter_async_context(
                    companion(config, hub, shared.environment, folder)
                )
                notes += sshd.notes
            web = serve(config, hub, page, token, port, sockets, recordings, audit.note, sshd)
            serving = await stack.enter_async_context(web)
            local = f"http://{shown_host(config.host)}:{port}{config.base_path}/"
            runs = None
            if shared.control is not None and shared.container is None:
                runs = PaneRuns(shared.control, folder)
            running = Running(config, hub, serving, local, port, sshd, runs, self._stop)
            running.recorder, running.audit_events = recordings, lambda: tuple(audit.last)
            serving.api.operations = running
            if config.record is not None:
                await recordings.start(config.record, None, None, STARTER)
            if config.is_public:
                running.public = await stack.enter_async_context(
                    self._public(serving, folder, running, port, sshd.port if sshd else None)
                )
                notes += running.public.address.notes
                stack.push_async_callback(serving.say_goodbye)
            await stack.enter_async_context(control_socket(folder, running))
            link = f"{local}?token={token}" if token else local
            self.started = Started(
                link=running.new_link() if config.is_public else link,
                address=running.address,
                local=local,
                session=hub.terminals.session,
                mode=hub.terminals.mode,
                notes=(*shared.notes, *notes),
                token_generated=token is not None and config.token is None,
                ssh=running.ssh_line,
                ssh_command=running.ssh_over_web,
                has_ssh_address=running.has_public_ssh,
                proxied=running.proxied,
            )
            self._hub = hub
            self._stack = stack.pop_all()
        return self

    def _public(
        self,
        serving: Serving,
        folder: Path,
        running: Running,
        port: int,
        ssh_port: int | None,
    ) -> AbstractAsyncContextManager[Public]:
        """Return the tunnel, to be opened."""

        def changed(_: Address) -> None:
            ssh = running.ssh_line if running.has_public_ssh else None
            self._listener.changed(Changed(running.new_link(), ssh))

        config = self._config
        context = context_of(config, self._environ, folder, self._listener.say)
        return public(config, serving, context, locals_of(config, port, ssh_port), changed)

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop everything; a tmux session lives on."""
        await self._stack.aclose()

    async def wait(self, stop: asyncio.Event) -> End | None:
        """Wait until `stop` is set, or the direct command has ended and everybody knows.

        Returns:
            The end of the direct command; None when `stop` came first, or there is none.
        """
        stopped = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(self._shared.command_end())
        tasks: list[asyncio.Task[Any]] = [stopped, ended]
        try:
            await asyncio.wait([stopped, ended], return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                return None
            telling = asyncio.create_task(self._shared.tell_everybody(self._hub))
            tasks.append(telling)
            await asyncio.wait([stopped, telling], return_when=asyncio.FIRST_COMPLETED)
            return ended.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def finish(self, end: End | None, hurry: asyncio.Event) -> Finished:
        """Say what is left, after the context has been left; see `Shared.finish`."""
        return await self._shared.finish(end, hurry)
