"""Asks a bridge over HTTP, and says in sentences why it did not answer as one."""

import asyncio
import contextlib
import errno
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttybridge import __version__
from ttybridge.client.address import Address
from ttybridge.core.public_key import PublicKey, parse_public_key
from ttybridge.errors import TtyBridgeError
from ttybridge.logs import one_line
from ttybridge.model import Secret
from ttybridge.tokens import token_problem

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_S = 30.0
"""Seconds for connecting and the answer: a tunnel over a bad line takes some."""

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read; ours have some hundred."""

_USER = re.compile(r"(?!-)(?=.{1,64}$)[\w.@+-]+\$?")
"""Names of accounts that ssh's configuration holds without quotes: letters of all languages, and
nothing that stands for something else there. Samba's accounts of machines end in a `$`."""
_NGROK_ERROR = re.compile(rb"ERR_NGROK_\d+")


class Unauthorized(TtyBridgeError):
    """The bridge does not accept the credential."""


@dataclass(frozen=True, slots=True)
class SshFacts:
    """What a bridge says about its SSH server, checked."""

    user: str
    """Who logs in there."""
    host_key: PublicKey
    """The key that it proves itself with."""


async def ask(address: Address, token: Secret) -> SshFacts:
    """Return what the bridge says about its SSH server.

    Raises:
        TtyBridgeError: It cannot be reached, refuses, or answers something else.
    """
    async with asking(address, token) as (session, proxy):
        url = f"{address.base}/ssh"
        async with session.get(url, proxy=proxy, allow_redirects=False) as answer:
            return parse_facts(await _body(answer), address)


@dataclass(frozen=True, slots=True)
class Opened:
    """What a bridge gave for a link."""

    token: Secret
    """The token."""
    is_guests: bool
    """Whether it is a guest's, which ends with the link; an owner's lasts as the bridge's own."""


async def open_link(address: Address, link: Secret) -> Secret | None:
    """Exchange a link for a token; None when the link is used up, too old or wrong.

    Raises:
        TtyBridgeError: The bridge cannot be reached, or answers something else.
    """
    opened = await exchange(address, link)
    return None if opened is None else opened.token


async def exchange(address: Address, link: Secret) -> Opened | None:
    """Do the same as `open_link`, and return whose access it is, too."""
    async with asking(address, None) as (session, proxy):
        url, headers = f"{address.base}/login", {"Accept": "application/json"}
        form = {"link": str(link)}
        try:
            async with session.post(
                url, data=form, headers=headers, proxy=proxy, allow_redirects=False
            ) as answer:
                data = await _body(answer)
        except Unauthorized:
            return None
    try:
        found = json.loads(data)
        token, is_owners = found["token"], found.get("role") == "owner"
        if token_problem(token):
            raise ValueError(token_problem(token))
        return Opened(Secret(token), not is_owners or found.get("endsAt") is not None)
    except (AttributeError, ValueError, KeyError, TypeError, RecursionError):
        message = f"{address.base} answers, and not as a bridge does."
        raise TtyBridgeError(message, hint="Compare it with the link that it printed.") from None


def parse_facts(data: bytes, address: Address) -> SshFacts:
    """Check what came as JSON; nothing of it gets into a file before.

    Raises:
        TtyBridgeError: It is something else.
    """
    if looks_like_page(data):
        raise _page(200, data)
    try:
        facts = json.loads(data)
        user, key = facts["user"], facts["hostKey"]
        if not (isinstance(user, str) and isinstance(key, str) and user and user.isprintable()):
            reason = "user or host key is not what it should be"
            raise ValueError(reason)
        host_key = parse_public_key(key)
    except (ValueError, KeyError, TypeError, RecursionError):
        message = f"{address.base} answers, and not as a bridge does."
        raise TtyBridgeError(message, hint="Compare it with the link that it printed.") from None
    if not _USER.fullmatch(user):
        message = f"The bridge runs as the account '{user[:80]}', and ssh's configuration cannot"
        hint = "Start it as one with a plainer name: up to 64 letters, digits and . _ @ + -"
        raise TtyBridgeError(f"{message} hold that name.", hint=hint)
    return SshFacts(user, host_key)


@contextlib.asynccontextmanager
async def asking(
    address: Address, token: Secret | None
) -> AsyncIterator[tuple["aiohttp.ClientSession", str | None]]:
    """Give a session with our headers, and the proxy to use; turn failures into sentences.

    Raises:
        TtyBridgeError: The bridge cannot be reached, or does not speak HTTP.
    """
    import aiohttp

    headers = {
        # Without it, free ngrok addresses answer with a page that warns of phishing.
        "ngrok-skip-browser-warning": "1",
        "User-Agent": f"ttybridge/{__version__}",
    }
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(
            headers=headers,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_only_answers,),
        ) as session:
            yield session, _proxy(address)
    except TtyBridgeError:
        raise
    except TimeoutError:
        message = f"{address.host} does not answer within {TIMEOUT_S:.0f} s."
        raise TtyBridgeError(message, hint="Is the bridge running, and the network up?") from None
    except aiohttp.ClientConnectorCertificateError as error:
        message = f"The certificate of {address.host} is not trusted: {error.certificate_error}."
        hint = "Somebody may be listening in, or a proxy's authority is not installed here."
        raise TtyBridgeError(message, hint=hint) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        message = f"{address.base} cannot be reached: {unreached(error)}."
        raise TtyBridgeError(message, hint="Is the bridge running, and the link right?") from None


