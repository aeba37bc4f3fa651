"""Run a soak: `python -m tests.soak --minutes 60 --seed 1`.

Starts a bridge that shares a tmux session and one that shares a command, both with SSH and a
recording, the first behind a tunnel; a real browser and clients of every kind come, lose their
lines, type and go, as the seed says. The first thing that does not hold ends it with status 1.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.soak.checks import Violation
from tests.soak.run import Soak

MB = 1_000_000


def table(soak: Soak, minutes: float) -> str:
    """Return what was done, and what was measured."""
    steps = soak.step.number if soak.step else 0
    lines = [f"soak: {minutes:.1f} minutes, seed {soak.seed}, {steps} steps"]
    lines.append("actions: " + ", ".join(f"{n} {c}" for n, c in sorted(soak.actions.items())))
    lines.append(
        f"{'client':28} {'joins':>6} {'resumed':>8} {'anew':>5} {'cuts':>5} {'MB out':>8} "
        f"{'keys':>7} {'arrived':>8}"
    )
    for slot in [*soak.slots, *([soak.browser] if soak.browser else [])]:
        counts = slot.counts
        if slot.browser is not None:
            counts["joins"], counts["bytes"] = slot.browser.reconnects, slot.browser.offset
        c = slot.counts
        keys = f"{slot.typed:>7} {slot.keys.arrived[slot.number]:>8}"
        lines.append(
            f"{slot.name:28} {c['joins']:>6} {c['resumed']:>8} {c['joined anew']:>5} "
            f"{c['cuts']:>5} {c['bytes'] / MB:>8.1f} {keys}"
        )
    for each in (*soak.footprints, soak.server):
        rss = each.rss or [0]
        lines.append(
            f"{each.name:28} RSS begin {rss[0] / MB:.1f}, end {rss[-1] / MB:.1f}, "
            f"most {max(rss) / MB:.1f} MB, growth {each.growth_bytes() / MB:+.1f} MB; descriptors "
            f"begin {each.start[0]}, end {each.now[0]}, most {each.most_descriptors}"
        )
    lag, own = max(soak.probe.longest_s.values()), max(soak.probe.longest_own_s.values())
    lines.append(
        f"slowest answer {lag:.2f} s of {soak.probe.asked}, {own:.2f} s without the time in which "
        f"no processor was free; slowest key of the undisturbed "
        f"{soak.slowest_key_s:.2f} s"
    )
    return "\n".join(lines)


def main() -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--no-browser", action="store_true", help="without Chromium")
    parser.add_argument("--keep", action="store_true", help="keep the files")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ttybridge-soak-"))
    print(f"seed {options.seed}, files in {folder}", flush=True)
    soak = Soak(folder, options.seed, with_browser=not options.no_browser)
    began, status = time.monotonic(), 0
    try:
        asyncio.run(soak.run(options.minutes * 60))
    except KeyboardInterrupt:
        status = 130
    except BaseException as error:  # a fault of the soak's own ends the bridges, too
        status = 1
        if not isinstance(error, Violation):
            traceback.print_exc()
        print(
            f"VIOLATION after {time.monotonic() - began:.1f} s, seed {options.seed}, "
            f"step {soak.step}:\n{error}"
        )
    minutes = (time.monotonic() - began) / 60
    try:
        print(table(soak, minutes))
    finally:
        soak.probe.stop()
        for soaked in soak.soaked:
            ended = soaked.stop()
            if ended != 0 and status == 0:
                status = 1
                print(f"VIOLATION: the bridge {soaked.name} ended with {ended}")
            if status:
                (folder / f"{soaked.name}.log").write_text(soaked.running.log)
    if not options.keep and not status:
        shutil.rmtree(folder, ignore_errors=True)
    print("FAILED" if status else "all held")
    return status


if __name__ == "__main__":
    sys.exit(main())
