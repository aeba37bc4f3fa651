"""Binds sockets to listen on, or finds out which port is free."""

import asyncio
import errno
import socket
from collections.abc import Sequence

from ttybridge.errors import PortTakenError, TtyBridgeError


async def bind(host: str, ports: Sequence[int], *, option: str = "--port") -> list[socket.socket]:
    """Bind the first port that is free on all addresses of the host.

    Args:
        host: A name or an address.
        ports: The ports to try, in order; 0 takes any that is free.
        option: The option that chooses the port, for errors.

    Returns:
        A bound socket for each address; all have the same port, none listens yet.

    Raises:
        PortTakenError: There is none.
        TtyBridgeError: The host is unknown, or the port is not allowed.
    """
    loop = asyncio.get_running_loop()
    for port in ports:
        try:
            found = await loop.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            return _bind_all(list(dict.fromkeys((f, a[:2]) for f, _, _, _, a in found)))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            raise TtyBridgeError(
                f"Cannot listen on {host}, port {port}: {error.strerror or error}.",
                hint=f"Choose others with {option} and {option.replace('port', 'host')}.",
            ) from error
    first, last = ports[0], ports[-1]
    what = f"Port {first} is" if first == last else f"All ports from {first} to {last} are"
    raise PortTakenError(
        f"{what} taken.", hint=f"Choose another with {option}, or 0 for any that is free."
    )


def _bind_all(addresses: list[tuple[int, tuple[object, ...]]]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, address in addresses:
            listener = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address if sockets[0] is listener else _same_port(address, sockets[0]))
    except OSError:
        for listener in sockets:
            listener.close()
        raise
    return sockets


def _same_port(address: tuple[object, ...], first: socket.socket) -> tuple[object, ...]:
    return (address[0], first.getsockname()[1])
