"""A real child on a real pty: every byte, every end, and nothing left behind."""

import asyncio
import contextlib
import errno
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S, RESERVED_SIGNALS, ROOT
from ttybridge.adapters.pty import READ_BYTES, UNKNOWN, Pty
from ttybridge.errors import MissingProgramError, TerminalError
from ttybridge.model import ExitStatus, WindowSize

ENVIRONMENT = {b"PATH": os.fsencode(os.environ.get("PATH", os.defpath)), b"LANG": b"C.UTF-8"}
SIZE = WindowSize(cols=80, rows=24)


FOLDERS = [".", "/"]
"""A program that runs where this process does is started in another way than elsewhere."""


class Child:
    """A child with what it has said so far."""

    def __init__(self, argv: Sequence[str], *, cwd: str = ".") -> None:
        self.output = bytearray()
        self.written = 0
        self.ends: list[ExitStatus] = []
        self.changed = asyncio.Event()
        self.pty = Pty.spawn(
            argv,
            environment=ENVIRONMENT,
            cwd=cwd,
            size=SIZE,
            on_output=self._on_output,
            on_written=self._on_written,
            on_end=self._on_end,
        )

    def _on_output(self, data: bytes) -> None:
        assert data
        assert not self.ends, "output after the end"
        self.output += data
        self.changed.set()

    def _on_written(self, total: int) -> None:
        self.written = total
        self.changed.set()

    def _on_end(self, status: ExitStatus) -> None:
        self.ends.append(status)
        self.changed.set()

    async def until(self, condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        """Wait for a condition that output, written input or the end makes true."""
        try:
            async with asyncio.timeout(deadline_s):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            tail = bytes(self.output[-200:])
            pytest.fail(f"not within {deadline_s} s; ends {self.ends}, output ends with {tail!r}")

    async def until_shown(self, text: bytes) -> None:
        """Wait until the output has `text`."""
        await self.until(lambda: text in self.output)

    async def end(self) -> ExitStatus:
        """Wait for the end."""
        await self.until(lambda: bool(self.ends))
        return self.ends[0]


Start = Callable[..., Child]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start children, `start("sh", "-c", "…")`; afterwards nothing of them may be left."""
    fds, threads = open_files(), threading.active_count()
    children: list[Child] = []

    def run(*argv: str, cwd: str = ".") -> Child:
        child = Child(argv, cwd=cwd)
        children.append(child)
        return child

    yield run
    for child in children:
        await child.pty.close()
        assert len(child.ends) <= 1, "an end is told once"
        assert not Path(f"/proc/{child.pty.pid}").exists(), "the child is reaped"
    children.clear()
    await eventually(lambda: open_files() <= fds, "descriptors are closed")
    await eventually(lambda: threading.active_count() == threads, "threads have ended")


def python(program: str) -> tuple[str, ...]:
    """Return the command line of a Python program."""
    return (sys.executable, "-S", "-c", textwrap.dedent(program))


def open_files() -> set[str]:
    """Return the open descriptors of this process, each with what it leads to."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{link.name} {link.readlink()}")
    return {name for name in found if "/proc/" not in name}


