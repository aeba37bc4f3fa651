"""What clients say and what they are told, as in docs/protocol.md; every parser of their messages.

Nothing here does I/O. A message that does not fit raises `ProtocolError`, which ends its sender.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ttybridge.errors import ProtocolError
from ttybridge.model import Display, End, WindowSize

VERSION = 1
"""Version of the page's protocol."""

MAX_MESSAGE_BYTES = 1_000_000
"""Largest message to the server, in bytes (python-engineio's own default)."""

MAX_INPUT_UNITS = 16 * 1024
"""Most UTF-16 code units in one `in`: at most 48 KiB of UTF-8."""

CHUNK_BYTES = 64 * 1024
"""Most bytes of output in one message: larger ones are not faster (92 MB/s against 88 at 256 KB)
and hold up everything behind them on a slow line."""

MAX_NAME_UNITS = 200
"""Longest name of a person that is looked at; it is cut to `people.MAX_NAME` then."""

DISCONNECT = "1"
"""Socket.IO packet with which the server ends a connection to the default namespace."""

_PACKET = re.compile(
    r"""(?xs)
    1 | 2 | 2probe | 3 | 3probe | 5            # close, ping, pong, upgrade
    | 40 (\{.*)?                               # connect to the default namespace
    | 41                                       # disconnect
    # an event of ours
    | 42 [0-9]{0,9} \["(?:in|size|ack|data|hand|name|display|pong)"[,\]] .*
    | 43 [0-9]{1,9} \[ .*                      # an acknowledgement
    """
)

_BEFORE_JSON = re.compile(r"4[023][0-9]*(?=[\[{])")


def check_packet(text: str) -> None:
    """Refuse an Engine.IO packet that no client of ours sends.

    Stands in front of python-engineio and python-socketio, in which a client may otherwise call
    the `connect` handler by an event of that name, announce binary attachments without end, or
    fill the log with tracebacks (tried with 4.15.1 and 5.18.1).

    Raises:
        ProtocolError: It is not one of the packets that are allowed.
    """
    if not _PACKET.fullmatch(text):
        raise ProtocolError("An Engine.IO packet is malformed or not allowed.")


def check_content(text: str) -> None:
    """Refuse a packet that `check_packet` allows, and whose JSON is broken.

    The libraries would drop it and go on with the client (5.18.1).

    Raises:
        ProtocolError: It is.
    """
    begin = _BEFORE_JSON.match(text)
    if begin is not None:
        try:
            json.loads(text[begin.end() :])
        except (ValueError, RecursionError) as error:
            raise ProtocolError("A Socket.IO packet is malformed.") from error


@dataclass(frozen=True, slots=True)
class Resume:
    """A lost client that comes back."""

    id: str
    """Its id."""
    key: str
    """Its secret."""
    offset: int
    """Output bytes that it has."""
    reset: bool
    """Whether it wants a repaint in any case."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What the page says when it connects."""

    size: WindowSize
    """Its window size."""
    resume: Resume | None
    """The place that it had."""
    display: Display = Display.OWN
    """Whose window size it wants to show."""
    name: str = ""
    """What the person calls itself, not cleaned."""
    is_terminal: bool = False
    """Whether it is `ttybridge connect`, not a page."""


def parse_hello(auth: object) -> Hello | None:
    """Read the `auth` of a Socket.IO connection; None for a client of Colab's contract.

    Raises:
        ProtocolError: It is the page's protocol, in a version or form that is not known.
    """
    if not isinstance(auth, Mapping) or "protocol" not in auth:
        return None
    if auth["protocol"] != VERSION or isinstance(auth["protocol"], bool):
        raise ProtocolError("The page speaks another version of the protocol.", hint="Reload it.")
    resume = auth.get("resume")
    return Hello(
        size=_size(auth.get("cols"), auth.get("rows")),
        resume=_resume(resume) if resume is not None else None,
        display=_display(auth.get("display", "own")),
        name=_name(auth.get("name", "")),
        is_terminal=auth.get("client") == "connect",
    )


def _resume(value: object) -> Resume:
    if not isinstance(value, Mapping):
        raise ProtocolError("`resume` is not an object.")
    client_id, key = value.get("id"), value.get("key")
    if not isinstance(client_id, str) or not isinstance(key, str) or len(key) > 256:
        raise ProtocolError("`resume` has no id or key.")
    return Resume(client_id, key, _count(value.get("offset")), reset=value.get("reset") is True)


