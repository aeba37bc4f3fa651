"""The gate in front of a small application, over real sockets."""

import asyncio
import logging
import re
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from ttybridge.core.access import COOKIE_MAX_AGE_S, Credentials
from ttybridge.core.origin import SecurityPolicy
from ttybridge.core.throttle import FIRST_DELAY_S, FORGET_S, MAX_WAITING, Throttle
from ttybridge.web.security import Gate

TOKEN = "right-token_0123456789"
LOGIN_PAGE = b"<!doctype html><title>Log in</title>"
EXPECTED_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "server": "ttybridge",
    "cache-control": "no-store",
}


@dataclass
class Answer:
    """One HTTP answer, read from the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        values = [value for key, value in self.headers if key == name]
        assert len(values) == 1, (name, values)
        return values[0]

    def names(self) -> set[str]:
        return {key for key, _ in self.headers}


@dataclass
class Site:
    """The running application, and what happened in it."""

    port: int
    gate: Gate
    throttle: Throttle
    credentials: Credentials
    now: float = 1_800_000_000.0
    ended: list[str] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)

    @property
    def own(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def cookie_name(self) -> str:
        return f"ttybridge-{self.port}"

    async def raw(self, request: bytes) -> Answer:
        """Send bytes as they are, and read the answer until the connection ends."""
        async with asyncio.timeout(15):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")[:-2]
                pairs = [line.partition(": ")[::2] for line in lines]
                headers = [(name.lower(), value) for name, value in pairs]
                size = int(dict(headers).get("content-length", "0"))
                body = await reader.readexactly(size) if not request.startswith(b"HEAD") else b""
            finally:
                writer.close()
        return Answer(int(first.split()[1]), headers, body)

    async def get(
        self, path: str = "/", *lines: str, method: str = "GET", body: str = ""
    ) -> Answer:
        """Send a request with a right Host and the given header lines."""
        self.now += FORGET_S + 1  # so that tries before this one do not slow it down
        head = [f"{method} {path} HTTP/1.1", f"Host: {self.own}", *lines]
        if body:
            head.append(f"Content-Length: {len(body)}")
        return await self.raw(("\r\n".join(head) + "\r\n\r\n" + body).encode("latin-1"))

    async def log_in(self, *lines: str) -> str:
        """Open the link; return the cookie as a header line."""
        answer = await self.get(f"/?token={TOKEN}", *lines)
        assert answer.status == 303
        return "Cookie: " + answer["set-cookie"].partition(";")[0]


PAGE = b"<html><head><title>t</title></head>the page</html>"
"""What stands for the page where a link for a frame is opened."""

FORM = "Content-Type: application/x-www-form-urlencoded"


@asynccontextmanager
async def running(
    token: str | None = TOKEN, login_page: bytes = LOGIN_PAGE, **options: Any
) -> AsyncIterator[Site]:
    """Run an application behind the gate; `options` are those of the policy."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        throttle = Throttle()
        access = Credentials(token, new_id=lambda: secrets.token_urlsafe(16))

        async def on_logout(session_id: str) -> None:
            site.ended.append(session_id)

        options.setdefault("public_files", frozenset({"/style-1a.css"}))
        policy = SecurityPolicy(port=port, **options)
        gate = Gate(policy, access, throttle, login_page, lambda: site.now, on_logout, PAGE)
        site = Site(port, gate, throttle, access)
        app = application(site, policy)
        runner = gate.runner(app)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        try:
            yield site
        finally:
            await runner.cleanup()


def application(site: Site, policy: SecurityPolicy) -> web.Application:
    async def page(request: web.Request) -> web.StreamResponse:
        principal = site.gate.principal_of(request)
        site.reached.append(request.path)
        return web.Response(text=f"page for {principal.role.value} via {principal.via}")

    async def style(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="css", headers={"Cache-Control": "max-age=31536000, immutable"})

    async def echo(request: web.Request) -> web.StreamResponse:
        site.reached.append(request.path)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.send_str("hello")
        await ws.close()
        return ws

    async def broken(_request: web.Request) -> web.StreamResponse:
        msg = "secret detail"
        raise RuntimeError(msg)

    app = web.Application()
    site.gate.install(app)
    for path, handler in (("/", page), ("/tty/", page), ("/style-1a.css", style)):
        for each in policy.paths(path):
            app.router.add_route("*", each, handler)
    for each in policy.paths("/colab/tty"):
        app.router.add_get(each, echo)
    app.router.add_get("/broken", broken)
    return app


