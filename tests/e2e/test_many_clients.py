"""Third-party clients of every kind on one session: side by side, and taking it over."""

import hashlib
from typing import Any

import pytest

from tests.conftest import RunningBridge, StartBridge, Tmux, clean_environment, wait_until
from tests.e2e.clients.program import END, READY, lines_of, poured
from tests.e2e.conftest import NodeClient, StartNode, StartOnPty, pane_size, program

pytestmark = pytest.mark.node

EXTENSION = {"X-Colab-Client-Agent": "vscode"}
"""What Colab's VS Code extension sends besides the token."""


def open_contract(start_node: StartNode, bridge: RunningBridge, transport: str) -> NodeClient:
    """Return a connected client of Colab's contract on Socket.IO."""
    client = start_node("contract.mjs")
    query = {"token": bridge.token}
    options = {"transports": [transport], "query": query, "answers": True}
    assert client.ask("open", address=bridge.address, **options)["connected"]
    return client


def open_frames(start_node: StartNode, bridge: RunningBridge, **headers: str) -> dict[str, Any]:
    """Connect as the extension does: the token in a header, nothing in the query."""
    client = start_node("frames.mjs")
    headers = EXTENSION | {"X-Colab-Runtime-Proxy-Token": bridge.token} | headers
    answer = client.ask("open", address=f"ws://{bridge.host}/colab/tty", headers=headers)
    return answer | {"client": client}


def type_into(client: NodeClient, text: str) -> None:
    """Type on a client of either kind."""
    client.ask("send" if "opened" in client.state else "say", message={"data": text})


# --- the manner of Colab's VS Code extension ----------------------------------------------


def test_the_extension_attaches_with_a_header_alone(
    start_bridge: StartBridge, start_node: StartNode, tmux: Tmux
) -> None:
    bridge = start_bridge()
    answer = open_frames(start_node, bridge)
    assert answer["opened"]
    client: NodeClient = answer["client"]
    client.ask("send", message={"cols": 101, "rows": 37})
    client.ask("send", message={"data": "echo mark-$((6*7))\r"})
    client.wait_for_text("mark-42")
    wait_until(lambda: pane_size(tmux) == "36 101", "the size of the window")
    client.ask("send", message={"data": "exit\r"})
    assert client.wait(lambda state: state["code"], "the close")["code"] == 1000


def test_the_extension_is_refused_with_another_token(
    start_bridge: StartBridge, start_node: StartNode
) -> None:
    bridge = start_bridge(command=program("echo"))
    answer = open_frames(start_node, bridge, **{"X-Colab-Runtime-Proxy-Token": "wrong"})
    assert (answer["opened"], answer["status"]) == (False, 401)


def test_the_extension_gets_20_megabytes_without_acknowledging(
    start_bridge: StartBridge, start_node: StartNode
) -> None:
    lines = lines_of(20_000_000)
    client: NodeClient = open_frames(start_node, start_bridge(command=program("pour", lines)))[
        "client"
    ]
    client.wait_for_text(READY.decode())
    client.ask("send", message={"data": "g"})
    state = client.wait_for_text(END.decode(), deadline_s=60)
    assert state["sha256"] == hashlib.sha256(READY + poured(lines) + END).hexdigest()
    assert state["asked"] >= 100


def test_the_escape_key_alone_reaches_the_program(
    start_bridge: StartBridge, start_node: StartNode
) -> None:
    bridge = start_bridge(command=program("echo"))
    client: NodeClient = open_frames(start_node, bridge)["client"]
    client.wait_for_text("READY")
    client.ask("type", text="\x1b[A")
    client.wait_for_text("READY[1b5b41]")
    client.ask("type", text="\x1b")  # it may begin a sequence, but does not wait for it for ever
    client.wait_for_text("READY[1b5b41][1b]")


# --- several at once -----------------------------------------------------------------------


def test_three_clients_and_a_plain_tmux_attach_coexist(
    start_bridge: StartBridge, start_node: StartNode, start_on_pty: StartOnPty, tmux: Tmux
) -> None:
    bridge = start_bridge()
    clients = [
        open_contract(start_node, bridge, "websocket"),
        open_contract(start_node, bridge, "polling"),
        open_frames(start_node, bridge)["client"],
    ]
    argv = ["tmux", "-S", str(tmux.socket), "attach", "-t", "=0"]
    plain = start_on_pty(argv, env=clean_environment(TERM="xterm-256color"))
    wait_until(lambda: len(tmux.clients()) == 4, "four tmux clients")
    for number, client in enumerate(clients):
        type_into(client, f"echo mark-$((60+{number}))\r")
        for other in clients:
            other.wait_for_text(f"mark-{60 + number}")
        plain.wait_for_text(f"mark-{60 + number}")
    plain.type(b"echo mark-$((6*8))\r")
    for client in clients:
        client.wait_for_text("mark-48")
    assert len(tmux.clients()) == 4
    assert plain.process.poll() is None


def test_with_exclusive_each_new_client_detaches_the_one_before(
    start_bridge: StartBridge, start_node: StartNode, tmux: Tmux
) -> None:
    bridge = start_bridge("--exclusive")
    first = open_contract(start_node, bridge, "websocket")
    type_into(first, "echo mark-$((6*7))\r")
    first.wait_for_text("mark-42")
    second = open_contract(start_node, bridge, "polling")
    state = first.wait(lambda state: state["ended"], "the end of the first")
    assert state["endedAfterExit"]
    assert state["exit"]["exitCode"] == 0
    assert "[detached" in state["tail"]
    second.wait_for_text("mark-42")  # the session lives on
    third: NodeClient = open_frames(start_node, bridge)["client"]
    assert second.wait(lambda state: state["ended"], "the end of the second")["exit"]
    type_into(third, "echo mark-$((6*8))\r")
    third.wait_for_text("mark-48")
    fourth = open_contract(start_node, bridge, "websocket")
    assert third.wait(lambda state: state["code"], "the end of the third")["code"] == 1000
    fourth.wait_for_text("mark-48")
    assert len(tmux.clients()) == 1
