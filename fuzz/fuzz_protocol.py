"""The protocol: packets, events, Colab's contract, control requests, what clients are answered."""

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from engineio import packet as eio_packet
from engineio import payload as eio_payload
from socketio import packet as sio_packet

import ttybridge.web.engine  # noqa: F401 - it sets python-engineio's limit of packets
from fuzz.checks import dispatch, holds, only, pieces, same, text_of
from ttybridge.client import channel, people, status, transport
from ttybridge.client.address import parse_address
from ttybridge.client.http import parse_facts
from ttybridge.core import protocol
from ttybridge.core.colab_contract import OLDER_HOLD_ABOVE, ColabOutput, parse_colab
from ttybridge.core.people import Actor
from ttybridge.core.permissions import Entrance
from ttybridge.errors import ConfigError, ProtocolError, TtyBridgeError
from ttybridge.model import MAX_COLS, MAX_ROWS, Role
from ttybridge.web.connection import MAX_POST_PACKETS, Connection
from ttybridge.web.routes import ROUTES, parse_body

EVENTS = ("in", "size", "ack", "data", "hand", "name", "display", "pong")
BARE = {"1", "2", "2probe", "3", "3probe", "5", "40", "41"}


def is_packet(text: str) -> bool:
    """Tell what docs/protocol.md allows, written once more, without a regular expression."""
    if text in BARE or text.startswith("40{"):
        return True
    if text[:2] not in ("42", "43"):
        return False
    digits = len(text[2:]) - len(text[2:].lstrip("0123456789"))
    rest = text[2 + digits :]
    if text.startswith("43"):
        return 1 <= digits <= 9 and rest.startswith("[")
    named = any(rest.startswith((f'["{name}"]', f'["{name}",')) for name in EVENTS)
    return digits <= 9 and named


def _packet(data: bytes) -> None:
    """A packet that is let through is one of ours, and reaches the handler of its own name."""
    text = text_of(data)
    try:
        protocol.check_packet(text)
    except ProtocolError:
        holds(not is_packet(text), f"refused: {text[:200]!r}")
        return
    holds(is_packet(text), f"let through: {text[:200]!r}")
    outer = eio_packet.Packet(encoded_packet=text)
    holds(not outer.binary, "no binary packet comes as text")
    if outer.packet_type != eio_packet.MESSAGE:
        return
    try:
        inner = sio_packet.Packet(encoded_packet=text[1:])
    except (ValueError, RecursionError):
        return  # broken JSON, which ends the connection in one line of the log
    holds(inner.namespace in (None, "/"), "another namespace")
    holds(not inner.attachment_count, "attachments are announced")
    if inner.packet_type == sio_packet.EVENT:
        holds(inner.data[0] in EVENTS, f"another event: {inner.data[0]!r:.100}")


class _Sockets:
    sockets: Mapping[str, object] = {}


_LONG_NUMBER = re.compile(r"[0-9]{101}")


def _connection() -> tuple[Connection, list[object]]:
    """Make a connection without a server, and a list of what it takes."""
    made = Connection.__new__(Connection)
    made.sid, made._eio, made._said_hello, made._upgrade = "x", _Sockets(), False, None
    taken: list[object] = []
    made.on_ack = lambda offset: taken.append(["ack", offset])
    made.on_event = lambda name, arguments: taken.append([name, *arguments])
    return made, taken


def _frame(data: bytes) -> None:
    """What is taken from a frame straight is what the libraries would have handed on."""
    text = text_of(data)
    connection, taken = _connection()
    try:
        is_taken = connection.takes(text)
    except ProtocolError:
        holds(not taken, "refused after it was taken")
        return
    same("taken", is_taken, bool(taken))
    if is_taken:
        try:
            slow = sio_packet.Packet(encoded_packet=text[1:])
        except ValueError:
            holds(_LONG_NUMBER.search(text) is not None, "the library refuses it")
            return  # it takes no number of more than 100 digits; who gets ours looks at its value
        # NaN is not equal to itself.
        same("event", repr(taken[0]), repr(slow.data))
        return
    only(ProtocolError, lambda: connection.check_frame(text))


def _body(data: bytes) -> None:
    """A body that passes is what python-engineio splits it into."""
    connection, _ = _connection()
    try:
        connection.check_body(data)
    except (ProtocolError, UnicodeDecodeError):
        return
    packets = data.decode().split("\x1e")
    holds(len(packets) <= MAX_POST_PACKETS, "too many packets")
    holds(all(map(is_packet, packets)), "a packet that is not allowed")
    holds(sum(packet.startswith("40") for packet in packets) <= 1, "two hellos")
    found = eio_payload.Payload(encoded_payload=data.decode()).packets
    same("packets", len(found), len(packets))


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _hello(data: bytes) -> None:
    """A hello is ours in full, or a protocol error, or somebody else's."""
    said = _loads(data)
    try:
        hello = protocol.parse_hello(said)
    except ProtocolError:
        return
    if hello is None:
        holds(not isinstance(said, dict) or "protocol" not in said, "our protocol is not seen")
        return
    same("version", said["protocol"], 1)
    holds(hello.size.cols <= MAX_COLS and hello.size.rows <= MAX_ROWS, "a window's size")
    holds(len(hello.name) <= protocol.MAX_NAME_UNITS, "a long name")
    if hello.resume is not None:
        holds(0 <= hello.resume.offset < 2**53, "an offset")


