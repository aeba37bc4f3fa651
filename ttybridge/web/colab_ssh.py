"""The entrances `colab/ssh`, SSH over a WebSocket, and `ssh`, which says what it leads to."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from ttybridge.core.access import Principal
from ttybridge.core.meter import Meter
from ttybridge.core.people import Person
from ttybridge.core.permissions import Entrance
from ttybridge.core.protocol import CHUNK_BYTES, MAX_MESSAGE_BYTES
from ttybridge.core.public_key import PublicKey, parse_public_key
from ttybridge.errors import SshdError
from ttybridge.web.answers import plain
from ttybridge.web.visitor import visitor

log = logging.getLogger(__name__)

KEY_HEADER = "X-Colab-Ssh-Pubkey"
"""Header with the public key that the connection is to accept (google-colab-cli 0.7.5)."""

CONTRACT_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
)
"""Key types of the contract: no RSA."""

HEARTBEAT_S = 60.0
"""Time between two pings, in seconds; half of it for the answer."""

LAST_WORDS_S = 0.5
"""Time for a client to take what sshd has still said when somebody here ends it, in seconds."""

GOODBYE_S = 10.0
"""Time for a client to take the last bytes and to answer our goodbye, in seconds."""

SEND_BUFFER = 256 * 1024
"""What may wait for sshd before no more is taken from the client, in bytes."""


class Connection(Protocol):
    """One connection to sshd; `ssh.single.Connection` is the real one."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def banner(self) -> bytes:
        """Return sshd's first bytes, or raise SshdError."""

    async def close(self, *, hang_up: bool) -> None:
        """End it; with `hang_up`, the programs in it get SIGHUP."""


class Sshd(Protocol):
    """What leads to sshd; `ssh.companion.Companion` is the real one."""

    @property
    def user(self) -> str:
        """The account to log in to."""

    @property
    def host_key(self) -> PublicKey:
        """The host key's public half."""

    async def connect(self, key: PublicKey, person: Person) -> Connection:
        """Return a connection that accepts this key alone, for a person; or raise SshdError."""


def _remote(request: web.Request) -> str:
    return request.remote or ""


