"""The control socket of a running bridge: who may ask, for what, and what is answered."""

import json
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import DEADLINE_S, ROOT, StartBridge, Tmux, clean_environment, wait_until
from ttybridge.client.control import Control, find
from ttybridge.errors import TtyBridgeError


async def test_the_socket_answers_as_the_documents_say(
    start_bridge: StartBridge, tmux: Tmux, tmp_path: Path
) -> None:
    bridge = start_bridge("--label", "here", "--proxy", "6006-6007")
    control = bridge.control
    assert stat.S_IMODE(control.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(control.path.parent.stat().st_mode) == 0o700
    connector = aiohttp.UnixConnector(str(control.path))
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    async with aiohttp.ClientSession("http://bridge", connector=connector, timeout=timeout) as http:

        async def post(path: str, body: str) -> tuple[int, dict[str, object]]:
            async with http.post(path, data=body) as answer:
                return answer.status, json.loads(await answer.text())

        status = await (await http.get("/status")).json()
        assert status["address"] == f"{bridge.address}"
        wanted = {"label": "here", "pid": bridge.pid, "session": "0", "mode": "tmux", "clients": 0}
        wanted |= {"tunnel": None, "ssh": None, "proxy": [6006, 6007], "port": bridge.port}
        assert {name: status[name] for name in wanted} == wanted
        for path, body in (
            ("/link", "[]"),
            ("/link", '{"uses": true}'),
            ("/link", '{"lifeS": -1}'),
            ("/link", '{"frame": "yes"}'),
            ("/hosts", "{}"),
            ("/hosts", '{"url": "nonsense"}'),
            ("/environment", '{"set": []}'),
            ("/environment", '{"set": {"A": 1}}'),
            ("/run", "{"),
            ("/run", '{"text": ""}'),
        ):
            code, told = await post(path, body)
            assert (code, bool(told["error"])) == (400, True), (path, body, told)
        code, told = await post("/nothing", "{}")
        assert code == 404

        code, made = await post("/link", '{"frame": true, "uses": 1}')
        assert (code, str(made["url"]).startswith(f"{bridge.address}?link=")) == (200, True)

        changes = {"set": {"FROM_CONTROL": "new \udcff", "TTYBRIDGE_TOKEN": "x"}, "unset": ["HOME"]}
        code, told = await post("/environment", json.dumps(changes))
        assert (code, told) == (200, {"set": 1, "unset": 1, "skipped": ["TTYBRIDGE_TOKEN"]})
    out = tmp_path / "out"
    tmux(
        "new-window",
        "-d",
        f'printf %s "$FROM_CONTROL:${{HOME-gone}}" > {out}.new; mv {out}.new {out}',
    )
    wait_until(out.exists, "the new window has written")
    assert out.read_bytes() == b"new \xff:gone"
    assert bridge.stop() == 0
    assert not control.path.exists()


def test_cells_run_one_after_the_other_and_the_socket_stops_the_bridge(
    start_bridge: StartBridge, tmux: Tmux
) -> None:
    bridge = start_bridge()
    control = bridge.control
    for number in range(30):
        with control.run(f"echo {number}; (exit {number})") as running:
            assert "".join(running) == f"{number}\n"
            assert running.status == number
    # Escaped, a line of JSON may be many times as long as what it holds.
    with control.run("printf '%0500000d' 0 | tr 0 '\\1'") as running:
        assert "".join(running).count("\x01") == 500_000
    with pytest.raises(TtyBridgeError, match="NUL"), control.run("a\0b") as running:
        list(running)
    control.stop()
    assert bridge.wait() == 0
    assert tmux("has-session", "-t", "=0") == ""


def test_without_a_token_no_page_is_framed(start_bridge: StartBridge) -> None:
    bridge = start_bridge("--no-auth")
    assert bridge.control.link().url == bridge.link
    with pytest.raises(TtyBridgeError, match="needs a token"):
        bridge.control.link(frame=True)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_cannot_be_written_ends_nothing(stream: str, tmux: Tmux, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ttybridge", "--port", "0", "--label", "full"]
    words += ["--socket-path", str(tmux.socket)]
    env = clean_environment(HOME=str(tmp_path), PYTHONPATH=str(ROOT))
    with Path("/dev/full").open("w") as full, Path("/dev/null").open("w") as other:
        out, err = (full, other) if stream == "stdout" else (other, full)
        with subprocess.Popen(words, env=env, stdout=out, stderr=err) as process:
            bases = [*{Path(tempfile.gettempdir()), Path("/tmp")}]

            def found() -> list[Control]:
                return [control for control, each in find(bases) if each.pid == process.pid]

            try:
                (control,) = wait_until(found, "the bridge serves")
                control.stop()
                assert process.wait(DEADLINE_S) == 0
            finally:
                process.kill()
