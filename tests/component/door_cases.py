"""What a request to a door may carry, and the answers: the columns of the tables of entrances."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from aiohttp import web

from tests.component.doorway import BEARER, TOKEN, UPGRADE, Answer, Door
from ttybridge.core.access import BEARER as AS_TOKEN
from ttybridge.core.access import COOKIE_MAX_AGE_S
from ttybridge.model import Role

OWNER, EDITOR, VIEWER, WAITING = range(4)
"""Answers to an owner; an editor and a viewer who have been let in; an editor who has to wait."""


@dataclass(frozen=True)
class Entrance:
    """A row: one thing that can be asked for."""

    method: str
    route: str
    """The route as it was declared, `*` for any method."""
    path: str
    """What is asked for."""
    statuses: tuple[int, int, int, int]
    """Answers to the four who come through the door."""
    is_upgrade: bool = False
    is_public: bool = False
    """Whether it needs no credential; the answer is the first of `statuses` then."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}{' as a WebSocket' if self.is_upgrade else ''}"

    @property
    def is_proxied(self) -> bool:
        return self.path.startswith("/proxy/9/")

    @property
    def is_shown(self) -> bool:
        """Whether people open it by its address, so that a browser sends a cookie and no Origin."""
        shown = self.path.partition("?")[0] in ("/", "/healthz", "/replay")
        return self.method == "GET" and (shown or self.path.startswith("/recordings/"))


def row(
    method: str, path: str, *statuses: int, route: str = "", ws: bool = False, public: bool = False
) -> Entrance:
    four = statuses if len(statuses) == 4 else statuses * 4
    route = route or path.partition("?")[0]
    return Entrance(method, route, path, (four[0], four[1], four[2], four[3]), ws, public)


@dataclass(frozen=True)
class Case:
    """A column: what a request carries."""

    name: str
    lines: Callable[[Door], list[str]]
    answer: int
    """A status that refuses, or one of the four."""
    query: str = ""
    hosts: tuple[str, ...] | None = None
    is_refused: bool = True
    """Whether nobody is let in by it."""
    where_public: bool = False
    """Whether it is refused even where no credential is needed."""
    needs_origin: bool = False
    """Whether it is refused for its missing Origin alone, and so not where people go by address."""

    def expected(self, entrance: Entrance) -> int:
        """Return the status of the answer."""
        if self.name.endswith("from a file") and entrance.name == "POST /login":
            return entrance.statuses[0]  # browsers send `null` with our own form; the token decides
        if self.name == "an owner's cookie beside a wrong token" and entrance.is_proxied:
            return entrance.statuses[OWNER]  # below an app, that header is the app's
        if self.needs_origin:
            by_address = entrance.is_shown or (entrance.is_public and entrance.method == "GET")
            return entrance.statuses[OWNER] if by_address or entrance.path == "/login" else 403
        if self.is_refused and not (entrance.is_public and not self.where_public):
            return self.answer
        if entrance.is_public:
            return entrance.statuses[0]
        if self.query and entrance.is_proxied:
            return 401  # below an app, the query is the app's
        if self.query and (entrance.method, entrance.path) == ("GET", "/"):
            return 303  # to the address without the token
        return entrance.statuses[self.answer]


def plain(*lines: str) -> Callable[[Door], list[str]]:
    return lambda _door: list(lines)


def cookie(make: Callable[[Door], str], *lines: str) -> Callable[[Door], list[str]]:
    """A cookie as our own page sends it, or with other lines than that page's Origin."""
    return lambda door: [door.line(make(door)), *(lines or (door.origin,))]


def refused(name: str, lines: Callable[[Door], list[str]], query: str = "") -> Case:
    return Case(name, lines, 401, query)


def foreign(name: str, lines: Callable[[Door], list[str]]) -> Case:
    return Case(name, lines, 403, where_public=True)


def let_in(name: str, lines: Callable[[Door], list[str]], who: int, query: str = "") -> Case:
    return Case(name, lines, who, query, is_refused=False)


def elsewhere(name: str, *hosts: str) -> Case:
    return Case(name, plain(BEARER), 421, hosts=hosts, where_public=True)


def owners(door: Door) -> str:
    return door.cookie(Role.OWNER)


COLAB = "X-Colab-Runtime-Proxy-Token"
NEAR = {"short": TOKEN[:-1], "long": TOKEN + "x", "capitals": TOKEN.upper(), "empty": ""}

