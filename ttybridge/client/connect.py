"""`ttybridge connect`: the session in this terminal, over the bridge's web address."""

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ttybridge.client import notes
from ttybridge.client.address import Address
from ttybridge.client.http import Unauthorized
from ttybridge.client.raw_terminal import RawTerminal
from ttybridge.client.session import Ending, News, Session
from ttybridge.client.transport import Line, Refused, connected
from ttybridge.client.window_title import WindowTitle
from ttybridge.core.escape_keys import EscapeKeys, Key
from ttybridge.errors import TtyBridgeError
from ttybridge.model import Secret

JOIN_S = 20.0
"""Time from the connection to a place, in seconds; the bridge itself gives 10."""

FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 15.0
"""Delay before the first try to come back, and the longest one, in seconds; as in the page."""

STEADY_AFTER_S = 5.0
"""A connection that held this long makes the delays begin at the shortest again."""

SAY_LOST_AFTER_S = 1.0
"""A loss shorter than this is not worth a line on the screen, and a repaint, in seconds."""

GIVE_UP_AFTER_S = 600.0
"""How long the bridge is looked for after a loss, in seconds."""

DRAIN_S = 5.0
"""Time for the terminal to take the last output, in seconds."""

SEND_LAST_S = 2.0
"""How long is read on when nothing can be sent any more: the bridge may have said why."""

MOST_INPUT = 1024 * 1024
"""Bytes of input that may wait for the bridge before no more is read: whoever pastes waits."""

LEAVE_KEYS = b"\x03\x04"
"""Ctrl-C and Ctrl-D: with them somebody leaves who may only watch."""

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOST = "Connection lost, trying again; Enter ~. leaves"


@dataclass(frozen=True, slots=True)
class Options:
    """How to connect."""

    name: str = ""
    """What to call the person; empty for what the link says."""
    escapes: bool = True
    """Whether `~.` and the like are for the client."""


def run(address: Address, token: Secret, options: Options, on_joined: Callable[[], object]) -> int:
    """Show the session until it, or the person, ends; return the exit status.

    The terminal is afterwards as it was before, whatever happens.

    Args:
        address: The bridge.
        token: The credential.
        options: How to connect.
        on_joined: Called when the bridge has taken us, for the first time.

    Raises:
        TtyBridgeError: The bridge cannot be reached, or refuses.
    """
    ending = asyncio.run(_run(address, token, options, on_joined))
    if ending.text:
        sys.stderr.write(f"ttybridge: {ending.text}\n")
    return ending.status


async def _run(
    address: Address, token: Secret, options: Options, on_joined: Callable[[], object]
) -> Ending:
    terminal = RawTerminal()
    try:
        return await _Client(address, token, options, terminal, on_joined).run()
    finally:
        terminal.close()


