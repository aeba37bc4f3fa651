"""The tunnel ssh with a real sshd and a real ssh: opened, used, lost, closed, refused."""

import asyncio
import dataclasses
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S, ROOT, wait_until
from tests.e2e.ssh import needs_ssh
from tests.ports import free_port
from tests.sshd import Sshd
from tests.tunnels import context, left_by, lost, opened, posted, processes_of, running_app
from ttybridge.errors import MissingProgramError, TunnelError
from ttybridge.ssh import host_key
from ttybridge.tunnels import ssh_remote
from ttybridge.tunnels.base import Endpoint, Kind, Local
from ttybridge.tunnels.ssh_remote import SshTunnel, SshTunnelSettings

pytestmark = needs_ssh


@pytest.fixture(name="app")
async def web_app() -> AsyncIterator[int]:
    async with running_app() as port:
        yield port


StartSshd = Callable[..., Sshd]


@pytest.fixture(name="start_sshd")
def sshd_starter(short_path: Path) -> Iterator[StartSshd]:
    started: list[Sshd] = []

    def start(**options: str) -> Sshd:
        folder = short_path / f"sshd-{len(started)}"
        folder.mkdir()
        started.append(Sshd(folder, **options))
        return started[-1].start()

    yield start
    for sshd in started:
        sshd.kill()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_ssh_forwards_two_ports_and_opens_again_after_a_loss(
    start_sshd: StartSshd, tmp_path: Path, app: int
) -> None:
    sshd = start_sshd()
    theirs, ours = free_port(), free_port()
    sshd.configure(
        "IgnoreUnknown UseKeychain\nHost *\nUseKeychain yes\n"
        f"RemoteForward {theirs} 127.0.0.1:{app}\nLocalForward {ours} 127.0.0.1:{app}\n"
        "ControlPersist yes\nForkAfterAuthentication yes\nLogLevel QUIET\nRequestTTY force\n"
        "RemoteCommand false\n"
    )
    tunnel = SshTunnel(context(tmp_path / "run", sshd.environ, sshd.argument))
    async with opened(tunnel, Local(sshd.port, Kind.TCP), Local(app)) as endpoints:
        tcp, http = (str(endpoint.url) for endpoint in endpoints)
        assert re.fullmatch(r"tcp://127\.0\.0\.1:\d+", tcp)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", http)
        assert (await posted(http))["body"] == "body"
        reader, writer = await asyncio.open_connection("127.0.0.1", int(tcp.rpartition(":")[2]))
        assert (await reader.readline()).startswith(b"SSH-2.0-")
        writer.close()
        port = http.rpartition(":")[2]
        assert f"ssh -L {port}:127.0.0.1:{port} -p {sshd.port} {sshd.user}@" in endpoints[1].note
        assert "GatewayPorts clientspecified" in endpoints[1].note
        assert await tunnel.health() == endpoints
        # Those of the user's configuration are the user's.
        assert not answers(theirs)
        assert not answers(ours)
        sshd.kill()
        error = await lost(tunnel)
        assert error.message.startswith("The connection to 127.0.0.1 ")
        with pytest.raises(TunnelError, match=r"Nobody listens for SSH on 127\.0\.0\.1"):
            await tunnel.open([Local(app)])
        assert left_by(tmp_path / "run") == []
        sshd.start()
        again = await tunnel.open([Local(app)])
        assert (await posted(again[0].url))["body"] == "body"
    assert left_by(tmp_path / "run") == []
    with pytest.raises(TunnelError):
        await tunnel.health()


async def test_an_address_is_public_where_the_host_gives_it_to_all(
    start_sshd: StartSshd, tmp_path: Path, app: int
) -> None:
    # Another address of this machine stands for another machine: a port on 127.0.0.1 is not on it.
    sshd = start_sshd(host="127.0.0.2", GatewayPorts="clientspecified")
    sshd.configure(f"Host box\nHostName 127.0.0.2\nPort {sshd.port}\nUser {sshd.user}", known="")
    tunnel = SshTunnel(
        context(tmp_path / "run", sshd.environ, "box"),
        SshTunnelSettings(host_key=sshd.host_key),
    )
    async with opened(tunnel, Local(app), Local(sshd.port, Kind.TCP)) as endpoints:
        assert endpoints[0].url.startswith("http://127.0.0.2:")
        assert "no encryption" in endpoints[0].note
        assert endpoints[1].url.startswith("tcp://127.0.0.2:")
        assert endpoints[1].note == ""
        assert (await posted(endpoints[0].url))["body"] == "body"
    sshd.kill()
    closed = start_sshd(host="127.0.0.2")
    tunnel = SshTunnel(context(tmp_path / "run", closed.environ, closed.argument))
    async with opened(tunnel, Local(app)) as endpoints:
        assert endpoints[0].url.startswith("http://127.0.0.1:")
        assert "counts on 127.0.0.2 only" in endpoints[0].note


