"""Host, Origin, proxies and fetch metadata, as tables."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core.authority import Authority, parse_origin
from ttybridge.core.origin import RequestFacts, SecurityPolicy, Tunnel, check_host, check_origin
from ttybridge.errors import AccessDenied, ConfigError

POLICY = SecurityPolicy(
    port=8080,
    bound_host="192.0.2.7",
    allow_hosts=("term.example", "fixed.example:8443"),
    public_files=frozenset({"/style.css"}),
)
PROXIED = replace(POLICY, trusted_proxies=("127.0.0.1", "10.0.0.0/8", "2001:db8::/32"))
TUNNEL = Tunnel(Authority("abc.tunnel.example"), "https", adds_client_address=True)
TUNNELLED = replace(POLICY, tunnels=(TUNNEL,))


def facts(host: str = "localhost:8080", **fields: Any) -> RequestFacts:
    return replace(RequestFacts(hosts=(host,), peer="127.0.0.1"), **fields)


def status_of(request: RequestFacts, policy: SecurityPolicy = POLICY, **options: bool) -> int:
    """Return 200, or the status that Host and Origin are refused with."""
    try:
        check_origin(request, policy, check_host(request, policy), **options)
    except AccessDenied as error:
        return error.status
    return 200


# Host


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8080",
        "LocalHost:8080",
        "127.0.0.1:8080",
        "[::1]:8080",
        "[0:0:0:0:0:0:0:1]:8080",
        "192.0.2.7:8080",
        "term.example",
        "term.example:443",
        "TERM.example:9999",
        "fixed.example:8443",
    ],
)
def test_own_and_configured_hosts_are_served(host: str) -> None:
    assert status_of(facts(host)) == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8080",
        "localhost",
        "localhost:8081",
        "127.0.0.1",
        "localhost.:8080",
        "localhost:8080.evil.example",
        "localhost.evil.example:8080",
        "evil.example#localhost:8080",
        "user@localhost:8080",
        "localhost:8080@evil.example",
        "localhost:08080x",
        "localhost:",
        "localhost:0",
        "localhost:99999",
        "localhost:8080 ",
        "localhost:8080,evil.example",
        "::1:8080",
        "[::1%lo]:8080",
        "[::1]x:8080",
        "127.1:8080",
        "2130706433:8080",
        "0.0.0.0:8080",
        "192.0.2.8:8080",
        "fixed.example",
        "fixed.example:443",
        "sub.term.example",
        "xterm.example",
        "localhost:8080/",
        "localhost:٨٠٨٠",
        "ⓛocalhost:8080",
        "localhost\0:8080",
        "\udcff",
        "a" * 100_000,
    ],
)
def test_foreign_and_malformed_hosts_are_refused(host: str) -> None:
    assert status_of(facts(host)) == 421


@pytest.mark.parametrize(
    "hosts", [(), ("localhost:8080", "localhost:8080"), ("x", "localhost:8080")]
)
def test_a_missing_or_doubled_host_is_refused(hosts: tuple[str, ...]) -> None:
    assert status_of(facts(hosts=hosts)) == 421


def test_a_target_that_is_a_whole_url_is_refused() -> None:
    assert status_of(facts(is_origin_form=False)) == 400


def test_port_80_may_be_left_out_when_it_is_ours() -> None:
    policy = SecurityPolicy(port=80)
    assert status_of(facts("localhost", origins=("http://localhost",)), policy) == 200
    assert status_of(facts("localhost:80", origins=("http://localhost",)), policy) == 200
    assert status_of(facts("localhost:8080"), policy) == 421


@pytest.mark.parametrize("bound", ["0.0.0.0", "::", ""])
def test_a_wildcard_address_adds_no_host(bound: str) -> None:
    policy = SecurityPolicy(port=8080, bound_host=bound)
    assert status_of(facts("0.0.0.0:8080"), policy) == 421
    assert status_of(facts("[::]:8080"), policy) == 421
    assert status_of(facts("localhost:8080"), policy) == 200


@given(st.text())
def test_no_text_is_read_as_a_host_that_prints_differently(text: str) -> None:
    authority = Authority.parse(text)
    if authority is not None:
        assert Authority.parse(str(authority)) == authority


@given(st.text())
def test_any_text_as_host_or_origin_is_answered_not_crashed_on(text: str) -> None:
    assert status_of(facts(text, forwarded_host=(text,)), PROXIED) in (200, 421)
    assert status_of(facts(origins=(text,))) == 403
    parse_origin(text)


# Origin


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("term.example", "http://term.example"),
        ("term.example:80", "http://term.example"),
        ("term.example", "http://term.example:80"),
        ("term.example:9000", "http://term.example:9000"),
    ],
)
def test_the_same_origin_is_let_through(host: str, origin: str) -> None:
    request = facts(host, origins=(origin,), cookies=("c",))
    assert status_of(request) == 200
    assert status_of(replace(request, is_upgrade=True)) == 200
    assert status_of(replace(request, method="POST")) == 200


@pytest.mark.parametrize(
    "origins",
    [
        ("null",),
        ("",),
        ("https://localhost:8080",),
        ("http://localhost",),
        ("http://localhost:8081",),
        ("http://127.0.0.1:8080",),
        ("http://evil.example",),
        ("http://evil.example:8080",),
        ("http://localhost:8080.evil.example",),
        ("http://localhost:8080/",),
        ("http://localhost:8080@evil.example",),
        ("http://user@localhost:8080",),
        ("ws://localhost:8080",),
        ("file://",),
        ("localhost:8080",),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://localhost:8080 http://evil.example",),
    ],
)
@pytest.mark.parametrize(
    "extra",
    [
        {"cookies": ("c",)},
        {"cookies": ("c",), "is_upgrade": True},
        {"header_tokens": ("t",), "method": "POST"},
        {"query_tokens": ("t",), "is_upgrade": True},
        {"path": "/healthz"},
        {"from_page": True, "fetch_sites": ("same-origin",)},
    ],
)
def test_any_other_origin_is_refused_whatever_else_is_sent(
    origins: tuple[str, ...], extra: dict[str, Any]
) -> None:
    assert status_of(facts(origins=origins, **extra)) == 403
    assert status_of(facts(origins=origins, **extra), is_open=True) == 403


@pytest.mark.parametrize(
    ("path", "sites", "status"),
    [
        ("/login", ("same-origin",), 200),
        ("/login", (), 200),
        ("/login", ("cross-site",), 403),
        ("/login", ("same-site",), 403),
        ("/logout", ("same-origin",), 200),
        ("/logout", (), 403),
        ("/tty/", ("same-origin",), 403),
    ],
)
def test_origin_null_is_taken_only_from_our_own_forms(
    path: str, sites: tuple[str, ...], status: int
) -> None:
    request = facts(origins=("null",), path=path, method="POST", fetch_sites=sites)
    assert status_of(request) == status
    assert status_of(replace(request, method="GET")) == 403


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        # a token that somebody had to write down
        (facts(header_tokens=("t",), path="/tty/", method="POST"), 200),
        (facts(query_tokens=("t",), path="/colab/tty", is_upgrade=True), 200),
        (facts(query_tokens=("t",), cookies=("c",), is_upgrade=True), 200),
        # no credential at all: nothing to protect, refused for that later
        (facts(path="/tty/", is_upgrade=True), 200),
        # a cookie
        (facts(cookies=("c",), path="/tty/", is_upgrade=True), 403),
        (facts(cookies=("c",), path="/tty/", is_upgrade=True, from_page=True), 403),
        (facts(cookies=("c",), path="/tty/", is_upgrade=True, fetch_sites=("same-origin",)), 403),
        (facts(cookies=("c",), path="/tty/"), 403),
        (facts(cookies=("c",), path="/tty/", method="POST"), 403),
        (facts(cookies=("c",), path="/tty/", fetch_sites=("same-origin",)), 200),
        (facts(cookies=("c",), path="/tty/", from_page=True, method="POST"), 200),
        (facts(cookies=("c",), path="/tty/", fetch_sites=("none",)), 200),
        (facts(cookies=("c",), path="/logout", method="POST", fetch_sites=("none",)), 403),
        (facts(cookies=("c",), path="/logout", method="POST", fetch_sites=("same-origin",)), 200),
        (facts(cookies=("c",), path="/"), 200),
        (facts(cookies=("c",), path="/", method="POST"), 403),
        (facts(cookies=("c",), path="/style.css"), 200),
        (facts(cookies=("c",), path="/replay"), 200),
        (facts(cookies=("c",), path="/recordings/a.cast"), 200),
        (facts(cookies=("c",), path="/replay", fetch_sites=("cross-site",)), 403),
        (facts(cookies=("c",), path="/recordings/a.cast", fetch_sites=("same-site",)), 403),
        (facts(cookies=("c",), path="/api/people"), 403),
        (facts(cookies=("c",), path="/login", method="POST"), 200),
    ],
)
def test_a_missing_origin_needs_a_token_or_a_sign_of_our_own_page(
    request_: RequestFacts, status: int
) -> None:
    assert status_of(request_) == status


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (facts(path="/tty/", is_upgrade=True), 200),
        (facts(path="/tty/", method="POST"), 200),
        (facts(path="/tty/", fetch_sites=("same-origin",)), 200),
        (facts(path="/tty/", is_upgrade=True, fetch_sites=("none",)), 403),
        (facts(path="/tty/", method="POST", fetch_sites=("none",)), 403),
        (facts(path="/tty/", fetch_sites=("cross-site",)), 403),
    ],
)
def test_without_any_credential_programs_get_in_and_foreign_pages_do_not(
    request_: RequestFacts, status: int
) -> None:
    assert status_of(request_, is_open=True) == status


VISIT = facts(
    cookies=("c",), fetch_sites=("cross-site",), fetch_mode="navigate", fetch_dest="document"
)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (VISIT, 200),
        (replace(VISIT, query_tokens=("t",)), 200),
        (replace(VISIT, fetch_sites=("same-site",)), 200),
        (replace(VISIT, path="/tty/"), 403),
        (replace(VISIT, path="/style.css"), 403),
        (replace(VISIT, method="POST"), 403),
        (replace(VISIT, method="HEAD"), 403),
        (replace(VISIT, fetch_mode="no-cors"), 403),
        (replace(VISIT, fetch_mode=""), 403),
        (replace(VISIT, fetch_dest="iframe"), 403),
        (replace(VISIT, fetch_dest="script"), 403),
        (replace(VISIT, is_upgrade=True), 403),
        (replace(VISIT, fetch_sites=("cross-site", "same-origin"), path="/tty/"), 403),
        (replace(VISIT, fetch_sites=("nonsense",), path="/tty/"), 403),
        (replace(VISIT, fetch_sites=("same-site",), path="/tty/", header_tokens=("t",)), 403),
    ],
)
def test_another_website_may_only_link_to_the_page(request_: RequestFacts, status: int) -> None:
    assert status_of(request_) == status


def test_a_frame_is_served_only_when_frames_are_allowed() -> None:
    framing = replace(POLICY, frame_origins=("https://notebook.example",))
    assert status_of(replace(VISIT, fetch_dest="iframe"), framing) == 200
    assert status_of(replace(VISIT, fetch_dest="iframe", path="/tty/"), framing) == 403


# Proxies and tunnels


def seen(request: RequestFacts, policy: SecurityPolicy) -> tuple[str, str, str]:
    found = check_host(request, policy)
    return found.scheme, str(found.authority), found.address


FORWARDED = facts(
    forwarded_proto=("https",),
    forwarded_host=("term.example",),
    forwarded_for=("198.51.100.1, 203.0.113.9",),
)


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.1.2.3", "2001:db8::5", "::ffff:10.0.0.1"])
def test_headers_of_a_trusted_proxy_are_believed(peer: str) -> None:
    request = replace(FORWARDED, peer=peer)
    assert seen(request, PROXIED) == ("https", "term.example", "203.0.113.9")
    assert status_of(replace(request, origins=("https://term.example",)), PROXIED) == 200
    assert status_of(replace(request, origins=("http://localhost:8080",)), PROXIED) == 403


@pytest.mark.parametrize("peer", ["127.0.0.2", "192.0.2.9", "2001:db9::5", "", "nonsense"])
def test_headers_of_anybody_else_are_ignored(peer: str) -> None:
    request = replace(FORWARDED, peer=peer)
    assert seen(request, PROXIED) == ("http", "localhost:8080", peer)
    assert status_of(replace(request, origins=("https://term.example",)), PROXIED) == 403


def test_of_each_forwarded_header_the_last_value_counts() -> None:
    request = replace(
        FORWARDED,
        forwarded_proto=("http", "http, https"),
        forwarded_host=("evil.example", "evil.example, term.example"),
        forwarded_for=("1.1.1.1", "2.2.2.2, 3.3.3.3"),
    )
    assert seen(request, PROXIED) == ("https", "term.example", "3.3.3.3")


def test_a_forwarded_host_has_to_be_one_of_ours_and_so_has_host_itself() -> None:
    assert status_of(replace(FORWARDED, forwarded_host=("evil.example",)), PROXIED) == 421
    assert status_of(replace(FORWARDED, forwarded_host=("a b",)), PROXIED) == 421
    assert status_of(replace(FORWARDED, hosts=("evil.example:8080",)), PROXIED) == 421


def test_a_scheme_that_does_not_exist_is_ignored() -> None:
    assert seen(replace(FORWARDED, forwarded_proto=("gopher",)), PROXIED)[0] == "http"


def test_a_tunnel_tells_scheme_and_name_and_the_last_hop_tells_the_client() -> None:
    request = facts("abc.tunnel.example", forwarded_for=("6.6.6.6, 203.0.113.9",))
    assert seen(request, TUNNELLED) == ("https", "abc.tunnel.example", "203.0.113.9")
    assert status_of(replace(request, origins=("https://abc.tunnel.example",)), TUNNELLED) == 200
    assert status_of(replace(request, origins=("http://abc.tunnel.example",)), TUNNELLED) == 403
    assert status_of(request) == 421


def test_a_tunnel_that_adds_no_address_is_believed_none() -> None:
    raw = replace(POLICY, tunnels=(replace(TUNNEL, adds_client_address=False),))
    request = facts("abc.tunnel.example", forwarded_for=("203.0.113.9",))
    assert seen(request, raw) == ("https", "abc.tunnel.example", "127.0.0.1")


def test_forwarded_for_counts_at_the_tunnels_name_and_from_this_machine_only() -> None:
    forged = ("203.0.113.9",)
    assert seen(facts(forwarded_for=forged), TUNNELLED)[2] == "127.0.0.1"
    remote = facts("abc.tunnel.example", peer="192.0.2.50", forwarded_for=forged)
    assert seen(remote, TUNNELLED)[2] == "192.0.2.50"


# Options


def test_all_wrong_options_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        SecurityPolicy(
            port=1,
            allow_hosts=("a b",),
            trusted_proxies=("proxy.example",),
            frame_origins=("*", "https://ok.example"),
            base_path="/../x",
        )
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    "base", ["x", "/a//b", "/a b", "/a/../b", "/{x}", "/a?b", "//evil.example"]
)
def test_a_base_path_of_another_shape_is_refused(base: str) -> None:
    with pytest.raises(ConfigError):
        SecurityPolicy(port=1, base_path=base)


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("/lab/term", "/"),
        ("/lab/term/", "/"),
        ("/lab/term/tty/", "/tty/"),
        ("/tty/", "/tty/"),
        ("/", "/"),
        ("/lab/terminal", "/lab/terminal"),
        ("/lab", "/lab"),
    ],
)
def test_the_base_path_may_be_there_or_not(path: str, local: str) -> None:
    policy = SecurityPolicy(port=1, base_path="/lab/term/")
    assert policy.local_path(path) == local
    assert policy.paths("/tty/") == ("/tty/", "/lab/term/tty/")
    assert SecurityPolicy(port=1, base_path="/").paths("/tty/") == ("/tty/",)
