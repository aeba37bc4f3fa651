"""The unmodified socket.io-client and ws of npm as clients of the whole program."""

import contextlib
import hashlib
import http.client
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunningBridge, StartBridge, Tmux, wait_until
from tests.e2e.clients.polling import SEPARATOR, PollingWire, typed
from tests.e2e.clients.program import END, PIECES, READY, lines_of, poured
from tests.e2e.conftest import NodeClient, StartNode, pane_size, program

pytestmark = pytest.mark.node

TRANSPORTS: dict[str, list[str] | None] = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "polling, then upgrade": None,
}
each_transport = pytest.mark.parametrize(
    "transports", TRANSPORTS.values(), ids=list(TRANSPORTS), scope="function"
)

CLOCK_BYTES = 3_000_000
"""Output that another client gets meanwhile, where a test shows that one client gets nothing."""


class Contract:
    """Starts clients of Colab's contract."""

    def __init__(self, start_node: StartNode) -> None:
        self._start_node = start_node

    def __call__(
        self,
        bridge: RunningBridge,
        transports: Sequence[str] | None = ("websocket",),
        *,
        answers: bool = True,
        form: str = "",
    ) -> NodeClient:
        """Return a client that has connected."""
        client = self._start_node("contract.mjs")
        query = {"token": bridge.token} | ({"form": form} if form else {})
        answer = client.ask(
            "open", address=bridge.address, transports=transports, query=query, answers=answers
        )
        assert answer["connected"], answer
        return client


@pytest.fixture
def contract(start_node: StartNode) -> Contract:
    """Start clients of Colab's contract: `contract(bridge, ["polling"])`."""
    return Contract(start_node)


def say(client: NodeClient, **message: object) -> None:
    """Send one message of the contract."""
    client.ask("say", message=message)


def proof(kind: str, token: str) -> dict[str, Any]:
    """Return the options of a client that shows a token in this way."""
    match kind:
        case "bearer":
            return {"headers": {"Authorization": f"Bearer {token}"}}
        case "header":
            return {"headers": {"X-Colab-Runtime-Proxy-Token": token}}
        case _:
            return {"query": {"token": token}}


def cookie_of(bridge: RunningBridge) -> str:
    """Log in as a browser does and return the header `Cookie`."""
    connection = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=20)
    connection.request("GET", f"/?token={bridge.token}", headers={"Accept": "text/html"})
    answer = connection.getresponse().getheader("Set-Cookie") or ""
    connection.close()
    assert answer, "no cookie"
    return answer.partition(";")[0]


def healthy(bridge: RunningBridge) -> None:
    """Ask the bridge whether it is well."""
    connection = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=20)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()


def sockets_of(bridge: RunningBridge) -> int:
    """Return how many sockets a bridge has open."""
    count = 0
    for link in Path(f"/proc/{bridge.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += link.readlink().name.startswith("socket:")
    return count


def checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- Colab's contract: typing, sizes, credentials ------------------------------------------


@each_transport
def test_a_client_types_reads_and_resizes(
    transports: list[str] | None, start_bridge: StartBridge, contract: Contract, tmux: Tmux
) -> None:
    client = contract(start_bridge(), transports)
    say(client, data="echo mark-$((6*7))\r")
    client.wait_for_text("mark-42")
    wanted = transports[0] if transports else "websocket"
    client.wait(lambda state: state["transport"] == wanted, f"the transport {wanted}")
    # The keys may come together; the session's status line takes one row.
    say(client, cols=101, rows=37, data="echo mark-$((6*8))\r")
    client.wait_for_text("mark-48")
    wait_until(lambda: pane_size(tmux) == "36 101", "the size of the window")
    assert client.state["faults"] == []


def test_the_window_size_follows_the_client(start_bridge: StartBridge, contract: Contract) -> None:
    bridge = start_bridge(
        command=["sh", "-c", 'trap "stty size" WINCH; echo go; while :; do read x; done']
    )
    client = contract(bridge)
    client.wait_for_text("go")
    for cols, rows, shown in ((101, 37, "37 101"), (60, 20, "20 60"), (99999, 0, "1 1000")):
        say(client, cols=cols, rows=rows)
        say(client, data="\r")
        client.wait_for_text(shown)


@pytest.mark.parametrize("kind", ["query", "bearer", "header", "cookie"])
def test_each_credential_opens_and_a_wrong_one_does_not(
    kind: str, start_bridge: StartBridge, start_node: StartNode
) -> None:
    bridge = start_bridge(command=program("echo"))
    right, wrong = proof(kind, bridge.token), proof(kind, "wrong-token")
    if kind == "cookie":
        cookie = cookie_of(bridge)
        # A browser adds a cookie by itself, and with it Origin: without, anybody may have asked.
        right = {"headers": {"Cookie": cookie, "Origin": f"http://{bridge.host}"}}
        wrong = {"headers": {"Cookie": cookie}}
    for transports in TRANSPORTS.values():
        client = start_node("contract.mjs")
        where = {"address": bridge.address, "transports": transports}
        assert client.ask("open", **where, **right)["connected"]
        client.wait_for_text("READY")
        if transports is None:  # the upgrade needs the credential, too
            client.wait(lambda state: state["transport"] == "websocket", "the upgrade")
        stranger = start_node("contract.mjs")
        assert not stranger.ask("open", **where, **wrong)["connected"]


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]], ids=["websocket", "polling"])
def test_characters_that_are_split_across_reads_arrive_whole(
    transports: list[str], start_bridge: StartBridge, contract: Contract
) -> None:
    client = contract(start_bridge(command=program("pieces")), transports)
    client.wait_for_text("READY")
    text = b""
    for piece in PIECES:  # each is read from the pty by itself: the next one waits for a key
        say(client, data="k")
        text += piece
        whole = text.decode(errors="ignore")
        client.wait_for_text("READY" + whole[:3] if b"\xff" in text else "READY" + whole)
    expected = READY + b"".join(PIECES).decode(errors="replace").encode()
    client.wait_for_text(expected.decode())
    assert client.state["sha256"] == checksum(expected)


