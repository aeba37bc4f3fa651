"""The real agent of ngrok (v2, from npm), pointed at the edge by the user's own configuration."""

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.edge.edge import TOKEN, NgrokEdge

AGENT = ROOT / "tests/node/node_modules/@expo/ngrok-bin-linux-x64/ngrok"
"""The agent, a static binary of x86-64 Linux."""

needs_agent = [
    pytest.mark.node,
    pytest.mark.skipif(
        not AGENT.exists(),
        reason="the ngrok agent is not installed (tests/node, by scripts/setup.sh; x86-64 Linux)",
    ),
]
"""Marks of tests that need it."""


def write_config(home: Path, edge: NgrokEdge, *, token: str = TOKEN) -> Path:
    """Write the configuration that a user of ngrok has, and return its file."""
    file = home / ".config" / "ngrok" / "ngrok.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    values = {
        "authtoken": token,
        "server_addr": edge.server_addr,
        "root_cas": str(edge.ca_file),
        "heartbeat_interval": "1s",
        # Otherwise it looks for a newer version of itself at every start.
        "update": False,
        "update_check": False,
    }
    file.touch(0o600)
    file.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items()))
    return file


def put_into_path(folder: Path) -> Path:
    """Put the agent into a folder as `ngrok`, for PATH, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ngrok").symlink_to(AGENT)
    return folder


def visitor_environment(edge: NgrokEdge) -> dict[str, str]:
    """Return variables with which programs find the edge's names, and trust its certificates."""
    ca_file = str(edge.ca_file)
    return {
        "https_proxy": edge.name_proxy,
        "SSL_CERT_FILE": ca_file,
        "WEBSOCKET_CLIENT_CA_BUNDLE": ca_file,
        "NODE_EXTRA_CA_CERTS": ca_file,
        "NODE_OPTIONS": f"--require {Path(__file__).with_name('names.cjs')}",
    }
