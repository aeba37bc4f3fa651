"""The control socket: the running bridge, for commands of the same user on the same machine.

HTTP with JSON on a UNIX socket in a private folder; who reaches it is this user or root, and so the
owner. It is what `ttybridge status`, `ttybridge share` and the notebook extension speak to:
docs/control.md.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from ttybridge.core.people import Actor
from ttybridge.core.permissions import Entrance
from ttybridge.errors import TtyBridgeError
from ttybridge.model import Role
from ttybridge.web.operations import Operations, Output
from ttybridge.web.routes import ROUTES, Route, answer, refusal

SOCKET = "control"
"""Name of the socket in the bridge's private folder."""

MAX_BODY_BYTES = 16 << 20
"""Largest request: a whole environment, or the text of a cell."""

MAX_LINE_CHARS = 64 << 10
"""Most characters of output in one line of an answer; escaped, each may take twelve bytes."""

SHUTDOWN_TIMEOUT_S = 1.0
"""Time for requests that still run when the bridge stops, in seconds."""

OWNER = Actor(Role.OWNER, "owner", Entrance.CONTROL)
"""Who asks on the control socket."""


@contextlib.asynccontextmanager
async def control_socket(folder: Path, operations: Operations) -> AsyncIterator[Path]:
    """Listen on `folder/control`; give its path.

    Args:
        folder: A folder that only this user can enter.
        operations: What is asked for.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_say_errors])
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _handler(route, operations))
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S, handler_cancellation=True
    )
    await runner.setup()
    path = folder / SOCKET
    try:
        await web.UnixSite(runner, str(path)).start()
        path.chmod(0o600)
        yield path
    finally:
        await runner.cleanup()
        with contextlib.suppress(OSError):
            path.unlink()


@web.middleware
async def _say_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:
        return refusal(error)


def _handler(route: Route, operations: Operations) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        found = await answer(route, operations, lambda: OWNER, request.read)
        if isinstance(found, Mapping):
            return web.json_response(found)
        return await _hand_on(request, found)

    return handle


async def _hand_on(request: web.Request, running: Output) -> web.StreamResponse:
    """Answer with lines of JSON while something runs."""
    async with running as output:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        try:
            async for item in output:
                for message in _messages(item):
                    await response.write(_line(message))
        except TtyBridgeError as error:
            await response.write(_line({"error": error.message, "hint": error.hint}))
        await response.write_eof()
    return response


def _messages(item: str | int) -> Iterator[Mapping[str, object]]:
    """Yield the messages for an item: a line of JSON is read whole, so output is cut."""
    if isinstance(item, int):
        yield {"status": item}
        return
    for at in range(0, len(item), MAX_LINE_CHARS):
        yield {"output": item[at : at + MAX_LINE_CHARS]}


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"
