"""Loads the page in Chromium over a line with a long round trip, to the first prompt.

    python -m benchmarks.page_load [--rtt 100] [--rounds 5] [--mode direct tmux] [--json]

A browser profile with the session cookie and an empty cache opens the page's address through
`FarLine`. The time goes from the start of the navigation, the TCP connection included, until a row
of the terminal shows the prompt. What has been received is counted by the line, so headers and
frames are in it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.far import FarLine

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = "/usr/bin/chromium"

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

ROOT = Path(__file__).resolve().parents[1]

PROMPT = "prompt> "

SHELL = ("bash", "--norc", "--noprofile", "-i")

WATCH = """(() => {
  const look = () => {
    const terminal = window.ttybridge?.terminal;
    const buffer = terminal?.buffer.active;
    for (let y = 0; buffer && y < terminal.rows; y += 1) {
      if (buffer.getLine(buffer.baseY + y)?.translateToString(true).startsWith("prompt>")) {
        window.promptAt = performance.now();
        return;
      }
    }
    setTimeout(look, 2);
  };
  look();
})();"""
"""Notes when the prompt is in the terminal, in milliseconds from the start of the navigation."""

MARKS = """() => ({
  prompt: window.promptAt,
  html: performance.getEntriesByType("navigation")[0].responseEnd,
  resources: performance.getEntriesByType("resource").map((r) => [
    new URL(r.name).pathname.replace(/^.*[/]/, ""), r.startTime, r.responseEnd, r.encodedBodySize]),
})"""


@dataclass(frozen=True, slots=True)
class Load:
    """One load of the page."""

    prompt_ms: float
    """From the start of the navigation to the prompt."""
    received_bytes: int
    """What had reached the browser by then."""
    requests: tuple[tuple[float, str], ...]
    """Time in milliseconds and first line of each request by then."""
    marks: Any
    """What the browser says of its resources."""


@contextmanager
def bridge(mode: str, command: Sequence[str] = SHELL) -> Iterator[tuple[str, Path]]:
    """Start a bridge whose shell has a prompt of its own; yields its link and working directory."""
    with tempfile.TemporaryDirectory(prefix="tb-load-") as folder:
        (Path(folder) / ".bashrc").write_text(f"PS1='{PROMPT}'\n")
        (Path(folder) / ".bash_profile").write_text(f"PS1='{PROMPT}'\n")
        argv = [sys.executable, "-m", "ttybridge", "-q", "--port", "0", "--allow-host", "127.0.0.1"]
        if mode == "direct":
            argv += ["--", *command]
        else:
            argv += ["--socket-path", f"{folder}/tmux"]
        names = {n: v for n, v in os.environ.items() if not n.startswith(("TMUX", "TTYBRIDGE_"))}
        process = subprocess.Popen(
            argv,
            env=names | {"HOME": folder, "PYTHONPATH": str(ROOT), "PS1": PROMPT, "LANG": "C.UTF-8"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), Path(folder)
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()
            if mode != "direct":
                subprocess.run(["tmux", "-S", f"{folder}/tmux", "kill-server"], check=False)


def load(browser: "Browser", link: str, rtt_s: float) -> Load:
    """Load the page once, in a profile of its own."""
    parts = urlsplit(link)
    context = browser.new_context(viewport={"width": 1000, "height": 640})
    with FarLine(parts.port or 80, rtt_s) as line:
        address = f"http://127.0.0.1:{line.port}/"
        login = context.request.post(
            f"{address}login",
            form={"token": parts.query.removeprefix("token=")},
            max_redirects=0,
        )
        assert login.status == 303, login.status
        page = context.new_page()
        page.add_init_script(WATCH)
        count = len(line.passages)
        began_s = time.monotonic()
        page.goto(address, wait_until="commit")
        page.wait_for_function("() => window.promptAt", polling=5)
        received = sum(passage.down_bytes for passage in line.passages[count:])
        marks = page.evaluate(MARKS)
        requests = sorted(
            ((at - began_s) * 1000, text.rpartition(" ")[0])
            for passage in line.passages[count:]
            for at, text in passage.requests
        )
        context.close()
    return Load(marks["prompt"], received, tuple(requests), marks)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rtt", type=float, default=100.0, help="round trip in milliseconds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mode", nargs="+", choices=["direct", "tmux"], default=["direct", "tmux"])
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON")
    parser.add_argument("--trace", action="store_true", help="print what is fetched, and when")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright  # not needed for --help

    results: dict[str, Any] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for mode in options.mode:
            with bridge(mode) as (link, _):
                load(browser, link, 0.0)  # the first one starts the session
                far = [load(browser, link, options.rtt / 1000) for _ in range(options.rounds)]
                near = [load(browser, link, 0.0) for _ in range(options.rounds)]
            results[mode] = show(mode, far, near, options.rtt)
            if options.trace:
                trace(far[-1])
        browser.close()
    if options.json:
        print(json.dumps(results))
    return 0


def show(mode: str, far: list[Load], near: list[Load], rtt_ms: float) -> dict[str, Any]:
    """Print the medians of one mode and return them."""
    prompt = statistics.median(one.prompt_ms for one in far)
    least = min(one.prompt_ms for one in far)
    alone = statistics.median(one.prompt_ms for one in near)
    kilobytes = statistics.median(one.received_bytes for one in far) / 1000
    requests = max(len(one.requests) for one in far)
    print(
        f"{mode:7} prompt after {prompt:.0f} ms (least {least:.0f}) = {prompt / rtt_ms:.1f} round "
        f"trips; without a delay {alone:.0f} ms; {kilobytes:.0f} KB in {requests} requests"
    )
    return {
        "promptMs": prompt,
        "leastMs": least,
        "roundTrips": prompt / rtt_ms,
        "withoutDelayMs": alone,
        "kilobytes": kilobytes,
        "requests": requests,
    }


def trace(one: Load) -> None:
    """Print what was fetched, and when."""
    for at, text in one.requests:
        print(f"  {at:6.0f} ms  {text[:90]}")
    print(f"  html is there at {one.marks['html']:.0f} ms")
    for name, start, end, size in one.marks["resources"]:
        print(f"  {name:28} {start:6.0f} to {end:6.0f} ms, {size / 1000:.1f} KB")


if __name__ == "__main__":
    sys.exit(main())
