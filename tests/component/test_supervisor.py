"""A tunnel under watch: lost, told of once, opened again, closed in time, without real waits."""

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence

import pytest

from tests.tunnels import until
from ttybridge.errors import MissingProgramError, TunnelError
from ttybridge.tunnels import supervisor
from ttybridge.tunnels.base import Endpoint, Local
from ttybridge.tunnels.supervisor import Backoff, Supervisor

ONE, TWO = [Endpoint("https://one.example")], [Endpoint("https://two.example")]
LOCALS = (Local(8080),)


class Scripted:
    """A provider that does what is asked of it next; without anything, it is open as ONE."""

    name = "scripted"

    def __init__(self) -> None:
        self.is_stubborn = True
        self.calls: list[str] = []
        self.opens: list[Sequence[Endpoint] | Exception] = []
        self.healths: list[Sequence[Endpoint] | Exception] = []
        self.on_close: Callable[[], object] = lambda: None
        self.hangs = ""
        self.go_on = asyncio.Event()

    async def open(self, locals: Sequence[Local]) -> Sequence[Endpoint]:
        assert tuple(locals) == LOCALS
        return await self._do("open", self.opens)

    async def health(self) -> Sequence[Endpoint]:
        return await self._do("health", self.healths)

    async def close(self) -> None:
        await self._do("close", [])
        self.on_close()

    async def _do(
        self, name: str, script: list[Sequence[Endpoint] | Exception]
    ) -> Sequence[Endpoint]:
        self.calls.append(name)
        while self.hangs == name and not self.go_on.is_set():
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                if not self.is_stubborn:
                    raise
        result = script.pop(0) if script else ONE
        if isinstance(result, Exception):
            raise result
        return result


