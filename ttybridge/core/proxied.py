"""Which web apps of this machine are served below `/proxy/`, and what is asked of them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

from ttybridge.core.origin import Seen

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Methods that are passed on."""

IsOurs = Callable[[str], bool]
"""Tells whether a text is a credential of the bridge."""

_PATH = re.compile(r"/proxy(/absolute)?/([1-9][0-9]{0,4})(/.*)?", re.DOTALL)

_AFTER_PATH = re.compile(r"[?#]")

_OUR_QUERY = ("colab-runtime-proxy-token",)
"""Query parameters below an app that are ours alone; `token` is the app's, as Jupyter has one."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a local path below `/proxy/` names."""

    port: int
    """Port of the app, 1 to 65535."""
    rest: str
    """The path after the port, not decoded; empty when even the slash is missing."""
    is_whole: bool = False
    """Whether the app gets the whole path, and not the rest alone: `/proxy/absolute/PORT`."""

    @classmethod
    def parse(cls, local_path: str) -> "Target | None":
        """Read a path without base path and query; None when it names no port.

        >>> Target.parse("/proxy/6006/data/runs")
        Target(port=6006, rest='/data/runs', is_whole=False)
        """
        match = _PATH.fullmatch(local_path)
        if match is None or int(match[2]) > 65535:
            return None
        return cls(int(match[2]), match[3] or "", bool(match[1]))

    @property
    def folder(self) -> str:
        """The local path of the app, without the last slash."""
        return f"/proxy{'/absolute' if self.is_whole else ''}/{self.port}"


def proxied_port(local_path: str, ports: Sequence[range]) -> int | None:
    """Return the port that a path leads to; None when it leads to none that is allowed.

    >>> proxied_port("/proxy/8888/lab", [range(8888, 8889)])
    8888
    >>> proxied_port("/proxy/8889/lab", [range(8888, 8889)]) is None
    True
    """
    target = Target.parse(local_path)
    if target is None or not any(target.port in allowed for allowed in ports):
        return None
    return target.port


@dataclass(frozen=True, slots=True)
class Way:
    """The way of one request to an app and back."""

    target: Target
    """What was asked for."""
    seen: Seen
    """Where the browser sent it."""
    base_path: str = ""
    """Path in front of all of ours, as the browser sees it."""
    keeps_prefix: bool = False
    """Whether the app sees paths with the prefix, as it was told to expect."""

    @property
    def prefix(self) -> str:
        """The app's folder as the browser sees it, without the last slash."""
        return self.base_path + self.target.folder

    @property
    def host(self) -> str:
        """The app's own name and port."""
        return f"localhost:{self.target.port}"

    def is_below(self, path: str) -> bool:
        """Tell whether a path, with or without a query, as the browser sees it, is the app's."""
        return _AFTER_PATH.split(path)[0] == self.prefix or path.startswith(self.prefix + "/")

    def path(self, query: str, is_ours: IsOurs) -> str:
        """Return path and query to ask the app for.

        Args:
            query: What the browser sent after the question mark, not decoded.
            is_ours: Finds our credentials in it.
        """
        path = (self.prefix if self.keeps_prefix else "") + (self.target.rest or "/")
        kept = own_query(query, is_ours)
        return f"{path}?{kept}" if kept else path


def own_query(query: str, is_ours: IsOurs) -> str:
    """Return a query without our credentials, and else byte for byte as it was."""

    def is_kept(pair: str) -> bool:
        name, _, value = pair.partition("=")
        return unquote_plus(name) not in _OUR_QUERY and not is_ours(unquote_plus(value))

    return "&".join(pair for pair in query.split("&") if is_kept(pair))


def start_hint(port: int, base_path: str = "") -> str:
    """Say how to start the app that a port is known for.

    >>> start_hint(6006)
    'tensorboard --logdir runs --port 6006'
    """
    if 6006 <= port <= 6015:
        return f"tensorboard --logdir runs --port {port}"
    if 8888 <= port <= 8898:
        prefix = f"{base_path}/proxy/{port}/"
        return f"jupyter lab --no-browser --port {port} --ServerApp.base_url={prefix}"
    if port in (8080, 8443):
        return f"code-server --auth none --bind-addr 127.0.0.1:{port}"
    return f"python3 -m http.server --bind 127.0.0.1 {port}"
