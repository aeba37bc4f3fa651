"""The tunnel `ssh:[USER@]HOST`: the user's own ssh forwards ports of another machine to here.

One ssh logs in and stays, with a control socket in a private folder; the forwardings are added by
that socket. So those of the user's configuration are not opened a second time: ssh can only leave
out all of them, and its `-R` with them.
"""

import asyncio
import contextlib
import ipaddress
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ttybridge.core import ssh_tunnel as core
from ttybridge.core.ssh_tunnel import SshTunnelSettings
from ttybridge.core.sshd_config import parse_version
from ttybridge.errors import MissingProgramError, TunnelError
from ttybridge.tunnels.agent import Agent, ask, find_program
from ttybridge.tunnels.base import Context, Endpoint, Kind, Local

__all__ = ["SshTunnel", "SshTunnelSettings"]

START_S = 30.0
"""Time to log in, in seconds: slow hosts look names up, and a security key waits for a finger."""

FORWARD_S = 15.0
"""Time for the answer to the forwardings, in seconds."""

RESOLVE_S = 5.0
"""Time for ssh to say its version, or what its configuration makes of the host, in seconds; the
latter may run programs (`Match exec`)."""

REACH_S = 3.0
"""Time for the host's port to answer from here, in seconds; a firewall may drop it silently."""

POLL_S = 0.05
"""Pause between two looks for the control socket, in seconds: nothing tells when it is there."""

_LOOPBACK = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))


