"""The gate in front of every path: checks each request, lets people in and out, sets the headers.

Everything that is decided is decided by `authorize`, which knows no web framework; this module
turns a request into `RequestFacts` and a decision into an answer.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from aiohttp import web
from aiohttp.typedefs import Handler

from ttybridge.core.access import SHARED_IDS, Credentials, Principal
from ttybridge.core.authority import Authority
from ttybridge.core.decision import NO_CREDENTIAL, Decision, after_opening, authorize, over_link
from ttybridge.core.limits import Bounds
from ttybridge.core.links import Link
from ttybridge.core.meter import Meter
from ttybridge.core.origin import (
    HEALTH,
    LOGIN,
    LOGOUT,
    PAGE,
    RequestFacts,
    SecurityPolicy,
    Seen,
    Tunnel,
    check_host,
)
from ttybridge.core.throttle import Throttle
from ttybridge.errors import AccessDenied, ConfigError
from ttybridge.sessions.door import Note, no_note
from ttybridge.web import entering
from ttybridge.web.answers import (
    GuardedRunner,
    as_pending,
    framed_headers,
    plain,
    security_headers,
    shown,
)
from ttybridge.web.entering import Entering
from ttybridge.web.proxy import PROXIED
from ttybridge.web.refusing import Refusing
from ttybridge.web.request_facts import facts_of

logger = logging.getLogger(__name__)

PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)
"""Where a request that was let through keeps who sent it."""

SHUTDOWN_TIMEOUT_S = 2.0
"""Time for handlers that still run when the bridge stops, in seconds; aiohttp's default is 60."""