@dataclass(slots=True)
class _Open:
    """One connection, or one that is being made."""

    principal_id: str
    """Whose it is."""
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to end it."""
    is_open: bool = False
    """Whether bytes go both ways."""


class ColabSshEntrance:
    """Serves `colab/ssh` and `ssh`."""

    def __init__(
        self,
        sshd: Sshd | None,
        limit: int,
        principal_of: Callable[[web.Request], Principal],
        address_of: Callable[[web.Request], str] = _remote,
        meter: Meter | None = None,
        message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        """Lead to sshd.

        Args:
            sshd: Where to; None when the bridge has none.
            limit: Most connections at a time.
            principal_of: Tells who sent a request.
            address_of: Tells where it came from.
            meter: Counts.
            message_bytes: Largest message of a client.
        """
        self._meter, self._message_bytes = meter or Meter(), message_bytes
        self._sshd = sshd
        self._limit = limit
        self._principal_of, self._address_of = principal_of, address_of
        self._open: dict[asyncio.Task[object], _Open] = {}
        self._closing = False

    @property
    def limit(self) -> int:
        """Most connections at a time."""
        return self._limit

    @property
    def count(self) -> int:
        """How many connections there are, or are being made."""
        return len(self._open)

    async def info(self, _request: web.Request) -> web.StreamResponse:
        """Say whom to log in as, and which host key to expect."""
        if self._sshd is None:
            return _without_ssh()
        key = self._sshd.host_key
        return web.json_response(
            {"user": self._sshd.user, "hostKey": key.line, "fingerprint": key.fingerprint}
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Carry one SSH connection until either side ends it."""
        principal = self._principal_of(request)
        if self._sshd is None:
            return _without_ssh()
        key, problem = _key_of(request)
        if key is None:
            return plain(400, problem)
        socket = web.WebSocketResponse(
            max_msg_size=self._message_bytes,
            compress=False,
            heartbeat=HEARTBEAT_S,
            timeout=GOODBYE_S,
        )
        if not socket.can_prepare(request).ok:
            return plain(426, "This address is a WebSocket.")
        if self._closing:
            return plain(503, "The bridge is stopping.")
        if len(self._open) >= self._limit:
            self._meter.refuse("ssh")
            return plain(429, f"There are {self._limit} SSH connections already (--max-ssh).")
        task = asyncio.current_task()
        here = _Open(principal.id)
        if task is not None:
            self._open[task] = here
        try:
            person = visitor(principal, Entrance.SSH, self._address_of(request))
            connection = await self._sshd.connect(key, person)
            return await self._carry(request, socket, here, connection, key.label)
        except SshdError as error:
            return _unreachable(error)
        finally:
            if task is not None:
                self._open.pop(task, None)

    async def end_all_of(self, principal_id: str) -> None:
        """End the connections of somebody whose credential has ended."""
        await self._end([t for t, here in self._open.items() if here.principal_id == principal_id])

    async def close(self) -> None:
        """End all connections: the bridge stops."""
        self._closing = True
        await self._end(list(self._open))

    async def _end(self, tasks: list[asyncio.Task[object]]) -> None:
        for task in tasks:
            here = self._open[task]
            here.ends.set()
            if not here.is_open:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        here: "_Open",
        connection: Connection,
        label: str,
    ) -> web.StreamResponse:
        hang_up = is_closed = False
        try:
            banner = await connection.banner()
            await socket.prepare(request)
            log.info("ssh over the web address: key %s from %s", label, request.remote)
            here.is_open = True
            relay = asyncio.create_task(_relay(socket, connection, banner))
            ends = asyncio.create_task(here.ends.wait())
            try:
                await asyncio.wait([relay, ends], return_when=asyncio.FIRST_COMPLETED)
                if not relay.done():  # the bridge stops, or the credential has ended
                    hang_up = True
                    # It tells logins why, and those tell the client.
                    await asyncio.shield(connection.close(hang_up=True))
                    is_closed = True
                    await asyncio.wait([relay], timeout=LAST_WORDS_S)
                else:
                    relay.result()
            finally:
                for task in (relay, ends):
                    task.cancel()
                await asyncio.gather(relay, ends, return_exceptions=True)
        except ConnectionError:
            pass  # the client is gone, as OpenSSH leaves: without a goodbye
        except asyncio.CancelledError:
            hang_up = True
            raise
        finally:
            # After a goodbye all has been sent. Without one, aiohttp would wait for a client that
            # takes nothing any more.
            if socket.prepared and request.transport is not None:
                request.transport.abort()
            if not is_closed:
                await asyncio.shield(connection.close(hang_up=hang_up))
        return socket


async def _relay(socket: web.WebSocketResponse, connection: Connection, banner: bytes) -> None:
    """Move bytes both ways, each at the pace of who takes them, until one side ends."""
    sending = asyncio.create_task(_send(socket, connection, banner))
    receiving = asyncio.create_task(_receive(socket, connection))
    tasks = (sending, receiving)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended, _ = await asyncio.gather(*tasks, return_exceptions=True)
    if ended is True:
        # Nobody else reads by now: it waits for the client's goodbye, so that nothing gets lost.
        await socket.close(code=WSCloseCode.OK)


async def _send(socket: web.WebSocketResponse, connection: Connection, banner: bytes) -> bool:
    """Send what sshd says; True at its end, False when either connection is broken."""
    data = banner
    try:
        while data:
            await socket.send_bytes(data)
            data = await connection.reader.read(CHUNK_BYTES)
    except ConnectionError:
        return False
    return True


async def _receive(socket: web.WebSocketResponse, connection: Connection) -> None:
    connection.writer.transport.set_write_buffer_limits(high=SEND_BUFFER)
    try:
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                return
            connection.writer.write(message.data)
            await connection.writer.drain()
    except ConnectionError:
        return


def _key_of(request: web.Request) -> tuple[PublicKey | None, str]:
    """Read the key that came with a request; None with the reason when there is none to accept."""
    values = request.headers.getall(KEY_HEADER, [])
    if len(values) != 1 or not values[0].strip():
        return None, "missing pubkey"
    kind = values[0].split(None, 1)[0]
    if kind not in CONTRACT_TYPES:
        return None, f"unsupported key type: one of {', '.join(CONTRACT_TYPES)} is needed"
    try:
        return parse_public_key(values[0].strip()), ""
    except ValueError as error:
        return None, f"unusable public key: {error}"


def _without_ssh() -> web.Response:
    return plain(404, "This bridge does not expose SSH: start it with --ssh.")


def _unreachable(error: SshdError) -> web.Response:
    log.warning("ssh over the web address: %s", error)
    return plain(502, "The local sshd is unreachable; the log of ttybridge says why.")
