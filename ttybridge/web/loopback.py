"""An HTTP client that reaches this machine only, and changes nothing of what it carries."""

import socket
from types import SimpleNamespace
from typing import NoReturn

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

CONNECT_S = 10.0
"""Time for a connection, in seconds; for an answer there is no limit."""

MAX_FIELD = 64 * 1024
"""Longest header line of an answer, in bytes."""


def new_session() -> aiohttp.ClientSession:
    """Return a session for `http://localhost:PORT/…`, for 127.0.0.1 and then [::1].

    It keeps no cookies, unpacks nothing, and uses each connection once: none that the app has just
    given up is tried again.
    """
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=_Loopback(), use_dns_cache=False, force_close=True, limit=0
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        max_line_size=MAX_FIELD,
        max_field_size=MAX_FIELD,
        trace_configs=[trace],
    )


class _Loopback(AbstractResolver):
    """Finds this machine, and no other."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host != "localhost":
            message = f"{host} is not this machine"
            raise OSError(message)
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=kind, proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address, kind in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))
        ]  # fmt: skip

    async def close(self) -> None:
        pass


async def _refuse_redirect(
    _session: aiohttp.ClientSession,
    _context: SimpleNamespace,
    _params: aiohttp.TraceRequestRedirectParams,
) -> NoReturn:
    # aiohttp follows redirects of a WebSocket's handshake, wherever they lead; no browser does.
    message = "the app sends its WebSocket elsewhere"
    raise aiohttp.ClientError(message)
