"""The page, far away: how many round trips until there is a prompt."""

from typing import TYPE_CHECKING

from benchmarks.chromium import PATHS, chromium, fresh, missing, open_page, sign_in, start
from benchmarks.goals import Goal
from benchmarks.line import SlowLine
from benchmarks.peer import Running
from benchmarks.workload import Case, Column, Numbers, Workload

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def page_load(case: Case) -> Numbers:
    """Open the page with an empty cache: once near, then far away."""
    rtt_s = case.settings.page_rtt_s
    path = PATHS[case.peer.name]
    with (
        start(case) as running,
        chromium() as browser,
    ):
        near_ms, _ = load(browser, running, path, 0.0)
        far_ms, received = load(browser, running, path, rtt_s)
        return {
            "round_trips": far_ms / 1000 / rtt_s,
            "of_the_line": (far_ms - near_ms) / 1000 / rtt_s,
            "far_ms": far_ms,
            "near_ms": near_ms,
            "kb": received / 1e3,
        }


def load(browser: "Browser", running: Running, path: str, rtt_s: float) -> tuple[float, int]:
    """Open the page; returns the milliseconds to the prompt, and the bytes on the line by then."""
    with (
        SlowLine(running.port, rtt_s=rtt_s, slow_start=rtt_s > 0) as line,
        fresh(browser) as context,
    ):
        address = f"http://127.0.0.1:{line.address[1]}"
        sign_in(context, running, address)
        before = line.carried()
        _, took_ms, at = open_page(context, f"{address}{path}")
        return took_ms, line.carried(at) - before


PAGE_LOAD = Workload(
    "page",
    "Page load to first prompt, 100 ms round trip",
    (
        Column("round_trips", "round trips", ".1f"),
        Column("of_the_line", "of the line alone", ".1f"),
        Column("far_ms", "ms", ".0f"),
        Column("near_ms", "without the delay, ms", ".0f"),
        Column("kb", "received, KB", ".0f"),
    ),
    page_load,
    goals=dict.fromkeys(("direct", "tmux"), (Goal("round_trips", 5), Goal("kb", 130, unit="KB"))),
    peers=tuple(PATHS),
    missing=missing,
)
