"""Asks running bridges of this user through their control sockets; blocking, standard library only.

A bridge has a private folder with a UNIX socket `control` in it, which speaks HTTP with JSON. Only
this user can reach it: what is sent there may be secret.
"""

import contextlib
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from ttybridge.client.channel import (
    MAX_ANSWER,
    Connection,
    error_of,
    failures_in_words,
    gone,
    parse,
    read,
    send,
    strange,
)
from ttybridge.client.people import Here, SharedLink, parse_here, parse_link, parse_links
from ttybridge.client.status import Status, parse_status
from ttybridge.errors import TtyBridgeError

T = TypeVar("T")

TIMEOUT_S = 15.0
"""Seconds for an answer: a bridge on busy processors asks tmux first. A command may take longer."""

FIND_S = 5.0
"""Seconds for all bridges together to say what they are; usually they take milliseconds."""

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
        return self._understood(parse_status, "GET", "/status")

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
            raise strange() from None

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
            raise strange() from None

    def people(self) -> Here:
        """Return who is here, and who waits."""
        return self._understood(parse_here, "GET", "/people")

    def answer(self, name: str) -> Mapping[str, Any]:
        """Return the answer to `GET /name`, such as `people`, as docs/control.md describes it."""
        return self._understood(dict, "GET", f"/{name}")

    def grant(self, who: str, role: str = "editor") -> None:
        """Give somebody a role: `viewer`, `editor` or `owner`.

        Args:
            who: A client's id such as `c7`, or a name that only one person has.
            role: The role.
        """
        self._ask("POST", "/grant", {"who": who, "role": role})

    def kick(self, who: str) -> str:
        """Remove somebody; returns a sentence on how they could come back, or nothing."""
        return str(self._ask("POST", "/kick", {"who": who}).get("note") or "")

    def admit(self, who: str) -> None:
        """Let in somebody who waits."""
        self._ask("POST", "/admit", {"who": who})

    def refuse(self, who: str) -> None:
        """Turn away somebody who waits."""
        self._ask("POST", "/refuse", {"who": who})

    def lock(self, on: bool = True) -> None:
        """Let nobody new in, or do so again."""
        self._ask("POST", "/lock", {"on": on})

    def approve(self, on: bool = True) -> None:
        """Have newcomers wait to be let in, or not."""
        self._ask("POST", "/approve", {"on": on})

    def share(
        self,
        role: str = "viewer",
        *,
        name: str = "",
        life_s: float | None = None,
        uses: int | None = None,
    ) -> SharedLink:
        """Make a link for somebody else.

        Args:
            role: What whoever opens it may do: `viewer`, `editor` or `owner`.
            name: What to call whoever opens it.
            life_s: Seconds until it ends, with all access by it; None for a day.
            uses: How many browsers it lets in; None for any number of viewers, or one other.
        """
        wanted: dict[str, object] = {"role": role, "name": name}
        wanted |= {} if life_s is None else {"lifeS": life_s}
        wanted |= {} if uses is None else {"uses": uses}
        return self._understood(parse_link, "POST", "/share", wanted)

    def links(self) -> tuple[SharedLink, ...]:
        """Return the links that were shared in this run; without their addresses."""
        return self._understood(parse_links, "GET", "/links")

    def revoke(self, link: str) -> None:
        """End a shared link by its id such as `l3`, with everybody who came by it."""
        self._ask("POST", "/revoke", {"link": link})

    def record(
        self, file: Path | None = None, *, format: str | None = None, with_input: bool | None = None
    ) -> Mapping[str, Any]:
        """Start a recording and return what the bridge says about it.

        Args:
            file: Where to, in full; None for a new file in the folder of recordings.
            format: `v2` or `v3`; None: as the bridge was told.
            with_input: Whether it has what is typed; None: as the bridge was told.
        """
        wanted: dict[str, object] = {"on": True, "format": format, "input": with_input}
        wanted["file"] = None if file is None else str(file)
        return self._recording(wanted)

    def stop_recording(self) -> Mapping[str, Any]:
        """End the recording and return what the bridge says about it."""
        return self._recording({"on": False})

    def marker(self, label: str) -> None:
        """Put a marker into the recording."""
        self._ask("POST", "/marker", {"label": label})

    def recordings(self) -> tuple[Mapping[str, Any], ...]:
        """Return the recordings that are there, as docs/control.md says."""
        return self._understood(lambda answer: _objects(answer["recordings"]), "GET", "/recordings")

    def audit(self) -> tuple[Mapping[str, Any], ...]:
        """Return the last events of the audit log, as docs/security.md says."""
        return self._understood(lambda answer: _objects(answer["events"]), "GET", "/audit")

    def run(self, text: str) -> "Running":
        """Begin to run a text in the shared pane; a context manager, see `Running`."""
        return Running(self.path, text)

    def stop(self) -> None:
        """Have the bridge stop; it does so after the answer."""
        self._ask("POST", "/stop", {})

    def _recording(self, wanted: Mapping[str, object]) -> Mapping[str, Any]:
        return self._understood(
            lambda answer: _objects([answer["recording"]])[0], "POST", "/record", wanted
        )

    def _understood(
        self,
        meaning: Callable[[Any], T],
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
    ) -> T:
        answer = self._ask(method, path, body)
        try:
            return meaning(answer)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise strange() from None

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        connection = Connection(self.path, self._timeout_s)
        with contextlib.closing(connection), send(connection, method, path, body) as response:
            return parse(read(response))


class Running:
    """A text that runs in the shared pane.

    Iterating gives its output in pieces. Leaving the context before the end, and `close` from
    whatever thread, sends Ctrl-C to the pane.

    Attributes:
        status: The exit status, when the output has ended.
    """

    status: int | None = None

    def __init__(self, path: Path, text: str) -> None:
        self._connection = Connection(path, TIMEOUT_S)
        try:
            self._response = send(self._connection, "POST", "/run", {"text": text})
            self._connection.stream.settimeout(None)
        except BaseException:
            self._connection.close()
            raise

    def __iter__(self) -> Iterator[str]:
        while self.status is None:
            with failures_in_words():
                line = self._response.readline(MAX_ANSWER)
            if not line:
                raise gone()
            message = parse(line)
            if "output" in message:
                yield str(message["output"])
            elif isinstance(message.get("status"), int):
                self.status = int(message["status"])
            else:
                raise error_of(message)

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


def _objects(answer: Any) -> tuple[Mapping[str, Any], ...]:
    """Return a list of objects.

    Raises:
        TypeError: It is none.
    """
    if not (isinstance(answer, list) and all(isinstance(each, dict) for each in answer)):
        raise TypeError
    return tuple(answer)


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
