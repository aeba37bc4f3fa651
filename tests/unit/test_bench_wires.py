"""The clients' side of the protocols that the benchmarks speak."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.frames import BINARY, TEXT, Frames, frame
from benchmarks.wires.escapes import from_ascii, from_utf8, once
from benchmarks.wires.http import Answer
from benchmarks.wires.original import OriginalSpeech
from benchmarks.wires.ttybridge import ACK_BYTES, ACK_S, MAX_UNDER_WAY, TtybridgeSpeech
from benchmarks.wires.wetty import COMMIT, WettySpeech

texts = st.text(st.characters(exclude_categories=["Cs"]))
terminal_texts = st.text(st.sampled_from('ab\\"/\x1b\r\n\b\f\t\x00\x7fé😀]}:,')) | texts


@given(terminal_texts)
def test_strings_are_read_as_json_reads_them(text: str) -> None:
    plain, ascii_only = json.dumps(text, ensure_ascii=False), json.dumps(text)
    assert from_utf8(plain.encode()[1:-1]) == text.encode()
    assert from_ascii(ascii_only.encode()[1:-1]) == text.encode()
    assert once(json.dumps(plain, ensure_ascii=False).encode()[1:-1]) == plain.encode()


@given(terminal_texts, st.booleans())
def test_the_originals_packets_are_read_in_the_fast_way_as_in_the_slow_one(
    text: str, asks: bool
) -> None:
    inner = json.dumps({"data": text} | ({"ack": True} if asks else {}), separators=(",", ":"))
    whole = json.dumps(["data", {"data": inner}], separators=(",", ":"), ensure_ascii=False)
    speech = OriginalSpeech(80, 24)
    inner = json.dumps(json.loads(inner), ensure_ascii=False, separators=(",", ":"))
    fast = json.dumps(["data", {"data": inner}], separators=(",", ":"), ensure_ascii=False)
    assert speech.text(b"42" + fast.encode(), 0) == text.encode()
    said = list(speech.to_send)
    speech.to_send.clear()
    assert speech.event("data", json.loads(whole)[1:], 0) == text.encode()
    assert speech.to_send == said
    assert len(said) == asks


@given(st.lists(st.binary(max_size=300), min_size=1), st.lists(st.integers(1, 400)))
def test_frames_are_whole_however_they_are_cut(payloads: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frame(BINARY, payload, masked=False) for payload in payloads)
    frames, found = Frames(), []
    for size in [*cuts, len(data)]:
        piece, data = data[:size], data[size:]
        found += [frames.data[begin:end] for _, begin, end in frames.feed(piece)]
    assert found == payloads


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("is_chunked", [False, True])
@given(body=st.binary(max_size=200), cut=st.integers(0, 300))
def test_answers_are_whole_however_they_are_cut(
    body: bytes, cut: int, is_packed: bool, is_chunked: bool
) -> None:
    sent = zlib.compress(body) if is_packed else body
    head = b"HTTP/1.1 200 OK\r\n" + b"Content-Encoding: deflate\r\n" * is_packed
    if is_chunked:
        chunks = [sent[at : at + 7] for at in range(0, len(sent), 7)]
        rest = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
        whole = head + b"Transfer-Encoding: chunked\r\n\r\n" + rest
    else:
        whole = head + b"Content-Length: %d\r\n\r\n" % len(sent) + sent
    cut = min(cut, len(whole) - 1)
    answer = Answer()
    assert answer.feed(whole[:cut]) is None
    assert answer.feed(whole[cut:]) == body


def joined(offset: int = 0, size: int = 1000) -> TtybridgeSpeech:
    speech = TtybridgeSpeech(80, 24)
    place = json.dumps({"offset": offset, "input": 0, "maxInput": size})
    speech.text(f'42["joined",{place}]'.encode(), 0)
    return speech


def out(speech: TtybridgeSpeech, offset: int, data: bytes, now: float = 0) -> bytes:
    head = f'451-["out",{offset},{{"_placeholder":true,"num":0}}]'
    assert speech.text(head.encode(), now) == b""
    return speech.binary(data, now)


def said(speech: TtybridgeSpeech | WettySpeech) -> list[list[object]]:
    found = [json.loads(text[2:]) for opcode, text in speech.to_send if opcode == TEXT]
    speech.to_send.clear()
    return found


def test_output_is_acknowledged_after_some_or_after_a_while() -> None:
    speech = joined(offset=100)
    assert out(speech, 100, b"ab", now=5.0) == b"ab"
    assert out(speech, 102, b"cd", now=5.01) == b"cd"
    assert said(speech) == []
    assert speech.due == pytest.approx(5.0 + ACK_S)
    speech.late(5.05)
    assert said(speech) == [["ack", 104]]
    assert speech.due == float("inf")
    out(speech, 104, bytes(ACK_BYTES), now=6.0)
    assert said(speech) == [["ack", 104 + ACK_BYTES]]


def test_known_output_is_dropped_and_a_gap_is_an_error() -> None:
    speech = joined()
    assert out(speech, 0, b"abcd") == b"abcd"
    assert out(speech, 2, b"cdef") == b"ef"
    with pytest.raises(OSError, match="1 bytes of output are missing at offset 6"):
        out(speech, 7, b"x")
    speech.text(b'42["reset",{"offset":50,"hard":true,"reason":"behind"}]', 0)
    assert out(speech, 50, b"new") == b"new"


def test_input_waits_for_the_pty_and_is_cut_between_characters() -> None:
    speech = joined(size=10)
    typed = "é" * 5 * (MAX_UNDER_WAY + 2)
    speech.type(b"a" + typed.encode())
    first = said(speech)
    assert [message[1] for message in first] == list(range(1, MAX_UNDER_WAY + 1))
    speech.text(b'42["inack",%d]' % MAX_UNDER_WAY, 0)
    text = "".join(str(message[2]) for message in first + said(speech))
    assert text == "a" + typed


def test_input_before_joining_is_sent_after_it() -> None:
    speech = TtybridgeSpeech(80, 24)
    speech.type(b"x")
    assert speech.to_send == []
    speech.text(b'42["joined",{"offset":0,"input":0,"maxInput":10}]', 0)
    assert said(speech) == [["in", 1, "x"]]


def test_wetty_is_told_of_code_units() -> None:
    speech = WettySpeech(80, 24)
    packet = '42["data","{}"]'.format("😀é" * 1000).encode()
    assert speech.text(packet, 0) == "😀é".encode() * 1000
    for _ in range(-(-COMMIT // 3000) - 2):
        speech.text(packet, 0)
    assert said(speech) == []
    speech.text(packet, 0)
    assert said(speech) == [["commit", COMMIT]]
