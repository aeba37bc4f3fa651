"""Real parts for all tests: a bridge as a subprocess, a tmux server of its own, waiting."""

import compileall
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import hypothesis
import pytest

from ttybridge.client.control import Control, find

IS_LONG = os.environ.get("TTYBRIDGE_TEST_LONG") == "1"
"""Whether tests that wait for long do so in full, and properties get more examples."""

EXAMPLES = 100 if IS_LONG else 40

# On CI the same examples each time: what a new example finds belongs into a commit of its own.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, max_examples=EXAMPLES)
hypothesis.settings.register_profile("default", deadline=None, max_examples=EXAMPLES)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]

RESERVED_SIGNALS = 1 << 31 | 1 << 32
"""Bits of the signals 32 and 33 in a mask of /proc: the C library keeps them for its threads, lets
nobody set them, and some parents leave them ignored."""

DEADLINE_S = 20.0
"""Longest time that a test waits for one condition, in seconds; usually it takes milliseconds."""


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once, not in each of the processes that the tests start.

    Where PYTHONDONTWRITEBYTECODE is set, as in many containers, those would do so every time.
    Bridges of the tests heed a hangup also where the run does not, as below nohup.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(str(ROOT / "ttybridge"), quiet=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what takes long, unless it is asked for."""
    if not IS_LONG:
        skip = pytest.mark.skip(reason="takes long: TTYBRIDGE_TEST_LONG=1 runs it")
        for item in items:
            if item.get_closest_marker("long") is not None:
                item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have measured, one line for each figure; docs/reliability.md has them."""
    lines = []
    for kind in ("passed", "failed"):
        for report in terminalreporter.getreports(kind):
            lines += [str(text) for name, text in report.user_properties if name == "figure"]
    if lines:
        terminalreporter.section("figures")
        for line in sorted(lines):
            terminalreporter.write_line(line)


Figure = Callable[..., None]


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Note what was measured: `figure("line cut", seconds=0.1, bytes_lost=0, duplicates=0)`.

    The numbers are printed at the end of the run, and stand in the JUnit file, if one is asked for.
    """

    def note(row: str, **numbers: object) -> None:
        told = (
            f"{name}={value:.2f}" if isinstance(value, float) else f"{name}={value}"
            for name, value in numbers.items()
        )
        record_property("figure", f"{row}: {', '.join(told)}")

    return note


def wait_until(condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Return the condition's first true value; fail when it stays false."""
    until = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            pytest.fail(f"{what}: not within {deadline_s:.0f} s (last value: {value!r})")
        time.sleep(0.02)


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what another terminal or bridge left in it."""
    dropped = ("TMUX", "TMUX_PANE", "LINES", "COLUMNS")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in dropped and not name.startswith("TTYBRIDGE_")
    }
    return kept | {"LANG": "C.UTF-8"} | more


@dataclass
class Tmux:
    """A tmux server of the test's own, behind a socket in a short folder."""

    socket: Path
    """The server's socket; sockets have paths of at most 107 bytes."""

    def __call__(self, *args: str, check: bool = True, env: Mapping[str, str] | None = None) -> str:
        """Run a tmux command and return what it prints."""
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), *args],
            capture_output=True,
            timeout=DEADLINE_S,
            env=dict(env or clean_environment()),
        )
        if check and done.returncode != 0:
            pytest.fail(f"tmux {args}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace").rstrip("\n")

    def clients(self, session: str = "0") -> list[str]:
        """Return the ttys of the session's clients."""
        text = self("list-clients", "-t", f"={session}", "-F", "#{client_tty}", check=False)
        return text.split()

    def screen(self, target: str = "=0:") -> str:
        """Return what a pane shows."""
        return self("capture-pane", "-p", "-t", target)

    def stop(self) -> None:
        """End the server; it may have ended already."""
        self("kill-server", check=False)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A private folder with a short path, for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="tb-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def tmux(short_path: Path) -> Iterator[Tmux]:
    """A tmux server of the test's own; not started yet."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    server = Tmux(short_path / "tmux")
    yield server
    server.stop()


class RunningBridge:
    """The command `ttybridge` as a subprocess."""

    def __init__(
        self, process: subprocess.Popen[str], link: str, errors: list[str], more: list[str]
    ) -> None:
        self.process = process
        self.link = link
        self.more = more
        """Lines on stdout after the link."""
        self._errors = errors
        parts = urlsplit(link)
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self.host = parts.netloc
        self.port = parts.port or 0
        self.token = parse_qs(parts.query).get("token", [""])[0]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def control(self) -> Control:
        """Its control socket."""
        folders = [Path(tempfile.gettempdir()), Path("/tmp")]
        return next(control for control, each in find(folders) if each.pid == self.pid)

    @property
    def log(self) -> str:
        """What it has written to stderr so far."""
        return "".join(self._errors)

    def stop(self, number: int = signal.SIGINT, timeout_s: float = DEADLINE_S) -> int:
        """Send it a signal, unless it has ended, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Wait for its end and return its exit status."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"the bridge did not end within {timeout_s} s; it said:\n{self.log}")


