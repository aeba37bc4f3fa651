"""One tmux session, many clients: nobody is thrown out, nothing is left, every end is told."""

import asyncio
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT, RunningBridge, StartBridge, Tmux, clean_environment, wait_until
from tests.e2e.conftest import pane_size
from tests.e2e.raw_client import ColabClient, ContractClient, PageClient, eventually

ONLY_OURS = "TB_ONLY_THE_BRIDGE_HAS_THIS"
"""A variable that no tmux server of a test has by itself."""


class OnPty:
    """A program on a terminal of its own, as a person at another keyboard has it."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], *, cols: int = 80, rows: int = 24
    ) -> None:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=dict(env), preexec_fn=take_terminal
        )
        os.close(slave)
        self.output = bytearray()
        self._master = master
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError):
            while data := os.read(self._master, 65536):
                self.output += data

    def type(self, text: str) -> None:
        """Type at its keyboard."""
        os.write(self._master, text.encode())

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """End it; twice is fine."""
        if self._master < 0:
            return
        if self.is_alive:
            self.process.kill()
        self.process.wait()
        self._thread.join()
        os.close(self._master)
        self._master = -1


class Terminals:
    """Makes `OnPty`s for one test."""

    def __init__(self, tmux: Tmux) -> None:
        self._tmux = tmux
        self._all: list[OnPty] = []

    def run(self, *argv: str, cols: int = 80, rows: int = 24) -> OnPty:
        """Start a program on a terminal."""
        env = clean_environment(TERM="xterm-256color")
        self._all.append(OnPty(argv, env, cols=cols, rows=rows))
        return self._all[-1]

    def attach(self, session: str = "0", *, cols: int = 80, rows: int = 24) -> OnPty:
        """Run a plain `tmux attach`, and wait until it is attached."""
        before = len(self._tmux.clients(session))
        argv = ("tmux", "-S", str(self._tmux.socket), "attach", "-t", f"={session}")
        terminal = self.run(*argv, cols=cols, rows=rows)
        wait_until(lambda: len(self._tmux.clients(session)) > before, "a plain attach")
        return terminal

    def close(self) -> None:
        """End all."""
        for terminal in self._all:
            terminal.close()


@pytest.fixture
def terminals(tmux: Tmux) -> Iterator[Terminals]:
    """Programs on terminals of their own."""
    made = Terminals(tmux)
    yield made
    made.close()


def sizes(tmux: Tmux, session: str = "0") -> list[str]:
    """Return the window sizes of the session's clients, sorted."""
    form = "#{client_width}x#{client_height}"
    return sorted(tmux("list-clients", "-t", f"={session}", "-F", form, check=False).split())


def children(bridge: RunningBridge) -> list[str]:
    """Return the command lines of a bridge's children, ended ones included."""
    done = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(bridge.pid)], capture_output=True, text=True
    )
    return done.stdout.splitlines()


def shell(tmux: Tmux, command: str, target: str = "=0:") -> str:
    """Run a command in a NEW window of the session and return its output."""
    out = tmux.socket.parent / "out"
    out.unlink(missing_ok=True)
    line = f"({command}) > {out}.part 2>&1; mv {out}.part {out}"
    tmux("new-window", "-d", "-t", target, line)
    wait_until(out.exists, f"the output of {command!r}")
    return out.read_text()


async def say(client: PageClient, command: str) -> None:
    """Type a command line."""
    await client.type(command + "\r")


def server_pid(tmux: Tmux) -> int:
    """Return the pid of the test's tmux server."""
    return int(tmux("display-message", "-p", "#{pid}"))


# Joining and leaving ------------------------------------------------------------------------------


