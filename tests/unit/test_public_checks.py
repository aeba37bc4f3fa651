"""`doctor --public`: what it finds where names, certificates, pages and servers are wrong."""

import asyncio
import contextlib
import io
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from tests.conftest import DEADLINE_S
from tests.edge import authority
from tests.edge.authority import Authority
from ttybridge import arguments, doctor, public_checks
from ttybridge.check import Check
from ttybridge.client.control import Control, Link
from ttybridge.client.status import Status, TunnelStatus
from ttybridge.config import Config
from ttybridge.core.public_page import Who, judge

TOKEN = "r7xk2-Qm9fLw0_ab-0123456789-abcdefghijk-tok"
LINK = "aBcDeFgHiJkLmNoPqRsTuVwX"
WARNING = b"<!doctype html><p>You are about to visit a site. ERR_NGROK_6024</p>"
LOGIN = b"<!doctype html><html><head><title>Sign in \xe2\x80\x93 ttybridge</title></head></html>"


@pytest.mark.parametrize(
    ("status", "headers", "body", "who", "part"),
    [
        (401, {"server": "ttybridge"}, b"", Who.BRIDGE, "asks for a login"),
        (401, {"server": "cloudflare"}, LOGIN, Who.BRIDGE, "asks for a login"),
        (200, {}, b"<title>ttybridge</title>", Who.BRIDGE, "asks for no login"),
        (421, {}, b"Add it with the option --allow-host NAME.", Who.OTHER, "not serve this name"),
        (429, {"server": "ttybridge"}, b"", Who.OTHER, "too many failed logins"),
        (200, {"ngrok-error-code": "ERR_NGROK_6024"}, b"", Who.WARNING, "warns of phishing"),
        (200, {}, WARNING, Who.WARNING, "Visit Site"),
        (404, {"ngrok-error-code": "ERR_NGROK_3200"}, b"", Who.OTHER, "no tunnel of this name"),
        (402, {}, b"<p>ERR_NGROK_727</p>", Who.OTHER, "in a month (ERR_NGROK_727)"),
        (402, {}, b"ERR_NGROK_725", Who.OTHER, "what its plan at ngrok allows"),
        (502, {}, b"ERR_NGROK_8012", Who.OTHER, "cannot reach the bridge"),
        (400, {}, b"ERR_NGROK_99999", Who.OTHER, "(ERR_NGROK_99999)"),
        (530, {"server": "cloudflare"}, b"error code: 1033", Who.OTHER, "(error 1033)"),
        (
            530,
            {"cf-ray": "1-FRA"},
            b'<span class="cf-error-code">1016</span>',
            Who.OTHER,
            "no longer knows",
        ),
        (530, {"server": "cloudflare"}, b"", Who.OTHER, "no cloudflared is connected"),
        (502, {"server": "cloudflare"}, b"", Who.OTHER, "does not reach it (502)"),
        (
            403,
            {"server": "cloudflare", "cf-mitigated": "challenge"},
            b"",
            Who.LOGIN,
            "a browser first",
        ),
        (
            302,
            {"location": "https://team.cloudflareaccess.com/cdn-cgi/x?kid=secret"},
            b"",
            Who.LOGIN,
            "a login at team.cloudflareaccess.com",
        ),
        (303, {"location": "/oauth2/start"}, b"", Who.LOGIN, "a login stands"),
        (
            301,
            {"location": "https://other.example/?a=secret"},
            b"",
            Who.OTHER,
            "leads on to https://other.example/ (301)",
        ),
        (401, {"www-authenticate": "Basic"}, b"", Who.LOGIN, "a login stands"),
        (511, {}, b"", Who.OTHER, "wants a login first"),
        (404, {}, b"", Who.OTHER, "nothing is served"),
        (200, {}, b"<html><title> Caf\xc3\xa9 &amp;\n Co </title>", Who.OTHER, '"Café & Co"'),
        (200, {}, b"\xff\xfe", Who.OTHER, "somebody else answers in place of the bridge (200)"),
        (302, {"location": "https://[bad/"}, b"", Who.OTHER, "leads on"),
    ],
)
def test_every_answer_is_told_apart_and_has_something_to_do(
    status: int, headers: dict[str, str], body: bytes, who: Who, part: str
) -> None:
    verdict = judge(status, headers, body)
    assert verdict.who is who, verdict
    assert part in verdict.text
    assert "secret" not in verdict.text + verdict.hint
    assert bool(verdict.hint) == (who is not Who.BRIDGE)


