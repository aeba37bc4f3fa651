"""Which input messages of a client are confirmed."""

from collections.abc import Callable
from typing import cast

from ttybridge.sessions.terminal import Terminal
from ttybridge.sessions.typing import CONFIRM_BYTES, CONFIRM_EVERY, Typing


class Pty:
    """What `Typing` knows of a terminal; its pty takes input when told to."""

    def __init__(self) -> None:
        self.accepted_bytes = self.written_bytes = 0
        self.written_listeners: set[Callable[[int], None]] = set()

    @property
    def pending_bytes(self) -> int:
        return self.accepted_bytes - self.written_bytes

    def write(self, data: bytes) -> None:
        self.accepted_bytes += len(data)

    def take(self) -> None:
        self.written_bytes = self.accepted_bytes
        for listener in tuple(self.written_listeners):
            listener(self.written_bytes)


def confirmed(messages: list[bytes], *, seq: int = 0) -> list[int]:
    """Type messages behind number `seq`; return which are confirmed, each once the pty has it."""
    pty, told = Pty(), list[int]()
    typing = Typing(cast("Terminal", pty), told.append, seq=seq)
    for number, data in enumerate(messages, seq + 1):
        before = list(told)
        typing.write_numbered(number, data)
        assert told == before, "the pty does not have it yet"
        pty.take()
    return told


def test_the_first_message_is_confirmed_and_then_every_fourth() -> None:
    assert confirmed([b"k"] * 10) == [1, 1 + CONFIRM_EVERY, 1 + 2 * CONFIRM_EVERY]


def test_so_is_the_first_one_at_another_terminal() -> None:
    assert confirmed([b"k"] * 6, seq=6) == [7, 7 + CONFIRM_EVERY]


def test_a_paste_is_confirmed_at_once() -> None:
    assert confirmed([b"k", b"k", b"x" * CONFIRM_BYTES, b"k"]) == [1, 3]