async def test_three_clients_and_a_plain_attach_coexist_with_sizes_of_their_own(
    start_bridge: StartBridge, tmux: Tmux, terminals: Terminals
) -> None:
    bridge = start_bridge()
    async with (
        await PageClient.join(bridge, cols=81, rows=25) as one,
        await PageClient.join(bridge, cols=100, rows=30) as two,
        await ColabClient.join(bridge) as three,
    ):
        plain = terminals.attach(cols=90, rows=28)
        await three.send(cols=120, rows=40)
        expected = ["100x30", "120x40", "81x25", "90x28"]
        await eventually(lambda: sizes(tmux) == expected, lambda: f"not {sizes(tmux)}")
        await one.type("echo from-$((1))-one\r")
        await two.shows("from-1-one")
        await two.type("echo from-$((2))-two\r")
        await three.shows("from-2-two")
        await three.send(data="echo from-$((3))-three\r")
        await one.shows("from-3-three")
        plain.type("echo from-$((4))-plain\r")
        for client in (one, two, three):
            await client.shows("from-4-plain")
            assert not client.closed.is_set()
        await eventually(lambda: b"from-3-three" in plain.output, "output at the plain client")
        await one.leave()
        await two.leave()
    await eventually(lambda: sizes(tmux) == ["90x28"], lambda: f"not {sizes(tmux)}")
    await eventually(lambda: children(bridge) == [], lambda: f"left: {children(bridge)}")
    assert plain.is_alive


async def test_a_resized_client_resizes_its_tmux_client_and_the_program_in_it(
    start_bridge: StartBridge, tmux: Tmux
) -> None:
    bridge = start_bridge()
    async with await PageClient.join(bridge) as page:
        await page.resize(113, 37)
        await eventually(lambda: sizes(tmux) == ["113x37"], lambda: f"not {sizes(tmux)}")
        await eventually(lambda: pane_size(tmux) == "36 113", lambda: f"not {pane_size(tmux)}")
        await say(page, "stty size")
        await page.shows("36 113")  # one row is the status line


async def test_stale_clients_are_taken_over_once_at_the_start_and_nobody_later(
    start_bridge: StartBridge, tmux: Tmux, terminals: Terminals
) -> None:
    tmux("new-session", "-d", "-s", "0")
    stale = terminals.attach()
    bridge = start_bridge()
    await eventually(lambda: not stale.is_alive, "the stale client's end")
    assert b"[detached (from session 0)]" in stale.output
    plain = terminals.attach()
    async with await PageClient.join(bridge) as one, await PageClient.join(bridge) as two:
        await say(one, "echo still-$((1))")
        await two.shows("still-1")
        assert plain.is_alive
        assert len(tmux.clients()) == 3
        assert not one.closed.is_set()


async def test_exclusive_lets_each_new_connection_take_over_and_tells_the_one_before(
    start_bridge: StartBridge, tmux: Tmux, terminals: Terminals
) -> None:
    bridge = start_bridge("--exclusive")
    plain = terminals.attach()
    async with await PageClient.join(bridge) as one:
        assert one.joined["mode"] == "exclusive"
        await eventually(lambda: not plain.is_alive, "the plain client's end")
        async with await ContractClient.join(bridge) as two:
            await one.ended()
            assert (one.exit["reason"], one.exit["restart"]) == ("taken-over", True)
            async with await PageClient.join(bridge) as three:
                await two.ended()
                assert two.exit == {"exitCode": 0, "signal": 0}
                await say(three, "echo mine-$((3))")
                await three.shows("mine-3")
                assert len(tmux.clients()) == 1


# The user's configuration -------------------------------------------------------------------------


