"""Links that let somebody in for a short time: what is printed, shown as a QR code, or shared.

A public link travels: through chats, screens that are shared, notebooks that are saved. So it holds
no lasting credential. What opens it first gets a session of its own, and the link is used up.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from ttybridge.model import Role

MAX_LINKS = 1000
"""Links that are remembered; the oldest is forgotten, and a forgotten one opens nothing."""

MAX_LINK_CHARS = 128
"""Longest text that is looked at; ours have 24 characters."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link gives, and for how long."""

    role: Role
    """What whoever opens it may do."""
    ends_at: float
    """When it can be opened no more, in seconds since 1970."""
    uses: int = 1
    """How often it can be opened still."""
    is_framed: bool = False
    """Whether it opens the page in a frame of another site, where cookies are refused."""


class Links:
    """The links of one run; nothing of them is stored but digests.

    Args:
        new_text: Makes an unguessable text; `secrets.token_urlsafe` outside of tests.
    """

    def __init__(self, new_text: Callable[[], str]) -> None:
        self._new_text = new_text
        self._links: OrderedDict[bytes, Link] = OrderedDict()

    def issue(self, link: Link) -> str:
        """Remember a link and return its text, which goes behind `?link=`."""
        text = self._new_text()
        self._links[_digest(text)] = link
        if len(self._links) > MAX_LINKS:
            self._links.popitem(last=False)
        return text

    def find(self, text: str, now: float) -> Link | None:
        """Return what a link gives; None when it never existed, is used up or too old."""
        link = self.known(text)
        return link if link and link.uses > 0 and now <= link.ends_at else None

    def use(self, text: str, now: float) -> Link | None:
        """Open a link: like `find`, and it can be opened once less.

        >>> links = Links(lambda: "text")
        >>> text = links.issue(Link(Role.OWNER, ends_at=600.0))
        >>> links.use(text, now=10.0).role.value, links.use(text, now=11.0)
        ('owner', None)
        """
        link = self.find(text, now)
        if link is not None:
            self._links[_digest(text)] = replace(link, uses=link.uses - 1)
        return link

    def known(self, text: str) -> Link | None:
        """Return a link that may be used up or too old: its sender guessed nothing."""
        return self._links.get(_digest(text)) if len(text) <= MAX_LINK_CHARS else None


def _digest(text: str) -> bytes:
    # A table of digests: how long the look-up takes tells nothing about the texts in it.
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()
