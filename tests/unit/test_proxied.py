"""What passes between a browser and another web app of this machine, and what does not."""

import pytest

from ttybridge.core.authority import Authority
from ttybridge.core.origin import Seen
from ttybridge.core.proxied import Target, Way, own_query, proxied_port, start_hint
from ttybridge.core.proxied_headers import (
    answer_headers,
    knows_prefix,
    location,
    own_cookies,
    request_headers,
    set_cookie,
)

HTTPS = Seen("https", Authority("box.example"), "192.0.2.7")
HTTP = Seen("http", Authority("127.0.0.1", 8000), "")
PORTS = [range(6006, 6007), range(8888, 8891)]


def way(
    rest: str = "/", *, base: str = "", keeps: bool = False, seen: Seen = HTTPS, port: int = 8888
) -> Way:
    return Way(Target(port, rest), seen, base, keeps)


def is_ours(text: str) -> bool:
    return text == "secret"


@pytest.mark.parametrize(
    ("path", "port"),
    [
        ("/proxy/8888", 8888),
        ("/proxy/8888/", 8888),
        ("/proxy/8890/a\n/b", 8890),
        ("/proxy/absolute/6006/x", 6006),
        ("/proxy/6007/", None),
        ("/proxy/08888/", None),
        ("/proxy/88888/", None),
        ("/proxy/8888x", None),
        ("/proxy/", None),
        ("/proxy/absolute/", None),
        ("/proxy/absolute/absolute/8888/", None),
        ("/x/proxy/8888/", None),
        ("/Proxy/8888/", None),
        ("/proxy/８888/", None),
    ],
)
def test_only_the_ports_that_were_named_are_reached(path: str, port: int | None) -> None:
    assert proxied_port(path, PORTS) == port


def test_the_app_is_asked_for_the_path_that_it_expects() -> None:
    assert way("").path("", is_ours) == "/"
    assert way("/a%2Fb//c").path("x=%20", is_ours) == "/a%2Fb//c?x=%20"
    assert way("/lab", base="/t", keeps=True).path("", is_ours) == "/t/proxy/8888/lab"
    whole = Way(Target.parse("/proxy/absolute/8888/x") or Target(1, ""), HTTPS, "/t", True)
    assert whole.path("", is_ours) == "/t/proxy/absolute/8888/x"


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("token=jupyters&x=1", "token=jupyters&x=1"),
        ("a=%41+b&&=&c", "a=%41+b&&=&c"),
        ("token=secret", ""),
        ("a=1&any=se%63ret&b=2", "a=1&b=2"),
        ("colab-runtime-proxy-token=other&b=2", "b=2"),
        ("colab%2Druntime-proxy-token=other", ""),
    ],
)
def test_our_credentials_are_taken_out_of_the_query(query: str, kept: str) -> None:
    assert own_query(query, is_ours) == kept


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("ttybridge-8000=x", ""),
        ("a=1;ttybridge-8000=x;b=ttybridge-1", "a=1; b=ttybridge-1"),
        ("=ttybridge-8000=x; a", "a"),
        (' a="1; TTYBRIDGE-8000=x', 'a="1'),
    ],
)
def test_our_cookies_are_taken_out_of_the_header(sent: str, kept: str) -> None:
    assert own_cookies(sent) == kept