def state_of(pid: int) -> str:
    """Return the state letter of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


async def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds that nothing announces."""
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, what
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def ticker() -> AsyncIterator[Callable[[], float]]:
    """Run a task that ticks; yields a function that tells the longest pause, in seconds."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            longest, before = max(longest, now - before), now

    task = asyncio.create_task(tick())
    try:
        yield lambda: longest
    finally:
        task.cancel()


async def cpu_over(seconds: float) -> float:
    """Return the processor time that this process uses while it waits, in seconds."""
    before = time.process_time()
    await asyncio.sleep(seconds)  # the one thing measured here is what waiting costs
    return time.process_time() - before


async def test_all_bytes_come_out_as_they_were_written(start: Start) -> None:
    child = start(
        *python("""
        import os, termios
        mode = termios.tcgetattr(1)
        mode[1] &= ~termios.OPOST
        termios.tcsetattr(1, termios.TCSANOW, mode)
        os.write(1, bytes(range(256)) * 3)
    """)
    )
    assert await child.end() == ExitStatus(code=0)
    assert child.output == bytes(range(256)) * 3


async def test_ten_megabytes_come_out_exactly(start: Start) -> None:
    child = start(
        *python("""
        import os, random, termios
        mode = termios.tcgetattr(1)
        mode[1] &= ~termios.OPOST
        termios.tcsetattr(1, termios.TCSANOW, mode)
        data = memoryview(random.Random(1).randbytes(10_000_000))
        while data:
            data = data[os.write(1, data):]
    """)
    )
    async with ticker() as longest:
        await child.end()
    expected = random.Random(1).randbytes(10_000_000)
    assert hashlib.sha256(child.output).digest() == hashlib.sha256(expected).digest()
    assert longest() < 1.0, "the event loop went on meanwhile"


SLOW_READER = """
    import hashlib, os, time, tty
    tty.setraw(0)
    print("ready", flush=True)
    digest, left = hashlib.sha256(), SIZE
    while left:
        data = os.read(0, min(left, 1000))
        digest.update(data)
        left -= len(data)
        if left % 7 == 0:
            time.sleep(0.001)
    print("digest", digest.hexdigest(), flush=True)
"""


async def test_a_megabyte_reaches_a_slow_reader_byte_by_byte(start: Start) -> None:
    data = bytes(range(256)) * 4096
    child = start(*python(SLOW_READER.replace("SIZE", str(len(data)))))
    await child.until_shown(b"ready")
    async with ticker() as longest:
        before = time.monotonic()
        child.pty.write(data)
        assert time.monotonic() - before < 0.5, "write returned at once"
        assert child.pty.pending_bytes > 0
        await child.until_shown(b"digest " + hashlib.sha256(data).hexdigest().encode())
    assert longest() < 1.0, "the event loop went on meanwhile"
    assert child.pty.pending_bytes == 0
    assert child.written == len(data)


async def test_writes_of_any_size_keep_their_order(start: Start) -> None:
    parts = [bytes([number % 251]) * (number * 37 % 5000) for number in range(300)]
    data = b"".join(parts)
    child = start(*python(SLOW_READER.replace("SIZE", str(len(data)))))
    await child.until_shown(b"ready")
    for number, part in enumerate(parts):
        child.pty.write(part)
        if number % 20 == 0:
            await asyncio.sleep(0)
    await child.until_shown(b"digest " + hashlib.sha256(data).hexdigest().encode())
    assert child.written == len(data)


NEVER_READS = """
    import signal, tty
    tty.setraw(0)
    print("ready", flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("raw", [True, False], ids=["raw mode", "line mode"])
async def test_input_waits_for_a_child_that_does_not_read_at_no_cost(
    start: Start, raw: bool
) -> None:
    program = NEVER_READS if raw else NEVER_READS.replace("tty.setraw(0)", "pass")
    child = start(*python(program))
    await child.until_shown(b"ready")
    child.pty.write(b"1234567\n" * 25_000)
    await cpu_over(0.5)  # lets the kernel's buffers fill
    waiting = child.pty.pending_bytes
    assert waiting > 100_000
    assert await cpu_over(2.0) < 0.02 * 2, "waiting takes less than two hundredths of the time"
    assert child.pty.pending_bytes == waiting


async def test_many_small_writes_that_wait_take_the_memory_of_their_bytes(start: Start) -> None:
    child = start(*python(NEVER_READS))
    await child.until_shown(b"ready")
    before = rss_bytes()
    async with ticker() as longest:
        for number in range(400_000):
            child.pty.write(b"x")
            if number % 1000 == 0:
                await asyncio.sleep(0)
    assert child.pty.pending_bytes > 300_000
    assert rss_bytes() - before < 8_000_000, "not hundreds of bytes for each of them"
    assert longest() < 1.0


def rss_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def test_a_paused_pty_is_not_read_and_goes_on_without_loss(start: Start) -> None:
    child = start("sh", "-c", "seq 1 200000")
    await child.until_shown(b"\n100\r\n")
    child.pty.pause()
    child.pty.pause()
    had = len(child.output)
    assert await cpu_over(0.5) < 0.1
    assert len(child.output) == had
    assert state_of(child.pty.pid) != "", "the child waits"
    assert not child.ends
    child.pty.unpause()
    child.pty.unpause()
    await child.end()
    assert child.output == b"".join(b"%d\r\n" % n for n in range(1, 200_001))


async def test_a_child_that_ends_while_paused_is_told_after_its_output(start: Start) -> None:
    child = start("sh", "-c", "stty raw; echo ready; read -r line; printf 0123456789; exit 7")
    await child.until_shown(b"ready")
    child.pty.pause()
    child.pty.write(b"\n")
    await eventually(lambda: state_of(child.pty.pid) == "", "the child is reaped though paused")
    assert not child.ends
    child.pty.unpause()
    assert await child.end() == ExitStatus(code=7)
    assert child.output.endswith(b"0123456789")


async def test_a_short_read_is_not_the_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    child = start("sh", "-c", "stty raw; echo ready; read -r line; printf 0123456789; exit 7")
    await child.until_shown(b"ready")
    child.pty.pause()
    child.pty.write(b"\n")
    await eventually(lambda: state_of(child.pty.pid) == "", "the child is reaped")
    real = os.readv
    monkeypatch.setattr(os, "readv", lambda fd, buffers: real(fd, [buffers[0][:4]]))
    child.pty.unpause()
    assert await child.end() == ExitStatus(code=7)
    assert child.output.endswith(b"0123456789")


async def test_a_pause_from_within_the_output_callback_loses_nothing(start: Start) -> None:
    child = start("sh", "-c", "seq 1 30000; exit 3")
    take = child._on_output

    def pausing(data: bytes) -> None:
        take(data)
        child.pty.pause()
        asyncio.get_running_loop().call_later(0.001, child.pty.unpause)

    child.pty._on_output = pausing
    assert await child.end() == ExitStatus(code=3)
    assert child.output == b"".join(b"%d\r\n" % n for n in range(1, 30_001))


async def test_the_child_sees_its_window_size_and_each_change(start: Start) -> None:
    child = start("sh", "-c", "trap 'stty size' WINCH; stty size; while :; do read -r x; done")
    await child.until_shown(b"24 80")
    child.pty.resize(WindowSize(cols=133, rows=44))
    await child.until_shown(b"44 133")
    child.pty.resize(WindowSize(cols=1000, rows=1000))
    await child.until_shown(b"1000 1000")


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("exit 0", ExitStatus(code=0)),
        ("exit 255", ExitStatus(code=255)),
        ("kill -TERM $$", ExitStatus(signal=signal.SIGTERM)),
        ("kill -KILL $$", ExitStatus(signal=signal.SIGKILL)),
    ],
)
async def test_the_end_tells_exit_status_or_signal(
    start: Start, program: str, status: ExitStatus
) -> None:
    child = start("sh", "-c", f"printf last; {program}")
    assert await child.end() == status
    assert child.output == b"last"


