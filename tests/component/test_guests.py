"""Guests before the gate: what a link gives, what a browser keeps, and what they are told."""

import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.component.test_links import FRAME, LOGIN, PERSON, cookie
from tests.component.test_security_middleware import FORM, TOKEN, UPGRADE, Answer, Site, running
from ttybridge.core.links import Link, Over
from ttybridge.model import Role

DAY_S = 86_400.0
JSON = (FORM, "Accept: application/json")
HTML = "Accept: text/html"
LOGIN_HTML = Path(__file__).parents[2] / "static/login.html"


@pytest.fixture(name="site")
async def started_site() -> AsyncIterator[Site]:
    async with running(login_page=LOGIN) as site:
        yield site


def share(
    site: Site, role: Role = Role.VIEWER, *, uses: int | None = None, life_s: float = 30 * DAY_S
) -> Link:
    until = site.now + life_s
    link = Link(role, until, uses, name="Ada", access_until=until, is_shared=True)
    return site.credentials.links.issue(link, site.now)


async def open_link(site: Site, link: Link, *lines: str) -> Answer:
    return await site.get(f"/?link={link.text}", *PERSON, *lines)


async def exchange(site: Site, link: Link) -> str:
    answer = await site.get("/login", *JSON, method="POST", body=f"link={link.text}")
    assert answer.status == 200
    return f"Authorization: Bearer {json.loads(answer.body)['token']}"


async def token_cookie(site: Site) -> str:
    return cookie(await site.get(f"/?token={TOKEN}", *PERSON))


async def role_of(site: Site, *lines: str) -> str:
    answer = await site.get("/tty/", *lines)
    return answer.body.decode().split()[2] if answer.status == 200 else str(answer.status)


def session_of(site: Site, line: str) -> str:
    value = line.partition("\r\n")[0].rpartition("=")[2]
    found = site.credentials.check_cookie(value, site.now, None)
    assert found is not None
    return found.id


@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)
async def test_a_shared_link_gives_its_role_by_every_way_in(site: Site, role: Role) -> None:
    link = share(site, role)
    visited = await open_link(site, link)
    assert await role_of(site, cookie(visited)) == role.value
    posted = await site.get("/login", FORM, method="POST", body=f"link={link.text}")
    assert await role_of(site, cookie(posted)) == role.value
    bearer = await exchange(site, link)
    assert await role_of(site, bearer) == role.value
    found = site.credentials.links.get(link.id)
    assert found is not None
    assert found.opened == 3


async def test_a_program_is_told_what_it_has_got(site: Site) -> None:
    link = share(site)
    answer = await site.get("/login", *JSON, method="POST", body=f"link={link.text}")
    given = json.loads(answer.body)
    assert len(given.pop("token")) < 300
    assert given == {"role": "viewer", "name": "Ada", "endsAt": link.access_until}


async def test_an_owner_who_opens_a_guests_link_stays_owner_and_uses_nothing_up(site: Site) -> None:
    held = await token_cookie(site)
    for role in Role:
        link = share(site, role, uses=1)
        for answer in (
            await open_link(site, link, held),
            await site.get("/login", FORM, held, method="POST", body=f"link={link.text}"),
        ):
            assert (answer.status, answer["location"]) == (303, "./")
            assert "set-cookie" not in answer.names()
        assert await role_of(site, held) == "owner"
        assert (await open_link(site, link)).status == 303  # it still lets the guest in


async def test_a_viewer_with_an_editors_link_becomes_an_editor_and_not_the_other_way_round(
    site: Site,
) -> None:
    viewers, editors = share(site), share(site, Role.EDITOR)
    held = cookie(await open_link(site, viewers))
    raised = cookie(await open_link(site, editors, held))
    assert await role_of(site, raised) == "editor"
    assert "set-cookie" not in (await open_link(site, viewers, raised)).names()
    assert await role_of(site, held) == "viewer"


async def test_a_role_that_was_taken_does_not_come_back_with_the_same_link(site: Site) -> None:
    link = share(site, Role.EDITOR)
    held, bearer = cookie(await open_link(site, link)), await exchange(site, link)
    for line in (held, bearer):
        site.credentials.set_role(
            session_of(site, line.replace("Authorization: Bearer ", "=")), Role.VIEWER
        )
        assert await role_of(site, line) == "viewer"
    again = await open_link(site, link, held)
    assert (again.status, "set-cookie" in again.names()) == (303, False)
    posted = await site.get("/login", FORM, held, method="POST", body=f"link={link.text}")
    assert (posted.status, "set-cookie" in posted.names()) == (303, False)
    token = bearer.rpartition(" ")[2]
    entered = await site.get(f"/?token={token}", *PERSON)
    assert (entered.status, "set-cookie" in entered.names()) == (303, False)
    form = await site.get("/login", FORM, method="POST", body=f"token={token}")
    assert form.status == 401  # a session makes no new one
    assert await role_of(site, held) == await role_of(site, bearer) == "viewer"


