"""Colab's contract between its messages and an attachment: what is joined, and the last text."""

import asyncio
import json
from typing import cast

from ttybridge.core.cursor import Chunk, Finished
from ttybridge.model import End, EndReason, ExitStatus
from ttybridge.sessions.attachment import Attachment
from ttybridge.web.contract import ESCAPE_WAIT_S, JOIN_BYTES, ColabPeer

END = Finished(End(ExitStatus(), EndReason.EXITED, "It ended.", restart=False))


class Typed:
    """Keeps what is typed, in its pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.came = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Type."""
        self.pieces.append(data)
        self.came.set()


def peer_and_typed() -> tuple[ColabPeer, Typed]:
    """Return a peer, and what reaches its attachment."""
    typed = Typed()
    return ColabPeer(cast(Attachment, typed)), typed


def peer_and_pieces() -> tuple[ColabPeer, list[bytes]]:
    """Return a peer, and the list of what reaches its attachment."""
    peer, typed = peer_and_typed()
    return peer, typed.pieces


def say(peer: ColabPeer, text: str) -> None:
    """Let the client type."""
    peer.receive(json.dumps({"data": text}))


async def turns(count: int = 3) -> None:
    """Let the event loop do what is due, without any time passing."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_key_that_comes_in_three_messages_reaches_the_pty_in_one_piece() -> None:
    peer, pieces = peer_and_pieces()
    for part in ("\x1b", "[", "A"):
        assert pieces == []
        say(peer, part)
        await turns()
    assert pieces == [b"\x1b[A"]


async def test_what_comes_at_once_is_joined() -> None:
    peer, pieces = peer_and_pieces()
    for part in ("a", "\x1b", "b", "c"):
        say(peer, part)
    await turns()
    assert pieces == [b"a\x1bbc"]


async def test_a_lone_escape_is_passed_on_soon() -> None:
    peer, typed = peer_and_typed()
    say(peer, "\x1b")
    await turns()
    assert typed.pieces == []
    async with asyncio.timeout(20):
        await typed.came.wait()
    assert typed.pieces == [b"\x1b"]


async def test_input_that_always_ends_in_an_escape_is_not_held_back_for_ever() -> None:
    peer, pieces = peer_and_pieces()
    for _ in range(200):
        say(peer, "\x1b")
        await asyncio.sleep(ESCAPE_WAIT_S / 5)
        if pieces:
            break
    assert pieces
    assert set(pieces[0]) == {0x1B}


async def test_much_input_is_passed_on_at_once_even_when_it_ends_in_an_escape() -> None:
    peer, pieces = peer_and_pieces()
    say(peer, "\x1b" * (JOIN_BYTES - 1))
    assert pieces == []
    say(peer, "\x1b")
    assert pieces == [b"\x1b" * JOIN_BYTES]


async def test_what_is_left_of_a_cut_character_is_told_at_the_end() -> None:
    peer, _ = peer_and_pieces()
    assert json.loads(peer.encode(Chunk(0, b"x\xe2\x82"))) == {"data": "x"}
    assert json.loads(peer.encode(END)) == {"data": "\ufffd"}


async def test_nothing_is_told_at_the_end_of_whole_characters() -> None:
    peer, _ = peer_and_pieces()
    assert json.loads(peer.encode(Chunk(0, "€".encode()))) == {"data": "€"}
    assert peer.encode(END) == ""