# --- Colab's contract: flow control --------------------------------------------------------


@each_transport
def test_a_client_that_never_acknowledges_gets_everything(
    transports: list[str] | None, start_bridge: StartBridge, contract: Contract
) -> None:
    lines = lines_of(20_000_000 if transports == ["websocket"] else 5_000_000)
    client = contract(start_bridge(command=program("pour", lines)), transports, answers=False)
    client.wait_for_text("READY")
    say(client, data="g")
    state = client.wait_for_text(END.decode(), deadline_s=60)
    assert state["sha256"] == checksum(READY + poured(lines) + END)
    assert state["owed"] >= 30, "the server did not ask for acknowledgements"


def test_acknowledgements_are_asked_for_every_100_000_characters(
    start_bridge: StartBridge, contract: Contract
) -> None:
    lines = lines_of(3_000_000)
    client = contract(start_bridge(command=program("pour", lines)))
    client.wait_for_text("READY")
    say(client, data="g")
    state = client.wait_for_text(END.decode())
    assert state["sha256"] == checksum(READY + poured(lines) + END)
    # A request travels with the message that makes 100,000 full; messages have up to 64 KiB.
    assert len(state["gaps"]) >= 15
    assert all(100_000 <= gap < 170_000 for gap in state["gaps"]), state["gaps"]


@pytest.mark.parametrize(
    ("form", "most", "spare_acks"),
    [("", 6, 0), ("", 6, 50), ("older", 21, 0)],
    ids=["newer form", "newer form after spare acks", "older form"],
)
def test_a_client_that_stops_acknowledging_is_held_while_another_goes_on(
    form: str, most: int, spare_acks: int, start_bridge: StartBridge, contract: Contract
) -> None:
    bridge = start_bridge(command=program("flood"))
    slow, quick = contract(bridge, form=form), contract(bridge)

    def meanwhile(expected: Callable[[dict[str, Any]], bool]) -> None:
        until = quick.state["bytes"] + CLOCK_BYTES
        quick.wait(lambda state: state["bytes"] >= until, "output of the other client")
        assert expected(slow.state)

    slow.ask("spareAcks", count=spare_acks)
    say(slow, cols=101, rows=33)  # the bridge has had the spare ones when it has this
    wait_until(lambda: 101 in [p.cols for p in bridge.control.people().people], "the new size")
    say(quick, data="g")
    slow.wait(lambda state: state["asked"] > most, "answered requests")
    slow.ask("answer", on=False)
    held = slow.wait(lambda state: state["owed"] == most, f"{most} outstanding requests")
    meanwhile(lambda state: state["bytes"] == held["bytes"] and state["owed"] == most)
    slow.ask("pay", count=most - 2)
    meanwhile(lambda state: state["bytes"] == held["bytes"] and state["owed"] == 2)
    slow.ask("pay", count=1)
    slow.wait(lambda state: state["bytes"] > held["bytes"], "output again")
    slow.ask("answer", on=True)
    slow.wait(lambda state: state["bytes"] > held["bytes"] + CLOCK_BYTES, "output as before")
    assert slow.state["faults"] == []


@pytest.mark.parametrize("transports", [["websocket"], None], ids=["websocket", "upgraded"])
def test_a_logout_cuts_off_a_client_that_reads_nothing(
    transports: list[str] | None, start_bridge: StartBridge, start_node: StartNode
) -> None:
    bridge = start_bridge(command=program("flood"))
    headers = {"Cookie": cookie_of(bridge), "Origin": f"http://{bridge.host}"}
    before = sockets_of(bridge)
    client = start_node("contract.mjs")
    where = {"address": bridge.address, "transports": transports, "answers": False}
    assert client.ask("open", headers=headers, **where)["connected"]
    client.wait(lambda state: state["transport"] == "websocket", "the WebSocket")
    say(client, data="g")
    client.wait(lambda state: state["bytes"] > CLOCK_BYTES, "output")
    client.ask("stopReading")
    written: list[str] = []

    def is_stuck() -> bool:
        """Whether the bridge has sent nothing for half a second: the buffers are full."""
        written.append(Path(f"/proc/{bridge.pid}/io").read_text().splitlines()[1])
        return len(written) > 25 and len(set(written[-25:])) == 1

    wait_until(is_stuck, "the bridge waits for the client")
    connection = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=20)
    connection.request("POST", "/logout", headers=headers)
    assert connection.getresponse().status < 400
    connection.close()
    wait_until(lambda: sockets_of(bridge) <= before, "the connection is closed", deadline_s=10)


