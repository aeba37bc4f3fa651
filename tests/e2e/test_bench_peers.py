"""Each server that the benchmarks compare runs, and its client loses and adds nothing.

How fast anything is stands in no test. Servers that are not installed are left out.
"""

import signal
from pathlib import Path

import pytest

from benchmarks import peers
from benchmarks.peer import Peer
from benchmarks.peers import __main__ as check
from benchmarks.programs import lives
from benchmarks.wires import ceiling
from benchmarks.wires.streams import STREAMS
from benchmarks.wires.ttybridge import TtybridgeSpeech

WAYS = [
    pytest.param(peer, mode, transport, id=f"{peer.name}-{mode}-{transport}")
    for peer in peers.ALL
    for mode in peer.modes
    for transport in peer.transports
]

SIZE = 300_000
"""Bytes of text: several acknowledgements of every protocol but wetty's."""


@pytest.fixture(autouse=True)
def _present(request: pytest.FixtureRequest) -> None:
    if "peer" in request.fixturenames:
        why = request.getfixturevalue("peer").missing()
        if why:
            pytest.skip(why)


@pytest.fixture
def ours() -> Peer:
    return next(peer for peer in peers.ALL if peer.name == "ttybridge")


@pytest.mark.parametrize(("peer", "mode", "transport"), WAYS)
def test_a_shell_answers_and_nothing_is_left_behind(peer: Peer, mode: str, transport: str) -> None:
    seen = check.echo(peer, mode, transport)
    assert seen.pids["clients"]
    assert len(seen.pids["tmux"]) == (mode == "tmux")
    assert [pid for part in seen.pids.values() for pid in part if lives(pid)] == []
    assert seen.ready_s > 0
    assert seen.wire_bytes > len("echo $((6*7))42")


@pytest.mark.parametrize(("peer", "mode", "transport"), [w for w in WAYS if "direct" in w.values])
def test_every_byte_of_a_text_comes(peer: Peer, mode: str, transport: str) -> None:
    text, came = check.shown(peer, transport, SIZE)
    assert len(text) > SIZE * 0.9
    assert came == text, check.difference(text, came)


@pytest.mark.parametrize("name", ["pty", "ttybridge"])
def test_ctrl_c_works_where_this_process_ignores_it(name: str, tmp_path: Path) -> None:
    peer = next(peer for peer in peers.ALL if peer.name == name)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        argv = ("sh", "-c", "trap 'echo 4''2' INT; printf READY; read line; sleep 20")
        with peer.start("direct", argv, tmp_path) as running, running.open() as wire:
            check.until(wire, b"READY")
            wire.write(b"\x03")
            check.until(wire, b"42")
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_byte_that_is_wrong_is_noticed(ours: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = TtybridgeSpeech.binary

    def wrong(self: TtybridgeSpeech, message: bytes, now: float) -> bytes:
        return honest(self, message, now).replace(b"quick", b"quack")

    monkeypatch.setattr(TtybridgeSpeech, "binary", wrong)
    text, came = check.shown(ours, "", SIZE)
    assert len(came) == len(text)
    assert came != text
    assert "b'ack" in check.difference(text, came)


def test_a_shell_that_hears_nothing_is_noticed(ours: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TtybridgeSpeech, "type", lambda self, data: None)
    monkeypatch.setattr(check, "ANSWER_S", 1.0)
    with pytest.raises(TimeoutError):
        check.echo(ours, "direct", "")


@pytest.mark.parametrize("name", [*STREAMS, ceiling.POLLING])
def test_each_wire_takes_a_stream(name: str) -> None:
    top = ceiling.measure(name, size=400_000)
    assert 0 < top.messages < top.megabytes * 1e6
