"""What is imported when: the command starts fast because most of it stays on the disk.

How long it takes stands in no test; `make bench ARGS="--only start"` measures it.
"""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT, StartBridge, clean_environment
from tests.edge.authority import Authority

LISTS_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Has Python print a line on stderr for each module that it imports."""

NOT_FOR_A_BRIDGE = frozenset(
    """
    cryptography difflib importlib.metadata IPython pyngrok segno tomllib uvloop yaml
    ttybridge.adapters.pane_run ttybridge.adapters.recording_file ttybridge.browser
    ttybridge.client ttybridge.core.asciicast ttybridge.core.container ttybridge.core.ssh_keys
    ttybridge.core.ssh_log ttybridge.core.ssh_tunnel ttybridge.core.sshd_config ttybridge.doctor
    ttybridge.manual ttybridge.notebook ttybridge.people_commands ttybridge.public ttybridge.qr
    ttybridge.running ttybridge.sessions.recorder ttybridge.ssh ttybridge.tunnels
    """.split()  # noqa: SIM905  one column of names reads worse
)
"""What no bridge needs before it is asked for something special."""

ONLY_FOR_TMUX = ["ttybridge.sessions.tmux", "ttybridge.adapters.tmux_control"]

ONLY_FOR_COMMANDS = ["ttybridge.sessions.direct"]

SERVERS = ["aiohttp", "asyncio", "socketio", "engineio", "itsdangerous", "ptyprocess"]


def imported(log: str) -> set[str]:
    """Return the modules that Python says it has imported, with the packages that they are in."""
    lines = [line for line in log.splitlines() if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip() for line in lines}
    return names | {name.rpartition(".")[0] for name in names}


def imported_by(arguments: Sequence[str], home: Path) -> set[str]:
    """Run a command to its end, and return what it has imported."""
    done = subprocess.run(
        [sys.executable, "-m", "ttybridge", *arguments],
        env=clean_environment(HOME=str(home), PYTHONPATH=str(ROOT), **LISTS_IMPORTS),
        cwd=home,
        capture_output=True,
        text=True,
    )
    found = imported(done.stderr)
    assert "ttybridge.cli" in found, done.stderr
    return found


@pytest.mark.parametrize("mode", ["tmux", "direct"])
def test_a_bridge_that_listens_has_imported_only_what_it_needs(
    start_bridge: StartBridge, mode: str
) -> None:
    bridge = start_bridge(command=["cat"] if mode == "direct" else [], env=LISTS_IMPORTS)
    found = imported(bridge.log)
    assert {*SERVERS, "ttybridge.web.server"} <= found
    other = ONLY_FOR_TMUX if mode == "direct" else ONLY_FOR_COMMANDS
    own = ONLY_FOR_COMMANDS if mode == "direct" else ONLY_FOR_TMUX
    assert found >= set(own)
    assert sorted(found & {*NOT_FOR_A_BRIDGE, *other}) == []


def test_the_version_is_told_with_next_to_nothing_imported(tmp_path: Path) -> None:
    ours = {name for name in imported_by(["--version"], tmp_path) if name.startswith("ttybridge")}
    assert ours == {"ttybridge", "ttybridge.cli", "ttybridge.errors", "ttybridge.output"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["share", "--help"], ["connect", "--help"], ["ssh", "--help"]]
)
def test_help_imports_no_server_and_no_client(arguments: list[str], tmp_path: Path) -> None:
    found = imported_by(arguments, tmp_path)
    others = {*NOT_FOR_A_BRIDGE, *SERVERS, "ssl", "http", "ttybridge.core.access"}
    assert sorted(found & others) == ["ttybridge.manual"]


@pytest.mark.parametrize("arguments", [["status"], ["share"], ["link"], ["env"]])
def test_commands_about_bridges_import_no_server(arguments: list[str], tmp_path: Path) -> None:
    found = imported_by(arguments, tmp_path)
    assert sorted(found & {*SERVERS, "cryptography", "segno", "difflib", "tomllib"}) == []


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority that nobody else knows."""
    return Authority(tmp_path, ["localhost"])


def after_the_import(
    code: str, *arguments: str, certificates: Path
) -> subprocess.CompletedProcess[str]:
    """Import what stands before the session, in a process of its own, and run some code then."""
    begin = """if True:
        import asyncio, json, os, ssl, sys
        from ttybridge.config import Config
        from ttybridge.loading import load_front

        async def load(tunnel):
            async with load_front(Config(tunnel=tunnel)) as loading:
                return (await loading).__name__
    """
    return subprocess.run(
        [sys.executable, "-c", begin + code, *arguments],
        env=clean_environment(PYTHONPATH=str(ROOT), SSL_CERT_FILE=str(certificates)),
        capture_output=True,
        text=True,
    )


COUNT = """
        before = dict(os.environ)
        name = asyncio.run(load(sys.argv[1]))
        from aiohttp.connector import _SSL_CONTEXT_VERIFIED as own
        others = ssl.create_default_context()
        print(json.dumps({
            "name": name, "changed": before != dict(os.environ),
            "own": len(own.get_ca_certs()), "others": len(others.get_ca_certs()),
            "checks": own.verify_mode == others.verify_mode == ssl.CERT_REQUIRED,
        }))
"""

FETCH = """
        asyncio.run(load("none"))
        from ttybridge.ssh.keys import fetch_keys
        print(asyncio.run(fetch_keys(sys.argv[1])))
"""


def test_the_bridge_reads_no_certificates_and_trusts_nobody_for_it(authority: Authority) -> None:
    done = after_the_import(COUNT, "none", certificates=authority.ca_file)
    expected = {"name": "Front", "changed": False, "own": 0, "others": 1, "checks": True}
    assert json.loads(done.stdout) == expected


def test_tunnels_of_other_packages_find_aiohttp_as_it_is(authority: Authority) -> None:
    done = after_the_import(COUNT, "elsewhere:x", certificates=authority.ca_file)
    found = json.loads(done.stdout)
    assert (found["own"], found["others"]) == (1, 1)


def test_keys_are_fetched_from_whom_the_machine_trusts_and_nobody_else(
    authority: Authority, tmp_path: Path
) -> None:
    class Github(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ssh-ed25519 AAAA of " + self.path.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Github) as server:
        server.socket = authority.server_context().wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"https://localhost:{server.server_port}/octocat.keys"
            trusted = after_the_import(FETCH, url, certificates=authority.ca_file)
            stranger = after_the_import(FETCH, url, certificates=tmp_path / "none.pem")
        finally:
            server.shutdown()
            thread.join()
    assert trusted.stdout == "ssh-ed25519 AAAA of /octocat.keys\n", trusted.stderr
    assert "certificate verify failed" in stranger.stderr
