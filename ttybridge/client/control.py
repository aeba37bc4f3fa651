"""Asks running bridges of this user through their control sockets; blocking, standard library only.

A bridge has a private folder with a UNIX socket `control` in it, which speaks HTTP with JSON. Only
this user can reach it: what is sent there may be secret.
"""

import contextlib
import http.client
import json
import os
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from ttybridge.errors import TtyBridgeError

TIMEOUT_S = 15.0
"""Seconds for an answer: a bridge on busy processors asks tmux first. A command may take longer."""

MAX_ANSWER = 4 << 20
"""Bytes of an answer that are read; ours have some hundred, a list of variables some thousand."""

SOCKET = "control"
"""Name of the socket in a bridge's private folder."""


@dataclass(frozen=True, slots=True)
class TunnelStatus:
    """The tunnel of a bridge."""

    name: str
    """The provider, such as `ngrok`."""
    state: str
    """`open`, or `reopening` while its address is lost."""
    urls: tuple[str, ...]
    """Its public addresses, without token."""
    notes: tuple[str, ...]
    """Sentences about what the user may not expect."""


@dataclass(frozen=True, slots=True)
class SshStatus:
    """The SSH server of a bridge."""

    user: str
    """The account to log in to."""
    host: str
    """Name or address of the machine that it runs on."""
    port: int
    """Its port there."""
    command: str
    """The command that logs in from where `host` is reached."""
    host_key: str
    """The public half of its host key."""
    fingerprint: str
    """Fingerprint of that, `SHA256:…`."""
    public: tuple[str, int] | None
    """Public host and port that lead to it; None when only the web address does."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a bridge says about itself."""

    pid: int
    """Its process."""
    label: str
    """The name that it was given; may be empty."""
    version: str
    """Version of the program."""
    started_at: float
    """When it was started, in seconds since 1970."""
    session: str
    """The tmux session, or the direct command."""
    mode: str
    """How clients share it: `tmux`, `exclusive`, `container` or `direct`."""
    port: int
    """The local port."""
    address: str
    """The local address, without token."""
    clients: int
    """Clients that are connected."""
    tunnel: TunnelStatus | None
    """The tunnel, if there is one."""
    ssh: SshStatus | None
    """The SSH server, if there is one."""
    proxy: tuple[int, ...]
    """Ports whose web apps are served below `/proxy/`."""

    @property
    def public_url(self) -> str:
        """The public address without token; while it is lost, the last one. Empty without one."""
        urls = self.tunnel.urls if self.tunnel else ()
        url = next((url for url in urls if url.startswith(("https:", "http:"))), "")
        return url and url.rstrip("/") + (urlsplit(self.address).path or "/")


@dataclass(frozen=True, slots=True)
class Link:
    """A link that lets somebody in."""

    url: str
    """The whole address; public when there is a tunnel."""
    query: str
    """Its end, from the question mark: for other addresses that lead to the same bridge."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of changes of the environment."""

    set: int
    """Variables that were set."""
    unset: int
    """Variables that were removed."""
    skipped: tuple[str, ...]
    """Names that the bridge leaves alone."""


class Control:
    """The control socket of one bridge; each call is a connection of its own.

    Every method raises TtyBridgeError when the bridge is gone, refuses, or answers something else.

    Attributes:
        path: The socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def status(self) -> Status:
        """Return what the bridge says about itself."""
        answer = self._ask("GET", "/status")
        try:
            return _status(answer)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _strange() from None

    def link(
        self, *, frame: bool = False, life_s: float | None = None, uses: int | None = None
    ) -> Link:
        """Make a link.

        Args:
            frame: Whether it is for a frame of another site, without cookies.
            life_s: Seconds in which it can be opened; None: as the bridge was told.
            uses: How many browsers it lets in; None: as the bridge was told.
        """
        wanted: dict[str, object] = {"frame": frame}
        if life_s is not None:
            wanted["lifeS"] = life_s
        if uses is not None:
            wanted["uses"] = uses
        answer = self._ask("POST", "/link", wanted)
        try:
            return Link(str(answer["url"]), str(answer["query"]))
        except KeyError:
            raise _strange() from None

    def add_host(self, url: str) -> None:
        """Have the bridge answer under another public name, such as `https://name`."""
        self._ask("POST", "/hosts", {"url": url})

    def send_environment(self, changed: Mapping[bytes, bytes], unset: Sequence[bytes]) -> Sent:
        """Change variables of the session's new windows and of later SSH logins."""
        wanted = {
            "set": {os.fsdecode(name): os.fsdecode(value) for name, value in changed.items()},
            "unset": [os.fsdecode(name) for name in unset],
        }
        answer = self._ask("POST", "/environment", wanted)
        try:
            skipped = tuple(str(name) for name in answer.get("skipped", ()))
            return Sent(int(answer["set"]), int(answer["unset"]), skipped)
        except (KeyError, TypeError, ValueError):
            raise _strange() from None

    def run(self, text: str) -> "Running":
        """Begin to run a text in the shared pane; a context manager, see `Running`."""
        return Running(self.path, text)

    def stop(self) -> None:
        """Have the bridge stop; it does so after the answer."""
        self._ask("POST", "/stop", {})

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        connection = _Connection(self.path)
        with contextlib.closing(connection), _send(connection, method, path, body) as response:
            return _parse(_read(response))


