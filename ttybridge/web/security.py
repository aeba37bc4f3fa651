"""The gate in front of every path: checks each request, lets people in and out, sets the headers.

Everything that is decided is decided by `authorize`, which knows no web framework; this module
turns a request into `RequestFacts` and a decision into an answer.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http.cookies import SimpleCookie

from aiohttp import web
from aiohttp.typedefs import Handler

from ttybridge.core.access import (
    COOKIE_MAX_AGE_S,
    MAX_LOGIN_BYTES,
    METHODS,
    NO_CREDENTIAL,
    Credentials,
    Decision,
    Principal,
    authorize,
)
from ttybridge.core.origin import (
    HEALTH,
    LOGIN,
    LOGOUT,
    PAGE,
    Authority,
    RequestFacts,
    SecurityPolicy,
    Tunnel,
    check_host,
)
from ttybridge.core.throttle import MAX_DELAY_S, Throttle
from ttybridge.errors import AccessDenied, ConfigError
from ttybridge.web.answers import GuardedRunner, plain, security_headers, shown
from ttybridge.web.request_facts import facts_of, tokens_of

logger = logging.getLogger(__name__)

PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)
"""Where a request that was let through keeps who sent it."""

SHUTDOWN_TIMEOUT_S = 2.0
"""Time for handlers that still run when the bridge stops, in seconds; aiohttp's default is 60."""

FORM_TIMEOUT_S = 10.0
"""Time for the whole login form to arrive."""

