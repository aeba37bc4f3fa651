"""Builds everything from the configuration; starts it, waits, and stops it in reverse order."""

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ttybridge import logs
from ttybridge.adapters.listen import bind
from ttybridge.adapters.pane_run import PaneRuns
from ttybridge.adapters.pty import Pty, find_program
from ttybridge.adapters.rundir import bases, private_folder
from ttybridge.adapters.signals import ends_before, stop_signals
from ttybridge.adapters.tmux_control import TmuxControl, find_engine
from ttybridge.config import Config
from ttybridge.core import environment as env
from ttybridge.core.container import Container
from ttybridge.core.shell import for_any_shell
from ttybridge.core.stream import least_log_bytes
from ttybridge.core.tmux import Target
from ttybridge.errors import TerminalError, TtyBridgeError
from ttybridge.model import End
from ttybridge.operations import Running
from ttybridge.public import Address, Public, context_of, locals_of, public
from ttybridge.sessions.direct import DirectTerminal
from ttybridge.sessions.hub import Hub, Terminals
from ttybridge.sessions.tmux import TmuxTerminals
from ttybridge.ssh.account import own_account
from ttybridge.started import Changed, Started, shown_host
from ttybridge.web.assets import load_page
from ttybridge.web.control import control_socket
from ttybridge.web.server import Serving, serve

log = logging.getLogger(__name__)

ASKING_S = 5.0
"""Time for tmux to say whether the session lives on, in seconds: a container engine takes one or
two on busy processors."""

