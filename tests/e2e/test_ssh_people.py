"""SSH logins are people of the session: named, given the keyboard, watched over, removed."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import DEADLINE_S, ROOT, RunningBridge, StartBridge, Tmux, clean_environment
from tests.conftest import wait_until as wait
from tests.e2e.conftest import OnPty, StartOnPty
from tests.e2e.guests import token_of
from tests.e2e.ssh import Key, Ssh, answers, needs_ssh, run
from tests.e2e.test_ssh_tools import ask, through_socks
from tests.ports import free_port
from ttybridge.client.people import Somebody

pytestmark = needs_ssh

CLIENT = clean_environment(TERM="xterm-256color")
ASKED, ANSWER = b"\x1b[5n", b"\x1b[0n"


def people(bridge: RunningBridge) -> dict[str, Somebody]:
    """Return everybody, by name."""
    return {each.name: each for each in bridge.control.people().people}


def login(start_on_pty: StartOnPty, ssh: Ssh, bridge: RunningBridge, *words: str,
          key: Key | None = None) -> OnPty:  # fmt: skip
    """Log in to the session."""
    terminal = start_on_pty(ssh.command(bridge, *words, "bridge", key=key), env=CLIENT)
    terminal.wait_for_text("[0] 0:")
    return terminal


def reaches(tmux: Tmux, terminal: OnPty, text: str) -> bool:
    """Type a text and wait until it is in the session."""
    terminal.type(text.encode())
    wait(lambda: text in shown(tmux), f"{text!r} in the session")
    tmux("send-keys", "-t", "=0:", "C-u")
    return True


WIDTHS = itertools.count(61)


def is_dropped(bridge: RunningBridge, tmux: Tmux, terminal: OnPty, text: str) -> bool:
    """Type a text and tell whether it is missing when what was sent after it has arrived."""
    cols = next(WIDTHS)
    terminal.type(text.encode())
    terminal.resize(cols, 24)
    wait(lambda: cols in [each.cols for each in bridge.control.people().people], "the new size")
    beside = f"beside{cols}"
    tmux("send-keys", "-t", "=0:", "-l", beside)
    wait(lambda: beside in drawn_anew(tmux), "what was typed beside it")
    is_missing = text not in shown(tmux)
    tmux("send-keys", "-t", "=0:", "C-u")
    return is_missing


def shown(tmux: Tmux) -> str:
    """Return the session's screen as one line: what is long is broken anywhere."""
    return tmux.screen().replace("\n", "")


