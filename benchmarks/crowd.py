"""A process full of viewers, and what they have seen."""

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.servers import Server

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Seen:
    """What viewers have seen of the stamps.

    Delays are in milliseconds, from the moment a stamp was written in the session.
    """

    expected: int
    """Stamps that were written."""
    received: float
    """Share of them that a viewer got, on average; 1 is all."""
    p50: float
    """Median of all delays of all viewers."""
    p99: float
    worst: float
    """Longest delay."""
    last_p50: float
    """The same for the viewer that got each stamp last."""
    last_p99: float
    stale_p95: float
    """How old the newest stamp is that a viewer has, in 95 of 100 moments between two."""
    stale_max: float
    output: float
    """Bytes of output that a viewer got, on average."""
    messages: float
    """Messages that a viewer got, on average."""
    hard: int
    """Resets that cleared a screen, of all viewers."""
    soft: int
    lost: int
    """Viewers that were cut off."""

    @classmethod
    def of(cls, viewers: Sequence[Mapping[str, Any]], expected: int) -> Self:
        """Add up what the viewers report."""
        delays: list[int] = []
        last: dict[int, int] = {}
        stale: list[int] = []
        got = 0
        for viewer in viewers:
            pairs = viewer["delays"]
            numbers, mine = pairs[::2], pairs[1::2]
            got += len(numbers)
            delays += mine
            stale += viewer["staleness"]
            for number, delay in zip(numbers, mine, strict=True):
                if delay > last.get(number, -1):
                    last[number] = delay
        count = max(1, len(viewers))
        latest = list(last.values())
        return cls(
            expected=expected,
            received=got / max(1, expected) / count,
            p50=quantile(delays, 50),
            p99=quantile(delays, 99),
            worst=max(delays, default=0) / 1e6,
            last_p50=quantile(latest, 50),
            last_p99=quantile(latest, 99),
            stale_p95=quantile(stale, 95),
            stale_max=max(stale, default=0) / 1e6,
            output=sum(v["received"] for v in viewers) / count,
            messages=sum(v["messages"] for v in viewers) / count,
            hard=sum(v["hard"] for v in viewers),
            soft=sum(v["soft"] for v in viewers),
            lost=sum(not v["open"] for v in viewers),
        )


def quantile(values: Sequence[int], percent: int) -> float:
    """Return a percentile of nanoseconds, in milliseconds; 0 of nothing."""
    if len(values) < 2:
        return sum(values) / 1e6
    return statistics.quantiles(values, n=100)[percent - 1] / 1e6


class Crowd:
    """Viewers of one server, in a process of their own.

    Attributes:
        pid: The process.
    """

    def __init__(
        self, server: Server, count: int, *, port: int = 0, receive_bytes: int = 0
    ) -> None:
        """Connect them, and wait until each has had output.

        Args:
            server: Whose viewers they are.
            count: How many.
            port: Where to connect to, if it is not the server itself.
            receive_bytes: Size of their sockets' buffers, for slow ones.

        Raises:
            RuntimeError: Somebody did not get in.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.viewers"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        settings = {
            "host": "127.0.0.1",
            "port": port or server.port,
            "named_port": server.port,
            "path": server.path,
            "viewers": [server.headers() for _ in range(count)],
            "page": server.is_page,
            "cols": server.cols,
            "rows": server.rows,
            "receive_bytes": receive_bytes,
        }
        first = self._ask(json.dumps(settings))
        out = [v for v in first["viewers"] if not v["open"] or not v["received"]]
        if out:
            self.close()
            raise RuntimeError(f"{len(out)} of {count} viewers got nothing: {out[0]['events']}")

    def measure(self) -> float:
        """Begin anew; returns the process's CPU seconds so far."""
        return float(self._ask("measure")["cpu_s"])

    def report(self) -> tuple[list[dict[str, Any]], float]:
        """Return what each viewer has seen, and the process's CPU seconds so far."""
        answer = self._ask("report")
        return answer["viewers"], answer["cpu_s"]

    def close(self) -> None:
        """Disconnect all."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _ask(self, text: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the viewers' process has ended; it said why above")
        answer: dict[str, Any] = json.loads(line)
        return answer