@pytest.fixture(name="site")
async def started_site() -> AsyncIterator[Site]:
    async with running() as site:
        yield site


UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)
BEARER = f"Authorization: Bearer {TOKEN}"


# Ways in


@pytest.mark.parametrize(
    ("path", "line", "via"),
    [
        ("/tty/", BEARER, "header"),
        ("/tty/", f"authorization: bEARER   {TOKEN}", "header"),
        ("/tty/", f"X-Colab-Runtime-Proxy-Token: {TOKEN}", "header"),
        (f"/tty/?token={TOKEN}", "X: y", "query"),
        (f"/tty/?EIO=4&colab-runtime-proxy-token={TOKEN}", "X: y", "query"),
        (f"/tty/?token=%{ord(TOKEN[0]):x}{TOKEN[1:]}", "X: y", "query"),
    ],
)
async def test_the_token_opens_every_path(site: Site, path: str, line: str, via: str) -> None:
    answer = await site.get(path, line)
    assert (answer.status, answer.body.decode()) == (200, f"page for owner via {via}")


async def test_the_link_becomes_a_cookie_and_leaves_the_address_bar(site: Site) -> None:
    answer = await site.get(f"/?token={TOKEN}", "Accept: text/html")
    assert (answer.status, answer["location"]) == (303, "./")
    assert answer["cache-control"] == "no-store"
    assert answer["referrer-policy"] == "no-referrer"
    value, *attributes = answer["set-cookie"].split("; ")
    assert value.startswith(site.cookie_name + "=")
    assert {one.lower() for one in attributes} == {
        "httponly",
        "samesite=lax",
        f"max-age={COOKIE_MAX_AGE_S}",
    }
    assert TOKEN not in str(answer.headers)
    page = await site.get("/", f"Cookie: {value}")
    assert page.body == b"page for owner via cookie"


async def test_each_login_makes_a_session_of_its_own(site: Site) -> None:
    cookies = [(await site.log_in()).partition("=")[2] for _ in range(3)]
    found = [site.credentials.check_cookie(value, site.now, site.own) for value in cookies]
    assert len({principal.id for principal in found if principal is not None}) == 3


async def test_the_login_form_does_the_same_as_the_link(site: Site) -> None:
    answer = await site.get("/login", FORM, method="POST", body=f"token=+{TOKEN}%0D%0A")
    assert (answer.status, answer["location"]) == (303, "./")
    page = await site.get("/", "Cookie: " + answer["set-cookie"].partition(";")[0])
    assert page.status == 200


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM, "token=wrong"),
        (FORM, "token="),
        (FORM, "other=x"),
        (FORM, f"token={TOKEN}&token=wrong"),
        (FORM, "token=%ff%fe%00"),
        (FORM, "%zz&&==&;"),
        ("Content-Type: application/json", '{"token": "' + TOKEN + '"}'),
        ("Content-Type: multipart/form-data; boundary=x", "--x"),
        ("Content-Type: ", f"token={TOKEN}"),
        ("X: y", "\xff\x00\xfe"),
    ],
)
async def test_a_wrong_form_gets_the_login_page_and_no_cookie(
    site: Site, kind: str, body: str
) -> None:
    answer = await site.get("/login", kind, "Accept: text/html", method="POST", body=body)
    assert (answer.status, answer.body) == (401, LOGIN_PAGE)
    assert "set-cookie" not in answer.names()


async def test_a_form_that_is_too_large_is_refused_announced_or_not(site: Site) -> None:
    body = f"token={TOKEN}&x=" + "x" * 5000
    announced = await site.get("/login", FORM, method="POST", body=body)
    assert announced.status == 413
    chunked = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n"
    lines = ("POST /login HTTP/1.1", f"Host: {site.own}", FORM, "Transfer-Encoding: chunked")
    head = "\r\n".join(lines) + "\r\n\r\n"
    assert (await site.raw((head + chunked).encode())).status == 413


async def test_get_login_leads_to_the_page(site: Site) -> None:
    answer = await site.get("/login")
    assert (answer.status, answer["location"]) == (303, "./")


