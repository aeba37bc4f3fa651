"""What stands for somebody: the token, the cookies that are given for it, and links."""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from itsdangerous import BadData, URLSafeSerializer

from ttybridge.core.guests import Guests
from ttybridge.core.links import SESSION_LIFE_S, Link, Links, Over
from ttybridge.model import Role

COOKIE_MAX_AGE_S = SESSION_LIFE_S
"""Age at which a session cookie ends, counted from the login and never extended."""

CLOCK_SLACK_S = 300
"""How far in the future a cookie may be dated: clocks of a laptop step back after sleep."""

MAX_COOKIE_CHARS = 512
"""Longest cookie value that is looked at; ours have about 150 characters."""

BEARER = "bearer"
"""What the value of a cookie is for that is sent as a token: to no place of its own."""

MAX_REVOKED = 10_000
"""Logouts of owners that are remembered one by one; each takes about 150 bytes."""

SHARED_IDS = frozenset({"", "token", "none", "link"})
"""Ids of principals that many may have: nobody's session."""

Via = Literal["cookie", "header", "query", "none"]
"""How a request proves who sent it."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from."""

    id: str
    """Session id of a cookie; `token` for the token itself; `none` with --no-auth."""
    role: Role
    """What it may do now."""
    via: Via
    """How it was proved."""
    link: str = ""
    """Id of the link that the session is from; empty for none."""
    name: str = ""
    """What that link calls whoever opens it; empty when nobody has said."""
    ends_at: float | None = None
    """When a guest's session ends, in seconds since 1970; None: as every cookie does."""
    expires_at: float | None = field(default=None, compare=False)
    """When the cookie is too old, in seconds since 1970; None where there is none."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that was one: its holder has guessed nothing, and may be told what happened."""

    over: Over
    """What has ended it."""
    link: str = ""
    """Id of the link that it was from; empty for none."""


