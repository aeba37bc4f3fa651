"""A variable that only the bridge's process has is exact in every pane: the reason for it all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, StartBridge, Tmux, clean_environment, wait_until
from tests.e2e.panes import pane_environment

SET_PER_PANE = {
    *(b"TERM", b"TMUX", b"TMUX_PANE", b"TERM_PROGRAM", b"TERM_PROGRAM_VERSION", b"PWD"),
    *(b"SHELL", b"OLDPWD"),
}
"""What tmux sets for each pane (SHELL: 3.3a sets default-shell); no shell has run yet."""

DROPPED = {b"TMUX", b"TMUX_PANE", b"STY", b"WINDOW", b"WINDOWID", b"TERMCAP", b"COLUMNS", b"LINES"}


def nasty_variables() -> dict[bytes, bytes]:
    """About a hundred variables with every kind of value and some odd names."""
    nasty = {
        b"LD_LIBRARY_PATH": b"/usr/local/nvidia/lib:/usr/lib64-nvidia",
        b"EMPTY": b"",
        b"BLANK": b" ",
        b"BLANKS_AROUND": b"  x  ",
        b"NEWLINE": b"one\ntwo\n\nthree\n",
        b"ONLY_NEWLINE": b"\n",
        b"CARRIAGE": b"a\rb\r\n",
        b"TAB": b"\ta\tb",
        b"SINGLE": b"it's",
        b"DOUBLE": b'say "hi"',
        b"BACKTICK": b"`id`",
        b"DOLLAR": b"$HOME ${PATH} $(id) $$",
        b"SEMICOLON": b"a;b;",
        b"ONLY_SEMICOLON": b";",
        b"BACKSLASH": b"a\\b\\\\c\\",
        b"BACKSLASH_SEMICOLON": b"\\;",
        b"HASH": b"#{pane_id} #(id) #[fg=red] ##",
        b"TILDE": b"~ ~root",
        b"PERCENT": b"%H:%M %% %1",
        b"GLOB": b"* ? [a-z] {a,b}",
        b"PIPE": b"a|b>c<d&e",
        b"BANG": b"!! !$",
        b"EQUALS": b"a=b=c",
        b"DASH": b"-t",
        b"UTF8": "Grüße, 世界 🦊".encode(),
        b"INVALID_UTF8": b"\xff\xfe\x80abc\xc3",
        b"CONTROL": bytes(range(1, 32)) + b"\x7f",
        b"HIGH": bytes(range(128, 256)),
        b"ESCAPES": b"\x1b[31mred\x1b]0;title\x07",
        b"LONG": b"x" * 100_000,
        b"LONG_NASTY": b'\n"$;\\' * 4_000,
        b"JUST_OVER_A_MESSAGE": b"y" * 16_400,
        b"BASH_FUNC_f%%": b"() {  echo hi\n}",
        b"dotted.name": b"1",
        b"lower_case": b"2",
        b"NAME_WITH_-": b"3",
        b"1DIGIT": b"4",
        b"SET_ENVIRONMENT": b'set-environment -g X "y"',
    }
    for number in range(70):
        nasty[b"VAR_%d" % number] = bytes([33 + number % 90]) * number + b"; $x\n"
    return nasty


def snapshot(home: Path, **more: str) -> dict[bytes, bytes]:
    """Return the environment of a notebook's process, so to say."""
    keep = ("PATH", "LANG", "PYENV_ROOT", "VIRTUAL_ENV")
    base = {n: v for n, v in clean_environment().items() if n in keep}
    text = base | {"HOME": str(home), "PYTHONPATH": str(ROOT), "SHELL": "/bin/bash"} | more
    return {os.fsencode(n): os.fsencode(v) for n, v in text.items()} | nasty_variables()


