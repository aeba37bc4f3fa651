"""Programs on a leash: they end with the process that holds it, however that ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S, ROOT, wait_until
from tests.ngrok import is_alive
from ttybridge.tunnels.leash import Leash, leash
from ttybridge.tunnels.warden import GRACE_S

STUBBORN = "trap '' TERM INT HUP; echo $$; sleep 1000 & wait; wait"
"""A shell that ignores signals, as its child does; says its process id."""


@pytest.fixture(name="held")
def a_leash(tmp_path: Path) -> Iterator[Leash]:
    with leash(tmp_path) as held:
        yield held


def start(held: Leash, *argv: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        held.argv(*argv), stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def first_line(program: "subprocess.Popen[str]") -> int:
    """Return the number that a program says."""
    assert program.stdout is not None
    return int(program.stdout.readline())


def group_of(pid: int) -> Sequence[int]:
    """Return the processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize(
    ("script", "status"), [("exit 3", 3), ("kill -9 $$", 137)], ids=["exit", "signal"]
)
def test_the_status_and_the_output_are_the_programs_own(
    held: Leash, script: str, status: int
) -> None:
    program = start(held, "sh", "-c", f'echo "$0 $1"; {script}', "a b", "'c'")
    assert program.communicate(timeout=DEADLINE_S)[0] == "a b 'c'\n"
    assert program.returncode == status


def test_a_program_that_is_not_there_is_named(
    held: Leash, capfd: pytest.CaptureFixture[str]
) -> None:
    program = start(held, "/no/such/program")
    program.communicate(timeout=DEADLINE_S)
    assert program.returncode == 127
    assert capfd.readouterr().err == "/no/such/program: No such file or directory\n"


def test_sigterm_is_handed_on_and_the_program_may_end_by_itself(held: Leash) -> None:
    script = "trap 'echo bye; exit 7' TERM; echo $$; while :; do sleep 0.05; done"
    program = start(held, "sh", "-c", script)
    pid = first_line(program)
    program.terminate()
    assert program.communicate(timeout=DEADLINE_S)[0] == "bye\n"
    assert program.returncode == 7
    assert not is_alive(pid)


def test_letting_go_ends_what_ignores_signals_and_its_children(tmp_path: Path) -> None:
    with leash(tmp_path) as held:
        program = start(held, "sh", "-c", STUBBORN)
        first_line(program)
        wait_until(lambda: len(group_of(program.pid)) == 3, "warden, shell and sleep")
    program.communicate(timeout=DEADLINE_S + GRACE_S)
    wait_until(lambda: not group_of(program.pid), "the end of the group")
    assert not (tmp_path / "leash").exists()


def test_kill_9_of_the_holder_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from ttybridge.tunnels.leash import leash\n"
        "with leash(Path(sys.argv[1])) as held:\n"
        "    argv = held.argv('sh', '-c', sys.argv[2])\n"
        "    started = subprocess.Popen(argv, start_new_session=True)\n"
        "    print(started.pid, flush=True)\n"
        "    time.sleep(1000)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), STUBBORN],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )
    warden = first_line(holder)
    wait_until(lambda: len(group_of(warden)) == 3, "warden, shell and sleep")
    holder.kill()
    holder.communicate(timeout=DEADLINE_S)
    wait_until(lambda: not group_of(warden), "the end of the group")


def test_kill_9_of_the_warden_ends_the_program(held: Leash) -> None:
    program = start(held, "sh", "-c", "echo $$; exec sleep 1000")
    pid = first_line(program)
    os.kill(program.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the end of the program")
    program.communicate(timeout=DEADLINE_S)


def test_nothing_is_started_once_the_holder_has_let_go(tmp_path: Path) -> None:
    with leash(tmp_path) as held:
        pipe = held.pipe
    os.mkfifo(pipe)
    unheld = Leash(pipe)
    started = start(unheld, "touch", str(tmp_path / "started"))
    started.communicate(timeout=DEADLINE_S)
    assert started.returncode == 1
    assert not (tmp_path / "started").exists()


def test_a_waiting_warden_does_not_use_the_processor(held: Leash) -> None:
    program = start(held, "sh", "-c", "echo $$; exec sleep 1000")
    first_line(program)
    ticks = Path(f"/proc/{program.pid}/stat")

    def used() -> int:
        fields = ticks.read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = used()
    threading.Event().wait(0.5)
    assert used() - before <= 10  # of 50
    program.terminate()
    program.communicate(timeout=DEADLINE_S)
