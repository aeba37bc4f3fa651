"""A stand-in of ngrok's service: the real agent (v2) connects to it and opens tunnels.

The agent opens one TLS connection and streams over it (`muxado`). The first four bytes of a stream
say what it is for. The agent's own streams carry one JSON message each way (log in, open a tunnel,
close it), or heartbeats that come back as they are. For every visitor of a public address the edge
opens a stream: a header that names the tunnel, and then the visitor's bytes.
"""

import asyncio
import contextlib
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.edge.authority import Authority
from tests.edge.channel import Channel, ChannelError
from tests.edge.muxado import Session, Stream
from tests.edge.public import NameProxy, Public, Request, Website

TOKEN = "2abcDEFghiJKLmnoPQRstuVWXyz_5tRiCkYtOkEnFoRtEsTs"
"""The authtoken that is taken, unless another one is given."""

Refusable = Literal["session", "https", "http", "tcp"]
"""What can be refused: logging in, or tunnels of a protocol."""


class Purpose(IntEnum):
    """What a stream is for."""

    AUTH = 0
    BIND = 1
    UNBIND = 2
    PROXY = 3
    HEARTBEAT = 0xFFFFFFFF


@dataclass(eq=False)
class Agent:
    """A connected agent."""

    session: Session
    """Its connection."""
    is_known: bool = False
    """Whether it has shown the token."""
    tunnels: set[str] = field(default_factory=set)
    """The ids of the tunnels that it has open."""