class SshTunnel:
    """Ports of another machine, by `ssh -R`."""

    name = "ssh"

    def __init__(self, context: Context, settings: SshTunnelSettings | None = None) -> None:
        """Read the argument.

        Raises:
            ConfigError: The argument is wrong, or does not fit the settings.
        """
        self._settings = settings or SshTunnelSettings()
        self._target = core.parse_target(context.argument)
        core.check(self._target, self._settings)
        self._context = context
        self._folder: Path | None = None
        self._agent: Agent | None = None
        self._endpoints: tuple[Endpoint, ...] = ()

    async def open(self, locals: Sequence[Local]) -> Sequence[Endpoint]:
        """Log in and forward a port to each local one.

        Raises:
            TunnelError: ssh did not log in, or the host forwards nothing.
            MissingProgramError: ssh is not installed.
        """
        await self.close()
        ssh = find_program("ssh", self._context.environ)
        if ssh is None:
            raise MissingProgramError(
                "ssh was not found in PATH, and the tunnel ssh: needs it.",
                hint="Install OpenSSH's client (package openssh-client).",
            )
        try:
            await self._log_in(ssh)
            ports = await self._forward(ssh, locals)
            self._endpoints = await self._describe(ssh, locals, ports)
        except OSError as error:
            await self.close()
            message = f"ssh could not be started: {error.strerror or error}."
            raise TunnelError(message) from error
        except BaseException:
            await self.close()
            raise
        return self._endpoints

    async def health(self) -> Sequence[Endpoint]:
        """Return the addresses; ssh itself ends when the host does not answer any more.

        Raises:
            TunnelError: ssh has ended.
        """
        if self._agent is None or not self._agent.is_running:
            if self._agent is not None:
                await self._agent.wait()
            raise self._error(has_ended=True)
        return self._endpoints

    async def close(self) -> None:
        """End ssh, and with it the forwardings."""
        agent, self._agent = self._agent, None
        folder, self._folder = self._folder, None
        self._endpoints = ()
        try:
            if agent is not None:
                await agent.stop()
        finally:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    async def _log_in(self, ssh: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ssh-", dir=self._context.folder))
        key = self._settings.host_key
        if key is not None:
            (self._folder / core.KNOWN_HOSTS).write_text(f"{core.ALIAS} {key}\n")
        told = await ask(core.version_argv(ssh), self._context.environ, within_s=RESOLVE_S)
        version = parse_version("\n".join(told.lines))
        argv = core.connect_argv(ssh, self._target, is_pinned=key is not None, version=version)
        self._agent = Agent(argv, self._context.environ, self._folder, cwd=self._folder)
        await self._agent.start()
        try:
            async with asyncio.timeout(START_S):
                await self._wait_for(self._agent, self._folder / core.SOCKET)
        except TimeoutError:
            message = f"ssh did not log in to {self._target.host} within {START_S:.0f} s."
            hint = f"Look whether `ssh {self._target.login}` works."
            raise TunnelError(message + _said(self._agent.lines), hint=hint) from None

    async def _wait_for(self, agent: Agent, socket: Path) -> None:
        """Wait until ssh has opened its control socket, which it does once it is logged in."""
        while not _is_there(socket):
            if not agent.is_running:
                await agent.wait()
                raise self._error()
            await asyncio.sleep(POLL_S)

    async def _forward(self, ssh: str, locals: Sequence[Local]) -> list[int]:
        """Add the forwardings; return the host's ports in the order of the local ones."""
        wanted = self._wanted(locals)
        forwards = [
            core.forward(local.port, port) for local, port in zip(locals, wanted, strict=True)
        ]
        answer = await ask(
            core.forward_argv(ssh, self._target, forwards),
            self._context.environ,
            within_s=FORWARD_S,
            cwd=self._folder,
        )
        ports = core.allocated_ports(answer.output, wanted)
        if answer.status != 0 or ports is None:
            raise self._error(answer.lines)
        return ports

    def _wanted(self, locals: Sequence[Local]) -> list[int | None]:
        """Return the port that each local one shall have: the first web address has a given one."""
        wanted: list[int | None] = [None] * len(locals)
        first = next((i for i, local in enumerate(locals) if local.kind is Kind.HTTP), 0)
        if locals:
            wanted[first] = self._target.remote_port
        return wanted

    async def _describe(
        self, ssh: str, locals: Sequence[Local], ports: Sequence[int]
    ) -> tuple[Endpoint, ...]:
        """Return the addresses: the host's own where its ports answer from here."""
        resolved = await ask(
            core.resolve_argv(ssh, self._target), self._context.environ, within_s=RESOLVE_S
        )
        host = core.real_host(resolved.output, self._target)
        are_public = await asyncio.gather(*(self._is_public(host, port) for port in ports))
        return tuple(
            self._endpoint(local, host, port, is_public)
            for local, port, is_public in zip(locals, ports, are_public, strict=True)
        )

    async def _is_public(self, host: str, port: int) -> bool:
        # A given port is bound on the host's loopback address: another may have it elsewhere.
        return port != self._target.remote_port and await _answers(host, port)

    def _endpoint(self, local: Local, host: str, port: int, is_public: bool) -> Endpoint:
        is_web = local.kind is Kind.HTTP
        if is_web and self._settings.url is not None and port == self._target.remote_port:
            return Endpoint(self._settings.url)
        scheme = "http" if is_web else "tcp"
        if is_public:
            note = core.public_note() if is_web else ""
            return Endpoint(f"{scheme}://{core.bracketed(host)}:{port}", note)
        note = core.private_note(self._target, port, is_web=is_web)
        return Endpoint(f"{scheme}://127.0.0.1:{port}", note)

    def _error(self, lines: Sequence[str] = (), *, has_ended: bool = False) -> TunnelError:
        said = [*(self._agent.lines if self._agent is not None else ()), *lines]
        message, hint = core.explain(
            said,
            self._target,
            is_pinned=self._settings.host_key is not None,
            has_ended=has_ended,
        )
        return TunnelError(message, hint=hint)


def _is_there(path: Path) -> bool:
    return path.exists()


def _said(lines: Sequence[str]) -> str:
    return " Its last lines:\n" + "\n".join(lines) if lines else ""


async def _answers(host: str, port: int) -> bool:
    """Tell whether somebody listens on another machine's port.

    On an address of this machine that only it has, nothing can be told: False.
    """
    try:
        async with asyncio.timeout(REACH_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError, UnicodeError):
        return False
    peer = str(writer.get_extra_info("peername")[0]).partition("%")[0]
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(REACH_S):
            await writer.wait_closed()
    return ipaddress.ip_address(peer) not in _LOOPBACK
