"""Carries the bytes of one SSH connection between stdin and stdout and a bridge's WebSocket.

ssh runs it as its ProxyCommand. One chunk is under way in each direction: whoever is slow makes
the other side wait, and nothing piles up here. Reads and writes block in threads, since stdin and
stdout may be pipes, sockets, files or terminals, shared with others that a non-blocking mode
would surprise; the threads are daemons, since one that waits for stdin cannot be ended.
"""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from ttybridge.client.address import Address
from ttybridge.client.http import asking
from ttybridge.core.public_key import PublicKey
from ttybridge.errors import TtyBridgeError
from ttybridge.logs import one_line
from ttybridge.model import Secret

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

P = ParamSpec("P")
T = TypeVar("T")

CHUNK = 64 * 1024
"""Bytes read at once: what a pipe holds (pipe(7)); the bridge takes frames up to 1,000,000."""

PING_S = 20.0
"""Seconds between two pings; see `ALIVE_S` in ssh_config."""

SILENCE_S = 3 * PING_S
"""Seconds without any frame, pongs included, after which the line is taken for dead."""

CLOSE_S = 2.0
"""Longest time that saying goodbye takes: ssh is gone already, or somebody waits for our end."""

_ENDINGS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
_NORMAL = (None, 1000, 1001, 1005)
"""Close codes of an end that nobody needs to hear of."""


async def run(address: Address, token: Secret, key: PublicKey) -> None:
    """Carry bytes until stdin ends, the bridge closes, or a signal says stop.

    Raises:
        TtyBridgeError: The bridge cannot be reached, refuses, or the line is lost.
    """
    with _stopped_by_signals() as stopped:
        connection = asyncio.create_task(_connection(address, token, key))
        await asyncio.wait((connection, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not connection.done():
            connection.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await connection


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[asyncio.Future[None]]:
    """Give a future that is done when a signal asks to stop: SIGHUP is how ssh ends us."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()

    def stop() -> None:
        if not stopped.done():
            stopped.set_result(None)

    for number in _ENDINGS:
        loop.add_signal_handler(number, stop)
    try:
        yield stopped
    finally:
        for number in _ENDINGS:
            loop.remove_signal_handler(number)


async def _connection(address: Address, token: Secret, key: PublicKey) -> None:
    headers = {"X-Colab-Ssh-Pubkey": _header(key)}
    async with asking(address, token) as (session, proxy):
        socket = await session.ws_connect(
            f"{address.base}/colab/ssh",
            headers=headers,
            proxy=proxy,
            compress=0,
            autoclose=False,
            max_msg_size=4 * 1024 * 1024,
        )
        try:
            await _carry(socket)
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await socket.close()


def _header(key: PublicKey) -> str:
    """Return a key as a header: one line, and only what every proxy lets through."""
    comment = key.comment if key.comment.isascii() else ""
    return f"{key.line} {comment}".strip()


async def _carry(socket: "ClientWebSocketResponse") -> None:
    """Run both directions; the first that ends, or fails, ends the other."""
    sender = asyncio.create_task(_from_stdin(socket))
    others = (asyncio.create_task(_to_stdout(socket)), asyncio.create_task(_keep_alive(socket)))
    tasks = (sender, *others)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if done == {sender}:
            # Before the receiver is cancelled, after which aiohttp no longer waits for the
            # bridge's answer, and so for what is still under way to it.
            await socket.close()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _from_stdin(socket: "ClientWebSocketResponse") -> None:
    # A terminal that is gone says EIO: there will be nothing more, as at the end of a file.
    with contextlib.suppress(OSError):
        while data := await _in_thread(os.read, 0, CHUNK):
            try:
                await socket.send_bytes(data)
            except ConnectionError:
                # What came in before the end may say why; the other direction sees to it.
                await asyncio.Event().wait()


async def _to_stdout(socket: "ClientWebSocketResponse") -> None:
    from aiohttp import WSMsgType

    while True:
        try:
            message = await socket.receive(timeout=SILENCE_S)
        except TimeoutError:
            raise _lost(f"nothing came for {SILENCE_S:.0f} s") from None
        if message.type is WSMsgType.BINARY:
            try:
                await _in_thread(_write, message.data)
            except OSError:  # ssh has gone, and does not want the rest
                return
        elif message.type is WSMsgType.CLOSE:
            if message.data not in _NORMAL:
                raise _lost(f"{message.data} {one_line(message.extra or '')[:200]}".strip())
            return
        elif message.type in (WSMsgType.CLOSED, WSMsgType.CLOSING):
            if socket.close_code not in _NORMAL:
                raise _lost("the network went away")
            return
        else:
            raise _lost("it sends something else than SSH")


def _write(data: bytes) -> None:
    """Write all of a message to stdout."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


async def _keep_alive(socket: "ClientWebSocketResponse") -> None:
    """Ping, so that a dead line is noticed and no proxy takes a quiet one for dead."""
    while True:
        await asyncio.sleep(PING_S)
        try:
            await socket.ping()
        except ConnectionError:
            await asyncio.Event().wait()


def _lost(reason: str) -> TtyBridgeError:
    message = f"The connection to the bridge is lost: {reason}."
    return TtyBridgeError(message, hint="Log in again.")


async def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a blocking call returns; when cancelled, the call goes on and is forgotten."""
    result: Future[T] = Future()

    def work() -> None:
        result.set_running_or_notify_cancel()  # from here on it cannot be cancelled
        try:
            value = call(*args, **kwargs)
        except Exception as error:
            result.set_exception(error)
        else:
            result.set_result(value)

    threading.Thread(target=work, daemon=True).start()
    return await asyncio.wrap_future(result)
