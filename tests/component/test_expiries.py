"""What ends at a time of the clock on the wall."""

import asyncio
from collections.abc import Callable

import pytest

from tests.conftest import DEADLINE_S
from ttybridge.web import expiries
from ttybridge.web.expiries import Expiries


class Clock:
    """A clock that is set by hand, and counts how often it was looked at."""

    now = 1_800_000_000.0
    looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(expiries, "LOOK_S", 0.02)
    return Clock()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is watched has no event
            await asyncio.sleep(0.005)


async def looked(clock: Clock, times: int = 6) -> None:
    """Wait until the clock was read some times more: twice at each look."""
    before = clock.looks
    await until(lambda: clock.looks >= before + times)


async def not_looked(clock: Clock, times: int = 3) -> None:
    """Let the time of some looks pass, and see that there was none."""
    before = clock.looks
    await asyncio.sleep(expiries.LOOK_S * times)
    assert clock.looks == before


async def test_a_clock_that_jumps_ends_what_is_over_then_and_nothing_else(clock: Clock) -> None:
    over: list[str] = []
    ends = Expiries(over.append, clock)
    for name, after_s in (("week", 7 * 86400), ("hour", 3600), ("day", 86400), ("gone", 60)):
        ends.add(name, clock.now + after_s)
    ends.drop("gone")
    ends.drop("never known")
    await looked(clock)
    assert over == []
    clock.now += 3600
    await looked(clock)
    assert over == []  # at that very second it still counts
    clock.now += 90_000  # as after a night of sleep
    await until(lambda: len(over) == 2)
    assert sorted(over) == ["day", "hour"]
    clock.now -= 90_000
    ends.add("week", clock.now + 10)
    await looked(clock)
    assert len(over) == 2
    clock.now += 11
    await until(lambda: over[2:] == ["week"])
    before = asyncio.all_tasks()
    ends.close()
    clock.now += 10**9
    await not_looked(clock)
    assert len(over) == 3
    assert asyncio.all_tasks() == before


async def test_nothing_ends_after_the_end(clock: Clock) -> None:
    over: list[str] = []
    ends = Expiries(over.append, clock)
    ends.add("a", clock.now - 1)
    ends.close()
    await not_looked(clock)
    assert over == []
