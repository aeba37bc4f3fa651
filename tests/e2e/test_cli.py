"""The command as a user meets it: what it prints where, its exit status, its subcommands."""

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEADLINE_S, ROOT, RunningBridge, StartBridge, Tmux, wait_until
from ttybridge import __version__

TOKEN = "R7xk2-Qm9fLw0_ab"
LINK = re.compile(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}")

Result = subprocess.CompletedProcess[str]


class Ttybridge:
    """Runs the command with an environment of exactly what is given, and a HOME of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            b"PATH": os.environb[b"PATH"],
            b"HOME": os.fsencode(folder),
            b"PYTHONPATH": os.fsencode(ROOT),
            b"LANG": b"C.UTF-8",
        }

    def __call__(
        self, *argv: str, env: Mapping[bytes, bytes] | None = None, **popen: Any
    ) -> Result:
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run(
            [sys.executable, "-m", "ttybridge", *argv],
            stdin=subprocess.DEVNULL,
            env=self.environ | dict(env or {}),
            cwd=self.folder,
            text=True,
            timeout=DEADLINE_S,
            **(streams | popen),
        )


@pytest.fixture
def ttybridge(tmp_path: Path) -> Ttybridge:
    return Ttybridge(tmp_path)


def test_help_and_version_go_to_stdout_without_loading_the_web_server(
    ttybridge: Ttybridge,
) -> None:
    shown = ttybridge("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("Usage: ttybridge")
    assert "Exit status" in shown.stdout
    assert ttybridge("--version").stdout == f"ttybridge {__version__}\n"
    for subcommand in ("env", "doctor"):
        assert ttybridge(subcommand, "-h").stdout.startswith(f"Usage: ttybridge {subcommand}")
    script = "import sys; from ttybridge.cli import main; main(['--help']); "
    script += "print('loaded:', sorted({'aiohttp', 'socketio', 'asyncio'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=ttybridge.environ, capture_output=True, text=True
    )
    assert done.stdout.endswith("loaded: []\n")


def test_wrong_options_are_listed_on_stderr_with_status_2(ttybridge: Ttybridge) -> None:
    done = ttybridge("--prot", "9", "--session", "a:b", "--token", TOKEN, "--bad\x1b[2J\udc80")
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("ttybridge: error: ") for line in lines[:-1])
    assert lines[-1] == "Try 'ttybridge --help'."
    assert TOKEN not in done.stderr
    assert "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_the_output_cannot_encode_is_escaped(ttybridge: Ttybridge, encoding: str) -> None:
    env = {b"PYTHONIOENCODING": encoding.encode(), b"UNUSUAL": "→é".encode(), b"\xff": b"\xff"}
    for argv in (["--help"], ["env", "--values"], ["env", "--help"], ["--\udce9→"]):
        done = ttybridge(*argv, env=env, encoding=encoding)
        assert done.returncode == (2 if argv[0].startswith("--\udce9") else 0), done.stderr
        assert "Traceback" not in done.stderr
    shown = ttybridge("env", "--values", env=env, encoding=encoding).stdout
    escaped = "→é".encode(encoding, "backslashreplace").decode(encoding)
    assert f"UNUSUAL={escaped}\n" in shown


def test_the_banner_and_the_goodbye_are_escaped_where_the_output_is_ascii(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge("--session", "naïve", env={"PYTHONIOENCODING": "ascii"})
    assert LINK.fullmatch(bridge.link)
    assert bridge.stop() == 0
    wait_until(lambda: "lives on: tmux" in bridge.log, "the goodbye")
    assert r"\xb7 tmux session na\xefve" in bridge.log
    assert "Traceback" not in bridge.log


def test_env_lists_exactly_what_the_process_was_started_with(ttybridge: Ttybridge) -> None:
    nasty = {
        b"NEWLINE": b"a\nb\n",
        b"QUOTES": b"'\"`$;\\",
        b"INVALID": b"\xff\xfe",
        b"EMPTY": b"",
        b"LONG": b"x" * 100_000,
        b"\xe9t\xe9": b"latin",
        b"TMUX": b"/tmp/other,1,0",
        b"TTYBRIDGE_TOKEN": TOKEN.encode(),
    }
    done = ttybridge("env", "--values", "--show-secrets", "--json", env=nasty)
    assert done.returncode == 0, done.stderr
    listed = {
        os.fsencode(name): value.encode("utf-8", "surrogateescape")
        for name, value in json.loads(done.stdout)["environment"].items()
    }
    wanted = ttybridge.environ | nasty
    del wanted[b"TMUX"], wanted[b"TTYBRIDGE_TOKEN"]
    assert listed == wanted


@pytest.mark.parametrize("given", [{}, {b"LC_CTYPE": b"C"}, {b"LC_CTYPE": b"C.UTF-8"}])
def test_what_python_does_to_the_locale_is_undone(
    ttybridge: Ttybridge, given: dict[bytes, bytes]
) -> None:
    del ttybridge.environ[b"LANG"]
    done = ttybridge("env", "--values", "--json", env=given)
    value = json.loads(done.stdout)["environment"].get("LC_CTYPE")
    assert value == (given[b"LC_CTYPE"].decode() if given else None)


def test_env_shows_values_only_when_asked_and_secrets_only_when_asked_twice(
    ttybridge: Ttybridge,
) -> None:
    secret = {b"HF_TOKEN": b"hf-very-secret", b"DB": b"postgres://me:pass9word@db/x", b"A": b"1"}
    names = ttybridge("env", env=secret).stdout.splitlines()
    assert names == sorted(names)
    assert {"A", "DB", "HF_TOKEN"} < set(names)
    values = ttybridge("env", "--values", env=secret).stdout
    assert "A=1\n" in values
    assert "very-secret" not in values
    assert "pass9word" not in values
    in_json = ttybridge("env", "--values", "--json", env=secret).stdout
    assert "very-secret" not in in_json
    assert json.loads(in_json)["environment"]["HF_TOKEN"] is None
    assert "HF_TOKEN=hf-very-secret\n" in ttybridge("env", "--show-secrets", env=secret).stdout


def test_env_writes_each_variable_on_one_line_whatever_is_in_it(ttybridge: Ttybridge) -> None:
    done = ttybridge("env", "--values", env={b"A": b"1\n2\x1b[2J\xff", b"B": b"3"})
    assert "A=1\\n2\\x1b[2J\\xff\nB=3\n" in done.stdout


def test_env_diff_says_what_new_windows_lack_and_gain(ttybridge: Ttybridge, tmux: Tmux) -> None:
    where = ["-S", str(tmux.socket), "-s", "work"]
    nothing = ttybridge("env", "--diff", *where)
    assert nothing.returncode == 0
    assert "No tmux session work is running" in nothing.stdout
    base = {name.decode(): value.decode() for name, value in ttybridge.environ.items()}
    started_with = base | {"SAME": "1", "OTHER": "x\ny", "ONLY_THERE": "$a", "HIDDEN": "1"}
    tmux("-f", "/dev/null", "new-session", "-d", "-s", "work", env=started_with)
    tmux("set-environment", "-t", "=work", "-r", "HIDDEN")
    tmux("set-environment", "-t", "=work", "OF_SESSION", "1")
    here = {b"SAME": b"1", b"OTHER": b"x", b"ONLY_HERE": b"1", b"HIDDEN": b"1", b"K_TOKEN": b"abc"}
    found = json.loads(ttybridge("env", "--diff", "--json", *where, env=here).stdout)
    assert found == {
        "session": "work",
        "running": True,
        "added": ["HIDDEN", "K_TOKEN", "ONLY_HERE"],
        "removed": ["OF_SESSION", "ONLY_THERE"],
        "changed": ["OTHER"],
    }
    text = ttybridge("env", "--diff", "--values", *where, env=here).stdout
    assert "differ from this shell in 6 variables" in text
    assert "  + ONLY_HERE=1 (only in this shell)\n" in text
    assert "  - ONLY_THERE=$a (only in the session)\n" in text
    assert "  ~ OTHER=x\\ny (here: x)\n" in text
    assert "abc" not in text
    # TMUX of a terminal inside another tmux must not lead the question there.
    inside = {name.encode(): value.encode() for name, value in started_with.items()}
    inside |= {b"OF_SESSION": b"1", b"TMUX": b"/nowhere/else,1,0"}
    del inside[b"HIDDEN"]
    assert (
        "have the environment of this shell"
        in ttybridge("env", "--diff", *where, env=inside).stdout
    )


def test_env_diff_without_tmux_says_what_to_install(ttybridge: Ttybridge) -> None:
    done = ttybridge("env", "--diff", "--tmux", "/nowhere/tmux")
    assert done.returncode == 3
    assert "Install tmux" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(ttybridge: Ttybridge) -> None:
    for argv in (["env"], ["--help"], ["doctor"]):
        read_end, write_end = os.pipe()
        os.close(read_end)
        try:
            done = ttybridge(*argv, stdout=write_end)
        finally:
            os.close(write_end)
        assert (done.returncode, done.stderr) == (0, "")


def checks(done: Result) -> dict[str, dict[str, str]]:
    assert "Traceback" not in done.stderr
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_doctor_finds_nothing_wrong_where_all_is_well(ttybridge: Ttybridge, tmux: Tmux) -> None:
    found = checks(ttybridge("doctor", "--json", "-S", str(tmux.socket), "--port", "0"))
    for name in ("options", "token", "python", "packages", "port", "pty", "locale", "tmux"):
        assert found[name]["state"] == "ok", found[name]
    assert "made at the start" in found["session"]["text"]


def test_doctor_says_what_is_wrong_and_how_to_mend_it(ttybridge: Ttybridge, tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = str(listener.getsockname()[1])
    open_folder = tmp_path / f"tmux-{os.getuid()}"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    env = {b"LANG": b"C", b"TMUX_TMPDIR": os.fsencode(tmp_path)}
    argv = ["doctor", "--port", port, "--tmux", "/nowhere/tmux", "--max-clients", "9999"]
    with listener:
        done = ttybridge(*argv, "--json", env=env)
        lines = ttybridge(*argv, env=env)
    found = checks(done)
    assert done.returncode == lines.returncode == 1
    states = {name: found[name]["state"] for name in ("port", "tmux", "tmux socket", "locale")}
    assert states == {"port": "FAIL", "tmux": "FAIL", "tmux socket": "FAIL", "locale": "warn"}
    assert "--port" in found["port"]["hint"]
    assert "apt install tmux" in found["tmux"]["hint"]
    assert found["tmux socket"]["hint"] == f"chmod 700 {open_folder}"
    assert "LANG=C.UTF-8" in found["locale"]["hint"]
    assert f"FAIL  port: {port} on 127.0.0.1" in lines.stdout
    assert "to mend before it runs" in lines.stdout


def test_doctor_takes_a_wrong_configuration_for_a_finding(
    ttybridge: Ttybridge, tmp_path: Path
) -> None:
    file = tmp_path / "c.toml"
    file.write_text("prot = 1\nsession = 'a:b'")
    done = ttybridge("doctor", "--config", str(file), env={b"TTYBRIDGE_TOKEN": b"short"})
    assert done.returncode == 1
    assert done.stdout.count("FAIL  options: ") == 3
    assert ttybridge("doctor", "--prot").returncode == 2


def test_doctor_refuses_an_old_tmux_and_a_missing_command(
    ttybridge: Ttybridge, tmp_path: Path
) -> None:
    old = tmp_path / "tmux"
    old.write_text("#!/bin/sh\necho tmux 2.9a\n")
    old.chmod(0o755)
    found = checks(ttybridge("doctor", "--json", "--tmux", str(old)))
    assert found["tmux"]["state"] == "FAIL"
    assert "3.2 or newer" in found["tmux"]["hint"]
    found = checks(ttybridge("doctor", "--json", "--", "nosuchprogram", "-x"))
    assert found["command"]["state"] == "FAIL"
    assert "tmux" not in found


def test_the_link_alone_goes_to_stdout(start_bridge: StartBridge) -> None:
    bridge = start_bridge()
    assert LINK.fullmatch(bridge.link)
    assert bridge.stop(signal.SIGINT) == 0
    assert bridge.process.stdout is not None
    assert bridge.process.stdout.read() == ""
    log = bridge.log
    assert f"ttybridge {__version__} · tmux session 0" in log
    assert "Ctrl-C stops the bridge; the tmux session lives on." in log
    assert "lives on: tmux" in log
    assert bridge.token not in log


def test_quiet_prints_the_link_and_nothing_else(ttybridge: Ttybridge) -> None:
    done = ttybridge("--quiet", "--port", "0", "--", "true")
    assert (done.returncode, done.stderr) == (0, "")
    assert LINK.fullmatch(done.stdout.rstrip("\n"))


def test_all_secrets_are_random_and_others_at_each_start(start_bridge: StartBridge) -> None:
    def session_id(bridge: RunningBridge) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=DEADLINE_S)
        connection.request("GET", f"/?token={bridge.token}", headers={"Accept": "text/html"})
        cookie = connection.getresponse().getheader("Set-Cookie") or ""
        connection.close()
        content = cookie.partition("=")[2].partition(".")[0]
        assert bridge.token not in cookie
        return str(json.loads(base64.urlsafe_b64decode(content + "=="))["id"])

    tokens: set[str] = set()
    ids: set[str] = set()
    for _ in range(2):
        bridge = start_bridge()
        tokens.add(bridge.token)
        ids.update(session_id(bridge) for _ in range(3))
        assert bridge.stop() == 0
    assert (len(tokens), len(ids)) == (2, 6)
    for text in tokens | ids:
        assert len(base64.urlsafe_b64decode(text + "=")) * 8 >= 128
        assert len(set(text)) >= 10  # of 24 random characters, fewer are as good as impossible


def test_only_this_machine_reaches_the_page_unless_told(start_bridge: StartBridge) -> None:
    def is_open(bridge: RunningBridge, address: str) -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((address, bridge.port), timeout=DEADLINE_S).close()
            return True
        return False

    other = "127.0.0.2"  # an address as good as one of the network
    bridge = start_bridge()
    assert is_open(bridge, "127.0.0.1")
    assert not is_open(bridge, other)
    assert is_open(start_bridge("--host", "0.0.0.0"), other)


def test_a_given_token_is_in_the_link_and_not_in_the_terminal(
    start_bridge: StartBridge, tmux: Tmux
) -> None:
    bridge = start_bridge(env={"TTYBRIDGE_TOKEN": TOKEN})
    assert bridge.token == TOKEN
    shown = tmux("show-environment", "-g") + tmux("show-environment", "-t", "=0")
    assert "TTYBRIDGE_TOKEN" not in shown
    assert TOKEN not in shown
    bridge.stop()
    assert TOKEN not in bridge.log


def test_the_exit_status_is_that_of_the_command(ttybridge: Ttybridge) -> None:
    assert ttybridge("--port", "0", "--", "sh", "-c", "exit 7").returncode == 7
    assert ttybridge("--port", "0", "--", "sh", "-c", "kill -9 $$").returncode == 137


def test_a_port_that_is_taken_ends_with_status_5(ttybridge: Ttybridge) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = ttybridge("--port", str(listener.getsockname()[1]), "--", "true")
    assert done.returncode == 5
    assert done.stderr.startswith("ttybridge: error: ")
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_tmux_ends_with_status_3(ttybridge: Ttybridge) -> None:
    done = ttybridge("--port", "0", "--tmux", "/nowhere/tmux")
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr


def test_open_leads_the_browser_to_the_link_without_the_token_in_its_arguments(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    seen, browser = tmp_path / "seen", tmp_path / "browser"
    # Looks at the page as a browser would, and at what others could see of it.
    browser.write_text(
        f'#!/bin/sh\nexec >{seen}.part\necho "$@"\nfile="${{1#file://}}"\ncat "$file"\n'
        f'echo\nstat -c %a "$file" "$(dirname "$file")"\nenv >{seen}.env\nmv {seen}.part {seen}\n'
    )
    browser.chmod(0o755)
    bridge = start_bridge("--open", env={"BROWSER": f"{browser} %s", "TTYBRIDGE_TOKEN": TOKEN})
    wait_until(seen.exists, "the browser was started")
    address, *page, mode, folder_mode = seen.read_text().splitlines()
    assert bridge.token == TOKEN
    assert TOKEN not in address
    assert TOKEN not in Path(f"{seen}.env").read_text()
    assert f'href="{bridge.link}"' in "\n".join(page)
    assert (mode, folder_mode) == ("600", "700")
    file = Path(address.removeprefix("file://"))
    assert stat.S_ISREG(file.stat().st_mode)
    bridge.stop()
    assert not file.parent.exists()


def test_a_browser_that_cannot_be_started_is_a_note(start_bridge: StartBridge) -> None:
    bridge = start_bridge("--open", env={"BROWSER": "/nowhere/browser %s", "PATH": "/usr/bin"})
    wait_until(lambda: "open the link yourself" in bridge.log, "the note")
    assert bridge.stop() == 0


def test_ctrl_c_before_the_bridge_is_up_ends_with_status_130(
    ttybridge: Ttybridge, tmp_path: Path
) -> None:
    marker, hanging = tmp_path / "marker", tmp_path / "tmux"
    hanging.write_text(f"#!/bin/sh\ntouch {marker}\nexec sleep 4\n")
    hanging.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "ttybridge", "env", "--diff", "--tmux", str(hanging)],
        stderr=subprocess.PIPE,
        env=ttybridge.environ,
        # The test run itself may have been started with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(marker.exists, "tmux was asked")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, errors) == (130, b"")
