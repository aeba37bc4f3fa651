"""A key and its echo: alone, and while another process writes."""

from benchmarks.driving import Client, echoes, keys, shell
from benchmarks.goals import Goal
from benchmarks.stats import percentile
from benchmarks.workload import Case, Column, Numbers, Workload

KEYS_A_LINE = 40
"""After so many keys the line is ended, so that it is not wider than the window."""

KILL_LINE = b"\x15"

FRAME_MS = 60.0
"""An echo that takes longer has waited for a redraw of tmux, which comes every 100 ms."""


def idle(case: Case) -> Numbers:
    """Press keys where nothing else happens: in `cat`, and at a shell's prompt."""
    count = case.settings.keys
    numbers: Numbers = {}
    with case.peer.start(case.mode, ["cat"], case.home()) as running, running.open() as wire:
        client = Client(wire)
        client.wire.write(b"here\n")
        client.wait(b"here", case.settings.patience_s)
        client.rest(0.3)
        delays = echoes(client, count, every=KEYS_A_LINE, between=b"\n")
        numbers |= {"p50_ms": percentile(delays, 50), "p99_ms": percentile(delays, 99)}
    bash = shell(case.folder)
    with case.peer.start(case.mode, bash, case.home()) as running, running.open() as wire:
        client = Client(wire)
        client.wait_for_prompt(case.settings.patience_s)
        client.rest(0.3)
        delays = echoes(client, count, every=KEYS_A_LINE, between=KILL_LINE)
        numbers |= {"bash_p50_ms": percentile(delays, 50), "bash_p99_ms": percentile(delays, 99)}
    return numbers


def flooded(case: Case) -> Numbers:
    """Press keys while the same terminal is written to."""
    command = keys(case.settings.flood)
    with case.peer.start(case.mode, command, case.home()) as running, running.open() as wire:
        client = Client(wire)
        client.wait_for_keys(case.settings.patience_s)
        client.wire.write(b"F")
        client.rest(case.settings.settle_s)
        before = client.received
        delays = echoes(client, case.settings.keys)
        seconds = sum(delays) / 1000 + len(delays) * 0.009
        return {
            "p50_ms": percentile(delays, 50),
            "p99_ms": percentile(delays, 99),
            "late": sum(delay > FRAME_MS for delay in delays) / len(delays) * 100,
            "mb_s": (client.received - before) / seconds / 1e6,
        }


IDLE = Workload(
    "echo",
    "Key echo, idle",
    (
        Column("p50_ms", "p50, ms"),
        Column("p99_ms", "p99, ms"),
        Column("bash_p50_ms", "bash p50, ms"),
        Column("bash_p99_ms", "bash p99, ms"),
    ),
    idle,
    goals=dict.fromkeys(
        ("direct", "tmux"),
        (
            Goal("p50_ms", 1.25, against="ttyd"),
            Goal("p99_ms", 1.0, against="ttyd"),
            Goal("p50_ms", 1.0, against="best", without=frozenset({"ttyd"})),
        ),
    ),
)

FLOODED = Workload(
    "flooded",
    "Key echo while 5 MB/s are written",
    (
        Column("p50_ms", "p50, ms"),
        Column("p99_ms", "p99, ms"),
        Column("late", "above 60 ms, %", ".1f"),
        Column("mb_s", "output, MB/s", ".1f"),
    ),
    flooded,
    goals={
        "direct": (Goal("p99_ms", 0.5, against="ttyd"),),
        "tmux": (Goal("p99_ms", 1.0, against="ttyd"), Goal("late", 0, unit="%")),
    },
)
