"""The HTTP API below `api/`: what the control socket does, for owners' and editors' pages.

The gate has checked Host, Origin and credential before. A body has to say that it is JSON, which
no form of another site can: browsers ask first, and are refused.
"""

from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from ttybridge.core.access import Principal
from ttybridge.core.limits import BODY_TIMEOUT_S
from ttybridge.core.meter import Meter
from ttybridge.core.people import Actor
from ttybridge.core.permissions import Entrance
from ttybridge.errors import AccessDenied
from ttybridge.web.bodies import read_body
from ttybridge.web.operations import Operations
from ttybridge.web.routes import ROUTES, Route, answer, refusal, said
from ttybridge.web.visitor import credential_of

MAX_BODY_BYTES = 64 << 10
"""Largest body; what is asked for here takes some hundred bytes."""

_ALLOWED = {route.path: route.method for route in ROUTES if not route.is_local}


class Api:
    """The entrance `api/`.

    Args:
        principal_of: Says who sent a request that the gate let through.
        name_of: Says what the person is called who holds a credential; empty when nobody knows.
        meter: Counts.
        body_timeout_s: Time for a body to arrive, in seconds.

    Attributes:
        operations: The bridge; None until it has started.
    """

    operations: Operations | None = None

    def __init__(
        self,
        principal_of: Callable[[web.BaseRequest], Principal],
        name_of: Callable[[str], str] = lambda _credential: "",
        meter: Meter | None = None,
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self._meter, self._body_timeout_s = meter or Meter(), body_timeout_s
        self._principal_of, self._name_of = principal_of, name_of

    def install(self, router: web.UrlDispatcher, base: str) -> None:
        """Add the routes below a base path, which has no slash at its end."""
        for route in ROUTES:
            if not route.is_local:
                router.add_route(route.method, f"{base}/api{route.path}", self._handler(route))
        router.add_route("*", f"{base}/api{{rest:(/.*)?}}", _nothing)

    def actor_of(self, request: web.BaseRequest) -> Actor:
        """Return who asks.

        Raises:
            AccessDenied: Nobody is known.
        """
        principal = self._principal_of(request)
        credential = credential_of(principal)
        name = (self._name_of(credential) if credential else "") or principal.name
        return Actor(principal.role, name, Entrance.API, credential)

    async def _read(self, request: web.Request) -> bytes:
        """Return a body of JSON.

        Raises:
            AccessDenied: It is none, too large, or too slow.
        """
        if request.content_type != "application/json":
            reason = "A request that changes something is sent with Content-Type: application/json."
            raise AccessDenied(reason, status=415)
        try:
            return await read_body(request, MAX_BODY_BYTES, self._body_timeout_s, self._meter)
        except web.HTTPRequestEntityTooLarge:
            reason = f"The body is larger than {MAX_BODY_BYTES >> 10} KiB."
            raise AccessDenied(reason, status=413) from None
        except web.HTTPRequestTimeout:
            raise AccessDenied("The body did not arrive in time.", status=408) from None

    def _handler(self, route: Route) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            async def read() -> bytes:
                return await self._read(request)

            try:
                found = await answer(route, self.operations, lambda: self.actor_of(request), read)
                return web.json_response(found)
            except Exception as error:
                response = refusal(error)
                if response.status in (408, 413):
                    response.force_close()  # what is left of the body is not read
                return response

        return handle


async def _nothing(request: web.Request) -> web.StreamResponse:
    allowed = _ALLOWED.get(request.match_info["rest"])
    if allowed is None:
        return said(
            404, "There is nothing at this address.", "docs/control.md lists what there is."
        )
    response = said(405, f"This is asked for with {allowed}.")
    response.headers["Allow"] = allowed
    return response
