"""Builds the web server around the session, serves, and says goodbye."""

import asyncio
import contextlib
import secrets
import shlex
import socket
from collections.abc import AsyncIterator

from aiohttp import web

from ttybridge import __version__
from ttybridge.config import Config
from ttybridge.core.access import Credentials
from ttybridge.core.origin import SecurityPolicy
from ttybridge.core.throttle import Throttle
from ttybridge.sessions.hub import Hub
from ttybridge.web.app import make_app
from ttybridge.web.assets import Page
from ttybridge.web.colab import ColabEntrance
from ttybridge.web.colab_ssh import ColabSshEntrance, Sshd
from ttybridge.web.engine import Engine
from ttybridge.web.events import Events
from ttybridge.web.security import Gate

GOODBYE_S = 1.0
"""Time for the clients' connections to close when the bridge stops, in seconds."""


@contextlib.asynccontextmanager
async def serve(
    config: Config,
    hub: Hub,
    page: Page,
    token: str | None,
    port: int,
    sockets: list[socket.socket],
    sshd: Sshd | None = None,
) -> AsyncIterator[None]:
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

    policy = SecurityPolicy(
        port=port,
        bound_host=config.host,
        allow_hosts=config.allow_host,
        trusted_proxies=config.trusted_proxy,
        frame_origins=config.allow_frame,
        base_path=config.base_path,
        public_files=frozenset(f"/{name}" for name in page.public),
    )
    credentials = Credentials(token, new_id=lambda: secrets.token_urlsafe(18))
    gate = Gate(policy, credentials, Throttle(), page.login, on_logout=on_logout)
    engine = Engine(join_timeout_s=config.join_timeout_s, principal_of=gate.principal_of)
    events = Events(hub, engine, title=_title(config), version=__version__)
    colab = ColabEntrance(hub, gate.principal_of)
    ssh = ColabSshEntrance(sshd, config.max_ssh, gate.principal_of)
    app = make_app(gate, page, events, colab, ssh, base_path=config.base_path)
    runner = gate.runner(app)
    await runner.setup()
    try:
        for listener in sockets:
            await web.SockSite(runner, listener).start()
        yield
    finally:
        # The sites stop after it: a polling client asks for the goodbye on a new TCP connection.
        await events.close()
        await colab.close()
        await ssh.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await engine.wait_closed()
        for site in list(runner.sites):
            await site.stop()
        await engine.close()
        await runner.cleanup()


def _title(config: Config) -> str:
    what = shlex.join(config.command) if config.command else config.session
    return f"{what} on {socket.gethostname()}"
