"""Many viewers of one session: the audience's fan-out, see `benchmarks.audience`."""

from benchmarks.audience import fan_out
from benchmarks.goals import Goal
from benchmarks.peers.ttyd import Ttyd as TtydPeer
from benchmarks.servers import DirectTtybridge, Server, Ttybridge, Ttyd
from benchmarks.workload import Case, Column, Numbers, Workload

RATE = 1e6
"""Bytes of output a second."""


def viewers(case: Case) -> Numbers:
    """Have many watch."""
    settings = case.settings
    with server(case.peer.name, case.mode) as running:
        run = fan_out(running, viewers=settings.viewers, rate=RATE, seconds=settings.viewers_s)
    return {
        "cpu_s": run.cpu_s,
        "mb": run.memory / 1e6,
        "marks": run.seen.received * 100,
        "lag_p99_ms": run.seen.last_p99,
    }


def server(name: str, mode: str) -> Server:
    """Start the server of a peer for an audience; raises OSError where it is not here."""
    if name == "ttybridge":
        return DirectTtybridge() if mode == "direct" else Ttybridge()
    binary = TtydPeer().binary()
    if binary is None:
        raise OSError("there is no ttyd")
    return Ttyd(binary)


VIEWERS = Workload(
    "viewers",
    "200 viewers of 1 MB/s for 10 s",
    (
        Column("cpu_s", "CPU, s"),
        Column("mb", "memory, MB", ".0f"),
        Column("marks", "marks, %", ".1f"),
        Column("lag_p99_ms", "lag of the last p99, ms", ".0f"),
    ),
    viewers,
    goals=dict.fromkeys(
        ("direct", "tmux"),
        (
            Goal("cpu_s", 2.5, unit="s"),
            Goal("mb", 80, unit="MB"),
            Goal("marks", 99.995, is_floor=True, unit="%"),
            Goal("lag_p99_ms", 20, unit="ms"),
        ),
    ),
    peers=("ttybridge", "ttyd"),
    without=("ttyd direct",),  # it has a program of its own for each viewer
)
