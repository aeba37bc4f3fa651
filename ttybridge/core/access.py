"""Who may do what: roles, credentials, and the one decision about every request."""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from itsdangerous import BadData, URLSafeSerializer

from ttybridge.core.links import Link, Links
from ttybridge.core.origin import (
    HEALTH,
    LOGIN,
    PAGE,
    RequestFacts,
    SecurityPolicy,
    Seen,
    check_host,
    check_origin,
    seen_through_frame,
)
from ttybridge.core.proxied import METHODS as PROXIED_METHODS
from ttybridge.errors import AccessDenied
from ttybridge.model import Role

COOKIE_MAX_AGE_S = 30 * 24 * 3600
"""Age at which a session cookie ends, counted from the login and never extended."""

CLOCK_SLACK_S = 300
"""How far in the future a cookie may be dated: clocks of a laptop step back after sleep."""

MAX_COOKIE_CHARS = 512
"""Longest cookie value that is looked at; ours have about 130 characters."""

BEARER = "bearer"
"""What the value of a cookie is for that is sent as a token: to no place of its own."""

MAX_COOKIES = 8
"""Cookies of our name that are tried: other paths of the same host may have set some, too."""

MAX_REVOKED = 10_000
"""Logouts that are remembered one by one; each takes about 150 bytes."""

MAX_BODY_BYTES = 1_000_000
"""Largest body of a request: the limit of one message in docs/protocol.md."""

MAX_LOGIN_BYTES = 4096
"""Largest body of the login form: a token has at most 256 characters."""

METHODS = ("GET", "HEAD", "POST")
"""The methods that exist here; OPTIONS does not, so no foreign page is ever told yes."""


class Action(Enum):
    """What a client can ask for."""

    JOIN = "join"
    TYPE = "type"
    RESIZE = "resize"
    SHARE = "share"
    MANAGE = "manage"


_ALLOWED: dict[Role, frozenset[Action]] = {
    Role.OWNER: frozenset(Action),
    Role.EDITOR: frozenset({Action.JOIN, Action.TYPE, Action.RESIZE}),
    Role.VIEWER: frozenset({Action.JOIN}),
}


