"""One table: every entrance, every credential, the answer, and that a refusal costs nothing."""

import json
import logging
from collections.abc import AsyncIterator
from itertools import combinations
from pathlib import Path

import pytest

from tests.component.door_cases import (
    CREDENTIALS,
    HOSTS,
    ORIGINS,
    Case,
    Entrance,
    ask,
    is_refusal,
    lines_logged,
    routes_of,
    row,
)
from tests.component.doorway import BEARER, TOKEN, UPGRADE, Doorway, doorway, watched
from tests.conftest import Tmux
from ttybridge.core.decision import MAX_LOGIN_BYTES
from ttybridge.core.protocol import MAX_MESSAGE_BYTES
from ttybridge.model import Role

BASE = "/base"
POLLING, SOCKET = "EIO=4&transport=polling", "EIO=4&transport=websocket"
NO_SID = f"{POLLING}&sid=AAAAAAAAAAAAAAAAAAAA"


API = [
    # Rights come before the body: 415 is an answer to somebody who may.
    row("GET", "/api/people", 200, 200, 200, 403),
    row("POST", "/api/grant", 415, 415, 403, 403),
    row("POST", "/api/kick", 415, 415, 403, 403),
    row("POST", "/api/admit", 415, 403, 403, 403),
    row("POST", "/api/refuse", 415, 403, 403, 403),
    row("POST", "/api/lock", 415, 403, 403, 403),
    row("POST", "/api/approve", 415, 403, 403, 403),
    row("POST", "/api/share", 415, 415, 403, 403),
    row("GET", "/api/links", 200, 403, 403, 403),
    row("POST", "/api/revoke", 415, 403, 403, 403),
    row("GET", "/api/recordings", 200, 200, 403, 403),
    row("POST", "/api/record", 415, 415, 403, 403),
    row("POST", "/api/marker", 415, 415, 403, 403),
    row("GET", "/api/audit", 200, 403, 403, 403),
    row("GET", "/api/status", 200, 403, 403, 403),
    row("POST", "/api/link", 415, 403, 403, 403),
    row("POST", "/api/stop", 415, 403, 403, 403),
    row("GET", "/api", 404, route="/api{rest}"),
    row("GET", "/api/run", 404, route="/api{rest}"),
    row("POST", "/api/environment", 404, route="/api{rest}"),
    row("GET", "/api/grant", 405, route="/api{rest}"),
]

ROWS = [
    row("GET", "/", 200),
    row("GET", "/login", 303, public=True),
    row("POST", "/login", 401, public=True),  # the form is judged behind the door
    row("POST", "/logout", 303),
    row("GET", "/logout", 405, route="-"),
    row("GET", "/healthz", 200, public=True),
    row("POST", "/healthz", 405, route="-", public=True),
    *(
        each
        for path in ("/tty", "/tty/")
        for each in (
            row("GET", f"{path}?{POLLING}", 200),
            row("GET", f"{path}?{POLLING}&j=0", 400),
            row("GET", f"{path}?EIO=3&transport=polling", 400),
            row("GET", f"{path}?{NO_SID}", 400),
            row("POST", f"{path}?{POLLING}", 400),
            row("POST", f"{path}?{NO_SID}", 400),
            row("GET", f"{path}?{SOCKET}", 101, ws=True),
            row("GET", f"{path}?{SOCKET}&sid=AAAAAAAAAAAAAAAAAAAA", 400, ws=True),
        )
    ),
    row("GET", "/colab/tty", 426),
    row("GET", "/colab/tty", 101, ws=True),
    row("GET", "/colab/ssh", 404),
    row("GET", "/colab/ssh", 404, ws=True),
    row("GET", "/ssh", 404),
    *API,
    row("GET", "/recordings/x.cast", 404, 404, 403, 403, route="/recordings/{name}"),
    row("GET", "/replay?name=x.cast", 404, 404, 403, 403),
    row("GET", "/proxy/9/", 502, 502, 403, 403, route="/proxy/{rest}"),
    row("POST", "/proxy/9/", 502, 502, 403, 403, route="/proxy/{rest}"),
    row("GET", "/proxy/9/", 502, 502, 403, 403, route="/proxy/{rest}", ws=True),
    row("GET", "/proxy/7/", 404, 404, 403, 403, route="/proxy/{rest}"),
    row("GET", "/nothing", 404, route="-"),
    row("POST", "/", 405, route="-"),
]
"""Every entrance; the page's files are added when they are known."""


def entrances(door: Doorway) -> list[Entrance]:
    """Return all rows."""
    files = sorted(door.gate._policy.public_files)
    return [*ROWS, *(row("GET", file, 200, public=True) for file in files)]


@pytest.fixture
async def door(
    tmux: Tmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Doorway]:
    ports = (range(9, 10),)  # where nobody listens
    async with doorway(
        tmux, tmp_path, monkeypatch, base_path=BASE, approve=True, proxy=ports, join_timeout_s=1.0
    ) as made:
        yield made


