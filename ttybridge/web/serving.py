"""The web server while it runs: links, public addresses, and ends of credentials."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from ttybridge.core.access import Credentials
from ttybridge.core.authority import Authority, parse_origin
from ttybridge.core.links import Link, Over
from ttybridge.core.permissions import Action, Entrance, may
from ttybridge.errors import ConfigError
from ttybridge.model import Role
from ttybridge.sessions.hub import Hub
from ttybridge.web.api import Api
from ttybridge.web.events import Events
from ttybridge.web.expiries import Expiries
from ttybridge.web.measures import Measures
from ttybridge.web.metrics import MetricsEntrance
from ttybridge.web.security import Gate


@dataclass(frozen=True, slots=True)
class SharedLink:
    """A new link for a guest."""

    id: str
    """What to call it."""
    url: str
    """The whole address."""
    query: str
    """Its end, from the question mark: for other addresses that lead here."""
    ends_at: float
    """When it ends, and everybody's access who came by it, in seconds since 1970."""


TOO_OLD = "You signed in a long time ago: sign in again."
"""Said at the end of a session that has reached its age; see `access.COOKIE_MAX_AGE_S`."""


class Beside(Protocol):
    """An entrance that leads elsewhere than into the session."""

    async def end_all_of(self, principal_id: str) -> None:
        """End the connections of somebody whose credential has ended."""