@pytest.mark.parametrize("count", [0, 1, 10_000, READ_BYTES, 3 * READ_BYTES])
async def test_a_child_that_leaves_a_process_on_its_pty_ends_with_all_its_output(
    start: Start, count: int
) -> None:
    child = start(
        "sh", "-c",
        "trap '' HUP; stty -opost; sleep 30 & echo $!; "
        f"head -c {count} /dev/zero; exit 5",
    )  # fmt: skip
    try:
        assert await child.end() == ExitStatus(code=5)
        _, _, rest = bytes(child.output).partition(b"\n")
        assert rest == bytes(count)
    finally:
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(child.output.split(b"\n")[0]), signal.SIGKILL)


async def test_there_is_a_moment_between_two_reads(start: Start) -> None:
    child = start("sh", "-c", "stty -opost; head -c 1000000 /dev/zero")
    moments: list[int] = []
    child.pty.between_reads = lambda: moments.append(len(child.output))
    await child.end()
    assert child.output == bytes(1_000_000)
    assert len(moments) > len(set(moments)), "several while one turn of the loop reads"


async def test_an_echo_is_passed_on_after_one_read(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = start("sh", "-c", "stty raw -echo; printf ready; exec cat")
    await child.until_shown(b"ready")
    reads: list[int] = []
    real = os.readv

    def readv(fd: int, buffers: Sequence[memoryview]) -> int:
        reads.append(fd)
        return real(fd, buffers)

    monkeypatch.setattr(os, "readv", readv)
    child.pty.write(b"k")
    await child.until_shown(b"readyk")
    assert len(reads) == 1


async def test_close_hangs_up_and_reaps(start: Start) -> None:
    child = start("sh", "-c", "echo ready; while :; do sleep 1; done")
    await child.until_shown(b"ready")
    await child.pty.close()
    assert state_of(child.pty.pid) == ""
    await child.pty.close()
    assert child.ends == [], "who closes is not told"


async def test_close_kills_a_child_that_ignores_the_hangup(start: Start) -> None:
    child = start("sh", "-c", "trap '' HUP TERM; echo ready; while :; do sleep 0.1; done")
    await child.until_shown(b"ready")
    before = time.monotonic()
    await child.pty.close()
    assert time.monotonic() - before < 6
    assert state_of(child.pty.pid) == ""


async def test_close_ends_a_stopped_child(start: Start) -> None:
    child = start("sh", "-c", "echo ready; kill -STOP $$; sleep 30")
    await child.until_shown(b"ready")
    await eventually(lambda: state_of(child.pty.pid) == "T", "the child is stopped")
    await child.pty.close()
    assert state_of(child.pty.pid) == ""


async def test_close_during_a_flood_of_output_ends_it(start: Start) -> None:
    child = start("yes")
    await child.until(lambda: len(child.output) > 100_000)
    await asyncio.gather(child.pty.close(), child.pty.close())
    had = len(child.output)
    await asyncio.sleep(0)
    assert len(child.output) == had
    child.pty.write(b"x")
    child.pty.resize(SIZE)
    child.pty.signal(signal.SIGTERM)
    child.pty.pause()
    child.pty.unpause()


async def test_close_from_within_the_output_callback_is_fine(start: Start) -> None:
    child = start("yes")
    closing: list[asyncio.Task[None]] = []
    take = child._on_output

    def close(data: bytes) -> None:
        take(data)
        if not closing:
            closing.append(asyncio.create_task(child.pty.close()))

    child.pty._on_output = close
    await child.until(lambda: bool(closing))
    await closing[0]
    assert state_of(child.pty.pid) == ""


async def test_close_right_after_the_start_is_fine(start: Start) -> None:
    for _ in range(10):
        child = start("sh", "-c", "sleep 30")
        await child.pty.close()
        assert state_of(child.pty.pid) == ""


async def test_a_close_that_is_cancelled_still_reaps(start: Start) -> None:
    child = start("sh", "-c", "echo ready; sleep 30")
    await child.until_shown(b"ready")
    closing = asyncio.create_task(child.pty.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await eventually(lambda: state_of(child.pty.pid) == "", "the child is reaped")


async def test_input_for_a_child_that_has_ended_is_dropped(start: Start) -> None:
    child = start("true")
    await child.end()
    child.pty.write(b"x" * 100_000)
    assert child.pty.pending_bytes == 0
    await child.pty.close()


@pytest.mark.parametrize("cwd", FOLDERS)
async def test_signals_that_the_bridge_ignores_or_blocks_are_normal_in_the_child(cwd: str) -> None:
    program = textwrap.dedent("""
        import asyncio, os, signal, sys
        sys.path.insert(0, sys.argv[1])
        for name in ("SIGINT", "SIGHUP", "SIGPIPE", "SIGQUIT", "SIGTERM", "SIGCHLD"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGINT, signal.SIGTERM])
        from ttybridge.adapters.pty import Pty
        from ttybridge.model import WindowSize

        async def main():
            ended = asyncio.get_running_loop().create_future()
            pty = Pty.spawn(
                ["sh", "-c", "grep -E '^Sig(Blk|Ign)' /proc/self/status"],
                environment=dict(os.environb), cwd=sys.argv[2], size=WindowSize(cols=80, rows=24),
                on_output=lambda data: os.write(1, data), on_written=print,
                on_end=ended.set_result)
            await ended
            await pty.close()

        asyncio.run(main())
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT), cwd], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    masks = dict(line.split() for line in done.stdout.decode().splitlines())
    assert masks.keys() == {"SigBlk:", "SigIgn:"}
    for mask in masks.values():
        assert int(mask, 16) & ~RESERVED_SIGNALS == 0, masks


@pytest.mark.parametrize("cwd", FOLDERS)
async def test_a_child_gets_no_descriptor_of_the_bridge(
    start: Start, tmp_path: Path, cwd: str
) -> None:
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        child = start("sh", "-c", "ls -l /proc/self/fd; echo done", cwd=cwd)
        await child.until_shown(b"done")
    assert b"secret" not in child.output
    assert b"socket" not in child.output


@pytest.mark.parametrize("cwd", FOLDERS)
async def test_the_pty_is_the_childs_own_terminal(start: Start, cwd: str) -> None:
    child = start("sh", "-c", "echo ready; exec cat", cwd=cwd)
    await child.until_shown(b"ready")
    child.pty.write(b"\x03")
    assert await child.end() == ExitStatus(signal=signal.SIGINT), "Ctrl-C reaches it"
    child = start("sh", "-c", "pwd -P; tty; ps -o sid=,tpgid= $$; stty size </dev/tty", cwd=cwd)
    await child.end()
    folder, tty, ids, size = bytes(child.output).decode().split("\r\n")[:4]
    assert folder == str(Path(cwd).resolve())
    assert tty.startswith("/dev/pts/")
    assert [int(number) for number in ids.split()] == [child.pty.pid] * 2
    assert size == "24 80"


async def test_a_program_that_is_not_there_is_named(start: Start) -> None:
    with pytest.raises(MissingProgramError, match="no-such-program"):
        start("no-such-program")


async def test_a_program_that_cannot_run_is_an_error_and_leaves_nothing(
    start: Start, tmp_path: Path, no_children_ended: Callable[[], bool]
) -> None:
    program = tmp_path / "broken"
    program.write_bytes(b"\x7fELF and nothing")
    program.chmod(0o755)
    for _ in range(3):
        with pytest.raises(TerminalError, match="broken"):
            start(str(program))
    assert no_children_ended()


async def test_a_missing_working_directory_is_an_error_and_leaves_nothing(
    start: Start, no_children_ended: Callable[[], bool]
) -> None:
    parent = os.getpid()
    for _ in range(3):
        with pytest.raises(TerminalError, match=r"(?i)directory"):
            start("true", cwd="/no/such/folder")
        assert os.getpid() == parent, "the test does not go on in the child"
    assert no_children_ended()


@pytest.mark.parametrize(
    ("argv", "environment"),
    [
        (["sh", "-c", "echo \0"], ENVIRONMENT),
        (["sh"], {**ENVIRONMENT, b"A=B": b"x"}),
        (["sh"], {**ENVIRONMENT, b"A": b"x\0y"}),
        (["sh", "-c", "x" * 200_000], ENVIRONMENT),
    ],
    ids=["NUL in an argument", "= in a name", "NUL in a value", "argument too long"],
)
async def test_what_no_program_can_be_given_is_an_error_and_leaves_nothing(
    start: Start,
    argv: list[str],
    environment: dict[bytes, bytes],
    no_children_ended: Callable[[], bool],
) -> None:
    parent = os.getpid()
    with pytest.raises(TerminalError):
        Pty.spawn(
            argv,
            environment=environment,
            cwd="/",
            size=SIZE,
            on_output=lambda _: None,
            on_written=lambda _: None,
            on_end=lambda _: None,
        )
    assert os.getpid() == parent, "the test does not go on in the child"
    assert no_children_ended()


def ended_children() -> set[int]:
    """Return the children of this process that wait to be reaped."""
    mine = Path("/proc/self/task").glob("*/children")
    pids = [int(pid) for path in mine for pid in path.read_text().split()]
    return {pid for pid in pids if state_of(pid) == "Z"}


@pytest.fixture
def no_children_ended() -> Callable[[], bool]:
    """Tell whether no child of this test waits to be reaped; other tests may have left some."""
    before = ended_children()
    return lambda: ended_children() <= before


async def test_without_descriptors_starting_fails_and_takes_none() -> None:
    program = textwrap.dedent("""
        import asyncio, os, resource, sys
        sys.path.insert(0, sys.argv[1])
        from ttybridge.adapters.pty import Pty
        from ttybridge.errors import TerminalError
        from ttybridge.model import WindowSize

        def count():
            return len(os.listdir("/proc/self/fd"))

        def spawn(on_end):
            return Pty.spawn(
                ["true"], environment=dict(os.environb), cwd="/",
                size=WindowSize(cols=80, rows=24), on_output=lambda data: None,
                on_written=lambda total: None, on_end=on_end)

        async def main():
            loop = asyncio.get_running_loop()
            first = loop.create_future()
            await spawn(first.set_result).close()
            started = count()
            failed = 0
            for room in range(8):
                limit = started + room
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 4096))
                for _ in range(3):
                    try:
                        pty = spawn(lambda status: None)
                    except TerminalError:
                        failed += 1
                    else:
                        await pty.close()
                resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
                for _ in range(200):
                    if count() == started: break
                    await asyncio.sleep(0.01)
                assert count() == started, (room, started, os.listdir("/proc/self/fd"))
            assert failed >= 3, failed
            ended = loop.create_future()
            pty = spawn(ended.set_result)
            assert (await ended).code == 0
            await pty.close()

        asyncio.run(main())
    """)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program, str(ROOT)], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("how", ["missing", "forbidden"])
async def test_without_pidfd_a_thread_waits_for_the_child(
    start: Start, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def forbidden(pid: int, flags: int = 0) -> int:
        raise OSError(errno.EPERM, "forbidden")

    if how == "missing":
        monkeypatch.delattr(os, "pidfd_open")
    else:
        monkeypatch.setattr(os, "pidfd_open", forbidden)
    child = start("sh", "-c", "seq 1 1000; exit 9")
    assert await child.end() == ExitStatus(code=9)
    assert child.output.endswith(b"1000\r\n")
    other = start("sh", "-c", "echo ready; sleep 30")
    await other.until_shown(b"ready")
    await other.pty.close()
    assert state_of(other.pty.pid) == ""


@pytest.fixture
def reaped_by_the_kernel() -> Iterator[None]:
    """Have SIGCHLD ignored: nobody learns how a child ended."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("reaped_by_the_kernel")
@pytest.mark.parametrize("pidfd", [True, False])
async def test_a_child_that_somebody_else_reaps_ends_with_all_its_output(
    start: Start, monkeypatch: pytest.MonkeyPatch, pidfd: bool
) -> None:
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open")
    child = start("sh", "-c", "seq 1 1000; exit 9")
    assert await child.end() == UNKNOWN
    assert child.output.endswith(b"1000\r\n")
    other = start("sh", "-c", "echo ready; sleep 30")
    await other.until_shown(b"ready")
    async with asyncio.timeout(DEADLINE_S):
        await other.pty.close()
    assert state_of(other.pty.pid) == ""


@pytest.mark.usefixtures("reaped_by_the_kernel")
async def test_a_program_that_cannot_run_is_the_same_error_when_somebody_else_reaps_it(
    start: Start, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/nowhere/interpreter\n")
    program.chmod(0o755)
    with pytest.raises(TerminalError, match="could not be started: No such file or directory"):
        start(str(program))


async def test_only_what_may_run_elsewhere_starts_in_the_root_when_its_folder_is_gone(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "folder"

    async def where(program: str) -> bytes:
        output, ended = bytearray(), asyncio.Event()
        pty = Pty.spawn(
            [program],
            environment=ENVIRONMENT,
            cwd=str(folder),
            size=SIZE,
            on_output=output.extend,
            on_written=lambda count: None,
            on_end=lambda status: ended.set(),
            elsewhere=lambda argv: argv[0] == "pwd",
        )
        async with asyncio.timeout(DEADLINE_S):
            await ended.wait()
            await pty.close()
        return bytes(output).strip()

    assert await where("pwd") == b"/"
    with pytest.raises(TerminalError, match="is not a folder"):
        await where("true")
    folder.mkdir()
    assert await where("pwd") == os.fsencode(folder.resolve())