@pytest.mark.parametrize(
    "path",
    [
        "/login?next=//evil.example/&url=http://evil.example&redirect=/x",
        "/login?%0d%0aSet-Cookie:%20a=b",
        "/?token={token}&next=http://evil.example",
        "/?token={token}&return_to=%0d%0aX-Evil:%201",
        "/lab?token={token}&next=//evil.example",
        "//evil.example/%2e%2e",
        "/\\evil.example",
        "/%0d%0aLocation:%20http://evil.example",
    ],
)
async def test_nothing_that_is_sent_leads_elsewhere_or_becomes_a_header(path: str) -> None:
    async with running(base_path="/lab") as site:
        answer = await site.get(path.format(token=TOKEN), BEARER)
        if answer.status == 303:
            assert answer["location"] in ("./", "./lab/")
        else:
            assert answer.status in (400, 404)
            assert "location" not in answer.names()
        assert b"evil" not in answer.body
        assert "evil" not in str(answer.headers)
        set_here = [value for name, value in answer.headers if name == "set-cookie"]
        assert all(value.startswith(site.cookie_name) for value in set_here)


async def test_the_cookie_is_secure_behind_https_of_a_trusted_proxy_only() -> None:
    line = "X-Forwarded-Proto: https"
    async with running() as site:
        assert "Secure" not in (await site.get(f"/?token={TOKEN}", line))["set-cookie"]
    async with running(trusted_proxies=("127.0.0.1",)) as site:
        assert "; Secure" in (await site.get(f"/?token={TOKEN}", line))["set-cookie"]