async def test_the_users_tmux_conf_is_respected_and_not_edited(
    start_bridge: StartBridge, tmux: Tmux, tmp_path: Path
) -> None:
    conf = tmp_path / "home" / ".tmux.conf"
    text = "set -g prefix C-a\nset -g status off\nset -s set-clipboard off\n"
    conf.write_text(text)
    stamp = conf.stat().st_mtime_ns
    bridge = start_bridge()
    async with await PageClient.join(bridge) as page:
        await say(page, "stty size")
        await page.shows("24 80")  # no status line
        await page.type("\x01d")  # the user's prefix, then d: detach
        await page.ended()
        assert page.exit["reason"] == "detached"
    assert tmux("show-options", "-sv", "set-clipboard") == "off"
    assert tmux("show-options", "-gv", "prefix") == "C-a"
    assert conf.read_text() == text
    assert conf.stat().st_mtime_ns == stamp
    left = {p.name for p in conf.parent.iterdir()} - {".local"}  # the audit log
    assert left == {".tmux.conf", ".bashrc", ".bash_profile"}


async def test_a_conf_that_ends_unattached_sessions_gets_a_new_one_with_each_first_client(
    start_bridge: StartBridge, tmux: Tmux, tmp_path: Path
) -> None:
    conf = tmp_path / "home" / ".tmux.conf"
    conf.write_text("set -g destroy-unattached on\n")
    bridge = start_bridge(env={ONLY_OURS: "5"})
    for _ in range(2):
        async with await PageClient.join(bridge) as one:
            assert one.refused is None
            async with await PageClient.join(bridge) as two:
                await say(two, f"echo both-${ONLY_OURS}")
                await one.shows("both-5")
                await two.leave()
            await one.leave()
        await eventually(lambda: not tmux("list-sessions", check=False), "the session's end")
    assert bridge.stop() == 0


def own_unattached(tmux: Tmux) -> str:
    """Return what the session itself says about having no clients."""
    return tmux("show-options", "-v", "-t", "=0:", "destroy-unattached")


def comparable(environment: str) -> set[str]:
    """Return the lines of `env`, less those in which any two shells differ.

    The first window's is a login shell, whose start-up files may set PATH.
    """
    own = ("PATH=", "_=", "SHLVL=", "TMUX_PANE=", "PWD=", "OLDPWD=", "COLUMNS=", "LINES=")
    return {line for line in environment.splitlines() if not line.startswith(own)}


async def test_such_a_conf_gets_the_bridges_environment_on_a_server_with_another_session(
    start_bridge: StartBridge, tmux: Tmux, terminals: Terminals, tmp_path: Path
) -> None:
    conf = tmp_path / "their.conf"
    conf.write_text("set -g destroy-unattached on\n")
    command = ("tmux", "-S", str(tmux.socket), "-f", str(conf), "new-session", "-s", "other")
    theirs = terminals.run(*command)
    wait_until(lambda: tmux.clients("other"), "the other session")
    bridge = start_bridge(env={ONLY_OURS: "5"})
    for round_number in range(2):
        if round_number == 0:
            assert tmux("has-session", "-t", "=0") == ""
        first = tmp_path / f"first{round_number}"
        async with await PageClient.join(bridge) as page:
            assert page.refused is None
            assert own_unattached(tmux) == ""
            await say(page, f"env > {first}.part; mv {first}.part {first}")
            await eventually(first.exists, "the first window's environment")
            new_window = comparable(shell(tmux, "env"))
            assert f"{ONLY_OURS}=5" in new_window
            assert comparable(first.read_text()) == new_window
            await page.leave()
        ended = "the session's end, as the conf says"
        await eventually(lambda: tmux("list-sessions", "-F", "#S") == "other", ended)
    assert theirs.is_alive


async def test_a_session_with_a_setting_of_its_own_outlives_the_take_over_and_gets_it_back(
    start_bridge: StartBridge, tmux: Tmux, terminals: Terminals
) -> None:
    command = ("tmux", "-S", str(tmux.socket), "new-session", "-s", "0")
    theirs = terminals.run(*command)
    wait_until(lambda: tmux.clients(), "the session")
    tmux("set-option", "-t", "=0:", "destroy-unattached", "on")
    pane = tmux("list-panes", "-t", "=0:", "-F", "#{pane_pid}")
    bridge = start_bridge()
    await eventually(lambda: not theirs.is_alive, "the take-over")
    async with await PageClient.join(bridge):
        assert tmux("list-panes", "-t", "=0:", "-F", "#{pane_pid}") == pane
        assert own_unattached(tmux) == "on"


