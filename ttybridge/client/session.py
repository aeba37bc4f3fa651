"""One place in a session, as its client keeps it over many connections: docs/protocol.md."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from ttybridge.client import notes
from ttybridge.client.input_queue import DEFAULT_MAX_INPUT, InputQueue
from ttybridge.client.output_position import ACK_EVERY_BYTES, OutputPosition
from ttybridge.client.transport import Event, Line
from ttybridge.model import ExitStatus, WindowSize

ACK_AFTER_S = 0.04
"""How long written output may wait to be acknowledged when no more comes, in seconds."""

ACK_POLLED_AFTER_S = 0.3
"""The same by polling, where it is a request of its own unless it goes with keys."""

LARGEST_MAX_INPUT = 16 * 1024
"""Bytes of one message at most, whatever the bridge allows: see `MAX_UNDER_WAY`."""

HARD_RESET, SOFT_RESET = b"\x1bc", b"\x18"
"""RIS clears the terminal; CAN only ends a sequence that was cut."""

_ENDED_WELL = ("exited", "detached", "closing")
_SAID_BY_TMUX = ("detached", "exited", "server-exited")
"""Ends that tmux's client has told on the screen that it has left."""


class Screen(Protocol):
    """What shows the output: `RawTerminal`."""

    def write(self, data: bytes, done: Callable[[], None] = ...) -> None:
        """Queue output; `done` is called when it is shown."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why it is over."""

    status: int
    """Exit status of the command."""
    text: str = ""
    """A sentence for people; empty when all is said."""


@dataclass(frozen=True, slots=True)
class News:
    """Something that the person should know."""

    text: str
    """A sentence."""
    is_urgent: bool = False
    """Whether it may make a sound."""