class NgrokEdge:
    """The service: `async with NgrokEdge() as edge:`.

    Attributes:
        requests: All requests to public addresses of HTTP, in their order.
        bytes_to_visitors: Bytes that left through public addresses, without TLS.
        bytes_from_visitors: Bytes that came in through them.
        warns: Whether browsers see a page with a warning first, as in the free plan.
        heartbeats: How many heartbeats were answered.
        logins: How often an agent has logged in.
        binds: The messages by which tunnels were asked for.
    """

    def __init__(
        self, *, token: str = TOKEN, domain: str = "ngrok-free.test", warns: bool = False
    ) -> None:
        """Prepare it; it listens once it is entered.

        Args:
            token: The authtoken that is taken.
            domain: What the names of web addresses end with. Nothing resolves them: clients need
                `name_proxy`, or a resolver of their own that finds them on this machine.
            warns: See the attribute.
        """
        self.requests: list[Request] = []
        self.bytes_to_visitors = self.bytes_from_visitors = 0
        self.warns = warns
        self.heartbeats = self.logins = 0
        self.binds: list[dict[str, Any]] = []
        self._token, self._domain = token, domain
        self._refusals: dict[str, str] = {}
        self._agents: set[Agent] = set()
        self._no_agents = asyncio.Event()
        self._no_agents.set()
        self._publics: dict[str, Public] = {}
        self._count = 0
        self._proxy = NameProxy()
        self._port = 0

    async def __aenter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="edge-"))
        names = ["localhost", "127.0.0.1", f"*.{self._domain}"]
        self.authority = Authority(self._folder, names)
        await self._proxy.start()
        await self.listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop_listening()
        for public in self._publics.values():
            await public.close()
        await self._proxy.close()
        shutil.rmtree(self._folder)

    @property
    def server_addr(self) -> str:
        """The agent's `server_addr`: where it connects."""
        return f"localhost:{self._port}"

    @property
    def ca_file(self) -> Path:
        """The agent's `root_cas`, and what clients of public addresses are to trust (PEM)."""
        return self.authority.ca_file

    @property
    def name_proxy(self) -> str:
        """URL for `https_proxy`: leads to all public addresses on this machine."""
        return self._proxy.url

    @property
    def urls(self) -> list[str]:
        """The public addresses, oldest first; those of a lost agent are kept for its return."""
        return [public.url for public in self._publics.values()]

    @property
    def open_urls(self) -> list[str]:
        """The public addresses that an agent serves now."""
        return [public.url for public in self._publics.values() if public.opener is not None]

    @property
    def stream_count(self) -> int:
        """How many streams to and from agents are open."""
        return sum(agent.session.stream_count for agent in self._agents)

    def refuse(self, what: Refusable, code: str, text: str) -> None:
        """Answer an error from now on: `refuse("session", "ERR_NGROK_108", "One at a time.")`."""
        self._refusals[what] = f"{text}\r\n\r\n{code}\r\n"

    def accept(self, what: Refusable) -> None:
        """Take back `refuse`."""
        self._refusals.pop(what, None)

    async def listen(self) -> None:
        """Let agents connect, on the same port as before."""
        self._server = await asyncio.start_server(
            self._on_agent, "127.0.0.1", self._port, ssl=self.authority.server_context()
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop_listening(self) -> None:
        """Close the connections of all agents; new ones are refused."""
        self._server.close()
        for agent in list(self._agents):
            agent.session.close()
        await self._no_agents.wait()

    async def restart(self, *, new_addresses: bool = False) -> None:
        """Close the connections of all agents and let them connect again.

        Args:
            new_addresses: Whether they get others for the tunnels that they had.
        """
        await self.stop_listening()
        if new_addresses:
            for public in self._publics.values():
                await public.close()
            self._publics.clear()
        await self.listen()

    async def _on_agent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def serve(stream: Stream) -> None:
            await self._serve(agent, stream)

        agent = Agent(Session(reader, writer, serve))
        self._agents.add(agent)
        self._no_agents.clear()
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the end of the test
                await agent.session.run()
        finally:
            self._agents.discard(agent)
            if not self._agents:
                self._no_agents.set()
            self._take_offline(agent)

    def _take_offline(self, agent: Agent) -> None:
        still = {tunnel for other in self._agents for tunnel in other.tunnels}
        for tunnel in agent.tunnels - still:
            if public := self._publics.get(tunnel):
                public.opener = None

    async def _serve(self, agent: Agent, stream: Stream) -> None:
        try:
            purpose = int.from_bytes(await _read_exactly(stream, 4))
            match purpose:
                case Purpose.HEARTBEAT:
                    await self._echo(stream)
                case Purpose.AUTH:
                    await _reply(stream, self._log_in(agent, await _read_json(stream)))
                case Purpose.BIND if agent.is_known:
                    await _reply(stream, await self._bind(agent, await _read_json(stream)))
                case Purpose.UNBIND if agent.is_known:
                    await _reply(stream, await self._unbind(agent, await _read_json(stream)))
        finally:
            stream.abort()

    async def _echo(self, stream: Stream) -> None:
        while beat := await stream.read():
            await stream.write(beat)
            self.heartbeats += 1

    def _log_in(self, agent: Agent, message: dict[str, Any]) -> dict[str, Any]:
        error = self._refusals.get("session", "")
        if message["Extra"]["Authtoken"] != self._token:
            error = "This authtoken is not one of ours.\r\n\r\nERR_NGROK_105\r\n"
        agent.is_known = not error
        self.logins += agent.is_known
        extra = {"Version": "prod", "Region": "us", "AccountName": "Test", "PlanName": "Free"}
        name = message["ClientId"] or self._new_name("agent")
        return {"Version": "2", "ClientId": name, "Error": error, "Extra": extra}

    async def _bind(self, agent: Agent, message: dict[str, Any]) -> dict[str, Any]:
        self.binds.append(message)
        proto, options = message["Proto"], message["Opts"] or {}
        if error := self._refusals.get(proto, ""):
            return {"Error": error}
        tunnel = message["Id"] or self._new_name("tunnel")
        public = self._publics.get(tunnel)
        if public is None:
            public = self._publics[tunnel] = self._new_public(proto, options)
            await public.start()
        agent.tunnels.add(tunnel)

        async def open_channel(visitor: str) -> Channel:
            stream = agent.session.open()
            header = json.dumps({"Id": tunnel, "ClientAddr": visitor, "Proto": proto}).encode()
            length = len(header).to_bytes(8, "little")
            # The agent reads the purpose at once: it is not to come in two frames.
            await stream.write(Purpose.PROXY.to_bytes(4))
            await stream.write(length + header)
            return stream

        public.opener = open_channel
        answer = {"Id": tunnel, "URL": public.url, "Proto": proto, "Opts": options, "Error": ""}
        return answer | {"Extra": {"Token": f"token of {tunnel}"}}

    async def _unbind(self, agent: Agent, message: dict[str, Any]) -> dict[str, Any]:
        agent.tunnels.discard(message["Id"])
        public = self._publics.pop(message["Id"], None)
        if public is None:
            return {"Error": f"{message['Id']} is no tunnel.", "Extra": None}
        await public.close()
        return {"Error": "", "Extra": None}

    def _new_public(self, proto: str, options: dict[str, Any]) -> Public:
        if proto == "tcp":
            return Public("tcp", "localhost", self, None)
        name = options.get("Hostname") or f"{self._new_name('quiet-otter')}.{self._domain}"
        return Website(proto, name, self, self._tls() if proto == "https" else None)

    def _tls(self) -> Any:
        return self.authority.server_context()

    def _new_name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count}"


async def _read_exactly(stream: Stream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await stream.read(count - len(data))
        if not more:
            raise ChannelError("the stream ends early")
        data += more
    return data


async def _read_json(stream: Stream) -> dict[str, Any]:
    """Read one message; the other side keeps the stream open for the answer."""
    data = b""
    while True:
        more = await stream.read()
        data += more
        with contextlib.suppress(json.JSONDecodeError):
            message: dict[str, Any] = json.loads(data)
            return message
        if not more:
            raise ChannelError("the stream ends in a message")


async def _reply(stream: Stream, message: dict[str, Any]) -> None:
    await stream.write(json.dumps(message).encode())
    await stream.close_write()
    while await stream.read():
        pass