class Running:
    """A text that runs in the shared pane.

    Iterating gives its output in pieces. Leaving the context before the end, and `close` from
    whatever thread, sends Ctrl-C to the pane.

    Attributes:
        status: The exit status, when the output has ended.
    """

    status: int | None = None

    def __init__(self, path: Path, text: str) -> None:
        self._connection = _Connection(path)
        try:
            self._response = _send(self._connection, "POST", "/run", {"text": text})
            self._connection.stream.settimeout(None)
        except BaseException:
            self._connection.close()
            raise

    def __iter__(self) -> Iterator[str]:
        while self.status is None:
            with _failures_in_words():
                line = self._response.readline(MAX_ANSWER)
            if not line:
                raise _gone()
            message = _parse(line)
            if "output" in message:
                yield str(message["output"])
            elif isinstance(message.get("status"), int):
                self.status = int(message["status"])
            else:
                raise _error(message)

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):  # it has ended
            self._connection.stream.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
        self._response.close()
        self._connection.close()


def find(bases: Sequence[Path]) -> list[tuple[Control, Status]]:
    """Return the bridges of this user that answer, the oldest first.

    Args:
        bases: Where the folders of running bridges may be, such as `/tmp`.
    """
    found = []
    for path in _sockets(bases):
        control = Control(path)
        try:
            found.append((control, control.status()))
        except TtyBridgeError:
            continue  # it is just stopping, or was killed
    return sorted(found, key=lambda each: (each[1].started_at, each[1].pid))


def _sockets(bases: Sequence[Path]) -> Iterator[Path]:
    for base in bases:
        parent = base / f"ttybridge-{os.getuid()}"
        # Somebody else may have made it first, to be sent our environment.
        if not _is_private(parent):
            continue
        for folder in sorted(parent.iterdir()):
            if not folder.name.startswith(".") and _is_private(folder):
                path = folder / SOCKET
                if path.is_socket():
                    yield path


def _is_private(folder: Path) -> bool:
    """Tell whether it is a folder that this user alone can enter."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return is_ours and not found.st_mode & 0o077


class _Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path
        # Not one of the names in the class above: it forgets `sock` when the answer has begun.
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def connect(self) -> None:
        self.stream.settimeout(TIMEOUT_S)
        self.stream.connect(str(self._path))
        self.sock = self.stream

    def close(self) -> None:
        super().close()
        self.stream.close()


def _send(
    connection: _Connection, method: str, path: str, body: Mapping[str, object] | None
) -> http.client.HTTPResponse:
    # Invalid UTF-8 in variables is lone surrogates here, which only escapes can carry.
    data = None if body is None else json.dumps(body, ensure_ascii=True).encode()
    headers = {"Content-Type": "application/json"} if data is not None else {}
    with _failures_in_words():
        connection.request(method, path, data, headers)
        response = connection.getresponse()
    if response.status >= 300:
        with response:
            raise _error(_parse(_read(response)))
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    with _failures_in_words():
        return response.read(MAX_ANSWER)


@contextlib.contextmanager
def _failures_in_words() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        message = f"The bridge does not answer within {TIMEOUT_S:.0f} s."
        raise TtyBridgeError(message, hint="The machine may be busy: try again.") from None
    except (OSError, ValueError, http.client.HTTPException):  # ValueError: closed meanwhile
        raise _gone() from None


def _parse(data: bytes) -> Any:
    """Return an object of JSON, and nothing else."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise _strange() from None
    if not isinstance(found, dict):
        raise _strange()
    return found


def _error(message: Mapping[str, object]) -> TtyBridgeError:
    text = str(message.get("error") or "The bridge refuses that.")
    return TtyBridgeError(text, hint=str(message.get("hint") or ""))


def _gone() -> TtyBridgeError:
    return TtyBridgeError("The bridge does not answer: it has stopped.", hint="Start it again.")


def _strange() -> TtyBridgeError:
    message = "The bridge answers in a way that is not understood."
    return TtyBridgeError(message, hint="Stop it and start it again, with this version.")


def _status(answer: Any) -> Status:
    tunnel, ssh = answer["tunnel"], answer["ssh"]
    return Status(
        pid=int(answer["pid"]),
        label=str(answer["label"]),
        version=str(answer["version"]),
        started_at=float(answer["startedAt"]),
        session=str(answer["session"]),
        mode=str(answer["mode"]),
        port=int(answer["port"]),
        address=str(answer["address"]),
        clients=int(answer["clients"]),
        tunnel=tunnel and _tunnel(tunnel),
        ssh=ssh and _ssh(ssh),
        proxy=tuple(int(port) for port in answer["proxy"]),
    )


def _tunnel(answer: Any) -> TunnelStatus:
    urls, notes = map(str, answer["urls"]), map(str, answer["notes"])
    return TunnelStatus(str(answer["name"]), str(answer["state"]), tuple(urls), tuple(notes))


def _ssh(answer: Any) -> SshStatus:
    host, colon, port = str(answer["public"] or "").removeprefix("tcp://").rpartition(":")
    return SshStatus(
        user=str(answer["user"]),
        host=str(answer["host"]),
        port=int(answer["port"]),
        command=str(answer["command"]),
        host_key=str(answer["hostKey"]),
        fingerprint=str(answer["fingerprint"]),
        public=(host, int(port)) if colon else None,
    )
