"""A port for a program that has to be told one."""

import random
import socket

RANGE = (10_000, 32_000)
"""Below the ports that the kernel takes for connections and for whoever asks for any port (Linux:
32768 to 60999): one of those can be somebody else's by the time that our program listens."""


def free_port() -> int:
    """Return a port of the loopback interface at which nobody listens."""
    while True:
        port = random.randrange(*RANGE)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
