"""Output: of terminals, of recordings, and the lines that other programs print."""

import re

from fuzz.checks import dispatch, holds, only, pieces, same, text_of
from ttybridge.client.notes import OutputEnd
from ttybridge.core import cloudflared, ngrok, ssh_log, ssh_tunnel, tmux
from ttybridge.core.answers import Owed, is_answer
from ttybridge.core.asciicast import BadRecording, Header, Reader, Writer
from ttybridge.core.environment import parse_show_environment
from ttybridge.core.escape_keys import EscapeKeys, Key
from ttybridge.core.harmless import MAX_HELD, Harmless
from ttybridge.core.key_frames import KeyFrames
from ttybridge.core.pane_run import Marked
from ttybridge.core.screen_modes import ScreenModes
from ttybridge.model import WindowSize
from ttybridge.ssh.lines import accepted

SIZE = WindowSize(cols=80, rows=24)
LONGEST_PRELUDE = 8 * 1024
"""What newcomers may be sent before the screen, whatever a program has printed, in bytes."""


def _modes(data: bytes) -> None:
    """A terminal's state is the same however its output was cut, and is said in few bytes."""
    parts = pieces(data)
    whole, cut = ScreenModes(), ScreenModes()
    whole.feed(b"".join(parts))
    for part in parts:
        cut.feed(part)
    same("prelude", cut.prelude(), whole.prelude())
    holds(len(whole.prelude()) <= LONGEST_PRELUDE, "a long prelude")
    again = ScreenModes()
    again.feed(whole.prelude())
    same("prelude again", again.prelude(), whole.prelude())
    OutputEnd().feed(data)


def _many_modes(data: bytes) -> None:
    """What is kept of a terminal's state has a bound."""
    modes = ScreenModes()
    step = int.from_bytes(data[:2], "big") + 1
    modes.feed(b"".join(b"\x1b[?%dh" % (at * step) for at in range(2000)))
    modes.feed(data[2:])
    holds(len(modes.prelude()) <= LONGEST_PRELUDE, "a long prelude")


def _synchronized(data: bytes) -> None:
    """The marks of a redraw are translated however they were cut."""
    parts = pieces(data)
    joined_up = b"".join(parts) + b"."
    cut, whole = tmux.Synchronized(), tmux.Synchronized()
    found = b"".join(map(cut.feed, parts)) + cut.feed(b".")
    same("output", found, whole.feed(joined_up))
    expected = joined_up.replace(b"\x1bP=1s\x1b\\", tmux.SYNC_BEGIN)
    same("translated", found, expected.replace(b"\x1bP=2s\x1b\\", tmux.SYNC_END))


def _key_frames(data: bytes) -> None:
    """Key frames lie within the output, and nothing but marks of redraws is taken out of it."""
    frames, at, shown = KeyFrames(0, 0.0), 0, b""
    parts = pieces(data)
    for number, part in enumerate(parts):
        if part[:1] == b"!":
            frames.begin(at, float(number))
        out = frames.follow(part, at, SIZE, float(number))
        at += len(out)
        shown += out
        if frames.key is not None:
            holds(0 <= frames.key.offset <= at, "an offset")
            holds(frames.key.end is None or frames.key.end <= at, "an end")
    frames.settle(at, 0.0)
    gone = re.compile(re.escape(tmux.SYNC_BEGIN + b"\x1b[2J") + b"|" + re.escape(tmux.SYNC_END))
    same("shown", gone.sub(b"", shown), gone.sub(b"", b"".join(parts)))


HARMFUL = re.compile(r"\x1b\](?!8;)|\x1b[PX^_Z]|\x1b\[[0-?]*[ -/]*[cnti]|[\x05\x80-\x9f]")


def _harmless(data: bytes) -> None:
    """Nothing that asks a terminal, or reaches beyond it, comes through, however it was cut."""
    parts = [part.decode("latin-1") for part in pieces(data)]
    cut = Harmless()
    out = ""
    for part in parts:
        out += cut.take(part)
        holds(len(cut._held) <= MAX_HELD + 16, "much is held back")
    holds(not HARMFUL.search(out), f"harmful: {out!r}")
    same("cut", out, Harmless().take("".join(parts)))
    same("again", Harmless().take(out), out)


