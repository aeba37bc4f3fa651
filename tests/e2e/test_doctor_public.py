"""`ttybridge doctor --public` with real bridges: through a tunnel, and behind proxies."""

import dataclasses
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEADLINE_S, ROOT, RunningBridge, StartBridge, Tmux, clean_environment
from tests.e2e.ssh import Ssh, needs_ssh
from tests.edge.agent import needs_agent, put_into_path, visitor_environment, write_config
from tests.edge.thread import EdgeThread
from tests.page.network import ReverseProxy
from ttybridge import doctor, public_checks
from ttybridge.client.status import TunnelStatus
from ttybridge.config import Config

pytestmark = needs_ssh

Found = dict[str, dict[str, str]]


def label_of(folder: Path) -> str:
    """Return a name that no other bridge on this machine has."""
    return f"doctor-{os.getpid()}-{folder.name}"[-60:]


def run_doctor(
    label: str, *options: str, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ttybridge", "doctor", "--public", "--label", label, *options],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        env=clean_environment(PYTHONPATH=str(ROOT), **(env or {})),
    )


def checks(text: str) -> Found:
    return {check["name"]: check for check in json.loads(text)["checks"]}


def is_ok(found: Found, *names: str) -> bool:
    return all(found[name]["state"] == "ok" for name in names)


@pytest.mark.node
@needs_agent[1]
def test_the_whole_way_through_ngrok_is_tested_and_a_lost_tunnel_is_told(
    tmp_path: Path, start_bridge: StartBridge, ssh: Ssh, tmux: Tmux
) -> None:
    label = label_of(tmp_path)
    path = f"{put_into_path(tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}"
    with EdgeThread(warns=True) as thread:
        write_config(tmp_path / "home", thread.edge)
        bridge = start_bridge(
            "--ngrok", "--no-qr", "--label", label, *ssh.options, env={"PATH": path}
        )
        around = visitor_environment(thread.edge)
        done = run_doctor(label, "--json", env=around)
        assert done.returncode == 0, done.stdout + done.stderr
        found = checks(done.stdout)
        wanted = ("tunnel", "dns", "page", "bridge", "polling", "websocket", "ssh", "round trip")
        assert is_ok(found, *wanted), found
        assert bridge.host in found["tunnel"]["text"]
        assert "by Test authority" in found["tls"]["text"]
        assert "Visit Site" in found["page"]["text"]
        assert f"process {bridge.pid} itself" in found["bridge"]["text"]
        assert "SSH-2.0-" in found["ssh"]["text"]
        assert "ms on this machine" in found["round trip"]["text"]
        assert bridge.log.count("logout session=") == 1
        assert bridge.control.status().clients == 0
        assert tmux.clients() == []

        thread.wait(thread.edge.stop_listening())
        lost = run_doctor(label, env=around)
        assert lost.returncode == 1
        lines = lost.stdout.splitlines()
        assert any(
            line.startswith("FAIL  page: ngrok says that no tunnel") and "ERR_NGROK_3200" in line
            for line in lines
        ), lines
        assert "warn  websocket: skipped: the bridge is not reached" in lines
        assert lines[-1].endswith("to mend before it is reached.")


def test_what_a_proxy_does_to_a_bridge_is_found(
    tmp_path: Path,
    start_bridge: StartBridge,
    ssh: Ssh,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    label = label_of(tmp_path)
    bridge = start_bridge("--label", label, *ssh.options)
    another = start_bridge("--label", label, command=["sleep", "60"])
    several = run_doctor(label)
    assert several.returncode == 1
    assert "FAIL  bridge: 2 bridges of yours run" in several.stdout
    none = run_doctor(f"{label}-x", "--json")
    assert none.returncode == 1
    assert "no bridge of yours with the label" in checks(none.stdout)["bridge"]["text"]

    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *args, **more: real(
            "127.0.0.1" if host == "box.example" else host, *args, **more
        ),
    )
    monkeypatch.setenv("no_proxy", "*")

    def through(target: RunningBridge, *, serves: bool = True, **proxy: Any) -> Found:
        """Examine the first bridge by a proxy that leads to one of the two."""
        outside = ReverseProxy(target.port, **proxy)
        try:
            url = f"http://box.example:{outside.port}"
            if serves:
                target.control.add_host(url)
            tunnel = TunnelStatus("own", "open", (url,), ())
            status = dataclasses.replace(bridge.control.status(), tunnel=tunnel)
            control = bridge.control
            monkeypatch.setattr(public_checks, "find", lambda _: [(control, status)])
            out = io.StringIO()
            doctor.run(Config(), {}, (), as_json=True, out=out, is_public=True)
        finally:
            outside.close()
        return checks(out.getvalue())

    passed = through(bridge)
    assert is_ok(passed, "page", "bridge", "polling", "websocket", "ssh", "round trip"), passed
    refused = through(bridge, websockets="refuse")
    assert is_ok(refused, "page", "bridge", "polling"), refused
    assert refused["websocket"]["state"] == "FAIL"
    assert "(403)" in refused["websocket"]["text"]
    assert "headers Upgrade and Connection" in refused["websocket"]["hint"]
    assert refused["ssh"]["text"] == "skipped: it needs the WebSocket"
    stripped = through(bridge, websockets="strip")
    assert (stripped["polling"]["state"], stripped["websocket"]["state"]) == ("ok", "FAIL")
    unknown = through(bridge, serves=False)
    assert "does not serve this name" in unknown["page"]["text"]
    assert "--allow-host" in unknown["page"]["hint"]
    assert unknown["bridge"]["state"] == "FAIL"
    other = through(another)
    assert "another bridge answers" in other["bridge"]["text"]
    assert other["polling"]["text"] == "skipped: the bridge is not reached"
    assert bridge.control.status().clients == 0
    assert bridge.log.count("logout session=") == 3
