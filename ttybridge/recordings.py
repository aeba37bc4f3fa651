"""Recordings of the session: one at a time, started and stopped by people; the list of all."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ttybridge.config import Config
from ttybridge.core.people import Actor
from ttybridge.errors import RecordingError
from ttybridge.readers import format_size
from ttybridge.sessions.terminal import Terminal

if TYPE_CHECKING:  # few bridges record
    from ttybridge.adapters.recording_file import RecordingFile
    from ttybridge.sessions.recorder import Finish, Recorder

log = logging.getLogger(__name__)

ENDING = ".cast"
"""How the names of recordings end."""

MAX_LISTED = 200
"""Recordings that are listed, the newest."""

LEAST_BYTES = 64 << 10
"""Least room for a new recording, in bytes: its header, and some screens."""

MAX_NAME_BYTES = 255
"""Longest name of a file, in bytes (Linux)."""

TRIES = 100
"""Numbers that are tried at the end of a name that is taken."""


class Recorded(Protocol):
    """What is recorded: `sessions.hub.Terminals` has it."""

    async def recorded(self) -> Terminal:
        """Return the terminal that shows the session's whole window."""


class Audit(Protocol):
    """Takes events for the audit log."""

    def __call__(self, event: str, **fields: object) -> None:
        """Note an event."""


@dataclass(slots=True)
class _Running:
    recorder: "Recorder"
    file: "RecordingFile"
    name: str
    since: float
    task: asyncio.Task[None]


def default_folder(environ: Mapping[str, str]) -> Path:
    """Return where recordings are unless an option says otherwise."""
    base = Path(environ.get("XDG_DATA_HOME", ""))
    if not base.is_absolute():  # an empty or relative one does not count (XDG Base Directory)
        home = environ.get("HOME")
        base = (Path(home) if home else Path.home()) / ".local" / "share"
    return base / "ttybridge" / "recordings"


