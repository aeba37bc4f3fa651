"""How many clients there may be: limits, and who gives way."""

from dataclasses import dataclass

from ttybridge.errors import TtyBridgeError
from ttybridge.model import Role
from ttybridge.sessions.attachment import Attachment
from ttybridge.sessions.place import Place

KEPT_FOR_TYPING = 10
"""One place in so many, and one more, is for clients that may type."""


class SessionFull(TtyBridgeError):
    """There are as many clients as are allowed."""


@dataclass(frozen=True, slots=True)
class Room:
    """The limits of a session."""

    max_clients: int
    """Most clients at a time that have a terminal of their own."""
    max_viewers: int
    """Most clients at a time that share the viewers' terminal."""

    def check(self, place: Place, here: list[Attachment], opening: int) -> Attachment | None:
        """Return whose place has to be given up for a newcomer: the oldest that is away, if any.

        Args:
            place: What the newcomer gets.
            here: Everybody attached.
            opening: How many newcomers are not among them yet.

        Raises:
            SessionFull: There is no place.
        """
        if place.role is Role.VIEWER and place.follows:
            sharing = [each for each in here if _shares(each)]
            if len(sharing) + opening < self.max_viewers:
                return None
            return _away(sharing, f"{self.max_viewers} viewers", "--max-viewers")
        own = [each for each in here if not _shares(each)]
        gives_way = None
        if len(own) + opening >= self.max_clients:
            # Who only watches takes nobody's place who may type.
            among = [a for a in own if not a.may_type] if place.role is Role.VIEWER else own
            gives_way = _away(among, f"{self.max_clients} clients", "--max-clients")
            own.remove(gives_way)
        watching = sum(not each.may_type for each in own)
        # Watchers alone cannot lock out those who may type.
        most = max(1, self.max_clients - 1 - self.max_clients // KEPT_FOR_TYPING)
        if place.role is Role.VIEWER and watching + opening >= most:
            raise SessionFull(
                f"There are {watching} watching already; the other places are for those who type.",
                hint="Allow more with --max-clients.",
            )
        return gives_way


def _shares(attachment: Attachment) -> bool:
    return attachment.role is Role.VIEWER and attachment.follows


def _away(among: list[Attachment], how_many: str, option: str) -> Attachment:
    for attachment in among:
        if attachment.is_parked:
            return attachment
    raise SessionFull(
        f"There are {how_many} already.", hint=f"Close one, or allow more with {option}."
    )