DELIVERY_S = 10.0
"""Time for the connected clients to get the last output of a direct command, in seconds."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What is left when the bridge has stopped."""

    status: int
    """Exit status: 0, the direct command's own, or 130 when it was stopped while starting."""
    message: str
    """What to say, in one line."""


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
        cwd = _absolute(config.directory)
        environment = env.pty_environment(snapshot, cwd=os.fsencode(cwd))
        dropped = env.too_long(environment)
        self._environment = {n: v for n, v in environment.items() if n not in dropped}
        self._notes = tuple(
            f"{os.fsdecode(name)!r} is left out: Linux starts no program with a variable above "
            f"{env.MAX_ENTRY_BYTES // 1024} KiB."
            for name in dropped
        )
        self._cwd = cwd
        self._control: TmuxControl | None = None
        self._container: Container | None = None
        self._direct: DirectTerminal | None = None
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
            hub = Hub(
                self._terminals(),
                max_clients=config.max_clients,
                resume_s=config.resume_s,
                window_bytes=config.window_bytes,
                make_key=lambda: secrets.token_urlsafe(24),
            )
            stack.push_async_callback(hub.close)
            if config.ssh:
                own_account()  # before tmux starts the account's shell, which may run nothing
            notes = await hub.start()
            folder = stack.enter_context(private_folder(bases(self._environment)))
            sshd = None
            if config.ssh:
                from ttybridge.ssh.companion import companion  # cryptography takes 50 ms to import

                sshd = await stack.enter_async_context(
                    companion(config, hub, self._environment, folder)
                )
                notes += sshd.notes
            web = serve(config, hub, page, token, port, sockets, sshd)
            serving = await stack.enter_async_context(web)
            local = f"http://{shown_host(config.host)}:{port}{config.base_path}/"
            runs = None
            if self._control is not None and self._container is None:
                runs = PaneRuns(self._control, folder)
            running = Running(config, hub, serving, local, port, sshd, runs, self._stop)
            if config.is_public:
                running.public = await stack.enter_async_context(
                    self._public(serving, folder, running, port, sshd.port if sshd else None)
                )
                notes += running.public.address.notes
                stack.push_async_callback(serving.say_goodbye)
            await stack.enter_async_context(control_socket(folder, running))
            link = f"{local}?token={token}" if token else local
            self.started = Started(
                link=running.link() if config.is_public else link,
                address=running.address,
                local=local,
                session=hub.terminals.session,
                mode=hub.terminals.mode,
                notes=(*self._notes, *notes),
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
            self._listener.changed(Changed(running.link(), ssh))

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
        ended = asyncio.create_task(self._command_end())
        tasks: list[asyncio.Task[Any]] = [stopped, ended]
        try:
            await asyncio.wait([stopped, ended], return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                return None
            telling = asyncio.create_task(self._tell_everybody())
            tasks.append(telling)
            await asyncio.wait([stopped, telling], return_when=asyncio.FIRST_COMPLETED)
            return ended.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell_everybody(self) -> None:
        """Wait until all clients have the end: those connected, then those that may come back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_S):
                await self._hub.wait_until_told()
        away = sum(a.is_parked for a in self._hub.attachments)
        if away:
            log.warning(
                "the command has ended; waiting up to %.0f s for %d client(s) that lost their"
                " connection; Ctrl-C ends now",
                self._config.resume_s,
                away,
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.resume_s + DELIVERY_S):
                    await self._hub.wait_until_empty()

    async def finish(self, end: End | None, hurry: asyncio.Event) -> Finished:
        """Say what is left, after the context has been left.

        Args:
            end: The end of the direct command.
            hurry: Set when nobody wants to wait for tmux to be asked.
        """
        if self._control is None:
            started = self._direct is not None and self._direct.terminal is not None
            stopped = "Stopped; the command was ended, too." if started else "Stopped."
            message = end.message if end else stopped
            return Finished(end.status.shell_code if end else 0, message)
        target = self._control.target
        try:
            lives = await self._lives(self._control, hurry)
        except TtyBridgeError as error:
            message = f"Stopped. Whether the tmux session lives on is not known: {error.message}"
            return Finished(0, message)
        if not lives:
            return Finished(0, "Stopped. The tmux session had ended.")
        attach = [*target.base, "attach", "-t", target.exact]
        if self._container is not None:
            attach = [self._container.engine, "exec", "-it", self._container.name, *attach]
        return Finished(
            0, f"Stopped. The tmux session {target.session!r} lives on: {for_any_shell(attach)}"
        )

    async def _lives(self, control: TmuxControl, hurry: asyncio.Event) -> bool:
        """Ask whether the tmux session exists.

        Raises:
            TtyBridgeError: It cannot be known.
        """
        asking = asyncio.create_task(control.has_session())
        try:
            async with asyncio.timeout(ASKING_S):
                if not await ends_before(asking, hurry):
                    raise TerminalError("tmux was not asked.")
            return asking.result()
        except TimeoutError as error:
            raise TerminalError(f"tmux did not answer within {ASKING_S:.0f} s.") from error
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _command_end(self) -> End:
        """Wait for the end of the direct command; for ever where there is none."""
        never: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._direct.ended if self._direct else never)

    def _terminals(self) -> Terminals:
        config = self._config
        if config.command:
            find_program(config.command[0], self._environment)  # with --wait, say it now
            self._direct = DirectTerminal(
                Pty.spawn,
                config.command,
                environment=self._environment,
                cwd=self._cwd,
                log_bytes=max(config.backlog_bytes, least_log_bytes(config.window_bytes)),
                waits=config.wait,
            )
            return self._direct
        target = Target(
            program=config.tmux,
            session=config.session,
            socket_name=config.socket_name or "",
            socket_path=str(config.socket_path or ""),
        )
        if config.container:
            engine = find_engine(config.container_engine, self._environment)
            self._container = Container(engine, config.container)
        self._control = TmuxControl(
            target, environment=self._environment, cwd=self._cwd, container=self._container
        )

        def only_attaches(argv: Sequence[str]) -> bool:
            # An exclusive client does, too: the session is there when somebody joins.
            return config.exclusive or "new-session" not in argv

        return TmuxTerminals(
            self._control,
            partial(Pty.spawn, elsewhere=only_attaches),
            environment=self._environment,
            cwd=self._cwd,
            exclusive=config.exclusive,
            clipboard=config.clipboard,
            container=self._container,
            run_id=secrets.token_hex(4),
        )


def _absolute(directory: Path) -> str:
    """Return a folder's full path.

    Raises:
        TerminalError: It is below the current folder, which is gone.
    """
    try:
        return str(directory.absolute())
    except FileNotFoundError as error:
        raise TerminalError(
            "The current folder has been removed.",
            hint="Change to another one, or give one with --cwd.",
        ) from error
