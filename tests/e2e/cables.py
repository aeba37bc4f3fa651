"""A bridge at the other end of a cable that can be cut."""

from dataclasses import dataclass

from tests.conftest import RunningBridge
from tests.page.network import Cable

ALLOW = ("--allow-host", "127.0.0.1")
"""Options of a bridge behind a cable, which has a port of its own."""


@dataclass
class Through:
    """Where a bridge serves, through a cable."""

    address: str
    token: str


def through(cable: Cable, bridge: RunningBridge) -> Through:
    """Return where the bridge serves, through the cable."""
    return Through(cable.link(bridge.address), bridge.token)
