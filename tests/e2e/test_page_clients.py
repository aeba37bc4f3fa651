"""The page's protocol, version 1, with the unmodified socket.io-client: resuming, input, resets."""

import hashlib
from typing import Any

import pytest

from tests.conftest import RunningBridge, StartBridge
from tests.e2e.clients.polling import typed
from tests.e2e.clients.program import END, READY, lines_of, poured
from tests.e2e.conftest import NodeClient, StartNode, program

pytestmark = pytest.mark.node


def open_page(client: NodeClient, bridge: RunningBridge, **options: Any) -> dict[str, Any]:
    """Connect a page's client and return what `joined` said."""
    options = {"transports": ["websocket"]} | options
    answer = client.ask("open", address=bridge.address, token=bridge.token, **options)
    assert "joined" in answer, answer
    joined: dict[str, Any] = answer["joined"]
    return joined


def type_numbered(client: NodeClient, seq: int, text: str) -> None:
    """Send one numbered input message."""
    client.ask("emit", event="in", args=[seq, text])


def checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def page(start_node: StartNode) -> NodeClient:
    """A client that speaks the page's protocol; not connected."""
    return start_node("page.mjs")


def test_after_a_cut_line_exactly_the_missing_bytes_come(
    page: NodeClient, start_bridge: StartBridge
) -> None:
    lines = lines_of(8_000_000)
    bridge = start_bridge(command=program("pour", lines))
    first = open_page(page, bridge, cutAt=1_000_000)
    page.wait_for_text("READY")
    page.ask("emit", event="in", args=[1, "g"])
    for cut_at in (2_500_000, 4_000_000, 10**9):
        page.wait(lambda state: state["ended"], "the cut")
        joined = open_page(page, bridge, resume={}, cutAt=cut_at)
        assert joined["resumed"]
        assert joined["id"] == first["id"]
        assert joined["input"] == 1
    state = page.wait_for_text(END.decode())
    assert state["faults"] == [], "bytes are missing, or came twice"
    assert state["resets"] == []
    assert state["sha256"] == checksum(READY + poured(lines) + END)


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], None])
def test_a_client_that_comes_back_before_its_loss_is_noticed_replaces_itself(
    transports: list[str] | None, page: NodeClient, start_bridge: StartBridge
) -> None:
    lines = lines_of(3_000_000)
    bridge = start_bridge(command=program("pour", lines))
    open_page(page, bridge, transports=transports)
    page.wait_for_text("READY")
    page.ask("emit", event="in", args=[1, "g"])
    for _ in range(3):
        assert open_page(page, bridge, transports=transports, resume={})["resumed"]
    state = page.wait_for_text(END.decode())
    assert state["faults"] == []
    assert state["resets"] == []
    assert state["sha256"] == checksum(READY + poured(lines) + END)


@pytest.mark.parametrize("wrong", [{"key": "wrong"}, {"id": "c999"}])
def test_with_a_wrong_key_or_id_a_client_is_joined_anew(
    wrong: dict[str, str], page: NodeClient, start_node: StartNode, start_bridge: StartBridge
) -> None:
    bridge = start_bridge(command=program("echo"))
    first = open_page(page, bridge)
    type_numbered(page, 1, "a")
    page.wait_for_text("[61]")
    stranger = start_node("page.mjs")
    place = {"id": first["id"], "key": first["key"], "offset": 0}
    joined = open_page(stranger, bridge, resume=place | wrong)
    assert not joined["resumed"]
    assert joined["id"] != first["id"]
    assert joined["key"] != first["key"]
    assert joined["input"] == 0
    stranger.wait_for_text("READY[61]")
    type_numbered(page, 2, "b")  # the place's owner still has it
    page.wait_for_text("[62]")


def test_a_client_may_ask_for_a_reset_of_a_direct_command(
    page: NodeClient, start_bridge: StartBridge
) -> None:
    bridge = start_bridge(command=program("echo"))
    open_page(page, bridge)
    page.wait_for_text("READY")
    type_numbered(page, 1, "a")
    page.wait_for_text("READY[61]")
    page.ask("cut")
    page.wait(lambda state: state["ended"], "the cut")
    assert open_page(page, bridge, resume={"reset": True})["resumed"]
    state = page.wait_for_text("READY[61]READY[61]")
    assert state["resets"] == [{"offset": 0, "reason": "lost", "hard": True}]