CREDENTIALS = [
    refused("nothing", plain()),
    *(
        case
        for name, text in NEAR.items()
        for case in (
            refused(f"a near miss ({name}) as Bearer", plain(f"Authorization: Bearer {text}")),
            refused(f"a near miss ({name}) for Colab", plain(f"{COLAB}: {text}")),
            refused(f"a near miss ({name}) in the query", plain(), f"token={text}"),
        )
    ),
    refused("the token twice, once wrong", plain(BEARER, "X-Colab-Runtime-Proxy-Token: wrong")),
    refused("Basic", plain(f"Authorization: Basic {TOKEN}")),
    refused("the token as a cookie", cookie(lambda _: TOKEN)),
    refused("a cookie with an end", cookie(lambda door: owners(door) + "=")),
    refused("another bridge's cookie", cookie(lambda door: door.cookie(Role.OWNER, place="x:1"))),
    refused("a session for programs as a cookie", cookie(
        lambda door: door.cookie(Role.OWNER, place=AS_TOKEN)
    )),
    refused("a cookie as a token", lambda door: [f"Authorization: Bearer {owners(door)}"]),
    refused("a link as a token", lambda door: [
        f"Authorization: Bearer {door.link(Role.OWNER).text}"
    ]),
    refused("a cookie that is too old", cookie(
        lambda door: door.cookie(Role.OWNER, age=COOKIE_MAX_AGE_S + 1)
    )),
    refused("a cookie that was logged out", cookie(lambda door: door.logged_out())),
    refused("a revoked link's cookie", cookie(lambda door: door.revoked())),
    refused("an expired link's cookie", cookie(
        lambda door: door.cookie(Role.EDITOR, door.link(Role.EDITOR, access_until=1.0))
    )),
    refused("a removed guest's cookie", cookie(lambda door: door.removed())),
    refused("an owner's cookie beside a wrong token", cookie(
        owners, "Authorization: Bearer wrong", "Sec-Fetch-Site: same-origin"
    )),
    let_in("the token as Bearer", plain(BEARER), OWNER),
    let_in("the token for Colab", plain(f"X-Colab-Runtime-Proxy-Token: {TOKEN}"), OWNER),
    let_in("the token in the query", plain(), OWNER, f"token={TOKEN}"),
    let_in("an owner's cookie", cookie(owners), OWNER),
    let_in("an editor's cookie", cookie(lambda door: door.admitted(Role.EDITOR)), EDITOR),
    let_in("a viewer's cookie", cookie(lambda door: door.admitted(Role.VIEWER)), VIEWER),
    let_in("a waiting guest's cookie", cookie(lambda door: door.cookie(Role.EDITOR)), WAITING),
    Case(
        "a cookie without Origin",
        lambda door: [door.line(owners(door))],
        403,
        needs_origin=True,
    ),
]  # fmt: skip

ORIGINS = [
    *(
        case
        for name, origin in {
            "another site": "http://evil.example",
            "another port": "http://127.0.0.1:1",
            "another scheme": "https://OWN",
            "another name of this machine": "http://localhost:PORT",
            "a longer name": "http://OWN.evil.example",
            "a file": "null",
        }.items()
        for case in (
            foreign(f"an owner's cookie from {name}", lambda door, origin=origin: [  # type: ignore[misc]
                door.line(owners(door)), _origin(door, origin)
            ]),
            foreign(f"the token from {name}", lambda door, origin=origin: [  # type: ignore[misc]
                BEARER, _origin(door, origin)
            ]),
        )
    ),
    foreign("two Origins", lambda door: [door.origin, door.origin, BEARER]),
    foreign("a script of the same site", lambda door: [
        door.line(owners(door)), "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"
    ]),
    foreign("a form of another site", lambda door: [
        door.line(owners(door)), door.origin, "Sec-Fetch-Site: cross-site"
    ]),
    foreign("nothing from another site", plain("Origin: http://evil.example")),
]  # fmt: skip

HOSTS = [
    elsewhere("another name", "evil.example"),
    elsewhere("no Host"),
    elsewhere("an empty Host", ""),
    elsewhere("Host twice", "OWN", "OWN"),
    elsewhere("Host twice, once foreign", "evil.example", "OWN"),
    elsewhere("another port", "127.0.0.1:1"),
    elsewhere("no port", "127.0.0.1"),
    elsewhere("a user in front", "me@OWN"),
    elsewhere("an address of this network", "0.0.0.0:PORT"),
    elsewhere("a name that is pointed here", "evil.example:PORT"),
]


def _filled(door: Door, text: str) -> str:
    return text.replace("OWN", door.own).replace("PORT", str(door.port))


def _origin(door: Door, origin: str) -> str:
    return f"Origin: {_filled(door, origin)}"


async def ask(door: Door, entrance: Entrance, case: Case, base: str = "") -> Answer:
    path, _, query = entrance.path.partition("?")
    query = "&".join(part for part in (query, case.query) if part)
    hosts = None if case.hosts is None else tuple(_filled(door, host) for host in case.hosts)
    lines = [*case.lines(door), *(UPGRADE if entrance.is_upgrade else ())]
    return await door.ask(
        entrance.method, f"{base}{path}{'?' if query else ''}{query}", *lines, hosts=hosts
    )


def routes_of(app: web.Application) -> set[tuple[str, str]]:
    """Return the methods and paths that an application was given."""
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"  # comes with each GET
    }


def lines_logged(caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    for record in caplog.records:
        if record.name.startswith(("ttybridge", "aiohttp", "engineio", "socketio")):
            yield logging.Formatter().format(record)


def is_refusal(entrance: Entrance, case: Case) -> bool:
    """Tell whether the door itself refuses."""
    return case.is_refused and case.expected(entrance) == case.answer