def unreached(error: Exception) -> str:
    """Return why there was no answer, in words for people.

    >>> unreached(ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"))
    'nothing answers at this address and port'
    >>> unreached(OSError("Multiple exceptions: [Errno 111] …"))
    'no connection can be opened'
    """
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no machine of this name is known, or the network is down"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "what answers does not speak https"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "the proxy that the environment names does not answer"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError | BrokenPipeError):
        return "the connection is closed without an answer"
    if isinstance(error, OSError):
        return _WHY.get(error.errno or 0, "no connection can be opened")
    return "what answers does not speak as a bridge does"


_WHY = {
    errno.ECONNREFUSED: "nothing answers at this address and port",
    errno.ECONNRESET: "the connection is closed without an answer",
    errno.ENETUNREACH: "there is no network that leads there",
    errno.EHOSTUNREACH: "that machine is off, or not on this network",
    errno.ETIMEDOUT: "nothing answers in time",
}


async def _only_answers(
    request: "aiohttp.ClientRequest", handler: "aiohttp.ClientHandlerType"
) -> "aiohttp.ClientResponse":
    """Pass on the answers that were asked for.

    Before aiohttp sees them: it follows redirects of a WebSocket, whatever they lead to, and shows
    no body when one is refused.

    Raises:
        TtyBridgeError: It is another answer.
    """
    answer = await handler(request)
    try:
        await _refuse(answer)
    except BaseException:
        answer.close()
        raise
    return answer


async def _refuse(answer: "aiohttp.ClientResponse") -> None:
    """Raise the sentence for an answer that is not the one asked for; 101 and 200 pass.

    Raises:
        TtyBridgeError: Always, but for those two.
    """
    place = answer.headers.get("Location", "")
    if 300 <= answer.status < 400 and place:
        message = f"The address leads on to {one_line(place.partition('?')[0])[:200]}"
        hint = "If that is where the bridge is, use that address; it may be a login before it."
        raise TtyBridgeError(f"{message} ({answer.status}).", hint=hint)
    if answer.status not in (101, 200):
        body = b""
        with contextlib.suppress(Exception):  # an answer without an end has a status all the same
            async with asyncio.timeout(5):
                body = await _body(answer)
        error = refusal(answer.status, body)
        raise Unauthorized(error.message, hint=error.hint) if answer.status == 401 else error


async def _body(answer: "aiohttp.ClientResponse") -> bytes:
    """Return the body, or its beginning when it is longer than it may be."""
    body = b""
    while len(body) < MAX_ANSWER and (chunk := await answer.content.read(MAX_ANSWER - len(body))):
        body += chunk
    return body


def refusal(status: int, body: bytes) -> TtyBridgeError:
    """Return what an HTTP status means here, and what to do next.

    >>> str(refusal(401, b""))[:43]
    'The bridge does not accept the token (401).'
    """
    if looks_like_page(body) or 300 <= status < 400:
        return _page(status, body)
    text = one_line(body.decode("utf-8", "replace").strip())[:300]
    if status == 401:
        from ttybridge.core.links import Over

        if text.startswith(tuple(over.value for over in Over)):
            return TtyBridgeError(text)  # it says why, and what to do
        text = ""  # to open the link that was printed; the hint says more
    said = f" ({status}: {text})" if text else f" ({status})"
    message, hint = _MEANING.get(status, ("The bridge does not answer as it should", _TRY_AGAIN))
    if status == 400 and ("pubkey" in text or "key type" in text):
        message, hint = "The bridge does not take this key", _OTHER_KEY
    return TtyBridgeError(f"{message}{said}.", hint=hint)


_TRY_AGAIN = "Look at what the bridge printed, and try again."
_OTHER_KEY = "Leave --identity out, or give an Ed25519 key: ssh-keygen -t ed25519."
_MEANING = {
    400: ("The bridge does not understand the request", "Use the same version on both sides."),
    401: (
        "The bridge does not accept the token",
        "Get a new link: a bridge makes new ones at each start, and guests' links end.",
    ),
    403: (
        "The bridge does not answer under this address",
        "Use the address in the link that it printed, or start it with --allow-host HOST.",
    ),
    404: (
        "This address gives no SSH",
        "The bridge has to be started with --ssh, and the link to be complete.",
    ),
    429: ("The bridge has too many connections or logins", "Close one, or try again in a minute."),
    502: (
        "The bridge runs, and its SSH server does not answer",
        "Look at what the bridge printed; starting it again may help.",
    ),
}


def looks_like_page(body: bytes) -> bool:
    """Tell whether a body is HTML or ngrok's: a bridge answers these requests with neither."""
    start = body.lstrip()[:15].lower()
    return start.startswith((b"<!doctype", b"<html", b"<!--")) or bool(_NGROK_ERROR.search(body))


def _page(status: int, body: bytes) -> TtyBridgeError:
    found = _NGROK_ERROR.search(body)
    message = f"A web page answers in place of the bridge ({status}"
    if found:
        message += f", {found[0].decode()}"
    return TtyBridgeError(
        message + "): the tunnel is closed, or a login stands before it.",
        hint="Is the bridge running, and the link the one that it printed last?",
    )


def _proxy(address: Address) -> str | None:
    """Return the proxy that the environment names for this address.

    aiohttp would look itself, and would then add a login from ~/.netrc to our header, and fail.
    """
    import urllib.request

    if address.is_local or urllib.request.proxy_bypass(address.host):
        return None
    return urllib.request.getproxies().get(address.base.partition(":")[0])