class Session:
    """What outlives a connection: the place, the output taken in, the input not accepted yet.

    Attributes:
        role: What we may do; empty until we have joined.
        mode: How clients share the session.
        is_live: Whether we are attached at this moment.
        waits: Whether somebody has to let us in.
        knows_hands: Whether the bridge takes `hand`; older ones end the connection.
        needs_reset: Whether something of ours is on the screen, so that it has to be repainted.
        ignores_output: Whether output is dropped until the next repaint.
        hand: Whether our hand is up.
        on_news: Called with what the person should know.
        on_joined: Called when we are attached, with whether it is for the first time.
    """

    def __init__(self, screen: Screen, size: WindowSize, name: str = "") -> None:
        """Remember the terminal, its size, and what to call the person."""
        self.role = self.mode = ""
        self.is_live = self.waits = self.knows_hands = False
        self.needs_reset = self.ignores_output = self.hand = False
        self.on_news: Callable[[News], None] = lambda _news: None
        self.on_joined: Callable[[bool], None] = lambda _first: None
        self.output = notes.OutputEnd()
        self._screen = screen
        self._size = self._sent_size = size
        self._name = name
        self._line: Line | None = None
        self._place: tuple[str, str] | None = None
        self._position = OutputPosition()
        self._input = InputQueue()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def has_joined(self) -> bool:
        """Whether we were attached at any time."""
        return self.role != ""

    @property
    def may_type(self) -> bool:
        """Whether what is typed counts."""
        return self.role in ("owner", "editor")

    @property
    def bytes_left(self) -> int:
        """Bytes of input that the bridge does not have yet."""
        return self._input.bytes_left

    def hello(self) -> dict[str, object]:
        """Return what to say when a connection is opened."""
        self._sent_size = self._size
        hello: dict[str, object] = {
            "protocol": 1,
            "cols": self._size.cols,
            "rows": self._size.rows,
            "client": "connect",
            "display": "own",
        }
        if self._name:
            hello["name"] = self._name
        if self._place is not None:
            client_id, key = self._place
            offset, reset = self._position.taken, self.needs_reset
            hello["resume"] = {"id": client_id, "key": key, "offset": offset, "reset": reset}
        return hello

    def begin(self, line: Line) -> None:
        """Use a new connection."""
        self._line = line

    def lose(self) -> None:
        """Note that the connection is gone."""
        self._line = None
        self.is_live = self.waits = False

    def type(self, data: bytes) -> None:
        """Send what was typed; during a cut it is kept."""
        if self.may_type:
            self._input.push(data)
            self._flush(with_ack=self._line is not None and self._line.is_polling)

    def resize(self, size: WindowSize) -> None:
        """Tell the bridge the terminal's size."""
        self._size = size
        self._flush()

    def raise_hand(self) -> bool:
        """Raise our hand, or lower it; False when the bridge does not know what that is."""
        if self._line is None or not self.is_live or not self.knows_hands:
            return False
        self.hand = not self.hand
        self._line.send("hand", self.hand)
        return True

    def on_event(self, event: Event) -> Ending | None:
        """Take in what the bridge says; return why it is over, when it is.

        Raises:
            ValueError: It is malformed, or something is missing: connect again.
        """
        argument = event.args[0] if event.args else None
        match event.name:
            case "joined":
                self._on_joined(_object(argument))
            case "waiting":
                self.waits = True
                self.on_news(News("Waiting to be let in; Ctrl-C leaves"))
            case "refused":
                return Ending(1, _refusal_words(_object(argument)))
            case "exit":
                return _ending(_object(argument), self.mode)
            case "ping":
                if self._line is not None:
                    self._line.send("pong", argument)
            case _:
                if self.is_live:
                    self._on_live_event(event.name, argument, event.args)
        return None

    def _on_live_event(self, name: str, argument: object, args: tuple[object, ...]) -> None:
        match name:
            case "out":
                self._on_out(*args[:2])
            case "reset":
                self._on_reset(_object(argument))
            case "inack":
                self._input.acknowledge(_count(argument))
                self._flush()
            case "role":
                self._on_role(_object(argument))
            case "notice":
                found = _object(argument)
                text, level = found.get("text"), found.get("level")
                self.on_news(News(notes.plain(str(text or "")), is_urgent=level == "warning"))
            case _:
                pass  # what only pages show, and what newer bridges say

    def _on_joined(self, joined: dict[str, object]) -> None:
        client_id, key, role = joined.get("id"), joined.get("key"), joined.get("role")
        if not (isinstance(client_id, str) and isinstance(key, str) and isinstance(role, str)):
            raise ValueError("joined")
        offset, accepted = _count(joined.get("offset")), _count(joined.get("input"))
        most = joined.get("maxInput")
        most = min(most, LARGEST_MAX_INPUT) if isinstance(most, int) else DEFAULT_MAX_INPUT
        had_place, was_first = self._place is not None, not self.has_joined
        before = self.role
        self._place, self.role, self.mode = (client_id, key), role, str(joined.get("mode"))
        self.is_live, self.waits, self.needs_reset = True, False, False
        self.ignores_output = False
        self.hand = self.hand and joined.get("resumed") is True and role == before
        self.knows_hands = "display" in joined
        if self.hand and self._line is not None:
            self._line.send("hand", True)  # the first time may have been lost with the connection
        self.on_joined(was_first)
        if had_place and joined.get("resumed") is True:
            self._position.resume()
            self._input.resume(accepted, max(1, most))
        else:
            self._start_anew(offset, accepted, max(1, most), had_place=had_place)
        if not self.may_type:
            self._input.clear()
        if role != before and (before or not self.may_type):
            self.on_news(News(notes.role_words(role, ""), is_urgent=bool(before)))
        self._flush()
        self._acknowledge_soon()

    def _start_anew(self, offset: int, accepted: int, most: int, *, had_place: bool) -> None:
        if had_place:
            self._reset(HARD_RESET)
        self._position.restart(offset)
        if self._input.restart(accepted, most) and had_place:
            text = "Away for too long: what was typed in the meantime was not sent"
            self.on_news(News(text, is_urgent=True))

    def _on_out(self, offset: object, data: object) -> None:
        if not isinstance(data, bytes):
            raise ValueError("out")
        fresh = self._position.accept(_count(offset), data)
        if fresh is None:
            self.needs_reset = True
            raise ValueError("something is missing")
        if self.ignores_output or not fresh:
            return
        epoch, end = self._position.epoch, self._position.taken - len(fresh)
        self.output.feed(fresh)
        for at in range(0, len(fresh), ACK_EVERY_BYTES):
            part = fresh[at : at + ACK_EVERY_BYTES]
            end += len(part)
            self._screen.write(part, partial(self._on_written, epoch, end))

    def _on_written(self, epoch: int, end: int) -> None:
        self._position.written(epoch, end)
        if self._position.ack_is_due:
            self._flush()
        self._acknowledge_soon()

    def _acknowledge_soon(self) -> None:
        if self._timer is None and self._position.ack_waits:
            is_polling = self._line is not None and self._line.is_polling
            delay = ACK_POLLED_AFTER_S if is_polling else ACK_AFTER_S
            self._timer = asyncio.get_running_loop().call_later(delay, self._acknowledge)

    def _acknowledge(self) -> None:
        self._timer = None
        if self._line is not None and self.is_live and self._position.ack_waits:
            self._line.send("ack", self._position.take_ack())

    def _on_reset(self, reset: dict[str, object]) -> None:
        self._position.restart(_count(reset.get("offset")))
        if not self.ignores_output:
            self._reset(SOFT_RESET if reset.get("hard") is False else HARD_RESET)

    def _reset(self, sequence: bytes) -> None:
        self.output.feed(sequence)
        self._screen.write(sequence)

    def _on_role(self, change: dict[str, object]) -> None:
        role, by = change.get("role"), change.get("by")
        if role not in ("owner", "editor", "viewer") or role == self.role:
            return
        self.role, self.hand = str(role), False
        if not self.may_type:
            self._input.clear()
        self.on_news(News(notes.role_words(self.role, str(by or "")), is_urgent=True))

    def _flush(self, *, with_ack: bool = False) -> None:
        """Send what may be sent now, and before it what may be acknowledged."""
        line = self._line
        if line is None or not self.is_live:
            return
        if self._position.ack_is_due or (with_ack and self._position.ack_waits):
            line.send("ack", self._position.take_ack())
        if self._size != self._sent_size:
            self._sent_size = self._size
            line.send("size", self._size.cols, self._size.rows)
        while (message := self._input.next()) is not None:
            # Each code unit is one byte: a character that a read has cut in two stays whole.
            line.send("in", message[0], message[1].decode("latin-1"), True)


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise ValueError("no count")
    return value


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 256 else 0


def _ending(end: dict[str, object], mode: str) -> Ending:
    """Return what an `exit` means here."""
    reason, said = end.get("reason"), notes.plain(str(end.get("message") or ""))
    status = ExitStatus(_number(end.get("exitCode")), _number(end.get("signal"))).shell_code & 255
    if reason not in _ENDED_WELL:
        status = status or 1
    if mode != "direct" and reason in _SAID_BY_TMUX and end.get("restart") is True:
        return Ending(status)
    return Ending(status, said or _ENDING_WORDS.get(str(reason), "The session has ended."))


_ENDING_WORDS = {
    "detached": "Detached; the session goes on.",
    "taken-over": "Another connection has taken the session over.",
    "server-exited": "The tmux server has ended.",
    "killed": "This client was ended from outside.",
    "closing": "The bridge has stopped.",
    "removed": "You were removed from the session.",
}


def _refusal_words(refused: dict[str, object]) -> str:
    hint = notes.plain(str(refused.get("hint") or ""))
    return hint or {
        "locked": "The session is locked: nobody new is let in.",
        "removed": "You were removed from the session.",
    }.get(str(refused.get("code")), "You were not let in.")
