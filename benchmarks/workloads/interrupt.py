"""Ctrl-C of somebody who reads slowly: how long the old output goes on."""

import time

from benchmarks.driving import PROMPT, Client, shell
from benchmarks.goals import Goal
from benchmarks.workload import Case, Column, Numbers, Workload

READ_RATE = 1e6
"""Bytes a second that the client takes from its socket."""

RECEIVE_BYTES = 128 * 1024
"""Size of its socket's buffer."""

FLOOD = "yes '0123456789 the quick brown fox jumps over the lazy dog 0123456789'"


def interrupt(case: Case) -> Numbers:
    """Interrupt a program that writes as fast as it can."""
    settings = case.settings
    with (
        case.peer.start(case.mode, shell(case.folder), case.home()) as running,
        running.open(receive_bytes=RECEIVE_BYTES) as wire,
    ):
        client = Client(wire)
        client.wait_for_prompt(settings.patience_s)
        client.rest(0.2)
        wire.write(f"{FLOOD}\r".encode())
        for _ in client.read_slowly(READ_RATE, settings.settle_s):
            pass
        begin, received, tail = time.perf_counter(), client.received, b""
        wire.write(b"\x03")
        for data in client.read_slowly(READ_RATE, settings.patience_s):
            tail = tail[-20:] + data
            if PROMPT.search(tail):
                break
        return {
            "ms": (time.perf_counter() - begin) * 1000,
            "after_kb": (client.received - received) / 1e3,
        }


INTERRUPT = Workload(
    "interrupt",
    "Ctrl-C while a client reads 1 MB/s",
    (Column("ms", "to the prompt, ms", ".0f"), Column("after_kb", "output after it, KB", ".0f")),
    interrupt,
    goals={
        "direct": (Goal("ms", 100, unit="ms"),),
        "tmux": (Goal("ms", 30, unit="ms"),),
    },
)