def parse_input(args: tuple[object, ...]) -> tuple[int, bytes]:
    """Read the arguments of `in`: the number and the bytes to type.

    Raises:
        ProtocolError: They are of other types, or too long.
    """
    if len(args) not in (2, 3):
        raise ProtocolError("`in` takes a number and a text.")
    seq, text, binary = _count(args[0]), args[1], len(args) == 3 and args[2] is True
    if not isinstance(text, str) or len(text) > MAX_INPUT_UNITS:
        raise ProtocolError(f"The text of `in` has at most {MAX_INPUT_UNITS} code units.")
    if not binary:
        return seq, to_bytes(text)
    try:
        return seq, text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ProtocolError("A code unit of binary input is not one byte.") from error


def parse_size(args: tuple[object, ...]) -> WindowSize:
    """Read the arguments of `size`; other numbers are clamped.

    Raises:
        ProtocolError: They are not two integers.
    """
    if len(args) != 2:
        raise ProtocolError("`size` takes columns and rows.")
    return _size(args[0], args[1])


def parse_ack(args: tuple[object, ...]) -> int:
    """Read the argument of `ack`, an offset.

    Raises:
        ProtocolError: It is not a non-negative integer.
    """
    if len(args) != 1:
        raise ProtocolError("`ack` takes an offset.")
    return _count(args[0])


def parse_hand(args: tuple[object, ...]) -> bool:
    """Read the argument of `hand`: whether it is up.

    Raises:
        ProtocolError: It is not a boolean.
    """
    if len(args) != 1 or not isinstance(args[0], bool):
        raise ProtocolError("`hand` takes true or false.")
    return args[0]


def parse_name(args: tuple[object, ...]) -> str:
    """Read the argument of `name`, a text that is not cleaned yet.

    Raises:
        ProtocolError: It is not a text, or far too long.
    """
    if len(args) != 1:
        raise ProtocolError("`name` takes a text.")
    return _name(args[0])


def parse_display(args: tuple[object, ...]) -> Display:
    """Read the argument of `display`.

    Raises:
        ProtocolError: It is not one of its words.
    """
    if len(args) != 1:
        raise ProtocolError("`display` takes a word.")
    return _display(args[0])


def parse_pong(args: tuple[object, ...]) -> int:
    """Read the argument of `pong`, the number of a `ping`.

    Raises:
        ProtocolError: It is not a non-negative integer.
    """
    if len(args) != 1:
        raise ProtocolError("`pong` takes a number.")
    return _count(args[0])


def _display(value: object) -> Display:
    try:
        return Display(value)
    except ValueError:
        raise ProtocolError("A display is own, session or auto.") from None


def _name(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME_UNITS:
        raise ProtocolError(f"A name is a text of at most {MAX_NAME_UNITS} characters.")
    return value


def _size(cols: object, rows: object) -> WindowSize:
    if not _is_integer(cols) or not _is_integer(rows):
        raise ProtocolError("A window size is two integers.")
    return WindowSize.clamped(cols=int(cols), rows=int(rows))  # type: ignore[call-overload]


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise ProtocolError("A count is an integer from 0 to 2**53.")
    return value


def _is_integer(value: object) -> bool:
    """Tell whether this is a JSON number without a fraction; JavaScript may write 80 as 80.0."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def to_bytes(text: str) -> bytes:
    r"""Encode text from JSON, in which half a surrogate pair may stand alone.

    >>> to_bytes("é\ud800")
    b'\xc3\xa9\xef\xbf\xbd'
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def exit_message(end: End) -> dict[str, Any]:
    """Return the argument of `exit`; its first two keys are those of Colab's contract."""
    return {
        "exitCode": end.status.code,
        "signal": end.status.signal,
        "reason": end.reason.value,
        "message": end.message,
        "restart": end.restart,
    }


def out_header(offset: int) -> str:
    """Return the Socket.IO packet before the bytes of `out`: a binary event with one attachment."""
    return f'51-["out",{offset},{{"_placeholder":true,"num":0}}]'


def event(name: str, *args: object) -> str:
    """Return a Socket.IO event packet without attachments."""
    return "2" + json.dumps([name, *args], separators=(",", ":"))
