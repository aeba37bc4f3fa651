"""The part of an SSH login that joins the session: its terminal, and what it says to the bridge.

`login.py` loads it from the bridge's private folder, and only for logins that need it: commands and
file transfers start without. It stands alone, as that one does.
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

HELLO, REFUSED, INPUT, SIZE, TOOK = b"H", b"R", b"I", b"S", b"T"
"""Messages to the bridge: one letter, four bytes with the length, big-endian, then the content.
TOOK has the round-trip time to the terminal, in microseconds."""

OUTPUT, END, STATE = b"O", b"E", b"L"
"""Messages from the bridge. END has the exit status in one byte, `L` when the screen is to be left
as it is or `R` to restore it, then a sentence. STATE has one of the states below."""

WAITING, WATCHING, TYPING = b"waiting", b"watching", b"typing"
"""What a login does: wait to be let in, watch, or type."""

CHUNK = 16 * 1024
"""Most bytes of one message of input, and of one write to the terminal."""

MAX_WAITING = 256 * 1024
"""Bytes that may wait for the terminal or for the bridge before no more are taken."""

LEAVE_KEYS = (b"\x03", b"\x04")
"""Ctrl-C and Ctrl-D: with them somebody leaves who may only watch, or waits."""

RESTORE = (
    b"\x18\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?1l"
    b"\x1b>\x1b(B\x1b[0m\x1b[?25h\r\n"
)
"""Leaves a terminal usable when the tmux client could not do it by itself."""

ASK, ANSWERS = b"\x1b[5n", (b"\x1b[0n", b"\x1b[3n")
"""A terminal's status report (ECMA-48 DSR) and what it answers: ready, or faulty."""

ASK_EVERY_S = 15.0
"""Time between two questions, in seconds."""

TYPED_S, SHOWN_S = 1.0, 0.25
"""Nothing is asked for so long after something was typed, and shown, in seconds: an answer must not
come among keys, nor a question into the middle of a sequence that a program has not finished."""

GIVE_UP_S = 10.0
"""A terminal that has not answered for so long is never asked again; in seconds."""

HOLD_S = 0.1
"""How long what may be the start of an answer waits for its rest, in seconds."""

LAST_ANSWER_S = 0.3
"""How long a login that ends waits for an answer that is under way, in seconds: it would show up at
the prompt that comes next."""


def message(kind: bytes, content: bytes) -> bytes:
    r"""Return one message for the other side.

    >>> message(INPUT, b"ls")
    b'I\x00\x00\x00\x02ls'
    """
    return kind + len(content).to_bytes(4, "big") + content


def take_message(buffer: bytearray) -> tuple[bytes, bytes] | None:
    """Take one message off the front of a buffer; None until there is a whole one."""
    end = 5 + int.from_bytes(buffer[1:5], "big")
    if len(buffer) < max(5, end):
        return None
    found = bytes(buffer[:1]), bytes(buffer[5:end])
    del buffer[:end]
    return found