class Recordings:
    """Starts and stops recordings, and knows those that can be played.

    Attributes:
        folder: Where those are that get no name of their own.
        on_refused: Called when one is not made, or ends, because all take too much room.
    """

    def __init__(
        self,
        terminals: Recorded,
        config: Config,
        environ: Mapping[str, str],
        *,
        title: str,
        on_change: Callable[[], None],
        audit: Audit,
        say: Callable[[str], None],
    ) -> None:
        """Record nothing yet.

        Args:
            terminals: What is recorded.
            config: The options.
            environ: The environment, for the default folder, TERM and SHELL.
            title: What recordings call the session.
            on_change: Called when `state` has changed.
            audit: Takes events for the audit log.
            say: Called with a sentence for everybody when a recording has ended by itself.
        """
        self.folder = config.record_dir or default_folder(environ)
        self._terminals, self._config, self._environ = terminals, config, environ
        self._title = title
        self._on_change, self._audit, self._say = on_change, audit, say
        self._running: _Running | None = None
        self._starting = asyncio.Lock()
        self._elsewhere: dict[str, Path] = {}
        self.on_refused: Callable[[], None] = lambda: None

    @property
    def total_bytes(self) -> int:
        """Bytes of all recordings: those in the folder, and this run's elsewhere."""
        total = 0
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if is_plain(entry.name):
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_size
        for path in self._elsewhere.values():
            with contextlib.suppress(OSError):
                total += path.lstat().st_size
        return total

    def state(self) -> dict[str, object] | None:
        """Return what is told about the recording that goes on; None without one."""
        running = self._running
        if running is None:
            return None
        return {
            "since": running.since,
            "name": running.name,
            "input": running.recorder.with_input,
            "bytes": running.file.written_bytes,
        }

    async def start(
        self,
        file: Path | None,
        format: str | None,
        with_input: bool | None,
        by: Actor,
    ) -> dict[str, object]:
        """Start a recording, and return its state.

        Args:
            file: Where; nothing may be there yet. None for a name made of the time, in `folder`.
            format: `v2` or `v3`; None for the option's.
            with_input: Whether what is typed is recorded, too; None for the option's.
            by: Who wants it.

        Raises:
            RecordingError: There is one already, or the file cannot be made.
            TtyBridgeError: There is nothing to record.
        """
        from ttybridge.core.asciicast import Header
        from ttybridge.sessions.recorder import Recorder

        async with self._starting:
            if self._running is not None:
                raise RecordingError(
                    f"{self._running.name} is being recorded already.",
                    hint="Stop it first: ttybridge record stop.",
                )
            format = format or self._config.record_format
            if format not in ("v2", "v3"):
                raise RecordingError(f"{format[:20]!r} is no format of recordings: v2 or v3.")
            if with_input is None:
                with_input = self._config.record_input
            left_bytes = self._config.record_total_bytes - self.total_bytes
            if left_bytes < LEAST_BYTES:
                self.on_refused()
                raise RecordingError(
                    f"The recordings have reached {format_size(self._config.record_total_bytes)}.",
                    hint=f"Remove some from {self.folder}, or allow more with --record-total.",
                )
            recorder = Recorder(
                self._terminals.recorded,
                limit_bytes=min(self._config.record_limit_bytes, left_bytes),
                with_input=with_input,
                clock=asyncio.get_running_loop().time,
            )
            size = await recorder.open()
            since = time.time()
            try:
                opened = self._make(file, since, recorder.wake)
            except BaseException:
                recorder.drop()
                raise
            header = Header(
                version=int(format[1:]),
                size=size,
                started_at=int(since),
                title=self._title,
                terminal_type="xterm-256color",
                shell=self._environ.get("SHELL", ""),
            )
            recorder.begin(opened, header)
            name = opened.path.name
            if opened.path.parent != self.folder:
                self._elsewhere[name] = opened.path
            task = asyncio.get_running_loop().create_task(self._record(recorder, opened))
            self._running = _Running(recorder, opened, name, since, task)
            log.info("recording to %s", opened.path)
            self._audit("record", on=True, name=name, input=with_input, **_actor(by))
            self._on_change()
        return (self.state() or {}) | {"file": str(opened.path)}

    async def stop(self, by: Actor) -> dict[str, object]:
        """End the recording, and return its name, path, size and length.

        Raises:
            RecordingError: There is none.
        """
        running = self._running
        if running is None:
            raise nothing_recorded()
        self._audit("record", on=False, name=running.name, **_actor(by))
        running.recorder.stop()
        await asyncio.shield(running.task)
        return {
            "name": running.name,
            "file": str(running.file.path),
            "bytes": running.file.written_bytes,
            "seconds": round(running.recorder.seconds, 3),
        }

    def marker(self, label: str, by: Actor) -> None:
        """Set a marker in the recording.

        Raises:
            RecordingError: There is none.
        """
        if self._running is None:
            raise nothing_recorded()
        self._running.recorder.marker(label)

    def typed(self, data: bytes) -> None:
        """Take what somebody types into the session; recorded only where that was asked for."""
        if self._running is not None:
            self._running.recorder.typed(data)

    def list(self) -> "list[dict[str, object]]":
        """Return the recordings that can be played, the newest first."""
        from ttybridge.adapters.recording_file import Facts, look

        running = self._running
        found: dict[str, Facts] = {}
        for name, path in self._paths().items():
            if running is not None and running.file.path == path:
                size, seconds = running.file.written_bytes, round(running.recorder.seconds, 3)
                found[name] = Facts(size, int(running.since), seconds)
            elif (facts := look(path)) is not None:
                found[name] = facts
        newest = sorted(found.items(), key=lambda item: (item[1].started_at, item[0]))[::-1]
        return [
            {
                "name": name,
                "bytes": facts.size_bytes,
                "seconds": facts.seconds,
                "startedAt": facts.started_at,
                "isOpen": running is not None and running.name == name,
            }
            for name, facts in newest[:MAX_LISTED]
        ]

    def path_of(self, name: str) -> Path:
        """Return the file of a recording.

        Raises:
            RecordingError: There is none of this name in the folder, or made by this run.
        """
        path = self._elsewhere.get(name)
        if path is None and is_plain(name):
            path = self.folder / name
        if path is None or path.is_symlink() or not path.is_file():
            raise RecordingError("There is no recording of this name.")
        return path

    async def close(self) -> None:
        """End the recording, if there is one; for the end of the bridge."""
        async with self._starting:
            if self._running is not None:
                self._running.recorder.stop()
                await self._running.task

    def _make(
        self, file: Path | None, since: float, on_progress: Callable[[], None]
    ) -> "RecordingFile":
        from ttybridge.adapters.recording_file import RecordingFile, make_folder

        if file is not None:
            return RecordingFile(file.expanduser().absolute(), on_progress)
        make_folder(self.folder)
        stem = time.strftime("ttybridge-%Y%m%d-%H%M%S", time.localtime(since))
        path, number = self.folder / f"{stem}{ENDING}", 1
        while os.path.lexists(path) and number < TRIES:
            number += 1
            path = self.folder / f"{stem}-{number}{ENDING}"
        return RecordingFile(path, on_progress)

    async def _record(self, recorder: "Recorder", file: "RecordingFile") -> None:
        """Record until something ends that; tell why."""
        from ttybridge.sessions.recorder import Finish, Why

        finish = Finish(Why.ERROR, "something is wrong with ttybridge itself; its log says what")
        try:
            finish = await recorder.run()
        except Exception:
            log.exception("the recording failed")
        await file.close()
        if finish.why is Why.STOPPED and file.error is not None:
            finish = Finish(Why.ERROR, file.error.strerror or str(file.error))
        self._running = None
        if finish.why is not Why.STOPPED:
            self._audit("record", on=False, name=file.path.name, why=finish.why.value)
            if finish.why is Why.LIMIT:
                self.on_refused()
            sentence = self._sentence(finish, file, recorder.limit_bytes)
            if finish.why is Why.ENDED:
                log.info("%s", sentence)
            else:
                log.warning("%s", sentence)
            self._say(sentence)
        self._on_change()

    def _sentence(self, finish: "Finish", file: "RecordingFile", limit_bytes: int) -> str:
        from ttybridge.sessions.recorder import Why

        name = file.path.name
        if finish.why is Why.LIMIT:
            if limit_bytes < self._config.record_limit_bytes:
                limit = format_size(self._config.record_total_bytes)
                return (
                    f"All recordings have reached {limit}, and {name} has ended (--record-total)."
                )
            limit = format_size(self._config.record_limit_bytes)
            return f"The recording {name} has reached {limit} and has ended (--record-limit)."
        if finish.why is Why.ENDED:
            return f"The recording {name} has ended with the session."
        return f"The recording {name} has ended: {finish.message}. The session goes on."

    def _paths(self) -> dict[str, Path]:
        """Return the files that may be recordings, the newest of the folder's."""
        found: list[tuple[float, str]] = []
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if is_plain(entry.name) and entry.is_file(follow_symlinks=False):
                    found.append((entry.stat(follow_symlinks=False).st_mtime, entry.name))
        newest = sorted(found, reverse=True)[:MAX_LISTED]
        return {name: self.folder / name for _, name in newest} | self._elsewhere


def nothing_recorded() -> RecordingError:
    """Return the error that says that there is no recording to stop or mark."""
    return RecordingError("Nothing is being recorded.", hint="Start: ttybridge record start.")


def is_plain(name: str) -> bool:
    """Tell whether a text is the name of a recording, and nothing that leads elsewhere.

    >>> is_plain("demo.cast"), is_plain("../demo.cast"), is_plain(".cast"), is_plain("notes.txt")
    (True, False, False, False)
    """
    return (
        name.endswith(ENDING)
        and not name.startswith(".")
        and "/" not in name
        and name.isprintable()
        and len(os.fsencode(name)) <= MAX_NAME_BYTES
    )


def _actor(by: Actor) -> dict[str, object]:
    return {"by": by.name, "role": by.role.value, "via": by.entrance.value}
