"""What ends at a time of the clock on the wall."""

import asyncio
from collections.abc import Callable

import pytest

from tests.conftest import DEADLINE_S
from ttybridge.web import expiries
from ttybridge.web.expiries import Expiries


class Clock:
    now = 1_800_000_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(expiries, "LOOK_S", 0.02)
    return Clock()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is watched has no event
            await asyncio.sleep(0.005)


async def looked(times: int = 3) -> None:
    """Let the clock be looked at some times."""
    await asyncio.sleep(expiries.LOOK_S * times)


async def test_a_clock_that_jumps_ends_what_is_over_then_and_nothing_else(clock: Clock) -> None:
    over: list[str] = []
    ends = Expiries(over.append, lambda: clock.now)
    for name, after_s in (("week", 7 * 86400), ("hour", 3600), ("day", 86400), ("gone", 60)):
        ends.add(name, clock.now + after_s)
    ends.drop("gone")
    ends.drop("never known")
    await looked()
    assert over == []
    clock.now += 3600
    await looked()
    assert over == []  # at that very second it still counts
    clock.now += 90_000  # as after a night of sleep
    await until(lambda: len(over) == 2)
    assert sorted(over) == ["day", "hour"]
    clock.now -= 90_000
    ends.add("week", clock.now + 10)
    await looked()
    assert len(over) == 2
    clock.now += 11
    await until(lambda: over[2:] == ["week"])
    before = asyncio.all_tasks()
    ends.close()
    clock.now += 10**9
    await looked()
    assert len(over) == 3
    assert asyncio.all_tasks() == before


async def test_nothing_ends_after_the_end(clock: Clock) -> None:
    over: list[str] = []
    ends = Expiries(over.append, lambda: clock.now)
    ends.add("a", clock.now - 1)
    ends.close()
    await looked()
    assert over == []
