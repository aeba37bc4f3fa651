"""The benchmark runs, in small; how fast anything is stands in no test."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import take
from benchmarks.line import SlowLine
from benchmarks.peer import READ_BYTES
from benchmarks.peers.bare import Pty
from benchmarks.text import write_text
from benchmarks.wires.pipe import PipeWire
from benchmarks.workload import Settings
from benchmarks.workloads.bulk import BULK
from tests.conftest import ROOT

PAIRS = [("p50_ms", "p99_ms"), ("bash_p50_ms", "bash_p99_ms"), ("connect_p50_ms", "connect_p99_ms")]


def bench(*options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--peers", "ttybridge,pty", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    head, _, last = done.stdout.rstrip().rpartition("\n")
    assert "### Goals" in head
    numbers: dict[str, Any] = json.loads(last)
    return numbers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "rows"),
    [
        ("direct", {"echo", "bulk", "interrupt", "stall"}),
        pytest.param(
            "tmux",
            {"flooded", "thin", "sessions", "start", "polling"},
            marks=pytest.mark.long,
        ),
    ],
)
def test_each_row_has_numbers_that_are_possible(mode: str, rows: set[str]) -> None:
    found = bench("--modes", mode, "--only", ",".join(sorted(rows)))
    assert found["absent"] == {}
    assert set(found["versions"]) == {"ttybridge", "pty"}
    samples = {(s["workload"], s["peer"]): s for s in found["samples"]}
    # A bare pty has no line that could be slow, and no polling.
    alone = {"thin", "polling"}
    assert set(samples) == {
        (row, peer)
        for row in rows
        for peer in ("ttybridge", "pty")
        if peer == "ttybridge" or row not in alone
    }
    for sample in samples.values():
        assert sample["error"] == "", sample
        assert sample["mode"] == mode
        check(sample["workload"], sample["peer"], sample["numbers"])
    judged = {(goal["workload"], goal["mode"]) for goal in found["goals"]}
    assert judged == {(row, mode) for row in rows}
    verdicts = {
        goal["goal"]: goal["verdict"] for goal in found["goals"] if goal["workload"] == "bulk"
    }
    against_ttyd = [verdict for goal, verdict in verdicts.items() if "ttyd" in goal]
    assert set(against_ttyd) <= {"not measured"}  # it does not take part here


def check(row: str, peer: str, numbers: dict[str, float]) -> None:
    for less, more in PAIRS:
        if less in numbers:
            assert 0 < numbers[less] <= numbers[more]
    match row:
        case "bulk":
            assert numbers["mb_s"] > 0
            assert numbers["wire_mb"] >= numbers["output_mb"] > 0
            if peer == "ttybridge":
                assert numbers["cpu_s"] >= numbers["server_cpu_s"] > 0
        case "thin":
            assert numbers["prompt_ms"] > 0
            assert numbers["line_mb"] > 0
        case "interrupt":
            assert numbers["ms"] > 0
        case "stall":
            assert numbers["ratio"] > 0
            assert numbers.get("server_mb", 0) >= 0
        case "sessions":
            assert ("kb" in numbers) == (peer == "ttybridge")
        case "start":
            assert numbers["ms"] > numbers["listens_ms"] >= 0
        case "flooded":
            assert 0 <= numbers["late"] <= 100
            assert numbers["mb_s"] > 0
        case "polling":
            # A round trip is 100 ms, and no echo is faster.
            assert numbers["p50_ms"] >= 100
            assert (numbers["lost"], numbers["wrong"]) == (0, 0)
        case _:
            pass


@pytest.mark.parametrize("is_planted", [False, True], ids=["honest", "planted"])
def test_a_wrong_byte_on_the_way_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_planted: bool
) -> None:
    read = PipeWire.read

    def planted(self: PipeWire, timeout_s: float, most: int = READ_BYTES) -> bytes:
        return read(self, timeout_s, most).replace(b"#0000150 ", b"#0000151 ")

    if is_planted:
        monkeypatch.setattr(PipeWire, "read", planted)
    size, digest = write_text(tmp_path / "text", 50_000)
    settings = Settings(tmp_path / "text", size, digest)
    sample = take(BULK, "direct", Pty(), 0, settings)
    assert sample.error.startswith("WRONG: SHA-256") == is_planted
    assert bool(sample.numbers) != is_planted


def test_an_unknown_workload_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "echo,tea"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("not known: tea; there are: echo,")


@pytest.fixture
def echoing_port() -> Iterator[int]:
    """A server that sends back what comes, and after `more` 50,000 bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=echo, args=(connection,), daemon=True).start()

    def echo(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1000):
                connection.sendall(b"x" * 50_000 if data == b"more" else data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def exchange(line: SlowLine, question: bytes, size: int, times: int = 1) -> list[float]:
    took = []
    with socket.create_connection(line.address, 20) as client:
        for _ in range(times):
            begin, left = time.monotonic(), size
            client.sendall(question)
            while left:
                left -= len(client.recv(left))
            took.append(time.monotonic() - begin)
    return took


def test_a_line_delays_by_a_round_trip_and_a_new_connection_by_two(echoing_port: int) -> None:
    with SlowLine(echoing_port, rtt_s=0.1) as line:
        first, second = exchange(line, b"key", 3, times=2)
        assert first >= 0.199
        assert 0.099 <= second < first
        assert line.carried() == 6
        assert line.carried(time.time() - 60) == 0


def test_a_line_that_starts_slowly_needs_more_round_trips_for_more(echoing_port: int) -> None:
    # 50,000 bytes are ten segments, twenty, and five: a round trip for the handshake, and three.
    with SlowLine(echoing_port, rtt_s=0.1, slow_start=True) as line:
        assert exchange(line, b"more", 50_000)[0] >= 0.399
        assert line.carried() == 50_000


def test_a_line_with_a_rate_carries_no_more_than_that(echoing_port: int) -> None:
    with SlowLine(echoing_port, rate=200e3) as line:
        assert exchange(line, b"more", 50_000)[0] >= 0.24
