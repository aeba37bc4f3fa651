"""Links that let somebody in: printed, shown as a QR code, or made for a guest.

A link travels: through chats, screens that are shared, notebooks that are saved. So it holds no
lasting credential: whoever opens it gets a session of its own, and what the link may give, for how
long and how often, stands in a table here. Its text is signed with a key of this run. What
stands in it (id, role, name, time) nobody can change, and a text that was made up is told from one
that has had its time.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from math import ceil

from itsdangerous import BadSignature, Signer
from itsdangerous.signer import HMACAlgorithm

from ttybridge.core.people import clean_name
from ttybridge.errors import TtyBridgeError
from ttybridge.model import Role

MAX_LINKS = 1000
"""Links that are remembered; of those that have had their time, the oldest is forgotten first."""

MAX_LINK_CHARS = 200
"""Longest text that is looked at; ours have about 35 characters, up to 110 more with a name."""

MAX_NAME_BYTES = 80
"""Longest name in a link, in bytes of UTF-8: a QR code has to stay small."""

MAX_OPENED = 10_000
"""How often one link can be opened, whatever it says; each session that it gave takes 200 bytes."""

SESSION_LIFE_S = 30 * 24 * 3600
"""Age at which every session ends, counted from its beginning and never extended."""

MAC_BYTES = 16
"""What is kept of HMAC-SHA256: half of it, as RFC 2104, section 5, allows; a shorter QR code."""

_MARKS = {Role.OWNER: "o", Role.EDITOR: "e", Role.VIEWER: "v"}
_ROLES = {mark: role for role, mark in _MARKS.items()}
_TEXT = re.compile(r"(l[1-9][0-9]{0,8})\.([oev])\.([0-9a-z]{1,9})(?:\.([A-Za-z0-9_-]+))?")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Over(Enum):
    """Why a link, or the session that it gave, lets nobody in any more; each a sentence."""

    USED = "This link has been opened as often as it may be."
    EXPIRED = "This link has expired."
    REVOKED = "This link has been revoked."
    REMOVED = "You have been removed from this session."
    CLOSED = "The session that this link was for has ended."
    LEFT = "You have signed out."


@dataclass(frozen=True, slots=True)
class Link:
    """What a link gives, and for how long."""

    role: Role
    """What whoever opens it may do."""
    ends_at: float
    """When it can be opened no more, in seconds since 1970."""
    uses: int | None = 1
    """How often it can be opened still; None for any number, MAX_OPENED at most."""
    is_framed: bool = False
    """Whether it opens the page in a frame of another site, where cookies are refused."""
    name: str = ""
    """What to call whoever opens it; empty when nobody has said."""
    access_until: float | None = None
    """When the sessions end that it gave, in seconds since 1970; None: as all sessions do."""
    is_shared: bool = False
    """Whether it was made for a guest: what it gave ends with this run, and with the link."""
    id: str = ""
    """`l1`, `l2`, …: what to call it. It is no secret, and opens nothing."""
    text: str = field(default="", repr=False)
    """What goes behind `?link=`: letters, digits and `.`, `_`, `-`."""
    opened: int = 0
    """How often it has been opened."""
    opened_at: float = 0.0
    """When it was opened last, in seconds since 1970."""
    is_revoked: bool = False
    """Whether somebody has ended it before its time."""

    @property
    def is_guests(self) -> bool:
        """Whether who comes by it is a guest: of this run, and with this link's role at most."""
        return self.is_shared or self.role is not Role.OWNER

    def over(self, now: float) -> Over | None:
        """Return why it cannot be opened; None when it can."""
        if self.is_revoked:
            return Over.REVOKED
        if now > self.ends_at:
            return Over.EXPIRED
        return Over.USED if self.uses == 0 or self.opened >= MAX_OPENED else None

    def lets_in(self, now: float) -> bool:
        """Tell whether it can be opened, or somebody may still be in by it."""
        if self.over(now) is None:
            return True
        last = self.opened_at + SESSION_LIFE_S
        until = last if self.access_until is None else min(last, self.access_until)
        return not self.is_revoked and self.opened > 0 and now <= until