class Credentials:
    """The token, the cookies that stand for it, and the links that are open.

    Cookies are signed with a key made from the token: they outlive a restart with the same token
    and die with it. Nothing is stored but the logouts, links and roles of this run. The value of a
    cookie counts as a token, too: where there are no cookies, its holder sends it as one.

    A guest's cookie, from a shared link, says only whose it is. What it gives stands in the table
    of this run, so nothing that is in the cookie, old or copied, can give more than that.

    Args:
        token: The token; None when no credential is asked for (--no-auth).
        new_id: Makes a random session id; `secrets.token_urlsafe` outside of tests.

    Attributes:
        links: The links that let somebody in.
    """

    def __init__(self, token: str | None, *, new_id: Callable[[], str]) -> None:
        self._digest = None if token is None else _digest(token)
        self._new_id = new_id
        random = new_id()
        self.links = Links(_digest(f"link key of {random}"))
        self._guests = Guests(self.links)
        # The time is part of what is signed, and not itsdangerous' timestamp, because that reads
        # the clock by itself.
        self._signer = URLSafeSerializer(
            _digest(f"cookie key of {token}" if token is not None else random),
            salt="ttybridge.session.1",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )
        self._revoked: OrderedDict[str, tuple[float, Over]] = OrderedDict()
        self._not_before = float("-inf")
        self._roles: dict[str, Role] = {}

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

    # --- cookies ---------------------------------------------------------------------------

    def issue_cookie(
        self, role: Role, now: float, place: str = "", *, link: Link | None = None
    ) -> str:
        """Return the value of a fresh session cookie.

        Args:
            role: What its holder may do; for a link, what the link says.
            now: Seconds since 1970.
            place: Host and port that it is for. A browser sends it to whoever has that name later,
                who can do nothing with it under another. BEARER for one that is sent as a token.
            link: The link that was opened for it, as `Links.use` returned it.
        """
        session_id = self._new_id()
        content: dict[str, object] = {"id": session_id, "at": int(now), "for": place}
        content["role"] = (link.role if link else role).value
        if link is not None:
            self._guests.add(session_id, link)
            content |= {"link": link.id, "guest": link.is_guests}
        return self._signer.dumps(content)

    def check_cookie(
        self, value: str, now: float, place: str | None = "", *, via: Via = "cookie"
    ) -> Principal | None:
        """Return who a cookie belongs to; None if it is forged, too old, logged out or ended.

        Args:
            value: Its value.
            now: Seconds since 1970.
            place: What it has to be for; None for anything.
            via: How it came.
        """
        found = self.judge(value, now, place, via=via)
        return found if isinstance(found, Principal) else None

    def judge(
        self, value: str, now: float, place: str | None = "", *, via: Via = "cookie"
    ) -> Principal | Ended | None:
        """Return who a cookie belongs to, or how its session has ended; None: it is none of ours.

        Takes what `check_cookie` takes.
        """
        if self.is_open or len(value) > MAX_COOKIE_CHARS:
            return None
        try:
            content = self._signer.loads(value)
            if not hmac.compare_digest(self._signer.dumps(content).encode(), _bytes(value)):
                return None  # base64 passes over characters that it does not know
            session_id, role, at = content["id"], Role(content["role"]), float(content["at"])
            made_for, link_id = content["for"], content.get("link", "")
            is_guests = content.get("guest", False)
        except (AttributeError, BadData, KeyError, TypeError, ValueError):
            return None
        if place is not None and made_for != place:
            return None
        if not -CLOCK_SLACK_S <= now - at <= COOKIE_MAX_AGE_S:
            return None
        expires_at = at + COOKIE_MAX_AGE_S
        if is_guests:
            found = self._judge_guest(session_id, link_id, now, via)
            return found if isinstance(found, Ended) else replace(found, expires_at=expires_at)
        if session_id in self._revoked:
            return Ended(self._revoked[session_id][1], link_id)
        if at < self._not_before:
            return None
        known = self._guests.find(session_id, link_id)  # after a restart it is not
        role = self._roles.get(session_id, role)
        link_id, name = ("", "") if known is None else (known[1].id, known[1].name)
        return Principal(session_id, role, via, link_id, name, expires_at=expires_at)

    def _judge_guest(
        self, session_id: str, link_id: str, now: float, via: Via
    ) -> Principal | Ended:
        known = self._guests.find(session_id, link_id)
        if known is None:
            return Ended(Over.CLOSED, link_id)
        session, link = known
        if session.over is not None:
            return Ended(session.over, link_id)
        if link.is_revoked:
            return Ended(Over.REVOKED, link_id)
        if link.access_until is not None and now > link.access_until:
            return Ended(Over.EXPIRED, link_id)
        return Principal(session_id, session.role, via, link.id, link.name, link.access_until)

    # --- changes during the run ------------------------------------------------------------

    def set_role(self, session_id: str, role: Role) -> None:
        """Give a session another role for the rest of this run.

        Ids that many share (`token`, `none`), and other entrances' (`ssh:…`), mean nothing here.
        """
        if _is_session(session_id) and not self._guests.set_role(session_id, role):
            self._roles[session_id] = role  # owners alone change owners' roles: no bound is needed

    def revoke(self, session_id: str, now: float) -> None:
        """End a session for the rest of this run, because its holder has signed out."""
        self.end(session_id, now, Over.LEFT)

    def end(self, session_id: str, now: float, over: Over = Over.REMOVED) -> None:
        """End a session for the rest of this run.

        Above MAX_REVOKED owners' sessions the oldest end is forgotten, and every owner's cookie
        from before it ends. Guests' sessions have a table of their own.

        Args:
            session_id: Which one; ids that are no session's mean nothing here.
            now: Seconds since 1970.
            over: What its holder is told.
        """
        if not _is_session(session_id) or self._guests.end(session_id, over):
            return
        self._revoked.setdefault(session_id, (now, over))
        if len(self._revoked) > MAX_REVOKED:
            _, (at, _over) = self._revoked.popitem(last=False)
            # Cookies carry whole seconds: one from the second of the logout must end, too.
            self._not_before = max(self._not_before, int(at) + 1)

    def revoke_link(self, link_id: str, now: float) -> list[str]:
        """End a link and every session that it has given.

        Returns:
            The ids of those sessions, whose live connections are to be ended.

        Raises:
            TtyBridgeError: There is no such link.
        """
        self.links.revoke(link_id)
        sessions = self._guests.of(link_id)
        for session_id in sessions:
            self.end(session_id, now, Over.REVOKED)
        return sessions

    def sessions_of(self, link_id: str) -> list[str]:
        """Return the ids of the sessions that a link has given and nobody has ended."""
        return [each for each in self._guests.of(link_id) if each not in self._revoked]


def _is_session(text: str) -> bool:
    return text not in SHARED_IDS and not text.startswith("ssh:")


def _bytes(text: str | bytes) -> bytes:
    # backslashreplace takes lone surrogates, too; what it makes of them is in no token.
    return text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")


def _digest(text: str | bytes) -> bytes:
    return hashlib.sha256(_bytes(text)).digest()
