"""How answers look: the headers that all of them carry, plain texts, and malformed requests."""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from ttybridge.core.authority import parse_origin
from ttybridge.core.origin import SecurityPolicy

logger = logging.getLogger(__name__)

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


class GuardedRunner(web.AppRunner):
    """Runs an application; answers to malformed requests look like all others.

    aiohttp answers what its parser refuses by itself: without the headers of the application,
    with its own version in `Server`, and with a traceback in the log for each.

    Args:
        app: The application.
        headers: Headers of every answer.
        settings: Passed on to `web.AppRunner`.
    """

    __slots__ = ("_extra_headers",)

    def __init__(
        self, app: web.Application, *, headers: Mapping[str, str], **settings: Any
    ) -> None:
        super().__init__(app, access_log=None, **settings)
        self._extra_headers = {**headers, "Cache-Control": "no-store"}

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return _GuardedServer(server, self._extra_headers)


class _GuardedServer(web.Server):
    # aiohttp 3.14 has no public way to choose the protocol class of an application's server.
    def __init__(self, like: web.Server, headers: Mapping[str, str]) -> None:
        super().__init__(
            like.request_handler,
            request_factory=like.request_factory,
            handler_cancellation=like.handler_cancellation,
            loop=asyncio.get_running_loop(),
            **like._kwargs,
        )
        self.headers = headers

    def __call__(self) -> web.RequestHandler:
        return _GuardedProtocol(self, loop=self._loop, answer_headers=self.headers, **self._kwargs)


class _GuardedProtocol(web.RequestHandler):
    __slots__ = ("_answer_headers",)

    def __init__(
        self, manager: web.Server, *, answer_headers: Mapping[str, str], **settings: Any
    ) -> None:
        super().__init__(manager, **settings)
        self._answer_headers = answer_headers

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
            logger.info("malformed request from %s: %d", request.remote, status)
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer had begun")
        text = "Something went wrong here." if status >= 500 else "The request is malformed."
        response = plain(status, text)
        response.headers.update(self._answer_headers)
        response.force_close()
        return response
