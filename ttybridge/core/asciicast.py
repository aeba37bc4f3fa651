"""Recordings of terminals as asciicast v2 and v3: writes and reads their lines.

Both are UTF-8 text: a header, then an event in each line. v2 counts the time of an event from the
beginning, v3 from the event before it, allows comments, and ends with the exit status. See
https://docs.asciinema.org/manual/asciicast/v2/ and …/v3/.
"""

import codecs
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ttybridge.errors import TtyBridgeError
from ttybridge.model import WindowSize

OUTPUT, INPUT, RESIZE, MARKER, EXIT = "o", "i", "r", "m", "x"
"""Codes of events."""

RESET = "\x1bc"
"""RIS: what comes after it does not depend on what came before (ECMA-48)."""

MAX_LINE_BYTES = 16 << 20
"""Longest line that is read, in bytes. Ours have 400 KB at most: 64 KiB of output, escaped."""

MAX_CELLS = 10_000
"""Most columns or rows that are read; players would reserve memory for more."""

MAX_TITLE = 200
"""Longest title, and longest label of a marker, in characters."""

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class BadRecording(TtyBridgeError):
    """A recording cannot be read; the message names the line."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(
            f"Line {line}: {problem}.", hint="Recordings are files in asciicast v2 or v3 format."
        )


@dataclass(frozen=True, slots=True)
class Header:
    """What a recording says about itself."""

    version: int
    """2 or 3."""
    size: WindowSize
    """The window size at the beginning."""
    started_at: int | None = None
    """Seconds since 1970."""
    title: str = ""
    """What was recorded."""
    terminal_type: str = ""
    """TERM of what was recorded."""
    shell: str = ""
    """SHELL of what was recorded."""
    idle_limit_s: float | None = None
    """Longest time without output that players are to show, in seconds."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a recording."""

    at_s: float
    """Seconds since the beginning."""
    code: str
    """`o`, `i`, `r`, `m` or `x`."""
    data: str
    """Output or input; COLSxROWS; a label; an exit status."""

    @property
    def size(self) -> WindowSize | None:
        """The size that an `r` event tells.

        >>> Event(1.5, "r", "100x40").size
        WindowSize(cols=100, rows=40)
        """
        return _size(self.data) if self.code == RESIZE else None


class Writer:
    r"""Makes the lines of one recording; times are seconds since its beginning.

    A character whose bytes come in two parts is whole in the second one's line; bytes that are no
    UTF-8 become U+FFFD.

    >>> writer = Writer(Header(3, WindowSize(cols=80, rows=24)))
    >>> writer.output(1.5, b"caf\xc3"), writer.output(2.0, b"\xa9")
    ('[1.5, "o", "caf"]\n', '[0.5, "o", "é"]\n')
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self._decoders = {code: _decoder() for code in (OUTPUT, INPUT)}
        self._last_us = 0

    def first_line(self) -> str:
        """Return the header's line."""
        header, size = self.header, self.header.size
        fields: dict[str, object] = {"version": header.version}
        if header.version == 2:
            fields |= {"width": size.cols, "height": size.rows}
            environment = {"TERM": header.terminal_type, "SHELL": header.shell}
        else:
            fields["term"] = {"cols": size.cols, "rows": size.rows} | (
                {"type": header.terminal_type} if header.terminal_type else {}
            )
            environment = {"SHELL": header.shell}
        if header.started_at is not None:
            fields["timestamp"] = header.started_at
        if title := one_line(header.title):
            fields["title"] = title
        if header.idle_limit_s is not None:
            fields["idle_time_limit"] = header.idle_limit_s
        if environment := {name: value for name, value in environment.items() if value}:
            fields["env"] = environment
        return _dump(fields)

    def output(self, at_s: float, data: bytes) -> str:
        """Return the line for output; empty when `data` ends none of its characters."""
        return self._text(at_s, OUTPUT, data)

    def input(self, at_s: float, data: bytes) -> str:
        """Return the line for what was typed; empty when `data` ends none of its characters."""
        return self._text(at_s, INPUT, data)

    def reset(self, at_s: float) -> str:
        """Return the line that starts the screen anew: the output goes on elsewhere."""
        self._decoders[OUTPUT] = _decoder()
        return self._event(at_s, OUTPUT, RESET)

    def resize(self, at_s: float, size: WindowSize) -> str:
        """Return the line for a new window size."""
        return self._event(at_s, RESIZE, f"{size.cols}x{size.rows}")

    def marker(self, at_s: float, label: str) -> str:
        """Return the line for a marker; its label is cut to `MAX_TITLE` characters in one line."""
        return self._event(at_s, MARKER, one_line(label))

    def end(self, at_s: float, status: int | None) -> str:
        """Return the last lines: what is left of a character, and the exit status if v3 has it."""
        left = self._decoders[OUTPUT].decode(b"", final=True)
        lines = self._event(at_s, OUTPUT, left) if left else ""
        if status is not None and self.header.version == 3:
            lines += self._event(at_s, EXIT, str(status))
        return lines

    def _text(self, at_s: float, code: str, data: bytes) -> str:
        text = self._decoders[code].decode(data)
        return self._event(at_s, code, text) if text else ""

    def _event(self, at_s: float, code: str, data: str) -> str:
        # In whole microseconds: intervals add up to the time, however many there are.
        now_us = max(round(at_s * 1e6), self._last_us)
        shown_us = now_us - self._last_us if self.header.version == 3 else now_us
        self._last_us = now_us
        return _dump([shown_us / 1e6, code, data])


