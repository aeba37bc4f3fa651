"""Everything that takes text from outside: any text is read, or refused in the documented way."""

import ast
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.fuzz_protocol import Bridge
from tests.conftest import ROOT
from ttybridge import readers
from ttybridge.client import channel, http, people, status, transport
from ttybridge.client.address import parse_address
from ttybridge.core import (
    asciicast,
    authority,
    cloudflared,
    colab_contract,
    ngrok,
    proxied,
    proxied_headers,
    public_key,
    ssh_keys,
    ssh_tunnel,
    sshd_config,
    tmux,
)
from ttybridge.core.authority import Authority
from ttybridge.core.origin import Seen
from ttybridge.core.people import Actor, clean_name
from ttybridge.core.permissions import Entrance
from ttybridge.errors import ConfigError, ProtocolError, TtyBridgeError
from ttybridge.model import Role, WindowSize
from ttybridge.ssh import joined, lines, roster
from ttybridge.web.request_facts import _content_length, _cookies, tokens_of
from ttybridge.web.routes import ROUTES, parse_body

Errors = type[Exception] | tuple[type[Exception], ...]

STRANGE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What the client's parsers raise; `Control` makes one sentence of it."""

NUMBERS = ["0", "1", "-1", "65536", "99999", "9" * 5000, "٣", "²", "1e999", "0x1", " 1", "1_0"]
WORDS = [
    *("=", ";", ",", ":", "/", "//", "?", "&", "%", "%zz", "#", '"', "\\", "\r", "\n", "\0", "\t"),
    *("\x1b", "\ud800", "\udcff", "é", "🔑", "[", "]", "[" * 2000, "{", "}", "@", "-", "--", "."),
    *("https://", "http://", "ssh://", "localhost", "[::1]", ":8080", "/proxy/8888", "/absolute"),
    *("token=", "link=", "ttybridge-8080=", "Path=/", "Domain=", "Secure", "ssh-ed25519", "AAAA"),
    *("Accepted publickey for ", " from ", " port ", " ssh2: ", "SHA256:", "lvl=", "msg=", "err="),
    *(
        "OpenSSH_",
        "version ",
        "tmux ",
        "hostname",
        "size ",
        "unset ",
        '="',
        '"; export ',
        "read-only",
    ),
]
"""Pieces of what the parsers look for, in any order."""

TEXT = st.lists(st.sampled_from(WORDS + NUMBERS) | st.text(max_size=8), max_size=12).map("".join)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=12,
)


def _reads(function: object) -> bool:
    """Tell whether this is a reader of an option: a function of one text."""
    if not inspect.isfunction(function) or function.__module__ != readers.__name__:
        return False
    parameters = inspect.signature(function).parameters
    return list(parameters) == ["text"] and not function.__name__.startswith("_")


READERS = [function for function in vars(readers).values() if _reads(function)]


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape" if "\ud800" not in text else "replace")


@dataclass(frozen=True)
class Parser:
    """One of them."""

    call: Callable[[Any], object]
    errors: Errors = ()
    takes: st.SearchStrategy[Any] = TEXT


BYTES = TEXT.map(as_bytes)
BRIDGE = parse_address("http://127.0.0.1:8000")
SEEN = Seen("https", Authority("box.example"), "10.0.0.9")
WAYS = (
    proxied.Way(proxied.Target(8888, "/a/b"), SEEN),
    proxied.Way(proxied.Target(8888, "/a"), SEEN, "/base", keeps_prefix=True),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["Cookie", "set-cookie", "Location", "Referer", "Origin", "Connection", "Authorization"]
        )
        | TEXT,
        TEXT,
    ),
    max_size=5,
)


def ours(text: str) -> bool:
    return text == "ours"


def through_both(headers: list[tuple[str, str]]) -> None:
    for way in WAYS:
        proxied_headers.request_headers(headers, way, ours)
        proxied_headers.answer_headers(headers, way)
        for _, value in headers:
            proxied_headers.location(value, way)
            proxied_headers.set_cookie(value, way)
            proxied_headers.knows_prefix(302, value, way)
            way.path(value, ours)


