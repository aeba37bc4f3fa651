"""Guests: what their sessions give, what changes them during a run, and what ends them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_access import NOW, OWN, POLICY, TOKEN
from ttybridge.core.access import BEARER, COOKIE_MAX_AGE_S, MAX_REVOKED, Credentials, Ended
from ttybridge.core.decision import MAX_COOKIES, Decision, authorize
from ttybridge.core.links import MAX_LINKS, Link, Over
from ttybridge.core.origin import RequestFacts
from ttybridge.core.permissions import is_lower
from ttybridge.model import Role

DAY_S = 86_400.0
PLACE = "localhost:8080"
VISIT = replace(OWN, path="/", fetch_mode="navigate", fetch_dest="document")


class Run:
    """One run of a bridge, and what is done in it."""

    def __init__(self, prefix: str = "a") -> None:
        self.number = 0
        self.access = Credentials(TOKEN, new_id=lambda: f"{prefix}{self._next()}")

    def _next(self) -> int:
        self.number += 1
        return self.number

    def link(
        self,
        role: Role = Role.VIEWER,
        uses: int | None = None,
        name: str = "",
        life_s: float = DAY_S,
    ) -> Link:
        until = NOW + life_s
        made = Link(role, until, uses, name=name, access_until=until, is_shared=True)
        return self.access.links.issue(made, NOW)

    def opened(self, link: Link, place: str = PLACE) -> str:
        used = self.access.links.use(link.text, NOW)
        assert used is not None
        return self.access.issue_cookie(used.role, NOW, place, link=used)

    def id_of(self, cookie: str, place: str = PLACE) -> str:
        found = self.access.check_cookie(cookie, NOW, place)
        assert found is not None
        return found.id

    def role_of(self, cookie: str, place: str = PLACE) -> Role | None:
        found = self.access.check_cookie(cookie, NOW, place)
        return found.role if found else None

    def visit(self, link: Link | str, *cookies: str, now: float = NOW) -> Decision:
        text = link if isinstance(link, str) else link.text
        request = replace(VISIT, links=(text,), cookies=cookies)
        return authorize(request, POLICY, self.access, now)

    def ask(self, now: float = NOW, **facts: object) -> Decision:
        request: RequestFacts = replace(OWN, **{"origins": (f"http://{PLACE}",), **facts})  # type: ignore[arg-type]
        return authorize(request, POLICY, self.access, now)


def why(decision: Decision) -> Over | None:
    assert decision.status == 401
    assert not decision.is_failed_try
    return decision.over


@pytest.mark.parametrize("role", list(Role))
def test_a_guests_cookie_says_who_it_is_by_which_link_and_until_when(role: Role) -> None:
    run = Run()
    run.link()
    cookie = run.opened(run.link(role, name="Ada"))
    found = run.access.check_cookie(cookie, NOW, PLACE)
    assert found is not None
    assert (found.role, found.link, found.name, found.via) == (role, "l2", "Ada", "cookie")
    assert found.ends_at == NOW + DAY_S
    assert len(cookie) < 250


def test_a_guests_access_ends_at_its_time() -> None:
    run = Run()
    cookie = run.opened(run.link())
    assert run.access.check_cookie(cookie, NOW + DAY_S, PLACE) is not None
    assert run.access.judge(cookie, NOW + DAY_S + 1, PLACE) == Ended(Over.EXPIRED, "l1")


@pytest.mark.parametrize("role", list(Role))
def test_guests_end_with_the_run_and_owners_links_do_not(role: Role) -> None:
    before, after = Run("a"), Run("b")
    guest = before.opened(before.link(role))
    owners = before.access.links.issue(Link(Role.OWNER, NOW + DAY_S), NOW)
    owner = before.opened(owners)
    after.opened(after.link(Role.OWNER, name="somebody else"))  # has the same id there
    assert after.access.judge(guest, NOW, PLACE) == Ended(Over.CLOSED, "l1")
    kept = after.access.check_cookie(owner, NOW, PLACE)
    assert kept is not None
    assert (kept.role, kept.link, kept.name, kept.ends_at) == (Role.OWNER, "", "", None)


def test_a_link_for_less_than_an_owner_makes_guests_whoever_made_it() -> None:
    run = Run()
    link = run.access.links.issue(Link(Role.EDITOR, NOW + DAY_S), NOW)
    assert Run("b").access.check_cookie(run.opened(link), NOW, PLACE) is None


def test_revoking_a_link_ends_all_that_it_gave_and_nothing_else() -> None:
    run = Run()
    link, other = run.link(name="Ada"), run.link()
    inside = [run.opened(link), run.opened(link, BEARER)]
    left = run.opened(link)
    run.access.revoke(run.id_of(left), NOW)
    kept = run.opened(other)
    ids = [run.id_of(inside[0]), run.id_of(inside[1], BEARER)]
    assert run.access.sessions_of(link.id) == ids
    assert run.access.revoke_link(link.id, NOW) == ids
    assert run.access.sessions_of(link.id) == []
    assert run.role_of(inside[0]) is run.role_of(inside[1], BEARER) is None
    assert why(run.ask(cookies=(inside[0],))) is Over.REVOKED
    assert why(run.ask(header_tokens=(inside[1],))) is Over.REVOKED
    assert why(run.visit(link)) is Over.REVOKED
    assert run.role_of(kept) is Role.VIEWER


def test_revoking_an_owners_link_ends_what_it_gave_even_after_the_link_is_forgotten() -> None:
    run = Run()
    link = run.access.links.issue(Link(Role.OWNER, NOW + DAY_S), NOW)
    cookie = run.opened(link)
    run.access.revoke_link(link.id, NOW)
    for _ in range(MAX_LINKS):
        run.opened(run.access.links.issue(Link(Role.OWNER, NOW + 1), NOW))
    assert run.access.links.get(link.id) is None
    assert run.role_of(cookie) is None
    assert len(run.access._guests._sessions) == MAX_LINKS


def test_a_changed_role_is_what_the_session_gives_by_every_way() -> None:
    run = Run()
    link = run.link(Role.VIEWER)
    cookie, bearer, other = run.opened(link), run.opened(link, BEARER), run.opened(link)
    for role in (Role.EDITOR, Role.VIEWER, Role.OWNER, Role.VIEWER):
        run.access.set_role(run.id_of(cookie), role)
        run.access.set_role(run.id_of(bearer, BEARER), role)
        assert run.role_of(cookie) is role
        for decision in (
            run.ask(cookies=(cookie,)),
            run.ask(header_tokens=(bearer,)),
            run.ask(query_tokens=(bearer,)),
            run.visit(link, cookie),
        ):
            assert decision.principal is not None
            assert decision.principal.role is role
        assert run.role_of(other) is Role.VIEWER


@given(st.data())
def test_nothing_that_a_viewer_sends_gives_more_than_was_given(data: st.DataObject) -> None:
    run = Run()
    link = run.link(Role.VIEWER)
    run.link(Role.OWNER)
    known = [run.opened(link), run.opened(link, BEARER), run.opened(link), link.text, "x", ""]
    parts = sorted({part for text in known for part in text.split(".")} | {"o", "e", "l2"})
    values = st.lists(
        st.sampled_from(known) | st.lists(st.sampled_from(parts)).map(".".join), max_size=3
    ).map(tuple)
    given_role = data.draw(st.sampled_from([Role.VIEWER, Role.EDITOR]))
    run.access.set_role(run.id_of(known[0]), given_role)
    request = replace(
        data.draw(st.sampled_from([OWN, VISIT])),
        origins=data.draw(st.sampled_from([(), (f"http://{PLACE}",)])),
        from_page=True,
        cookies=data.draw(values),
        header_tokens=data.draw(values),
        query_tokens=data.draw(values),
        links=data.draw(values),
    )
    decision = authorize(request, POLICY, run.access, NOW)
    who = decision.principal or decision.link
    assert who is None or not is_lower(given_role, who.role)


def test_an_owner_can_be_made_a_viewer_for_the_run_and_the_token_cannot() -> None:
    run = Run()
    cookie = run.access.issue_cookie(Role.OWNER, NOW, PLACE)
    run.access.set_role(run.id_of(cookie), Role.VIEWER)
    assert run.role_of(cookie) is Role.VIEWER
    for shared in ("token", "none", "link", "", "ssh:SHA256:x"):
        run.access.set_role(shared, Role.VIEWER)
        run.access.end(shared, NOW)
    found = run.access.check_token(TOKEN)
    assert found is not None
    assert found.role is Role.OWNER
    assert Run("b").role_of(cookie) is Role.OWNER


def test_who_is_removed_stays_out_and_is_told_so() -> None:
    run = Run()
    link = run.link(Role.EDITOR)
    cookie, other = run.opened(link), run.opened(link)
    session_id = run.id_of(cookie)
    run.access.end(session_id, NOW)
    run.access.revoke(session_id, NOW)
    assert why(run.ask(cookies=(cookie,))) is Over.REMOVED
    assert why(run.visit(link, cookie)) is Over.REMOVED
    assert run.ask(cookies=(other,)).is_allowed
    run.access.revoke_link(link.id, NOW)
    assert why(run.ask(cookies=(cookie,))) is Over.REMOVED
    # Another link was made for somebody who may come back.
    assert run.visit(run.link(), cookie).link is not None


def test_who_has_signed_out_is_told_nothing_and_may_open_the_link_again() -> None:
    run = Run()
    link = run.link()
    cookie = run.opened(link)
    run.access.revoke(run.id_of(cookie), NOW)
    refused = run.ask(cookies=(cookie,))
    assert (refused.status, refused.over) == (401, None)
    assert run.visit(link, cookie).link is not None
    bearer = run.opened(link, BEARER)
    run.access.revoke(run.id_of(bearer, BEARER), NOW)
    assert why(run.ask(header_tokens=(bearer,))) is None


def test_guests_who_sign_out_again_and_again_end_nobody_elses_session() -> None:
    run = Run()
    owner = run.access.issue_cookie(Role.OWNER, NOW, PLACE)
    link, other = run.link(), run.link()
    guest = run.opened(other)
    for each in range(MAX_REVOKED):
        run.access.revoke(run.id_of(run.opened(link)), NOW + each)
    assert run.role_of(owner) is Role.OWNER
    assert run.role_of(guest) is Role.VIEWER


# Which counts: the link, or what the browser holds


@pytest.mark.parametrize("held", list(Role))
@pytest.mark.parametrize("role", list(Role))
def test_the_link_counts_when_it_gives_more_and_the_cookie_otherwise(
    held: Role, role: Role
) -> None:
    run = Run()
    cookie = run.opened(run.link(held))
    decision = run.visit(run.link(role, life_s=DAY_S if role is held else 2 * DAY_S), cookie)
    assert decision.is_allowed
    if is_lower(held, role):
        assert decision.link is not None
    else:
        assert decision.principal is not None
        assert decision.principal.role is held
        assert decision.link is None


def test_a_link_never_takes_the_rights_away_that_the_tokens_cookie_gives() -> None:
    run = Run()
    cookie = run.access.issue_cookie(Role.OWNER, NOW, PLACE)
    for role in Role:
        decision = run.visit(run.link(role, uses=1), cookie)
        assert decision.principal is not None
        assert (decision.principal.role, decision.principal.link) == (Role.OWNER, "")


def test_of_two_links_for_as_much_the_one_for_longer_counts() -> None:
    run = Run()
    cookie = run.opened(run.link())
    assert run.visit(run.link(life_s=2 * DAY_S), cookie).link is not None
    assert run.visit(run.link(life_s=10.0), cookie).principal is not None


def test_opening_the_same_link_again_brings_back_nothing_that_was_taken() -> None:
    run = Run()
    link = run.link(Role.EDITOR, uses=2)
    cookie = run.opened(link)
    run.access.set_role(run.id_of(cookie), Role.VIEWER)
    decision = run.visit(link, cookie)
    assert decision.link is None
    assert decision.principal is not None
    assert decision.principal.role is Role.VIEWER


def test_of_several_cookies_the_one_with_the_most_rights_counts() -> None:
    run = Run()
    owner = run.access.issue_cookie(Role.OWNER, NOW, PLACE)
    viewers = [run.opened(run.link()) for _ in range(MAX_COOKIES)]
    for cookies in ((viewers[0], owner), (owner, viewers[0]), (*viewers[1:], owner)):
        principal = run.ask(cookies=cookies).principal
        assert principal is not None
        assert principal.role is Role.OWNER
    gone = run.opened(run.link())
    run.access.end(run.id_of(gone), NOW)
    assert run.ask(cookies=(gone, viewers[0])).is_allowed


# What is no guess


def test_links_and_sessions_that_are_over_are_no_failed_tries_and_altered_ones_are() -> None:
    run = Run()
    used, gone = run.link(uses=1), run.link()
    run.opened(used)
    run.access.revoke_link(gone.id, NOW)
    late = NOW + DAY_S + 1
    assert why(run.visit(used)) is Over.USED
    assert why(run.visit(gone)) is Over.REVOKED
    assert why(run.visit(run.link(), now=late)) is Over.EXPIRED
    bearer = run.opened(run.link(), BEARER)
    assert why(run.ask(late, header_tokens=(bearer,))) is Over.EXPIRED
    for text in (gone.text[:-1], used.text.replace(".v.", ".o."), "l9.v.zzz.AAAA"):
        assert run.visit(text).is_failed_try
    assert run.ask(header_tokens=(bearer[:-2],)).is_failed_try


def test_an_old_cookie_of_a_guest_is_nothing_any_more() -> None:
    run = Run()
    link = Link(Role.VIEWER, NOW + DAY_S, None, is_shared=True)
    cookie = run.opened(run.access.links.issue(link, NOW))
    assert run.access.check_cookie(cookie, NOW + COOKIE_MAX_AGE_S, PLACE) is not None
    assert run.access.judge(cookie, NOW + COOKIE_MAX_AGE_S + 1, PLACE) is None
