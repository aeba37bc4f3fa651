"""A client that stops reading, beside one that types."""

import contextlib
import time

from benchmarks.driving import Client, echoes, keys
from benchmarks.expense import Expense
from benchmarks.goals import Goal
from benchmarks.stats import percentile
from benchmarks.workload import Case, Column, Numbers, Workload

KEYS_BEFORE = 100
"""Keys of the other client before the first one stops: p99 is the second longest."""

KEYS_AT_ONCE = 20
"""Keys between two looks at the memory."""


def stall(case: Case) -> Numbers:
    """Let one client stop in the midst of a flood.

    In tmux both are in one session, and the other one sees the flood as well. Without, the other
    one has what the server gives it: most give it a program of its own, which writes nothing.
    """
    settings = case.settings
    command = keys(settings.flood)
    count = min(KEYS_BEFORE, settings.keys)
    with (
        case.peer.start(case.mode, command, case.home()) as running,
        running.open() as stopped,
        running.open() as wire,
    ):
        first, other = Client(stopped), Client(wire)
        first.wait_for_keys(settings.patience_s)
        other.wait_for_keys(settings.patience_s)
        stopped.write(b"F")
        echoes(other, min(count, 30), others=[first])
        before = echoes(other, count, others=[first])
        begin, start = time.perf_counter(), Expense.of(running, case.mode)
        server = tmux = 0
        during: list[float] = []
        while time.perf_counter() < begin + settings.stall_s:
            during += echoes(other, min(count, KEYS_AT_ONCE), pauses_s=(0.003, 0.03))
            now = Expense.of(running, case.mode)
            server = max(server, now.server.memory - start.server.memory)
            tmux = max(tmux, now.tmux.memory - start.tmux.memory)
        numbers = {
            "before_p99_ms": percentile(before, 99),
            "during_p99_ms": percentile(during, 99),
            "ratio": percentile(during, 99) / percentile(before, 99),
            "is_cut": float(is_cut(first)),
        }
        if start.has_server:
            numbers["server_mb"] = server / 1e6
        if case.mode == "tmux":
            numbers["tmux_mb"] = tmux / 1e6
        return numbers


def is_cut(client: Client) -> bool:
    """Tell whether the server has given the client up."""
    with contextlib.suppress(TimeoutError):
        try:
            client.rest(0.5)
        except (EOFError, OSError):
            return True
    return False


STALL = Workload(
    "stall",
    "A client that stops reading for 20 s",
    (
        Column("server_mb", "server grew, MB", ".1f"),
        Column("tmux_mb", "tmux grew, MB", ".1f"),
        Column("before_p99_ms", "other's p99 before, ms"),
        Column("during_p99_ms", "during, ms"),
        Column("ratio", "during / before"),
        Column("is_cut", "cut off", ".0f"),
    ),
    stall,
    goals={
        "direct": (Goal("server_mb", 2, unit="MB"), Goal("ratio", 1.5)),
        "tmux": (
            Goal("server_mb", 2, unit="MB"),
            Goal("tmux_mb", 2, unit="MB"),
            Goal("ratio", 1.5),
        ),
    },
    most_rounds=1,
)
