"""Keeps a tunnel open: looks after it, and opens it again when it is lost."""

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from ttybridge.errors import TtyBridgeError, TunnelError
from ttybridge.tunnels.base import Endpoint, Local, Tunnel, checked, fault

log = logging.getLogger(__name__)

OPEN_S = 190.0
"""Time for a provider to open, in seconds; each has a deadline of its own, which is shorter."""

HEALTH_S = 15.0
"""Time for a provider to say how it is, in seconds."""

CLOSE_S = 8.0
"""Time for a provider to close, in seconds, before it is left alone. Above an agent's own: 6 s."""

GOOD_WHILE_S = 60.0
"""Time of being open, in seconds, after which the pauses begin at the first one again: a tunnel
that opens and fails at once must not ask its service every second."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between the tries to open a tunnel again."""

    first_s: float = 1.0
    """The first pause, in seconds; each next one is twice as long."""
    longest_s: float = 60.0
    """The longest pause, in seconds."""
    jitter: Callable[[], float] = random.random
    """Number from 0 to 1: so much of a quarter of the pause is added. With it, bridges that were
    cut off together do not come back together."""

    def pause_s(self, tries: int) -> float:
        """Return the pause after so many tries that failed, in seconds.

        >>> [Backoff(jitter=lambda: 0.0).pause_s(tries) for tries in (0, 1, 5, 6, 5000)]
        [1.0, 2.0, 32.0, 60.0, 60.0]
        """
        pause_s = min(self.first_s * 2.0 ** min(tries, 30), self.longest_s)
        return pause_s * (1 + self.jitter() / 4)


class Supervisor:
    """Opens a tunnel when it is entered, and keeps it open until it is left.

    Attributes:
        endpoints: The addresses in the order of the local ports; the last ones known while the
            tunnel is lost.
        state: Whether the tunnel is open, or lost and being opened again.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        locals: Sequence[Local],
        *,
        on_open: Callable[[Sequence[Endpoint]], None],
        on_lost: Callable[[str], None],
        check_s: float = 5.0,
        backoff: Backoff | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Start nothing yet.

        Args:
            tunnel: The provider.
            locals: The local ports that are to be public.
            on_open: Gets the addresses: on entering, when they change, and after each loss.
            on_lost: Gets the reason of a loss, once; and a new reason why it cannot be opened.
            check_s: Pause between two looks, in seconds.
            backoff: Pauses between the tries to open it again.
            sleep: How to wait.
        """
        self.endpoints: Sequence[Endpoint] = ()
        self.state: Literal["open", "reopening"] = "reopening"
        self._tunnel, self._locals = tunnel, tuple(locals)
        self._on_open, self._on_lost = on_open, on_lost
        self._check_s, self._sleep = check_s, sleep
        self._backoff = backoff or Backoff()
        self._tries = 0
        self._open_s = 0.0
        self._told: set[str] = set()
        self._fault = ""
        self._watching: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Open the tunnel; when that fails or is cancelled, nothing of it is left.

        Raises:
            TunnelError: It cannot be opened.
            MissingProgramError: The provider's program is not installed.
            ConfigError: An option of the provider is wrong.
        """
        try:
            self._be_open(await self._open())
        except BaseException as error:
            await self._close()
            if isinstance(error, Exception) and not isinstance(error, TtyBridgeError):
                raise fault(self._tunnel.name, error) from error
            raise
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the tunnel; takes seconds at most, whatever the provider does."""
        watching, self._watching = self._watching, None
        try:
            if watching is not None:
                watching.cancel()
                await self._await_end(watching, "did not stop opening")
        finally:
            await self._close()

    async def _watch(self) -> None:
        """Look after the tunnel until cancelled."""
        while True:
            try:
                if self.state == "open":
                    await self._check()
                else:
                    await self._reopen()
            except Exception as error:
                log.exception("the tunnel %s failed in a way of its own", self._tunnel.name)
                self.state = "reopening"
                self._fault = f"{self._tunnel.name} failed: {type(error).__name__}: {error}"

    async def _check(self) -> None:
        await self._sleep(self._check_s)
        self._open_s += self._check_s
        try:
            async with asyncio.timeout(HEALTH_S):
                endpoints = await self._tunnel.health()
        except TimeoutError:
            self._lose(f"{self._tunnel.name} did not say within {HEALTH_S:.0f} s how it is.")
        except TtyBridgeError as error:
            self._lose(str(error))
        else:
            if list(endpoints) != list(self.endpoints):
                self._be_open(endpoints)

    async def _reopen(self) -> None:
        await self._close()
        await self._sleep(self._backoff.pause_s(self._tries))
        self._tries += 1
        # Not before the pause: what is told may fail, too, and then this begins anew.
        fault, self._fault = self._fault, ""
        if fault:
            self._lose(fault)
        try:
            endpoints = await self._open()
        except TtyBridgeError as error:
            self._lose(str(error))
        else:
            self._open_s = 0.0
            self._be_open(endpoints)

    async def _open(self) -> Sequence[Endpoint]:
        try:
            async with asyncio.timeout(OPEN_S):
                return await self._tunnel.open(self._locals)
        except TimeoutError as error:
            message = f"{self._tunnel.name} did not open within {OPEN_S:.0f} s."
            raise TunnelError(message) from error

    def _be_open(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(checked(self._tunnel.name, endpoints, self._locals))
        self.state = "open"
        self._told.clear()
        self._on_open(self.endpoints)

    def _lose(self, reason: str) -> None:
        """Note that the tunnel is lost, or could not be opened, and say so unless it is said."""
        if self.state == "open":
            log.info("the tunnel %s is lost: %s", self._tunnel.name, reason)
            if self._open_s >= GOOD_WHILE_S:
                self._tries = 0
        self.state = "reopening"
        # Times and ports differ in an agent's lines when the reason is the same.
        gist = re.sub(r"\d+", "", reason.partition("\n")[0])
        if gist not in self._told:
            self._told.add(gist)
            self._on_lost(reason)

    async def _close(self) -> None:
        """Close the provider; when it takes too long, leave it alone."""
        task = asyncio.create_task(self._tunnel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        await self._await_end(task, "did not close")
        if task.done() and not task.cancelled() and (error := task.exception()):
            log.warning("the tunnel %s could not be closed: %s", self._tunnel.name, error)

    async def _await_end(self, task: asyncio.Task[None], what: str) -> None:
        """Wait for the end of a task, with a bound; when it is passed, cancel it and go on."""
        try:
            await asyncio.wait({task}, timeout=CLOSE_S)
        finally:
            task.cancel()
        if not task.done():
            log.warning("the tunnel %s %s within %.0f s", self._tunnel.name, what, CLOSE_S)