class Links:
    """The links of one run.

    Args:
        key: What their texts are signed with: random, of this run, known to nobody else.
    """

    def __init__(self, key: bytes) -> None:
        self._signer = Signer(
            key,
            salt="ttybridge.link.1",
            key_derivation="hmac",
            digest_method=hashlib.sha256,
            algorithm=_ShortHmac(hashlib.sha256),
        )
        self._links: dict[str, Link] = {}
        self._made = 0

    def issue(self, link: Link, now: float) -> Link:
        """Remember a link and return it with its id and text.

        Args:
            link: What it gives; the name is cleaned and, if needed, shortened.
            now: Seconds since 1970.

        Raises:
            TtyBridgeError: There are too many by which somebody may be in.

        >>> links = Links(b"random")
        >>> link = links.issue(Link(Role.VIEWER, ends_at=1_800_000_000.0, name="Ada"), now=0.0)
        >>> link.id, link.text.rpartition(".")[0]
        ('l1', 'l1.v.tro8w0.QWRh')
        """
        self._make_room(now)
        self._made += 1
        made = replace(link, id=f"l{self._made}", name=_short(clean_name(link.name)))
        made = replace(made, text=self._text_of(made))
        self._links[made.id] = made
        return made

    def find(self, text: str, now: float) -> Link | None:
        """Return what a link gives; None when it never existed, or is over."""
        link = self.known(text)
        return link if link and link.over(now) is None else None

    def use(self, text: str, now: float) -> Link | None:
        """Open a link: like `find`, and it can be opened once less.

        >>> links = Links(b"random")
        >>> text = links.issue(Link(Role.OWNER, ends_at=600.0), now=0.0).text
        >>> links.use(text, now=10.0).role.value, links.use(text, now=11.0)
        ('owner', None)
        """
        link = self.find(text, now)
        if link is None:
            return None
        left = None if link.uses is None else link.uses - 1
        used = replace(link, uses=left, opened=link.opened + 1, opened_at=now)
        self._links[link.id] = used
        return used

    def known(self, text: str) -> Link | None:
        """Return a link of this run that may be over: its sender has guessed nothing."""
        if len(text) > MAX_LINK_CHARS or not text.isascii():
            return None
        try:
            found = _TEXT.fullmatch(self._signer.unsign(text).decode())
        except BadSignature:
            return None
        if found is None:
            return None
        said = Link(
            _ROLES[found[2]], int(found[3], 36), uses=0, name=_decoded(found[4] or ""), id=found[1]
        )
        # The last character of the signature has bits that base64 leaves out.
        if not hmac.compare_digest(self._text_of(said), text):
            return None
        return self._links.get(said.id, said)

    def get(self, link_id: str) -> Link | None:
        """Return a link by its id; None when there is none, or it is forgotten."""
        return self._links.get(link_id)

    def all(self) -> list[Link]:
        """Return all that are remembered, in the order in which they were made."""
        return list(self._links.values())

    def revoke(self, link_id: str) -> Link:
        """End a link.

        Raises:
            TtyBridgeError: There is no such link.
        """
        link = self._links.get(link_id)
        if link is None:
            raise TtyBridgeError(
                f"There is no link {link_id[:20]!r}.",
                hint="ttybridge links lists those of this run.",
            )
        self._links[link_id] = revoked = replace(link, is_revoked=True)
        return revoked

    def _make_room(self, now: float) -> None:
        if len(self._links) < MAX_LINKS:
            return
        gone = next(self._least_needed(now), None)
        if gone is None:
            raise TtyBridgeError(
                f"There are {MAX_LINKS} links for guests already.",
                hint="End those that are not needed: ttybridge links, ttybridge revoke.",
            )
        del self._links[gone]

    def _least_needed(self, now: float) -> Iterator[str]:
        """Yield ids of links that may be forgotten; of guests' only those that let nobody in."""
        yield from (each.id for each in self._links.values() if not each.lets_in(now))
        owners = [each for each in self._links.values() if not each.is_guests]
        yield from (each.id for each in owners if each.over(now))
        yield from (each.id for each in owners)

    def _text_of(self, link: Link) -> str:
        parts = [link.id, _MARKS[link.role], _base36(max(0, ceil(link.ends_at)))]
        if link.name:
            parts.append(base64.urlsafe_b64encode(link.name.encode()).rstrip(b"=").decode())
        return self._signer.sign(".".join(parts)).decode()


class _ShortHmac(HMACAlgorithm):
    def get_signature(self, key: bytes, value: bytes) -> bytes:
        return super().get_signature(key, value)[:MAC_BYTES]


def _short(name: str) -> str:
    return name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip()


def _decoded(name: str) -> str:
    # What was signed here is UTF-8 in base64.
    return base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