async def test_healthz_tells_ok_and_nothing_else(site: Site) -> None:
    answer = await site.get("/healthz")
    assert (answer.status, answer.body) == (200, b"ok")
    evil = await site.raw(b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert evil.status == 421


# Refusals


@pytest.mark.parametrize(
    "path",
    ["/", "/tty/", "/tty/?EIO=4&transport=polling&sid=x", "/nothing", "/broken", "/healthz/.."],
)
async def test_nothing_works_without_a_credential(site: Site, path: str) -> None:
    answer = await site.get(path)
    assert answer.status == 401
    assert answer["www-authenticate"].startswith("Bearer")
    assert site.reached == []


async def test_a_browser_gets_the_login_page_for_the_page_and_only_for_it(site: Site) -> None:
    page = await site.get("/", "Accept: text/html,*/*")
    assert (page.status, page.body) == (401, LOGIN_PAGE)
    assert page["content-type"] == "text/html; charset=utf-8"
    other = await site.get("/tty/", "Accept: text/html")
    assert other["content-type"].startswith("text/plain")


NEAR_MISSES = [
    TOKEN[:-1],
    TOKEN + "x",
    TOKEN.upper(),
    "\xff\xfe",
    "\xc3\xa9",
    "caf\xe9" * 50,
    "x" * 7000,
    "",
    '"' + TOKEN + '"',
    "Bearer " + TOKEN,
]


@pytest.mark.parametrize("value", NEAR_MISSES)
async def test_every_near_miss_in_a_header_or_cookie_is_the_same_401(
    site: Site, value: str
) -> None:
    plain = await site.get("/tty/")
    for line in (
        f"Authorization: Bearer {value}",
        f"X-Colab-Runtime-Proxy-Token: {value}",
        f"Cookie: {site.cookie_name}={value}; {site.cookie_name}=\xff",
    ):
        answer = await site.get("/tty/", line, f"Origin: http://{site.own}")
        assert (answer.status, answer.body) == (401, plain.body)
        assert answer.names() == plain.names()


@pytest.mark.parametrize(
    "query",
    [
        "token",
        "token=",
        "token=%00",
        "token=%ff%fe%c3%28",
        "token=%ZZ%",
        f"token={TOKEN}%00",
        f"token={TOKEN}&token=",
        "token=" + "x" * 7000,
        "colab-runtime-proxy-token=x",
        f"token={TOKEN}&colab-runtime-proxy-token=x",
        "token=%ED%A0%80",
    ],
)
async def test_every_near_miss_in_the_query_is_the_same_401(site: Site, query: str) -> None:
    plain = await site.get("/tty/")
    answer = await site.get("/tty/?" + query)
    assert (answer.status, answer.body) == (401, plain.body)


async def test_bytes_that_are_no_text_are_never_a_server_error(site: Site) -> None:
    host = f"Host: {site.own}\r\n".encode()
    for request in (
        b"GET /tty/?token=\xff\xfe HTTP/1.1\r\n" + host + b"\r\n",
        b"GET /tty/ HTTP/1.1\r\n" + host + b"Authorization: Bearer a\x00b\r\n\r\n",
        b"GET /tty/ HTTP/1.1\r\n"
        + host
        + b"Authorization: Bearer "
        + b"x" * 1_000_000
        + b"\r\n\r\n",
        b"GET /?token=" + b"x" * 1_000_000 + b" HTTP/1.1\r\n" + host + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET /%00 HTTP/1.1\r\n" + host + b"\r\n",
    ):
        answer = await site.raw(request)
        assert 400 <= answer.status < 500
        for name, value in EXPECTED_HEADERS.items():
            assert answer[name] == value


async def test_a_wrong_token_is_not_made_good_by_a_cookie(site: Site) -> None:
    cookie = await site.log_in()
    page = await site.get("/?token=wrong", cookie, "Accept: text/html")
    assert (page.status, page.body) == (401, LOGIN_PAGE)
    assert (await site.get("/", cookie)).status == 200


async def test_every_value_of_a_repeated_header_is_looked_at(site: Site) -> None:
    cookie = await site.log_in()
    other = f"Cookie: {site.cookie_name}=stale; x=y"
    assert (await site.get("/", other, cookie)).status == 200
    colab = "X-Colab-Runtime-Proxy-Token: "
    assert (await site.get("/", colab + TOKEN, colab + TOKEN)).status == 200
    assert (await site.get("/", colab + TOKEN, colab + "wrong")).status == 401


@pytest.mark.parametrize(
    "head",
    [
        "GET /tty/ HTTP/1.1\r\nHost: evil.example:{port}\r\n",
        "GET /tty/ HTTP/1.1\r\nHost: localhost\r\n",
        "GET /tty/ HTTP/1.1\r\n",
        "GET /tty/ HTTP/1.0\r\n",
        "GET /tty/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: 127.0.0.1:{port}\r\n",
        "GET /tty/ HTTP/1.1\r\nHost: evil.example\r\nHost: 127.0.0.1:{port}\r\n",
        "GET /tty/ HTTP/1.1\r\nHost: \xff\xfe\r\n",
        "GET /tty/ HTTP/1.1\r\nHost:\r\n",
        "GET http://evil.example/tty/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n",
        "GET http://127.0.0.1:{port}/tty/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n",
        "GET /tty/ HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: 127.0.0.1:{port}\r\n",
    ],
)
async def test_a_foreign_doubled_or_missing_host_is_refused_even_with_the_token(
    site: Site, head: str
) -> None:
    request = head.format(port=site.port) + BEARER + "\r\n\r\n"
    answer = await site.raw(request.encode("latin-1"))
    assert answer.status in (400, 421)
    assert site.reached == []
    for name, value in EXPECTED_HEADERS.items():
        assert answer[name] == value


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://{own}", "http://127.0.0.1:1"]
)
@pytest.mark.parametrize("path", ["/", "/tty/", "/colab/tty", "/login", "/logout", "/healthz"])
async def test_a_foreign_origin_is_refused_on_every_path_and_transport(
    site: Site, origin: str, path: str
) -> None:
    cookie = await site.log_in()
    line = "Origin: " + origin.format(own=site.own)
    for extra in ((), UPGRADE, (BEARER,)):
        answer = await site.get(path, line, cookie, *extra)
        assert answer.status == 403
    if not (origin == "null" and path == "/login"):
        answer = await site.get(path, line, cookie, method="POST", body="token=x")
        assert answer.status == 403
    assert site.reached == []
    assert site.ended == []


async def test_a_websocket_with_a_cookie_needs_our_origin(site: Site) -> None:
    cookie = await site.log_in()
    assert (await site.get("/colab/tty", cookie, *UPGRADE)).status == 403
    own = f"Origin: http://{site.own}"
    assert (await site.get("/colab/tty", cookie, own, *UPGRADE)).status == 101


async def test_a_refused_websocket_gets_a_plain_answer_before_the_upgrade(site: Site) -> None:
    for path in ("/colab/tty", "/colab/tty?colab-runtime-proxy-token=wrong"):
        answer = await site.get(path, f"Origin: http://{site.own}", *UPGRADE)
        assert answer.status == 401
    assert site.reached == []