class RoundTrip:
    r"""Measures how long a terminal takes to answer; all times are in seconds of one clock.

    Attributes:
        took_s: The last time measured; None where there is none.
        asked_at: When the question was asked that has no answer yet; None where there is none.

    >>> trip = RoundTrip(0)
    >>> trip.shown(0)
    >>> trip.wait_s(0), trip.wait_s(2)
    (1.0, 0.0)
    >>> trip.ask(2)
    >>> trip.typed(b"l\x1b[0ns", 2.5), trip.took_s
    (b'ls', 0.5)
    """

    def __init__(self, now: float) -> None:
        """Ask for the first time when something has been shown."""
        self.took_s: float | None = None
        self.asked_at: float | None = None
        self._next: float | None = None
        self._is_over = False
        self._typed_at = self._shown_at = now
        self._held, self._held_at = b"", now

    def shown(self, now: float) -> None:
        """Note that output has been given to the terminal."""
        self._shown_at = now
        if self._next is None:
            self._next = now

    def wait_s(self, now: float) -> float | None:
        """Return when to ask, or to call `late`; None while only input and output matter."""
        if self._held:
            until = self._held_at + HOLD_S
        elif self.asked_at is not None:
            until = self.asked_at + GIVE_UP_S
        elif self._next is None or self._is_over:
            return None
        else:
            until = max(self._next, self._typed_at + TYPED_S, self._shown_at + SHOWN_S)
        return max(0.0, until - now)

    def ask(self, now: float) -> None:
        """Note that the question is on its way."""
        self.asked_at, self._next = now, now + ASK_EVERY_S

    def typed(self, data: bytes, now: float) -> bytes:
        """Take in what the terminal sends; return what of it was typed, as far as that is clear."""
        data, self._held = self._held + data, b""
        if self.asked_at is not None:
            for answer in ANSWERS:
                before, found, after = data.partition(answer)
                if found:
                    self.took_s, self.asked_at = now - self.asked_at, None
                    data = before + after
                    break
            else:
                cut = max(n for n in (0, 1, 2, 3) if data.endswith(_starts(n)))
                self._held, self._held_at = data[len(data) - cut :], now
                data = data[: len(data) - cut]
        if data:
            self._typed_at = now
        return data

    def late(self, now: float) -> bytes:
        """Return what was held for the rest of an answer that has not come; or give up on one."""
        if self._held and now >= self._held_at + HOLD_S:
            held, self._held, self._typed_at = self._held, b"", now
            return held
        if self.asked_at is not None and now >= self.asked_at + GIVE_UP_S:
            self.asked_at, self._is_over = None, True
        return b""


def _starts(length: int) -> tuple[bytes, ...]:
    return tuple(answer[:length] for answer in ANSWERS)


