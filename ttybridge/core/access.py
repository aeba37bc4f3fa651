"""Who may do what: roles, credentials, and the one decision about every request."""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from itsdangerous import BadData, URLSafeSerializer

from ttybridge.core.origin import (
    HEALTH,
    LOGIN,
    RequestFacts,
    SecurityPolicy,
    Seen,
    check_host,
    check_origin,
)
from ttybridge.errors import AccessDenied
from ttybridge.model import Role

COOKIE_MAX_AGE_S = 30 * 24 * 3600
"""Age at which a session cookie ends, counted from the login and never extended."""

CLOCK_SLACK_S = 300
"""How far in the future a cookie may be dated: clocks of a laptop step back after sleep."""

MAX_COOKIE_CHARS = 512
"""Longest cookie value that is looked at; ours have about 130 characters."""

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
    """The token, and the cookies that stand for it.

    Cookies are signed with a key made from the token: they outlive a restart with the same token
    and die with it. Nothing is stored but the logouts of this run.

    Args:
        token: The token; None when no credential is asked for (--no-auth).
        new_id: Makes a random session id; `secrets.token_urlsafe` outside of tests.
    """

    def __init__(self, token: str | None, *, new_id: Callable[[], str]) -> None:
        self._digest = None if token is None else _digest(token)
        self._new_id = new_id
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

    def issue_cookie(self, role: Role, now: float) -> str:
        """Return the value of a fresh session cookie; `now` is in seconds since 1970."""
        return self._signer.dumps({"id": self._new_id(), "role": role.value, "at": int(now)})

    def check_cookie(self, value: str, now: float) -> Principal | None:
        """Return who a cookie belongs to; None if it is forged, too old or logged out."""
        if self.is_open or len(value) > MAX_COOKIE_CHARS:
            return None
        try:
            content = self._signer.loads(value)
            session_id, role, at = content["id"], Role(content["role"]), float(content["at"])
        except (BadData, KeyError, TypeError, ValueError):
            return None
        if not -CLOCK_SLACK_S <= now - at <= COOKIE_MAX_AGE_S:
            return None
        if session_id in self._revoked or at < self._not_before:
            return None
        return Principal(session_id, role, "cookie")

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

    @property
    def is_allowed(self) -> bool:
        """Whether the request is let through."""
        return self.status == 200


NO_CREDENTIAL = "A valid token is needed. Open the link that ttybridge printed when it started."
"""Said for a missing, wrong, old or malformed credential alike."""


def authorize(
    facts: RequestFacts, policy: SecurityPolicy, credentials: Credentials, now: float
) -> Decision:
    """Decide about one request: Host, Origin, method, size, credential, in this order.

    A token that was presented and is wrong refuses the request, whatever else came with it: who
    presents a token asks to be judged by it, and a wrong one must not look right because the
    browser had a cookie. The cookie counts when no token was presented.

    Args:
        facts: The request.
        policy: The options, with the tunnels that are open.
        credentials: What is accepted.
        now: Seconds since 1970.
    """
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
    principal = _by_token(facts, credentials) if has_token else _by_cookie(facts, credentials, now)
    if principal is None:
        return Decision(401, NO_CREDENTIAL, seen=seen, is_failed_try=has_token)
    return Decision(200, principal=principal, seen=seen)


def _check_shape(facts: RequestFacts) -> None:
    if facts.method not in METHODS:
        raise AccessDenied("This method is not used here.", status=405)
    limit = MAX_LOGIN_BYTES if facts.path == LOGIN else MAX_BODY_BYTES
    if facts.content_length > limit:
        raise AccessDenied(f"The request is larger than {limit} bytes.", status=413)


def _by_token(facts: RequestFacts, credentials: Credentials) -> Principal | None:
    found = [credentials.check_token(token, via="header") for token in facts.header_tokens]
    found += [credentials.check_token(token, via="query") for token in facts.query_tokens]
    return None if None in found else found[0]


def _by_cookie(facts: RequestFacts, credentials: Credentials, now: float) -> Principal | None:
    for value in facts.cookies[:MAX_COOKIES]:
        if principal := credentials.check_cookie(value, now):
            return principal
    return None