@pytest.mark.parametrize("server_runs", [False, True])
async def test_a_program_in_tmux_copies_to_the_clients_clipboard(
    start_bridge: StartBridge, tmux: Tmux, server_runs: bool
) -> None:
    if server_runs:
        tmux("new-session", "-d", "-s", "other")
    bridge = start_bridge()
    assert tmux("show-options", "-sv", "set-clipboard") == "on"
    async with await PageClient.join(bridge) as page:
        await say(page, r"printf '\033]52;c;aGVsbG8=\007'")
        await page.shows(b"\x1b]52;;aGVsbG8=")


async def test_no_clipboard_leaves_the_servers_option_alone(
    start_bridge: StartBridge, tmux: Tmux
) -> None:
    start_bridge("--no-clipboard")
    assert tmux("show-options", "-sv", "set-clipboard") == "external"


# Ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other_session", [False, True])
async def test_a_session_that_ended_is_made_anew_with_the_bridges_environment(
    start_bridge: StartBridge, tmux: Tmux, other_session: bool
) -> None:
    if other_session:
        tmux("new-session", "-d", "-s", "other")
    bridge = start_bridge(env={ONLY_OURS: "a 'value'; $x"})
    async with await PageClient.join(bridge) as one, await PageClient.join(bridge) as two:
        await say(one, "exit")
        for client in (one, two):
            await client.ended()
            assert (client.exit["reason"], client.exit["restart"]) == ("exited", True)
    async with await PageClient.join(bridge, cols=99, rows=31) as again:
        await say(again, f'echo "<${ONLY_OURS}>"; pwd')
        await again.shows("<a 'value'; $x>")
        await again.shows(str(Path(bridge_cwd(bridge))))
        assert shell(tmux, f'echo "<${ONLY_OURS}>"') == "<a 'value'; $x>\n"
        assert "99x31" in sizes(tmux)


def bridge_cwd(bridge: RunningBridge) -> str:
    """Return the working directory of a bridge."""
    return str(Path(f"/proc/{bridge.pid}/cwd").readlink())


async def test_two_clients_that_come_back_together_share_the_new_session(
    start_bridge: StartBridge, tmux: Tmux
) -> None:
    bridge = start_bridge()
    async with await PageClient.join(bridge) as one:
        await say(one, "exit")
        await one.ended()
    clients = await asyncio.gather(*(PageClient.join(bridge) for _ in range(4)))
    try:
        for client in clients:
            assert client.refused is None
        await say(clients[0], "echo all-$((4))")
        for client in clients:
            await client.shows("all-4")
        assert len(tmux.clients()) == 4
    finally:
        for client in clients:
            await client.close()


@pytest.mark.parametrize("how", ["kill-server", "SIGKILL", "SIGTERM"])
async def test_a_killed_tmux_server_is_told_and_the_next_visitor_gets_a_new_one(
    start_bridge: StartBridge, tmux: Tmux, how: str
) -> None:
    bridge = start_bridge(env={ONLY_OURS: "7"})
    async with (
        await PageClient.join(bridge) as page,
        await ContractClient.join(bridge) as contract,
        await ColabClient.join(bridge) as colab,
    ):
        if how == "kill-server":
            tmux("kill-server")
        else:
            os.kill(server_pid(tmux), signal.Signals[how])
        for client in (page, contract, colab):
            await client.ended(deadline_s=5)
        assert (page.exit["reason"], page.exit["restart"]) == ("server-exited", True)
        assert contract.exit["exitCode"] == 1
        assert colab.close_code == 1000
    async with await PageClient.join(bridge) as again:
        await say(again, f"echo new-$((1)) ${ONLY_OURS}")
        await again.shows("new-1 7")
    assert bridge.process.poll() is None