def test_a_request_with_an_origin_names_the_app_by_its_local_name_alone() -> None:
    sent = [("Host", "box.example"), ("Origin", "https://box.example"), ("Accept", "*/*")]
    assert request_headers(sent, way(), is_ours) == [
        ("Host", "localhost:8888"),
        ("Origin", "http://localhost:8888"),
        ("Accept", "*/*"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Prefix", "/proxy/8888"),
    ]
    assert request_headers([], way(keeps=True, seen=HTTP), is_ours) == [
        ("Host", "localhost:8888"),
        ("X-Forwarded-Host", "127.0.0.1:8000"),
        ("X-Forwarded-Proto", "http"),
    ]


@pytest.mark.parametrize(
    "field",
    [
        ("authorization", "Bearer secret"),
        ("Authorization", "token secret"),
        ("Cookie", "ttybridge-8000=x"),
        ("X-TTYBridge-Client", "page"),
        ("x-colab-runtime-proxy-token", "any"),
        ("X-Forwarded-Anything", "x"),
        ("Forwarded", "host=x"),
        ("Transfer-Encoding", "chunked"),
        ("Proxy-Authorization", "Basic x"),
        ("X-Listed", "x"),
        ("Expect", "100-continue"),
        ("Referer", "https://box.example/"),
        ("Referer", "https://box.example/proxy/88889/"),
        ("Referer", "https://other.example/proxy/8888/"),
    ],
)
def test_what_is_ours_or_of_one_connection_never_reaches_an_app(field: tuple[str, str]) -> None:
    sent = [("Connection", "keep-alive, x-listed"), field]
    passed = {name.lower() for name, _ in request_headers(sent, way(), is_ours)}
    own = {"host", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-for", "x-forwarded-prefix"}
    assert passed == own


@pytest.mark.parametrize(
    ("keeps", "expected"),
    [
        (False, "http://localhost:8888/lab?a=1&"),
        (True, "http://localhost:8888/proxy/8888/lab?a=1&"),
    ],
    ids=["rest", "whole"],
)
def test_a_referer_names_the_page_as_the_app_knows_it(keeps: bool, expected: str) -> None:
    sent = [("Referer", "https://box.example/proxy/8888/lab?a=1&token=secret&")]
    assert ("Referer", expected) in request_headers(sent, way(keeps=keeps), is_ours)


@pytest.mark.parametrize(
    ("value", "rest", "expected"),
    [
        ("/lab?a#b", "/", "./lab?a#b"),
        ("/lab", "/a/b/c", "../../lab"),
        ("/", "/a", "./"),
        ("/", "/a/", "../"),
        ("/lab", "", "./8888/lab"),
        ("//evil.example/x", "/", "//evil.example/x"),
        ("/\\evil.example", "/", "/\\evil.example"),
        ("https://evil.example/x", "/", "https://evil.example/x"),
        ("https://[bad", "/", "https://[bad"),
        ("http://localhost:8888", "/", "./"),
        ("http://[::1]:8888/x", "/", "./x"),
        ("//localhost:8888/x", "/", "./x"),
        ("http://localhost:8889/x", "/", "http://localhost:8889/x"),
        ("https://box.example:443/x", "/", "./x"),
        ("http://box.example/x", "/", "http://box.example/x"),
        ("https://box.example/proxy/8888/x", "/", "./x"),
        ("/proxy/8888/x", "/", "./x"),
        ("/proxy/88889/x", "/", "./proxy/88889/x"),
        ("?a=/b", "/", "?a=/b"),
        ("x:y", "/", "x:y"),
    ],
)
def test_a_redirect_leads_to_the_app_from_outside(value: str, rest: str, expected: str) -> None:
    assert location(value, way(rest)) == expected


def test_a_redirect_of_an_app_that_knows_its_address_is_believed() -> None:
    kept = way("/lab", base="/t", keeps=True)
    assert location("/t/proxy/8888/login?next=%2F", kept) == "./login?next=%2F"
    assert location("/login", kept) == "/login"
    assert knows_prefix(302, "/t/proxy/8888/lab?", way(base="/t"))
    assert knows_prefix(302, "/t/proxy/8888?", way(base="/t"))
    assert knows_prefix(302, "http://localhost:8888/t/proxy/8888/lab", way(base="/t"))
    assert not knows_prefix(200, "/t/proxy/8888/lab", way(base="/t"))
    assert not knows_prefix(302, "/t/proxy/88889/", way(base="/t"))
    assert not knows_prefix(302, "https://other.example/t/proxy/8888/", way(base="/t"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a=1", "a=1; Secure"),
        ("a=1; Path=/; Domain=example", "a=1; Path=/proxy/8888/; Secure"),
        ("a=1; path=/x; Path=/y", "a=1; Path=/proxy/8888/y; Secure"),
        ("a=1; Path=/proxy/8888/x", "a=1; Path=/proxy/8888/x; Secure"),
        ("a=1; Path=x; SameSite=None; secure", "a=1; SameSite=None; Secure"),
        ("a=1;Expires=Thu, 01 Jan 1970", "a=1; Expires=Thu, 01 Jan 1970; Secure"),
        ("ttybridge-8000=x", None),
        (" TTYBridge-8000 =x; Path=/", None),
        ("=ttybridge-8000=x", None),
    ],
)  # fmt: skip
def test_a_cookie_of_an_app_stays_below_it(value: str, expected: str | None) -> None:
    assert set_cookie(value, way()) == expected


def test_cookies_are_as_the_browser_will_keep_them() -> None:
    sent = "a=1; Secure; SameSite=None; Partitioned; HttpOnly"
    assert set_cookie(sent, way(seen=HTTP)) == "a=1; HttpOnly"
    assert set_cookie("a=1; SameSite=Lax", way(seen=HTTP)) == "a=1; SameSite=Lax"
    kept = way(keeps=True, base="/t", seen=HTTP)
    assert set_cookie("a=1; Path=/", kept) == "a=1; Path=/t/proxy/8888/"
    assert set_cookie("a=1; Path=/t/proxy/8888/b", kept) == "a=1; Path=/t/proxy/8888/b"


def test_an_answer_cannot_change_what_holds_for_the_whole_address() -> None:
    names = (
        "Clear-Site-Data", "Strict-Transport-Security", "NEL", "Report-To", "Alt-Svc", "Accept-CH",
        "Access-Control-Allow-Origin", "Access-Control-Of-Tomorrow", "Transfer-Encoding",
        "Connection", "Keep-Alive", "X-Hop",
    )  # fmt: skip
    sent = [(name, "x-hop") for name in names]
    assert answer_headers(sent, way()) == [
        ("Content-Security-Policy", "frame-ancestors 'self'"),
        ("Cache-Control", "private, no-cache"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "same-origin"),
    ]
    framed = answer_headers([], way(), frame_origins=("https://lab.example", "bad"))
    assert framed[0][1] == "frame-ancestors 'self' https://lab.example:443"


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        ("public, max-age=60", "private, max-age=60"),
        ("Private, max-age=5", "Private, max-age=5"),
        ("no-store", "no-store"),
        ("max-age=1, s-maxage=9", "private, max-age=1"),
        ("", "private"),
    ],
)
def test_no_shared_cache_keeps_an_answer(sent: str, passed: str) -> None:
    assert ("Cache-Control", passed) in answer_headers([("Cache-Control", sent)], way())


def test_what_an_app_says_for_itself_is_kept() -> None:
    own = [
        ("Referrer-Policy", "origin"),
        ("Cross-Origin-Resource-Policy", "cross-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Content-Security-Policy", "default-src *"),
        ("ETag", '"1"'),
    ]
    assert [field for field in answer_headers(own, way()) if field in own] == own
    worker = answer_headers([("Service-Worker-Allowed", "/")], way(base="/t"))
    assert worker[0] == ("Service-Worker-Allowed", "/t/proxy/8888/")


def test_the_hint_names_an_app_that_the_port_is_known_for() -> None:
    assert "tensorboard" in start_hint(6007)
    assert start_hint(8888, "/t").endswith("--ServerApp.base_url=/t/proxy/8888/")
    assert "code-server" in start_hint(8080)
    assert "http.server" in start_hint(9000)
