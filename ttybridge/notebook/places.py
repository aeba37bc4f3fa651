"""The places that notebooks run in: how each gets a browser to a port, and where it keeps secrets.

The platforms' own modules are there or not; each is imported where it is used, and what it raises
is not known, so it is caught whatever it is.
"""

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol

from ttybridge.client.control import Control, Link
from ttybridge.client.status import Status
from ttybridge.config import Config
from ttybridge.errors import TtyBridgeError
from ttybridge.notebook import frame
from ttybridge.notebook.frame import Frame
from ttybridge.tokens import NGROK_VARIABLE

LINK_LIFE_S = 600.0
"""Seconds in which the links in an output can be opened: a saved notebook holds none that works."""

ASKING_S = 15
"""Longest wait for the browser to say where its port proxy is, in seconds."""

Publish = Callable[[Mapping[str, object]], None]
"""Shows an output by its forms: `text/html`, `text/plain`."""


class Place(Protocol):
    """A platform."""

    stop_call: str
    """JavaScript of a function that stops the bridge; empty where a browser cannot call here."""
    has_browser: bool
    """Whether outputs are shown in a browser."""
    may_be_near: bool
    """Whether that browser may be on this machine, so that a local link is of use."""

    def check(self, config: Config) -> None:
        """Look whether the terminal can be reached with these options at all.

        Raises:
            TtyBridgeError: It cannot.
        """
        ...

    def ngrok_token(self) -> str:
        """Return ngrok's token from the platform's store of secrets; empty when it has none."""
        ...

    def show_terminal(self, control: Control, status: Status, publish: Publish) -> None:
        """Show the terminal in the cell's output."""
        ...


class Colab:
    """Google Colab: its port proxy carries no WebSocket, and stops at the notebook's owner."""

    has_browser = True
    may_be_near = False

    def __init__(self, output: Any, stop: Callable[[], object]) -> None:
        """Let the card's button stop the bridge.

        Args:
            output: The module `google.colab.output`.
            stop: Stops the bridge.
        """
        self._output = output
        output.register_callback("ttybridge.stop", stop)
        name = json.dumps("ttybridge.stop")
        self.stop_call = f"() => google.colab.kernel.invokeFunction({name}, [], {{}})"

    def check(self, config: Config) -> None:
        """The proxy leads to every port."""

    def ngrok_token(self) -> str:
        """Ask Colab's secrets, which may ask the person in front of the browser."""
        return _secret(lambda: import_module("google.colab.userdata").get(NGROK_VARIABLE))

    def show_terminal(self, control: Control, status: Status, publish: Publish) -> None:
        """Have Colab frame its proxy."""
        url = None
        with contextlib.suppress(Exception):  # no browser is there to answer
            script = f"google.colab.kernel.proxyPort({status.port})"
            url = self._output.eval_js(script, timeout_sec=ASKING_S)
        if isinstance(url, str) and url:
            control.add_host(url.rstrip("/"))
        link = control.link(frame=True, life_s=LINK_LIFE_S, uses=1)
        path = frame.path_of(status.address, link.query)
        self._output.serve_kernel_port_as_iframe(
            status.port, path=path, width="100%", height=str(frame.HEIGHT)
        )


class Kaggle:
    """Kaggle: no way leads from its browser page to a port, so a tunnel is needed."""

    stop_call = ""
    has_browser = True
    may_be_near = False

    def check(self, config: Config) -> None:
        """Insist on a tunnel."""
        if not config.is_public:
            raise TtyBridgeError(
                "Kaggle leads no browser to a port of its machine.",
                hint="Add a tunnel: %ttybridge --cloudflared, or --ngrok (switch Internet on).",
            )

    def ngrok_token(self) -> str:
        """Ask Kaggle's secrets."""
        return _secret(
            lambda: import_module("kaggle_secrets").UserSecretsClient().get_secret(NGROK_VARIABLE)
        )

    def show_terminal(self, control: Control, status: Status, publish: Publish) -> None:
        """Frame the public address."""
        if _is_framed_by(status):
            publish({"text/html": frame.as_html(_frame(control, status))})


class Jupyter:
    """A Jupyter server, or a program that shows notebooks as one does."""

    stop_call = ""
    has_browser = True
    may_be_near = True

    def check(self, config: Config) -> None:
        """Only the browser knows whether the server hands on ports."""

    def ngrok_token(self) -> str:
        """There is no store."""
        return ""

    def show_terminal(self, control: Control, status: Status, publish: Publish) -> None:
        """Frame jupyter-server-proxy, or the public address where it is missing."""
        text = "The terminal is shown here in a browser."
        html = frame.as_html(_frame(control, status))
        publish({"text/html": html, "text/plain": text})


class Terminal:
    """IPython in a terminal: there is no output that could show one."""

    stop_call = ""
    has_browser = False
    may_be_near = True

    def check(self, config: Config) -> None:
        """Links are enough."""

    def ngrok_token(self) -> str:
        """There is no store."""
        return ""

    def show_terminal(self, control: Control, status: Status, publish: Publish) -> None:
        """Show nothing."""


def find_place(
    environ: Mapping[str, str], *, has_kernel: bool, stop: Callable[[], object]
) -> Place:
    """Return where we are.

    Args:
        environ: The environment.
        has_kernel: Whether IPython runs in a kernel, and not in a terminal.
        stop: Stops the bridge, for places where a button can.
    """
    # First of all: its image has parts of Colab in it.
    if environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return Kaggle()
    with contextlib.suppress(ImportError):
        return Colab(import_module("google.colab.output"), stop)
    return Jupyter() if has_kernel else Terminal()


def _frame(control: Control, status: Status) -> Frame:
    made: Link = control.link(frame=True, life_s=LINK_LIFE_S, uses=1)
    return Frame(
        id=secrets.token_hex(6),
        port=status.port,
        path=frame.path_of(status.address, made.query),
        made_at=time.time(),
        life_s=LINK_LIFE_S,
        public=made.url if _is_framed_by(status) else "",
    )


def _is_framed_by(status: Status) -> bool:
    """Tell whether the public address can be shown in a frame.

    ngrok's page of warning wants a click, and remembers it in a cookie that frames do not get.
    """
    return bool(status.public_url) and status.tunnel is not None and status.tunnel.name != "ngrok"


def _secret(ask: Callable[[], object]) -> str:
    try:
        found = ask()
    except Exception:  # it has none of that name, may not be read, or nobody answered
        return ""
    return found.strip() if isinstance(found, str) else ""