async def test_revoking_a_link_ends_its_sessions_at_every_entrance(site: Site) -> None:
    link = share(site)
    held, bearer = cookie(await open_link(site, link)), await exchange(site, link)
    own = f"Origin: http://{site.own}"
    upgrade = await site.get("/colab/tty", held.partition("\r\n")[0], own, *UPGRADE)
    assert upgrade.status == 101
    assert len(site.credentials.revoke_link(link.id, site.now)) == 2
    for line in (held, bearer):
        answer = await site.get("/tty/", line)
        assert (answer.status, answer.body.startswith(Over.REVOKED.value.encode())) == (401, True)
    upgrade = await site.get("/colab/tty", held.partition("\r\n")[0], own, *UPGRADE)
    assert upgrade.status == 401
    token = bearer.rpartition(" ")[2]
    assert (await site.get(f"/tty/?token={token}")).status == 401
    assert (await open_link(site, link)).status == 401


@pytest.mark.parametrize("over", [Over.REVOKED, Over.REMOVED, Over.EXPIRED], ids=lambda o: o.name)
async def test_a_guest_whose_access_is_over_sees_what_has_happened(over: Over) -> None:
    page = LOGIN_HTML.read_bytes()
    async with running(login_page=page) as site:
        link = share(site, life_s=20_000)
        held = cookie(await open_link(site, link))
        if over is Over.REVOKED:
            site.credentials.revoke_link(link.id, site.now)
        elif over is Over.REMOVED:
            site.credentials.end(session_of(site, held), site.now)
        else:
            site.now += 30_000
        for answer in (
            await site.get("/", held, HTML),
            await open_link(site, link, held, HTML),
            await site.get("/login", FORM, HTML, held, method="POST", body=f"link={link.text}"),
        ):
            assert (answer.status, answer["content-type"]) == (401, "text/html; charset=utf-8")
            title = over.value.rstrip(".").encode()
            assert re.search(rb"<h1>(.*?)</h1>", answer.body)[1] == title  # type: ignore[index]
            assert b"Ask whoever shared it with you" in answer.body
            assert b"<form" not in answer.body
            assert b"token" not in answer.body.replace(b"ttybridge-credential", b"")
            assert link.text.encode() not in answer.body
        program = await site.get("/tty/", held)
        assert program.body.decode().startswith(over.value)


async def test_links_that_are_over_cost_no_time_and_altered_ones_do(site: Site) -> None:
    used, gone = share(site, uses=1), share(site)
    await open_link(site, used)
    site.credentials.revoke_link(gone.id, site.now)
    for link in (used, gone):
        assert (await open_link(site, link)).status == 401
        posted = await site.get("/login", *JSON, method="POST", body=f"link={link.text}")
        assert (posted.status, posted["content-type"][:10]) == (401, "text/plain")
    assert site.throttle.failed("127.0.0.1", site.now) < 0.2  # the first one that failed
    altered = used.text.replace(".v.", ".o.")
    assert (await site.get(f"/?link={altered}", *PERSON)).status == 401
    assert site.throttle.failed("127.0.0.1", site.now) > 0.15  # the second
    assert (await site.get("/login", *JSON, method="POST", body=f"link={altered}")).status == 401
    assert site.throttle.failed("127.0.0.1", site.now) > 0.15


async def test_a_guests_link_opens_no_frame(site: Site) -> None:
    link = share(site)
    assert (await site.get(f"/?link={link.text}", *FRAME)).status == 403
    found = site.credentials.links.get(link.id)
    assert found is not None
    assert found.opened == 0


async def test_the_log_gets_openings_and_wrong_tokens_and_no_secret(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="ttybridge")
    noted: list[dict[str, object]] = []
    site.gate.note = lambda event, **fields: noted.append({"event": event, **fields})
    link = share(site, Role.EDITOR)
    held = cookie(await open_link(site, link))
    await open_link(site, link, held)  # nothing is opened
    bearer = await exchange(site, link)
    await site.get("/tty/?token=wrong-token-1")
    await open_link(site, share(site), "X-Forwarded-For: 1.2.3.4")
    opened = {"event": "link-open", "link": "l1", "who": "Ada", "role": "editor"}
    at = {"address": "127.0.0.1"}
    assert noted == [
        opened | at,
        opened | at,
        {"event": "login-failed"} | at,
        opened | at | {"link": "l2", "role": "viewer"},
    ]
    site.credentials.revoke_link(link.id, site.now)
    await open_link(site, link)
    written = str(noted) + caplog.text
    for secret in (link.text.rpartition(".")[2], bearer.rpartition(" ")[2], "wrong-token-1"):
        assert secret not in written


async def test_a_proxied_app_is_given_no_credential_of_a_guest(site: Site) -> None:
    link = share(site, Role.EDITOR)
    held, bearer = cookie(await open_link(site, link)), await exchange(site, link)
    value = held.partition("\r\n")[0].rpartition("=")[2]
    texts = (link.text, value, bearer.rpartition(" ")[2], TOKEN)
    assert [site.gate.is_credential(text) for text in texts] == [True] * 4
    assert not site.gate.is_credential("l1")
    assert not site.gate.is_credential(link.text[:-1])
