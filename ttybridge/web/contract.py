"""One client of Colab's contract, whatever carries it: its input, its flow control, its text."""

import asyncio

from ttybridge.core.colab_contract import ColabOutput, parse_colab
from ttybridge.core.cursor import Chunk, Finished, Reset
from ttybridge.core.stream import CANCEL
from ttybridge.errors import ProtocolError
from ttybridge.model import EndReason
from ttybridge.sessions.attachment import Attachment, Item

ESCAPE_WAIT_S = 0.01
"""How long the start of an escape sequence waits for its rest, in seconds. The official command
line sends one frame a character; split, ESC [ A may arrive as Escape and text."""

JOIN_BYTES = 4096
"""Input that is passed on without waiting for more, in bytes: far beyond any key's sequence."""

CLEAR = "\x1bc"
"""RIS: what a reset means to a terminal that knows nothing of resets."""


LEAVE_SCREEN = (
    "\x18\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?1l"
    "\x1b>\x1b(B\x1b[0m\x1b[?25h\r\n"
)
"""Leaves a terminal usable when its program could not do so: somebody has been removed."""


class ColabPeer:
    """Translates between Colab's messages and an attachment."""

    def __init__(self, attachment: Attachment, *, older: bool = False) -> None:
        """Stand before an attachment; `older` takes the contract's older form."""
        self.attachment = attachment
        self._output = ColabOutput(older=older)
        self._go_on = asyncio.Event()
        self._go_on.set()
        self._loop = asyncio.get_running_loop()
        self._typed = b""
        self._flush_soon: asyncio.Handle | None = None
        self._flush_late: asyncio.TimerHandle | None = None
        self._failure: ProtocolError | None = None

    @property
    def asks(self) -> bool:
        """Whether the last text of the older form asks for an acknowledgement."""
        return self._output.asks

    async def may_send(self) -> None:
        """Wait until the client's acknowledgements allow more output."""
        await self._go_on.wait()

    def encode(self, item: Item) -> str:
        """Return S for an item, empty when there is nothing to say."""
        text = self._output.encode(self._bytes(item), final=isinstance(item, Finished))
        self._update()
        return text

    def text(self, item: Item) -> str:
        """Return the text of an item, empty when there is none."""
        text = self._output.text(self._bytes(item), final=isinstance(item, Finished))
        self._update()
        return text

    def ack(self) -> None:
        """Note one acknowledgement."""
        self._output.ack()
        self._update()

    def receive(self, text: object) -> None:
        """Take in S from the client.

        Raises:
            ProtocolError: It is malformed, or more input waits than is kept.
        """
        if self._failure is not None:
            raise self._failure
        message = parse_colab(text)
        if message.ack:
            self.ack()
        if message.size is not None:
            self.attachment.resize(message.size)
        if message.data:
            self._type(message.data)

    def _type(self, data: bytes) -> None:
        """Join what arrives together, so that an escape sequence reaches the pty in one piece.

        Nothing waits longer than `ESCAPE_WAIT_S` from the first start of a sequence on.
        """
        self._typed += data
        if len(self._typed) >= JOIN_BYTES:
            self.flush()
        elif self._typed.endswith((b"\x1b", b"\x1b[", b"\x1bO")):
            if self._flush_soon is not None:
                self._flush_soon.cancel()
                self._flush_soon = None
            if self._flush_late is None:
                self._flush_late = self._loop.call_later(ESCAPE_WAIT_S, self.flush)
        elif self._flush_soon is None:
            self._flush_soon = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Pass on what waits to be joined."""
        for handle in (self._flush_soon, self._flush_late):
            if handle is not None:
                handle.cancel()
        self._flush_soon = self._flush_late = None
        data, self._typed = self._typed, b""
        try:
            self.attachment.write(data)
        except ProtocolError as error:  # told with the next message: nobody waits here
            self._failure = error

    def _update(self) -> None:
        if self._output.is_held:
            self._go_on.clear()
        else:
            self._go_on.set()

    @staticmethod
    def _bytes(item: Item) -> bytes:
        match item:
            case Chunk(data=data):
                return data
            case Reset(hard=hard):
                return CLEAR.encode() if hard else CANCEL
            case Finished(end=end) if end.reason is EndReason.REMOVED:
                return f"{LEAVE_SCREEN}{end.message}\r\n".encode()
            case _:
                return b""