def drawn_anew(tmux: Tmux) -> str:
    """Let the shell draw its line once more, and return what is shown before it may have.

    A line that it was drawing while the size changed may stay in pieces.
    """
    screen = shown(tmux)
    tmux("send-keys", "-t", "=0:", "C-l")
    return screen


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def start() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Start programs that stay; ended after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(argv: list[str]) -> "subprocess.Popen[bytes]":
        started.append(
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=CLIENT | {"PYTHONPATH": str(ROOT)},
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


Start = Callable[[list[str]], "subprocess.Popen[bytes]"]


def first_line(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


# The keyboard


def test_the_keyboard_goes_to_an_ssh_login_and_back_at_once(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options)
    owner = login(start_on_pty, ssh, bridge)
    viewer = login(start_on_pty, ssh, bridge, key=ssh.viewer)
    found = people(bridge)
    assert {(n, p.role, p.given, p.via, p.address) for n, p in found.items()} == {
        ("owner", "owner", "owner", "ssh", "127.0.0.1"),
        ("viewer", "viewer", "viewer", "ssh", "127.0.0.1"),
    }
    assert reaches(tmux, owner, "one")
    assert is_dropped(bridge, tmux, viewer, "two")
    bridge.control.grant("viewer")
    assert reaches(tmux, viewer, "three")
    assert tmux("list-clients", "-F", "#{client_readonly}").split() == ["0", "0"]
    # Ctrl-C is the program's now, and leaves no more.
    viewer.type(b"\x03")
    assert reaches(tmux, viewer, "four")
    bridge.control.grant("viewer", "viewer")
    bridge.control.grant("owner", "viewer")
    assert is_dropped(bridge, tmux, viewer, "five")
    assert is_dropped(bridge, tmux, owner, "six")
    wait(lambda: tmux("list-clients", "-F", "#{client_readonly}").split() == ["1", "1"], "two")
    # What the terminal showed before the login stays: RIS would clear it.
    assert b"\x1bc" not in viewer.received + owner.received
    # A login that comes again is what the last one was.
    again = login(start_on_pty, ssh, bridge)
    assert is_dropped(bridge, tmux, again, "seven")
    bridge.control.grant(people(bridge)["owner"].id, "owner")
    assert reaches(tmux, owner, "eight")
    assert reaches(tmux, again, "nine")
    viewer.type(b"\x03")
    assert viewer.wait() == 0
    assert "ttybridge: left." in viewer.tail


def test_the_screen_is_right_after_a_change_and_the_terminal_after_the_end(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, short_path: Path
) -> None:
    bridge = start_bridge(*ssh.options)
    client = Tmux(short_path / "client")
    command = shlex.join(ssh.command(bridge, "bridge", key=ssh.viewer))
    try:
        client("-f", "/dev/null", "new-session", "-d", "-s", "0", "-x", "80", "-y", "24",
               "env -u TMUX PS1='here: ' sh")  # fmt: skip
        client("send-keys", "-t", "=0:", "echo before-the-login", "Enter", command, "Enter")
        wait(lambda: "[0] 0:" in client.screen(), "the session")
        tmux("send-keys", "-t", "=0:", "clear; seq 1 60; printf '\\033[?25l\\033[?1000h'", "Enter")
        for role in ("editor", "viewer"):
            wait(lambda: "\n60\n" in client.screen(), "its screen")
            bridge.control.grant("viewer", role)
            wait(lambda: len(tmux.clients()) == 1, "the other client is gone")
            # All lines but the status line, which the client of another size has, too.
            wait(
                lambda: client.screen().splitlines()[:23] == tmux.screen().splitlines()[:23],
                "the same screen",
            )
        bridge.control.kick("viewer")
        wait(lambda: "removed from the session" in client.screen(), "the sentence")
        wait(lambda: client.screen().rstrip().endswith("here:"), "the shell's prompt")
        client("send-keys", "-t", "=0:", "stty -a | grep -o ' echo '; echo back", "Enter")
        wait(lambda: "\nback" in client.screen(), "the shell")
        screen = client.screen()
        assert "before-the-login" in screen
        assert "\n60\n" not in screen
        assert "\n echo" in screen
        flags = client(
            "display", "-p", "-t", "=0:", "#{alternate_on}#{mouse_any_flag}#{cursor_flag}"
        )
        assert flags.strip() == "001"
    finally:
        client.stop()


def test_the_time_to_the_terminal_is_taken_and_nothing_else_is(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options)
    terminal = login(start_on_pty, ssh, bridge)
    assert people(bridge)["owner"].rtt_ms is None
    wait(lambda: ASKED in terminal.received, "the question")
    terminal.type(b"ab\x1b")
    terminal.type(b"[0ncd")
    wait(lambda: people(bridge)["owner"].rtt_ms, "the time")
    assert 0 < (people(bridge)["owner"].rtt_ms or 0) < 10_000
    wait(lambda: "abcd" in shown(tmux), "what was typed around it")
    # The answer that nobody has asked for is typed as it is.
    terminal.type(b"\x15cat -v\r")
    wait(lambda: "cat -v" in shown(tmux), "cat")
    terminal.type(b"\x1b[0n\r")
    wait(lambda: "^[[0n" in shown(tmux), "the answer as text")
    assert terminal.received.count(ASKED) == 1


# Removed


def test_who_is_removed_loses_everything_of_the_connection_and_the_key(
    start_bridge: StartBridge,
    ssh: Ssh,
    tmux: Tmux,
    short_path: Path,
    start: Start,
    start_on_pty: StartOnPty,
) -> None:
    bridge = start_bridge(*ssh.options)
    control, port = short_path / "control", free_port()
    listening = f"127.0.0.1:{port}:127.0.0.1:{bridge.port}"
    removed = login(start_on_pty, ssh, bridge, "-M", "-S", str(control), "-L", listening)
    beside = start(ssh.command(bridge, "-S", str(control), "bridge", "echo $$; exec sleep 300"))
    alone = start(ssh.command(bridge, "bridge", "echo $$; exec sleep 300"))
    forwarding = free_port()
    quiet = start(ssh.command(bridge, "-N", "-R", f"127.0.0.1:{forwarding}:127.0.0.1:1", "bridge"))
    other = login(start_on_pty, ssh, bridge, key=ssh.viewer)
    programs = [int(first_line(process)) for process in (beside, alone)]
    wait(lambda: bridge.log.count("ssh login: user") == 4, "the connections")
    assert ask(port), "the forwarding works"
    bridge.control.kick("owner")
    assert removed.wait() == 1
    assert "ttybridge: You have been removed from the session." in removed.tail
    assert "\x1b[?1049l" in removed.tail
    for process in (beside, alone, quiet):
        wait(lambda process=process: process.poll() is not None, "the end of a client")  # type: ignore[misc]
    assert [pid for pid in programs if is_running(pid)] == []
    assert not ask(port)
    for words in (["-tt", "bridge"], ["bridge", "echo in"], ["-N", "bridge"]):
        done = ssh.run(bridge, *words)
        assert done.returncode == 255
        assert b"Permission denied (publickey)" in done.stderr
    bridge.control.grant("viewer")
    assert reaches(tmux, other, "others-are-here")
    assert list(people(bridge)) == ["viewer"]


def test_who_loses_the_right_to_run_programs_runs_none_on_any_connection(
    start_bridge: StartBridge,
    ssh: Ssh,
    tmux: Tmux,
    tmp_path: Path,
    short_path: Path,
    start: Start,
    start_on_pty: StartOnPty,
) -> None:
    bridge = start_bridge(*ssh.options)
    control, trace = short_path / "control", tmp_path / "trace"
    shared = ("-S", str(control))
    terminal = login(start_on_pty, ssh, bridge, "-M", *shared)
    beside = start(ssh.command(bridge, *shared, "bridge", "echo $$; exec sleep 300"))
    alone = start(ssh.command(bridge, "bridge", "echo $$; exec sleep 300"))
    programs = [int(first_line(process)) for process in (beside, alone)]
    assert ssh.run(bridge, *shared, "bridge", "echo in").stdout == b"in\n"
    bridge.control.grant("owner", "viewer")
    for pid in programs:
        wait(lambda pid=pid: not is_running(pid), "the end of the programs")  # type: ignore[misc]
    wait(lambda: alone.poll() is not None, "the end of the other connection")
    for words in ([*shared], []):
        done = ssh.run(bridge, *words, "bridge", f"touch {trace}")
        assert (done.returncode, b"may watch the session" in done.stderr) == (1, True)
        done = ssh.run(bridge, *words, "-T", "bridge", stdin=f"touch {trace}\n".encode())
        assert (done.returncode, b"may watch the session" in done.stderr) == (1, True)
        sftp = run(["sftp", *ssh.config(bridge), *(f"-oControlPath={w}" for w in words[1:]),
                    "-b", "-", "bridge"], stdin=b"ls /\n")  # fmt: skip
        assert sftp.returncode != 0
        assert not sftp.stdout.startswith(b"sftp> ls /\n/")
    assert not trace.exists()
    assert is_dropped(bridge, tmux, terminal, "dropped")
    tunnel = ssh.run(bridge, "-W", f"127.0.0.1:{bridge.port}", "bridge", stdin=b"x")
    assert b"forwarding failed" in tunnel.stderr
    # Given back, all is as it was, on the same connection.
    bridge.control.grant("owner", "owner")
    assert reaches(tmux, terminal, "typed")
    for words in ([*shared], []):
        assert ssh.run(bridge, *words, "bridge", "echo in").stdout == b"in\n"
    # What sshd cannot be told to refuse ends the connection.
    bridge.control.grant("owner", "viewer")
    port = free_port()
    forward = ("-O", "forward", "-L", f"127.0.0.1:{port}:127.0.0.1:{bridge.port}")
    assert ssh.run(bridge, *shared, *forward, "bridge").returncode == 0
    with contextlib.suppress(OSError):
        ask_for_ever(port)
    assert terminal.wait() == 1
    assert "Log in again" in terminal.tail


def ask_for_ever(port: int) -> None:
    """Hold a connection open until the other side ends it."""
    import socket

    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as client:
        client.recv(1)


# What a viewer may not do, and others may


def test_a_viewer_s_key_gets_nothing_but_the_session_and_an_owner_s_all(
    start_bridge: StartBridge,
    ssh: Ssh,
    tmp_path: Path,
    short_path: Path,
    start: Start,
    start_on_pty: StartOnPty,
) -> None:
    bridge = start_bridge(*ssh.options)
    control = short_path / "control"
    terminal = login(start_on_pty, ssh, bridge, "-M", "-S", str(control), key=ssh.viewer)
    agent = short_path / "agent"
    start(["ssh-agent", "-D", "-a", str(agent)])
    wait(lambda: answers(agent), "an agent")
    home = tmp_path / "home"
    traces = iter(range(1000))

    def leaves_trace(*words: str, key: Key, name: str = "") -> bool:
        file = home / (name or f"trace-{next(traces)}")
        command = [word.replace("TRACE", str(file)) for word in words]
        stdin = f"touch {file}\n".encode() if "-T" in command else b""
        ssh.run(bridge, *command, key=key, stdin=stdin)
        return file.exists()

    def copies(*program: str, key: Key) -> bool:
        there = home / f"copy-{next(traces)}"
        run([*program, *ssh.config(bridge, key), str(ssh.known_hosts), f"bridge:{there}"])
        return there.exists()

    def forwards(option: str, key: Key) -> bool:
        port = free_port()
        form = f"127.0.0.1:{port}" + ("" if option == "-D" else f":127.0.0.1:{bridge.port}")
        told = ("-o", "LogLevel=INFO", "-N")
        process = start(ssh.command(bridge, *told, option, form, "bridge", key=key))
        assert process.stderr is not None
        errors = process.stderr.fileno()
        os.set_blocking(errors, False)

        def outcome() -> str:
            if through_socks_or_not(port) if option == "-D" else ask(port):
                return "forwarded"
            with contextlib.suppress(BlockingIOError):
                return os.read(errors, 65536).decode()
            return ""

        def through_socks_or_not(proxy: int) -> bytes:
            try:
                return through_socks(proxy, bridge.port)
            except AssertionError:  # it says no, in its own words
                return b""

        found = wait(outcome, option)
        assert found == "forwarded" or "prohibited" in found or "failed" in found, found
        process.kill()
        return found == "forwarded"

    def has_agent(key: Key) -> bool:
        command = ssh.command(bridge, "-A", "bridge", "echo agent $SSH_AUTH_SOCK", key=key)
        config = Path(command[2])
        config.write_text(
            config.read_text().replace("IdentityAgent none", f"IdentityAgent {agent}")
        )
        return b"agent /" in run(command).stdout

    attempts: dict[str, Callable[[Key], bool]] = {
        "a command": lambda key: leaves_trace("bridge", "touch TRACE", key=key),
        "one on a terminal": lambda key: leaves_trace("-tt", "bridge", "touch TRACE", key=key),
        "a shell": lambda key: leaves_trace("-T", "bridge", key=key),
        "scp": lambda key: copies("scp", "-O", key=key),
        "sftp": lambda key: copies("scp", "-s", key=key),
        "-L": lambda key: forwards("-L", key),
        "-R": lambda key: forwards("-R", key),
        "-D": lambda key: forwards("-D", key),
        "-A": has_agent,
    }  # fmt: skip
    done = {what: (tries(ssh.viewer), tries(ssh.owner)) for what, tries in attempts.items()}
    assert done == dict.fromkeys(attempts, (False, True))
    # Whoever is given the keyboard is given the session's keyboard, and nothing else.
    bridge.control.grant("viewer")
    assert [what for what in ("a command", "a shell", "sftp", "-L", "-R", "-A")
            if attempts[what](ssh.viewer)] == []  # fmt: skip
    # A variable of the client's, and another channel of a connection that is there, change nothing.
    for words in (
        ["-o", f"SetEnv=BASH_ENV={home}/x SSH_ORIGINAL_COMMAND=id LD_PRELOAD=x TTYBRIDGE=owner"],
        ["-S", str(control)],
    ):
        assert not leaves_trace(*words, "bridge", "touch TRACE", key=ssh.viewer)
        assert not leaves_trace(*words, "-T", "bridge", key=ssh.viewer)
    assert terminal.process.poll() is None


# The door


def test_who_has_to_be_let_in_waits_leaves_is_turned_away_or_comes_in(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options, "--approve")
    login(start_on_pty, ssh, bridge)

    def knock() -> OnPty:
        words = ssh.command(bridge, "bridge", key=ssh.viewer)
        terminal = start_on_pty(words, env=CLIENT)
        terminal.wait_for_text("Waiting to be let in… (Ctrl-C leaves)")
        assert people(bridge)["viewer"].state == "waiting"
        return terminal

    left = knock()
    left.type(b"\x03")
    assert left.wait() == 0
    wait(lambda: list(people(bridge)) == ["owner"], "nobody waits")
    turned_away = knock()
    bridge.control.refuse("viewer")
    assert turned_away.wait() == 1
    assert "ttybridge: You were not let in." in turned_away.tail
    let_in = knock()
    let_in.resize(70, 20)
    bridge.control.admit("viewer")
    let_in.wait_for_text("[0] 0:")
    bridge.control.grant("viewer")
    assert reaches(tmux, let_in, "typed-inside")
    assert people(bridge)["viewer"].cols == 70
    bridge.control.lock()
    # Known by now, as the owner is.
    login(start_on_pty, ssh, bridge, key=ssh.viewer)
    login(start_on_pty, ssh, bridge)


def test_a_locked_session_says_so(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options)
    login(start_on_pty, ssh, bridge)
    bridge.control.lock()
    late = start_on_pty(ssh.command(bridge, "bridge", key=ssh.viewer), env=CLIENT)
    assert late.wait() == 1
    assert "ttybridge: The session is locked: nobody new comes in." in late.tail


# Over the web address


def over_web(bridge: RunningBridge, ssh: Ssh, token: str, *words: str) -> list[str]:
    """Return the command line of a login over the web address, from a home for each token."""
    link = f"{bridge.address}?token={token}"
    home = f"HOME={ssh.folder / hashlib.sha256(token.encode()).hexdigest()[:8]}"
    return ["env", home, sys.executable, "-m", "ttybridge", "ssh", link, *words]


async def test_logins_over_the_web_are_who_came_by_the_link(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start: Start, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge("--ssh", "--ssh-port", "0", "--ssh-key", ssh.owner.public)
    editor = await token_of(bridge, "editor", name="Ada")
    viewer = await token_of(bridge, "viewer", name="Bob")
    env = CLIENT | {"PYTHONPATH": str(ROOT)}
    running = start(over_web(bridge, ssh, editor, "echo $$; exec sleep 300"))
    program = int(await asyncio.to_thread(first_line, running))
    refused = start(over_web(bridge, ssh, viewer, "echo in"))
    out, err = await asyncio.to_thread(refused.communicate)
    assert (refused.returncode, out, b"may watch the session" in err) == (1, b"", True)
    for token, status in ((editor, 0), (viewer, 255)):
        tunnel = start(over_web(bridge, ssh, token, "-W", f"127.0.0.1:{bridge.port}"))
        await asyncio.to_thread(tunnel.communicate)
        assert tunnel.returncode == status
    ada = start_on_pty(over_web(bridge, ssh, editor), env=env)
    bob = start_on_pty(over_web(bridge, ssh, viewer), env=env)

    def check() -> None:
        for terminal in (ada, bob):
            terminal.wait_for_text("[0] 0:")
        found = people(bridge)
        assert {(n, p.role, p.via, p.address) for n, p in found.items()} == {
            ("Ada", "editor", "ssh", "127.0.0.1"),
            ("Bob", "viewer", "ssh", "127.0.0.1"),
        }
        assert {p.link for p in found.values()} == {"l1", "l2"}
        assert reaches(tmux, ada, "one")
        assert is_dropped(bridge, tmux, bob, "two")
        # Ada loses what she may do everywhere; Bob gets the keyboard.
        bridge.control.grant("Ada", "viewer")
        bridge.control.grant("Bob")
        wait(lambda: not is_running(program), "the end of her program")
        assert is_dropped(bridge, tmux, ada, "three")
        assert reaches(tmux, bob, "four")
        bridge.control.kick("Ada")
        assert ada.wait() != 0
        assert "You have been removed" in ada.tail
        assert reaches(tmux, bob, "five")

    await asyncio.to_thread(check)
    again = start(over_web(bridge, ssh, editor, "echo in"))
    out, err = await asyncio.to_thread(again.communicate)
    assert (again.returncode != 0, out) == (True, b"")


async def test_an_editor_who_has_to_be_let_in_runs_and_types_nothing_before(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start: Start, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge("--ssh", "--ssh-port", "0", "--ssh-key", ssh.owner.public, "--approve")
    editor = await token_of(bridge, "editor", name="Ada")
    env = CLIENT | {"PYTHONPATH": str(ROOT)}
    early = start(over_web(bridge, ssh, editor, "echo in"))
    out, _ = await asyncio.to_thread(early.communicate)
    assert (early.returncode, out) == (1, b"")
    ada = start_on_pty(over_web(bridge, ssh, editor), env=env)
    ada.type(b"typed-before-the-door")

    def check() -> bytes:
        ada.wait_for_text("Waiting to be let in")
        ada.type(b"typed-at-the-door")
        bridge.control.admit("Ada")
        ada.wait_for_text("[0] 0:")
        ada.type(b"inside")
        wait(lambda: "inside" in shown(tmux), "what is typed inside")
        assert "the-door" not in shown(tmux)
        return start(over_web(bridge, ssh, editor, "echo in")).communicate()[0]

    assert await asyncio.to_thread(check) == b"in\n"


async def test_a_client_of_colab_s_contract_waits_types_and_is_removed(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux
) -> None:
    bridge = start_bridge("--approve")
    token = await token_of(bridge, "viewer", name="Bob")
    control, address = bridge.control, f"{bridge.address}colab/tty"
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.ws_connect(address) as left, asyncio.timeout(DEADLINE_S):
            assert "Waiting to be let in" in await left.receive_str()
            await left.send_str(json.dumps({"data": "\x03"}))
            assert (await left.receive()).type is aiohttp.WSMsgType.CLOSE
        await asyncio.to_thread(wait, lambda: not people(bridge), "nobody waits")
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(address) as socket,
        asyncio.timeout(DEADLINE_S),
    ):
        text = ""

        async def until(wanted: str) -> None:
            nonlocal text
            while wanted not in text:
                text += json.loads(await socket.receive_str())["data"]

        async def say(**message: object) -> None:
            await socket.send_str(json.dumps(message))

        await until("Waiting to be let in… (Ctrl-C leaves)")
        await say(data="at-the-door\r", cols=70, rows=20)
        await asyncio.to_thread(control.admit, "Bob")
        await until("[0] 0:")
        bob = (await asyncio.to_thread(people, bridge))["Bob"]
        assert (bob.via, bob.cols, bob.role) == ("colab", 70, "viewer")
        await say(data="echo dropped-$((6*7))\r")
        await say(cols=71, rows=20)
        await asyncio.to_thread(wait, lambda: people(bridge)["Bob"].cols == 71, "all is heard")
        await asyncio.to_thread(control.grant, "Bob")
        await say(data="echo mark-$((6*8))\r")
        await until("mark-48")
        assert "dropped-42" not in tmux.screen()
        assert "at-the-door" not in tmux.screen()
        await asyncio.to_thread(wait, lambda: people(bridge)["Bob"].rtt_ms, "the time to Bob")
        await asyncio.to_thread(control.kick, "Bob")
        await until("You have been removed from the session.")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert "\x1b[?1049l" in text