def comparable(environment: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {n: v for n, v in environment.items() if n not in SET_PER_PANE | DROPPED}


def new_window(tmux: Tmux) -> str:
    return tmux("new-window", "-d", "-P", "-F", "#{pane_id}", "-t", "=0:")


def fake_nvidia_smi(folder: Path) -> Path:
    """Make a program that works with the notebook's LD_LIBRARY_PATH and fails without it."""
    smi = folder / "nvidia-smi"
    smi.write_text(
        '#!/bin/sh\ncase "$LD_LIBRARY_PATH" in */usr/lib64-nvidia*) echo GPU ok;;\n'
        "*) echo Failed to initialize NVML; exit 9;; esac\n"
    )
    smi.chmod(0o755)
    assert subprocess.run([smi], env={"PATH": "/bin"}, check=False).returncode == 9
    return smi


def start_server(tmux: Tmux, session: str, home: Path) -> None:
    """Start a tmux server that has never heard of our variables, and has one of its own."""
    env = clean_environment(HOME=str(home), ONLY_THE_SERVER="has this", SHELL="/bin/bash")
    env.pop("LD_LIBRARY_PATH", None)
    tmux("-f", "/dev/null", "new-session", "-d", "-s", session, env=env)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(exist_ok=True)
    return folder


def check_exact(tmux: Tmux, expected: dict[bytes, bytes], target: str) -> None:
    assert comparable(pane_environment(tmux, target)) == comparable(expected)


def test_without_a_server_the_first_pane_and_new_windows_are_exact(
    start_bridge: StartBridge, tmux: Tmux, home: Path
) -> None:
    environment = snapshot(home)
    start_bridge(environment=environment)
    check_exact(tmux, environment, "=0:")
    check_exact(tmux, environment, new_window(tmux))


def test_on_a_server_that_lacks_them_the_first_pane_and_new_windows_are_exact(
    start_bridge: StartBridge, tmux: Tmux, home: Path
) -> None:
    start_server(tmux, "somebody-elses", home)
    environment = snapshot(home)
    start_bridge(environment=environment)
    check_exact(tmux, environment, "=0:")
    check_exact(tmux, environment, new_window(tmux))
    other = tmux("new-window", "-d", "-P", "-F", "#{pane_id}", "-t", "=somebody-elses:")
    theirs = pane_environment(tmux, other)
    assert b"LD_LIBRARY_PATH" not in theirs, "another session of the server was touched"
    assert theirs[b"ONLY_THE_SERVER"] == b"has this"


def test_in_a_session_that_existed_new_windows_are_exact_and_the_user_is_told(
    start_bridge: StartBridge, tmux: Tmux, home: Path
) -> None:
    start_server(tmux, "0", home)
    before = pane_environment(tmux, "=0:")
    environment = snapshot(home)
    bridge = start_bridge(environment=environment)
    check_exact(tmux, environment, new_window(tmux))
    assert pane_environment(tmux, "=0:") == before, "the running shell was replaced"
    wait_until(lambda: "the shells that run in it keep theirs" in bridge.log, "the notice")


def test_a_second_start_replaces_what_the_first_one_gave(
    start_bridge: StartBridge, tmux: Tmux, home: Path
) -> None:
    first = snapshot(home) | {b"ONLY_IN_THE_FIRST": b"1", b"CHANGED": b"old"}
    start_bridge(environment=first).stop()
    second = snapshot(home) | {b"CHANGED": b"new"}
    start_bridge(environment=second)
    check_exact(tmux, second, new_window(tmux))


def test_what_the_page_types_runs_with_them(
    start_bridge: StartBridge, tmux: Tmux, home: Path, tmp_path: Path
) -> None:
    """The blog post's nvidia-smi: it works only with the notebook's LD_LIBRARY_PATH."""
    smi = fake_nvidia_smi(home)
    start_server(tmux, "0", home)
    start_bridge(environment=snapshot(home))
    pane = new_window(tmux)
    tmux("send-keys", "-t", pane, f"{smi}; echo status $?", "Enter")
    wait_until(lambda: "GPU ok\nstatus 0" in tmux.screen(pane), "nvidia-smi's answer")


def test_what_python_puts_into_the_environment_by_itself_is_not_passed_on(
    start_bridge: StartBridge, tmux: Tmux, home: Path
) -> None:
    environment = {n: v for n, v in snapshot(home).items() if n not in (b"LANG", b"LC_ALL")}
    start_bridge(environment=environment)
    assert b"LC_CTYPE" not in pane_environment(tmux, "=0:")


def test_the_bridge_s_own_token_does_not_reach_the_terminal(
    start_bridge: StartBridge, tmux: Tmux, home: Path
) -> None:
    token = "planted-token-0123456789abcdef"
    environment = snapshot(home, TTYBRIDGE_TOKEN=token)
    bridge = start_bridge(environment=environment)
    assert bridge.token == token
    assert not any(token.encode() in value for value in pane_environment(tmux, "=0:").values())
    for process in (bridge.pid, int(tmux("display-message", "-p", "#{pid}"))):
        assert token.encode() not in Path(f"/proc/{process}/cmdline").read_bytes()


def env_command(tmux: Tmux, environment: dict[bytes, bytes], *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ttybridge", "env", "--socket-path", str(tmux.socket), *options],
        env=environment,
        capture_output=True,
        check=True,
        timeout=20,
    )
    return done.stdout.decode()


def test_the_env_command_shows_how_a_running_session_differs(
    start_bridge: StartBridge, tmux: Tmux, home: Path
) -> None:
    environment = snapshot(home)
    start_bridge(environment=environment)
    changed = environment | {b"NEW_NAME": b"1", b"LD_LIBRARY_PATH": b"/elsewhere"}
    del changed[b"EMPTY"]
    text = env_command(tmux, changed, "--diff")
    for name in ("NEW_NAME", "LD_LIBRARY_PATH", "EMPTY"):
        assert name in text
    assert "UTF8" not in text
    assert "NEW_NAME" not in env_command(tmux, environment, "--diff")
