"""What each server would send for some output: whole streams, made before anything is measured."""

import base64
import gzip
import json
from collections.abc import Callable, Mapping, Sequence

from benchmarks.frames import BINARY, TEXT, frame
from benchmarks.wires.original import OriginalSpeech
from benchmarks.wires.polling import SEPARATOR
from benchmarks.wires.speech import Speech
from benchmarks.wires.terminado import TerminadoSpeech
from benchmarks.wires.ttybridge import TtybridgeSpeech
from benchmarks.wires.ttyd import TtydSpeech
from benchmarks.wires.wetty import WettySpeech

POLLED_BYTES = 50_000
"""Output in one answer to a poll: about what ttybridge and the original give."""

JOINED = {"offset": 0, "input": 0, "maxInput": 16384}


def socket_io(*events: Sequence[object]) -> list[bytes]:
    """Return the packets with which a server begins, and some events."""
    start = [b'0{"sid":"s"}', b'40{"sid":"s"}']
    return start + [b"42" + compact(event, ascii_only=False) for event in events]


def compact(value: object, *, ascii_only: bool) -> bytes:
    """Return JSON without blanks."""
    return json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":")).encode()


def ttybridge(pieces: Sequence[bytes]) -> bytes:
    """Return output in binary attachments."""
    frames = [framed(packet) for packet in socket_io(["joined", JOINED])]
    for head, piece in _announced(pieces):
        frames += (framed(head), frame(BINARY, piece, masked=False))
    return b"".join(frames)


def ttyd(pieces: Sequence[bytes]) -> bytes:
    """Return output in binary messages."""
    return b"".join(frame(BINARY, b"0" + piece, masked=False) for piece in pieces)


def original(pieces: Sequence[bytes]) -> bytes:
    """Return output in JSON in JSON."""
    inner = [compact({"data": piece.decode()}, ascii_only=False).decode() for piece in pieces]
    return b"".join(map(framed, socket_io(*(["data", {"data": text}] for text in inner))))


def wetty(pieces: Sequence[bytes]) -> bytes:
    """Return output in JSON."""
    events = (["data", piece.decode()] for piece in pieces)
    return b"".join(map(framed, socket_io(["login"], *events)))


def terminado(pieces: Sequence[bytes]) -> bytes:
    """Return output in JSON, in ASCII alone."""
    messages = (["stdout", piece.decode()] for piece in pieces)
    texts = [json.dumps(message).encode() for message in (["setup", {}], *messages)]
    return b"".join(map(framed, texts))


def polled(pieces: Sequence[bytes]) -> list[bytes]:
    """Return ttybridge's answers to polls, compressed as it compresses them."""
    answers, packets, size = [], socket_io(["joined", JOINED]), 0
    for head, piece in _announced(pieces):
        packets += (head, b"b" + base64.b64encode(piece))
        size += len(piece)
        if size >= POLLED_BYTES or piece is pieces[-1]:
            answers.append(_answer(SEPARATOR.join(packets)))
            packets, size = [], 0
    return answers


def framed(text: bytes) -> bytes:
    """Return a server's text message."""
    return frame(TEXT, text, masked=False)


def _announced(pieces: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    offset, found = 0, []
    for piece in pieces:
        found.append((b'451-["out",%d,{"_placeholder":true,"num":0}]' % offset, piece))
        offset += len(piece)
    return found


def _answer(body: bytes) -> bytes:
    body = gzip.compress(body, 6)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


STREAMS: Mapping[str, tuple[Callable[[Sequence[bytes]], bytes], type[Speech]]] = {
    "ttybridge": (ttybridge, TtybridgeSpeech),
    "ttyd": (ttyd, TtydSpeech),
    "original": (original, OriginalSpeech),
    "terminado": (terminado, TerminadoSpeech),
    "wetty": (wetty, WettySpeech),
}
"""For each server, what makes its stream, and the speech that takes it."""