def test_an_offset_that_was_never_sent_brings_a_reset(
    page: NodeClient, start_bridge: StartBridge
) -> None:
    bridge = start_bridge(command=program("echo"))
    open_page(page, bridge)
    page.wait_for_text("READY")
    assert open_page(page, bridge, resume={"offset": 10**9})["resumed"]
    state = page.wait_for_text("READYREADY")
    assert [reset["offset"] for reset in state["resets"]] == [0]


def test_a_reset_in_tmux_repaints_without_clearing(
    page: NodeClient, start_bridge: StartBridge
) -> None:
    bridge = start_bridge()
    open_page(page, bridge)
    type_numbered(page, 1, "echo mark-$((6*7))\r")
    page.wait_for_text("mark-42")
    page.ask("cut")
    page.wait(lambda state: state["ended"], "the cut")
    before = len(page.state["tail"])
    assert open_page(page, bridge, resume={"reset": True})["resumed"]
    state = page.wait(lambda state: "mark-42" in state["tail"][before:], "the screen again")
    assert [(reset["reason"], reset["hard"]) for reset in state["resets"]] == [("lost", False)]
    assert state["faults"] == []


def test_input_is_confirmed_once_it_has_reached_the_pty(
    page: NodeClient, start_bridge: StartBridge
) -> None:
    bridge = start_bridge(command=program("echo"))
    open_page(page, bridge)
    type_numbered(page, 1, "x" * 2000)
    page.wait(lambda state: state["inack"] == 1, "the confirmation of a large message")
    for seq in range(2, 18):  # a pasting client waits when 16 are not confirmed
        type_numbered(page, seq, "y")
    page.wait(lambda state: state["inack"] >= 17 - 4, "the confirmation of small ones")
    page.wait(lambda state: len(typed(state["tail"])) == 2016, "all that was typed")


def test_input_that_was_accepted_before_is_ignored(
    page: NodeClient, start_bridge: StartBridge
) -> None:
    bridge = start_bridge(command=program("echo"))
    open_page(page, bridge)
    for seq, text in ((1, "a"), (1, "a"), (2, "b"), (1, "a"), (2, "b"), (3, "c")):
        type_numbered(page, seq, text)
    page.wait_for_text("63]")
    page.ask("cut")
    page.wait(lambda state: state["ended"], "the cut")
    assert open_page(page, bridge, resume={})["input"] == 3
    for seq, text in ((2, "b"), (3, "c"), (4, "d")):
        type_numbered(page, seq, text)
    state = page.wait_for_text("64]")
    assert typed(state["tail"]) == b"abcd"


BAD_EVENTS = {
    "a gap in the numbers": ("in", [3, "c"]),
    "a number that is none": ("in", ["2", "c"]),
    "too long a text": ("in", [2, "x" * 16385]),
    "an unknown event": ("out", [0, "c"]),
    "a reserved event": ("connect_", []),
    "an event of the other contract": ("data", [{"data": '{"data": "c"}'}]),
}


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], None])
def test_a_client_that_breaks_the_rules_is_cut_off_and_others_go_on(
    transports: list[str] | None,
    page: NodeClient,
    start_node: StartNode,
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(command=program("echo"))
    other = start_node("page.mjs")
    open_page(other, bridge)
    for number, (what, (event, args)) in enumerate(BAD_EVENTS.items(), 1):
        open_page(page, bridge, transports=transports)
        type_numbered(page, 1, "a")
        page.wait_for_text("[61]" + "[7a][61]" * (number - 1))
        page.ask("emit", event=event, args=args)
        page.wait(lambda state: state["ended"], f"the end of the connection after {what}")
        type_numbered(other, number, "z")
        other.wait_for_text("READY" + "[61][7a]" * number)
    assert typed(other.state["tail"]) == b"az" * len(BAD_EVENTS)
    assert "Traceback" not in bridge.log


def test_the_end_of_a_command_is_told_with_its_reason(
    page: NodeClient, start_bridge: StartBridge
) -> None:
    bridge = start_bridge(command=program("echo"))
    open_page(page, bridge)
    page.wait_for_text("READY")
    type_numbered(page, 1, "\x04")
    state = page.wait(lambda state: state["ended"], "the end")
    assert state["tail"] == "READY[04]"
    assert state["exit"]["exitCode"] == 7
    assert state["exit"]["reason"] == "exited"
    assert state["exit"]["restart"] is False
    assert bridge.wait() == 7
