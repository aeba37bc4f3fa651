"""Many idle sessions, and the start of a server."""

import contextlib
import time

from benchmarks.driving import Client, shell
from benchmarks.expense import Expense
from benchmarks.goals import Goal
from benchmarks.stats import percentile
from benchmarks.workload import Case, Column, Numbers, Workload

WARM_UP = 3
"""Clients that are not counted: the first brings what all share."""


def idle(case: Case) -> Numbers:
    """Open many clients, one after the other, and let them be."""
    settings = case.settings
    command = shell(case.folder)
    with (
        case.peer.start(case.mode, command, case.home()) as running,
        contextlib.ExitStack() as stack,
    ):
        clients: list[Client] = []

        def join() -> float:
            begin = time.perf_counter()
            client = Client(stack.enter_context(running.open()))
            seen = client.wait_for_prompt(settings.patience_s)
            clients.append(client)
            return (seen - begin) * 1000

        for _ in range(WARM_UP):
            join()
        rest(clients)
        before = Expense.of(running, case.mode)
        delays = [join() for _ in range(settings.sessions)]
        rest(clients)
        after = Expense.of(running, case.mode)
        numbers = {
            "connect_p50_ms": percentile(delays, 50),
            "connect_p99_ms": percentile(delays, 99),
        }
        if after.has_server:
            numbers["kb"] = (after.server.memory - before.server.memory) / 1e3 / settings.sessions
        helpers = after.clients.memory - before.clients.memory
        numbers["helpers_kb"] = helpers / 1e3 / settings.sessions
        return numbers


def rest(clients: list[Client]) -> None:
    """Have all read what there is, until nothing comes."""
    end = time.perf_counter() + 2
    while sum(len(client.read(0)) for client in clients) and time.perf_counter() < end:
        time.sleep(0.05)


def start(case: Case) -> Numbers:
    """Start a server and connect as soon as it listens."""
    with case.peer.start(case.mode, shell(case.folder), case.home()) as running:
        begin = time.perf_counter()
        with running.open() as wire:
            seen = Client(wire).wait_for_prompt(case.settings.patience_s)
        return {
            "ms": (running.started_s + seen - begin) * 1000,
            "listens_ms": running.started_s * 1000,
        }


SESSIONS = Workload(
    "sessions",
    "100 idle sessions",
    (
        Column("kb", "KB each", ".1f"),
        Column("helpers_kb", "tmux clients and helpers, KB each", ".0f"),
        Column("connect_p50_ms", "connect to prompt p50, ms", ".1f"),
        Column("connect_p99_ms", "p99, ms", ".1f"),
    ),
    idle,
    goals={
        "direct": (Goal("kb", 50, unit="KB"), Goal("connect_p50_ms", 6, unit="ms")),
        "tmux": (Goal("kb", 50, unit="KB"), Goal("connect_p50_ms", 12, unit="ms")),
    },
)

START = Workload(
    "start",
    "Process start to first prompt",
    (Column("ms", "ms", ".0f"), Column("listens_ms", "until it listens, ms", ".0f")),
    start,
    goals=dict.fromkeys(("direct", "tmux"), (Goal("ms", 180, unit="ms"),)),
)