async def test_a_given_port_leads_from_the_address_before_it(
    start_sshd: StartSshd, tmp_path: Path, app: int
) -> None:
    sshd = start_sshd()
    port = free_port()
    settings = SshTunnelSettings(url="https://me.example")
    given = context(tmp_path / "run", sshd.environ, f"{sshd.argument}/{port}")
    tunnel = SshTunnel(given, settings)
    async with opened(tunnel, Local(sshd.port, Kind.TCP), Local(app)) as endpoints:
        assert endpoints[1] == Endpoint("https://me.example")
        assert endpoints[0].url.startswith("tcp://127.0.0.1:")
        assert (await posted(f"http://127.0.0.1:{port}"))["body"] == "body"
        other = SshTunnel(dataclasses.replace(given, folder=tmp_path))
        with pytest.raises(TunnelError, match=f"does not give its port {port}") as caught:
            await other.open([Local(app)])
        assert "another port after the slash" in caught.value.hint
    tunnel = SshTunnel(given)
    async with opened(tunnel, Local(app)) as endpoints:
        assert endpoints[0].url == f"http://127.0.0.1:{port}"
        assert "counts on 127.0.0.1 only" in endpoints[0].note


async def test_ssh_says_why_it_does_not_open(start_sshd: StartSshd, tmp_path: Path) -> None:
    sshd = start_sshd()
    forwards_nothing = start_sshd(AllowTcpForwarding="no")
    other_key = host_key.generate().public.line
    other = f"[127.0.0.1]:{sshd.port} {other_key}\n"

    async def failure(
        argument: str = sshd.argument,
        environ: Mapping[str, str] = sshd.environ,
        pin: str | None = None,
    ) -> str:
        given = context(tmp_path / "run", environ, argument)
        tunnel = SshTunnel(given, SshTunnelSettings(host_key=pin))
        with pytest.raises(TunnelError) as caught:
            await tunnel.open([Local(9)])
        assert left_by(tmp_path / "run") == []
        assert "ssh said: " in caught.value.message
        return str(caught.value)

    sshd.configure(known="")
    text = await failure()
    assert "The ED25519 key of 127.0.0.1 is not known here" in text
    assert '--tunnel-host-key "ssh-ed25519 AAAA…"' in text
    sshd.configure(known=other)
    text = await failure()
    assert "is not the one that is known here" in text
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'" in text
    # A pinned key is the only one that counts, whatever is known.
    sshd.configure()
    assert "not the one that is given with --tunnel-host-key" in await failure(pin=other_key)
    sshd.configure(key=sshd.stranger)
    assert "127.0.0.1 refused the login." in await failure()
    text = await failure(forwards_nothing.argument, forwards_nothing.environ)
    assert "127.0.0.1 does not let its ports be forwarded. ssh said: " in text
    assert "Nobody listens for SSH" in await failure(f"127.0.0.1:{free_port()}")
    assert "The name nowhere.invalid is not known here." in await failure("me@nowhere.invalid")


async def test_a_host_that_says_nothing_can_be_given_up(
    start_sshd: StartSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sshd = start_sshd()
    connected = asyncio.Event()

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(be_silent, "127.0.0.1", 0) as server:
        argument = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        tunnel = SshTunnel(context(tmp_path / "run", sshd.environ, argument))
        opening = asyncio.create_task(tunnel.open([Local(9)]))
        async with asyncio.timeout(DEADLINE_S):
            await connected.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert left_by(tmp_path / "run") == []
        monkeypatch.setattr(ssh_remote, "START_S", 0.3)
        with pytest.raises(TunnelError, match=r"did not log in to 127\.0\.0\.1 within"):
            await tunnel.open([Local(9)])
        assert left_by(tmp_path / "run") == []


async def test_a_missing_ssh_is_named(tmp_path: Path) -> None:
    tunnel = SshTunnel(context(tmp_path / "run", {"PATH": str(tmp_path)}, "box"))
    with pytest.raises(MissingProgramError, match="openssh-client"):
        await tunnel.open([Local(9)])
    assert left_by(tmp_path / "run") == []


HOLDER = """
import asyncio, os, sys
from pathlib import Path
from ttybridge.tunnels.base import Context, Local
from ttybridge.tunnels.ssh_remote import SshTunnel

async def main():
    tunnel = SshTunnel(Context(sys.argv[1], dict(os.environ), Path(sys.argv[2]), print))
    print((await tunnel.open([Local(9)]))[0].url, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_the_end_of_the_bridge_is_the_end_of_its_ssh_even_by_sigkill(
    start_sshd: StartSshd, tmp_path: Path
) -> None:
    sshd = start_sshd()
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, sshd.argument, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=sshd.environ | {"PYTHONPATH": str(ROOT)},
    ) as holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline().rpartition(":")[2])
        assert answers(port)
        # The holder, the warden, and ssh.
        assert len(processes_of(folder)) == 3
        holder.kill()
    wait_until(lambda: not processes_of(folder), "the end of ssh")
    wait_until(lambda: not answers(port), "the end of the forwarding")
