"""The people of a running bridge and the links to it, read from its answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Somebody:
    """One client, and who is behind it."""

    id: str
    """Its id, such as `c7`."""
    name: str
    """What the person is called; may be empty."""
    role: str
    """What the person may do now: `owner`, `editor` or `viewer`."""
    given: str
    """What the person came in as."""
    via: str
    """How the person came: `page`, `connect`, `colab` or `ssh`."""
    since: float
    """When, in seconds since 1970."""
    idle_s: float
    """Seconds since the last input."""
    cols: int
    """Columns of the window."""
    rows: int
    """Its rows."""
    follows: bool
    """Whether it shows the session's window instead of one of its own size."""
    rtt_ms: float | None
    """Milliseconds to the client and back; None where nobody has measured."""
    hand: bool
    """Whether the person asks for the keyboard."""
    state: str
    """`here`, `away` while the connection is lost, or `waiting` to be let in."""
    link: str
    """Id of the link that the person came by; empty for none."""
    address: str
    """Where the client is, as far as it is known."""


@dataclass(frozen=True, slots=True)
class Here:
    """Who is in the session, and how the door is."""

    people: tuple[Somebody, ...]
    """Everybody, who waits too."""
    locked: bool
    """Whether nobody new comes in."""
    approve: bool
    """Whether newcomers wait to be let in."""
    recording: Mapping[str, Any] | None
    """What is being recorded: `name`, `since` in seconds since 1970, `input`; None for nothing."""


@dataclass(frozen=True, slots=True)
class SharedLink:
    """A link that was shared."""

    id: str
    """Its id, such as `l3`."""
    role: str
    """What whoever opens it may do."""
    name: str
    """What whoever opens it is called; may be empty."""
    ends_at: float
    """When it can be opened no more, in seconds since 1970."""
    uses: int | None
    """How many browsers it lets in still; None for any number."""
    opened: int = 0
    """How often it was opened."""
    people: tuple[str, ...] = ()
    """Ids of the clients that came by it."""
    url: str = ""
    """The whole address; empty in lists: a bridge does not tell it twice."""
    query: str = ""
    """Its end, from the question mark."""


def parse_here(answer: Any) -> Here:
    """Return who is here.

    Raises:
        KeyError: Something is missing; ValueError, TypeError, AttributeError or OverflowError where
            it is of another kind.
    """
    recording = answer["recording"]
    return Here(
        people=tuple(_somebody(row) for row in answer["people"]),
        locked=bool(answer["locked"]),
        approve=bool(answer["approve"]),
        recording=None if recording is None else dict(recording),
    )


def _somebody(row: Any) -> Somebody:
    return Somebody(
        id=str(row["id"]),
        name=str(row["name"]),
        role=str(row["role"]),
        given=str(row["given"]),
        via=str(row["via"]),
        since=float(row["since"]),
        idle_s=float(row["idleS"]),
        cols=int(row["cols"]),
        rows=int(row["rows"]),
        follows=bool(row["follows"]),
        rtt_ms=None if row["rttMs"] is None else float(row["rttMs"]),
        hand=bool(row["hand"]),
        state=str(row["state"]),
        link=str(row["link"]),
        address=str(row["address"]),
    )


def parse_link(row: Any) -> SharedLink:
    """Return a link: the answer to `share`, or one of a list; raises as `parse_here`."""
    return SharedLink(
        id=str(row["id"]),
        role=str(row["role"]),
        name=str(row["name"]),
        ends_at=float(row["endsAt"]),
        uses=None if row["uses"] is None else int(row["uses"]),
        opened=int(row.get("opened", 0)),
        people=tuple(str(each) for each in row.get("people", ())),
        url=str(row.get("url", "")),
        query=str(row.get("query", "")),
    )


def parse_links(answer: Any) -> tuple[SharedLink, ...]:
    """Return the links of a list; raises as `parse_here`."""
    return tuple(parse_link(row) for row in answer["links"])
