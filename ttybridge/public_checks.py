"""The doctor's checks of the public address, made from outside in: `ttybridge doctor --public`.

They come in as a program that has a link does, and leave again. They never join the terminal: no
client is counted, and nobody's screen changes.
"""

import asyncio
import contextlib
import ipaddress
import json
import os
import socket
import ssl
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

import aiohttp

from ttybridge.adapters.rundir import bases
from ttybridge.advice import is_loopback
from ttybridge.check import FAIL, OK, WARN, Check
from ttybridge.client.address import parse_address
from ttybridge.client.control import Control, find
from ttybridge.client.http import asking, open_link
from ttybridge.client.line import CLOSING, Line, open_line
from ttybridge.client.status import Status, TunnelStatus
from ttybridge.config import Config
from ttybridge.core.certificates import explain, issuer_of
from ttybridge.core.public_page import Verdict, Who
from ttybridge.errors import TtyBridgeError
from ttybridge.logs import one_line
from ttybridge.ssh import host_key

CHECK_S = 10.0
"""Longest time of one check, in seconds: a tunnel over a bad line answers within two or three."""

LINK_S = 60.0
"""Time in which the link that is made for the checks can be opened, in seconds."""

PINGS = 10
"""Round trips that are measured: their median does not mind the first, which is often slower."""

SLOW_MS = 250.0
"""A round trip above which typing feels slow, in milliseconds."""

FEW_DAYS = 7
"""Days before its end at which a certificate should have been renewed."""

_POLLING, _WEBSOCKET = "/tty/?EIO=4&transport=polling", "/tty/?EIO=4&transport=websocket"
_PONG, _CLOSE = "3", "1"
_AGAIN = "Is the network up, and the tunnel open? Try again in a minute."
_NO_NAME = (
    "A new tunnel's name takes up to a minute to be known. If it stays so, the name server of "
    "this network refuses it, as that of a company may: try another network, such as a phone's."
)
_NO_UPGRADE = (
    "A proxy on the way has to pass the headers Upgrade and Connection. Until then the page falls "
    "back to polling, and ttybridge ssh does not work."
)
_NO_POLLING = "A proxy on the way has to pass all methods, the query and the header Authorization."


def public_checks(
    config: Config, environment: Mapping[bytes, bytes], report: Callable[[Check], None]
) -> None:
    """Check the public address of the bridge that runs.

    Args:
        config: The options; a label chooses among several bridges.
        environment: The environment, which says where to look for them.
        report: Gets each result as soon as it is there.
    """

    def say(check: Check) -> None:
        text, hint = one_line(check.text), one_line(check.hint)
        report(Check(check.name, check.state, text, hint))

    try:
        control, status = _chosen(config.label, environment)
        asyncio.run(_examine(control, status, say))
    except TtyBridgeError as error:
        say(Check("bridge", FAIL, error.message.removesuffix("."), error.hint))


def _chosen(label: str, environment: Mapping[bytes, bytes]) -> tuple[Control, Status]:
    found = [each for each in find(bases(environment)) if not label or each[1].label == label]
    if not found:
        labelled = f" with the label {label!r}" if label else ""
        message = f"no bridge of yours{labelled} runs on this machine"
        raise TtyBridgeError(message, hint="Start one: ttybridge --cloudflared, or another tunnel.")
    if len(found) > 1:
        names = ", ".join(f"{s.label or 'without a label'} (process {s.pid})" for _, s in found)
        hint = "Choose one by the name that it was started with: --label NAME."
        raise TtyBridgeError(f"{len(found)} bridges of yours run: {names}", hint=hint)
    return found[0]


async def _examine(control: Control, status: Status, say: Callable[[Check], None]) -> None:
    address = parse_address(status.public_url or status.address)
    async with asking(address, None) as (_, proxy):
        pass  # nothing is asked yet: it knows the proxies
    async with open_line(address, proxy) as line:
        examination = Examination(control, status, line, proxy is not None, say)
        try:
            await examination.run()
        finally:
            await examination.leave()


