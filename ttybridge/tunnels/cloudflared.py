"""The tunnel `cloudflared`: a quick tunnel of Cloudflare, by the user's own cloudflared."""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from ttybridge.core import cloudflared as core
from ttybridge.errors import MissingProgramError, TunnelError
from ttybridge.tunnels.agent import Agent, find_program
from ttybridge.tunnels.base import Context, Endpoint, Kind, Local

START_S = 30.0
"""Time to get an address and to be connected, in seconds; cloudflared itself gives its question
for an address 15 s."""

POLL_S = 0.1
"""Pause between two questions to cloudflared, in seconds: nothing tells when it is ready."""

ASK_S = 5.0
"""Time for the answer to one, in seconds; it comes from this machine."""

UNREADY_S = 60.0
"""Time without a connection to Cloudflare, in seconds, after which the address counts as lost:
until then, cloudflared connects again by itself, and the address stays."""

MAX_STARTS = 3
"""Starts of cloudflared while others take the port of its little web server."""

MAX_SAID = 64
"""Addresses of cloudflared's log that are remembered: its own, and some that it mentions."""


@dataclass(frozen=True, slots=True)
class _State:
    """What cloudflared says of itself."""

    url: str | None
    """Its public address; None while it has none, or does not answer."""
    is_ready: bool
    """Whether it is connected."""


class _Quick:
    """One cloudflared, which makes one local port public."""

    def __init__(self, program: str, context: Context, local: Local) -> None:
        self.url = ""
        self._program, self._context, self._local = program, context, local
        self._agent: Agent | None = None
        self._metrics_port = 0
        self._unready_since: float | None = None
        self._said: deque[str] = deque(maxlen=MAX_SAID)

    async def open(self, session: aiohttp.ClientSession) -> None:
        """Start it and wait until it is connected."""
        for left in reversed(range(MAX_STARTS)):
            self._metrics_port = _free_port()
            argv = core.argv(self._program, self._local.port, self._metrics_port)
            environ = core.environment(self._context.environ)
            self._agent = Agent(argv, environ, self._context.folder, on_line=self._hear)
            await self._agent.start()
            try:
                async with asyncio.timeout(START_S):
                    if await self._is_connected(self._agent, session):
                        return
            except TimeoutError:
                raise self._too_late() from None
            if not left or not core.says_port_is_taken(self._agent.lines):
                raise self._ended("cloudflared has ended before there was a tunnel.")
            await self._agent.stop()

    async def check(self, session: aiohttp.ClientSession) -> None:
        """Look whether the address is still good; take over another one.

        Raises:
            TunnelError: It is lost.
        """
        agent = self._agent
        if agent is None or not agent.is_running:
            if agent is not None:
                await agent.wait()
            raise self._ended("cloudflared has ended.")
        state = await self._ask(session)
        self.url = state.url or self.url
        now = asyncio.get_running_loop().time()
        if state.is_ready:
            self._unready_since = None
        elif self._unready_since is None:
            self._unready_since = now
        elif now - self._unready_since >= UNREADY_S:
            message, hint = core.unconnected(self.url)
            raise TunnelError(message + core.said(agent.lines), hint=hint)

    async def close(self) -> None:
        """End it."""
        agent, self._agent = self._agent, None
        if agent is not None:
            await agent.stop()

    async def _is_connected(self, agent: Agent, session: aiohttp.ClientSession) -> bool:
        """Wait until it is connected; False when it has ended instead."""
        while agent.is_running:
            state = await self._ask(session)
            self.url = state.url or self.url
            if state.url and state.is_ready:
                return True
            await asyncio.sleep(POLL_S)
        await agent.wait()
        return False

    def _hear(self, line: str) -> None:
        self._said.extend(core.addresses_in(line))

    async def _ask(self, session: aiohttp.ClientSession) -> _State:
        base = f"http://127.0.0.1:{self._metrics_port}"
        try:
            async with session.get(f"{base}/quicktunnel") as answer:
                url = core.address(await answer.text()) if answer.status == 200 else None
            async with session.get(f"{base}/ready") as answer:
                is_known = url is not None and (url == self.url or url in self._said)
                return _State(url if is_known else None, answer.status == 200)
        except (aiohttp.ClientError, OSError, TimeoutError, UnicodeError):
            return _State(None, False)

    def _too_late(self) -> TunnelError:
        lines = self._agent.lines if self._agent is not None else ()
        if self.url:
            message, hint = core.unconnected(self.url)
            return TunnelError(message + core.said(lines), hint=hint)
        return self._ended(f"cloudflared did not get a tunnel within {START_S:.0f} s.")

    def _ended(self, what: str) -> TunnelError:
        lines = tuple(self._agent.lines) if self._agent is not None else ()
        known = core.explain(lines)
        hint = known[1] if known else "Try it alone: cloudflared tunnel --url localhost:8080"
        return TunnelError((known[0] if known else what) + core.said(lines), hint=hint)


class CloudflaredTunnel:
    """Quick tunnels: public https addresses without an account."""

    name = "cloudflared"

    def __init__(self, context: Context) -> None:
        """Start nothing yet."""
        self._context = context
        self._quick: list[_Quick] = []
        self._session: aiohttp.ClientSession | None = None

    async def open(self, locals: Sequence[Local]) -> Sequence[Endpoint]:
        """Start a cloudflared for each local port and wait until it is connected.

        Raises:
            TunnelError: There is no tunnel, or a local port speaks something else than HTTP.
            MissingProgramError: cloudflared is not installed.
        """
        await self.close()
        if any(local.kind is not Kind.HTTP for local in locals):
            message = "cloudflared carries HTTP only, and no SSH connection as it is."
            hint = "SSH goes over the web address, too: ttybridge ssh LINK."
            raise TunnelError(message, hint=hint)
        program = find_program("cloudflared", self._context.environ)
        if program is None:
            raise MissingProgramError(
                "cloudflared was not found in PATH.",
                hint="Get it from https://github.com/cloudflare/cloudflared/releases, or use "
                "--ngrok or --tunnel ssh:USER@HOST.",
            )
        try:
            await self._open(program, locals)
        except OSError as error:
            await self.close()
            message = f"cloudflared could not be started: {error.strerror or error}."
            raise TunnelError(message) from error
        except BaseException:
            await self.close()
            raise
        return self._endpoints()

    async def health(self) -> Sequence[Endpoint]:
        """Return the addresses as cloudflared says them.

        Raises:
            TunnelError: A cloudflared has ended, or has no connection for a minute.
        """
        if self._session is None:
            message = "The tunnel cloudflared is not open."
            raise TunnelError(message)
        for quick in self._quick:
            await quick.check(self._session)
        return self._endpoints()

    async def close(self) -> None:
        """End every cloudflared."""
        quick, self._quick = self._quick, []
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        async with contextlib.AsyncExitStack() as stack:
            for one in quick:
                stack.push_async_callback(one.close)

    async def _open(self, program: str, locals: Sequence[Local]) -> None:
        # Without proxies of the environment: what is asked is on this machine.
        timeout = aiohttp.ClientTimeout(total=ASK_S)
        self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        for local in locals:
            self._quick.append(_Quick(program, self._context, local))
            await self._quick[-1].open(self._session)

    def _endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(Endpoint(quick.url, core.NOTE) for quick in self._quick)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
