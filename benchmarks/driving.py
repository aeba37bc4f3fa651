"""Drives a client: waits for what is to be seen, presses keys, reads no faster than told."""

import random
import re
import select
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.keys import MARKS, READY
from benchmarks.peer import Running, Wire

KEYS = Path(__file__).with_name("keys.py")

PROMPT = re.compile(rb"tb(\d+)>")
"""The prompt of `shell`, with the number of the command that it asks for."""

KEPT = 256
"""Bytes of earlier output that a search looks at again: a pattern may come in two pieces."""

STEP_S = 0.01
"""How often a slow client reads, in seconds."""


def shell(folder: Path) -> list[str]:
    """Return the command of a bash that has nothing but a prompt of its own."""
    settings = folder / "bashrc"
    settings.write_text(
        "unset HISTFILE PROMPT_COMMAND\nPS1='tb\\#>'\nbind 'set enable-bracketed-paste off'\n"
    )
    return ["bash", "--noprofile", "--rcfile", str(settings)]


def keys(rate: float) -> list[str]:
    """Return the command of `keys.py`."""
    return [sys.executable, "-I", "-S", str(KEYS), str(rate)]


class Client:
    """A client and what it has seen last.

    Attributes:
        wire: The client's end of the line.
        received: Bytes of terminal output so far.
    """

    def __init__(self, wire: Wire) -> None:
        """Take over a wire that is connected."""
        self.wire = wire
        self.received = 0
        self._tail = b""

    def read(self, timeout_s: float, most: int = 1 << 18) -> bytes:
        """Read from the wire."""
        data = self.wire.read(timeout_s, most)
        self.received += len(data)
        return data

    def wait(self, pattern: re.Pattern[bytes] | bytes, timeout_s: float) -> float:
        """Read until something is seen.

        Returns:
            The time by `time.perf_counter`.

        Raises:
            TimeoutError: It does not come.
        """
        search = re.compile(re.escape(pattern)) if isinstance(pattern, bytes) else pattern
        end = time.perf_counter() + timeout_s
        while True:
            data = self.read(max(0.0, min(1.0, end - time.perf_counter())))
            now = time.perf_counter()
            if data:
                text = self._tail + data
                found = search.search(text)
                if found:
                    self._tail = text[found.end() :][-KEPT:]
                    return now
                self._tail = text[-KEPT:]
            if now > end:
                raise TimeoutError(f"{search.pattern!r} is not seen; last: {self._tail[-80:]!r}")

    def wait_for_prompt(self, timeout_s: float) -> float:
        """Wait for the next prompt of `shell`."""
        return self.wait(PROMPT, timeout_s)

    def wait_for_keys(self, timeout_s: float) -> float:
        """Wait until `keys.py` runs."""
        return self.wait(READY.encode(), timeout_s)

    def rest(self, seconds: float) -> None:
        """Read what comes for a while."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.read(left)

    def read_slowly(self, rate: float, seconds: float) -> Iterator[bytes]:
        """Read so many bytes a second from the line, and yield the output."""
        begin = time.perf_counter()
        taken = self.wire.wire_bytes
        while (now := time.perf_counter() - begin) < seconds:
            room = int(now * rate) - (self.wire.wire_bytes - taken)
            if room > 0:
                data = self.read(0, min(room, int(rate * STEP_S * 2)))
                if data:
                    yield data
            time.sleep(STEP_S)


def open_client(running: Running, **how: object) -> Client:
    """Connect a client."""
    return Client(running.open(**how))  # type: ignore[arg-type]


def echoes(
    client: Client,
    count: int,
    *,
    pauses_s: tuple[float, float] = (0.003, 0.015),
    patience_s: float = 2.0,
    others: Sequence[Client] = (),
    every: int = 0,
    between: bytes = b"",
) -> list[float]:
    """Press keys at irregular times, and wait for the echo of each.

    Args:
        client: Who presses.
        count: How many keys.
        pauses_s: Least and longest time between an echo and the next key.
        patience_s: What a key counts that is not seen until then, in seconds.
        others: Clients that read meanwhile.
        every: After how many keys `between` is typed; it is not measured.
        between: For instance Enter, so that a line does not become too long.

    Returns:
        Milliseconds from the key to its echo.
    """
    chance = random.Random(count)  # noqa: S311  the same pauses for every peer
    delays = []
    for number in range(count):
        if every and number % every == every - 1:
            client.wire.write(between)
            _pass(client, others, 0.05)
        _pass(client, others, chance.uniform(*pauses_s))
        mark = MARKS[number % len(MARKS)]
        begin = time.perf_counter()
        client.wire.write(mark.encode())
        delays.append((_seen(client, others, mark.encode(), begin + patience_s) - begin) * 1000)
    return delays


def _seen(client: Client, others: Sequence[Client], mark: bytes, end: float) -> float:
    while True:
        left = end - time.perf_counter()
        data = _next(client, others, left)
        now = time.perf_counter()
        if mark in data or now > end:
            return now


def _pass(client: Client, others: Sequence[Client], seconds: float) -> None:
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        _next(client, others, left)


def _next(client: Client, others: Sequence[Client], timeout_s: float) -> bytes:
    if not others:
        return client.read(max(0.0, timeout_s))
    ready = select.select([client.wire, *(o.wire for o in others)], [], [], max(0.0, timeout_s))[0]
    for other in others:
        if other.wire in ready:
            other.read(0)
    return client.read(0)
