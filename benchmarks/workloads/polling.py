"""Typing where no WebSocket gets through, far away.

Each server by its own page's way of polling. ttybridge's has several requests under way; other
clients of it have one of each kind, as engine.io-client, and are measured beside it.
"""

import time
from collections import deque

from benchmarks.driving import Client, keys
from benchmarks.goals import Goal
from benchmarks.keys import MARKS
from benchmarks.line import SlowLine
from benchmarks.peers.ttybridge import PLAIN
from benchmarks.stats import percentile
from benchmarks.workload import Case, Column, Numbers, Workload

PAUSE_S = 0.05
"""Between two keys: twenty a second."""

AFTER_S = 2.0
"""How long the last echoes are waited for, in seconds."""


def polling(case: Case) -> Numbers:
    """Type by the clock, whatever comes back, with HTTP requests alone."""
    count = case.settings.polling_keys
    delays, wrong = typed(case, "polling")
    numbers = {
        "p50_ms": percentile(delays, 50),
        "p99_ms": percentile(delays, 99),
        "lost": count - len(delays),
        "wrong": wrong,
    }
    if PLAIN in case.peer.transports:
        delays, wrong = typed(case, PLAIN)
        numbers["plain_p50_ms"] = percentile(delays, 50)
        numbers["lost"] += count - len(delays)
        numbers["wrong"] += wrong
    return numbers


def typed(case: Case, transport: str) -> tuple[list[float], int]:
    """Start a server, and type into it from far away: see `type_by_the_clock`."""
    settings = case.settings
    with (
        case.peer.start(case.mode, keys(0), case.home()) as running,
        SlowLine(running.port, rtt_s=settings.page_rtt_s) as line,
        running.open(transport=transport, address=line.address) as wire,
    ):
        client = Client(wire)
        client.wait_for_keys(settings.patience_s)
        client.rest(settings.settle_s)
        return type_by_the_clock(client, settings.polling_keys)


def type_by_the_clock(client: Client, count: int) -> tuple[list[float], int]:
    """Press so many keys, one every `PAUSE_S`.

    Returns:
        Milliseconds from each key to its echo, as far as there was one, and how many echoes came
        out of order.
    """
    waiting: deque[tuple[str, float]] = deque()
    delays: list[float] = []
    wrong = pressed = 0
    begin = time.perf_counter()
    end = begin + count * PAUSE_S + AFTER_S
    while (now := time.perf_counter()) < end and len(delays) < count:
        due = begin + pressed * PAUSE_S
        if pressed < count and now >= due:
            mark = MARKS[pressed % len(MARKS)]
            waiting.append((mark, now))
            client.wire.write(mark.encode())
            pressed += 1
            continue
        data = client.read(min(due, end) - now if pressed < count else end - now)
        now = time.perf_counter()
        for byte in data.decode("latin-1"):
            if byte in MARKS and waiting:
                mark, at = waiting.popleft()
                wrong += byte != mark
                delays.append((now - at) * 1000)
    return delays, wrong


POLLING = Workload(
    "polling",
    "Typing 20 keys/s by polling, 100 ms round trip",
    (
        Column("p50_ms", "p50, ms", ".0f"),
        Column("p99_ms", "p99, ms", ".0f"),
        Column("plain_p50_ms", "p50 of a plain client, ms", ".0f"),
        Column("lost", "lost", ".0f"),
        Column("wrong", "out of order", ".0f"),
    ),
    polling,
    goals=dict.fromkeys(
        ("direct", "tmux"),
        (Goal("p50_ms", 150, unit="ms"), Goal("lost", 0), Goal("wrong", 0)),
    ),
    peers=("ttybridge", "original"),
)