class Reader:
    """Reads the lines of one recording.

    Attributes:
        header: What it says about itself.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        """Read the header.

        Args:
            lines: The lines, each with its line feed; of the last one it may be missing, as after
                a recorder that was killed while it wrote: then it need not be whole.

        Raises:
            BadRecording: The first line is no header of v2 or v3.
        """
        self._lines = iter(lines)
        self._number = 1
        self._at_s = 0.0
        self.header = _header(_value(next(self._lines, b""), 1))

    def events(self) -> Iterator[Event]:
        """Yield the events; those of unknown kinds are left out, as both formats want it.

        Raises:
            BadRecording: A line is malformed.
        """
        for line in self._lines:
            self._number += 1
            if not line.strip() or (self.header.version == 3 and line.startswith(b"#")):
                continue
            try:
                event = self._event(_value(line, self._number))
            except BadRecording:
                if line.endswith(b"\n"):
                    raise
                return
            if event is not None:
                yield event

    def _event(self, value: object) -> Event | None:
        number = self._number
        match value:
            case [int() | float() as at, str(code), str(data)] if not isinstance(at, bool):
                pass
            case _:
                raise BadRecording(number, 'this is no event, such as [1.5, "o", "text"]')
        seconds = _seconds(at)
        if seconds is None:
            raise BadRecording(number, f"{str(at)[:20]} is no time")
        # Others write times that go back by a rounding error; nothing can be shown earlier.
        at_s = self._at_s + seconds if self.header.version == 3 else max(seconds, self._at_s)
        self._at_s = at_s
        if code not in (OUTPUT, INPUT, RESIZE, MARKER, EXIT):
            return None
        if code == RESIZE and _size(data) is None:
            raise BadRecording(number, f"{one_line(data)[:20]!r} is no size, such as 80x24")
        return Event(at_s, code, data)


def one_line(text: str) -> str:
    r"""Return a text fit for a title or a label: one line without controls, not too long.

    >>> one_line("make\n\x1b[1m test ")
    'make [1m test'
    """
    return _CONTROLS.sub(" ", _SURROGATES.sub("\ufffd", text))[:MAX_TITLE].strip()


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _value(line: bytes, number: int) -> object:
    """Return what a line says; lone surrogates, which no terminal can be sent, are replaced."""
    if len(line) > MAX_LINE_BYTES:
        raise BadRecording(number, f"it has more than {MAX_LINE_BYTES >> 20} MB")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRecording(number, "this is not UTF-8 text") from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        what = "the file is empty" if number == 1 and not line else "this is not JSON"
        raise BadRecording(number, what) from None
    if isinstance(value, list):
        return [_SURROGATES.sub("\ufffd", v) if isinstance(v, str) else v for v in value]
    return value


def _header(value: object) -> Header:
    if not isinstance(value, dict) or "version" not in value:
        raise BadRecording(1, "this is no header of a recording")
    version = value["version"]
    if version not in (2, 3) or isinstance(version, bool):
        raise BadRecording(1, f"version {str(version)[:20]!r} of asciicast is not read here")
    term = value.get("term") if version == 3 else None
    term = term if isinstance(term, dict) else {}
    names = ("width", "height") if version == 2 else ("cols", "rows")
    cols, rows = ((value if version == 2 else term).get(name) for name in names)
    size = _size(f"{cols}x{rows}")
    if size is None:
        raise BadRecording(1, f"the window size {one_line(f'{cols}x{rows}')[:40]} is none")
    env = value.get("env")
    env = env if isinstance(env, dict) else {}
    started_at = _seconds(value.get("timestamp"))
    return Header(
        version=int(version),
        size=size,
        started_at=None if started_at is None else int(started_at),
        title=_word(value.get("title")),
        terminal_type=_word(env.get("TERM") if version == 2 else term.get("type")),
        shell=_word(env.get("SHELL")),
        idle_limit_s=_seconds(value.get("idle_time_limit")) or None,
    )


def _word(value: object) -> str:
    return one_line(value) if isinstance(value, str) else ""


def _seconds(value: object) -> float | None:
    """Return a number of seconds; None for what is none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) and 0 <= seconds < 1e12 else None


def _size(text: str) -> WindowSize | None:
    found = _SIZE.fullmatch(text)
    if not found:
        return None
    cols, rows = int(found[1]), int(found[2])
    return (
        WindowSize(cols=cols, rows=rows)
        if 0 < cols <= MAX_CELLS and 0 < rows <= MAX_CELLS
        else None
    )