class Outside:
    """A server under the public address; it stands for the bridge and misbehaves as it is told.

    Attributes:
        instead: Answers in place of the bridge, to all paths but those in `kept`.
        polling: The status of the transport polling.
        websocket: Where the WebSocket leads on to; empty when it opens.
        logout: The status of a logout.
        requests: What was asked: method, path, and the credential.
        links: How many links the bridge was asked for.
    """

    def __init__(self) -> None:
        self.instead: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.kept: tuple[str, ...] = ()
        self.polling, self.websocket, self.logout = 200, "", 303
        self.requests: list[tuple[str, str, str]] = []
        self.links = 0

    def link(self, **_: object) -> Link:
        self.links += 1
        return Link(f"https://box.example/?link={LINK}", f"?link={LINK}")

    @contextlib.asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        credential = request.headers.get("Authorization", "") + (await request.text())
        self.requests.append((request.method, request.path, credential))
        if self.instead is not None and request.path not in self.kept:
            return await self.instead(request)
        match request.path, request.query.get("transport"):
            case "/healthz", _:
                return web.Response(text="ok")
            case "/login", _:
                return web.json_response({"token": TOKEN, "role": "owner"})
            case "/tty/", "polling":
                return web.Response(status=self.polling, text='0{"sid":"one"}')
            case "/tty/", "websocket":
                return await self._open(request)
            case "/logout", _:
                return web.Response(status=self.logout, headers={"Location": "./"})
            case _:
                return web.Response(status=401, body=LOGIN, content_type="text/html")

    async def _open(self, request: web.Request) -> web.StreamResponse:
        if self.websocket:
            return web.Response(status=302, headers={"Location": self.websocket})
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        await opened.send_str('0{"sid":"two"}')
        async for _ in opened:
            pass
        return opened


@pytest.fixture(name="outside")
def server_outside(monkeypatch: pytest.MonkeyPatch) -> Outside:
    """What names below .example lead to: box.example to this machine, others nowhere."""
    real = socket.getaddrinfo

    def look_up(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "lost.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(
            {"box.example": "127.0.0.1", "filtered.example": "0.0.0.0"}.get(host, host),
            *args,
            **kwargs,
        )

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setenv("no_proxy", "*")
    return Outside()


def status_of(tunnel: TunnelStatus) -> Status:
    return Status(
        *(7, "", "1", 0.0, "0", "tmux", 1, "http://127.0.0.1:1/", 0),
        tunnel=tunnel,
        ssh=None,
        proxy=(),
    )


async def examine(
    outside: Outside,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    tunnel: TunnelStatus | None = None,
) -> dict[str, Check]:
    """Return the results of all checks by their names; that of a note has a `+` after it."""
    status = status_of(tunnel or TunnelStatus("own", "open", (url,), ()))
    monkeypatch.setattr(public_checks, "_chosen", lambda _label, _environment: (outside, status))
    found: list[Check] = []
    await asyncio.to_thread(public_checks.public_checks, Config(), {}, found.append)
    for secret in (TOKEN, LINK):
        assert secret not in str(found)
    names = [check.name for check in found]
    wanted = ["tunnel", "dns", "tls", "page", "bridge", "polling", "websocket", "ssh", "round trip"]
    assert [name for name in dict.fromkeys(names) if name != "logout"] == wanted
    return {f"{name}{'+' * names[:n].count(name)}": found[n] for n, name in enumerate(names)}


