"""The one decision about every request: who it comes from, and whether it is let through."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ttybridge.core.access import BEARER, Credentials, Ended, Principal
from ttybridge.core.links import Link, Over
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
from ttybridge.core.permissions import is_lower
from ttybridge.core.proxied import METHODS as PROXIED_METHODS
from ttybridge.errors import AccessDenied
from ttybridge.model import Role

MAX_COOKIES = 8
"""Cookies of our name that are tried: other paths of the same host may have set some, too."""

MAX_LOGIN_BYTES = 4096
"""Largest body of the login form: a token has at most 256 characters."""

METHODS = ("GET", "HEAD", "POST")
"""The methods that exist here; OPTIONS does not, so no foreign page is ever told yes."""

NO_CREDENTIAL = "A valid token is needed. Open the link that ttybridge printed when it started."
"""Said for a missing, wrong, old or malformed credential alike."""

OLD_LINK = "This link has been used, or is too old. Get a new one with: ttybridge link"
"""Said for an owner's link that was one."""

ASK = "Ask whoever shared it with you for a new link."
"""Said to a guest after what has happened."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a request."""

    status: int
    """200 when it is let through, else the status of the answer."""
    reason: str = ""
    """Why it is refused, in one sentence or two that repeat nothing of the request."""
    principal: Principal | None = None
    """Who sent it; None when refused, and on paths that need no credential."""
    seen: Seen | None = None
    """Where it is addressed to; None when the Host is refused."""
    is_failed_try: bool = False
    """Whether a wrong token was presented."""
    link: Link | None = None
    """The link that the request wants to open; it is not used yet, or refused."""
    over: Over | None = None
    """What has ended a guest's link or session."""

    @property
    def is_allowed(self) -> bool:
        """Whether the request is let through."""
        return self.status == 200


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
        _check_shape(facts, policy)
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
    found = by_cookie(facts, credentials, seen, now) if looks_for_cookie else by_token
    if isinstance(found, Principal):
        return Decision(200, principal=found, seen=seen)
    if found is not None and found.over is not Over.LEFT:
        return ended(found.over, seen)
    return Decision(401, NO_CREDENTIAL, seen=seen, is_failed_try=has_token and found is None)


def by_cookie(
    facts: RequestFacts, credentials: Credentials, seen: Seen, now: float
) -> Principal | Ended | None:
    """Return whom the cookies stand for, or how the session of one has ended.

    Of several that are good the one with the most rights counts: another path of this host, such
    as an app's, may have set a cookie of our name, and must not make a viewer of an owner.
    """
    ends: list[Ended] = []
    best: Principal | None = None
    for found in _judged(facts, credentials, seen, now):
        if isinstance(found, Ended):
            ends.append(found)
        elif best is None or is_lower(best.role, found.role):
            best = found
    return best or (ends[0] if ends else None)


def after_opening(
    link: Link, facts: RequestFacts, credentials: Credentials, seen: Seen, now: float
) -> Decision:
    """Decide about a browser that wants to open a link, whatever it holds already.

    There is one cookie, so one of the two counts. A guest's link never takes rights away: what the
    browser holds stays when it may do more, is of this same link (so what an owner has given or
    taken since stays, too, and no use is lost), or may do as much for as long. Otherwise the link
    counts. Whoever was removed does not come in again by the same link with the same browser.

    Returns:
        A decision with `link` when it is to be opened, with `principal` when not.
    """
    if not link.is_guests:
        return Decision(200, seen=seen, link=link)
    held = by_cookie(facts, credentials, seen, now)
    if isinstance(held, Principal) and _outweighs(held, link):
        return Decision(200, principal=held, seen=seen)
    removed = Ended(Over.REMOVED, link.id)
    if any(found == removed for found in _judged(facts, credentials, seen, now)):
        return ended(Over.REMOVED, seen)
    return Decision(200, seen=seen, link=link)


def ended(over: Over, seen: Seen | None) -> Decision:
    """Refuse a guest whose link or session is over."""
    return Decision(401, f"{over.value} {ASK}", seen=seen, over=over)


def over_link(link: Link, seen: Seen | None, now: float) -> Decision:
    """Refuse somebody whose link is over."""
    over = link.over(now)
    if over is not None and (link.is_guests or over is Over.REVOKED):
        return ended(over, seen)
    return Decision(401, OLD_LINK, seen=seen)


def _outweighs(held: Principal, link: Link) -> bool:
    if held.link == link.id or is_lower(link.role, held.role):
        return True
    if is_lower(held.role, link.role):
        return False
    return held.ends_at is None or (
        link.access_until is not None and held.ends_at >= link.access_until
    )


def _by_link(facts: RequestFacts, credentials: Credentials, seen: Seen, now: float) -> Decision:
    known = [credentials.links.known(text) for text in facts.links]
    if len(known) == 1 and known[0] is not None and known[0].over(now) is None:
        return after_opening(known[0], facts, credentials, seen, now)
    held = by_cookie(facts, credentials, seen, now)
    if isinstance(held, Principal):
        return Decision(200, principal=held, seen=seen)
    if known[0] is None or None in known:
        return Decision(401, NO_CREDENTIAL, seen=seen, is_failed_try=True)
    if held is not None and held.link == known[0].id and held.over is not Over.LEFT:
        return ended(held.over, seen)
    return over_link(known[0], seen, now)


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
    link = credentials.links.known(facts.links[0])
    seen = seen_through_frame(facts, policy) if link and link.is_framed else None
    if link is None or seen is None:
        return None
    if link.over(now) is None:
        return Decision(200, seen=seen, link=link)
    return Decision(401, OLD_LINK, seen=seen, link=link)


def _check_shape(facts: RequestFacts, policy: SecurityPolicy) -> None:
    if facts.is_proxied and facts.method in PROXIED_METHODS:
        return  # the app has limits of its own
    if facts.method not in METHODS:
        raise AccessDenied("This method is not used here.", status=405)
    limit = MAX_LOGIN_BYTES if facts.path == LOGIN else policy.max_body_bytes
    if facts.content_length > limit:
        raise AccessDenied(f"The request is larger than {limit} bytes.", status=413)


def _by_token(
    facts: RequestFacts, credentials: Credentials, now: float
) -> Principal | Ended | None:
    def check(token: str, via: Literal["header", "query"]) -> Principal | Ended | None:
        return credentials.check_token(token, via=via) or credentials.judge(
            token, now, BEARER, via=via
        )

    found = [check(token, "header") for token in facts.header_tokens]
    found += [check(token, "query") for token in facts.query_tokens]
    if None in found:
        return None
    return next((each for each in found if isinstance(each, Ended)), found[0])


def _judged(
    facts: RequestFacts, credentials: Credentials, seen: Seen, now: float
) -> Iterator[Principal | Ended]:
    for value in facts.cookies[:MAX_COOKIES]:
        if found := credentials.judge(value, now, seen.place):
            yield found
