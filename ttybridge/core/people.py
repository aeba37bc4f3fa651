"""Who somebody is, as the entrance that let them in has found out; names that can be shown."""

import re
import unicodedata
from dataclasses import dataclass

from ttybridge.core.permissions import Entrance
from ttybridge.model import Role

MAX_NAME = 40
"""Longest name of a person, in characters."""

_LIKE_AN_ID = re.compile(r"[cl][0-9]+(?:-[0-9]+)?")
"""What clients and links are called, and so nobody else."""

_UNSHOWN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories that no name has: controls, bidirectional marks, surrogates, separators."""


@dataclass(frozen=True, slots=True)
class Person:
    """One person behind a client."""

    role: Role
    """What the credential gives; what it is at the moment, the attachment knows."""
    entrance: Entrance
    """How the person came."""
    name: str = ""
    """What the link or the key calls the person; empty when it does not say."""
    credential: str = ""
    """What stands for the person again after leaving: a cookie's session id, `ssh:` with the
    fingerprint of a key. Empty for what many may share: the token, or no credential at all."""
    link: str = ""
    """Id of the link that the person came by; empty for none."""
    address: str = ""
    """Where the client is, as far as it is known."""
    chosen: str = ""
    """What the person has asked to be called; counts where nobody has given a name."""

    @property
    def shown(self) -> str:
        """What to call the person; may be empty."""
        return self.name or self.chosen


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who changes other people's rights."""

    role: Role
    """The actor's own role."""
    name: str
    """What the audit log and the pages call the actor."""
    entrance: Entrance
    """How the actor asks."""
    credential: str = ""
    """As in `Person`."""


def clean_name(text: str) -> str:
    r"""Return a name that is safe to show: one line, no controls, at most `MAX_NAME` characters.

    One that could be taken for a client's or a link's id is none.

    >>> clean_name("  Ada\x1b[31m\n \u202eLovelace "), clean_name("c7")
    ('Ada[31m Lovelace', '')
    """
    shown = "".join(" " if c.isspace() else c for c in text[: 4 * MAX_NAME])
    kept = "".join(c for c in shown if unicodedata.category(c) not in _UNSHOWN)
    name = " ".join(kept.split())[:MAX_NAME].strip()
    return "" if _LIKE_AN_ID.fullmatch(name) else name