StartBridge = Callable[..., RunningBridge]


@pytest.fixture
def start_bridge(tmp_path: Path, tmux: Tmux) -> Iterator[StartBridge]:
    """Start bridges: `start_bridge("--exclusive", command=["htop"], env={...})`.

    Each has a free port, the test's own tmux server (unless `command` is given), its own HOME and
    working directory, and is stopped at the end.
    """
    started: list[RunningBridge] = []
    readers: list[threading.Thread] = []
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    for name in (".bash_profile", ".bashrc"):
        # Short: with the folder in it, what is typed would be broken over two lines.
        (home / name).write_text("PS1='$ '\n")

    def start(
        *options: str,
        command: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        environment: Mapping[bytes, bytes] | None = None,
        cwd: Path | None = None,
        preexec_fn: Callable[[], object] | None = None,
        any_port: bool = True,
        prefix: Sequence[str] = (),
    ) -> RunningBridge:
        argv = [*prefix, sys.executable, "-m", "ttybridge", "-v"]
        if any_port and "--port" not in options:
            argv += ["--port", "0"]
        if not command and "--container" not in options:
            argv += ["--socket-path", str(tmux.socket)]
        argv += options
        if command:
            argv += ["--", *command]
        full: dict[bytes, bytes] = {}
        if environment is None:
            text = clean_environment(HOME=str(home), PYTHONPATH=str(ROOT)) | dict(env or {})
            full = {os.fsencode(n): os.fsencode(v) for n, v in text.items()}
        else:
            full = dict(environment)
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=full,
            cwd=cwd or tmp_path,
            preexec_fn=preexec_fn,
        )
        errors: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        reader = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
        reader.start()
        watchdog = threading.Timer(DEADLINE_S, process.kill)
        watchdog.start()
        link = process.stdout.readline().strip()
        watchdog.cancel()
        if not link:
            process.wait()
            reader.join(1)
            process.stdout.close()
            process.stderr.close()
            pytest.fail(
                f"the bridge did not start (status {process.returncode}):\n" + "".join(errors)
            )
        more: list[str] = []
        rest = threading.Thread(target=more.extend, args=(process.stdout,), daemon=True)
        rest.start()
        readers.extend((reader, rest))
        bridge = RunningBridge(process, link, errors, more)
        started.append(bridge)
        return bridge

    yield start
    for bridge in started:
        with contextlib.suppress(ProcessLookupError):
            bridge.stop()
    for reader in readers:
        reader.join(DEADLINE_S)  # it reads to the end; a stream that is closed before is an error
    for bridge in started:
        for stream in (bridge.process.stdout, bridge.process.stderr):
            if stream is not None:
                stream.close()
