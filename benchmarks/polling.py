"""Types in Chromium over polling alone, on a line with a long round trip.

    python -m benchmarks.polling [--rtt 100] [--rate 20] [--keys 200] [--json]

The page cannot open a WebSocket: `FarLine` refuses them. Keys are pressed at a steady rate; a key's
time goes from its `keydown` to the character's being in the terminal. The command echoes what
it reads and keeps it, so that nothing lost goes unseen.
"""

import argparse
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.far import FarLine
from benchmarks.page_load import CHROMIUM, FLAGS, bridge

if TYPE_CHECKING:
    from playwright.sync_api import Browser

KEYS = "abcdefghijklmnopqrstuvwxyz"

WATCH = """() => {
  const { terminal } = window.ttybridge;
  const typed = [], shown = [];
  addEventListener("keydown", ({ key }) => { if (key.length === 1) typed.push(performance.now()); },
    true);
  const look = () => {
    const buffer = terminal.buffer.active;
    let text = "";
    for (let y = 0; y < buffer.length; y += 1) text += buffer.getLine(y).translateToString(true);
    const count = text.slice(text.lastIndexOf("go:") + 3).length;
    while (shown.length < count) shown.push(performance.now());
  };
  terminal.onWriteParsed(look);
  window.echoes = () => ({ typed, shown });
}"""


def measure(browser: "Browser", rtt_s: float, rate: float, count: int) -> dict[str, Any]:
    """Type `count` keys and return what was seen."""
    command = ["sh", "-c", "stty -icanon; printf 'prompt> go:'; exec cat > typed"]
    with bridge("direct", command) as (link, folder):
        parts = urlsplit(link)
        with FarLine(parts.port or 80, rtt_s, refuses_websockets=True) as line:
            context = browser.new_context(viewport={"width": 1000, "height": 640})
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{line.port}/?{parts.query}")
            page.wait_for_function("() => window.ttybridge?.state() === 'connected'")
            page.wait_for_function("() => window.ttybridge.offset() > 0")
            page.evaluate(WATCH)
            before = sum(len(passage.requests) for passage in line.passages)
            began = time.monotonic()
            for i in range(count):
                page.keyboard.press(KEYS[i % len(KEYS)])
                page.wait_for_timeout(max(0.0, (began + (i + 1) / rate - time.monotonic()) * 1000))
            page.wait_for_timeout(1000 + 6 * rtt_s * 1000)
            seen = page.evaluate("() => window.echoes()")
            requests = sum(len(passage.requests) for passage in line.passages) - before
            expected = "".join(KEYS[i % len(KEYS)] for i in range(count))
            arrived = (folder / "typed").read_text()
            context.close()
    times = [shown - typed for typed, shown in zip(seen["typed"], seen["shown"], strict=False)]
    return {
        "p50Ms": statistics.median(times),
        "p95Ms": statistics.quantiles(times, n=20)[-1],
        "mostMs": max(times),
        "shown": len(seen["shown"]),
        "keys": count,
        "arrived": arrived == expected,
        "requestsAKey": requests / count,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rtt", type=float, default=100.0, help="round trip in milliseconds")
    parser.add_argument("--rate", type=float, default=20.0, help="keys a second")
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright  # not needed for --help

    is_whole = True
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for _ in range(options.rounds):
            result = measure(browser, options.rtt / 1000, options.rate, options.keys)
            print(
                f"polling, {options.rate:.0f} keys/s, {options.rtt:.0f} ms: echo p50 "
                f"{result['p50Ms']:.0f} ms, p95 {result['p95Ms']:.0f} ms, most "
                f"{result['mostMs']:.0f} ms; {result['shown']} of {result['keys']} shown, "
                f"{'all' if result['arrived'] else 'NOT ALL'} arrived in order; "
                f"{result['requestsAKey']:.1f} requests a key"
            )
            if options.json:
                print(json.dumps(result))
            is_whole = is_whole and result["arrived"] and result["shown"] == result["keys"]
        browser.close()
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