def recording(data: bytes) -> None:
    head = b'{"version": 2, "width": 80, "height": 24}\n'
    list(asciicast.Reader((head + data).splitlines(keepends=True)).events())


def messages(data: bytes) -> None:
    buffer = bytearray(data)
    while joined.take_message(buffer) is not None:
        pass


PARSERS: dict[str, Parser] = {
    "client.address.parse_address": Parser(parse_address, ConfigError),
    "client.channel.parse": Parser(channel.parse, TtyBridgeError, BYTES),
    "client.http.parse_facts": Parser(
        lambda data: http.parse_facts(data, BRIDGE), TtyBridgeError, BYTES
    ),
    "client.people.parse_here": Parser(people.parse_here, STRANGE, JSON),
    "client.people.parse_link": Parser(people.parse_link, STRANGE, JSON),
    "client.people.parse_links": Parser(people.parse_links, STRANGE, JSON),
    "client.status.parse_status": Parser(status.parse_status, STRANGE, JSON),
    "client.transport._parsed": Parser(lambda text: transport._event(transport._parsed(text))),
    "client.transport._refused": Parser(transport._refused, (), JSON),
    "core.asciicast.Reader": Parser(recording, asciicast.BadRecording, BYTES),
    "core.authority.parse_address": Parser(authority.parse_address),
    "core.cloudflared.address": Parser(cloudflared.address),
    "core.cloudflared.addresses_in": Parser(cloudflared.addresses_in),
    "core.colab_contract.parse_colab": Parser(
        colab_contract.parse_colab, ProtocolError, TEXT | BYTES | JSON | JSON.map(json.dumps)
    ),
    "core.ngrok.addresses": Parser(ngrok.addresses, (), JSON),
    "core.ngrok.parse_version": Parser(ngrok.parse_version),
    "core.people.clean_name": Parser(clean_name),
    "core.proxied.parse": Parser(proxied.Target.parse),
    "core.proxied_headers": Parser(through_both, (), HEADERS),
    "core.public_key.parse_public_key": Parser(public_key.parse_public_key, ValueError),
    "core.ssh_keys.parse_entry": Parser(lambda text: ssh_keys.parse_entry(text, "x"), ValueError),
    "core.ssh_keys.parse_github_user": Parser(ssh_keys.parse_github_user, ValueError),
    "core.ssh_tunnel.allocated_ports": Parser(
        lambda text: ssh_tunnel.allocated_ports(text, [None])
    ),
    "core.ssh_tunnel.parse_target": Parser(ssh_tunnel.parse_target, ConfigError),
    "core.sshd_config.parse_version": Parser(sshd_config.parse_version),
    "core.tmux.parse_end": Parser(tmux.parse_end, (), BYTES),
    "core.tmux.parse_size": Parser(tmux.parse_size, (), BYTES),
    "core.tmux.parse_version": Parser(tmux.parse_version),
    "core.tmux.parse_watched": Parser(tmux.parse_watched, (), BYTES),
    "ssh.joined.take_message": Parser(messages, (), BYTES),
    "ssh.lines.accepted": Parser(lines.accepted),
    "ssh.roster.name_of": Parser(lambda text: roster.name_of(text, "10.0.0.9")),
    "web.request_facts._content_length": Parser(_content_length),
    "web.request_facts._cookies": Parser(lambda text: _cookies((text,), "ttybridge-8080")),
    "web.request_facts.tokens_of": Parser(lambda text: tokens_of(text, ("token", "link"))),
    "web.routes.parse_body": Parser(
        parse_body, ConfigError, BYTES | JSON.map(json.dumps).map(str.encode)
    ),
}
"""The parsers by name, each with what it may raise."""