ENDS: dict[str, tuple[str, Callable[[Tmux, int], object]]] = {
    "kill the tmux client": ("killed", lambda tmux, pid: os.kill(pid, signal.SIGKILL)),
    "end the tmux client": ("killed", lambda tmux, pid: os.kill(pid, signal.SIGTERM)),
    "kill the session": ("exited", lambda tmux, _pid: tmux("kill-session", "-t", "=0")),
    "detach": ("detached", lambda tmux, _pid: tmux("detach-client", "-s", "=0")),
    "detach and hang up": ("detached", lambda tmux, _pid: tmux("detach-client", "-P", "-s", "=0")),
}


@pytest.mark.parametrize("what", ENDS)
async def test_a_client_is_told_why_it_ended_and_the_bridge_goes_on(
    start_bridge: StartBridge, tmux: Tmux, what: str
) -> None:
    reason, end = ENDS[what]
    bridge = start_bridge()
    async with await PageClient.join(bridge) as page:
        pid = int(tmux("list-clients", "-t", "=0", "-F", "#{client_pid}"))
        end(tmux, pid)
        await page.ended(deadline_s=5)
        assert (page.exit["reason"], page.exit["restart"]) == (reason, True)
    async with await PageClient.join(bridge) as again:
        await say(again, "echo alive-$((1))")
        await again.shows("alive-1")
    assert bridge.process.poll() is None
    if what == "detach and hang up":
        # `detach-client -P` has sent SIGHUP to the client's parent, which is the bridge.
        await eventually(lambda: "SIGHUP ignored" in bridge.log, "the signal in the log")


# Signals ------------------------------------------------------------------------------------------


def take_terminal_of(slave: int) -> None:
    """Make a terminal the controlling one of a new session; runs in the child."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


def test_a_hangup_stops_the_bridge_when_its_terminal_is_gone(
    start_bridge: StartBridge, tmux: Tmux
) -> None:
    master, slave = pty.openpty()
    bridge = start_bridge(preexec_fn=lambda: take_terminal_of(slave))
    os.close(slave)
    os.kill(bridge.pid, signal.SIGHUP)
    wait_until(lambda: "SIGHUP ignored" in bridge.log, "the signal in the log")
    assert bridge.process.poll() is None
    os.close(master)
    assert bridge.wait() == 0
    assert tmux("has-session", "-t", "=0") == ""


def ignore_signals() -> None:
    """Ignore what `nohup COMMAND &` ignores; runs in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)