class Examination:
    """One round of checks; each has its deadline, and says so when it cannot be made."""

    def __init__(
        self,
        control: Control,
        status: Status,
        line: Line,
        has_proxy: bool,
        say: Callable[[Check], None],
    ) -> None:
        """Prepare it.

        Args:
            control: The bridge.
            status: What it said of itself.
            line: The way to its public address; to the local one when it has no other.
            has_proxy: Whether that way leads through a proxy of this machine's network.
            say: Gets each result.
        """
        self._control, self._status, self._line, self._say = control, status, line, say
        self._has_proxy = has_proxy
        self._address = line.address
        self._blocked = ""
        """Why the checks that are left cannot be made; empty as long as they can."""
        self._is_page_wrong = False

    async def run(self) -> None:
        """Make all checks."""
        for check in _tunnel(self._status.tunnel, self._address.base):
            self._say(check)
        await self._do("dns", self._dns, "the name is not found")
        await self._do("tls", self._tls, "there is no connection that can be trusted")
        self._is_page_wrong = await self._do("page", self._page) == FAIL
        await self._do("bridge", self._enter, "the bridge is not reached")
        polling = await self._made("polling", self._polling)
        websocket = await self._made("websocket", self._websocket)
        # The page needs one of the two; SSH needs the second.
        has_ssh = self._status.ssh is not None
        self._say(_milder(polling) if websocket.state == OK else polling)
        self._say(_milder(websocket) if polling.state == OK and not has_ssh else websocket)
        if websocket.state == FAIL:
            self._blocked = "it needs the WebSocket"
        if has_ssh:
            await self._do("ssh", self._ssh)
        else:
            self._say(Check("ssh", OK, "the bridge runs without --ssh"))
        await self._do("round trip", self._round_trip)

    async def leave(self) -> None:
        """End the session that was opened; the bridge's own address will do, too."""
        if self._line.token is None:
            return
        for line in (self._line, self._line.beside(parse_address(self._status.address))):
            with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(CHECK_S), line.ask("/logout", "") as answer:
                    if answer.status == 303:
                        return
        hint = "It ends with the bridge; nobody else knows its token."
        self._say(Check("logout", WARN, "the session of these checks is left open", hint))

    async def _do(self, name: str, check: Callable[[], Awaitable[Check]], blocks: str = "") -> str:
        """Make a check, say its result and return its state.

        Args:
            name: Its name.
            check: Makes it.
            blocks: Why others cannot be made when it fails; empty when they can.
        """
        made = await self._made(name, check)
        self._say(made)
        if made.state == FAIL and blocks:
            self._blocked = blocks
        return made.state

    async def _made(self, name: str, check: Callable[[], Awaitable[Check]]) -> Check:
        if self._blocked:
            return Check(name, WARN, f"skipped: {self._blocked}")
        try:
            async with asyncio.timeout(CHECK_S):
                return await check()
        except TimeoutError:
            return Check(name, FAIL, f"no answer within {CHECK_S:g} s", _AGAIN)
        except TtyBridgeError as error:
            return Check(name, FAIL, error.message.removesuffix("."), error.hint)
        except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError) as error:
            return Check(name, FAIL, f"no answer: {_reason(error)}", _AGAIN)

    async def _dns(self) -> Check:
        host, tunnel = self._address.host, self._status.tunnel
        if tunnel is not None and is_loopback(host) and not await self._is_near():
            self._blocked = "it counts on another machine"
            text = f"{host} is meant on the machine at the other end of the tunnel"
            return Check(
                "dns", WARN, text, f"Try there: curl {self._address.base}/healthz says ok."
            )
        if self._has_proxy:
            return Check("dns", OK, f"{host} is looked up by the proxy of this network")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, self._address.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            reason = error.strerror or str(error)
            return Check("dns", FAIL, f"{host} is not found: {reason}", _NO_NAME)
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        places = ", ".join(map(str, dict.fromkeys(addresses)))
        text = f"{host} leads to {places}" if host != places else f"{host} needs no name server"
        if any(address.is_unspecified for address in addresses):
            return Check("dns", FAIL, f"{text}: a filter of this network refuses it", _NO_NAME)
        if any(not address.is_global for address in addresses):
            who = "this machine" if any(a.is_loopback for a in addresses) else "this network"
            hint = "Others may not get there: try it from another network." if tunnel else ""
            return Check("dns", WARN if tunnel else OK, f"{text}; only {who} gets there", hint)
        return Check("dns", OK, text)

    async def _is_near(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError, ValueError):
            return (await self._line.health()).who is Who.BRIDGE
        return False

    async def _tls(self) -> Check:
        seen, is_plain = self._line.certificates, self._address.base.startswith("http:")
        try:
            await self._line.health()
        except aiohttp.ClientConnectorCertificateError as error:
            wrong = error.certificate_error
            code, said = getattr(wrong, "verify_code", 0), getattr(wrong, "verify_message", "")
            return Check("tls", FAIL, *explain(code, said or str(wrong), self._address.host))
        except aiohttp.ClientSSLError as error:
            text = f"{self._address.host} speaks no TLS that this machine knows: {_reason(error)}"
            return Check("tls", FAIL, text, "A proxy on the way may speak plain http there.")
        except aiohttp.ClientError:
            # What comes after the handshake is for the checks that follow.
            if not seen:
                raise
        if is_plain:
            return self._plain()
        days = int((ssl.cert_time_to_seconds(str(seen[-1]["notAfter"])) - time.time()) / 86400)
        issuer = issuer_of(seen[-1]) or "an authority without a name"
        left = "1 day" if days == 1 else f"{days} days"
        text = f"the certificate is for {self._address.host}, by {issuer}, for {left} more"
        hint = "It should have been renewed by now, where TLS ends." if days < FEW_DAYS else ""
        return Check("tls", WARN if hint else OK, text, hint)

    def _plain(self) -> Check:
        if self._address.is_clear:
            hint = (
                "Use an address with https: --cloudflared, --ngrok, or a proxy with a certificate."
            )
            text = "plain http: whoever is on the way reads along, and can type"
            return Check("tls", WARN, text, hint)
        return Check("tls", OK, "plain http, and only on this machine")

    async def _page(self) -> Check:
        return _check("page", await self._line.page())

    async def _enter(self) -> Check:
        verdict = await self._line.health()
        if verdict.who is not Who.BRIDGE:
            self._blocked = "the bridge is not reached"
            if self._is_page_wrong or verdict.who is Who.WARNING:
                return Check("bridge", FAIL, f"programs do not reach it: {verdict.text}")
            return _check("bridge", verdict)
        made = await asyncio.to_thread(self._control.link, life_s=LINK_S, uses=1)
        link = parse_address(made.url).link
        if link is None:
            return Check("bridge", OK, "a bridge answers; with --no-auth it may be another one")
        self._line.token = await open_link(self._address, link)
        if self._line.token is None:
            text = f"another bridge answers: a link that process {self._status.pid} made is unknown"
            hint = "Where does the tunnel or proxy lead? Its target should be "
            return Check("bridge", FAIL, text, f"{hint}{self._status.address}")
        text = f"process {self._status.pid} itself answers: its link let in"
        return Check("bridge", OK, text)

    async def _polling(self) -> Check:
        async with self._line.ask(_POLLING) as answer:
            hello = await answer.text()
        if answer.status != 200 or not hello.startswith("0{"):
            return Check("polling", FAIL, f"no connection opens ({answer.status})", _NO_POLLING)
        path = f"{_POLLING}&sid={json.loads(hello[1:])['sid']}"
        for packet in (_PONG, _CLOSE):
            async with self._line.ask(path, packet) as answer:
                if answer.status != 200:
                    text = f"it opens, and takes no message ({answer.status})"
                    return Check("polling", FAIL, text, _NO_POLLING)
        return Check("polling", OK, "opens, and takes messages")

    async def _websocket(self) -> Check:
        try:
            async with self._line.websocket(_WEBSOCKET) as opened:
                first = await opened.receive()
                if first.type is aiohttp.WSMsgType.TEXT and first.data.startswith("0{"):
                    return Check("websocket", OK, "opens, and a message comes")
                return Check("websocket", FAIL, "it opens, and nothing comes", _NO_UPGRADE)
        except aiohttp.WSServerHandshakeError as error:
            return Check("websocket", FAIL, f"refused on the way ({error.status})", _NO_UPGRADE)

    async def _ssh(self) -> Check:
        key = host_key.generate().public
        async with asking(self._address, self._line.token) as (session, proxy):
            opened = await session.ws_connect(
                f"{self._address.base}/colab/ssh",
                headers={"X-Colab-Ssh-Pubkey": key.line},
                proxy=proxy,
                timeout=CLOSING,
            )
            try:
                message = await opened.receive()
            finally:
                await opened.close()
        if message.type is aiohttp.WSMsgType.BINARY and message.data.startswith(b"SSH-2.0-"):
            banner = message.data.partition(b"\r\n")[0].decode("ascii", "replace")
            return Check("ssh", OK, f"sshd answers: {banner}")
        return Check("ssh", FAIL, "it opens, and no sshd answers", "The bridge's log says why.")

    async def _round_trip(self) -> Check:
        times = await _pings(self._line)
        if not times:
            return Check("round trip", FAIL, "no ping comes back over the WebSocket", _NO_UPGRADE)
        typical = statistics.median(times)
        text = f"{typical:.1f} ms there and back (median of {len(times)})"
        local = parse_address(self._status.address)
        if local.base != self._address.base:
            near = await _pings(self._line.beside(local))
            text += f"; {statistics.median(near):.1f} ms on this machine" if near else ""
        if typical <= SLOW_MS:
            return Check("round trip", OK, text)
        hint = "Typing feels slow: use a tunnel whose servers are nearer, or another network."
        return Check("round trip", WARN, text, hint)


