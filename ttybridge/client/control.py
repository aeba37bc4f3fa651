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
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ttybridge.client.status import Status, parse_status
from ttybridge.errors import TtyBridgeError

TIMEOUT_S = 15.0
"""Seconds for an answer: a bridge on busy processors asks tmux first. A command may take longer."""

FIND_S = 5.0
"""Seconds for all bridges together to say what they are; usually they take milliseconds."""

MAX_ANSWER = 4 << 20
"""Bytes of an answer that are read; ours have some hundred, a list of variables some thousand."""

SOCKET = "control"
"""Name of the socket in a bridge's private folder."""


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

    def __init__(self, path: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self.path = path
        self._timeout_s = timeout_s

    def status(self) -> Status:
        """Return what the bridge says about itself."""
        answer = self._ask("GET", "/status")
        try:
            return parse_status(answer)
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
        connection = _Connection(self.path, self._timeout_s)
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
        self._connection = _Connection(path, TIMEOUT_S)
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
    controls = [Control(path) for path in _sockets(bases)]
    found: list[tuple[Control, Status]] = []

    def ask(control: Control) -> None:
        with contextlib.suppress(TtyBridgeError):  # it is just stopping, or was killed
            found.append((control, control.status()))

    # All at once, and no longer than one of them may take: one that hangs holds up nobody.
    asking = [threading.Thread(target=ask, args=(each,), daemon=True) for each in controls]
    for thread in asking:
        thread.start()
    until = time.monotonic() + FIND_S
    for thread in asking:
        thread.join(max(0.0, until - time.monotonic()))
    return sorted(found.copy(), key=lambda each: (each[1].started_at, each[1].pid))


def _sockets(bases: Sequence[Path]) -> Iterator[Path]:
    for base in bases:
        parent = base / f"ttybridge-{os.getuid()}"
        # Somebody else may have made it first, to be sent our environment.
        if not _is_private(parent):
            continue
        try:
            folders = sorted(parent.iterdir())
        except OSError:  # the last bridge in it has just stopped
            continue
        for folder in folders:
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

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path, self._timeout_s = path, timeout_s
        # Not one of the names in the class above: it forgets `sock` when the answer has begun.
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def connect(self) -> None:
        self.stream.settimeout(self._timeout_s)
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
        message = "The bridge does not answer in time."
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
