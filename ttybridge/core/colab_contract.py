"""Colab's contract, as in docs/protocol.md: what its clients say, and what they are told."""

import codecs
import json
from dataclasses import dataclass

from ttybridge.core.protocol import parse_size, to_bytes
from ttybridge.errors import ProtocolError
from ttybridge.model import WindowSize

ACK_EVERY = 100_000
"""Output between two requests for an acknowledgement in Colab's contract, in characters."""

HOLD_ABOVE, GO_ON_BELOW = 5, 2
"""Outstanding requests at which Colab's contract holds the output back, and lets it go on."""

OLDER_HOLD_ABOVE = 20
"""The same for the older form, which acknowledges every message."""

OLDER_MAX_ASKED = 64
"""Acknowledgements that may be due in the older form: each one is remembered until it comes, and
some clients never send any. Further messages ask for none."""


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
    if not isinstance(text, (str, bytes)):  # its length is the transport's matter
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
        size = parse_size((message.get("cols"), message.get("rows")))
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
