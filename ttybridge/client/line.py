"""The way to a bridge's address, as the doctor tests it: no answer is taken for granted."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping

import aiohttp

from ttybridge import __version__
from ttybridge.client.address import Address
from ttybridge.core.certificates import Certificate
from ttybridge.core.public_page import Verdict, Who, judge
from ttybridge.errors import TtyBridgeError
from ttybridge.model import Secret

MAX_BODY = 64 * 1024
"""Bytes of an answer that are looked at."""

CLOSING = aiohttp.ClientWSTimeout(ws_close=2.0)
"""Time for the answer when a WebSocket is closed, in seconds."""

PROGRAM = {"User-Agent": f"ttybridge/{__version__}", "ngrok-skip-browser-warning": "1"}
"""Headers of a program of ours."""

BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "none",
}
"""Headers of a browser in which somebody types the address."""


class Line:
    """The way to an address.

    Attributes:
        address: The address.
        certificates: Those of the connections so far; all of them were accepted.
        token: What lets in; None as long as there is none.
    """

    def __init__(
        self,
        address: Address,
        proxy: str | None,
        session: aiohttp.ClientSession,
        certificates: list[Certificate],
    ) -> None:
        """Remember it; use `open_line`."""
        self.address, self.certificates = address, certificates
        self.token: Secret | None = None
        self._proxy, self._session = proxy, session

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a program that has come in."""
        return PROGRAM | ({"Authorization": f"Bearer {self.token}"} if self.token else {})

    def beside(self, address: Address) -> "Line":
        """Return the way to another address of the same bridge, on this machine."""
        line = Line(address, None, self._session, self.certificates)
        line.token = self.token
        return line

    @contextlib.asynccontextmanager
    async def ask(
        self, path: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a GET, or a POST of `body`; redirects are not followed."""
        async with self._session.request(
            "GET" if body is None else "POST",
            f"{self.address.base}{path}",
            headers=self.headers if headers is None else headers,
            data=body,
            proxy=self._proxy,
            allow_redirects=False,
            middlewares=(),
        ) as answer:
            yield answer

    async def page(self) -> Verdict:
        """Tell who answers a browser that asks for the page."""
        async with self.ask("/", headers=BROWSER) as answer:
            return await _verdict(answer)

    async def health(self) -> Verdict:
        """Tell who answers a program, which shows no credential."""
        async with self.ask("/healthz", headers=PROGRAM) as answer:
            if answer.status == 200 and await answer.content.read(3) == b"ok":
                return Verdict(Who.BRIDGE, "it answers")
            return await _verdict(answer)

    @contextlib.asynccontextmanager
    async def websocket(
        self, path: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket; pongs are shown, and pings not answered.

        Raises:
            TtyBridgeError: The address leads elsewhere.
        """
        async with self._session.ws_connect(
            f"{self.address.base}{path}",
            headers=self.headers | dict(headers or {}),
            proxy=self._proxy,
            autoping=False,
            timeout=CLOSING,
        ) as opened:
            yield opened


@contextlib.asynccontextmanager
async def open_line(address: Address, proxy: str | None) -> AsyncIterator[Line]:
    """Give the way to an address; on leaving, all its connections are closed.

    Args:
        address: The address.
        proxy: The proxy that the environment names for it.
    """
    certificates: list[Certificate] = []
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_noting_context(certificates)),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        middlewares=(_stay_here,),
    ) as session:
        yield Line(address, proxy, session, certificates)


def _noting_context(certificates: list[Certificate]) -> ssl.SSLContext:
    """Return a context that checks certificates, and notes those that are accepted.

    An answer of aiohttp's does not show them: it lets go of its connection once it is complete.
    """

    class Noting(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            certificates.append(self.getpeercert() or {})

    context = ssl.create_default_context()
    context.sslobject_class = Noting
    return context


async def _stay_here(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Refuse a WebSocket's redirect: aiohttp would follow it, whatever it leads to."""
    answer = await handler(request)
    if 300 <= answer.status < 400:
        verdict = judge(answer.status, _lower(answer.headers), b"")
        answer.close()
        raise TtyBridgeError(verdict.text, hint=verdict.hint)
    return answer


async def _verdict(answer: aiohttp.ClientResponse) -> Verdict:
    body = b""
    while len(body) < MAX_BODY and (chunk := await answer.content.read(MAX_BODY - len(body))):
        body += chunk
    return judge(answer.status, _lower(answer.headers), body)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
