"""Clients for the tests of the whole program: Node programs on pipes, programs on ptys."""

import fcntl
import json
import os
import queue
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import (
    DEADLINE_S,
    ROOT,
    RunningBridge,
    StartBridge,
    Tmux,
    clean_environment,
    wait_until,
)
from tests.e2e.ssh import Ssh
from tests.e2e.ssh_machine import Machine, User, ordinary, why_not
from tests.page.network import Cable

CLIENTS = Path(__file__).resolve().parent / "clients"


def program(name: str, argument: object = "") -> list[str]:
    """Return the command line of a program in clients/program.py."""
    return [sys.executable, str(CLIENTS / "program.py"), name, str(argument)]


def pane_size(tmux: Tmux) -> str:
    """Return what `stty size` says in the first pane.

    tmux 3.3a sets it up to 250 ms after its client's size has changed.
    """
    tty = tmux("display-message", "-p", "-t", "=0:", "#{pane_tty}")
    return subprocess.run(
        ["stty", "-F", tty, "size"], capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def ssh(tmp_path: Path) -> Ssh:
    """OpenSSH's programs with keys of the test's own."""
    folder = tmp_path / "client"
    folder.mkdir()
    return Ssh(folder)


WITH_TERMINALS = "gid=5,mode=620"
"""Options of devpts, as distributions mount it."""


@pytest.fixture(scope="session")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where no `Machine` can be made."""
    reason = why_not(tmp_path_factory.mktemp("machine"))
    if reason:
        pytest.skip(reason)


@dataclass
class Ordinary:
    """A bridge of an ordinary user."""

    bridge: RunningBridge
    home: Path
    ssh: Ssh

    def run(self, *words: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        return self.ssh.run(self.bridge, *words, stdin=stdin)


StartOrdinary = Callable[..., Ordinary]


@pytest.fixture
def start_ordinary(
    mounts: None, start_bridge: StartBridge, short_path: Path, ssh: Ssh
) -> Iterator[StartOrdinary]:
    """Start a bridge as an ordinary user: `start_ordinary(terminals=…, user=…, environment=…)`.

    At the end, its log must have no warning that only sshd's authors understand.
    """
    started: list[RunningBridge] = []

    def start(
        *options: str,
        terminals: str = WITH_TERMINALS,
        user: User | None = None,
        environment: dict[bytes, bytes] | None = None,
        change: Callable[[Machine], object] = lambda machine: None,
    ) -> Ordinary:
        machine, home = ordinary(short_path, terminals, user)
        change(machine)
        env = {"HOME": str(home), "SHELL": "/bin/bash"}
        env |= {"XDG_RUNTIME_DIR": "", "TMPDIR": str(short_path)}
        if environment is not None:
            environment |= {n.encode(): v.encode() for n, v in env.items()}
        bridge = start_bridge(
            *ssh.options,
            *options,
            prefix=machine.prefix(),
            env=env,
            environment=environment,
            cwd=home,
        )
        started.append(bridge)
        return Ordinary(bridge, home, ssh)

    yield start
    for bridge in started:
        assert "daemon: sshd: " not in bridge.log


class NodeClient:
    """A Node program of clients/, spoken to in JSON lines."""

    def __init__(self, script: str) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            ["node", str(CLIENTS / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._errors: list[str] = []
        self._count = 0
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._threads = (
            threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._errors.extend, args=(self._process.stderr,), daemon=True),
        )
        for thread in self._threads:
            thread.start()

    def ask(self, op: str, **arguments: object) -> dict[str, Any]:
        """Have an operation done and return its answer."""
        self._count += 1
        assert self._process.stdin is not None
        request = {"id": self._count, "op": op, **arguments}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        try:
            answer: dict[str, Any] = json.loads(self._answers.get(timeout=DEADLINE_S))
        except queue.Empty:
            pytest.fail(f"{op}: no answer from the Node program: {''.join(self._errors)}")
        assert answer.get("id") == self._count, (op, answer)
        assert "failure" not in answer, (op, answer)
        return answer

    @property
    def state(self) -> dict[str, Any]:
        """What the client has seen so far."""
        return self.ask("state")

    def wait(
        self,
        condition: Callable[[dict[str, Any]], object],
        what: str,
        deadline_s: float = DEADLINE_S,
    ) -> dict[str, Any]:
        """Return the first state that fulfils the condition."""
        last: dict[str, Any] = {}

        def fulfilled() -> bool:
            last.update(self.state)
            return bool(condition(last))

        try:
            wait_until(fulfilled, what, deadline_s)
        except pytest.fail.Exception as error:
            shown = last | {"tail": str(last.get("tail"))[-300:]}
            pytest.fail(f"{error}; the client's state: {shown}")
        return last

    def wait_for_text(self, text: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait until the end of the output has a text, and return the state."""
        return self.wait(lambda state: text in state["tail"], f"{text!r} in the output", deadline_s)

    def stop(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _read(self, stream: Any) -> None:
        for text in stream:
            self._answers.put(text)


StartNode = Callable[[str], NodeClient]


@pytest.fixture
def start_node() -> Iterator[StartNode]:
    """Start Node programs: `start_node("contract.mjs")`; ended after the test."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (ROOT / "static/node_modules/socket.io-client/package.json").exists():
        pytest.skip("socket.io-client is not installed (static/node_modules)")
    started: list[NodeClient] = []

    def start(script: str) -> NodeClient:
        client = NodeClient(script)
        started.append(client)
        return client

    yield start
    for client in started:
        client.stop()


class OnPty:
    """A program on a pty of its own, as in a terminal window."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cols: int = 80,
        rows: int = 24,
        stdin: int | None = None,
    ) -> None:
        """Start it; `stdin` replaces the pty as its standard input."""
        self.master, slave = os.openpty()
        self.resize(cols, rows)
        self._lock = threading.Lock()
        self._output = bytearray()
        self.process = subprocess.Popen(
            list(argv),
            stdin=slave if stdin is None else stdin,
            stdout=slave,
            stderr=slave,
            env=dict(env),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def received(self) -> bytes:
        """The output so far."""
        with self._lock:
            return bytes(self._output)

    @property
    def tail(self) -> str:
        """The last 16 KiB of it."""
        with self._lock:
            return self._output[-16384:].decode(errors="replace")

    @property
    def size_bytes(self) -> int:
        """The length of it."""
        with self._lock:
            return len(self._output)

    def start_anew(self) -> None:
        """Forget the output so far."""
        with self._lock:
            self._output.clear()

    def type(self, data: bytes) -> None:
        """Type bytes, all at once."""
        os.write(self.master, data)

    def resize(self, cols: int, rows: int) -> None:
        """Change the window size; the program gets SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def wait_for_text(self, text: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait until the end of the output has a text."""
        try:
            wait_until(lambda: text in self.tail, f"{text!r} on the terminal", deadline_s)
        except pytest.fail.Exception as error:
            pytest.fail(f"{error}; {self.size_bytes} bytes, the last ones: {self.tail[-500:]!r}")

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for the end, and for all output; return the exit status."""
        try:
            status = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the program did not end; its output: {self.tail[-500:]!r}")
        self._reader.join(DEADLINE_S)
        return status

    def stop(self) -> None:
        """End the program, however it is."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self._reader.join(DEADLINE_S)
        os.close(self.master)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # EIO: the program has ended
                return
            if not data:
                return
            with self._lock:
                self._output += data


StartOnPty = Callable[..., OnPty]


@pytest.fixture
def start_on_pty() -> Iterator[StartOnPty]:
    """Start programs on ptys: `start_on_pty(argv, env=…, cols=…, rows=…)`; ended after the test."""
    started: list[OnPty] = []

    def start(argv: Sequence[str], **options: Any) -> OnPty:
        running = OnPty(argv, **options)
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def new_cable() -> Iterator[Callable[[int], Cable]]:
    """Put cables between clients and a bridge: `new_cable(bridge.port)`."""
    cables: list[Cable] = []

    def make(port: int) -> Cable:
        cables.append(Cable(port))
        return cables[-1]

    yield make
    for cable in cables:
        cable.close()