async def test_a_program_with_the_token_opens_a_websocket_without_origin(site: Site) -> None:
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"http://{site.own}/colab/tty?colab-runtime-proxy-token={TOKEN}") as ws,
    ):
        assert await ws.receive_str(timeout=5) == "hello"


async def test_another_site_may_link_to_the_page_and_do_nothing_else(site: Site) -> None:
    cookie = await site.log_in()
    visit = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    assert (await site.get("/", cookie, *visit)).status == 200
    assert (await site.get(f"/?token={TOKEN}", *visit)).status == 303
    assert (await site.get("/tty/", cookie, *visit)).status == 403
    script = ("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script")
    assert (await site.get("/tty/?j=0", cookie, *script)).status == 403


async def test_polling_by_the_page_needs_its_header_or_fetch_metadata(site: Site) -> None:
    cookie = await site.log_in()
    assert (await site.get("/tty/", cookie)).status == 403
    assert (await site.get("/tty/", cookie, "X-TTYBridge-Client: page")).status == 200
    assert (await site.get("/tty/", cookie, "Sec-Fetch-Site: same-origin")).status == 200


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
async def test_methods_that_do_not_exist_get_405_and_no_cors_header(
    site: Site, method: str
) -> None:
    answer = await site.get("/tty/", BEARER, "Access-Control-Request-Method: POST", method=method)
    assert answer.status == 405
    assert answer["allow"] == "GET, HEAD, POST"
    assert not [name for name in answer.names() if name.startswith("access-control")]


# Ways out


async def test_logout_ends_the_session_and_tells_whose_connections_to_end(site: Site) -> None:
    cookie, other = await site.log_in(), await site.log_in()
    own = f"Origin: http://{site.own}"
    answer = await site.get("/logout", cookie, own, method="POST")
    assert (answer.status, answer["location"]) == (303, "./")
    assert re.match(site.cookie_name + '="?"?; .*Max-Age=0', answer["set-cookie"])
    assert len(site.ended) == 1
    assert (await site.get("/", cookie)).status == 401
    assert (await site.get("/", other)).status == 200


async def test_logout_cannot_be_asked_for_by_a_link_or_another_site(site: Site) -> None:
    cookie = await site.log_in()
    own = f"Origin: http://{site.own}"
    assert (await site.get("/logout", cookie, own)).status == 405
    assert (await site.get("/logout", cookie, method="POST")).status == 403
    assert (await site.get("/logout", cookie, "Origin: null", method="POST")).status == 403
    assert site.ended == []


async def test_a_cookie_ends_by_age(site: Site) -> None:
    cookie = await site.log_in()
    site.now += COOKIE_MAX_AGE_S
    assert (await site.get("/", cookie)).status == 401


# Wrong tokens


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is watched has no event
            await asyncio.sleep(0.005)


async def test_only_the_answer_to_a_wrong_token_waits(site: Site) -> None:
    for _ in range(5):
        site.throttle.failed("127.0.0.1", site.now)  # the next one waits 3.2 s
    cookie_task = site.raw(f"GET /?token={TOKEN} HTTP/1.1\r\nHost: {site.own}\r\n\r\n".encode())
    wrong = f"GET /tty/?token=wrong HTTP/1.1\r\nHost: {site.own}\r\n\r\n".encode()
    waiting = asyncio.create_task(site.raw(wrong))
    await wait_until(lambda: site.throttle._waiting == 1)
    assert (await cookie_task).status == 303
    missing = await site.raw(f"GET /tty/ HTTP/1.1\r\nHost: {site.own}\r\n\r\n".encode())
    assert missing.status == 401
    assert not waiting.done()
    assert (await waiting).status == 401
    assert site.throttle._waiting == 0


async def test_guesses_count_for_the_client_that_the_tunnel_names(site: Site) -> None:
    site.gate.add_host("abc.tunnel.example", adds_client_address=True)

    async def guess(host: str) -> None:
        lines = (f"Host: {host}", "X-Forwarded-For: 198.51.100.1, 203.0.113.9")
        head = "\r\n".join(("GET /tty/?token=wrong HTTP/1.1", *lines))
        assert (await site.raw(f"{head}\r\n\r\n".encode())).status == 401

    def again(address: str) -> int:
        """Guess once more from an address; return its wait, doubled each time, in first waits."""
        return round(site.throttle.failed(address, site.now) / FIRST_DELAY_S)

    await guess("abc.tunnel.example")
    assert (again("203.0.113.9"), again("198.51.100.1"), again("127.0.0.1")) == (2, 1, 1)
    await guess(site.own)  # no tunnel: anybody may have written that
    assert (again("203.0.113.9"), again("127.0.0.1")) == (4, 4)


