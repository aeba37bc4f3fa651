"""Who may do what, and where: the one table of rights. Nothing else decides about a role.

A right needs both: the role must have it, and the entrance must offer it. An entrance that does
not offer something refuses it to everybody, so that no second way to do a thing appears unnoticed.
"""

from enum import Enum

from ttybridge.model import Role


class Action(Enum):
    """What somebody can ask for."""

    __hash__ = object.__hash__  # Enum's is Python code, and each key asks for rights

    JOIN = "join"
    """Be in the session and see it."""
    TYPE = "type"
    """Give input to it."""
    RESIZE = "resize"
    """Have a say in the size of its window."""
    SEE_PEOPLE = "see people"
    """Know who is here."""
    RAISE_HAND = "raise a hand"
    """Ask for the keyboard."""
    GIVE_KEYBOARD = "give the keyboard"
    """Make viewers editors, and back."""
    REMOVE = "remove"
    """Remove somebody who is below."""
    ADMIT = "admit"
    """Let in who waits, turn them away, close the door."""
    SHARE_VIEWER = "share with viewers"
    """Make links for viewers."""
    SHARE = "share"
    """Make links of every role, see all links, revoke them."""
    RECORD = "record"
    """Start and stop the recording, set markers."""
    REPLAY = "replay"
    """See recordings."""
    RUN = "run"
    """Run programs beside the session: commands, file transfer and forwarding over SSH."""
    USE_PROXY = "use proxied apps"
    """Reach web apps of this machine."""
    MANAGE = "manage"
    """Everything about the bridge itself: its state, environment, addresses, log, end."""


class Entrance(Enum):
    """How somebody came, or asks."""

    __hash__ = object.__hash__  # as above

    PAGE = "page"
    """A browser: Socket.IO on `tty/`."""
    CONNECT = "connect"
    """`ttybridge connect`, by the same protocol."""
    COLAB = "colab"
    """Clients of Colab's contract: `colab/tty`, and `tty/` without our protocol."""
    SSH = "ssh"
    """A login by SSH, directly or over `colab/ssh`."""
    API = "api"
    """HTTP below `api/`."""
    FILES = "files"
    """Recordings and what plays them."""
    PROXY = "proxy"
    """`proxy/PORT/`."""
    CONTROL = "control"
    """The control socket: the user that runs the bridge, on the same machine."""


_VIEWER = frozenset({Action.JOIN, Action.SEE_PEOPLE, Action.RAISE_HAND})
_EDITOR = _VIEWER | {
    Action.TYPE,
    Action.RESIZE,
    Action.GIVE_KEYBOARD,
    Action.REMOVE,
    Action.SHARE_VIEWER,
    Action.RECORD,
    Action.REPLAY,
    Action.RUN,
    Action.USE_PROXY,
}

ALLOWED: dict[Role, frozenset[Action]] = {
    Role.OWNER: frozenset(Action),
    Role.EDITOR: frozenset(_EDITOR),
    Role.VIEWER: _VIEWER,
}
"""What each role may do."""

_TERMINAL = frozenset({Action.JOIN, Action.TYPE, Action.RESIZE})

OFFERED: dict[Entrance, frozenset[Action]] = {
    Entrance.PAGE: _TERMINAL | {Action.SEE_PEOPLE, Action.RAISE_HAND},
    Entrance.CONNECT: _TERMINAL | {Action.SEE_PEOPLE, Action.RAISE_HAND},
    Entrance.COLAB: _TERMINAL,
    Entrance.SSH: _TERMINAL | {Action.RUN},
    Entrance.API: frozenset(Action)
    - {Action.JOIN, Action.TYPE, Action.RESIZE, Action.RAISE_HAND, Action.RUN, Action.USE_PROXY},
    Entrance.FILES: frozenset({Action.REPLAY}),
    Entrance.PROXY: frozenset({Action.USE_PROXY}),
    Entrance.CONTROL: frozenset(Action),
}
"""What can be done at each entrance."""

_RANK = {Role.VIEWER: 0, Role.EDITOR: 1, Role.OWNER: 2}


def may(role: Role, action: Action, entrance: Entrance) -> bool:
    """Tell whether a role allows an action at an entrance.

    >>> may(Role.VIEWER, Action.TYPE, Entrance.PAGE), may(Role.EDITOR, Action.RUN, Entrance.SSH)
    (False, True)
    """
    return action in ALLOWED[role] and action in OFFERED[entrance]


def may_change(actor: Role, target: Role, wanted: Role) -> bool:
    """Tell whether somebody may give another one a role: owners any, editors up to their own.

    >>> may_change(Role.EDITOR, Role.VIEWER, Role.EDITOR)
    True
    >>> may_change(Role.EDITOR, Role.OWNER, Role.VIEWER)
    False
    """
    if Action.GIVE_KEYBOARD not in ALLOWED[actor]:
        return False
    return actor is Role.OWNER or max(_RANK[target], _RANK[wanted]) <= _RANK[actor]


def may_remove(actor: Role, target: Role) -> bool:
    """Tell whether somebody may remove another one: owners anybody, editors viewers.

    >>> may_remove(Role.EDITOR, Role.EDITOR), may_remove(Role.OWNER, Role.OWNER)
    (False, True)
    """
    if Action.REMOVE not in ALLOWED[actor]:
        return False
    return actor is Role.OWNER or _RANK[target] < _RANK[actor]


def may_share(actor: Role, wanted: Role, entrance: Entrance) -> bool:
    """Tell whether somebody may make a link of a role.

    >>> may_share(Role.EDITOR, Role.EDITOR, Entrance.API)
    False
    """
    action = Action.SHARE_VIEWER if wanted is Role.VIEWER else Action.SHARE
    return may(actor, action, entrance)


def is_lower(role: Role, than: Role) -> bool:
    """Tell whether a role has less rights than another."""
    return _RANK[role] < _RANK[than]
