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
from ttybridge.core.access import Credentials, Principal
from ttybridge.core.meter import Meter
from ttybridge.core.origin import SecurityPolicy
from ttybridge.core.permissions import Entrance
from ttybridge.core.throttle import Throttle
from ttybridge.errors import AccessDenied
from ttybridge.model import Role
from ttybridge.sessions.door import Note
from ttybridge.sessions.hub import Hub
from ttybridge.web.api import Api
from ttybridge.web.app import Entrances, make_app
from ttybridge.web.assets import INDEX, Page
from ttybridge.web.colab import ColabEntrance
from ttybridge.web.colab_ssh import ColabSshEntrance, Sshd
from ttybridge.web.engine import Engine
from ttybridge.web.events import Events
from ttybridge.web.measures import Measures
from ttybridge.web.metrics import MetricsEntrance
from ttybridge.web.proxy import Proxy
from ttybridge.web.recordings import Recorded, RecordingsEntrance
from ttybridge.web.security import Gate
from ttybridge.web.serving import Serving
from ttybridge.web.visitor import visitor

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
    recordings: Recorded,
    note: Note,
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
        recordings: What is recorded.
        note: Takes events for the audit log.
        sshd: Where SSH over the web address leads; None without --ssh.
    """

    async def on_logout(session_id: str) -> None:
        await serving.signed_out(session_id)

    def address_of(request: web.Request) -> str:
        return gate.seen_of(request).address

    def let_in(request: web.BaseRequest) -> Principal:
        """Return who sent a request, if nobody has to let them in first."""
        principal = gate.principal_of(request)
        person = visitor(principal, Entrance.API, "")
        if principal.role is not Role.OWNER and not hub.people.door.lets_in(person):
            raise AccessDenied("An owner has to let you in first.", status=403)
        return principal

    policy = SecurityPolicy(
        port=port,
        bound_host=config.host,
        allow_hosts=config.allow_host,
        trusted_proxies=config.trusted_proxy,
        frame_origins=config.allow_frame,
        base_path=config.base_path,
        proxied_ports=config.proxy,
        public_files=frozenset(f"/{name}" for name in page.public),
        max_body_bytes=config.max_message_bytes,
    )
    bounds, meter, throttle = config.bounds, Meter(config.log_lines), Throttle()
    credentials = Credentials(token, new_id=lambda: secrets.token_urlsafe(18))
    gate = Gate(
        policy,
        credentials,
        throttle,
        page.login,
        on_logout=on_logout,
        page=page.files[INDEX].forms["identity"],
        scripts=page.scripts_inside,
        bounds=bounds,
        meter=meter,
    )
    gate.note = note
    engine = Engine(
        join_timeout_s=config.join_timeout_s,
        principal_of=gate.principal_of,
        address_of=address_of,
        bounds=bounds,
        meter=meter,
    )
    events = Events(
        hub, engine, title=title_of(config), version=__version__, recording=recordings.state
    )
    colab = ColabEntrance(hub, gate.principal_of, address_of, bounds, meter)
    ssh = ColabSshEntrance(
        sshd, config.max_ssh, gate.principal_of, address_of, meter, bounds.message_bytes
    )
    api = Api(let_in, hub.people.name_of, meter, bounds.body_timeout_s)
    metrics = MetricsEntrance(config.metrics, let_in)
    proxy = Proxy(
        config.proxy,
        port,
        let_in,
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

    shelf = RecordingsEntrance(recordings, page, let_in)
    serving = Serving(hub, gate, credentials, events, api, (ssh, proxy, shelf), goodbye)
    hub.people.holders.append(serving)
    hub.people.is_link_open = serving.is_link_open
    entrances = Entrances(events, colab, ssh, proxy, api, shelf, metrics)
    app = make_app(gate, page, entrances, base_path=config.base_path)
    runner = gate.runner(app)
    serving.measures = Measures(engine, colab, ssh, runner.doorway, throttle, meter)
    serving.metrics = metrics
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


def title_of(config: Config) -> str:
    """Return what pages and recordings call the session."""
    what = shlex.join(config.command) if config.command else config.session
    return f"{what} on {socket.gethostname()}"