async def test_above_the_cap_wrong_tokens_get_429_at_once_and_right_ones_go_on(site: Site) -> None:
    for _ in range(MAX_WAITING):
        assert site.throttle.enter()
    answer = await site.get("/tty/?token=wrong")
    assert answer.status == 429
    assert int(answer["retry-after"]) > 0
    form = await site.get("/login", FORM, method="POST", body="token=wrong")
    assert form.status == 429
    assert (await site.get("/tty/", BEARER)).status == 200


async def test_stopping_does_not_wait_for_slow_answers() -> None:
    async with asyncio.timeout(4):
        async with running() as site:
            for _ in range(20):
                site.throttle.failed("127.0.0.1", site.now)
            wrong = f"GET /tty/?token=wrong HTTP/1.1\r\nHost: {site.own}\r\n\r\n".encode()
            waiting = asyncio.create_task(site.raw(wrong))
            await wait_until(lambda: site.throttle._waiting == 1)
        assert (await waiting).status == 401


# Headers, errors, logs


async def test_every_answer_carries_the_security_headers(site: Site) -> None:
    cookie = await site.log_in()
    answers = [
        await site.get("/", cookie),
        await site.get("/", "Accept: text/html"),
        await site.get(f"/?token={TOKEN}"),
        await site.get("/nothing", BEARER),
        await site.get("/broken", BEARER),
        await site.get("/logout", BEARER),
        await site.get("/healthz"),
        await site.get("/healthz", method="HEAD"),
        await site.get("/tty/", method="OPTIONS"),
        await site.get("/tty/", "Origin: http://evil.example"),
        await site.raw(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        await site.raw(b"nonsense\r\n\r\n"),
        await site.get("/colab/tty", BEARER, *UPGRADE),
    ]
    assert [answer.status for answer in answers] == [
        200, 401, 303, 404, 500, 405, 200, 200, 405, 403, 421, 400, 101,
    ]  # fmt: skip
    for answer in answers:
        for name, value in EXPECTED_HEADERS.items():
            assert answer[name] == value
        assert "clipboard-write=(self)" in answer["permissions-policy"]


async def test_only_built_files_may_be_cached(site: Site) -> None:
    answer = await site.get("/style-1a.css")
    assert answer["cache-control"] == "max-age=31536000, immutable"
    assert answer["x-content-type-options"] == "nosniff"


async def test_frames_are_allowed_for_the_configured_origins_only() -> None:
    async with running(frame_origins=("https://Notebook.example", "http://lab:8888")) as site:
        answer = await site.get("/", BEARER)
        assert answer["content-security-policy"].endswith(
            "frame-ancestors 'self' https://notebook.example:443 http://lab:8888"
        )
        assert "x-frame-options" not in answer.names()


NOTEBOOK = "https://notebook.example"


@pytest.mark.parametrize(
    ("frames", "proto", "expected"),
    [
        ((), "http", {"samesite=lax"}),
        ((), "https", {"samesite=lax", "secure"}),
        ((NOTEBOOK,), "http", {"samesite=lax"}),
        ((NOTEBOOK,), "https", {"samesite=none", "secure", "partitioned"}),
    ],
)
async def test_the_cookie_reaches_a_frame_of_another_site_where_that_is_wanted_and_safe(
    frames: tuple[str, ...], proto: str, expected: set[str]
) -> None:
    forwarded = f"X-Forwarded-Proto: {proto}"
    async with running(frame_origins=frames, trusted_proxies=("127.0.0.1",)) as site:
        entered = await site.get(f"/?token={TOKEN}", forwarded, "Accept: text/html")
        value, *attributes = entered["set-cookie"].split("; ")
        assert {one.lower() for one in attributes} == expected | {
            "httponly",
            f"max-age={COOKIE_MAX_AGE_S}",
        }
        left = await site.get(
            "/logout",
            forwarded,
            f"Cookie: {value}",
            f"Origin: {proto}://{site.own}",
            method="POST",
        )
        # A browser drops a cookie only when it is told with the attributes it was set with.
        assert {one.lower() for one in left["set-cookie"].split("; ")[1:]} == expected | {
            "httponly",
            "max-age=0",
        }


async def test_a_failing_handler_shows_nothing_of_itself(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await site.get("/broken", BEARER, "Accept: text/html")
    assert answer.status == 500
    assert b"secret detail" not in answer.body
    assert b"Traceback" not in answer.body
    assert [record.message for record in caplog.records if record.exc_info] == [
        "handler failed: GET /broken"
    ]


@pytest.mark.parametrize(
    "request_",
    [
        "GET /tty/?token=QQQ HTTP/1.1\r\nHost: {own}\r\nReferer: http://x/QQQ\r\n",
        "GET /tty/ HTTP/1.1\r\nHost: {own}\r\nAuthorization: Bearer QQQ\r\n",
        "GET /tty/ HTTP/1.1\r\nHost: {own}\r\nCookie: ttybridge-{port}=QQQ\r\n",
        "GET /tty/ HTTP/1.1\r\nHost: QQQ\r\n",
        "GET /tty/ HTTP/1.1\r\nHost: {own}\r\nOrigin: http://QQQ\r\n",
        "GET /tty/%0aforged%1b[31m{long} HTTP/1.1\r\nHost: {own}\r\n",
        "GET /tty/?token=QQQ HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        "GET /?token=QQQ\r\n",
    ],
)
async def test_a_refusal_costs_one_bounded_line_without_what_was_sent(
    site: Site, caplog: pytest.LogCaptureFixture, request_: str
) -> None:
    caplog.set_level(logging.INFO)
    text = request_.format(own=site.own, port=site.port, long="x" * 3000)
    answer = await site.raw((text + "\r\n").encode())
    assert 400 <= answer.status < 500
    (record,) = [one for one in caplog.records if one.name.startswith(("ttybridge", "aiohttp"))]
    line = logging.Formatter().format(record)
    assert "QQQ" not in line
    assert "QQQ" not in answer.body.decode() + str(answer.headers)
    assert len(line) < 300
    assert line.isprintable()


# Base path, tunnels, no token


async def test_a_base_path_works_kept_or_stripped_by_the_proxy() -> None:
    async with running(base_path="/lab/term") as site:
        for prefix in ("", "/lab/term"):
            assert (await site.get(f"{prefix}/tty/", BEARER)).status == 200
            assert (await site.get(f"{prefix}/tty/")).status == 401
            assert (await site.get(f"{prefix}/healthz")).status == 200
            answer = await site.get(f"{prefix}/?token={TOKEN}")
            assert (answer.status, answer["location"]) == (303, "./")
            assert "path=" not in answer["set-cookie"].lower()
        answer = await site.get(f"/lab/term?token={TOKEN}")
        assert (answer.status, answer["location"]) == (303, "./term/")
        login = await site.get("/lab/term", "Accept: text/html")
        assert (login.status, login["location"]) == (303, "./term/")
        assert (await site.get("/lab/term")).status == 401
        assert (await site.get("/lab/terminal", BEARER)).status == 404


async def test_the_name_of_a_tunnel_comes_and_goes(site: Site) -> None:
    def request(scheme: str) -> bytes:
        host = "abc.tunnel.example"
        lines = (f"Host: {host}", f"Origin: {scheme}://{host}", BEARER)
        return ("GET /tty/ HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()

    assert (await site.raw(request("https"))).status == 421
    site.gate.add_host("abc.tunnel.example")
    assert (await site.raw(request("https"))).status == 200
    assert (await site.raw(request("http"))).status == 403
    site.gate.remove_host("ABC.tunnel.example")
    assert (await site.raw(request("https"))).status == 421


async def test_without_a_token_host_and_origin_still_count() -> None:
    async with running(token=None) as site:
        assert (await site.get("/")).body == b"page for owner via none"
        assert (await site.get("/colab/tty", *UPGRADE)).status == 101
        assert (await site.get("/tty/", "Origin: http://evil.example")).status == 403
        assert (await site.get("/tty/", "Sec-Fetch-Site: cross-site")).status == 403
        evil = f"GET /tty/ HTTP/1.1\r\nHost: evil.example:{site.port}\r\n\r\n"
        assert (await site.raw(evil.encode())).status == 421
        clean = await site.get("/?token=whatever")
        assert (clean.status, clean["location"]) == (303, "./")
        assert "set-cookie" not in clean.names()
