"""Secrets are planted wherever one can enter, and looked for wherever one could come out."""

import http.client
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.conftest import DEADLINE_S, ROOT, RunningBridge, StartBridge, wait_until
from tests.e2e.hostile import PageClient, children_of, eventually, session_of
from tests.e2e.ssh import make_key, needs_ssh
from tests.ngrok import FakeNgrok, install_fake_ngrok

pytestmark = needs_ssh

MARK = "planted-marker-that-may-be-seen"
"""Enters where secrets do, and is no secret: where it is not found, the search finds nothing."""

SECRETS = {
    "token": "t0k-Ab3dEf6hIj9lMn2pQr5tUv8xYz",
    "host key": "h0k correct horse nine battery",
    "authtoken": "2ngAbCdEfGhIjKlMnOpQr_7StUvWxYz0123456789AbCdEfG",
    "password at ngrok": "b4s-Wq8eRt2yUi6oPa",
    "variable": "v4r-Zx7cVb3nMl9kJh",
    "typed": "k3y-Gf5dSa1pOi",
    "wrong token": "wr0-Ng1Tk2En3Xy4Zz5Qq6",
    "wrong link": "l9.v.wr0NgL1nkWr0NgL1nk.s1gS1gS1gS1gS1g",
    "body": "b0d-Yp4oSt9edTe2xt",
    "sid": "s1d-Xw6vUt0sRq",
}
"""What is planted, by where it enters."""

BREAKS = """
import ttybridge.web.recordings as broken
def fail(self, request, name):
    raise RuntimeError(f"broken at {request.raw_path} with {dict(request.headers)}")
for each in vars(broken).values():
    if isinstance(each, type) and hasattr(each, "_path"):
        each._path = fail
"""
"""Makes one handler fail with an error that repeats the whole request."""


def found_in(data: bytes | str, secrets: Mapping[str, str]) -> list[str]:
    """Return which secrets are in there, as they are or in percent encoding."""
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    forms = {name: (value, urlencode({"": value})[1:]) for name, value in secrets.items()}
    return [name for name, both in forms.items() if any(form in text for form in both)]


class CommandLines:
    """Reads the arguments of all processes, all the time."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = dict(secrets) | {"mark": MARK}
        self.seen: set[tuple[str, str]] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, name: str, secret: str) -> None:
        """Look for one more."""
        self._secrets = {**self._secrets, name: secret}

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(DEADLINE_S)

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    line = file.read_bytes().replace(b"\0", b" ")
                    for name in found_in(line, self._secrets):
                        self.seen.add((name, line.decode("utf-8", "replace")[:200]))


def environ_of(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def below(pid: int) -> Iterator[int]:
    """Yield all processes below one."""
    for child in children_of(pid):
        yield child
        yield from below(child)


def files_for_others(tops: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that other users may read, as far as the folders given let them in."""
    for top in tops:
        if top.is_symlink() or not top.exists():
            continue
        mode = top.stat().st_mode
        if stat.S_ISDIR(mode):
            # Without x nothing below can be opened.
            if mode & 0o011:
                with suppress(OSError):
                    yield from files_for_others(top.iterdir())
        elif stat.S_ISREG(mode) and mode & 0o044:
            yield top