async def test_ctrl_c_works_in_the_shell_of_a_bridge_that_ignores_it(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(preexec_fn=ignore_signals)
    async with await PageClient.join(bridge) as page:
        # From a program of its own: between two of its commands, bash may keep a Ctrl-C to itself.
        await say(page, "bash -c 'echo begin-$((1)); exec sleep 300'; echo status-$?")
        await page.shows("begin-1")
        await page.type("\x03")
        await say(page, "echo status-$?")
        await page.shows("status-130")
        os.kill(bridge.pid, signal.SIGHUP)
        await say(page, "echo alive-$((1))")
        await page.shows("alive-1")


async def test_a_broken_pipe_ends_programs_in_the_shell_quietly(start_bridge: StartBridge) -> None:
    bridge = start_bridge()
    async with await PageClient.join(bridge) as page:
        await say(page, "yes | head -1; echo pipe-${PIPESTATUS[0]}")
        await page.shows("pipe-141")
        assert b"Broken pipe" not in page.output


# Sessions and their names -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.b", "a:b", "=a", "-a", "a$b", "a#b", "a\nb", "", "~", "a;"])
def test_a_session_name_that_tmux_would_change_is_refused(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ttybridge", "--port", "0", f"--session={name}"],
        env=clean_environment(HOME=str(tmp_path), PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2
    assert "--session" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["a b", "é'\"; y", "*", "{last}", "~a"])
async def test_any_other_session_name_is_taken_exactly(
    start_bridge: StartBridge, tmux: Tmux, name: str
) -> None:
    tmux("new-session", "-d", "-s", "other")
    bridge = start_bridge("--session", name, env={ONLY_OURS: "exact"})
    assert name in tmux("list-sessions", "-F", "#{session_name}").splitlines()
    async with await PageClient.join(bridge) as page:
        assert page.joined["session"] == name
        await say(page, f"echo ${ONLY_OURS}-$((1))")
        await page.shows("exact-1")
        form = "#{session_name}"
        assert tmux("list-clients", "-F", form).splitlines() == [name]


async def test_a_session_whose_name_only_begins_with_ours_is_left_alone(
    start_bridge: StartBridge, tmux: Tmux, terminals: Terminals
) -> None:
    tmux("new-session", "-d", "-s", "01x")
    theirs = terminals.attach("01x")
    before = tmux("show-environment", "-t", "=01x")
    bridge = start_bridge(env={ONLY_OURS: "1"})
    async with await PageClient.join(bridge) as page:
        await say(page, f"echo ours-${ONLY_OURS}")
        await page.shows("ours-1")
        await say(page, "exit")
        await page.ended()
    async with await PageClient.join(bridge) as again:
        await say(again, "echo again-$((1))")
        await again.shows("again-1")
        assert sorted(tmux("list-sessions", "-F", "#S").split()) == ["0", "01x"]
    assert theirs.is_alive
    assert tmux("show-environment", "-t", "=01x") == before


async def test_sessions_on_one_server_keep_their_own_environment(
    start_bridge: StartBridge, tmux: Tmux
) -> None:
    first = start_bridge("--session", "a", env={ONLY_OURS: "one", "TB_A": "1"})
    second = start_bridge("--session", "b", env={ONLY_OURS: "two"})
    for bridge, expected in ((first, "one-1"), (second, "two-")):
        async with await PageClient.join(bridge) as page:
            await say(page, f'echo "<${ONLY_OURS}-$TB_A>"')
            await page.shows(f"<{expected}>")
    question = f'echo "${ONLY_OURS}-$TB_A"'
    assert shell(tmux, question, "=a:") == "one-1\n"
    assert shell(tmux, question, "=b:") == "two-\n"


# Stopping -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", ["0", "my work"])
async def test_the_session_outlives_the_bridge_and_the_message_says_how_to_attach(
    start_bridge: StartBridge, tmux: Tmux, terminals: Terminals, session: str
) -> None:
    bridge = start_bridge("--session", session)
    async with await PageClient.join(bridge) as page:
        await say(page, "kept=here")
        await say(page, "echo set-$((1))")
        await page.shows("set-1")
        bridge.process.send_signal(signal.SIGINT)
        await page.ended()
        assert page.exit["reason"] == "closing"
        assert bridge.wait() == 0
    wait_until(lambda: "lives on: " in bridge.log, "the message")
    found = re.search(r"lives on: (.*)", bridge.log)
    assert found
    person = terminals.run(shutil.which("sh") or "sh", "-c", found[1])
    wait_until(lambda: tmux.clients(session), "the pasted command's client")
    person.type("echo $kept-$((1))\r")
    wait_until(lambda: b"here-1" in person.output, "the kept shell")


async def test_stopping_says_that_the_session_had_ended_when_it_had(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge()
    async with await PageClient.join(bridge) as page:
        await say(page, "exit")
        await page.ended()
    assert bridge.stop() == 0
    wait_until(lambda: "had ended" in bridge.log, "the message")


def test_a_tmux_that_is_missing_is_a_clear_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ttybridge", "--port", "0", "--tmux", "/nowhere/tmux"],
        env=clean_environment(HOME=str(tmp_path), PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 3
    assert "/nowhere/tmux" in done.stderr
    assert "Traceback" not in done.stderr
