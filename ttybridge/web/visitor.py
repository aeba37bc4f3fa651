"""Who comes through the web: from the credential to the person."""

from ttybridge.core.access import SHARED_IDS, Principal
from ttybridge.core.people import Person, clean_name
from ttybridge.core.permissions import Entrance


def credential_of(principal: Principal) -> str:
    """Return what stands for somebody again; empty for what many may share."""
    return "" if principal.id in SHARED_IDS else principal.id


def visitor(principal: Principal, entrance: Entrance, address: str, *, chosen: str = "") -> Person:
    """Return the person behind a request that the gate has let through.

    Args:
        principal: Whom the gate knows.
        entrance: Where the person comes in.
        address: Where the client is.
        chosen: What the person asks to be called.
    """
    return Person(
        role=principal.role,
        entrance=entrance,
        name=clean_name(principal.name),
        credential=credential_of(principal),
        link=principal.link,
        address=address,
        chosen=clean_name(chosen),
    )
