"""Real web apps of this machine through the bridge, in a browser: JupyterLab and TensorBoard."""

import asyncio
import http.client
import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT, StartBridge, clean_environment, wait_until
from tests.edge.agent import needs_agent, put_into_path, write_config
from tests.edge.thread import EdgeThread
from tests.page.conftest import NewContext
from tests.page.network import Cable
from tests.page.tab import WATCH
from tests.ports import free_port
from ttybridge.core.access import Credentials
from ttybridge.model import Role

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, WebSocket

PYTHON = ROOT / ".venv-apps/bin/python"

START_S = 90.0
"""Time for an app to start, and for its page to be there, in seconds; the machine may be busy."""

JUPYTERS_TOKEN = "jupyters-own-0123456789"

NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code", "execution_count": None, "id": "one", "metadata": {},
            "outputs": [], "source": "print('the kernel says', 6 * 7)",
        }
    ],
    "metadata": {"kernelspec": {"display_name": "P", "language": "python", "name": "python3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}  # fmt: skip

WRITE_EVENTS = """
import sys
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
writer = EventFileWriter(sys.argv[1])
for step in range(3):
    value = Summary.Value(tag="error-of-the-run", simple_value=1 / (step + 1))
    writer.add_event(Event(wall_time=1.8e9 + step, step=step, summary=Summary(value=[value])))
writer.close()
"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not PYTHON.exists(), reason="JupyterLab and TensorBoard are not installed (.venv-apps)"
    ),
]


class Tap(Cable):
    """Carries connections to an app and keeps what it receives.

    Attributes:
        received: Everything that came for the app.
    """

    def __init__(self, app_port: int) -> None:
        """Begin to carry."""
        self.received = bytearray()
        super().__init__(app_port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read = reader.read

        async def read_and_keep(n: int = -1) -> bytes:
            data = await read(n)
            self.received += data
            return data

        reader.read = read_and_keep  # type: ignore[method-assign]
        await super()._accept(reader, writer)


@dataclass
class App:
    """A running app."""

    tap: Tap
    """What stands before it."""
    process: subprocess.Popen[bytes]
    """Its process."""
    log: Path
    """What it writes."""

    @property
    def port(self) -> int:
        """The port that the bridge is to lead to."""
        return self.tap.port


def start_app(tap: Tap, argv: Sequence[str], folder: Path, ready: str) -> App:
    """Start an app and wait until it answers."""
    log = folder / "log"
    environment = clean_environment(HOME=str(folder), JUPYTER_TOKEN=JUPYTERS_TOKEN)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PYTHON, *argv], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output,
        )  # fmt: skip
    app = App(tap, process, log)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        connection = http.client.HTTPConnection("127.0.0.1", tap.bridge_port, timeout=START_S)
        try:
            connection.request("GET", ready)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    wait_until(answers, f"{argv[1]} answers", START_S)
    return app


def stop_app(app: App) -> None:
    app.process.terminate()
    try:
        app.process.wait(20)
    except subprocess.TimeoutExpired:
        app.process.kill()
        app.process.wait()
    app.tap.close()


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A JupyterLab that was told its address, with a notebook of one cell."""
    folder = tmp_path_factory.mktemp("jupyter")
    (folder / "demo.ipynb").write_text(json.dumps(NOTEBOOK))
    tap = Tap(free_port())
    base = f"/proxy/{tap.port}/"
    argv = [
        "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.base_url={base}",
        f"--ServerApp.port={tap.bridge_port}", "--ServerApp.port_retries=0",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.news_url=None",
    ]  # fmt: skip
    app = start_app(tap, argv, folder, f"{base}api")
    yield app
    stop_app(app)


@pytest.fixture(scope="module")
def tensorboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A TensorBoard that was told nothing, with one run."""
    folder = tmp_path_factory.mktemp("tensorboard")
    subprocess.run(
        [PYTHON, "-c", WRITE_EVENTS, folder / "runs" / "first"],
        check=True, capture_output=True, timeout=START_S,
    )  # fmt: skip
    tap = Tap(free_port())
    argv = [
        "-m", "tensorboard.main", "--logdir", "runs", "--port", str(tap.bridge_port),
        "--host", "127.0.0.1", "--load_fast=false",
    ]  # fmt: skip
    app = start_app(tap, argv, folder, "/data/environment")
    yield app
    stop_app(app)


def run_the_cell(page: "Page", address: str, app: App) -> None:
    """Open the notebook with Jupyter's own token, run its cell, and see what the kernel says."""
    sockets: list[str] = []
    asked: list[bytes] = []

    def note_request(payload: str | bytes) -> None:
        data = payload.encode() if isinstance(payload, str) else payload
        if b"execute_request" in data:
            asked.append(data)

    def note_socket(opened: "WebSocket") -> None:
        sockets.append(opened.url)
        opened.on("framesent", note_request)

    page.on("websocket", note_socket)
    page.goto(f"{address}proxy/{app.port}/doc/tree/demo.ipynb?token={JUPYTERS_TOKEN}")
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()

    def has_asked() -> bool:
        """Press the key until JupyterLab has taken it: while it starts, the cell loses the focus.

        What the kernel is asked for must arrive the first time.
        """
        if not asked:
            page.locator(".jp-CodeCell .cm-content").first.press("Shift+Enter")
            page.wait_for_timeout(500)
        return bool(asked)

    wait_until(has_asked, "JupyterLab asks its kernel", START_S)
    page.locator(".jp-OutputArea-output", has_text="the kernel says 42").first.wait_for()
    start = f"{address.replace('http', 'ws', 1)}proxy/{app.port}/api/kernels/"
    assert any(url.startswith(start) and "/channels" in url for url in sockets), sockets


def see_the_run(page: "Page", address: str, app: App) -> None:
    """Open TensorBoard and see the chart of the run."""
    page.goto(f"{address}proxy/{app.port}")
    page.get_by_text("error-of-the-run").first.wait_for()
    page.locator("scalar-card svg, scalar-card canvas").first.wait_for()
    assert page.url.startswith(f"{address}proxy/{app.port}/")


def new_page(context: "BrowserContext", complaints: list[str]) -> "Page":
    page = context.new_page()
    page.set_default_timeout(START_S * 1000)
    page.add_init_script(WATCH)
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text) if "Content Security Policy" in message.text else None
        ),
    )
    return page


