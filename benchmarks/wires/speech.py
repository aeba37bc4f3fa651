"""The client's side of a protocol, without a line: messages in, output and answers out."""

import math
from abc import ABC, abstractmethod

from benchmarks.frames import BINARY, TEXT

Message = tuple[int, bytes]
"""Opcode of a WebSocket's message (TEXT or BINARY), and what it carries."""


class Speech(ABC):
    """What one client has to say.

    Attributes:
        to_send: Messages for the server, in order; whoever sends them empties the list.
        due: Monotonic time at which `late` is to be called; infinite for never.
        is_over: Whether the server has said that it is the end.
    """

    def __init__(self, cols: int, rows: int) -> None:
        """Begin; nothing is said before `opened`."""
        self.cols, self.rows = cols, rows
        self.to_send: list[Message] = []
        self.due = math.inf
        self.is_over = False

    def say(self, text: bytes) -> None:
        """Have a text message sent."""
        self.to_send.append((TEXT, text))

    def say_binary(self, data: bytes) -> None:
        """Have a binary message sent."""
        self.to_send.append((BINARY, data))

    def opened(self) -> None:
        """Say what a client says as soon as there is a connection."""
        return

    @abstractmethod
    def text(self, message: bytes, now: float) -> bytes:
        """Take in a text message and return its terminal output; raises OSError when refused."""

    @abstractmethod
    def binary(self, message: bytes, now: float) -> bytes:
        """Take in a binary message and return its terminal output."""

    @abstractmethod
    def type(self, data: bytes) -> None:
        """Type."""

    @abstractmethod
    def resize(self, cols: int, rows: int) -> None:
        """Tell the window's size."""

    def late(self, now: float) -> None:
        """Say what is due."""
        return

    def goodbye(self) -> None:
        """Say what a page says when it is closed."""
        return
