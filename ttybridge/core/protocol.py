"""What clients say and what they are told, as in docs/protocol.md; every parser of their messages.

Nothing here does I/O. A message that does not fit raises `ProtocolError`, which ends its sender.
"""

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ttybridge.errors import ProtocolError
from ttybridge.model import End, WindowSize

VERSION = 1
"""Version of the page's protocol."""

MAX_MESSAGE_BYTES = 1_000_000
"""Largest message to the server, in bytes (python-engineio's own default)."""

MAX_INPUT_UNITS = 16 * 1024
"""Most UTF-16 code units in one `in`: at most 48 KiB of UTF-8."""

CHUNK_BYTES = 64 * 1024
"""Most bytes of output in one message: larger ones are not faster (92 MB/s against 88 at 256 KB)
and hold up everything behind them on a slow line."""

ACK_EVERY = 100_000
"""Output between two requests for an acknowledgement in Colab's contract, in characters."""

HOLD_ABOVE, GO_ON_BELOW = 5, 2
"""Outstanding requests at which Colab's contract holds the output back, and lets it go on."""

OLDER_HOLD_ABOVE = 20
"""The same for the older form, which acknowledges every message."""

OLDER_MAX_ASKED = 64
"""Acknowledgements that may be due in the older form: each one is remembered until it comes, and
some clients never send any. Further messages ask for none."""

DISCONNECT = "1"
"""Socket.IO packet with which the server ends a connection to the default namespace."""

_PACKET = re.compile(
    r"""(?xs)
    1 | 2 | 2probe | 3 | 3probe | 5            # close, ping, pong, upgrade
    | 40 (\{.*)?                               # connect to the default namespace
    | 41                                       # disconnect
    | 42 [0-9]{0,9} \["(?:in|size|ack|data)"[,\]] .*   # an event of ours
    | 43 [0-9]{1,9} \[ .*                      # an acknowledgement
    """
)


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


@dataclass(frozen=True, slots=True)
class ColabMessage:
    """A message of Colab's contract, from a client."""

    data: bytes
    """Input; empty when there is none."""
    size: WindowSize | None
    """The client's window size, when it is told."""
    ack: bool
    """Whether it acknowledges output."""


def parse_colab(text: object) -> ColabMessage:
    """Read S of Colab's contract: a JSON object with any of `data`, `cols` and `rows`, `ack`.

    Unknown keys are ignored.

    Raises:
        ProtocolError: It is not such a text.
    """
    if not isinstance(text, (str, bytes)) or len(text) > MAX_MESSAGE_BYTES:
        raise ProtocolError("A message is a JSON text.")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("A message is not JSON.") from error
    if not isinstance(message, dict):
        raise ProtocolError("A message is a JSON object.")
    data = message.get("data", "")
    if not isinstance(data, str):
        raise ProtocolError("`data` is a text.")
    size = None
    if "cols" in message or "rows" in message:
        size = _size(message.get("cols"), message.get("rows"))
    return ColabMessage(to_bytes(data), size, ack=message.get("ack") is True)


class ColabOutput:
    """Output in Colab's contract: text that is never cut in a character, and its flow control.

    A client that has never acknowledged is not held to acknowledgements: the official command
    line never sends one, and stalled for ever after 615,402 bytes against the original's rule.

    Attributes:
        asks: Whether the last text of the older form asks for an acknowledgement.
    """

    def __init__(self, *, older: bool = False) -> None:
        """Start with nothing sent.

        Args:
            older: Whether the client takes the older form, which acknowledges every message.
        """
        self.asks = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._older = older
        self._since_request = 0
        self._outstanding = 0
        self._acks = False
        self._held = False

    @property
    def is_held(self) -> bool:
        """Whether nothing may be sent before an acknowledgement comes."""
        return self._held

    def encode(self, data: bytes, *, final: bool = False) -> str:
        """Return S for a chunk of output; empty when the chunk holds only a part of a character."""
        text = self.text(data, final=final)
        if not text:
            return ""
        message: dict[str, object] = {"data": text}
        if self._since_request >= ACK_EVERY:
            self._since_request = 0
            message["ack"] = True
            self._sent()
        return json.dumps(message, separators=(",", ":"))

    def text(self, data: bytes, *, final: bool = False) -> str:
        """Return the text of a chunk of output, less a character that is not complete.

        Args:
            data: The chunk.
            final: Whether no more will come: what is left of a cut character is U+FFFD.
        """
        text = self._decoder.decode(data, final)
        self._since_request += len(text)
        self.asks = self._older and bool(text) and self._outstanding < OLDER_MAX_ASKED
        if self.asks:
            self._sent()
        return text

    def ack(self) -> None:
        """Note one acknowledgement; more than were asked for do not count."""
        self._acks = True
        self._outstanding = max(0, self._outstanding - 1)
        if self._outstanding < GO_ON_BELOW:
            self._held = False
        elif self._outstanding > self._limit:
            self._held = True

    @property
    def _limit(self) -> int:
        return OLDER_HOLD_ABOVE if self._older else HOLD_ABOVE

    def _sent(self) -> None:
        self._outstanding += 1
        if self._acks and self._outstanding > self._limit:
            self._held = True