class Gate:
    """Stands before every handler of an application.

    Args:
        policy: The options about hosts, proxies and frames.
        credentials: What is accepted.
        throttle: Slows down wrong tokens.
        login_page: The HTML shown instead of the page when no credential came, or a callable
            that returns it.
        clock: Seconds since 1970.
        on_logout: Called with the session id after a logout, to end its live connections.
        page: The HTML of the page, for frames that a link was made for.
        scripts: Sources for `script-src` of the scripts in the page.
        bounds: What one client may take.
        meter: Counts.

    Attributes:
        note: Takes events for the audit log.
        on_session: Called with the id of a session that is let through, and when it will be too
            old, in seconds since 1970.
    """

    def __init__(
        self,
        policy: SecurityPolicy,
        credentials: Credentials,
        throttle: Throttle,
        login_page: bytes | Callable[[], bytes],
        clock: Callable[[], float] = time.time,
        on_logout: Callable[[str], Awaitable[None]] | None = None,
        page: bytes = b"",
        scripts: Sequence[str] = (),
        bounds: Bounds | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._bounds, self._meter = bounds or Bounds(), meter or Meter()
        self._policy = policy
        self._credentials = credentials
        self._clock = clock
        self._on_logout = on_logout
        self._headers = security_headers(policy, scripts)
        self._cookie_name = f"ttybridge-{policy.port}"  # browsers share cookies between ports
        self._page = page
        framed = bool(policy.frame_origins)
        self._entering = Entering(credentials, self._cookie_name, framed, clock)
        self._refusing = Refusing(throttle, login_page, clock, self._failed, self._meter)
        self.note: Note = no_note
        self.on_session: Callable[[str, float], None] = lambda _id, _expires_at: None

    def install(self, app: web.Application) -> None:
        """Put the gate in front of all of an application and add its own routes.

        The routes are /login, /logout and /healthz, each with and without the base path.
        """
        app.middlewares.insert(0, self.middleware)
        app.on_response_prepare.append(self.on_response_prepare)
        app.on_shutdown.append(self._on_shutdown)
        for path in self._policy.paths(LOGIN):
            app.router.add_post(path, self.login)
            app.router.add_get(path, _to_page)
        for path in self._policy.paths(LOGOUT):
            app.router.add_post(path, self.logout)
        for path in self._policy.paths(HEALTH):
            app.router.add_get(path, _healthy)

    def runner(self, app: web.Application, *, keepalive_s: float = 75.0) -> GuardedRunner:
        """Return a runner for `app` whose own answers, to malformed requests, are guarded too.

        Args:
            app: The application, after `install`.
            keepalive_s: Seconds that a connection may be quiet between two requests; aiohttp's
                default is an hour. Longer than the 60 s that proxies keep theirs.
        """
        return GuardedRunner(
            app,
            headers=self._headers,
            bounds=self._bounds,
            meter=self._meter,
            auto_decompress=False,  # what goes through to an app stays as it is
            keepalive_timeout=keepalive_s,
            shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )

    def add_host(
        self, name: str, *, scheme: str = "https", adds_client_address: bool = False
    ) -> None:
        """Serve the public name of a tunnel from now on.

        Args:
            name: `host` or `host:port`, as in the public address.
            scheme: Scheme of the public address.
            adds_client_address: Whether the last value of X-Forwarded-For is the tunnel's own.

        Raises:
            ConfigError: the name is malformed.
        """
        authority = Authority.parse(name)
        if authority is None or scheme not in ("http", "https"):
            raise ConfigError([f"Tunnel name {name!r} ({scheme}) cannot be a Host."])
        tunnels = {*self._policy.tunnels, Tunnel(authority, scheme, adds_client_address)}
        self._policy = replace(self._policy, tunnels=tuple(tunnels))

    def remove_host(self, name: str) -> None:
        """Stop serving the public name of a tunnel; nothing happens if it is not served."""
        gone = Authority.parse(name)
        left = tuple(tunnel for tunnel in self._policy.tunnels if tunnel.authority != gone)
        self._policy = replace(self._policy, tunnels=left)

    def principal_of(self, request: web.BaseRequest) -> Principal:
        """Return who sent a request that was let through.

        Raises:
            AccessDenied: nobody is known, because the path needs no credential.
        """
        principal = request.get(PRINCIPAL)
        if not isinstance(principal, Principal):
            raise AccessDenied(NO_CREDENTIAL, status=401)
        return principal

    def seen_of(self, request: web.Request) -> Seen:
        """Return where a request was addressed to, after the proxies that are trusted."""
        return check_host(facts_of(request, self._policy, self._cookie_name), self._policy)

    def is_credential(self, text: str) -> bool:
        """Tell whether a text lets somebody in: the token, a cookie's value, or a link."""
        known = self._credentials
        return bool(
            known.check_token(text)
            or known.check_cookie(text, self._clock(), None)
            or known.links.known(text) is not None
        )

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through to its handler, or answer it here."""
        facts = facts_of(request, self._policy, self._cookie_name)
        decision = authorize(facts, self._policy, self._credentials, self._clock())
        if not decision.is_allowed:
            return await self._refuse(request, facts, decision)
        if decision.link is not None:
            return self._visit(request, facts, decision)
        if decision.principal is not None:
            request[PRINCIPAL] = decision.principal
            if decision.principal.expires_at is not None:
                self.on_session(decision.principal.id, decision.principal.expires_at)
        if (facts.method, facts.path) == ("GET", PAGE) and (facts.query_tokens or facts.links):
            return self._enter(request, decision, keeps=not facts.query_tokens)
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except AccessDenied as error:
            return plain(error.status, error.message)
        except Exception:
            logger.exception("handler failed: %s %s", request.method, shown(facts.path))
            if request.writer.output_size > 0:  # an answer, or a WebSocket, has begun
                raise ConnectionResetError("handler failed after its answer began") from None
            return plain(500, "Something went wrong here; the log of ttybridge says what.")

    async def on_response_prepare(
        self, request: web.BaseRequest, response: web.StreamResponse
    ) -> None:
        """Add the headers that every answer carries; only built files may be kept by caches."""
        if response.get(PROXIED):
            return  # the app's own headers, and what `answer_headers` added to them
        response.headers.update(self._headers)
        if request.get(entering.FRAMED):
            response.headers.update(framed_headers(self._headers))
            response.headers.popall("X-Frame-Options", None)
        path = self._policy.local_path(request.path)
        if path not in self._policy.public_files or response.status >= 400:
            response.headers["Cache-Control"] = "no-store"

    async def login(self, request: web.Request) -> web.StreamResponse:
        """Take the form's `token` or `link` and give a cookie for it.

        A program that asks for JSON gets a token for a link instead, which it sends with its
        requests as it would send the bridge's own.
        """
        facts = facts_of(request, self._policy, self._cookie_name)
        # Decided again for its view of proxies: what is in the form is judged below.
        decision = authorize(facts, self._policy, self._credentials, self._clock())
        with as_pending(request):
            form = await entering.read_form(request, self._bounds.body_timeout_s, self._meter)
        if self._credentials.is_open:
            return self._enter(request, decision)
        if len(form.links) == 1 and not form.tokens:
            return await self._open_link(request, facts, decision, form.links[0])
        found = [self._credentials.check_token(token) for token in form.tokens]
        if not found or None in found:
            refusal = Decision(401, NO_CREDENTIAL, seen=decision.seen, is_failed_try=True)
            return await self._refuse(request, facts, refusal)
        return self._enter(request, replace(decision, principal=found[0]))

    async def _open_link(
        self, request: web.Request, facts: RequestFacts, decision: Decision, text: str
    ) -> web.StreamResponse:
        now, seen = self._clock(), decision.seen
        link = self._credentials.links.known(text)
        if link is None:
            refusal = Decision(401, NO_CREDENTIAL, seen=seen, is_failed_try=True)
            return await self._refuse(request, facts, refusal)
        if link.over(now) is not None:
            return await self._refuse(request, facts, over_link(link, seen, now))
        if entering.wants_json(request):
            return self._entering.hand_over(self._use(link, seen))
        if seen is not None:
            decision = after_opening(link, facts, self._credentials, seen, now)
        if not decision.is_allowed:
            return await self._refuse(request, facts, decision)
        if decision.principal is not None:
            return self._enter(request, decision, keeps=True)
        return self._enter(request, decision, self._use(link, seen))

    def _visit(
        self, request: web.Request, facts: RequestFacts, decision: Decision
    ) -> web.StreamResponse:
        """Answer the visit of somebody with a link that can be opened."""
        link, seen = decision.link, decision.seen
        if link is None or seen is None:
            raise AccessDenied(NO_CREDENTIAL, status=401)
        if link.is_framed:
            self._add_place(seen)
            return self._entering.enter_frame(request, self._use(link, seen), self._page)
        is_ahead = "Sec-Purpose" in request.headers or "Purpose" in request.headers
        if (facts.fetch_mode, facts.fetch_dest) == ("navigate", "document") and not is_ahead:
            return self._enter(request, decision, self._use(link, seen))
        body = entering.confirm_page(self._refusing.login_page, link.text)
        return web.Response(body=body, content_type="text/html", charset="utf-8")

    def _use(self, link: Link, seen: Seen | None) -> Link:
        """Count the opening of a link that can be opened.

        Raises:
            AccessDenied: It cannot.
        """
        used = self._credentials.links.use(link.text, self._clock())
        if used is None:
            raise AccessDenied(NO_CREDENTIAL, status=401)
        address = shown(seen.address) if seen else ""
        self.note("link-open", link=used.id, who=used.name, role=used.role.value, address=address)
        return used

    def _failed(self, address: str) -> None:
        self.note("login-failed", address=address)

    def _add_place(self, seen: Seen) -> None:
        """Serve the name that a frame was opened under, whichever scheme its browser uses."""
        if not self._policy.allows(seen.authority):
            for scheme in dict.fromkeys((seen.scheme, "http", "https")):
                self.add_host(str(seen.authority), scheme=scheme)

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """End the session of the cookie, and its live connections."""
        principal = self.principal_of(request)
        if principal.id not in SHARED_IDS:
            self._credentials.revoke(principal.id, self._clock())
            logger.info("logout session=%.8s", principal.id)
            if self._on_logout is not None:
                await self._on_logout(principal.id)
        scheme = check_host(facts_of(request, self._policy, self._cookie_name), self._policy).scheme
        return self._entering.leave(self._page_address(request), secure=scheme == "https")

    def _enter(
        self,
        request: web.Request,
        decision: Decision,
        link: Link | None = None,
        *,
        keeps: bool = False,
    ) -> web.StreamResponse:
        place, who = self._page_address(request), link or decision.principal
        return _to(place) if keeps else self._entering.enter(who, decision.seen, place)

    async def _refuse(
        self, request: web.Request, facts: RequestFacts, decision: Decision
    ) -> web.StreamResponse:
        return await self._refusing.refuse(request, facts, decision, self._page_address(request))

    def _page_address(self, request: web.Request) -> str:
        # Relative, so that it is right under any base path; `/base` itself lacks the last slash.
        return f"./{request.path.rpartition('/')[2]}/" if self._is_base(request) else "./"

    def _is_base(self, request: web.Request) -> bool:
        return bool(self._policy.base_path) and request.path == self._policy.base_path

    async def _on_shutdown(self, _app: web.Application) -> None:
        self._refusing.stop()


def _to(address: str) -> web.Response:
    return web.Response(status=303, headers={"Location": address})


async def _to_page(_request: web.Request) -> web.StreamResponse:
    return _to("./")


async def _healthy(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="ok")
