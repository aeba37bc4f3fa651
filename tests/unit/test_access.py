"""The token, cookies, what changes them during a run, and the decision about a request."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core.access import (
    COOKIE_MAX_AGE_S,
    MAX_REVOKED,
    Credentials,
    Principal,
)
from ttybridge.core.decision import Decision, authorize
from ttybridge.core.origin import RequestFacts, SecurityPolicy
from ttybridge.model import Role

TOKEN = "s3cret-token_with.many~characters"
NOW = 1_800_000_000.0
POLICY = SecurityPolicy(port=8080, public_files=frozenset({"/style.css"}))
OWN = RequestFacts(hosts=("localhost:8080",), peer="127.0.0.1", path="/tty/")

URL_SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

NEAR_MISSES = [
    "",
    " ",
    TOKEN[:-1],
    TOKEN + "x",
    TOKEN + " ",
    " " + TOKEN,
    TOKEN + "\0",
    TOKEN.upper(),
    TOKEN.replace("s3", "ſ3", 1),
    TOKEN[:-1] + "ѕ",
    "%73" + TOKEN[1:],
    "\0",
    "\udcff\udcfe",
    "\ud800",
    "🔑",
    "null",
    "None",
    "x" * 1_000_000,
    b"",
    b"\xff\xfe",
    TOKEN.encode("utf-16"),
    TOKEN.encode() + b"\n",
]


def ids() -> Iterator[str]:
    return (f"id-{number}" for number in itertools.count())


def credentials(token: str | None = TOKEN) -> Credentials:
    return Credentials(token, new_id=ids().__next__)


def test_the_token_makes_the_owner_as_text_and_as_bytes() -> None:
    assert credentials().check_token(TOKEN) == Principal("token", Role.OWNER, "header")
    assert credentials().check_token(TOKEN.encode(), via="query") == Principal(
        "token", Role.OWNER, "query"
    )


@pytest.mark.parametrize("candidate", NEAR_MISSES)
def test_nothing_but_the_token_is_the_token(candidate: str | bytes) -> None:
    assert credentials().check_token(candidate) is None


@given(st.text() | st.binary())
def test_no_text_or_bytes_break_the_checks(candidate: str | bytes) -> None:
    assert credentials().check_token(candidate) is None
    assert credentials(None).check_token(candidate) is None
    if isinstance(candidate, str):
        assert credentials().check_cookie(candidate, NOW) is None


def test_a_cookie_stands_for_its_role_and_has_an_id_of_its_own() -> None:
    access = credentials()
    first = access.issue_cookie(Role.VIEWER, NOW)
    second = access.issue_cookie(Role.OWNER, NOW)
    assert access.check_cookie(first, NOW) == Principal("id-1", Role.VIEWER, "cookie")
    assert access.check_cookie(second, NOW) == Principal("id-2", Role.OWNER, "cookie")
    assert TOKEN not in first


def test_a_cookie_outlives_a_restart_with_the_same_token_and_dies_with_the_token() -> None:
    cookie = credentials().issue_cookie(Role.OWNER, NOW)
    assert credentials().check_cookie(cookie, NOW) is not None
    assert credentials(TOKEN + "2").check_cookie(cookie, NOW) is None
    assert credentials(None).check_cookie(cookie, NOW) is None


@pytest.mark.parametrize(
    ("age", "is_valid"),
    [
        (0, True),
        (COOKIE_MAX_AGE_S, True),
        (COOKIE_MAX_AGE_S + 1, False),
        (-300, True),
        (-301, False),
    ],
)
def test_a_cookie_ends_thirty_days_after_the_login(age: float, is_valid: bool) -> None:
    access = credentials()
    cookie = access.issue_cookie(Role.OWNER, NOW)
    assert (access.check_cookie(cookie, NOW + age) is not None) is is_valid


def test_a_cookie_with_any_character_changed_is_nothing() -> None:
    access = credentials()
    cookie = access.issue_cookie(Role.VIEWER, NOW)
    for place, character in enumerate(cookie):
        other = "A" if character != "A" else "B"
        assert access.check_cookie(cookie[:place] + other + cookie[place + 1 :], NOW) is None
    assert access.check_cookie(cookie + "." + cookie, NOW) is None


def test_a_cookie_has_one_spelling() -> None:
    access = credentials()
    cookie = access.issue_cookie(Role.VIEWER, NOW)
    last = [access.check_cookie(cookie[:-1] + each, NOW) for each in URL_SAFE]
    assert sum(found is not None for found in last) == 1  # it has bits that base64 leaves out
    for more in ("\0", "=", " ", "\n", "!", "é"):
        assert access.check_cookie(cookie + more, NOW) is None
        assert access.check_cookie(cookie[:-4] + more + cookie[-4:], NOW) is None
    assert access.check_cookie(cookie, NOW) is not None


def test_a_logout_ends_one_session_only() -> None:
    access = credentials()
    gone, kept = (access.issue_cookie(Role.OWNER, NOW) for _ in range(2))
    access.revoke("id-1", NOW)
    assert access.check_cookie(gone, NOW) is None
    assert access.check_cookie(kept, NOW) is not None


def test_a_forgotten_logout_does_not_bring_its_session_back() -> None:
    access = credentials()
    gone = access.issue_cookie(Role.OWNER, NOW)
    access.revoke("id-1", NOW)
    for number in range(MAX_REVOKED):
        access.revoke(f"other-{number}", NOW + 60)
    assert access.check_cookie(gone, NOW + 61) is None
    later = access.issue_cookie(Role.OWNER, NOW + 61)
    assert access.check_cookie(later, NOW + 61) is not None


# The decision


def decide(request: RequestFacts, access: Credentials | None = None) -> Decision:
    return authorize(request, POLICY, access or credentials(), NOW)


def test_each_credential_lets_its_owner_in() -> None:
    access = credentials()
    cookie = access.issue_cookie(Role.EDITOR, NOW, "localhost:8080")
    page = replace(OWN, origins=("http://localhost:8080",))
    for request, via in (
        (replace(OWN, header_tokens=(TOKEN,)), "header"),
        (replace(OWN, query_tokens=(TOKEN,)), "query"),
        (replace(page, cookies=("stale", cookie)), "cookie"),
    ):
        decision = decide(request, access)
        assert decision.is_allowed
        assert decision.principal is not None
        assert decision.principal.via == via


def test_every_wrong_form_gets_the_same_answer() -> None:
    wrong = [decide(OWN)]
    for candidate in NEAR_MISSES:
        if isinstance(candidate, str):
            wrong.append(decide(replace(OWN, header_tokens=(candidate,))))
            wrong.append(decide(replace(OWN, query_tokens=(candidate,))))
            wrong.append(
                decide(replace(OWN, cookies=(candidate,), origins=("http://localhost:8080",)))
            )
    assert {(one.status, one.reason, one.principal) for one in wrong} == {
        (401, wrong[0].reason, None)
    }


def test_a_wrong_token_is_not_made_good_by_what_else_is_sent() -> None:
    access = credentials()
    cookie = access.issue_cookie(Role.OWNER, NOW, "localhost:8080")
    page = replace(OWN, origins=("http://localhost:8080",), cookies=(cookie,))
    assert decide(page, access).status == 200
    for request in (
        replace(page, query_tokens=("wrong",)),
        replace(page, header_tokens=("wrong",)),
        replace(OWN, header_tokens=(TOKEN, "wrong")),
        replace(OWN, header_tokens=(TOKEN,), query_tokens=("wrong",)),
    ):
        decision = decide(request, access)
        assert decision.status == 401
        assert decision.is_failed_try


def test_only_a_wrong_token_counts_as_a_failed_try() -> None:
    assert not decide(OWN).is_failed_try
    assert not decide(
        replace(OWN, cookies=("x",), origins=("http://localhost:8080",))
    ).is_failed_try
    assert decide(replace(OWN, query_tokens=("x",))).is_failed_try


def test_checks_come_in_order_and_a_later_one_says_nothing_before_its_turn() -> None:
    everything_wrong = replace(
        OWN,
        hosts=("evil.example",),
        origins=("http://evil.example",),
        method="DELETE",
        content_length=10_000_000,
        query_tokens=("wrong",),
    )
    for fix, status in (
        ({}, 421),
        ({"hosts": OWN.hosts}, 403),
        ({"origins": ("http://localhost:8080",)}, 405),
        ({"method": "POST"}, 413),
        ({"content_length": 1_000_000}, 401),
        ({"query_tokens": (TOKEN,)}, 200),
    ):
        everything_wrong = replace(everything_wrong, **fix)
        decision = decide(everything_wrong)
        assert decision.status == status
        assert decision.is_failed_try == (status == 401)


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "get", "X"])
def test_other_methods_are_refused_even_with_the_token(method: str) -> None:
    assert decide(replace(OWN, method=method, header_tokens=(TOKEN,))).status == 405


@pytest.mark.parametrize("path", ["/healthz", "/login", "/style.css"])
def test_public_paths_need_no_credential_but_a_right_host_and_origin(path: str) -> None:
    decision = decide(replace(OWN, path=path))
    assert decision.is_allowed
    assert decision.principal is None
    assert decide(replace(OWN, path=path, hosts=("evil.example",))).status == 421
    assert decide(replace(OWN, path=path, origins=("http://evil.example",))).status == 403


@pytest.mark.parametrize(
    "path", ["/", "/healthz/", "/healthz/x", "//healthz", "/LOGIN", "/login/", "/app.js", "/logout"]
)
def test_every_other_path_needs_a_credential(path: str) -> None:
    assert decide(replace(OWN, path=path)).status == 401


def test_the_login_form_is_small() -> None:
    login = replace(OWN, path="/login", method="POST")
    assert decide(replace(login, content_length=4096)).status == 200
    assert decide(replace(login, content_length=4097)).status == 413


def test_without_credentials_everybody_on_this_machine_is_the_owner_but_no_foreign_page() -> None:
    access = credentials(None)
    assert decide(OWN, access).principal == Principal("none", Role.OWNER, "none")
    assert decide(replace(OWN, hosts=("evil.example:8080",)), access).status == 421
    assert decide(replace(OWN, origins=("http://evil.example",)), access).status == 403
