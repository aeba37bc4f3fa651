"""The card and the terminal in a cell's output, in a real JupyterLab and behind Colab's proxy."""

import dataclasses
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import DEADLINE_S, Tmux, wait_until
from tests.notebooks import (
    APPS,
    Notebooks,
    calls_of,
    made_notebooks,
    needs_jupyter,
    tmux_of_kernels,
)
from tests.page.conftest import NewContext
from tests.page.network import ReverseProxy
from tests.page.test_framed import STATE, Neighbour, use_the_terminal
from tests.ports import free_port
from tests.unit.test_notebook_card import make_card
from ttybridge.notebook import card, frame
from ttybridge.notebook.frame import Frame

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

READY = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext"
RUN_ALL = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await window.jupyterapp.commands.execute("notebook:run-all-cells");
  await window.jupyterapp.commands.execute("docmanager:save");
}"""


@pytest.fixture
def notebooks(tmp_path: Path, short_path: Path) -> Iterator[Notebooks]:
    with made_notebooks(tmp_path, short_path) as made:
        yield made


@pytest.fixture
def kernel_tmux(short_path: Path) -> Iterator[Tmux]:
    with tmux_of_kernels(short_path) as server:
        yield server


@pytest.fixture
def lab(notebooks: Notebooks, tmp_path: Path) -> Iterator[str]:
    """A JupyterLab with jupyter-server-proxy, below a path as JupyterHub has it; its address."""
    port, token = free_port(), "lab-token"
    log = tmp_path / "lab.log"
    words = [
        str(APPS / "bin" / "jupyter"), "lab", "--no-browser", "--allow-root", f"--port={port}",
        "--ServerApp.port_retries=0", "--ServerApp.base_url=/user/me/",
        f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=None",
    ]  # fmt: skip
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            words, cwd=notebooks.folder, env=notebooks.server_environment,
            stdout=stderr, stderr=stderr,
        )  # fmt: skip

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()[-2000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(is_up, "JupyterLab listens", 60)
        yield f"http://127.0.0.1:{port}/user/me/lab/tree/NAME?token={token}"
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


@needs_jupyter
@pytest.mark.slow
@pytest.mark.long
def test_the_terminal_is_in_the_cell_of_a_real_jupyterlab(
    notebooks: Notebooks, kernel_tmux: Tmux, lab: str, new_context: NewContext
) -> None:
    path = notebooks.write("work.ipynb", ["%load_ext ttybridge", "%ttybridge --port 0"])
    page = new_context(viewport={"width": 1100, "height": 1000}).new_page()
    page.set_default_timeout(60_000)

    def open_and_run() -> None:
        page.goto(lab.replace("NAME", path.name))
        page.wait_for_function(READY)
        page.evaluate(RUN_ALL)
        page.wait_for_selector("iframe[title=Terminal]")

    open_and_run()
    (inner,) = [each for each in page.frames if "/proxy/" in each.url]
    assert "/user/me/proxy/" in inner.url
    use_the_terminal(page, kernel_tmux)
    card_text = page.locator(".ttb").inner_text()
    assert "on this machine" in card_text
    assert "Copy" in card_text

    # Saved and opened again, the notebook holds no link that works, and says so.
    assert "link=" in path.read_text()
    page.reload()
    page.locator("p:visible", has_text="Run the cell again").wait_for()
    assert page.locator("iframe[title=Terminal]").count() == 0

    open_and_run()
    wait_until(
        lambda: "connected" in [each.evaluate(STATE) for each in page.frames[1:]],
        "the terminal is back",
    )
    page.get_by_role("button", name="Stop the bridge").last.click()
    page.wait_for_selector("text=The bridge was stopped")
    assert page.locator("iframe[title=Terminal]").count() == 0
    assert notebooks.bridges() == []


@needs_jupyter
@pytest.mark.slow
@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(True, id="answering", marks=pytest.mark.long),
        pytest.param(False, id="silent"),
    ],
)
def test_the_terminal_works_behind_a_proxy_without_websockets_as_in_colab(
    answers: bool, notebooks: Notebooks, kernel_tmux: Tmux, new_context: NewContext
) -> None:
    port = free_port()
    proxy, around = ReverseProxy(port, websockets="refuse"), Neighbour("localhost")
    try:
        calls = notebooks.stand_in_for_colab()
        # The browser says where the proxy is; when none is there, the frame's link is enough.
        notebooks.env["COLAB_PROXY"] = f"http://127.0.0.1:{proxy.port}/" if answers else ""
        cells = ["%load_ext ttybridge", f"%ttybridge --port {port}"]
        shown = notebooks.execute(notebooks.write("colab.ipynb", cells))
        frames = [each for each in calls_of(calls) if each[0].startswith("serve_kernel")]
        assert len(frames) == 1, shown
        framed = frames[0]
        assert framed[1] == port
        page = new_context().new_page()
        # Once it has been said, the proxy's name is served, whatever credential comes.
        health = page.request.get(f"http://127.0.0.1:{proxy.port}/healthz")
        assert health.status == (200 if answers else 421)
        around.open(page, f"http://127.0.0.1:{proxy.port}{framed[2]}")
        use_the_terminal(page, kernel_tmux)
        assert proxy.websockets_seen > 0
        assert page.context.cookies() == []
    finally:
        around.close()
        proxy.close()


def show(page: "Page", html: str, **serving: Any) -> None:
    """Show an output as a page of this machine, in a notebook's colours."""
    body = f"<!doctype html><meta charset=utf-8><body><h1>Notebook</h1>{html}"
    page.route("http://127.0.0.1/", lambda route: route.fulfill(
        body=body, content_type="text/html", **serving))  # fmt: skip
    page.goto("http://127.0.0.1/")


