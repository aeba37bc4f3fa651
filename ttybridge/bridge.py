"""Builds everything from the configuration; starts it, waits, and stops it in reverse order."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ttybridge import logs
from ttybridge.adapters.audit_file import AuditLog, path_of
from ttybridge.adapters.descriptors import refusing_when_full
from ttybridge.adapters.listen import bind
from ttybridge.adapters.rundir import bases, private_folder
from ttybridge.adapters.signals import ends_before, stop_signals
from ttybridge.config import Config
from ttybridge.loading import load_front
from ttybridge.model import End
from ttybridge.sessions.hub import Hub
from ttybridge.shared import Finished, Shared
from ttybridge.web.assets import load_page

if TYPE_CHECKING:
    from ttybridge.started import Changed, Started


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to know what happens, in words for the user."""

    started: Callable[["Started"], None]
    """Called once, when the bridge serves."""
    changed: Callable[["Changed"], None]
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

    started: "Started"

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
            stack.enter_context(refusing_when_full())
            sockets = await bind(config.host, config.ports)
            for listener in sockets:
                stack.callback(listener.close)
            token = None if config.no_auth else str(config.token or secrets.token_urlsafe(32))
            if token is not None:
                logs.hide(token)
            # Its imports take longer than all the rest; meanwhile the session comes up.
            loading = await stack.enter_async_context(load_front(config))
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
                from ttybridge.ssh.account import own_account

                own_account()  # before tmux starts the account's shell, which may run nothing
            notes = await hub.start()
            folder = stack.enter_context(private_folder(bases(shared.environment)))
            front = (await loading)(config, shared, hub, audit, folder, self._environ)
            self.started = await stack.enter_async_context(
                front.open(
                    page,
                    token,
                    sockets,
                    notes,
                    named,
                    changed=self._listener.changed,
                    say=self._listener.say,
                    stop=self._stop,
                )
            )
            self._hub = hub
            self._stack = stack.pop_all()
        return self

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