def ask(
    port: int,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> tuple[int, bytes, bytes]:
    """Send one request; return the status, all headers, and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        head = "\n".join(f"{name}: {value}" for name, value in answer.getheaders())
        return answer.status, head.encode(), answer.read()
    finally:
        connection.close()


def send_raw(port: int, data: bytes) -> bytes:
    """Send bytes as they are, and return what comes back until the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        with suppress(OSError):
            while part := connection.recv(65536):
                got += part
        return got


class Scene:
    """A bridge with every secret that it can be given."""

    def __init__(self, bridge: RunningBridge, ngrok: FakeNgrok, folder: Path, home: Path) -> None:
        self.bridge, self.ngrok, self.folder, self.home = bridge, ngrok, folder, home
        self.port = bridge.control.status().port
        self.answers: list[bytes] = []
        self.statuses: set[int] = set()

    def ask(self, method: str, path: str, body: bytes | None = None, /, **headers: str) -> bytes:
        """Send a request, and keep what is said."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, head, answer = ask(self.port, method, path, named, body)
        self.statuses.add(status)
        self.answers += [head, answer]
        return answer


@pytest.fixture(params=["variable", "file"])
def scene(start_bridge: StartBridge, tmp_path: Path, request: pytest.FixtureRequest) -> Scene:
    ngrok = install_fake_ngrok(tmp_path / "ngrok")
    private = tmp_path / "password"
    private.write_text(f"me:{SECRETS['password at ngrok']}\n")
    private.chmod(0o600)
    (tmp_path / "breaks").mkdir()
    (tmp_path / "breaks" / "sitecustomize.py").write_text(BREAKS)
    file = tmp_path / "token"
    file.write_text(SECRETS["token"])
    file.chmod(0o600)
    by_file = request.param == "file"
    key = make_key(tmp_path, "user")
    bridge = start_bridge(
        "-v", "--metrics", "--ngrok", "--ngrok-basic-auth", str(private),
        "--ssh", "--ssh-port", "0", "--ssh-key", key.public,
        "--record-dir", str(tmp_path / "kept"), "--label", MARK,
        *(("--token-file", str(file)) if by_file else ()),
        env={
            **ngrok.env,
            "HOME": str(tmp_path / "home"),
            "NGROK_AUTHTOKEN": SECRETS["authtoken"],
            **({} if by_file else {"TTYBRIDGE_TOKEN": SECRETS["token"]}),
            "TTYBRIDGE_HOST_KEY_SECRET": SECRETS["host key"],
            "PLANTED": SECRETS["variable"],
            "PLANTED_MARK": MARK,
            "PYTHONPATH": f"{tmp_path / 'breaks'}{os.pathsep}{ROOT}",
        },
    )  # fmt: skip
    return Scene(bridge, ngrok, tmp_path, tmp_path / "home")


async def test_no_secret_comes_out_anywhere(scene: Scene) -> None:
    bridge, control = scene.bridge, scene.bridge.control
    lines = CommandLines(SECRETS)
    try:
        shared = control.share("viewer", name="Guest")
        secrets = dict(SECRETS) | {"link": shared.query.partition("=")[2]}
        lines.add("link", secrets["link"])
        local = RunningBridge(
            bridge.process, f"http://127.0.0.1:{scene.port}/?token={SECRETS['token']}", [], []
        )
        async with session_of(local) as session:
            client = await PageClient.join(session, local)
            secrets |= {"resume key": str(client.joined["key"])}
            recorded = str(control.record()["name"])
            await client.type(f"sh -c 'sleep 1; echo {MARK[:8]}''{MARK[8:]}' {MARK}\r")
            await client.until_shown(MARK.encode())
            await client.type("stty -echo; echo hid-$((1+1)); read -r _; stty echo; echo it-$?\r")
            await client.until_shown(b"hid-2")
            await client.type(f"{SECRETS['typed']}\r")
            await client.until_shown(b"it-0")
            environ = await the_programs_environment(client)
            secrets |= provoke(scene, secrets)
            control.stop_recording()
            await client.close()
    finally:
        lines.stop()
    for name in ("link", "cookie", "guest"):
        assert secrets[name], name
    assert {200, 303, 400, 401, 403, 404, 405, 413, 500} <= scene.statuses
    # The typed secret is shown by nobody; the variable is for programs in the terminal alone.
    check_log(bridge, secrets)
    check_processes(bridge, lines, environ)
    check_answers(scene, secrets)
    check_files(scene, secrets, recorded)
    check_ngrok(scene)


async def the_programs_environment(client: PageClient) -> bytes:
    """Return the environment of a program in the terminal."""
    await client.type("sleep 60 & echo pid-$!-\r")
    found: list[str] = []

    def is_there() -> bool:
        found[:] = re.findall(r"pid-(\d+)-", client.output.decode("utf-8", "replace"))
        return bool(found)

    await eventually(is_there, "the program in the terminal")
    environ = environ_of(int(found[-1]))
    return environ


def provoke(scene: Scene, secrets: Mapping[str, str]) -> dict[str, str]:
    """Send requests of all kinds with secrets in them; return what was given for them."""
    token, wrong, link = secrets["token"], secrets["wrong token"], secrets["link"]
    bad_link, body, sid = secrets["wrong link"], secrets["body"].encode(), secrets["sid"]
    status, head, _ = ask(scene.port, "GET", f"/?token={token}")
    scene.statuses.add(status)
    cookie = re.findall(rb"(?i)set-cookie: (\S+?);", head)[0].decode()
    form = urlencode({"link": link}).encode()
    typed = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    status, _, answer = ask(scene.port, "POST", "/login", typed, form)
    guest = str(json.loads(answer)["token"])
    known = {"Authorization": f"Bearer {token}"}
    scene.ask("GET", f"/nothing?token={token}&x={sid}")
    scene.ask("GET", f"/nothing-{MARK}?token={wrong}&x={sid}", Referer=f"https://e/?token={token}")
    scene.ask("GET", "/nothing", **known)
    scene.ask("GET", "/metrics", **known)
    for path in ("/", "/login", "/healthz", "/api/people", "/api/status", "/api/audit"):
        scene.ask("GET", path, Cookie=cookie, Sec_Fetch_Site="same-origin")
    page = scene.ask("GET", "/", Cookie=cookie, Sec_Fetch_Site="same-origin").decode()
    for script in re.findall(r'(?:src|href)="([^":]+\.(?:js|css))"', page):
        scene.ask("GET", "/" + script.lstrip("/"))
    scene.ask("GET", "/recordings/x.cast", Referer=f"https://a.example/?token={token}", **known)
    scene.ask("GET", f"/recordings/x.cast?token={token}", Cookie=cookie)
    scene.ask("GET", "/api/people", X_Colab_Runtime_Proxy_Token=token)
    scene.ask("GET", f"/?token={wrong}", Cookie=f"{cookie}x")
    scene.ask("GET", f"/?link={bad_link}")
    scene.ask("GET", "/api/people", Authorization=f"Bearer {wrong}", Referer=f"/?token={token}")
    scene.ask("GET", "/", Origin="https://evil.example", Referer=f"https://e/?token={token}")
    scene.ask("PUT", f"/api/people?token={token}", body, **known)
    scene.ask("POST", f"/api/grant?token={token}", body, Content_Type="application/json", **known)
    scene.ask("POST", "/login", urlencode({"token": wrong}).encode(), **typed)
    scene.ask("POST", f"/login?token={token}", body + b"x" * 2_000_000)
    polling = "/tty/?EIO=4&transport=polling"
    scene.ask("GET", f"{polling}&sid={sid}", **known)
    scene.ask("POST", f"{polling}&sid={sid}&token={token}", b"42[" + body)
    scene.ask("GET", f"{polling}&j=0&token={token}")
    for raw in (
        f"GET /?token={token} HTTP/1.1\r\n\r\n",
        f"GET /?token={token} HTTP/1.1\r\nHost: evil-{sid}.example\r\n\r\n",
        f"GET http://127.0.0.1/?token={token} HTTP/9\r\nCookie: {cookie}\r\n\r\n",
        f"\x00\x01 {token} {sid}\r\nAuthorization: Bearer {token}\r\n\r\n",
        f"GET /\x7f{token} HTTP/1.1\r\nHost: 127.0.0.1:{scene.port}\r\nBad Header: {token}\r\n\r\n",
        f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{scene.port}\r\nContent-Length: x{sid}\r\n\r\n",
    ):
        scene.answers.append(send_raw(scene.port, raw.encode()))
    return {"cookie": cookie.partition("=")[2], "guest": guest}


def check_log(bridge: RunningBridge, secrets: Mapping[str, str]) -> None:
    """Check what was said; the banner has no token, as the link works once."""
    wait_until(lambda: "Bad" in bridge.log or "refused" in bridge.log, "the log")
    assert f"/nothing-{MARK}" in bridge.log, bridge.log[-3000:]
    assert "Traceback" in bridge.log, "the planted failure is not in the log"
    assert "RuntimeError" in bridge.log
    said = "\n".join([bridge.link, *bridge.more, bridge.log])
    assert found_in(said, secrets) == []


def check_processes(bridge: RunningBridge, lines: CommandLines, environ: bytes) -> None:
    """Check the arguments of all processes, and the environment of those below the bridge."""
    assert {name for name, _ in lines.seen} == {"mark"}, lines.seen
    assert found_in(environ, {"variable": SECRETS["variable"], "mark": MARK}) == [
        "variable",
        "mark",
    ]
    own = {name: SECRETS[name] for name in ("token", "host key", "authtoken", "password at ngrok")}
    assert found_in(environ, own) == []
    children = list(below(bridge.pid))
    assert len(children) >= 3
    for pid in children:
        assert found_in(environ_of(pid), own) == [], Path(f"/proc/{pid}/cmdline").read_bytes()
    assert "host key" in found_in(environ_of(bridge.pid), own)  # where it was given


def check_answers(scene: Scene, secrets: Mapping[str, str]) -> None:
    """Check pages, scripts, headers, the audit and the status."""
    told = b"\n".join(scene.answers)
    assert MARK.encode() in told
    assert b"ttybridge_refused_total" in told
    assert len(told) > 100_000  # the page and its scripts
    # The link's short id and the cookie are told to whom they belong, elsewhere.
    assert found_in(told, secrets) == []
    status = subprocess.run(
        [sys.executable, "-m", "ttybridge", "status", "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert MARK.encode() in status.stdout, status.stderr
    assert found_in(status.stdout + status.stderr, secrets) == []


def check_files(scene: Scene, secrets: Mapping[str, str], recorded: str) -> None:
    """Check the audit log, the recording, and all files that others may read."""
    (audit,) = scene.home.rglob("audit.jsonl")
    assert "Guest" in audit.read_text()
    assert found_in(audit.read_bytes(), secrets) == []
    recording = scene.folder / "kept" / recorded
    assert MARK in recording.read_text()
    assert found_in(recording.read_bytes(), secrets) == []
    assert (audit.stat().st_mode & 0o077, recording.stat().st_mode & 0o077) == (0, 0)
    (scene.folder / "seen-by-all").write_text(MARK)
    run = scene.bridge.control.path.parent
    # The folder of the test is private itself: what is in it is looked at as if it were not.
    tops = [*scene.folder.iterdir(), run, run.parent]
    readable = {file: file.read_bytes() for file in files_for_others(tops)}
    assert any(MARK.encode() in data for data in readable.values())
    bad = {
        str(file): names for file, data in readable.items() if (names := found_in(data, secrets))
    }
    # What the fake agent notes for the test itself is no file of the bridge.
    bad.pop(str(scene.ngrok.bin / "state.json"), None)
    assert bad == {}
    private = b"\n".join(file.read_bytes() for file in run.rglob("*") if file.is_file())
    assert found_in(private, {"variable": SECRETS["variable"]}) == ["variable"]
    if os.getuid() == 0:
        other = [
            "grep",
            "-rlsF",
            "-e",
            SECRETS["variable"],
            "-e",
            SECRETS["authtoken"],
            str(run.parent),
        ]
        assert subprocess.run(other, capture_output=True).stdout != b""
        assert subprocess.run(other, capture_output=True, user=65534, group=65534).stdout == b""


def check_ngrok(scene: Scene) -> None:
    """Check what the agent was given: the secrets in a private file, and inspection off."""
    (start,) = scene.ngrok.state()["starts"]
    config: Any = json.loads(start["config"])
    assert (config["authtoken"], start["config_mode"]) == (SECRETS["authtoken"], 0o600)
    assert config["inspect_db_size"] == -1
    assert [one["options"]["inspect"] for one in start["tunnels"].values()] == [False]
    assert found_in(json.dumps([start["argv"], scene.ngrok.state()["commands"]]), SECRETS) == []
    assert not {"NGROK_AUTHTOKEN", "TTYBRIDGE_TOKEN", "PLANTED"} & set(start["environment"])