class Session:
    """This login's terminal, joined to the session through the bridge."""

    def __init__(self, folder: bytes, hello: tuple[bytes, ...], *, answers: bool) -> None:
        """Remember who it is; `run` does the rest.

        Args:
            folder: The bridge's private folder.
            hello: What to say first.
            answers: Whether the terminal is of a kind that can be asked something.
        """
        self._address = folder + b"/login"
        self._hello = hello
        self._state = TYPING  # what is typed before the session is there, is for the session
        self._answers = answers
        self._to_bridge = bytearray()
        self._to_terminal = bytearray()
        self._received = bytearray()
        self._end: bytes | None = None
        self._resized = self._has_left = False
        self._trip = RoundTrip(time.monotonic())

    def run(self) -> int:
        """Pass bytes on until either side ends; return the exit status."""
        import signal
        import socket
        import termios
        import tty

        bridge = socket.socket(socket.AF_UNIX)
        try:
            bridge.connect(self._address)
        except OSError:
            sys.stderr.write("ttybridge: the bridge has stopped; start it again.\n")
            return 1
        wake, waker = socket.socketpair()
        for side in (bridge, wake, waker):
            side.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGWINCH, self._on_resize)
        # A terminal that is gone is noticed; until then the bridge may still say goodbye.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        before = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSANOW)
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        self._say(HELLO, b"\0".join((*self._hello, b"%d %d" % os.get_terminal_size(0))))
        try:
            is_clean = self._relay(bridge, wake)
        except OSError:  # the terminal or the bridge is gone
            is_clean = False
        try:
            self._await_answer()
            os.set_blocking(0, True)
            os.set_blocking(1, True)
            if not is_clean:
                os.write(1, RESTORE)
            termios.tcsetattr(0, termios.TCSADRAIN, before)
            return self._say_goodbye()
        except (OSError, termios.error):  # the terminal is gone
            return 1

    def _on_resize(self, _number: int, _frame: object) -> None:
        self._resized = True

    def _say(self, kind: bytes, content: bytes) -> None:
        self._to_bridge += message(kind, content)

    def _say_goodbye(self) -> int:
        if self._end is None:
            text, status = ("left.", 0) if self._has_left else ("the bridge has stopped.", 1)
        else:
            text, status = self._end[2:].decode("utf-8", "replace"), self._end[0]
        if text:
            sys.stderr.write(f"ttybridge: {text}\n")
        return status

    def _relay(self, bridge: "socket.socket", wake: "socket.socket") -> bool:
        """Move bytes; return whether the bridge has said goodbye, all is shown, and looks right."""
        from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, poll

        polling = poll()
        polling.register(wake, POLLIN)
        ended = POLLHUP | POLLERR | POLLNVAL
        while self._end is None or self._to_terminal:
            polling.register(0, POLLIN if len(self._to_bridge) < MAX_WAITING else 0)
            polling.register(1, POLLOUT if self._to_terminal else 0)
            wanted = POLLIN if len(self._to_terminal) < MAX_WAITING else 0
            polling.register(bridge, wanted | (POLLOUT if self._to_bridge else 0))
            if self._end is not None:
                polling.unregister(bridge)
            ready = dict(polling.poll(self._timeout_ms()))
            if ready.pop(wake.fileno(), 0):
                wake.recv(4096)
            if self._resized:
                self._resized = False
                self._say(SIZE, b"%d %d" % os.get_terminal_size(0))
            if ready.get(0, 0) & (POLLIN | ended) and not self._read_terminal():
                return False
            if ready.get(1, 0) & POLLOUT:
                self._write_terminal()
            events = ready.get(bridge.fileno(), 0)
            if events & POLLOUT:
                self._write_bridge(bridge)
            if events & (POLLIN | ended) and not self._read_bridge(bridge):
                return False
            if not ready and self._timeout_ms() is not None:
                self._nothing_happened()
        return self._end[1:2] == b"L"

    def _timeout_ms(self) -> int | None:
        """Return how long to wait for something to happen; None is for ever."""
        wait_s = self._trip.wait_s(time.monotonic())
        busy = self._to_terminal or self._end is not None or self._state == WAITING
        return None if wait_s is None or busy or not self._answers else int(wait_s * 1000) + 1

    def _nothing_happened(self) -> None:
        """Ask the terminal, or pass on what has turned out to be no answer."""
        now = time.monotonic()
        if held := self._trip.late(now):
            self._typed(held)
        elif self._trip.asked_at is None and self._trip.wait_s(now) == 0:
            self._trip.ask(now)
            self._to_terminal += ASK

    def _read_terminal(self) -> bool:
        """Take in what was typed; False when there will be no more, or somebody leaves."""
        try:
            data = os.read(0, CHUNK)
        except BlockingIOError:
            return True
        if not data:
            return False
        typed = self._trip.typed(data, time.monotonic())
        if self._trip.took_s is not None:
            self._say(TOOK, b"%d" % (self._trip.took_s * 1_000_000))
            self._trip.took_s = None
        if self._state != TYPING and any(key in typed for key in LEAVE_KEYS):
            self._has_left = True
            return False
        self._typed(typed)
        return True

    def _typed(self, data: bytes) -> None:
        # What is typed at the door is for nobody: it must not be typed when it opens.
        if data and self._state != WAITING:
            self._say(INPUT, data)

    def _write_terminal(self) -> None:
        try:
            del self._to_terminal[: os.write(1, self._to_terminal[:CHUNK])]
        except BlockingIOError:
            return

    def _write_bridge(self, bridge: "socket.socket") -> None:
        try:
            del self._to_bridge[: bridge.send(self._to_bridge)]
        except BlockingIOError:
            return
        except OSError:  # it takes nothing any more, and may have said goodbye
            self._to_bridge.clear()

    def _read_bridge(self, bridge: "socket.socket") -> bool:
        """Take in what the bridge says; False when it has ended without saying so."""
        data = bridge.recv(65536)
        self._received += data
        while found := take_message(self._received):
            if found[0] == OUTPUT:
                self._to_terminal += found[1]
                if self._state != WAITING:
                    self._trip.shown(time.monotonic())
            elif found[0] == STATE:
                self._state = found[1]
            elif found[0] == END:
                self._end = found[1]
        return bool(data) or self._end is not None

    def _await_answer(self) -> None:
        """Take the answer that is under way, for a moment."""
        from select import POLLIN, poll

        until = time.monotonic() + LAST_ANSWER_S
        asked_at = self._trip.asked_at
        if asked_at is None or asked_at < until - TYPED_S:
            return
        polling = poll()
        polling.register(0, POLLIN)
        while self._trip.asked_at is not None and (left_s := until - time.monotonic()) > 0:
            if polling.poll(int(left_s * 1000) + 1):
                data = os.read(0, CHUNK)
                if not data:
                    return
                self._trip.typed(data, time.monotonic())
