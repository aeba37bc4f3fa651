"""Typing in the page, far away: when a character is on the screen."""

import random
from typing import TYPE_CHECKING

from benchmarks.chromium import PATHS, chromium, fresh, missing, open_page, sign_in, start
from benchmarks.goals import Goal
from benchmarks.line import SlowLine
from benchmarks.stats import percentile
from benchmarks.workload import Case, Column, Numbers, Workload

if TYPE_CHECKING:
    from playwright.sync_api import Page

TEXT = "echo the quick brown fox jumps over the lazy dog, and back again: 0123456789"
"""What is typed, or its beginning; Enter is not pressed."""

VISIBLE_MS = 30.0
"""A character that is seen by then feels as if it came at once."""

PROBE = """(text) => {
  const prompt = /^tb[0-9]+>/;
  const keys = [], seen = text.split("").map(() => null);
  window.addEventListener("keydown", (event) => {
    if (event.key.length === 1) keys.push(performance.now());
  }, true);
  const look = () => {
    const row = window.benchRows().findLast((each) => prompt.test(each)) ?? "";
    const typed = row.replace(prompt, "");
    for (let at = 0; at < text.length; at += 1)
      if (seen[at] === null && at < keys.length && typed[at] === text[at] && text[at] !== " ")
        seen[at] = performance.now() - keys[at];
    window.benchTyped = { seen, typed };
    requestAnimationFrame(look);
  };
  look();
}"""
"""Looks at each frame which characters are there, and how long ago their keys went down."""


def typing(case: Case) -> Numbers:
    """Type at a shell's prompt, faster than the answers come."""
    settings = case.settings
    text = TEXT[: settings.typed]
    with (
        start(case) as running,
        SlowLine(running.port, rtt_s=settings.typing_rtt_s) as line,
        chromium() as browser,
        fresh(browser) as context,
    ):
        address = f"http://127.0.0.1:{line.address[1]}"
        sign_in(context, running, address)
        page, _, _ = open_page(context, f"{address}{PATHS[case.peer.name]}")
        page.wait_for_timeout(2000 * settings.typing_rtt_s + 500)
        return type_text(page, text, settings.typing_rtt_s)


def type_text(page: "Page", text: str, rtt_s: float) -> Numbers:
    """Press the keys of a text at irregular times, and look at the screen."""
    page.click("body")
    page.evaluate(PROBE, text)
    chance = random.Random(1)  # noqa: S311  the same pauses for every peer
    for key in text:
        page.keyboard.press("Space" if key == " " else key)
        page.wait_for_timeout(chance.uniform(60, 180))
    page.wait_for_timeout(1000 * (2 * rtt_s + 1))
    found = page.evaluate("() => window.benchTyped")
    letters = sum(key != " " for key in text)
    delays = [float(delay) for delay in found["seen"] if delay is not None]
    left = str(found["typed"]).rstrip()
    pairs = zip(left.ljust(len(text)), text, strict=False)
    wrong = sum(one != other for one, other in pairs) + max(0, len(left) - len(text))
    return {
        "p50_ms": percentile(delays, 50),
        "p99_ms": percentile(delays, 99),
        "prompt_share": sum(delay <= VISIBLE_MS for delay in delays) / letters * 100,
        "wrong": wrong,
    }


TYPING = Workload(
    "typing",
    "Typing in the page, 200 ms round trip",
    (
        Column("p50_ms", "visible p50, ms", ".0f"),
        Column("p99_ms", "p99, ms", ".0f"),
        Column("prompt_share", "visible within 30 ms, %", ".0f"),
        Column("wrong", "wrong afterwards", ".0f"),
    ),
    typing,
    goals=dict.fromkeys(
        ("direct", "tmux"),
        (Goal("prompt_share", 90, is_floor=True, unit="%"), Goal("wrong", 0)),
    ),
    peers=tuple(PATHS),
    missing=missing,
)
