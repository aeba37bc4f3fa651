"""Clients whose lines fall silent without an end are dropped, and what they had is freed."""

import re
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from tests.conftest import Figure, StartBridge, Tmux
from tests.e2e.cables import ALLOW, through
from tests.e2e.hostile import Watched
from tests.e2e.polling_client import PollingClient
from tests.e2e.raw_client import ColabClient, ContractClient, PageClient, eventually
from tests.page.network import Cable

FREED_S = 12.0
"""Time in which the pty and the child of a client that was dropped are gone, in seconds."""

CYCLES = dict.fromkeys(("WebSocket", "polling", "contract"), 40.0) | {"colab/tty": 60.0}
"""Time in which the client of each kind is dropped, in seconds: what the documentation promises."""

IDLE_S = 75.0
"""Time in which an HTTP connection without a request is closed, in seconds."""

GOODBYE_S = 5.0
"""Time for a goodbye that nobody hears, and for a busy machine, in seconds."""


@pytest.mark.slow
@pytest.mark.long
async def test_who_falls_silent_is_dropped_within_a_ping_cycle_and_freed_within_twelve_seconds(
    start_bridge: StartBridge, new_cable: Callable[[int], Cable], tmux: Tmux, figure: Figure
) -> None:
    bridge = start_bridge(*ALLOW, "--resume", "1")
    cable = new_cable(bridge.port)
    far = through(cable, bridge)
    watched = Watched(bridge.pid)
    kinds = (PageClient, PollingClient, ContractClient, ColabClient)
    dropped: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        healthy = await stack.enter_async_context(await PageClient.join(bridge))
        await healthy.shows("$")
        start = watched.footprint()
        for kind in kinds:
            await stack.enter_async_context(await kind.join(far))
        count = len(kinds) + 1
        await eventually(lambda: bridge.log.count(" attached (") == count, "all have joined")
        found = re.findall(r"(c\d+) attached \(", bridge.log)
        ids = dict(zip(CYCLES, found[1:], strict=True))
        await eventually(lambda: len(tmux.clients()) == count, "all are tmux clients")
        children = set(watched.children)
        cable.hold()
        began = time.monotonic()

        def all_are(names: set[str]) -> bool:
            for name in names - dropped.keys():
                if re.search(rf"\b{ids[name]} (left|lost)", bridge.log):
                    dropped[name] = time.monotonic() - began
            return names <= dropped.keys()

        freed_s = 0.0
        for names in (CYCLES.keys() - {"colab/tty"}, {"colab/tty"}):
            await eventually(
                lambda n=names: all_are(n),  # type: ignore[misc]
                lambda n=names: f"{n} are dropped, not only {dropped}",  # type: ignore[misc]
                90.0,
            )
            last, count = time.monotonic(), count - len(names)
            await eventually(
                lambda c=count: len(tmux.clients()) == c,  # type: ignore[misc]
                "their tmux clients are gone",
                FREED_S,
            )
            freed_s = max(freed_s, time.monotonic() - last)
        await eventually(lambda: watched.footprint()[1:] == start[1:], "all is freed", FREED_S)
        assert len(set(watched.children) & children) == 1
        # The sockets of who polled are closed as all that are idle are.
        await eventually(lambda: watched.is_within(start), "all is given back", IDLE_S + 5)
        await healthy.type("echo still-$((1))\r")
        await healthy.shows("still-1")
    for name, seconds in dropped.items():
        figure(f"client gone silently, {name}", seconds=seconds)
    figure("client gone silently, freed after the drop", seconds=freed_s)
    late = {name: s for name, s in dropped.items() if s > CYCLES[name] + GOODBYE_S}
    assert not late
    assert freed_s < FREED_S
