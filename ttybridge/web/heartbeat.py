"""Engine.IO's heartbeat by the event loop's clock, which no change of the date touches.

python-engineio 4.15 compares times of the wall clock: when that is set forward while an answer is
under way, the client is dropped; when it is set back, a dead one stays for as long. And it looks at
all connections in turn, once in `ping_timeout`, so that dead ones stay for up to as much longer.
"""

import asyncio
from typing import Any

PENDING = 1.0
"""What the library's `last_ping` is while an answer is waited for: it only has to be true."""


def watch(socket: Any, ping: object) -> None:
    """Have a connection ended `ping_timeout` after a heartbeat that is not answered.

    Args:
        socket: The library's connection, before its first heartbeat.
        ping: The packet to send.
    """
    server, loop = socket.server, asyncio.get_running_loop()
    sent = 0

    def schedule() -> None:
        if socket.last_ping:  # else the last heartbeat is still to come
            socket.last_ping = None
            loop.call_later(server.ping_interval, begin)  # a task, only when there is work

    def begin() -> None:
        if not (socket.closing or socket.closed):
            server.start_background_task(send_ping)

    async def send_ping() -> None:
        nonlocal sent
        sent += 1
        mine, socket.last_ping = sent, PENDING
        await socket.send(ping)
        await asyncio.sleep(server.ping_timeout)
        # The answer has set `last_ping` to None, and begun the next of these.
        is_missing = sent == mine and socket.last_ping is not None
        if is_missing and not (socket.closing or socket.closed):
            await socket.close(wait=False, abort=False, reason=server.reason.PING_TIMEOUT)

    async def is_alive() -> bool:
        return True

    socket.schedule_ping = schedule
    socket.check_ping_timeout = is_alive
