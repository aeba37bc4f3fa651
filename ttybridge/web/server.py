"""Builds the web server around the session, serves, and says goodbye."""

import asyncio
import contextlib
import secrets
import shlex
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from ttybridge import __version__
from ttybridge.config import Config
from ttybridge.core.access import Credentials
from ttybridge.core.authority import Authority, parse_origin
from ttybridge.core.links import Link
from ttybridge.core.origin import SecurityPolicy
from ttybridge.core.throttle import Throttle
from ttybridge.errors import ConfigError
from ttybridge.model import Role
from ttybridge.sessions.hub import Hub
from ttybridge.web.app import make_app
from ttybridge.web.assets import INDEX, Page
from ttybridge.web.colab import ColabEntrance
from ttybridge.web.colab_ssh import ColabSshEntrance, Sshd
from ttybridge.web.engine import Engine
from ttybridge.web.events import Events
from ttybridge.web.proxy import Proxy
from ttybridge.web.security import Gate

GOODBYE_S = 1.0
"""Time for the clients' connections to close when the bridge stops, in seconds."""


class Serving:
    """The web server while it runs."""

    def __init__(
        self,
        gate: Gate,
        credentials: Credentials,
        events: Events,
        goodbye: Callable[[], Awaitable[None]],
    ) -> None:
        """Remember the parts; use `serve`."""
        self._gate, self._events, self._goodbye = gate, events, goodbye
        self._credentials = credentials
        self._is_ending = False

    async def say_goodbye(self) -> None:
        """Tell everybody that the bridge stops, once, and wait a little for them to hear it.

        Before a tunnel is closed: who comes through it would hear nothing afterwards.
        """
        if not self._is_ending:
            self._is_ending = True
            await self._goodbye()

    def link(self, address: str, *, life_s: float, uses: int = 1, is_framed: bool = False) -> str:
        """Return a new link that lets an owner in.

        Args:
            address: The page's address, with a slash at its end.
            life_s: Seconds in which it can be opened.
            uses: How often it can be opened.
            is_framed: Whether it is for a frame of another site.
        """
        if self._credentials.is_open:
            return address
        link = Link(Role.OWNER, time.time() + life_s, uses, is_framed)
        return f"{address}?link={self._credentials.links.issue(link)}"

    def add_public(self, url: str, *, adds_client_address: bool = False) -> None:
        """Serve a public address, `https://name` or `http://name:port`, from now on.

        Args:
            url: The address.
            adds_client_address: Whether the last value of X-Forwarded-For is the tunnel's own.

        Raises:
            ConfigError: It is no such address.
        """
        scheme, authority = _split(url)
        self._gate.add_host(str(authority), scheme=scheme, adds_client_address=adds_client_address)

    def remove_public(self, url: str) -> None:
        """Serve a public address no more."""
        self._gate.remove_host(str(_split(url)[1]))

    def tell_pages(self, text: str, *, is_warning: bool = False) -> None:
        """Show a sentence in every page that is open."""
        self._events.tell(text, is_warning=is_warning)


def _split(url: str) -> tuple[str, Authority]:
    parsed = parse_origin(url.rstrip("/"))
    if parsed is None:
        raise ConfigError([f"{url[:100]!r} is not an address such as https://name."])
    return parsed


@contextlib.asynccontextmanager
async def serve(
    config: Config,
    hub: Hub,
    page: Page,
    token: str | None,
    port: int,
    sockets: list[socket.socket],
    sshd: Sshd | None = None,
) -> AsyncIterator[Serving]:
    """Serve the web application on bound sockets; on leaving, say goodbye to everybody.

    Args:
        config: The options.
        hub: The session.
        page: The built page.
        token: What opens everything; None with --no-auth.
        port: The port of the sockets.
        sockets: Bound, not listening yet; closed by the caller.
        sshd: Where SSH over the web address leads; None without --ssh.
    """

    async def on_logout(session_id: str) -> None:
        engine.end_all_of(session_id)
        await colab.end_all_of(session_id)
        await ssh.end_all_of(session_id)
        await proxy.end_all_of(session_id)

    policy = SecurityPolicy(
        port=port,
        bound_host=config.host,
        allow_hosts=config.allow_host,
        trusted_proxies=config.trusted_proxy,
        frame_origins=config.allow_frame,
        base_path=config.base_path,
        proxied_ports=config.proxy,
        public_files=frozenset(f"/{name}" for name in page.public),
    )
    credentials = Credentials(token, new_id=lambda: secrets.token_urlsafe(18))
    gate = Gate(
        policy,
        credentials,
        Throttle(),
        page.login,
        on_logout=on_logout,
        page=page.files[INDEX].forms["identity"],
    )
    engine = Engine(join_timeout_s=config.join_timeout_s, principal_of=gate.principal_of)
    events = Events(hub, engine, title=_title(config), version=__version__)
    colab = ColabEntrance(hub, gate.principal_of)
    ssh = ColabSshEntrance(sshd, config.max_ssh, gate.principal_of)
    proxy = Proxy(
        config.proxy,
        port,
        gate.principal_of,
        gate.seen_of,
        gate.is_credential,
        base_path=policy.base_path,
        frame_origins=config.allow_frame,
    )

    async def goodbye() -> None:
        await events.close()
        await colab.close()
        await ssh.close()
        await proxy.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await engine.wait_closed()

    serving = Serving(gate, credentials, events, goodbye)
    app = make_app(gate, page, events, colab, ssh, proxy, base_path=config.base_path)
    runner = gate.runner(app)
    await runner.setup()
    try:
        for listener in sockets:
            await web.SockSite(runner, listener).start()
        yield serving
    finally:
        # The sites stop after it: a polling client asks for the goodbye on a new TCP connection.
        await serving.say_goodbye()
        for site in list(runner.sites):
            await site.stop()
        await engine.close()
        await runner.cleanup()


def _title(config: Config) -> str:
    what = shlex.join(config.command) if config.command else config.session
    return f"{what} on {socket.gethostname()}"
