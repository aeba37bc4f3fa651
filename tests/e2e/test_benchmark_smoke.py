"""The benchmark of the audience runs, in small; how fast anything is stands in no test."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks import calls, late, slow
from benchmarks.servers import Ttybridge
from benchmarks.ttyd import find_ttyd
from tests.conftest import ROOT
from tests.screens import Screens, Viewer, needs_screens


@pytest.fixture(scope="module")
def server() -> Iterator[Ttybridge]:
    with Ttybridge() as bridge:
        yield bridge


def test_viewers_are_measured_for_every_server() -> None:
    small = ["--only", "fan-out", "--viewers", "5", "--seconds", "0.5", "--rounds", "1"]
    if find_ttyd("") is None:
        small.append("--no-ttyd")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.audience", *small],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout.splitlines()[-1])
    assert min(numbers["ceiling"]["messages"].values()) > 0
    for run in numbers["fanOut"]:
        seen, cost = run["seen"], run["cost"]
        assert seen["lost"] == 0
        assert 0 < seen["received"] <= 1
        assert 0 < seen["p50"] <= seen["p99"] <= seen["worst"]
        assert seen["p50"] <= seen["last_p50"]
        assert run["cpu_s"] == pytest.approx(sum(part["cpu_s"] for part in cost.values()))
        assert min(cost["server"]["memory"], cost["tmux"]["memory"]) > 0
    # Ours has a tmux client for the audience, and ttyd one for each viewer.
    clients = [run["cost"]["clients"]["count"] for run in numbers["fanOut"]]
    assert clients[0] < 5
    assert clients[1:] in ([], [5])


def test_calls_are_those_of_the_work_alone() -> None:
    counts = calls.per_unit(ROOT, calls.type_keys, (5, 25))
    assert counts["pty._write_some"] == 1000  # once for each key
    assert counts["tmux.__init__"] == 0  # and nothing of the start


@pytest.mark.node
@needs_screens
@pytest.mark.parametrize("is_planted", [False, True], ids=["honest", "planted"])
def test_late_joiners_are_compared_cell_by_cell(
    server: Ttybridge, monkeypatch: pytest.MonkeyPatch, is_planted: bool
) -> None:
    out = Viewer.out
    first: list[Viewer] = []

    def heard(self: Viewer, offset: int, data: bytes) -> None:
        first.append(self)
        wrong = is_planted and self is not first[0]
        out(self, offset, data.replace(b"4", b"5") if wrong else data)

    monkeypatch.setattr(Viewer, "out", heard)
    monkeypatch.setattr(late, "WATCHED_S", 0.1)
    monkeypatch.setattr(late, "SETTLE_S", 0.2)
    shown = ("sh", "-c", "seq 320 344; exec cat")
    with Screens() as screens:
        numbers = late.run(server, screens, 1, {"numbers": shown})
    if is_planted:
        assert any("'4' / '5'" in text for text in numbers["wrong"])
    else:
        assert numbers["wrong"] == []
        assert len(numbers["times"]["numbers"]) == 1


def test_a_viewer_on_a_thin_line_is_measured_beside_others(server: Ttybridge) -> None:
    thin, rest, _ = slow.run(server, rate=1e6, seconds=0.6, thin=100e3, others=2)
    assert (thin.lost, rest.lost) == (0, 0)
    assert thin.output < rest.output
    assert thin.stale_max > 0
