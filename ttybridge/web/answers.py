"""How answers look: the headers that all of them carry, plain texts, and malformed requests."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web

from ttybridge.core.authority import parse_origin
from ttybridge.core.limits import Bounds
from ttybridge.core.meter import Meter
from ttybridge.core.origin import SecurityPolicy
from ttybridge.web.doorway import Doorway

logger = logging.getLogger(__name__)

LINGER_S = 2.0
"""Time for the rest of a body that nobody wants, in seconds: a client that still sends it would
lose the answer, which says why."""

_UNSAFE = re.compile(r"[^!-~]")


def security_headers(policy: SecurityPolicy, scripts: Sequence[str] = ()) -> dict[str, str]:
    """Return the headers that every answer carries, errors included.

    Args:
        policy: The options about frames.
        scripts: Sources that scripts may have beside this server, as hashes of those in the page.
    """
    ancestors = "'none'"
    if parsed := [parse_origin(text) for text in policy.frame_origins]:
        frames = [f"{origin[0]}://{origin[1]}" for origin in parsed if origin]
        ancestors = " ".join(["'self'", *frames])
    sources = " ".join(("'self'", *scripts))
    headers = {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src {sources}; style-src 'self' 'unsafe-inline'; img-src "
            "'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; "
            f"form-action 'self'; frame-ancestors {ancestors}"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        # The page's paste button reads the clipboard after a click; escape sequences never do.
        "Permissions-Policy": (
            "camera=(), geolocation=(), microphone=(), payment=(), usb=(), "
            "clipboard-read=(self), clipboard-write=(self)"
        ),
        "Server": "ttybridge",
    }
    if not policy.frame_origins:
        headers["X-Frame-Options"] = "DENY"
    return headers


def framed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what differs for the page in a frame that a link was made for.

    Only who has the link can put the page into a frame: nobody is led to click in it unawares.
    """
    policy, _, _ = headers["Content-Security-Policy"].rpartition("; frame-ancestors ")
    return {"Content-Security-Policy": policy}


def shown(text: str) -> str:
    """Make text of a client fit for a log line: bounded, no control characters."""
    return _UNSAFE.sub("?", text[:80])


def plain(status: int, text: str) -> web.Response:
    """Return a short answer in plain text."""
    return web.Response(status=status, text=text + "\n")


def as_pending(request: web.Request) -> contextlib.AbstractContextManager[None]:
    """Have the connection of a request count as one without a request under way meanwhile.

    Such ones are cut when there are too many: the body of the login form comes from anybody.
    """
    protocol = request.protocol
    if isinstance(protocol, GuardedProtocol):
        return protocol.as_pending()
    return contextlib.nullcontext()


class GuardedRunner(web.AppRunner):
    """Runs an application; answers to malformed requests look like all others.

    aiohttp answers what its parser refuses by itself: without the headers of the application,
    with its own version in `Server`, and with a traceback in the log for each.

    Args:
        app: The application.
        headers: Headers of every answer.
        bounds: What one client may take.
        meter: Counts.
        settings: Passed on to `web.AppRunner`.

    Attributes:
        doorway: The connections that have no request under way.
    """

    __slots__ = ("_extra_headers", "_meter", "doorway")

    def __init__(
        self,
        app: web.Application,
        *,
        headers: Mapping[str, str],
        bounds: Bounds,
        meter: Meter,
        **settings: Any,
    ) -> None:
        super().__init__(app, access_log=None, lingering_time=LINGER_S, **settings)
        self._extra_headers = {**headers, "Cache-Control": "no-store"}
        self._meter = meter
        self.doorway = Doorway(bounds, meter, self._extra_headers)

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return _GuardedServer(server, self._extra_headers, self.doorway, self._meter)


class _GuardedServer(web.Server):
    # aiohttp 3.14 has no public way to choose the protocol class of an application's server.
    def __init__(
        self, like: web.Server, headers: Mapping[str, str], doorway: Doorway, meter: Meter
    ) -> None:
        super().__init__(
            like.request_handler,
            request_factory=like.request_factory,
            handler_cancellation=like.handler_cancellation,
            loop=asyncio.get_running_loop(),
            **like._kwargs,
        )
        self.headers, self.doorway, self.meter = headers, doorway, meter

    def __call__(self) -> web.RequestHandler:
        return GuardedProtocol(self, self.headers, self.doorway, self.meter)


class GuardedProtocol(web.RequestHandler):
    """One TCP connection."""

    __slots__ = ("_answer_headers", "_doorway", "_meter", "tcp")

    def __init__(
        self,
        manager: "_GuardedServer",
        answer_headers: Mapping[str, str],
        doorway: Doorway,
        meter: Meter,
    ) -> None:
        super().__init__(manager, loop=manager._loop, **manager._kwargs)
        self._answer_headers, self._doorway, self._meter = answer_headers, doorway, meter
        self.tcp: asyncio.Transport | None = None  # aiohttp forgets its own before the end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take in the connection."""
        super().connection_made(transport)
        if isinstance(transport, asyncio.Transport):
            self.tcp = transport
            self._doorway.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget it."""
        self._doorway.lost(self)
        self.tcp = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        super().data_received(data)
        is_between = self._current_request is None and not self._messages
        if is_between and self._doorway.is_pending(self):
            self._doorway.head_begins(self)

    async def _handle_request(
        self, request: web.BaseRequest, start_time: float | None, request_handler: Any
    ) -> tuple[web.StreamResponse, bool]:
        self._doorway.begins(self)
        try:
            return await super()._handle_request(request, start_time, request_handler)
        finally:
            self._doorway.ends(self)

    @contextlib.contextmanager
    def as_pending(self) -> Iterator[None]:
        """Count as without a request under way: so much of it has not come that nobody is known."""
        self._doorway.ends(self)
        try:
            yield
        finally:
            self._doorway.begins(self)

    def cut(self, answer: bytes) -> None:
        """End the connection, after an answer that may be empty."""
        if self.tcp is None or self.tcp.is_closing():
            return
        if self.tcp.get_write_buffer_size():
            self.tcp.abort()  # who does not read the last answer does not read this one
            return
        self.tcp.write(answer)
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer in one sentence that repeats nothing of the request, and close."""
        if status >= 500:
            logger.error("request failed", exc_info=exc)
        else:
            self._meter.refuse("request")
            if self._meter.may_log(self.tcp):
                logger.info("malformed request from %s: %d", request.remote, status)
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer had begun")
        text = "Something went wrong here." if status >= 500 else "The request is malformed."
        response = plain(status, text)
        response.headers.update(self._answer_headers)
        response.force_close()
        return response
