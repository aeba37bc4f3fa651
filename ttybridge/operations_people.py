"""People, links, recordings and the log of the running bridge, as they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ttybridge.config import Config
from ttybridge.core.people import Actor
from ttybridge.core.permissions import may_share
from ttybridge.errors import AccessDenied, TtyBridgeError
from ttybridge.model import Role
from ttybridge.recordings import Recordings
from ttybridge.sessions.door import shown
from ttybridge.sessions.hub import Hub
from ttybridge.web.serving import Serving

Answer = Mapping[str, object]


class Sharing(ABC):
    """The part of the running bridge that is about its people; `Running` is all of it.

    Attributes:
        recorder: Makes recordings; None until there is one.
        audit_events: Returns the last events of the audit log.
    """

    recorder: Recordings | None = None
    audit_events: Callable[[], Iterable[Answer]] = staticmethod(tuple)

    def __init__(self, config: Config, hub: Hub, serving: Serving) -> None:
        """Remember the parts."""
        self._config, self._hub, self._serving = config, hub, serving

    @property
    @abstractmethod
    def address(self) -> str:
        """The page's address for others, with a slash at its end."""

    def people(self, actor: Actor) -> Answer:
        """Return who is here, as far as the one who asks may know."""
        people = self._hub.people
        own = next((a.id for a in self._hub.attachments if _is(a.person.credential, actor)), "")
        return {
            "people": people.rows_for(actor.role, own),
            "watching": people.watching,
            "locked": people.is_locked,
            "approve": people.approves,
            "recording": self.recorder and self.recorder.state(),
        }

    async def grant(self, actor: Actor, who: str, role: Role) -> None:
        """Give somebody another role; raises TtyBridgeError where that is not allowed."""
        await self._hub.people.grant(who, role, actor)

    async def kick(self, actor: Actor, who: str) -> str:
        """Remove somebody.

        Returns:
            A sentence about how the person could come back; empty when not.

        Raises:
            TtyBridgeError: There is no such person, or it is not allowed.
        """
        return self._hub.people.kick(who, actor)

    async def admit(self, actor: Actor, who: str) -> None:
        """Let somebody in who waits."""
        self._hub.people.admit(who, actor)

    async def refuse(self, actor: Actor, who: str) -> None:
        """Turn somebody away who waits."""
        self._hub.people.refuse(who, actor)

    async def lock(self, actor: Actor, *, on: bool) -> None:
        """Let nobody new in, or do so again."""
        self._hub.people.lock(on, actor)

    async def approve(self, actor: Actor, *, on: bool) -> None:
        """Have newcomers wait for an owner, or not."""
        self._hub.people.approve(on, actor)

    async def share(
        self, actor: Actor, role: Role, *, name: str, life_s: float, uses: int | None
    ) -> Answer:
        """Return a new link for a role.

        Raises:
            AccessDenied: The one who asks may make none of this role.
            TtyBridgeError: There is no token: everybody is an owner already.
        """
        if not may_share(actor.role, role, actor.entrance):
            raise AccessDenied(
                f"An {actor.role.value} may make links for viewers alone.",
                status=403,
                hint="Ask an owner.",
            )
        if self._config.no_auth:
            raise TtyBridgeError(
                "A link for a role needs a token, and this bridge has none: whoever reaches it "
                "is an owner.",
                hint="Start it without --no-auth.",
            )
        made = self._serving.share(self.address, role, name=name, life_s=life_s, uses=uses)
        note = self._hub.people.note
        by, ends_at = shown(actor), made.ends_at
        note("share", link=made.id, role=role.value, who=name, uses=uses, endsAt=ends_at, by=by)
        return {
            "id": made.id,
            "url": made.url,
            "query": made.query,
            "role": role.value,
            "name": name,
            "endsAt": made.ends_at,
            "uses": uses,
        }

    def links(self, _actor: Actor) -> Answer:
        """Return the links of this run, each with the clients that came by it."""
        came: dict[str, list[str]] = {}
        for each in self._hub.attachments:
            came.setdefault(each.person.link, []).append(each.id)
        return {
            "links": [
                {
                    "id": each.id,
                    "role": each.role.value,
                    "name": each.name,
                    "endsAt": each.ends_at,
                    "uses": each.uses,
                    "opened": each.opened,
                    "people": came.get(each.id, []),
                }
                for each in self._serving.links()
            ]
        }

    async def revoke(self, actor: Actor, link: str) -> None:
        """End a link by its id, with everybody who came by it.

        Raises:
            TtyBridgeError: There is no such link.
        """
        if all(each.id != link for each in self._serving.links()):
            raise TtyBridgeError(
                f"There is no link {link!r}.", hint="ttybridge links lists those of this run."
            )
        self._hub.people.note("revoke", link=link, by=shown(actor))
        await self._serving.revoke_link(link)

    def recordings(self, _actor: Actor) -> Answer:
        """Return the recordings that are there."""
        return {"recordings": list(self.recorder.list()) if self.recorder else []}

    async def record(
        self, actor: Actor, *, file: Path | None, format: str | None, with_input: bool | None
    ) -> Answer:
        """Start a recording; what is not said is as the bridge was told.

        Raises:
            TtyBridgeError: It cannot be started, or there is one.
        """
        started = await self._recorder().start(file, format, with_input, actor)
        return {"recording": started}

    async def stop_recording(self, actor: Actor) -> Answer:
        """End the recording.

        Raises:
            TtyBridgeError: There is none.
        """
        return {"recording": await self._recorder().stop(actor)}

    async def marker(self, actor: Actor, label: str) -> None:
        """Put a marker into the recording.

        Raises:
            TtyBridgeError: There is none.
        """
        self._recorder().marker(label, actor)

    def audit(self, _actor: Actor) -> Answer:
        """Return the last joins, leaves and changes of rights."""
        return {"events": list(self.audit_events())}

    def _recorder(self) -> Recordings:
        if self.recorder is None:
            raise TtyBridgeError("The bridge is still starting.", hint="Try again.")
        return self.recorder


def _is(credential: str, actor: Actor) -> bool:
    return bool(credential) and credential == actor.credential