def test_the_card_copies_and_stops_and_fits_a_phone(new_context: NewContext) -> None:
    page = new_context(viewport={"width": 360, "height": 800}).new_page()
    made = make_card(made_at=time.time(), stop_call="async () => { window.stopped = true; }")
    show(page, card.as_html(made))
    page.get_by_role("button", name="Copy SSH").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "ssh -p 14523 me@2.tcp.ngrok.io"
    assert page.get_by_role("img", name="QR code").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Stopped").wait_for()
    assert page.evaluate("window.stopped")
    assert page.locator("a").count() == 0


def test_a_card_whose_time_is_over_shows_no_link(new_context: NewContext) -> None:
    page = new_context().new_page()
    show(page, card.as_html(make_card(made_at=time.time() - 601)))
    page.get_by_text("Run the cell again").wait_for()
    shown = page.content()
    assert "link=" not in page.locator(".ttb").inner_text()
    assert page.get_by_role("img", name="QR code").count() == 0
    assert page.get_by_text("ssh -p 14523").is_visible()  # which needs a key, and no link
    assert page.get_by_role("button", name="Copy SSH").is_visible()
    assert "page" not in shown.split("<script>")[0].split("ttb-body")[1]


def test_a_card_without_scripts_is_read_all_the_same(new_context: NewContext) -> None:
    page = new_context(java_script_enabled=False).new_page()
    shown = Frame("f", 8080, "/?link=x", time.time(), 600.0)
    show(page, card.as_html(make_card(made_at=time.time())) + frame.as_html(shown))
    assert page.get_by_text("ssh -p 14523").is_visible()
    assert page.get_by_role("button").count() == 0
    assert page.get_by_text("scripts do not run in this output").is_visible()


@pytest.mark.parametrize(
    ("changes", "shows"),
    [
        ({}, "hands on no ports"),
        ({"public": "http://127.0.0.1/inner"}, "/inner"),
        ({"made_at": 1000.0}, "Run the cell again"),
    ],
    ids=["no way", "public", "late"],
)
def test_a_frame_where_the_server_hands_on_no_ports(
    changes: dict[str, Any], shows: str, new_context: NewContext
) -> None:
    page = new_context().new_page()
    made = Frame("f", 8080, "/?link=x", time.time(), 600.0)
    show(page, frame.as_html(dataclasses.replace(made, **changes)))
    if shows.startswith("/"):
        page.wait_for_selector(f"iframe[src$='{shows}']")
    else:
        page.get_by_text(shows).wait_for()
        assert page.locator("iframe").count() == 0
