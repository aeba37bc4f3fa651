"""What a real browser may do: log in by link and by form, and nothing from other websites."""

import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from playwright.async_api import Browser, async_playwright

from benchmarks.chromium import CHROMIUM
from tests.component.test_security_middleware import TOKEN, Site, running

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed"),
]

ATTACK = """async ([host, target]) => {
  const tried = {};
  const attempt = async (name, run) => {
    try { tried[name] = String(await run()); } catch (error) { tried[name] = "refused"; }
  };
  const socket = (path) => new Promise((resolve, reject) => {
    const ws = new WebSocket(`ws://${host}${path}`);
    ws.onopen = () => resolve("open");
    ws.onerror = () => reject();
  });
  const script = (path) => new Promise((resolve, reject) => {
    const tag = document.createElement("script");
    tag.onload = () => resolve("loaded");
    tag.onerror = () => reject();
    tag.src = target + path;
    document.head.append(tag);
  });
  await attempt("websocket", () => socket("/colab/tty"));
  await attempt("read", async () => (await fetch(target + "/tty/", {
    credentials: "include"})).text());
  await attempt("header", async () => (await fetch(target + "/tty/", {
    credentials: "include", headers: {"X-TTYBridge-Client": "page"}})).text());
  await attempt("jsonp", () => script("/tty/?j=0"));
  for (const path of ["/tty/", "/logout"]) {
    await fetch(target + path, {method: "POST", mode: "no-cors", credentials: "include"})
      .catch(() => {});
  }
  const form = document.createElement("form");
  const frame = document.createElement("iframe");
  frame.name = "sink";
  form.method = "post"; form.action = target + "/logout"; form.target = "sink";
  document.body.append(frame, form);
  const done = new Promise((resolve) => { frame.onload = resolve; });
  form.submit();
  await done;
  return tried;
}"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
        )
        yield browser
        await browser.close()


@pytest.fixture
async def foreign() -> AsyncIterator[str]:
    """A website on another port of this machine: another origin, but the same site."""

    async def blank(_request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>x</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", blank)
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        await runner.cleanup()


async def log_in(browser: Browser, site: Site) -> None:
    page = await browser.contexts[0].new_page()
    await page.goto(f"http://{site.own}/?token={TOKEN}")
    assert page.url == f"http://{site.own}/"
    assert await page.inner_text("body") == "page for owner via cookie"


@pytest.mark.parametrize("base", ["", "/lab/term"])
async def test_the_form_of_the_login_page_logs_in(browser: Browser, base: str) -> None:
    form = b"<form method=post action=login><input name=token><button>Go</button></form>"
    async with running(base_path=base, login_page=form) as site:
        page = await browser.new_page()
        await page.goto(f"http://{site.own}{base}/")
        await page.fill("input", "wrong")
        await page.click("button")
        await page.wait_for_url("**/login")
        await page.fill("input", TOKEN)
        await page.click("button")
        await page.wait_for_url(f"http://{site.own}{base}/")
        assert await page.inner_text("body") == "page for owner via cookie"
        (cookie,) = await page.context.cookies()
        assert (cookie["path"], cookie["httpOnly"]) == (base or "/", True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_another_website_reaches_nothing_with_the_owners_cookie(
    browser: Browser, foreign: str, host: str
) -> None:
    async with running() as site:
        await browser.new_context()
        await log_in(browser, site)
        site.reached.clear()
        page = await browser.contexts[0].new_page()
        await page.goto(foreign.replace("127.0.0.1", host))
        tried = await page.evaluate(ATTACK, [site.own, f"http://{site.own}"])
        assert tried == dict.fromkeys(("websocket", "read", "header", "jsonp"), "refused")
        assert site.reached == []
        assert site.ended == []
        await log_in(browser, site)


async def test_a_name_that_is_pointed_at_this_machine_reaches_nothing(browser: Browser) -> None:
    async with running(token=None) as site:
        page = await browser.new_page()
        answer = await page.goto(f"http://rebound.localhost:{site.port}/")
        assert answer is not None
        assert answer.status == 421
        assert site.reached == []