def may(role: Role, action: Action) -> bool:
    """Tell whether a role allows an action.

    >>> may(Role.VIEWER, Action.TYPE)
    False
    """
    return action in _ALLOWED[role]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from."""

    id: str
    """Session id of a cookie; `token` for the token itself; `none` with --no-auth."""
    role: Role
    """What it may do."""
    via: Literal["cookie", "header", "query", "none"]
    """How it was proved."""


class Credentials:
    """The token, the cookies that stand for it, and the links that are open.

    Cookies are signed with a key made from the token: they outlive a restart with the same token
    and die with it. Nothing is stored but the logouts and links of this run. The value of a cookie
    counts as a token, too: where there are no cookies, its holder sends it as one.

    Args:
        token: The token; None when no credential is asked for (--no-auth).
        new_id: Makes a random session id; `secrets.token_urlsafe` outside of tests.

    Attributes:
        links: The links that let somebody in.
    """

    def __init__(self, token: str | None, *, new_id: Callable[[], str]) -> None:
        self._digest = None if token is None else _digest(token)
        self._new_id = new_id
        self.links = Links(new_id)
        key = new_id() if token is None else f"cookie key of {token}"
        # The time is part of what is signed, and not itsdangerous' timestamp, because that reads
        # the clock by itself.
        self._signer = URLSafeSerializer(
            hashlib.sha256(_bytes(key)).digest(),
            salt="ttybridge.session.1",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )
        self._revoked: OrderedDict[str, float] = OrderedDict()
        self._not_before = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether everything is let in without a credential."""
        return self._digest is None

    def check_token(
        self, candidate: str | bytes, *, via: Literal["header", "query"] = "header"
    ) -> Principal | None:
        """Return the owner if this is the token.

        Takes any text or bytes, never raises, and takes the same time for every wrong one of the
        same length: digests are compared, so the position of a difference does not show.
        """
        if self._digest is None or not hmac.compare_digest(_digest(candidate), self._digest):
            return None
        return Principal("token", Role.OWNER, via)

    def issue_cookie(self, role: Role, now: float, place: str = "") -> str:
        """Return the value of a fresh session cookie.

        Args:
            role: What its holder may do.
            now: Seconds since 1970.
            place: Host and port that it is for. A browser sends it to whoever has that name later,
                who can do nothing with it under another. BEARER for one that is sent as a token.
        """
        content = {"id": self._new_id(), "role": role.value, "at": int(now), "for": place}
        return self._signer.dumps(content)

    def check_cookie(
        self,
        value: str,
        now: float,
        place: str | None = "",
        *,
        via: Literal["cookie", "header", "query"] = "cookie",
    ) -> Principal | None:
        """Return who a cookie belongs to; None if it is forged, too old or logged out.

        Args:
            value: Its value.
            now: Seconds since 1970.
            place: What it has to be for; None for anything.
            via: How it came.
        """
        if self.is_open or len(value) > MAX_COOKIE_CHARS:
            return None
        try:
            content = self._signer.loads(value)
            session_id, role, at = content["id"], Role(content["role"]), float(content["at"])
            made_for = content["for"]
        except (BadData, KeyError, TypeError, ValueError):
            return None
        if place is not None and made_for != place:
            return None
        if not -CLOCK_SLACK_S <= now - at <= COOKIE_MAX_AGE_S:
            return None
        if session_id in self._revoked or at < self._not_before:
            return None
        return Principal(session_id, role, via)

    def revoke(self, session_id: str, now: float) -> None:
        """End a cookie's session for the rest of this run.

        Above MAX_REVOKED the oldest logout is forgotten, and every cookie from before it ends.
        """
        self._revoked[session_id] = now
        if len(self._revoked) > MAX_REVOKED:
            _, at = self._revoked.popitem(last=False)
            # Cookies carry whole seconds: one from the second of the logout must end, too.
            self._not_before = max(self._not_before, int(at) + 1)


def _bytes(text: str | bytes) -> bytes:
    # backslashreplace takes lone surrogates, too; what it makes of them is in no token.
    return text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")


