"""How requests are refused: the login page, the page for guests, plain texts; wrong tokens wait."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from ttybridge.core.decision import METHODS, OLD_LINK, Decision
from ttybridge.core.meter import OF_STATUS, Meter
from ttybridge.core.origin import LOGIN, PAGE, RequestFacts
from ttybridge.core.throttle import MAX_DELAY_S, Throttle
from ttybridge.web import entering
from ttybridge.web.answers import plain, shown

logger = logging.getLogger(__name__)


class Refusing:
    """Answers requests that are not let through.

    Args:
        throttle: Slows down wrong tokens.
        login_page: The HTML shown instead of the page when no credential came, or a callable
            that returns it.
        clock: Seconds since 1970.
        on_failure: Called with the client's address for a wrong token whose answer waits.
        meter: Counts.
    """

    def __init__(
        self,
        throttle: Throttle,
        login_page: bytes | Callable[[], bytes],
        clock: Callable[[], float],
        on_failure: Callable[[str], None],
        meter: Meter,
    ) -> None:
        self._throttle = throttle
        self._login_page = login_page
        self._clock = clock
        self._on_failure = on_failure
        self._meter = meter
        self._stopping = asyncio.Event()

    @property
    def login_page(self) -> bytes:
        """The page with the login form."""
        return self._login_page if isinstance(self._login_page, bytes) else self._login_page()

    def stop(self) -> None:
        """Let no answer wait any longer: the bridge stops."""
        self._stopping.set()

    async def refuse(
        self, request: web.Request, facts: RequestFacts, decision: Decision, page_address: str
    ) -> web.StreamResponse:
        """Return the answer to a request that is refused, after the time that it costs.

        Args:
            request: The request.
            facts: What was read from it.
            decision: Why it is refused.
            page_address: The page's address, relative to the request's.
        """
        address = decision.seen.address if decision.seen else facts.peer
        if decision.is_failed_try:
            status = await self._slow_down(address) or decision.status
            decision = replace(decision, status=status)
        self._meter.refuse(OF_STATUS.get(decision.status, "request"))
        if self._meter.may_log(request.transport):
            logger.info(
                "refused %s %s from %s: %d %s",
                shown(request.method),
                shown(facts.path),
                shown(address),
                decision.status,
                decision.reason,
            )
        response = self._answer(request, facts, decision, page_address)
        if response.status == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="ttybridge"'
        elif response.status == 405:
            response.headers["Allow"] = ", ".join(METHODS)
        elif response.status == 413:
            response.force_close()
        return response

    def _answer(
        self, request: web.Request, facts: RequestFacts, decision: Decision, page_address: str
    ) -> web.StreamResponse:
        status = decision.status
        if status == 429:
            response = plain(429, "Too many wrong tokens are being tried. Try again later.")
            response.headers["Retry-After"] = str(int(MAX_DELAY_S))
            return response
        if status == 401 and decision.link is not None and decision.link.is_framed:
            request[entering.FRAMED] = True
            return plain(401, entering.OLD_FRAME)
        if status != 401 or not _wants_page(request, facts):
            return plain(status, decision.reason)
        if page_address != "./":  # the form's relative addresses need the slash
            return web.Response(status=303, headers={"Location": page_address})
        body = self._page_for(decision)
        return web.Response(status=401, body=body, content_type="text/html", charset="utf-8")

    def _page_for(self, decision: Decision) -> bytes:
        page = self.login_page
        if decision.over is not None:
            return entering.over_page(page, decision.over)
        if decision.is_failed_try:
            return page.replace(b"<form", entering.WRONG_TOKEN + b"<form", 1)
        if decision.reason == OLD_LINK:
            return page.replace(b"<form", entering.OLD_LINK + b"<form", 1)
        return page

    async def _slow_down(self, address: str) -> int | None:
        """Wait as long as a wrong token from this address costs; 429 when too many wait."""
        delay_s = self._throttle.failed(address, self._clock())
        if not self._throttle.enter():
            return 429
        self._on_failure(shown(address))
        try:
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            pass
        finally:
            self._throttle.leave()
        return None


def _wants_page(request: web.Request, facts: RequestFacts) -> bool:
    is_visit = (facts.method, facts.path) in (("GET", PAGE), ("POST", LOGIN))
    return is_visit and "text/html" in request.headers.get("Accept", "").lower()
