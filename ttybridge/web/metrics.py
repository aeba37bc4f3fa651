"""The entrance `metrics`: numbers about the bridge for Prometheus, for owners alone."""

from collections.abc import Callable

from aiohttp import web

from ttybridge.core.access import Principal
from ttybridge.core.metrics import CONTENT_TYPE, Family, render
from ttybridge.core.permissions import Action, Entrance, may
from ttybridge.errors import AccessDenied


class MetricsEntrance:
    """Serves `metrics`, where that is wanted.

    Args:
        is_on: Whether it is.
        principal_of: Says who sent a request that the gate let through.

    Attributes:
        families: Returns the numbers; None until the bridge has started.
    """

    families: Callable[[], list[Family]] | None = None

    def __init__(self, is_on: bool, principal_of: Callable[[web.BaseRequest], Principal]) -> None:
        self._is_on, self._principal_of = is_on, principal_of

    def install(self, router: web.UrlDispatcher, base: str) -> None:
        """Add the route below a base path, which has no slash at its end."""
        if self._is_on:
            router.add_get(f"{base}/metrics", self.handle)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer with all numbers.

        Raises:
            AccessDenied: This role may not see them.
        """
        if not may(self._principal_of(request).role, Action.MANAGE, Entrance.API):
            raise AccessDenied("Metrics are for owners.", status=403)
        if self.families is None:
            raise AccessDenied("The bridge is starting. Try again.", status=503)
        return web.Response(text=render(self.families()), headers={"Content-Type": CONTENT_TYPE})