# --- Colab's contract: the end -------------------------------------------------------------


@each_transport
@pytest.mark.parametrize(
    ("script", "exit_code", "signal"),
    [("exit 7", 7, 0), ("kill -9 $$", 0, 9)],
    ids=["status 7", "signal 9"],
)
def test_the_end_is_told_and_then_the_line_is_closed(
    transports: list[str] | None,
    script: str,
    exit_code: int,
    signal: int,
    start_bridge: StartBridge,
    contract: Contract,
) -> None:
    bridge = start_bridge(command=["sh", "-c", f"echo go; read x; echo bye; {script}"])
    client = contract(bridge, transports)
    client.wait_for_text("go")
    say(client, data="\r")
    state = client.wait(lambda state: state["ended"], "the end")
    assert state["endedAfterExit"]
    assert (state["exit"]["exitCode"], state["exit"]["signal"]) == (exit_code, signal)
    assert state["tail"].endswith("bye\r\n")
    assert bridge.wait() == (exit_code or 128 + signal)


def test_a_client_that_is_between_two_polls_learns_the_end(start_bridge: StartBridge) -> None:
    bridge = start_bridge(command=["sh", "-c", "echo go; read x; echo bye; exit 7"])
    wire = PollingWire(bridge)
    wait_until(lambda: "go" in wire.poll(), "the start")
    wire.post([b'42["data",{"data":"{\\"data\\":\\"\\\\r\\"}"}]'])
    wait_until(lambda: "bye" in wire.poll(), "the last output")
    for _ in range(20):  # the bridge has had the time to do all that it does by itself
        healthy(bridge)
    wait_until(lambda: wire.poll() and "41" in wire.packets, "the end")
    (told,) = (packet for packet in wire.packets if packet.startswith('42["exit"'))
    assert json.loads(told[2:])[1]["exitCode"] == 7
    assert bridge.wait() == 7


def test_when_the_shell_ends_the_client_is_told_and_the_next_one_gets_a_new_session(
    start_bridge: StartBridge, contract: Contract
) -> None:
    bridge = start_bridge()
    client = contract(bridge)
    say(client, data="exit\r")
    state = client.wait(lambda state: state["ended"], "the end")
    assert (state["exit"]["exitCode"], state["exit"]["signal"]) == (0, 0)
    again = contract(bridge)
    say(again, data="echo mark-$((6*7))\r")
    again.wait_for_text("mark-42")


# --- input over polling --------------------------------------------------------------------


@pytest.mark.parametrize("op", ["type", "typeSlowly"], ids=["joined in one POST", "a POST a key"])
def test_fast_typing_over_polling_arrives_complete_and_in_order(
    op: str, start_bridge: StartBridge, contract: Contract
) -> None:
    client = contract(start_bridge(command=program("echo")), ["polling"])
    client.wait_for_text("READY")
    keys = [chr(33 + n * 7 % 90) for n in range(200)]
    client.ask(op, texts=keys)
    wanted = "".join(keys).encode()
    state = client.wait(lambda state: len(typed(state["tail"])) >= len(wanted), "200 keys")
    assert typed(state["tail"]) == wanted


@each_transport
def test_a_paste_of_many_messages_arrives_exactly(
    transports: list[str] | None,
    tmp_path: Path,
    start_bridge: StartBridge,
    contract: Contract,
) -> None:
    file = tmp_path / "pasted"
    client = contract(start_bridge(command=program("save", file)), transports)
    client.wait_for_text("READY")
    text = poured(lines_of(700_000)).decode()
    client.ask("type", texts=[text[n : n + 5000] for n in range(0, len(text), 5000)])
    say(client, data="\x04")
    client.wait_for_text("saved")
    assert checksum(file.read_bytes()) == checksum(text.encode())


def test_a_body_that_comes_in_several_segments_is_read_whole(start_bridge: StartBridge) -> None:
    wire = PollingWire(start_bridge(command=program("echo")))
    text = "".join(chr(33 + n % 90) for n in range(3000))
    messages = [{"data": json.dumps({"data": text[n : n + 100]})} for n in range(0, 3000, 100)]
    packets = [f"42{json.dumps(['data', message])}" for message in messages]
    body = SEPARATOR.join(packets).encode()
    cuts = [0, 1, 7, 500, 501, 2000, len(body)]
    wire.post([body[start:end] for start, end in pairwise(cuts)])
    wait_until(lambda: len(typed(wire.poll())) >= len(text), "all that was typed")
    assert typed(wire.output) == text.encode()
