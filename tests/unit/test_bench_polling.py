"""The benchmarks' clients by polling; the server is a list of requests to be answered by hand."""

import base64
import json
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest

from benchmarks.wires.line import Target
from benchmarks.wires.polling import NumberedPollingWire, PollingWire
from benchmarks.wires.ttybridge import TtybridgeSpeech
from tests.conftest import DEADLINE_S

JOINED = json.dumps({"offset": 0, "input": 0, "maxInput": 1000})


@dataclass
class Request:
    """A request that is not answered yet."""

    line: socket.socket
    method: str
    query: dict[str, list[str]]
    body: str

    def answer(self, body: str, number: int | None = None, status: int = 200) -> None:
        """Answer it."""
        more = "" if number is None else f"X-TTYBridge-Poll: {number}\r\n"
        head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        self.line.sendall(f"{head}{body}".encode())


class Server:
    """Takes requests."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._lines: dict[socket.socket, bytes] = {}
        self.port = int(self._listener.getsockname()[1])

    def close(self) -> None:
        for line in (self._listener, *self._lines):
            line.close()

    def take(self) -> list[Request]:
        """Return what has come by now; what a client of this process sends is there at once."""
        found: list[Request] = []
        while ready := select.select([self._listener, *self._lines], [], [], 0)[0]:
            for line in ready:
                if line is self._listener:
                    self._lines[line.accept()[0]] = b""
                elif data := line.recv(65536):
                    self._lines[line] += data
                    found += self._whole(line)
                else:
                    del self._lines[line]
        return found

    def await_one(self) -> Request:
        """Return the next request, which is the only one."""
        end = time.monotonic() + DEADLINE_S
        while not (found := self.take()):
            assert time.monotonic() < end
            select.select([self._listener, *self._lines], [], [], DEADLINE_S)
        [request] = found
        return request

    def _whole(self, line: socket.socket) -> Iterator[Request]:
        head, end, body = self._lines[line].partition(b"\r\n\r\n")
        first, *headers = head.decode().split("\r\n")
        sizes = [h.partition(": ")[2] for h in headers if h.startswith("Content-Length")]
        if end and len(body) == int(sizes[0] if sizes else 0):
            self._lines[line] = b""
            method, path, _ = first.split()
            yield Request(line, method, parse_qs(urlsplit(path).query), body.decode())


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


class Scene:
    """A client that has joined, and the requests that wait."""

    def __init__(self, server: Server, kind: type[PollingWire], number: int | None) -> None:
        polls = kind is NumberedPollingWire
        target = Target(port=server.port, path="/tty/?EIO=4&transport=polling")
        self._server = server
        self.wire = kind(target, TtybridgeSpeech(80, 24, polls=polls))
        self.requests: list[Request] = []
        server.await_one().answer('0{"sid":"abc"}')
        self.read()
        [hello], [first] = self.of("POST"), self.of("GET")
        assert hello.query["sid"] == first.query["sid"] == ["abc"]
        self.requests.clear()
        assert hello.body.startswith('40{"protocol": 1')
        assert hello.query.get("n") == (["1"] if polls else None)
        hello.answer("ok")
        first.answer(f'40{{"sid":"x"}}\x1e42["joined",{JOINED}]', number)
        self.read()

    def read(self) -> bytes:
        """Have the client take in what there is; return its output."""
        found = b""
        while select.select([self.wire], [], [], 0)[0]:
            found += self.wire.read(0)
        self.requests += self._server.take()
        return found

    def type(self, keys: str) -> None:
        for key in keys:
            self.wire.write(key.encode())
        self.requests += self._server.take()

    def of(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]

    def __enter__(self) -> "Scene":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.wire.close()


def typed(requests: list[Request]) -> list[tuple[str, list[object]]]:
    """Return the numbers of POSTs, and what keys they carry."""
    return [
        (
            request.query.get("n", [""])[0],
            [json.loads(p[2:])[2] for p in request.body.split("\x1e") if p.startswith('42["in"')],
        )
        for request in requests
    ]


def out(offset: int, text: str) -> str:
    """Return the packets of some output."""
    data = base64.b64encode(text.encode()).decode()
    return f'451-["out",{offset},{{"_placeholder":true,"num":0}}]\x1eb{data}'


def test_a_key_waits_neither_for_the_last_ones_answer_nor_for_the_next_get(server: Server) -> None:
    with Scene(server, NumberedPollingWire, 1) as scene:
        assert (len(scene.of("GET")), len(scene.of("POST"))) == (3, 0)  # the hello was just sent
        scene.type("abcde")
        assert typed(scene.of("POST")) == [("2", ["a"]), ("3", ["b"]), ("4", ["c"])]
        scene.of("POST")[1].answer("ok")
        scene.read()
        assert typed(scene.of("POST"))[3:] == [("5", ["d", "e"])]


def test_answers_that_overtake_each_other_are_read_in_order(server: Server) -> None:
    with Scene(server, NumberedPollingWire, 1) as scene:
        first, second, third = scene.of("GET")
        third.answer(out(4, "never "), 4)
        second.answer("6", 0)
        assert scene.read() == b""
        first.answer(out(0, "out "), 2)
        assert scene.read() == b"out "
        scene.of("GET")[3].answer('42["reset",{"offset":4}]', 3)
        assert scene.read() == b"never "


def test_output_before_the_answer_that_is_missing_for_good_is_an_error(server: Server) -> None:
    with Scene(server, NumberedPollingWire, 1) as scene:
        for request, number in zip(scene.of("GET"), (3, 4, 5), strict=True):
            request.answer("6", number)
        with pytest.raises(OSError, match="an answer is missing"):
            scene.read()


def test_one_get_is_left_when_nothing_was_sent_for_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Scene(server, NumberedPollingWire, 1) as scene:
        monkeypatch.setattr("ttybridge.core.polls.LIVELY_S", -1.0)
        for request, number in zip(scene.of("GET"), (2, 0, 0), strict=True):
            request.answer("6", number)
        scene.requests.clear()
        scene.read()
        assert len(scene.of("GET")) == 1


def test_the_end_that_one_get_brings_is_awaited_when_another_is_refused(server: Server) -> None:
    with Scene(server, NumberedPollingWire, 1) as scene:
        first, second, third = scene.of("GET")
        first.answer("gone", status=400)
        second.answer("gone", status=400)
        assert scene.read() == b""
        third.answer(f"{out(0, 'bye')}\x1e41", 2)
        assert scene.wire.read(DEADLINE_S) == b"bye"
        with pytest.raises(EOFError):
            scene.wire.read(0)


@pytest.mark.parametrize(
    ("kind", "number"),
    [(PollingWire, None), (PollingWire, 1), (NumberedPollingWire, None)],
    ids=["plain client", "plain client of ttybridge", "plain server"],
)
def test_plain_polling_has_one_request_of_each_kind(
    server: Server, kind: type[PollingWire], number: int | None
) -> None:
    with Scene(server, kind, number) as scene:
        scene.type("abc")
        assert len(scene.of("GET")) == 1
        [post] = scene.of("POST")
        scene.of("GET")[0].answer(out(0, "x"), None if number is None else 2)
        assert scene.read() == b"x"
        post.answer("ok")
        scene.read()
        assert len(scene.of("GET")) == 2
        is_numbered = kind is NumberedPollingWire
        assert typed(scene.of("POST")) == [
            ("2" if is_numbered else "", ["a"]),
            ("3" if is_numbered else "", ["b", "c"]),
        ]


def test_where_it_polls_an_acknowledgement_goes_with_the_next_keys(server: Server) -> None:
    with Scene(server, NumberedPollingWire, 1) as scene:
        scene.of("GET")[0].answer(out(0, "x"), 2)
        assert scene.read() == b"x"
        scene.type("a")
        [post] = scene.of("POST")
        assert post.body == '42["ack",1]\x1e42["in",1,"a"]'