def _recording(data: bytes) -> None:
    """What is recorded is read back; what others have written is read, or refused by its line."""
    parts = pieces(data)
    for version in (2, 3):
        writer = Writer(Header(version, SIZE, title=text_of(data)))
        lines = writer.first_line()
        for number, part in enumerate(parts):
            lines += writer.output(number / 7, part)
        lines += writer.end(len(parts) / 7, 3)
        reader = Reader(lines.encode().splitlines(keepends=True))
        same("header", (reader.header.version, reader.header.size), (version, SIZE))
        events = list(reader.events())
        text = "".join(event.data for event in events if event.code == "o")
        same("output", text, b"".join(parts).decode("utf-8", "replace"))
        holds(all(0 <= event.at_s <= len(parts) / 7 + 1e-5 for event in events), "a time")
    head = b'{"version": 3, "term": {"cols": 80, "rows": 24}}\n'
    for file in (data, head + data):
        only(BadRecording, lambda file=file: list(Reader(file.splitlines(True)).events()))  # type: ignore[misc]


def _typed(data: bytes) -> None:
    """Keys for the client are the same however they were cut; answers are told from typing."""
    parts = pieces(data)
    cut, whole = EscapeKeys(), EscapeKeys()
    found = [each for part in parts for each in cut.feed(part)]
    other = whole.feed(b"".join(parts))

    def merged(items: list[bytes | Key]) -> list[object]:
        out: list[object] = []
        for item in items:
            if isinstance(item, bytes) and out and isinstance(out[-1], bytes):
                out[-1] += item
            else:
                out.append(item)
        return out

    same("keys", merged(found), merged(other))
    holds(not is_answer(data) or data[:1] in (b"\x1b",), "an answer")
    owed = Owed()
    owed.asked(data)
    owed.takes(data)


def _pane(data: bytes) -> None:
    """The output of a text that runs is the same however a pane printed it."""
    parts = pieces(data)
    begin = b"x\x1b]7717;n;begin\x07"
    cut, whole = Marked("n"), Marked("n")
    for marked in (cut, whole):
        marked.feed(begin)
    found = "".join(map(cut.feed, parts)) + cut.finish()
    other = whole.feed(b"".join(parts)) + whole.finish()
    same("output", found, other)
    same("status", cut.status, whole.status)


def _lines(data: bytes) -> None:
    """Any line of another program is taken; what is shown of it has a bound."""
    text = text_of(data)
    lines = text.split("\n")
    log = ssh_log.LoginLog("me")
    for line in lines:
        said = log.feed(line)
        holds(said is None or len(said.text) <= len(line) + 12_000, "a long line")
        accepted(line)
        ngrok.parse_line(line)
        cloudflared.addresses_in(line)
        tmux.parse_watched(line.encode(errors="surrogateescape"))
    ssh_log.explain(lines)
    ssh_log.missing_folder(lines)
    cloudflared.explain(lines)
    address = cloudflared.address(text)
    holds(address is None or re.fullmatch(r"https://[a-z0-9.-]+", address), f"{address!r}")
    ngrok.parse_version(text)
    ngrok.redact(text, [lines[0]])
    ports = ssh_tunnel.allocated_ports(text, [None, 80])
    holds(ports is None or (len(ports) == 2 and 0 < ports[0] < 65536), f"ports: {ports}")
    ssh_tunnel.real_host(text, ssh_tunnel.Target("box"))
    parse_show_environment(data)
    tmux.parse_version(text)
    tmux.parse_size(data)
    tmux.parse_end(data)


CHECKS = (
    *(_modes, _many_modes, _synchronized, _key_frames, _harmless),
    *(_recording, _typed, _pane, _lines),
)


def one_input(data: bytes) -> None:
    """Check one input."""
    dispatch(CHECKS, data)
