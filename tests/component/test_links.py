"""Links that let in once: how they are opened, by whom, and what is left of them."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.component.test_security_middleware import FORM, PAGE, Answer, Site, running
from ttybridge.core.links import Link
from ttybridge.model import Role

LOGIN = b"""<h1>Sign in</h1>
<p>Open the link.</p>
<form method="post" action="login"><label for="token">Token</label>
<input id="token" name="token" /><button>Go</button></form><p class="fine">Fine.</p>"""

PERSON = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: cross-site")
"""Headers of a browser in which somebody follows a link."""

FRAME = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe", "Sec-Fetch-Site: cross-site")


@pytest.fixture(name="site")
async def started_site() -> AsyncIterator[Site]:
    async with running(login_page=LOGIN) as site:
        yield site


def new_link(site: Site, *, life_s: float = 100_000.0, **values: Any) -> str:
    link = Link(values.pop("role", Role.OWNER), site.now + life_s, **values)
    return site.credentials.links.issue(link, site.now).text


def cookie(answer: Answer) -> str:
    return "Cookie: " + answer["set-cookie"].partition(";")[0] + "\r\nX-TTYBridge-Client: page"


async def test_a_link_lets_one_browser_in_and_stays_good_for_that_one(site: Site) -> None:
    text = new_link(site)
    first = await site.get(f"/?link={text}", *PERSON)
    assert (first.status, first["location"]) == (303, "./")
    assert text not in str(first.headers) + first.body.decode()
    assert (await site.get("/tty/", cookie(first))).body == b"page for owner via cookie"

    other = await site.get(f"/?link={text}", *PERSON, "Accept: text/html")
    assert other.status == 401
    assert b"has been used, or is too old" in other.body
    assert "set-cookie" not in dict(other.headers)
    again = await site.get(f"/?link={text}", *PERSON, cookie(first))
    assert (again.status, again["location"]) == (303, "./")
    assert "set-cookie" not in dict(again.headers)


@pytest.mark.parametrize("role", list(Role))
async def test_whoever_opens_a_link_has_its_role(site: Site, role: Role) -> None:
    entered = await site.get(f"/?link={new_link(site, role=role)}", *PERSON)
    seen = await site.get("/tty/", cookie(entered))
    assert seen.body.decode() == f"page for {role.value} via cookie"


async def test_a_link_ends_after_its_time(site: Site) -> None:
    text = new_link(site, life_s=-1.0)
    assert (await site.get(f"/?link={text}", *PERSON)).status == 401


async def test_a_link_for_two_browsers_lets_two_in(site: Site) -> None:
    text = new_link(site, uses=2)
    answers = [await site.get(f"/?link={text}", *PERSON) for _ in range(3)]
    assert [answer.status for answer in answers] == [303, 303, 401]
    assert cookie(answers[0]) != cookie(answers[1])


async def test_a_preview_of_a_link_does_not_use_it_up(site: Site) -> None:
    text = new_link(site)
    seen = await site.get(f"/?link={text}")
    for headers in ((), ("Accept: text/html",), ("Sec-Fetch-Mode: no-cors",)):
        seen = await site.get(f"/?link={text}", *headers)
        assert seen.status == 200
        assert "set-cookie" not in dict(seen.headers)
        assert b'name="token"' not in seen.body
        assert b"A terminal is shared with you" in seen.body
    found = re.search(rb'<input type="hidden" name="link" value="([^"]+)" />', seen.body)
    assert found is not None
    entered = await site.get("/login", FORM, method="POST", body=f"link={found[1].decode()}")
    assert entered.status == 303
    assert (await site.get("/tty/", cookie(entered))).status == 200
    assert (await site.get("/login", FORM, method="POST", body=f"link={text}")).status == 401


async def test_a_program_exchanges_a_link_for_a_token_of_its_own(site: Site) -> None:
    text = new_link(site, role=Role.EDITOR)
    form = (FORM, "Accept: application/json")
    answer = await site.get("/login", *form, method="POST", body=f"link={text}")
    assert answer.status == 200
    assert "set-cookie" not in dict(answer.headers)
    given = json.loads(answer.body)
    assert given["role"] == "editor"
    assert (given["name"], given["endsAt"]) == ("", None)
    bearer = f"Authorization: Bearer {given['token']}"
    assert (await site.get("/tty/", bearer)).body == b"page for editor via header"
    by_query = await site.get(f"/tty/?token={given['token']}")
    assert by_query.body == b"page for editor via query"
    left = await site.get("/logout", bearer, method="POST")
    assert left.status == 303
    assert len(site.ended) == 1
    assert (await site.get("/tty/", bearer)).status == 401
    assert (await site.get("/login", *form, method="POST", body=f"link={text}")).status == 401


async def test_a_guessed_link_is_a_failed_try_and_a_used_one_is_not(site: Site) -> None:
    used = new_link(site)
    await site.get(f"/?link={used}", *PERSON)
    now = site.now
    assert (await site.get(f"/?link={used}", *PERSON)).status == 401
    assert site.throttle.failed("127.0.0.1", now) < 0.2  # the first one that failed
    assert (await site.get("/?link=guessed", *PERSON)).status == 401
    assert site.throttle.failed("127.0.0.1", site.now) > 0.15  # the second


@pytest.mark.parametrize("path", ["/tty/", "/colab/tty", "/login", "/healthz2"])
async def test_a_link_opens_nothing_but_the_page(site: Site, path: str) -> None:
    text = new_link(site, is_framed=True)
    assert (await site.get(f"{path}?link={text}")).status in (303, 401)
    assert site.reached == []
    assert site.credentials.links.find(text, site.now) is not None


async def test_a_wrong_token_beside_a_link_is_refused(site: Site) -> None:
    text = new_link(site)
    assert (await site.get(f"/?link={text}&token=wrong", *PERSON)).status == 401
    assert (await site.get(f"/?link={text}&link={text}", *PERSON)).status == 401
    assert site.credentials.links.find(text, site.now) is not None


async def test_a_link_for_a_frame_brings_the_page_with_its_credential(site: Site) -> None:
    text = new_link(site, is_framed=True)
    seen = await site.get(f"/?link={text}", *FRAME)
    assert seen.status == 200
    found = re.search(rb'<meta name="ttybridge-credential" content="([^"]+)" />', seen.body)
    assert found is not None
    assert seen.body.replace(found[0], b"") == PAGE
    assert "frame-ancestors" not in seen["content-security-policy"]
    assert "default-src 'none'" in seen["content-security-policy"]
    assert "x-frame-options" not in dict(seen.headers)
    assert seen["cache-control"] == "no-store"
    assert "set-cookie" not in dict(seen.headers)
    allowed = await site.get(f"/tty/?token={found[1].decode()}")
    assert allowed.body == b"page for owner via query"
    again = await site.get(f"/?link={text}", *FRAME)
    assert again.status == 401
    assert b"run the cell again" in again.body
    assert "frame-ancestors" not in again["content-security-policy"]
    # What the frame's page holds is a token, and no cookie; a login's cookie is no token.
    held = f"Cookie: {site.cookie_name}={found[1].decode()}\r\nX-TTYBridge-Client: page"
    assert (await site.get("/tty/", held)).status == 401
    entered = await site.get(f"/?link={new_link(site)}", *PERSON)
    value = entered["set-cookie"].partition(";")[0].partition("=")[2]
    assert (await site.get("/tty/", f"Authorization: Bearer {value}")).status == 401
    # With a login in the same browser, a used link opens no frame either.
    assert (await site.get(f"/?link={text}", *FRAME, cookie(entered))).status == 401
    plain = await site.get("/style-1a.css")
    assert "frame-ancestors 'none'" in plain["content-security-policy"]


@pytest.mark.parametrize("proto", ["https", "http", "gopher"])
async def test_a_frame_is_served_under_the_name_of_the_place_it_is_in(
    site: Site, proto: str
) -> None:
    place = "Host: notebooks.example"

    async def at(path: str, *lines: str, method: str = "GET") -> Answer:
        head = "\r\n".join([f"{method} {path} HTTP/1.1", place, *lines])
        return await site.raw(f"{head}\r\n\r\n".encode())

    assert (await at("/tty/")).status == 421
    ordinary = new_link(site)
    assert (await at(f"/?link={ordinary}", *PERSON)).status == 421
    text = new_link(site, is_framed=True)
    seen = await at(f"/?link={text}", *FRAME, f"X-Forwarded-Proto: {proto}")
    assert seen.status == 200
    assert "set-cookie" not in dict(seen.headers)
    found = re.search(rb'content="([^"]+)"', seen.body)
    assert found is not None
    path = f"/tty/?token={found[1].decode()}"
    for origin in ("https://notebooks.example", "http://notebooks.example"):
        assert (await at(path, f"Origin: {origin}")).status == 200
    assert (await at(path, "Origin: https://elsewhere.example")).status == 403
    assert (await at("/tty/")).status == 401  # the name is served, and nobody let in by it


async def test_a_link_for_a_frame_is_for_what_a_person_sees(site: Site) -> None:
    text = new_link(site, is_framed=True)
    for mode, dest in (("no-cors", "script"), ("cors", "empty"), ("navigate", "object")):
        headers = (f"Sec-Fetch-Mode: {mode}", f"Sec-Fetch-Dest: {dest}")
        answer = await site.get(f"/?link={text}", *headers, "Sec-Fetch-Site: cross-site")
        assert answer.status == 403
    assert site.credentials.links.find(text, site.now) is not None


async def test_a_page_that_is_fetched_ahead_uses_no_link_up(site: Site) -> None:
    text = new_link(site)
    ahead = await site.get(f"/?link={text}", *PERSON, "Sec-Purpose: prefetch;prerender")
    assert (ahead.status, b"A terminal is shared" in ahead.body) == (200, True)
    assert (await site.get(f"/?link={text}", *PERSON)).status == 303


async def test_a_session_cannot_be_renewed_and_ends_everywhere(site: Site) -> None:
    form = (FORM, "Accept: application/json")
    answer = await site.get("/login", *form, method="POST", body=f"link={new_link(site)}")
    token = json.loads(answer.body)["token"]
    entered = await site.get(f"/?token={token}", *PERSON)
    assert entered.status == 303
    assert "set-cookie" not in dict(entered.headers)


async def test_a_cookie_is_for_the_name_that_it_was_given_under(site: Site) -> None:
    site.gate.add_host("old.example")
    site.gate.add_host("new.example")

    async def at(host: str, path: str, *lines: str) -> Answer:
        head = "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *lines])
        return await site.raw(f"{head}\r\n\r\n".encode())

    held = cookie(await at("old.example", f"/?link={new_link(site)}", *PERSON))
    assert (await at("old.example", "/tty/", held)).status == 200
    assert (await at("old.example:443", "/tty/", held)).status == 200
    assert (await at("new.example", "/tty/", held)).status == 401
    assert (await site.get("/tty/", held)).status == 401


async def test_a_tunnel_that_rewrites_host_is_known_by_origin(site: Site) -> None:
    token = "Authorization: Bearer "  # any credential: Origin is looked at before it
    origin = "Origin: https://a.example"
    assert (await site.get("/tty/", token + "x", origin)).status == 403
    site.gate.add_host("a.example")
    assert (await site.get("/tty/", token + "x", origin)).status == 401
    site.gate.remove_host("a.example")
    assert (await site.get("/tty/", token + "x", origin)).status == 403
