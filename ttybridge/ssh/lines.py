"""The processes of SSH connections: found, hung up, ended.

A connection is ended by ending its sshd: that ends all that goes over it, forwarded ports and
shared connections (ControlMaster) too. sshd itself has no way to be asked for that.
"""

import asyncio
import contextlib
import ipaddress
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ttybridge.ssh import keeper

LOOK_S = 0.05
"""Time between two looks at whether a connection has ended, in seconds."""

LEAVE_S = 2.0
"""Time for logins that have been told why to say so and end, in seconds."""

WATCH_S = 0.5
"""Time between two looks at what a connection forwards that must not, in seconds."""

_ACCEPTED = re.compile(
    r"Accepted publickey for .* from (\S+) port ([0-9]{1,5}) ssh2: \S+ (SHA256:\S+)"
)
_LISTENS = "0A"
"""State of a socket that listens (tcp_states.h)."""

Peer = tuple[str, int]
"""Address and port of a client."""


def accepted(text: str) -> tuple[Peer, str] | None:
    """Read the line of sshd's log that tells of a login: the other end, and the key.

    >>> accepted("Accepted publickey for me from 10.0.0.9 port 99 ssh2: ED25519 SHA256:abc")
    (('10.0.0.9', 99), 'SHA256:abc')
    """
    found = _ACCEPTED.fullmatch(text)
    return (peer(found[1], found[2]), found[3]) if found else None


def peer(address: str, port: str) -> Peer:
    """Return address and port in one spelling.

    >>> peer("::ffff:10.0.0.9", "99"), peer("fe80::1%eth0", "99")
    (('10.0.0.9', 99), ('fe80::1', 99))
    """
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_address(address.partition("%")[0])
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return str(mapped or found), int(port)
    return address, int(port)


def parse_sockets(text: str) -> Iterator[tuple[int, Peer, str, str]]:
    r"""Read `/proc/net/tcp` or `tcp6` (proc(5)): local port, other end, state and inode of each.

    >>> list(parse_sockets("head\n 0: 0100007F:08AE 0200007F:C350 01 0:0 0:0 0 0 0 77 1\n"))
    [(2222, ('127.0.0.2', 50000), '01', '77')]
    """
    for line in text.splitlines()[1:]:
        words = line.split()
        _, local_port = words[1].split(":")
        address, port = words[2].split(":")
        # Four bytes at a time, each group in the order of the machine.
        groups = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
        packed = b"".join(group.to_bytes(4, sys.byteorder) for group in groups)
        other = str(ipaddress.ip_address(packed))
        yield int(local_port, 16), peer(other, str(int(port, 16))), words[3], words[9]


def sockets() -> Iterator[tuple[int, Peer, str, str]]:
    """Yield all TCP sockets of this network, as `parse_sockets` does."""
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            yield from parse_sockets(Path("/proc/net", name).read_text())


def named_sockets() -> set[str]:
    """Return the inodes of the UNIX sockets that have a path, as those have that listen."""
    lines: list[list[str]] = []
    with contextlib.suppress(OSError):
        text = Path("/proc/net/unix").read_text(errors="replace")
        lines = [line.split() for line in text.splitlines()[1:]]
    return {words[6] for words in lines if len(words) > 7}


def inodes(pid: int) -> set[str]:
    """Return the inodes of the sockets that a process has open; empty when it is gone."""
    found = set()
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                link = str(file.readlink())
                if link.startswith("socket:["):
                    found.add(link[8:-1])
    return found


class Line(Protocol):
    """One connection."""

    def processes(self) -> tuple[list[int], list[int]]:
        """Return the sshd processes of the connection, and the programs that they have started."""


@dataclass(frozen=True, slots=True)
class Direct:
    """A connection to the sshd that listens."""

    keeper: int
    """Process id of that sshd's keeper; 0 when there is none any more."""
    port: int
    """Port that the sshd listens on."""
    peer: Peer
    """The other end."""

    def processes(self) -> tuple[list[int], list[int]]:
        """Return the processes below the keeper that hold the connection, and their children."""
        wanted = self.keeper and {
            inode
            for port, other, state, inode in sockets()
            if (port, other) == (self.port, self.peer) and state != _LISTENS and inode != "0"
        }
        if not wanted:
            return [], []
        table = keeper.processes()
        ours = [pid for pid in keeper.below(self.keeper, table) if wanted & inodes(pid)]
        return ours, [p for p, (above, _) in table.items() if above in ours and p not in ours]


@dataclass(frozen=True, slots=True)
class OverWeb:
    """A connection with an sshd of its own."""

    keeper: int
    """Process id of that sshd's keeper."""

    def processes(self) -> tuple[list[int], list[int]]:
        """Return what is below the keeper."""
        return keeper.split(self.keeper, keeper.processes()) if self.keeper else ([], [])


def hang_up(line: Line) -> None:
    """Have the programs of a connection end, as when a terminal is closed.

    Logins in the session take no notice. Programs that were started to stay, stay.
    """
    keeper.send(line.processes()[1], signal.SIGHUP, to_groups=True)


async def _look(line: Line) -> tuple[list[int], list[int]]:
    """Look for a connection's processes in a thread: a machine may have thousands."""
    return await asyncio.to_thread(line.processes)


async def let_logins_leave(line: Line) -> None:
    """Hang up the programs of a connection, and give its logins time to say why they end."""
    hang_up(line)
    until = asyncio.get_running_loop().time() + LEAVE_S
    while (await _look(line))[1]:
        if asyncio.get_running_loop().time() > until:
            return
        await asyncio.sleep(LOOK_S)


async def end(line: Line, *, is_told: bool) -> None:
    """End a connection with all that goes over it.

    Args:
        line: The connection.
        is_told: Whether it has a login in the session that has been told why.
    """
    if is_told:
        await let_logins_leave(line)
    else:
        hang_up(line)
    for number, within_s in (
        (0, keeper.FLUSH_S if is_told else 0.0),
        (signal.SIGTERM, keeper.GRACE_S),
        (signal.SIGKILL, keeper.GRACE_S),
    ):
        until = asyncio.get_running_loop().time() + within_s
        # Looked up each time: a number may belong to somebody else by now.
        while ours := (await _look(line))[0]:
            if number:
                keeper.send(ours, number)
            if asyncio.get_running_loop().time() > until:
                break
            await asyncio.sleep(LOOK_S)


async def until_it_forwards(line: Line, *, is_new: bool = False) -> bool:
    """Watch a connection that must forward nothing any more; sshd cannot be told so.

    A connection to a UNIX socket that is there at the beginning is not told from sshd's own.

    Args:
        line: The connection.
        is_new: Whether it is just beginning, and sshd opens sockets of its own.

    Returns:
        Whether it forwards a port or a socket; False when it has ended.
    """
    least: int | None = None
    while ours := (await _look(line))[0]:
        held = set().union(*(inodes(pid) for pid in ours))
        ports = {inode for *_, inode in await asyncio.to_thread(lambda: list(sockets()))} & held
        local = held - ports
        least = len(local) if least is None else min(least, len(local))
        has_more = len(local) > least and not is_new
        own = 1 if isinstance(line, Direct) else 0
        if len(ports) > own or has_more or local & named_sockets():
            return True
        await asyncio.sleep(WATCH_S)
    return False