WRONG_TOKEN = b'<p class="wrong" role="alert">This token is wrong.</p>'
"""Stands before the form of the login page when a wrong token was given."""


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
    """

    def __init__(
        self,
        policy: SecurityPolicy,
        credentials: Credentials,
        throttle: Throttle,
        login_page: bytes | Callable[[], bytes],
        clock: Callable[[], float] = time.time,
        on_logout: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._policy = policy
        self._credentials = credentials
        self._throttle = throttle
        self._login_page = login_page
        self._clock = clock
        self._on_logout = on_logout
        self._headers = security_headers(policy)
        self._cookie_name = f"ttybridge-{policy.port}"  # browsers share cookies between ports
        self._stopping = asyncio.Event()

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
            keepalive_s: Seconds that a connection may be quiet, or take for a request head;
                aiohttp's default is an hour. Longer than the 60 s that proxies keep theirs.
        """
        return GuardedRunner(
            app,
            headers=self._headers,
            keepalive_timeout=keepalive_s,
            shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )

    def add_host(self, name: str, *, scheme: str = "https") -> None:
        """Serve the public name of a tunnel from now on.

        Args:
            name: `host` or `host:port`, as in the public address.
            scheme: Scheme of the public address.

        Raises:
            ConfigError: the name is malformed.
        """
        authority = Authority.parse(name)
        if authority is None or scheme not in ("http", "https"):
            raise ConfigError([f"Tunnel name {name!r} ({scheme}) cannot be a Host."])
        tunnels = {*self._policy.tunnels, Tunnel(authority, scheme)}
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

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through to its handler, or answer it here."""
        facts = facts_of(request, self._policy, self._cookie_name)
        decision = authorize(facts, self._policy, self._credentials, self._clock())
        if not decision.is_allowed:
            return await self._refuse(request, facts, decision)
        if decision.principal is not None:
            request[PRINCIPAL] = decision.principal
        if (facts.method, facts.path) == ("GET", PAGE) and facts.query_tokens:
            return self._enter(request, decision)
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
        response.headers.update(self._headers)
        path = self._policy.local_path(request.path)
        if path not in self._policy.public_files or response.status >= 400:
            response.headers["Cache-Control"] = "no-store"

    async def login(self, request: web.Request) -> web.StreamResponse:
        """Take the form field `token` and give a cookie for it."""
        facts = facts_of(request, self._policy, self._cookie_name)
        # Decided again for its view of proxies: the form's token is judged below.
        decision = authorize(facts, self._policy, self._credentials, self._clock())
        tokens = await _form_tokens(request)
        if not self._credentials.is_open:
            found = [self._credentials.check_token(token) for token in tokens]
            if not found or None in found:
                refusal = Decision(401, NO_CREDENTIAL, seen=decision.seen, is_failed_try=True)
                return await self._refuse(request, facts, refusal)
            decision = replace(decision, principal=found[0])
        return self._enter(request, decision)

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """End the cookie's session and its live connections."""
        principal = self.principal_of(request)
        if principal.via == "cookie":
            self._credentials.revoke(principal.id, self._clock())
            logger.info("logout session=%.8s", principal.id)
            if self._on_logout is not None:
                await self._on_logout(principal.id)
        response = _to(self._page_address(request))
        scheme = check_host(facts_of(request, self._policy, self._cookie_name), self._policy).scheme
        self._set_cookie(response, "", max_age_s=0, secure=scheme == "https")
        return response

    def _enter(self, request: web.Request, decision: Decision) -> web.StreamResponse:
        """Answer with a fresh cookie and the page's address without the token."""
        response = _to(self._page_address(request))
        principal, seen = decision.principal, decision.seen
        if principal is not None and principal.via != "none":
            value = self._credentials.issue_cookie(principal.role, self._clock())
            secure = seen is not None and seen.scheme == "https"
            self._set_cookie(response, value, max_age_s=COOKIE_MAX_AGE_S, secure=secure)
        return response

    def _page_address(self, request: web.Request) -> str:
        # Relative, so that it is right under any base path; `/base` itself lacks the last slash.
        return f"./{request.path.rpartition('/')[2]}/" if self._is_base(request) else "./"

    def _is_base(self, request: web.Request) -> bool:
        return bool(self._policy.base_path) and request.path == self._policy.base_path

    def _set_cookie(
        self, response: web.StreamResponse, value: str, *, max_age_s: int, secure: bool
    ) -> None:
        # No Path: the browser takes the folder of this address, which is the page's under any
        # base path. Lax, not Strict: the link is opened from chats and mails, and a Strict cookie
        # is not sent in the redirect that follows. A frame in a page of another site gets only a
        # cookie of SameSite=None, which browsers take with Secure alone; Partitioned keeps it to
        # frames in that one site, and is not refused with the cookies that follow people around.
        is_framed = secure and bool(self._policy.frame_origins)
        jar = SimpleCookie({self._cookie_name: value})
        morsel = jar[self._cookie_name]
        morsel["max-age"] = str(max_age_s)
        morsel["httponly"] = True
        morsel["samesite"] = "None" if is_framed else "Lax"
        if secure:
            morsel["secure"] = True
        partition = "; Partitioned" if is_framed else ""  # in http.cookies from Python 3.14 on
        response.headers.add("Set-Cookie", morsel.OutputString() + partition)

    async def _refuse(
        self, request: web.Request, facts: RequestFacts, decision: Decision
    ) -> web.StreamResponse:
        address = decision.seen.address if decision.seen else facts.peer
        status = decision.status
        if decision.is_failed_try:
            status = await self._slow_down(address) or status
        logger.info(
            "refused %s %s from %s: %d %s",
            shown(request.method),
            shown(facts.path),
            shown(address),
            status,
            decision.reason,
        )
        if status == 401 and _wants_page(request, facts) and self._is_base(request):
            return _to(self._page_address(request))  # the form's relative addresses need the slash
        if status == 401 and _wants_page(request, facts):
            page = self._login_page if isinstance(self._login_page, bytes) else self._login_page()
            if decision.is_failed_try:
                page = page.replace(b"<form", WRONG_TOKEN + b"<form", 1)
            response = web.Response(
                status=401, body=page, content_type="text/html", charset="utf-8"
            )
        elif status == 429:
            response = plain(429, "Too many wrong tokens are being tried. Try again later.")
            response.headers["Retry-After"] = str(int(MAX_DELAY_S))
        else:
            response = plain(status, decision.reason)
        if status == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="ttybridge"'
        elif status == 405:
            response.headers["Allow"] = ", ".join(METHODS)
        if status == 413:
            response.force_close()
        return response

    async def _slow_down(self, address: str) -> int | None:
        """Wait as long as a wrong token from this address costs; 429 when too many wait."""
        delay_s = self._throttle.failed(address, self._clock())
        if not self._throttle.enter():
            return 429
        try:
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            pass
        finally:
            self._throttle.leave()
        return None

    async def _on_shutdown(self, _app: web.Application) -> None:
        self._stopping.set()


async def _form_tokens(request: web.Request) -> tuple[str, ...]:
    """Read the login form; a form of any other shape has no tokens.

    Raises:
        web.HTTPRequestEntityTooLarge: the body is larger than MAX_LOGIN_BYTES.
        web.HTTPRequestTimeout: it does not arrive in FORM_TIMEOUT_S.
    """
    body = b""
    try:
        async with asyncio.timeout(FORM_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_LOGIN_BYTES:
                    raise web.HTTPRequestEntityTooLarge(MAX_LOGIN_BYTES, len(body))
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The form did not arrive in time.") from None
    if request.content_type != "application/x-www-form-urlencoded":
        return ()
    tokens = tokens_of(body.decode("utf-8", "surrogateescape"), ("token",))
    return tuple(token.strip() for token in tokens)


def _wants_page(request: web.Request, facts: RequestFacts) -> bool:
    is_visit = (facts.method, facts.path) in (("GET", PAGE), ("POST", LOGIN))
    return is_visit and "text/html" in request.headers.get("Accept", "").lower()


def _to(address: str) -> web.Response:
    return web.Response(status=303, headers={"Location": address})


async def _to_page(_request: web.Request) -> web.StreamResponse:
    return _to("./")


async def _healthy(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="ok")