ELSEWHERE = {
    "core.authority.parse": "test_no_text_is_read_as_a_host_that_prints_differently",
    "core.authority.parse_origin": "test_any_text_as_host_or_origin_is_answered_not_crashed_on",
    "core.environment.parse_show_environment": "test_any_output_of_tmux_is_taken",
    "core.ngrok.parse_line": "test_any_line_can_be_read",
    "core.protocol.parse_hello": "test_nothing_raises_anything_else",
    **dict.fromkeys(
        (
            f"core.protocol.parse_{name}"
            for name in ("input", "size", "ack", "hand", "name", "display", "pong")
        ),
        "test_arguments_of_any_kind_raise_nothing_but_a_protocol_error",
    ),
    "core.ssh_keys.parse_authorized_keys": (
        "test_no_text_makes_reading_a_file_fail_and_no_key_is_shown"
    ),
}
"""Parsers whose property test is in the file of their module."""

TRUSTED = {"ssh.lines.parse_sockets"}
"""Parsers of what the kernel says."""


def test_every_parser_has_a_property_test() -> None:
    found = set()
    for layer in ("core", "web", "ssh", "client", "adapters", "tunnels"):
        for path in sorted((ROOT / "ttybridge" / layer).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.FunctionDef) and re.match(r"parse(_|$)", node.name):
                    found.add(f"{layer}.{path.stem}.{node.name}")
    assert found <= PARSERS.keys() | ELSEWHERE.keys() | TRUSTED
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "unit").glob("test_*.py"))
    for name in ELSEWHERE.values():
        assert re.search(rf"@given\([^@]*\n *def {name}\(", tests), name


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=60)
@given(st.data())
def test_any_text_is_read_or_refused_in_the_documented_way(name: str, data: st.DataObject) -> None:
    parser = PARSERS[name]
    try:
        parser.call(data.draw(parser.takes))
    except Exception as error:
        if not isinstance(error, parser.errors):
            raise


BODIES = st.fixed_dictionaries(
    {},
    optional={
        name: JSON | st.sampled_from(["c1", "viewer", "v2", "/tmp/x", True, 5, 10**400, -1])
        for name in (
            *("who", "role", "name", "on", "lifeS", "uses", "link", "file", "format", "input"),
            *("label", "frame", "url", "set", "unset", "text"),
        )
    },
)


@given(BODIES)
def test_any_request_of_the_control_socket_is_done_or_refused_in_a_sentence(
    asked: dict[str, Any],
) -> None:
    actor = Actor(Role.OWNER, "somebody", Entrance.CONTROL)
    refused = []
    for route in ROUTES:
        if route.path == "/stop":
            continue
        try:
            found = route.run(cast(Any, Bridge()), actor, asked)
            if inspect.iscoroutine(found):
                with pytest.raises(StopIteration):
                    found.send(None)
        except TtyBridgeError as error:
            refused.append(error)
    assert all(error.message for error in refused)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_messages_of_logins_come_out_as_they_went_in(one: bytes, two: bytes) -> None:
    buffer = bytearray(joined.message(b"I", one) + joined.message(b"S", two))
    assert [joined.take_message(buffer), joined.take_message(buffer)] == [(b"I", one), (b"S", two)]
    assert (joined.take_message(buffer), bytes(buffer)) == (None, b"")


@given(st.integers(0, 99999), st.integers(0, 99999), st.sampled_from([b"off", b"on", b"2"]))
def test_sizes_that_tmux_prints_are_read(cols: int, rows: int, bar: bytes) -> None:
    size = tmux.parse_size(b"%d %d %b\n" % (cols, rows, bar))
    assert size is not None
    lines_below = {b"off": 0, b"on": 1, b"2": 2}[bar]
    assert size == WindowSize.clamped(cols=cols, rows=rows + lines_below)


@given(st.text(), st.integers(1, 1000), st.integers(1, 1000))
def test_colabs_messages_are_read_as_they_were_written(text: str, cols: int, rows: int) -> None:
    read = colab_contract.parse_colab(json.dumps({"data": text, "cols": cols, "rows": rows}))
    assert read.size == WindowSize.clamped(cols=cols, rows=rows)
    assert read.data.decode() == re.sub("[\ud800-\udfff]", "\ufffd", text)


@given(TEXT)
def test_any_value_of_an_option_is_read_or_refused_in_a_sentence(text: str) -> None:
    refused = []
    for function in READERS:
        try:
            function(text)
        except (ValueError, ConfigError) as error:
            refused.append(str(error))
    assert len(READERS) > 10
    assert all(refused)