def _arguments(data: bytes) -> None:
    """Each parser of an event takes any arguments, and refuses in its own words."""
    said = _loads(data)
    args = tuple(said) if isinstance(said, list) else (said,)
    for parse in (
        *(protocol.parse_size, protocol.parse_ack, protocol.parse_hand, protocol.parse_name),
        *(protocol.parse_display, protocol.parse_pong),
    ):
        only(ProtocolError, lambda parse=parse: parse(args))  # type: ignore[misc]
    try:
        seq, typed = protocol.parse_input(args)
    except ProtocolError:
        return
    holds(0 <= seq < 2**53, "a number")
    holds(len(typed) <= 3 * protocol.MAX_INPUT_UNITS, "more bytes than promised")
    if len(args) == 2 and isinstance(args[1], str) and not re.search("[\ud800-\udfff]", args[1]):
        same("typed", typed, args[1].encode())


def _colab(data: bytes) -> None:
    """Colab's messages: any bytes; what we would write is read back."""
    only(ProtocolError, lambda: parse_colab(data))
    text = data.decode("utf-8", "replace")
    only(ProtocolError, lambda: parse_colab(text))
    read = parse_colab(json.dumps({"data": text, "cols": 80, "rows": 24, "ack": True}))
    same("input", (read.data, read.ack), (text.encode(), True))


def _colab_output(data: bytes) -> None:
    """Output for Colab's clients is the same however it was cut, and acks never free too much."""
    whole, cut = ColabOutput(), ColabOutput(older=True)
    parts = pieces(data)
    joined = b"".join(parts)
    found = ""
    for part in parts:
        found += cut.text(part)
        if part[:1] == b"a":
            cut.ack()
        holds(0 <= cut._outstanding <= max(64, OLDER_HOLD_ABOVE), "acknowledgements due")
    found += cut.text(b"", final=True)
    same("text", found, whole.text(joined, final=True))
    again = ColabOutput().encode(joined, final=True)
    same("message", json.loads(again)["data"] if again else "", joined.decode("utf-8", "replace"))


class Bridge:
    """Stands for a bridge that does whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        def answer(_actor: Actor, *_args: object, **options: object) -> Any:
            life_s, uses = options.get("life_s"), options.get("uses")
            holds(life_s is None or 0 < life_s <= 30 * 86400, "a life")  # type: ignore[operator]
            holds(uses is None or 1 <= uses <= 10_000, "uses")  # type: ignore[operator]
            file = options.get("file")
            holds(file is None or (isinstance(file, Path) and file.is_absolute()), "a file")
            return "x?y" if name == "link" else {}

        async def later(*args: Any, **options: Any) -> Any:
            found = answer(*args, **options)
            return (0, 0, []) if name == "update_environment" else found

        plain = ("people", "links", "recordings", "audit", "status", "link", "serve_host", "run")
        return answer if name in plain else later


def _control(data: bytes) -> None:
    """Every request of the control socket and the API is done, or refused in a sentence."""
    try:
        asked = parse_body(data)
    except ConfigError:
        return
    actor = Actor(Role.OWNER, "somebody", Entrance.CONTROL)
    for route in ROUTES:
        if route.path == "/stop":
            continue
        try:
            found = route.run(cast(Any, Bridge()), actor, asked)
            if inspect.iscoroutine(found):
                found.send(None)
        except (StopIteration, TtyBridgeError):
            pass


_STRANGE = (KeyError, ValueError, TypeError, AttributeError, OverflowError)


def _answers(data: bytes) -> None:
    """What a bridge, or something in its place, answers to our own clients."""
    text = text_of(data)
    only(TtyBridgeError, lambda: channel.parse(data))
    only(TtyBridgeError, lambda: parse_facts(data, parse_address("http://127.0.0.1:8000")))
    said = _loads(data)
    for parse in (people.parse_here, people.parse_links, people.parse_link, status.parse_status):
        only(_STRANGE, lambda parse=parse: parse(said))  # type: ignore[misc]
    if isinstance(said, dict):
        channel.error_of(said)
    refused = transport._refused(said)
    holds(len(refused.message) <= 600, "a long message")
    transport._event(transport._parsed(text))


CHECKS = (
    *(_packet, _frame, _body, _hello, _arguments),
    *(_colab, _colab_output, _control, _answers),
)


def one_input(data: bytes) -> None:
    """Check one input."""
    dispatch(CHECKS, data)
