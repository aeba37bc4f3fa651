"""A large text: how fast it comes, what it costs, and whether it is the same."""

import shlex
import time

from benchmarks.driving import Client
from benchmarks.expense import Expense
from benchmarks.goals import Goal
from benchmarks.line import SlowLine
from benchmarks.text import BEGIN, END, LINE_NUMBER, digest_of
from benchmarks.workload import Case, Column, Numbers, Workload, WrongOutputError

READY = b"ready-for-text"

LINE_RATE = 1e6
"""Bytes a second of the thin line."""


def command(case: Case) -> list[str]:
    """Return a program that shows the text when Enter is pressed, and notes when it was done."""
    text = shlex.quote(str(case.settings.text))
    end = shlex.quote(str(case.folder / "end"))
    show = f"printf '{BEGIN.decode()}'; cat {text}; echo $EPOCHREALTIME >{end}"
    script = f"stty -echo; printf {READY.decode()}; read -r _; {show}; printf '{END.decode()}'"
    return ["bash", "--noprofile", "--norc", "-c", f"{script}; exec cat"]


def bulk(case: Case) -> Numbers:
    """Show the text to a client that reads all."""
    settings = case.settings
    with (
        case.peer.start(case.mode, command(case), case.home()) as running,
        running.open() as wire,
    ):
        client = Client(wire)
        client.wait(READY, settings.patience_s)
        client.rest(0.2)
        before, carried = Expense.of(running, case.mode), wire.wire_bytes
        begin = time.perf_counter()
        wire.write(b"\n")
        pieces, seconds = read_text(client, begin, 10 * settings.patience_s)
        after = Expense.of(running, case.mode)
        output = sum(len(piece) for piece in pieces)
        if case.mode == "direct":
            check(b"".join(pieces), settings.text_digest)
        numbers = {
            "mb_s": settings.text_bytes / seconds / 1e6,
            "output_mb": output / 1e6,
            "wire_mb": (wire.wire_bytes - carried) / 1e6,
        }
        if after.has_server or case.mode == "tmux":
            numbers["cpu_s"] = after.cpu_s - before.cpu_s
            numbers["server_cpu_s"] = after.server.cpu_s - before.server.cpu_s
        return numbers


def check(output: bytes, digest: str) -> None:
    """Compare what came with what was written; raises WrongOutputError."""
    found = digest_of(output)
    if not found:
        raise WrongOutputError("the text's begin or end did not come")
    if found != digest:
        raise WrongOutputError(f"SHA-256 {found[:12]}… instead of {digest[:12]}…")


def read_text(client: Client, begin: float, patience_s: float) -> tuple[list[bytes], float]:
    """Read up to the end of the text; returns the output, and the seconds since `begin`."""
    pieces: list[bytes] = []
    tail = b""
    while time.perf_counter() < begin + patience_s:
        data = client.read(1.0)
        if not data:
            continue
        pieces.append(data)
        if END in tail + data[: len(END)] or END in data:
            return pieces, time.perf_counter() - begin
        tail = (tail + data)[-len(END) :]
    raise TimeoutError("the text's end does not come")


def thin(case: Case) -> Numbers:
    """Show the text to a client on a line of 1 MB/s; tmux shows it to nobody in full."""
    settings = case.settings
    with (
        case.peer.start(case.mode, command(case), case.home()) as running,
        SlowLine(running.port, rate=LINE_RATE) as line,
        running.open(address=line.address) as wire,
    ):
        client = Client(wire)
        client.wait(READY, settings.patience_s)
        client.rest(0.2)
        carried = wire.wire_bytes
        wire.write(b"\n")
        stamps: list[tuple[float, bytes]] = []
        tail, end = b"", time.time() + 4 * settings.patience_s
        while END not in tail:
            if time.time() > end:
                raise TimeoutError("the text's end does not come")
            data = client.read(1.0)
            if data:
                stamps.append((time.time(), data))
                tail = (tail + data)[-len(data) - len(END) :]
        seen, ended = stamps[-1][0], float((case.folder / "end").read_text())
        late = b"".join(data for at, data in stamps if at > ended)
        return {
            "prompt_ms": (seen - ended) * 1000,
            "line_mb": (wire.wire_bytes - carried) / 1e6,
            "stale_screens": stale_lines(late, rows=31) / 31,
        }


def stale_lines(output: bytes, *, rows: int) -> int:
    """Count the lines that came and are not on the last screen.

    >>> stale_lines(b"#0000001 a #0000008 b #0000009 c", rows=2)
    1
    """
    numbers = [int(number) for number in LINE_NUMBER.findall(output)]
    newest = max(numbers, default=0)
    return sum(number <= newest - rows for number in numbers)


BULK = Workload(
    "bulk",
    "100 MB of coloured UTF-8 text",
    (
        Column("mb_s", "MB/s", ".1f"),
        Column("cpu_s", "CPU, s"),
        Column("server_cpu_s", "of the server, s"),
        Column("output_mb", "output, MB", ".1f"),
        Column("wire_mb", "on the line, MB", ".1f"),
    ),
    bulk,
    goals={
        "direct": (
            Goal("mb_s", 0.85, is_floor=True, against="pty"),
            Goal("mb_s", 1.15, is_floor=True, against="ttyd"),
            Goal("cpu_s", 1.0, against="ttyd"),
        ),
        "tmux": (Goal("mb_s", 0.95, is_floor=True, against="best"),),
    },
)

THIN = Workload(
    "thin",
    "The same text, a client on a line of 1 MB/s",
    (
        Column("prompt_ms", "end to prompt, ms", ".0f"),
        Column("line_mb", "on the line, MB", ".2f"),
        Column("stale_screens", "stale screens", ".1f"),
    ),
    thin,
    goals={
        "tmux": (Goal("prompt_ms", 100, unit="ms"), Goal("stale_screens", 1.0)),
    },
    modes=("tmux",),
    without=("pty",),
)