COUNTED = ("engine.io connections", "engine.io sockets", "clients", "waiting", "consoles", "ssh")
"""What a refused request must not make more of; the rest is looked at when all have ended."""


async def test_the_table_has_every_route(door: Doorway) -> None:
    known = {(each.method, each.route) for each in entrances(door) if each.route != "-"}
    known |= {("*", route) for _, route in known if route.endswith("{rest}")}
    known = {each for each in known if each[0] == "*" or not each[1].endswith("{rest}")}
    both = known | {(method, BASE + route) for method, route in known} | {("GET", BASE)}
    assert routes_of(door.app) == both


@pytest.mark.parametrize(
    "cases", [CREDENTIALS, ORIGINS, HOSTS], ids=["credentials", "origins", "hosts"]
)
async def test_every_entrance_answers_every_credential_as_the_table_says_and_refuses_for_nothing(
    door: Doorway, cases: list[Case], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    start = door.footprint()
    cells = [(entrance, case) for entrance in entrances(door) for case in cases]
    refusals = [cell for cell in cells if is_refusal(*cell)]
    assert len(refusals) > 500
    for entrance, case in refusals:
        caplog.clear()
        with watched(door) as costly:
            answer = await ask(door, entrance, case)
            spent = list(costly)
        where = f"{entrance.name} with {case.name}"
        # aiohttp itself refuses a request without Host, or with two.
        allowed = (case.answer, 400) if case.hosts is not None else (case.answer,)
        assert answer.status in allowed, f"{where}: {answer.status}, not {case.answer}"
        assert spent == [], where
        logged = list(lines_logged(caplog))
        assert len(logged) <= 1, (where, logged)
        assert all(len(line) < 300 and line.isprintable() for line in logged), logged
        assert TOKEN not in str(logged) + answer.head + answer.body.decode("latin-1")
        assert "set-cookie" not in answer.head.lower()
        assert {name: door.footprint()[name] for name in COUNTED} == dict.fromkeys(COUNTED, 0)
    await door.settled(start)
    for entrance, case in cells:
        if not is_refusal(entrance, case):
            answer, expected = await ask(door, entrance, case), case.expected(entrance)
            where = f"{entrance.name} with {case.name}"
            assert answer.status == expected, f"{where}: {answer.status}, not {expected}"
    # python-engineio looks every 20 s for what has ended without a further poll.
    await door.settled({name: 0 for name in COUNTED if name != "engine.io sockets"})


BELOW = [
    *[case for case in CREDENTIALS if case.name in ("nothing", "an owner's cookie")],
    *[
        case
        for case in CREDENTIALS
        if case.name in ("a viewer's cookie", "a revoked link's cookie")
    ],
    *[case for case in ORIGINS if "another site" in case.name],
    *[case for case in HOSTS if case.name == "another name"],
]


async def test_below_a_base_path_the_same_holds(door: Doorway) -> None:
    for entrance in entrances(door):
        for case in BELOW:
            answer = await ask(door, entrance, case, BASE)
            expected = case.expected(entrance)
            assert answer.status == expected, f"{entrance.name} with {case.name}"
    assert (await door.ask("GET", BASE, BEARER)).status == 308
    assert (await door.ask("GET", BASE)).status == 401


METHODS = ["OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "PROPFIND", "BREW", "get"]


@pytest.mark.parametrize("method", METHODS)
async def test_a_method_that_does_not_exist_here_gets_nowhere(door: Doorway, method: str) -> None:
    start = door.footprint()
    for path in dict.fromkeys(each.path for each in entrances(door)):
        passes = path.startswith("/proxy/9/") and method not in ("TRACE", "PROPFIND", "BREW", "get")
        with watched(door) as costly:
            answer = await door.ask(method, path, BEARER, *UPGRADE)
            assert passes or costly == [], path
        if passes:
            assert answer.status in (403, 502), (path, answer.status)
        else:
            # Some the parser does not even know.
            known = 405 if method not in ("get", "BREW") else 400
            assert answer.status == known, (path, answer.status)
        assert "access-control-" not in answer.head.lower()
    await door.settled(start)


async def test_a_request_that_is_too_large_gets_nowhere(door: Doorway) -> None:
    start = door.footprint()
    for path in dict.fromkeys(each.path for each in entrances(door)):
        limit = MAX_LOGIN_BYTES if path == "/login" else MAX_MESSAGE_BYTES
        if path.startswith("/proxy/9/"):
            continue  # apps have limits of their own
        for size in (limit + 1, 10**18, 10**30):
            with watched(door) as costly:
                answer = await door.ask("POST", path, BEARER, f"Content-Length: {size}")
                assert costly == [], path
            assert answer.status == 413 or (size == 10**30 and answer.status == 400), (path, size)
    await door.settled(start, within_s=5.0)  # aiohttp by itself reads on for ten


FAULTS: dict[str, int] = {"host": 421, "origin": 403, "method": 405, "size": 413, "credential": 401}
"""What is checked, in this order, and the answer to who fails it."""


@pytest.mark.parametrize("path", ["/", f"/tty/?{POLLING}", "/colab/tty", "/api/status", "/replay"])
async def test_of_several_faults_the_first_one_is_answered(door: Doorway, path: str) -> None:
    for number in range(1, len(FAULTS) + 1):
        for faults in combinations(FAULTS, number):
            hosts = ("evil.example",) if "host" in faults else None
            lines = [] if "credential" in faults else [BEARER]
            if "origin" in faults:
                lines.append("Origin: http://evil.example")
            if "size" in faults:
                lines.append(f"Content-Length: {MAX_MESSAGE_BYTES + 1}")
            method = "OPTIONS" if "method" in faults else "GET"
            answer = await door.ask(method, path, *lines, hosts=hosts)
            assert answer.status == FAULTS[faults[0]], (path, faults)


async def test_a_target_that_is_no_path_gets_nowhere(door: Doorway) -> None:
    for target in (f"http://{door.own}/", f"http://{door.own}/tty/?{POLLING}", "*", "tty/"):
        method = "OPTIONS" if target == "*" else "GET"
        assert (await door.ask(method, target, BEARER)).status in (400, 405)


async def test_a_thousand_strangers_cost_nothing(door: Doorway) -> None:
    strangers = [
        ("GET", f"/tty/?{POLLING}", ()),
        ("POST", f"/tty/?{NO_SID}", ()),
        ("GET", f"/tty/?{SOCKET}", UPGRADE),
        ("GET", "/colab/tty", UPGRADE),
        ("GET", "/colab/ssh", UPGRADE),
        ("GET", "/proxy/9/", UPGRADE),
        ("GET", "/api/people", ()),
        ("GET", "/recordings/x.cast", ()),
        ("GET", "/?token=wrong", ("Accept: text/html",)),
        ("GET", f"/?link={door.link(Role.OWNER).text[:-1]}x", ()),
    ]
    for method, path, lines in strangers:  # once, so that everything is there that is kept
        assert (await door.ask(method, path, *lines)).status == 401
    start, links = door.footprint(), len(door.credentials.links.all())
    with watched(door) as costly:
        for number in range(1000):
            method, path, lines = strangers[number % len(strangers)]
            assert (await door.ask(method, path, *lines)).status == 401
        await door.settled(start)
        assert costly == []
    assert len(door.credentials.links.all()) == links
    assert door.credentials._guests._sessions == {}
    assert (await door.ask("GET", "/api/people", BEARER)).status == 200


async def test_a_sid_is_worth_nothing_without_the_credential_that_opened_it(door: Doorway) -> None:
    holders = {
        "an owner": door.cookie(Role.OWNER),
        "an editor": door.admitted(Role.EDITOR),
        "a viewer": door.admitted(Role.VIEWER),
    }
    for name, own in holders.items():
        others = [door.cookie(Role.OWNER), door.admitted(Role.EDITOR), door.admitted(Role.VIEWER)]
        mine = (door.line(own), door.origin)
        opened = await door.ask("GET", f"/tty/?{POLLING}", *mine)
        sid = json.loads(opened.body[1:])["sid"]
        address, socket = f"/tty/?{POLLING}&sid={sid}", f"/tty/?{SOCKET}&sid={sid}"
        hello = b'40{"protocol":1,"cols":80,"rows":24}'
        wrong = {
            "nothing": ((), 401),
            "a wrong token": (("Authorization: Bearer wrong",), 401),
            "the token itself": ((BEARER,), 403),
            "a logged-out cookie": ((door.line(door.logged_out()), door.origin), 401),
            "no Origin": ((door.line(own),), 403),
            "a foreign Origin": ((door.line(own), "Origin: http://evil.example"), 403),
            **{
                f"another's cookie ({number})": ((door.line(other), door.origin), 403)
                for number, other in enumerate(others)
            },
        }
        here = len(door.hub.attachments)
        for what, (lines, status) in wrong.items():
            where = f"{name}'s sid with {what}"
            assert (await door.ask("GET", address, *lines)).status == status, where
            assert (await door.ask("POST", address, *lines, body=hello)).status == status, where
            assert (await door.ask("GET", socket, *lines, *UPGRADE)).status == status, where
            assert len(door.hub.attachments) <= here, where
        for jsonp in ("&j=0", "&j=", "&d=4"):
            assert (await door.ask("GET", address + jsonp, *mine)).status == 400
            assert (await door.ask("POST", address + jsonp, *mine, body=b"d=40")).status == 400
        # Nothing of that has disturbed it.
        assert (await door.ask("POST", address, *mine, body=hello)).status == 200
        answers = b"".join([(await door.ask("GET", address, *mine)).body for _ in range(2)])
        assert b'"joined"' in answers
        await door.ask("POST", "/logout", *mine)
        assert (await door.ask("GET", address, *mine)).status == 401
        assert (await door.ask("POST", address, *mine, body=b"3")).status == 401
        assert (await door.ask("GET", socket, *mine, *UPGRADE)).status == 401