def check_that_nothing_of_ours_came(credential: str, *apps: App) -> None:
    """Look through every byte that the apps received."""
    for app in apps:
        received = bytes(app.tap.received)
        assert f"Host: localhost:{app.port}\r\n".encode() in received
        assert b"ttybridge-" not in received.lower()
        assert credential.encode() not in received


def test_jupyter_and_tensorboard_work_and_get_no_credential_of_ours(
    start_bridge: StartBridge, new_context: NewContext, jupyter: App, tensorboard: App
) -> None:
    ports = [option for app in (jupyter, tensorboard) for option in ("--proxy", str(app.port))]
    bridge = start_bridge(*ports)
    context, complaints = new_context(), list[str]()
    page = new_page(context, complaints)
    page.goto(bridge.link)
    run_the_cell(page, bridge.address, jupyter)
    see_the_run(page, bridge.address, tensorboard)
    check_that_nothing_of_ours_came(bridge.token, jupyter, tensorboard)
    assert b"Upgrade: websocket" in jupyter.tap.received
    assert complaints == []
    ours = f"ttybridge-{bridge.port}"
    paths = {str(cookie["name"]): cookie["path"] for cookie in context.cookies()}
    assert paths.pop(ours) == "/"
    assert set(paths.values()) == {f"/proxy/{jupyter.port}/"}
    # The terminal beside them has lost nothing.
    page.goto(bridge.address)
    page.wait_for_function("() => window.ttybridge?.state() === 'connected'")

    credentials = Credentials(bridge.token, new_id=lambda: secrets.token_hex(8))
    for role, expected in ((Role.VIEWER, 403), (Role.EDITOR, 200)):
        cookie = credentials.issue_cookie(role, time.time(), f"127.0.0.1:{bridge.port}")
        connection = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=START_S)
        headers = {"Cookie": f"{ours}={cookie}", "Sec-Fetch-Site": "same-origin"}
        connection.request("GET", f"/proxy/{tensorboard.port}/data/environment", headers=headers)
        assert connection.getresponse().status == expected
        connection.close()


@pytest.fixture
def edge() -> Iterator[EdgeThread]:
    """The stand-in of ngrok's service."""
    with EdgeThread() as thread:
        yield thread


@needs_agent[0]
@needs_agent[1]
@pytest.mark.long
def test_they_work_under_the_address_of_an_ngrok_tunnel(
    edge: EdgeThread,
    start_bridge: StartBridge,
    new_context: NewContext,
    tmp_path: Path,
    jupyter: App,
    tensorboard: App,
) -> None:
    write_config(tmp_path / "home", edge.edge)
    path = f"{put_into_path(tmp_path / 'bin')}:{os.environ['PATH']}"
    ports = [option for app in (jupyter, tensorboard) for option in ("--proxy", str(app.port))]
    bridge = start_bridge("--ngrok", *ports, env={"PATH": path})
    link = bridge.link.rpartition("=")[2]
    context = new_context(ignore_https_errors=True, proxy={"server": edge.edge.name_proxy})
    complaints: list[str] = []
    page = new_page(context, complaints)
    page.goto(bridge.link)
    for app in (jupyter, tensorboard):
        app.tap.received.clear()
    run_the_cell(page, bridge.address, jupyter)
    see_the_run(page, bridge.address, tensorboard)
    check_that_nothing_of_ours_came(link, jupyter, tensorboard)
    assert b"X-Forwarded-Host: " + bridge.host.encode() in tensorboard.tap.received
    assert complaints == []
    assert all(cookie["secure"] for cookie in context.cookies())
