"""The private files of one run of the agent, and how it is reached on this machine."""

import functools
import os
import shlex
import socket
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Files:
    """The files that pyngrok is given."""

    program: Path
    """What it takes for `ngrok`: a script that starts the agent on its leash."""
    config: Path
    """The agent's configuration."""


def write_files(
    folder: Path, config: str, argv: Sequence[str], environ: Mapping[str, str]
) -> Files:
    """Write them; nobody else can read them.

    Args:
        folder: A new private folder.
        config: The text of the configuration.
        argv: How the agent is started; its arguments follow.
        environ: Its environment. pyngrok would hand on ours, in which others' secrets are.
    """
    files = Files(folder / "ngrok", folder / "ngrok.yml")
    launcher = folder / "launch.py"
    _write(files.config, config)
    argv, environ = list(argv), dict(environ)
    _write(
        launcher,
        f"import os, sys\nos.execve({argv[0]!r}, [*{argv!r}, *sys.argv[1:]], {environ!r})\n",
    )
    start = shlex.join([sys.executable, "-IS", str(launcher)])
    _write(files.program, f'#!/bin/sh\nexec {start} "$@" </dev/null 2>&1\n', mode=0o700)
    return files


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class _Direct(urllib.request.ProxyHandler):
    """Reaches this machine without a proxy, whatever the variables are."""

    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> object:
        """Return None, for a direct connection, where the host is this machine."""
        if req.host.rpartition(":")[0] == "127.0.0.1":
            return None
        return super().proxy_open(req, proxy, type)


@functools.cache
def reach_loopback_without_proxy() -> None:
    """Have urllib, which pyngrok uses, ask no proxy for the agent's local API.

    With http_proxy and without a no_proxy that names 127.0.0.1, pyngrok would never hear of it.
    """
    urllib.request.install_opener(urllib.request.build_opener(_Direct()))


def _write(file: Path, text: str, *, mode: int = 0o600) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
