"""The least that a bridge on aiohttp and python-socketio can be: what these two take is its time.

`python -m benchmarks.plain_bridge PORT COMMAND…` serves the command on ptys, one for each client,
which speaks enough of the page's protocol for the viewers here. It checks nothing.
"""

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
from typing import Any

import socketio
from aiohttp import web

READ_BYTES = 64 * 1024

sio = socketio.AsyncServer(async_mode="aiohttp", async_handlers=False)
ptys: dict[str, int] = {}


@sio.on("connect")  # type: ignore[untyped-decorator]  # socketio has no types
async def on_connect(sid: str, environ: object, auth: dict[str, Any]) -> None:
    """Start the command for a client."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", auth["rows"], auth["cols"], 0, 0))
    ptys[sid] = fd
    asyncio.get_running_loop().add_reader(fd, on_readable, sid, fd)


def on_readable(sid: str, fd: int) -> None:
    """Send what the command prints."""
    loop = asyncio.get_running_loop()
    try:
        data = os.read(fd, READ_BYTES)
    except OSError:  # it has ended
        loop.remove_reader(fd)
        return
    tasks.add(task := loop.create_task(sio.emit("out", (0, data), to=sid)))
    task.add_done_callback(tasks.discard)


@sio.on("in")  # type: ignore[untyped-decorator]
async def on_in(sid: str, seq: int, text: str) -> None:
    """Type."""
    os.write(ptys[sid], text.encode())


tasks: set[asyncio.Task[None]] = set()

if __name__ == "__main__":
    app = web.Application()
    sio.attach(app, socketio_path="tty")
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