def _tunnel(tunnel: TunnelStatus | None, base: str) -> Iterator[Check]:
    if tunnel is None:
        hint = "A tunnel makes it public: --cloudflared, --ngrok or --tunnel ssh:USER@HOST."
        yield Check("tunnel", WARN, f"none, so that nothing is public; {base} is tested", hint)
        return
    if tunnel.state == "open":
        yield Check("tunnel", OK, f"{tunnel.name} leads to it from {base}")
    else:
        hint = "The bridge opens it again by itself, and its log says why it was lost."
        yield Check("tunnel", FAIL, f"{tunnel.name} is lost for the moment; it was {base}", hint)
    for note in tunnel.notes:
        yield Check("tunnel", WARN, note)


def _check(name: str, verdict: Verdict) -> Check:
    states = {Who.BRIDGE: OK, Who.WARNING: OK, Who.LOGIN: WARN, Who.OTHER: FAIL}
    return Check(name, states[verdict.who], verdict.text, verdict.hint)


async def _pings(line: Line) -> list[float]:
    """Return the round trips in milliseconds; fewer than were wanted on a slow line."""
    times: list[float] = []
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(CHECK_S * 0.6), line.websocket(_WEBSOCKET) as opened:
            await opened.receive()
            for number in range(PINGS):
                wanted = str(number).encode()
                start = time.perf_counter()
                await opened.ping(wanted)
                while (message := await opened.receive()).type is not aiohttp.WSMsgType.PONG:
                    if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
                        return times
                times.append((time.perf_counter() - start) * 1000)
    return times


def _milder(check: Check) -> Check:
    return Check(check.name, WARN if check.state == FAIL else check.state, check.text, check.hint)


def _reason(error: Exception) -> str:
    """Say what went wrong; aiohttp's own texts have addresses of proxies in them, and more."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ssl.SSLError) and cause.reason:
        return cause.reason.replace("_", " ").lower()
    if isinstance(cause, aiohttp.ClientResponseError):
        return f"status {cause.status}"
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)
    return str(cause) or type(cause).__name__