class Watched:
    """A supervisor whose time only passes when it is told to, and what it has told."""

    def __init__(self) -> None:
        self.tunnel = Scripted()
        self.pauses: list[float] = []
        self.told: list[object] = []
        self._passes = asyncio.Semaphore(0)
        self.supervisor = Supervisor(
            self.tunnel,
            LOCALS,
            on_open=self.told.append,
            on_lost=self.told.append,
            backoff=Backoff(jitter=lambda: 0.0),
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self._passes.acquire()

    def _has_paused(self, more_than: int) -> bool:
        return len(self.pauses) > more_than

    async def passes(self, pauses: int = 1) -> None:
        """Let the pauses pass, and what follows them happen."""
        for _ in range(pauses):
            await until(lambda: self.pauses)
            count = len(self.pauses)
            self._passes.release()
            await until(functools.partial(self._has_paused, count))


@pytest.fixture(name="watched")
async def made_watched() -> Watched:
    return Watched()


async def test_a_loss_is_told_once_and_the_tunnel_is_opened_again(watched: Watched) -> None:
    tunnel = watched.tunnel
    async with watched.supervisor as entered:
        assert (entered.endpoints, entered.state) == (tuple(ONE), "open")
        await watched.passes(2)
        assert watched.told == [tuple(ONE)]
        tunnel.healths = [TunnelError("It went away at 12:01.", hint="Look.")]
        await watched.passes()
        assert (entered.state, watched.told[1:]) == ("reopening", ["It went away at 12:01. Look."])
        assert entered.endpoints == tuple(ONE)
        gone, busy = TunnelError("It went away at 12:07.", hint="Look."), TunnelError("Busy.")
        tunnel.opens = [gone, busy, gone, busy, gone, gone, gone, gone]
        await watched.passes(8)
        assert watched.told[2:] == ["Busy."]
        assert watched.pauses == [5, 5, 5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
        await watched.passes()
        # The address is the one from before, and is told all the same.
        assert watched.told[3:] == [tuple(ONE)]
        assert entered.state == "open"
        assert tunnel.calls[-2:] == ["close", "open"]
        # It fails at once: the next try does not come sooner than the last one.
        tunnel.healths = [busy]
        await watched.passes()
        assert watched.told[4:] == ["Busy."]
        assert watched.pauses[-1] == 60
        # After a good while, it does.
        await watched.passes(13)
        tunnel.healths = [busy]
        await watched.passes()
        assert watched.pauses[-1] == 1
        tunnel.healths = [busy]
        await watched.passes(2)
        assert watched.pauses[-1] == 2
    assert tunnel.calls[-1] == "close"


async def test_a_changed_address_is_told(watched: Watched) -> None:
    async with watched.supervisor as entered:
        watched.tunnel.healths = [TWO, TWO]
        await watched.passes(2)
        assert watched.told == [tuple(ONE), tuple(TWO)]
        assert entered.endpoints == tuple(TWO)


async def test_a_first_open_that_fails_is_not_tried_again(watched: Watched) -> None:
    watched.tunnel.opens = [MissingProgramError("There is none.")]
    with pytest.raises(MissingProgramError):
        await watched.supervisor.__aenter__()
    assert watched.tunnel.calls == ["open", "close"]
    assert watched.told == []


@pytest.mark.parametrize(
    "opened", [KeyError("ah"), [], [Endpoint("nonsense")]], ids=["raises", "none", "nonsense"]
)
async def test_a_provider_with_a_fault_is_named_at_the_start(
    watched: Watched, opened: Sequence[Endpoint] | Exception
) -> None:
    watched.tunnel.opens = [opened]
    with pytest.raises(TunnelError, match=r"The tunnel scripted (failed|gave)"):
        await watched.supervisor.__aenter__()
    assert watched.tunnel.calls == ["open", "close"]
    assert watched.told == []


async def test_a_first_open_that_is_cancelled_is_closed(watched: Watched) -> None:
    watched.tunnel.hangs, watched.tunnel.is_stubborn = "open", False
    entering = asyncio.create_task(watched.supervisor.__aenter__())
    await until(lambda: watched.tunnel.calls)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert watched.tunnel.calls == ["open", "close"]


async def test_a_provider_that_fails_in_a_way_of_its_own_is_logged_and_opened_again(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched.supervisor as entered:
        watched.tunnel.healths = [ZeroDivisionError("oh")]
        watched.tunnel.opens = [KeyError("ah")]
        await watched.passes(3)
        assert entered.state == "open"
    reasons = ["scripted failed: ZeroDivisionError: oh", "scripted failed: KeyError: 'ah'"]
    assert watched.told == [tuple(ONE), *reasons, tuple(ONE)]
    assert watched.pauses[:3] == [5, 1, 2]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


@pytest.mark.parametrize("hangs", ["close", "health", "open"])
async def test_leaving_takes_seconds_though_the_provider_hangs(
    watched: Watched,
    hangs: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(supervisor, "CLOSE_S", 0.05)
    tunnel = watched.tunnel
    try:
        async with asyncio.timeout(20), watched.supervisor:
            if hangs == "open":
                tunnel.healths = [TunnelError("Gone.")]
                await watched.passes()
            await until(lambda: watched.pauses)
            tunnel.hangs = hangs
            count = len(tunnel.calls)
            if hangs != "close":
                watched._passes.release()
                await until(lambda: len(tunnel.calls) > count)
    finally:
        # What was left alone ends in the end.
        tunnel.go_on.set()
    assert "within" in caplog.text
    assert tunnel.calls[-1] == "close"


async def test_a_provider_that_does_not_say_how_it_is_is_lost(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "HEALTH_S", 0.01)

    async def never() -> Sequence[Endpoint]:
        await asyncio.Event().wait()
        return ONE

    async with watched.supervisor as entered:
        monkeypatch.setattr(watched.tunnel, "health", never)
        await watched.passes()
        assert entered.state == "reopening"
    assert "did not say" in str(watched.told[1])


async def test_a_close_that_fails_is_logged_and_does_not_hide_the_end(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        message = "no way"
        raise OSError(message)

    watched.tunnel.on_close = fail
    with pytest.raises(ZeroDivisionError):
        async with watched.supervisor:
            raise ZeroDivisionError
    assert "could not be closed: no way" in caplog.text