class _Client:
    """The terminal, the session, and whatever connection there is between them."""

    def __init__(
        self,
        address: Address,
        token: Secret,
        options: Options,
        terminal: RawTerminal,
        on_joined: Callable[[], object],
    ) -> None:
        self._address, self._token, self._terminal = address, token, terminal
        self._keys = EscapeKeys() if options.escapes else None
        self._on_first = on_joined
        loop = asyncio.get_running_loop()
        self._over: asyncio.Future[Ending] = loop.create_future()
        self._line: Line | None = None
        self._serving: asyncio.Task[Ending | None] | None = None
        self._may_connect = asyncio.Event()
        self._may_connect.set()
        self._hurry = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._shows_help = self._is_polling = self._hand_waits = False
        self._drawn = ""
        self._suspending: asyncio.Task[None] | None = None
        self._session = Session(terminal, terminal.size, options.name)
        self._title = WindowTitle(terminal, self._session.output)
        self._session.on_news = self._say
        self._session.on_joined = self._on_joined
        terminal.on_input = self._on_input
        terminal.on_gone = lambda: self._leave(Ending(128 + signal.SIGHUP))

    async def run(self) -> Ending:
        """Stay connected until there is a reason to end."""
        is_clean = False
        with self._signals():
            staying = asyncio.create_task(self._stay())
            try:
                await asyncio.wait({staying, self._over}, return_when=asyncio.FIRST_COMPLETED)
                if self._over.done() and self._line is not None:
                    await self._line.leave()
                if self._over.done():
                    return self._over.result()
                is_clean = staying.exception() is None
                await self._terminal.drained(DRAIN_S)
                return staying.result()
            finally:
                staying.cancel()
                if self._suspending is not None:
                    self._suspending.cancel()
                await asyncio.gather(staying, return_exceptions=True)
                self._terminal.restore(newline=not is_clean, more=self._title.end())

    # Connections

    async def _stay(self) -> Ending:
        """Connect, and connect again; return why it is over.

        Raises:
            TtyBridgeError: The bridge cannot be reached, or refuses.
        """
        attempt, lost_at, reason = 0, 0.0, ""
        while True:
            await self._may_connect.wait()
            self._hurry.clear()
            began = time.monotonic()
            was_live = False
            try:
                hello = self._session.hello()
                async with connected(
                    self._address, self._token, hello, polling=self._is_polling
                ) as line:
                    ending, was_live = await self._use(line)
                    if ending is not None:
                        return ending
            except TtyBridgeError as error:
                if not self._session.has_joined or _is_final(error):
                    raise
                reason = str(error)
            now = time.monotonic()
            if not self._session.has_joined:
                raise TtyBridgeError(
                    "The bridge has ended the connection before anything was shown.",
                    hint="Look at what it printed, and try again.",
                )
            if was_live:
                lost_at = now
                if now - began > STEADY_AFTER_S:
                    attempt = 0
            elif now - lost_at > GIVE_UP_AFTER_S:
                minutes = round(GIVE_UP_AFTER_S / 60)
                return Ending(1, f"The connection was lost {minutes} minutes ago. {reason}".strip())
            await self._wait(attempt, lost_at)
            attempt += 1

    async def _use(self, line: Line) -> tuple[Ending | None, bool]:
        """Carry the session over a connection; return the end if it came, and if we were in."""
        self._line = line
        self._is_idle.clear()
        self._session.begin(line)
        serving = self._serving = asyncio.create_task(self._serve(line))
        sending = asyncio.create_task(line.send_all())
        sending.add_done_callback(lambda _: self._end_later(serving))
        try:
            await asyncio.wait({serving})
            was_live = self._session.is_live
            return (None if serving.cancelled() else serving.result()), was_live
        finally:
            for task in (serving, sending):
                task.cancel()
            await asyncio.gather(serving, sending, return_exceptions=True)
            self._line = self._serving = None
            self._session.lose()
            self._is_idle.set()

    async def _serve(self, line: Line) -> Ending | None:
        """Take in what the bridge says; return why it is over, or None for a lost connection."""
        try:
            async with asyncio.timeout(JOIN_S) as limit:
                while (event := await line.next()) is not None:
                    ending = self._session.on_event(event)
                    if ending is not None:
                        return ending
                    if self._session.is_live or self._session.waits:
                        limit.reschedule(None)
                    if event.name == "joined":
                        self._is_polling = line.is_polling
                        if self._hand_waits:
                            self._raise_hand()
                    self._title.flush()
                    if self._session.bytes_left <= MOST_INPUT:
                        self._terminal.read()
                    await self._terminal.room()
        except (TimeoutError, ValueError):
            return None
        return None

    def _end_later(self, serving: asyncio.Task[Ending | None]) -> None:
        if not serving.done():
            asyncio.get_running_loop().call_later(SEND_LAST_S, serving.cancel)

    async def _wait(self, attempt: int, lost_at: float) -> None:
        """Wait before the next try; a loss that lasts is told on the screen."""
        delay = min(FIRST_DELAY_S * 2 ** min(attempt, 10), LONGEST_DELAY_S)
        delay *= 1 - random.random() / 2  # noqa: S311 - spreads the clients of a bridge
        until = time.monotonic() + delay
        for moment in sorted({until, min(until, lost_at + SAY_LOST_AFTER_S)}):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, moment - time.monotonic())):
                    await self._hurry.wait()
            if self._hurry.is_set():
                return
            if time.monotonic() >= lost_at + SAY_LOST_AFTER_S:
                self._draw_line(_LOST)

    # What is typed

    def _on_input(self, data: bytes) -> None:
        if self._shows_help:
            self._shows_help = False
            self._reconnect()
            if not data.startswith(b"~"):  # the keys that the help lists work at once
                return
        for part in self._keys.feed(data) if self._keys is not None else (data,):
            if isinstance(part, Key):
                self._on_key(part)
            else:
                self._on_typed(part)
        if self._session.bytes_left > MOST_INPUT:
            self._terminal.pause()

    def _on_typed(self, data: bytes) -> None:
        leaves = any(key in LEAVE_KEYS for key in data)
        if leaves and (not self._session.may_type or self._session.waits):
            self._leave(Ending(0, "left."))
        else:
            self._session.type(data)

    def _on_key(self, key: Key) -> None:
        match key:
            case Key.LEAVE:
                self._leave(Ending(0, "left; the session goes on."))
            case Key.HELP:
                self._session.ignores_output = self._session.needs_reset = True
                self._shows_help = True
                self._terminal.write(notes.help_box(self._terminal.size))
            case Key.HAND:
                self._raise_hand()
            case Key.SUSPEND:
                self._suspend()

    def _raise_hand(self) -> None:
        leaves = self._serving is None or self._serving.cancelling()
        if leaves or not self._session.is_live:  # until it is back
            self._hand_waits = not self._hand_waits
            return
        self._hand_waits = False
        if self._session.may_type:
            self._say(News("You may type already"))
        elif not self._session.raise_hand():
            self._say(News("Hands cannot be raised here", is_urgent=True))
        elif self._session.hand:
            self._say(News("Your hand is up; Enter ~h lowers it"))
        else:
            self._say(News("Your hand is down"))

    def _reconnect(self) -> None:
        """Connect again at once, for a repaint; the place is kept meanwhile."""
        self._session.needs_reset = True
        if self._serving is not None:
            self._serving.cancel()
        self._hurry.set()

    # What is shown

    def _on_joined(self, is_first: bool) -> None:
        self._drawn, self._shows_help = "", False
        self._title.give_back()
        if is_first:
            self._on_first()
            if self._session.role == "viewer":
                sys.stderr.write("ttybridge: you may watch; Ctrl-C leaves.\n")
                sys.stderr.flush()
            self._terminal.begin()

    def _say(self, news: News) -> None:
        """Tell the person something: in the window's title, which nothing else is drawn over."""
        if not self._terminal.is_raw and self._session.waits:
            sys.stderr.write(f"ttybridge: {news.text}.\n")
            sys.stderr.flush()
        elif self._session.waits:
            self._draw_line(news.text)
        else:
            self._title.say(news.text, bell=news.is_urgent)

    def _draw_line(self, text: str) -> None:
        """Write over the last line of the screen; the repaint at the return takes it away."""
        if self._drawn == text:
            return
        self._drawn = text
        if self._session.mode == "direct":  # which nobody repaints
            self._title.say(text, stays=True)
        else:
            self._session.needs_reset = True
            self._terminal.write(notes.status_line(text, self._terminal.size))

    # Signals

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _ENDINGS:
            loop.add_signal_handler(number, self._leave, Ending(128 + number))
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        loop.add_signal_handler(signal.SIGWINCH, self._on_resize)
        try:
            yield
        finally:
            for number in (*_ENDINGS, signal.SIGTSTP, signal.SIGWINCH):
                loop.remove_signal_handler(number)

    def _leave(self, ending: Ending) -> None:
        if not self._over.done():
            self._over.set_result(ending)

    def _on_resize(self) -> None:
        self._session.resize(self._terminal.size)

    def _suspend(self) -> None:
        if self._suspending is None:
            self._suspending = asyncio.create_task(self._stop_for_a_while())
            self._suspending.add_done_callback(lambda _: setattr(self, "_suspending", None))

    async def _stop_for_a_while(self) -> None:
        """Give the terminal back, and stop until somebody says `fg`."""
        self._may_connect.clear()
        self._reconnect()
        if self._line is not None:
            await self._is_idle.wait()
        was_raw = self._terminal.is_raw
        self._terminal.restore(newline=True, more=self._title.end())
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTSTP)
        signal.raise_signal(signal.SIGTSTP)  # returns when somebody has said so
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        if was_raw:
            self._terminal.begin()
            # The alternate screen above all: a repaint does not say again that it is on.
            self._terminal.write(self._session.output.modes)
        self._session.resize(self._terminal.size)
        self._may_connect.set()
        self._reconnect()


def _is_final(error: TtyBridgeError) -> bool:
    """Tell whether trying again is of no use."""
    if isinstance(error, Refused):
        return error.code != "unavailable"
    return isinstance(error, Unauthorized)
