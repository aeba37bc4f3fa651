"""Recordings over HTTP: `recordings/NAME` downloads one, `replay?name=NAME` plays it in a page."""

import asyncio
import contextlib
import html
import re
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

from ttybridge.core.access import Credentials, Principal
from ttybridge.core.origin import SecurityPolicy
from ttybridge.core.permissions import Action, Entrance, may
from ttybridge.core.throttle import Throttle
from ttybridge.errors import AccessDenied, RecordingError
from ttybridge.web.assets import REPLAY, Page
from ttybridge.web.security import Gate
from ttybridge.web.underway import Underway

CONTENT_TYPE = "application/x-asciicast"
"""Media type of recordings (asciinema)."""

PIECE_BYTES = 256 * 1024
"""What is read from the disk at once."""

RUNS_WASM: web.ResponseKey[bool] = web.ResponseKey("runs_wasm", bool)
"""Marks the answer whose page may compile WebAssembly: the player's terminal is written in it."""

_SCRIPTS = re.compile(r"script-src [^;]*")
_PLAIN = re.compile(r"[^A-Za-z0-9._-]")


class Shelf(Protocol):
    """Where recordings are."""

    def path_of(self, name: str) -> Path:
        """Return the file of a recording.

        Raises:
            RecordingError: There is none of this name.
        """


class Recorded(Shelf, Protocol):
    """Makes recordings, too; `ttybridge.recordings.Recordings` is the real one."""

    def state(self) -> Mapping[str, object] | None:
        """Return what is told about the recording that goes on; None without one."""


class RecordingsEntrance:
    """The two paths, for those who may see recordings.

    Args:
        shelf: Where recordings are.
        page: The built page.
        principal_of: Tells who sent a request that the gate has let through.
    """

    def __init__(
        self, shelf: Shelf, page: Page, principal_of: Callable[[web.BaseRequest], Principal]
    ) -> None:
        self._shelf, self._page, self._principal_of = shelf, page, principal_of
        self._underway = Underway()

    def install(self, router: web.UrlDispatcher, base: str = "") -> None:
        """Add the routes below a prefix; `allow_wasm` has to be added to the application, too."""
        router.add_get(f"{base}/recordings/{{name}}", self.download)
        router.add_get(f"{base}/replay", self.replay)

    async def replay(self, request: web.Request) -> web.StreamResponse:
        """Answer with the page that plays a recording; its script reads the name."""
        self._path(request, request.query.get("name", ""))
        response = self._page.files[REPLAY].respond(request, keep=False)
        response[RUNS_WASM] = True
        return response

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Answer with a recording, up to its last whole line."""
        from ttybridge.adapters.recording_file import open_recording

        name = request.match_info["name"]
        path = self._path(request, name)
        try:
            file = await asyncio.to_thread(open_recording, path)
        except RecordingError:
            raise AccessDenied(_NOT_THERE, status=404) from None
        with file:
            owner = self._principal_of(request).id
            return await self._underway.do(request, owner, _send(request, name, file))

    async def end_all_of(self, principal_id: str) -> None:
        """Cut the downloads of somebody whose credential has ended, or who may only watch now."""
        await self._underway.end_all_of(principal_id)

    def _path(self, request: web.Request, name: str) -> Path:
        principal = self._principal_of(request)
        if not may(principal.role, Action.REPLAY, Entrance.FILES):
            raise AccessDenied("Recordings are for owners and editors.", status=403)
        try:
            return self._shelf.path_of(name)
        except RecordingError:
            raise AccessDenied(_NOT_THERE, status=404) from None


_NOT_THERE = "There is no recording of this name."


async def _send(request: web.Request, name: str, file: BinaryIO) -> web.StreamResponse:
    from ttybridge.adapters.recording_file import whole_size

    left = await asyncio.to_thread(whole_size, file)
    response = web.StreamResponse(headers={"Content-Disposition": attachment(name)})
    response.content_type = CONTENT_TYPE
    response.content_length = left
    if "gzip" in request.headers.get("Accept-Encoding", "").lower():
        response.enable_compression(web.ContentCoding.gzip)
    await response.prepare(request)
    while left > 0 and request.method != "HEAD":
        data = await asyncio.to_thread(file.read, min(left, PIECE_BYTES))
        if not data:
            break  # somebody has cut the file
        left -= len(data)
        await response.write(data)
    await response.write_eof()
    return response


async def allow_wasm(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Widen the policy of the replay page; a signal `on_response_prepare`, after the gate's."""
    if response.get(RUNS_WASM):
        policy = response.headers["Content-Security-Policy"]
        wider = _SCRIPTS.sub("script-src 'self' 'wasm-unsafe-eval'", policy)
        response.headers["Content-Security-Policy"] = wider


def attachment(name: str) -> str:
    r"""Return the header that makes browsers save a file under its name (RFC 6266).

    >>> attachment("Vorführung 1.cast")
    'attachment; filename="Vorf_hrung_1.cast"; filename*=UTF-8\'\'Vorf%C3%BChrung%201.cast'
    """
    plain = _PLAIN.sub("_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


class _One:
    """A shelf with one recording."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def path_of(self, name: str) -> Path:
        if name != self.path.name:
            raise RecordingError(_NOT_THERE)
        return self.path


@contextlib.asynccontextmanager
async def serve_one(
    path: Path, page: Page, token: str, port: int, sockets: list[socket.socket]
) -> AsyncIterator[None]:
    """Serve one recording behind a token, and nothing else.

    Args:
        path: The recording.
        page: The built page.
        token: What lets in.
        port: The port of the sockets.
        sockets: Bound, not listening yet; closed by the caller.
    """
    policy = SecurityPolicy(port=port, public_files=frozenset(f"/{name}" for name in page.public))
    credentials = Credentials(token, new_id=lambda: secrets.token_urlsafe(18))
    gate = Gate(policy, credentials, Throttle(), page.login)
    app = web.Application()
    gate.install(app)
    app.on_response_prepare.append(allow_wasm)
    RecordingsEntrance(_One(path), page, gate.principal_of).install(app.router)
    named = f'data-recording="{html.escape(path.name)}"'.encode()
    body = page.files[REPLAY].forms["identity"].replace(b'data-recording=""', named, 1)

    async def replay(_request: web.Request) -> web.StreamResponse:
        response = web.Response(body=body, content_type="text/html", charset="utf-8")
        response[RUNS_WASM] = True
        return response

    app.router.add_get("/", replay)
    for name in page.public:
        app.router.add_get(f"/{name}", _file(page, name))
    runner = gate.runner(app)
    await runner.setup()
    try:
        for listener in sockets:
            await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


def _file(page: Page, name: str) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        return page.files[name].respond(request, keep=True)

    return serve