class Serving:
    """The web server while it runs.

    Attributes:
        api: The entrance `api/`; whoever has the bridge's operations sets them there.
        measures: What is used of the limits.
        metrics: The entrance `metrics`; whoever has all numbers sets them there.
    """

    measures: Measures
    metrics: MetricsEntrance

    def __init__(
        self,
        hub: Hub,
        gate: Gate,
        credentials: Credentials,
        events: Events,
        api: Api,
        beside: tuple[Beside, ...],
        goodbye: Callable[[], Awaitable[None]],
    ) -> None:
        """Remember the parts; use `serve`.

        Args:
            hub: The session.
            gate: Stands before everything.
            credentials: What is accepted.
            events: The entrance `tty/`.
            api: The entrance `api/`.
            beside: Entrances that lead elsewhere than into the session.
            goodbye: Tells everybody that the bridge stops.
        """
        self.api = api
        self._hub, self._gate, self._credentials = hub, gate, credentials
        self._events, self._beside, self._goodbye = events, beside, goodbye
        self._is_ending = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._links_end, self._sessions_end = Expiries(self._over), Expiries(self._too_old)
        gate.on_session = self._sessions_end.add

    async def say_goodbye(self) -> None:
        """Tell everybody that the bridge stops, once, and wait a little for them to hear it.

        Before a tunnel is closed: who comes through it would hear nothing afterwards.
        """
        if not self._is_ending:
            self._is_ending = True
            self._links_end.close()
            self._sessions_end.close()
            await self._goodbye()

    # --- links -----------------------------------------------------------------------------

    def link(self, address: str, *, life_s: float, uses: int = 1, is_framed: bool = False) -> str:
        """Return a new link that lets an owner in.

        Args:
            address: The page's address, with a slash at its end.
            life_s: Seconds in which it can be opened.
            uses: How often it can be opened.
            is_framed: Whether it is for a frame of another site.
        """
        if self._credentials.is_open:
            return address
        now = time.time()
        link = self._credentials.links.issue(Link(Role.OWNER, now + life_s, uses, is_framed), now)
        return f"{address}?link={link.text}"

    def share(
        self, address: str, role: Role, *, name: str, life_s: float, uses: int | None
    ) -> SharedLink:
        """Return a new link for a guest.

        Args:
            address: The page's address, with a slash at its end.
            role: What whoever opens it may do.
            name: What to call whoever opens it; may be empty.
            life_s: Seconds until it ends, and everybody's access who came by it.
            uses: How often it can be opened; None for any number.

        Raises:
            TtyBridgeError: There are too many.
        """
        now = time.time()
        until = now + life_s
        wanted = Link(role, until, uses, name=name, access_until=until, is_shared=True)
        link = self._credentials.links.issue(wanted, now)
        self._links_end.add(link.id, until)
        query = f"?link={link.text}"
        return SharedLink(link.id, address + query, query, until)

    def links(self) -> list[Link]:
        """Return the links that can be opened, or by which somebody may be in."""
        now = time.time()
        return [link for link in self._credentials.links.all() if link.lets_in(now)]

    def is_link_open(self, link_id: str) -> bool:
        """Tell whether a link can be opened still."""
        link = self._credentials.links.get(link_id)
        return link is not None and link.over(time.time()) is None

    async def revoke_link(self, link_id: str) -> None:
        """End a link, and the access of everybody who came by it.

        Raises:
            TtyBridgeError: There is no such link.
        """
        self._links_end.drop(link_id)
        sessions = self._credentials.revoke_link(link_id, time.time())
        await self._end_all_of(sessions, Over.REVOKED.value)

    def _over(self, link_id: str) -> None:
        """End the access of everybody who came by a link whose time is over."""
        now = time.time()
        sessions = self._credentials.sessions_of(link_id)
        for session_id in sessions:
            self._credentials.end(session_id, now, Over.EXPIRED)
        self._run(self._end_all_of(sessions, Over.EXPIRED.value))

    def _too_old(self, session_id: str) -> None:
        """End what a session has open whose cookie is accepted no more."""
        self._run(self._end_all_of([session_id], TOO_OLD))

    # --- credentials that mean something else from now on ------------------------------------

    def set_role(self, credential: str, role: Role) -> None:
        """Give a session another role; what a viewer may not have ends."""
        self._credentials.set_role(credential, role)
        if not may(role, Action.RUN, Entrance.SSH):
            self._run(self._end_beside(credential))

    def end(self, credential: str) -> None:
        """End a session because somebody has been removed."""
        self._credentials.end(credential, time.time(), Over.REMOVED)
        self._run(self._end_all_of([credential], Over.REMOVED.value))

    async def signed_out(self, session_id: str) -> None:
        """End what a session has open, because its holder has signed out."""
        await self._end_all_of([session_id], Over.LEFT.value)

    async def _end_all_of(self, sessions: list[str], sentence: str) -> None:
        """End everything that some sessions have open; clients are told why.

        All leave the session at once. What leads elsewhere ends behind that, and to its end,
        though whoever has asked for it may not wait.
        """
        for session_id in sessions:
            self._sessions_end.drop(session_id)
            may_return = sentence in (Over.LEFT.value, TOO_OLD)
            self._hub.remove_credential(session_id, sentence, may_return=may_return)
            self._events.engine.end_unjoined_of(session_id)
        await asyncio.shield(asyncio.gather(*map(self._end_beside, sessions)))

    async def _end_beside(self, session_id: str) -> None:
        await asyncio.gather(*(each.end_all_of(session_id) for each in self._beside))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- addresses -------------------------------------------------------------------------

    def add_public(self, url: str, *, adds_client_address: bool = False) -> None:
        """Serve a public address, `https://name` or `http://name:port`, from now on.

        Args:
            url: The address.
            adds_client_address: Whether the last value of X-Forwarded-For is the tunnel's own.

        Raises:
            ConfigError: It is no such address.
        """
        scheme, authority = _split(url)
        self._gate.add_host(str(authority), scheme=scheme, adds_client_address=adds_client_address)

    def remove_public(self, url: str) -> None:
        """Serve a public address no more."""
        self._gate.remove_host(str(_split(url)[1]))

    def tell_pages(self, text: str, *, is_warning: bool = False) -> None:
        """Show a sentence in every page that is open."""
        self._events.tell(text, is_warning=is_warning)

    def people_changed(self) -> None:
        """Tell every page, soon, who is here and what is recorded."""
        self._hub.people.changed()


def _split(url: str) -> tuple[str, Authority]:
    parsed = parse_origin(url.rstrip("/"))
    if parsed is None:
        raise ConfigError([f"{url[:100]!r} is not an address such as https://name."])
    return parsed