def states(found: dict[str, Check], *names: str) -> list[str]:
    return [found[name].state for name in names]


def is_skipped(found: dict[str, Check], *names: str) -> bool:
    return all(found[name].text.startswith("skipped: ") for name in names)


async def test_a_bridge_that_is_reached_is_left_as_it_was(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = TunnelStatus("own", "reopening", (), ("Slow\x1b[2J.",))
    async with outside.serving() as port:
        url = f"http://box.example:{port}"
        lost = TunnelStatus(notes.name, notes.state, (url,), notes.notes)
        found = await examine(outside, url, monkeypatch, tunnel=lost)
    assert states(found, "page", "bridge", "polling", "websocket", "ssh") == ["ok"] * 5
    assert found["tunnel"].state == "FAIL"
    assert f"own is lost for the moment; it was {url}" == found["tunnel"].text
    assert found["tunnel+"] == Check("tunnel", "warn", "Slow\\x1b[2J.")
    assert "only this machine gets there" in found["dns"].text
    assert found["tls"].state == "warn"
    assert "whoever is on the way reads along" in found["tls"].text
    assert "median of 10" in found["round trip"].text
    bearer = f"Bearer {TOKEN}"
    assert ("POST", "/logout", bearer) == outside.requests[-1]
    assert [path for _, path, credential in outside.requests if not credential] == [
        *("/healthz", "/", "/healthz"),
    ]
    assert ("POST", "/tty/", f"{bearer}1") in outside.requests
    assert "logout" not in found


async def test_what_takes_a_part_away_is_found_and_the_rest_goes_on(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside.polling, outside.logout = 403, 403
    monkeypatch.setattr(public_checks, "SLOW_MS", 0.0)
    async with outside.serving() as port:
        found = await examine(outside, f"http://box.example:{port}", monkeypatch)
    assert states(found, "polling", "websocket", "round trip", "logout") == [
        *("warn", "ok", "warn", "warn"),
    ]
    assert "(403)" in found["polling"].text
    assert "Typing feels slow" in found["round trip"].hint

    outside, elsewhere = Outside(), Outside()
    outside.polling = 403
    async with outside.serving() as port, elsewhere.serving() as other:
        outside.websocket = f"http://127.0.0.1:{other}/"
        found = await examine(outside, f"http://box.example:{port}", monkeypatch)
    assert states(found, "bridge", "polling", "websocket") == ["ok", "FAIL", "FAIL"]
    assert "leads on to http://127.0.0.1" in found["websocket"].text
    assert is_skipped(found, "round trip")
    assert elsewhere.requests == []


async def test_nobody_but_a_bridge_is_shown_a_link(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def portal(_request: web.Request) -> web.StreamResponse:
        html = "<title>Hotel\x1b]0; Wi-Fi</title>"
        return web.Response(text=html, content_type="text/html")

    outside.instead = portal
    async with outside.serving() as port:
        found = await examine(outside, f"http://box.example:{port}", monkeypatch)
        out = io.StringIO()
        status = await asyncio.to_thread(
            doctor.run, Config(), {}, (), as_json=False, out=out, is_public=True
        )
    assert states(found, "page", "bridge") == ["FAIL", "FAIL"]
    assert '"Hotel\\x1b]0; Wi-Fi"' in found["page"].text
    assert "wants a login first" in found["page"].hint
    assert not any(credential for _, _, credential in outside.requests)
    assert is_skipped(found, "polling", "websocket", "round trip")
    assert outside.links == 0
    assert status == 1
    assert out.getvalue().endswith("2 to mend before it is reached.\n")
    assert "\x1b" not in out.getvalue()


async def test_a_server_that_does_not_answer_holds_up_no_check_for_long(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    outside.instead, outside.kept = never, ("/healthz",)
    monkeypatch.setattr(public_checks, "CHECK_S", 0.5)
    async with outside.serving() as port:
        found = await examine(outside, f"http://box.example:{port}", monkeypatch)
    assert states(found, "tls", "page", "bridge") == ["warn", "FAIL", "FAIL"]
    assert found["page"].text == found["bridge"].text == "no answer within 0.5 s"
    assert outside.links == 1
    assert is_skipped(found, "polling", "websocket", "round trip")


async def test_who_is_interrupted_leaves_no_session_open(outside: Outside) -> None:
    asked = asyncio.Event()

    async def never(_request: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    outside.instead, outside.kept = never, ("/healthz", "/", "/login", "/logout")
    async with outside.serving() as port:
        status = status_of(TunnelStatus("own", "open", (f"http://box.example:{port}",), ()))
        control = cast(Control, outside)
        task = asyncio.create_task(public_checks._examine(control, status, lambda _: None))
        await asyncio.wait_for(asked.wait(), DEADLINE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert outside.requests[-1] == ("POST", "/logout", f"Bearer {TOKEN}")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("lost.example", "not found: Name or service not known"),
        ("filtered.example", "leads to 0.0.0.0: a filter"),
    ],
)
async def test_a_name_that_leads_nowhere_is_found(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, name: str, part: str
) -> None:
    found = await examine(outside, f"https://{name}", monkeypatch)
    assert found["dns"].state == "FAIL"
    assert part in found["dns"].text
    assert "another network" in found["dns"].hint
    assert is_skipped(found, "tls", "page", "bridge", "polling", "websocket", "round trip")


async def test_an_address_that_counts_elsewhere_is_not_taken_for_this_machine(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await examine(outside, "http://127.0.0.1:1", monkeypatch)
    assert found["dns"].state == "warn"
    assert "other end of the tunnel" in found["dns"].text
    assert "curl http://127.0.0.1:1/healthz" in found["dns"].hint
    assert is_skipped(found, "tls", "page", "bridge", "round trip")


@pytest.mark.parametrize(
    ("case", "part"),
    [
        ("good", "by Test authority, for 1 day more"),
        ("expired", "of box.example has expired"),
        ("not-yet", "is not good yet"),
        ("other", "is for another name"),
        ("unknown", "an authority that is not known"),
        ("plain", "speaks no TLS"),
        ("refused", "no answer: Connection refused"),
    ],
)
async def test_what_is_wrong_with_tls_is_said_and_nothing_is_sent(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str, part: str
) -> None:
    shift = timedelta(days={"expired": -10, "not-yet": 10}.get(case, 0))
    clock = SimpleNamespace(now=lambda zone: datetime.now(zone) + shift)
    monkeypatch.setattr(authority, "datetime", clock)
    made = Authority(tmp_path, ["other.example" if case == "other" else "box.example"])
    if case != "unknown":
        monkeypatch.setenv("SSL_CERT_FILE", str(made.ca_file))
    async with outside.serving(None if case == "plain" else made.server_context()) as port:
        url = f"https://box.example:{1 if case == 'refused' else port}"
        found = await examine(outside, url, monkeypatch)
    assert part in found["tls"].text
    assert found["tls"].hint
    if case == "good":
        assert states(found, "tls", "page") == ["warn", "ok"]
    else:
        assert found["tls"].state == "FAIL"
        assert is_skipped(found, "page", "bridge", "polling", "websocket", "round trip")
        assert outside.requests == []


def test_the_doctor_takes_the_switch_and_a_wrong_option_is_a_finding() -> None:
    given = arguments.parse(["doctor", "--public", "--json", "--label", "it"])
    assert (given.problems, given.switches) == ([], {"--public", "--json"})
    out = io.StringIO()
    assert doctor.run(Config(), {}, ["--x is wrong."], as_json=True, out=out, is_public=True) == 1
    (check,) = json.loads(out.getvalue())["checks"]
    assert (check["name"], check["text"]) == ("options", "--x is wrong.")