def _digest(text: str | bytes) -> bytes:
    return hashlib.sha256(_bytes(text)).digest()


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a request."""

    status: int
    """200 when it is let through, else the status of the answer."""
    reason: str = ""
    """Why it is refused, in one sentence that repeats nothing of the request."""
    principal: Principal | None = None
    """Who sent it; None when refused, and on paths that need no credential."""
    seen: Seen | None = None
    """Where it is addressed to; None when the Host is refused."""
    is_failed_try: bool = False
    """Whether a wrong token was presented."""
    link: Link | None = None
    """The link that the request wants to open; it is not used yet, or refused."""

    @property
    def is_allowed(self) -> bool:
        """Whether the request is let through."""
        return self.status == 200


NO_CREDENTIAL = "A valid token is needed. Open the link that ttybridge printed when it started."
"""Said for a missing, wrong, old or malformed credential alike."""

OLD_LINK = "This link has been used, or is too old. Get a new one with: ttybridge link"
"""Said for a link that was one."""


def authorize(
    facts: RequestFacts, policy: SecurityPolicy, credentials: Credentials, now: float
) -> Decision:
    """Decide about one request: Host, Origin, method, size, credential, in this order.

    A token that was presented and is wrong refuses the request, whatever else came with it: who
    presents a token asks to be judged by it, and a wrong one must not look right because the
    browser had a cookie. The cookie counts when no token was presented. A link that is used up is
    no wrong token: the browser that used it may open it again, and its cookie counts.

    A link for a frame is looked at before everything else. It stands for the place that the frame
    is in, and that the bridge cannot know: a notebook's proxy under a name of its own.

    Args:
        facts: The request.
        policy: The options, with the tunnels that are open.
        credentials: What is accepted.
        now: Seconds since 1970.
    """
    if framed := _framed_link(facts, policy, credentials, now):
        return framed
    try:
        seen = check_host(facts, policy)
    except AccessDenied as error:
        return Decision(error.status, error.message)
    try:
        check_origin(facts, policy, seen, is_open=credentials.is_open)
        _check_shape(facts)
    except AccessDenied as error:
        return Decision(error.status, error.message, seen=seen)
    if credentials.is_open:
        return Decision(200, principal=Principal("none", Role.OWNER, "none"), seen=seen)
    if facts.path in (HEALTH, LOGIN) or facts.path in policy.public_files:
        return Decision(200, seen=seen)
    has_token = bool(facts.header_tokens or facts.query_tokens)
    if facts.links and not has_token and (facts.method, facts.path) == ("GET", PAGE):
        return _by_link(facts, credentials, seen, now)
    by_token = _by_token(facts, credentials, now) if has_token else None
    # Below an app, a header with a token that is not ours is the app's, and the cookie counts.
    looks_for_cookie = not has_token or (facts.is_proxied and by_token is None)
    principal = _by_cookie(facts, credentials, seen, now) if looks_for_cookie else by_token
    if principal is None:
        return Decision(401, NO_CREDENTIAL, seen=seen, is_failed_try=has_token)
    return Decision(200, principal=principal, seen=seen)


def _by_link(facts: RequestFacts, credentials: Credentials, seen: Seen, now: float) -> Decision:
    found = credentials.links.find(facts.links[0], now) if len(facts.links) == 1 else None
    if found is not None:
        return Decision(200, seen=seen, link=found)
    if principal := _by_cookie(facts, credentials, seen, now):
        return Decision(200, principal=principal, seen=seen)
    if all(credentials.links.known(text) for text in facts.links):
        return Decision(401, OLD_LINK, seen=seen)
    return Decision(401, NO_CREDENTIAL, seen=seen, is_failed_try=True)


_SHOWN = ("", "document", "iframe", "frame")
"""Sec-Fetch-Dest of what a person sees."""


def _framed_link(
    facts: RequestFacts, policy: SecurityPolicy, credentials: Credentials, now: float
) -> Decision | None:
    """Return the decision about a visit by a link for a frame; None when it is no such visit."""
    if (facts.method, facts.path, len(facts.links)) != ("GET", PAGE, 1) or facts.is_upgrade:
        return None
    if facts.fetch_mode not in ("", "navigate") or facts.fetch_dest not in _SHOWN:
        return None  # a script of another page, say; some proxies leave both out
    text = facts.links[0]
    link = credentials.links.known(text)
    seen = seen_through_frame(facts, policy) if link and link.is_framed else None
    if link is None or seen is None:
        return None
    if credentials.links.find(text, now) is not None:
        return Decision(200, seen=seen, link=link)
    return Decision(401, OLD_LINK, seen=seen, link=link)


def _check_shape(facts: RequestFacts) -> None:
    if facts.is_proxied and facts.method in PROXIED_METHODS:
        return  # the app has limits of its own
    if facts.method not in METHODS:
        raise AccessDenied("This method is not used here.", status=405)
    limit = MAX_LOGIN_BYTES if facts.path == LOGIN else MAX_BODY_BYTES
    if facts.content_length > limit:
        raise AccessDenied(f"The request is larger than {limit} bytes.", status=413)


def _by_token(facts: RequestFacts, credentials: Credentials, now: float) -> Principal | None:
    def check(token: str, via: Literal["header", "query"]) -> Principal | None:
        return credentials.check_token(token, via=via) or credentials.check_cookie(
            token, now, BEARER, via=via
        )

    found = [check(token, "header") for token in facts.header_tokens]
    found += [check(token, "query") for token in facts.query_tokens]
    return None if None in found else found[0]


def _by_cookie(
    facts: RequestFacts, credentials: Credentials, seen: Seen, now: float
) -> Principal | None:
    for value in facts.cookies[:MAX_COOKIES]:
        if principal := credentials.check_cookie(value, now, seen.place):
            return principal
    return None
