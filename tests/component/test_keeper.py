"""The real keeper with stand-ins for sshd: ordered, told of, and never left behind."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S, wait_until
from ttybridge.ssh import keeper

HEAD = """
import os, signal, subprocess, sys

def say(word):
    os.write(2, f"{word} {os.getpid()}\\n".encode())

def start(name, **more):
    subprocess.Popen([os.path.dirname(__file__) + "/" + name], start_new_session=True, **more)

def rest():
    while True:
        signal.pause()
"""
"""How the stand-ins begin: they say on standard error which process they are."""

QUIET_SSHD = "say('sshd'); rest()"
SSHD_WITH_A_LOGIN = {
    "sshd": "say('sshd'); start('sshd-session'); rest()",
    "sshd-session": "say('session'); start('program'); rest()",
    "program": "say('program'); rest()",
}


def status_of(pid: int) -> list[str]:
    """Return state, parent and so on of a process (proc(5)); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended and was reaped."""
    return not status_of(pid)


def is_over(pid: int) -> bool:
    """Tell whether a process has ended; what adopts an orphan may reap it late."""
    return status_of(pid)[:1] in ([], ["Z"])


class Kept:
    """A keeper with what it and its sshd have said."""

    def __init__(self, log: Path, argv: list[str], connection: str = "-") -> None:
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-IS", keeper.__file__, connection, *argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd="/",
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """What was written to standard error."""
        return self._log.read_text()

    def said(self, word: str) -> list[int]:
        """Return the processes that have said a word so far."""
        return [int(pid) for pid in re.findall(rf"^{word} (\d+)$", self.text, re.MULTILINE)]

    def pid(self, word: str) -> int:
        """Wait until a process says a word; return which one."""
        wait_until(lambda: self.said(word), f"{word} is said")
        return self.said(word)[-1]

    def order(self) -> None:
        """Order sshd."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"s")
        self.process.stdin.flush()

    def ended(self) -> int:
        """Wait until it says that sshd has ended; return the status."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def leave(self) -> int:
        """End its input, as when the bridge is gone; return its own status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(DEADLINE_S)


Keep = Callable[..., Kept]


@pytest.fixture(name="keep")
def started(tmp_path: Path) -> Iterator[Keep]:
    """Start a keeper: `keep({"sshd": code, …})`; afterwards nothing of it may be left."""
    kept: list[Kept] = []

    def start(programs: dict[str, str]) -> Kept:
        for name, code in programs.items():
            file = tmp_path / name
            python = os.path.realpath(sys.executable)
            file.write_text(f"#!{python} -IS\n{HEAD}{textwrap.dedent(code)}\n")
            file.chmod(0o700)
        made = Kept(tmp_path / "log", [str(tmp_path / "sshd"), "-D"])
        kept.append(made)
        return made

    yield start
    for one in kept:
        one.leave()
        assert one.process.stdout is not None
        one.process.stdout.close()
        pids = map(int, re.findall(r"^[a-z]+ (\d+)$", one.text, re.MULTILINE))
        left = [pid for pid in pids if not is_over(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, one.text


def test_nothing_runs_before_the_order_and_then_sshd_does(keep: Keep) -> None:
    kept = keep({"sshd": QUIET_SSHD})
    assert keeper.below(kept.process.pid, keeper.processes()) == []
    kept.order()
    pid = kept.pid("sshd")
    assert int(status_of(pid)[1]) == kept.process.pid
    assert os.getpgid(pid) == pid, "it has a group of its own"
    assert Path(f"/proc/{pid}/comm").read_text() == "sshd\n"
    assert Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"/sshd\0-D\0")
    assert kept.leave() == 0
    assert is_gone(pid)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(255)", 255),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_the_status_of_an_sshd_that_ends_is_told(keep: Keep, code: str, status: int) -> None:
    kept = keep({"sshd": f"say('sshd'); {code}"})
    kept.order()
    assert kept.ended() == status
    assert is_gone(kept.pid("sshd"))
    assert kept.process.poll() is None
    assert kept.leave() == 0


def test_sshd_can_be_ordered_again_after_each_end(keep: Keep) -> None:
    kept = keep({"sshd": "say('sshd'); sys.exit(3)"})
    for _ in range(5):
        kept.order()
        assert kept.ended() == 3
    assert len(set(kept.said("sshd"))) == 5
    assert kept.leave() == 0


def test_an_sshd_that_cannot_be_run_is_said_and_told(keep: Keep, tmp_path: Path) -> None:
    kept = keep({})
    kept.order()
    assert kept.ended() == 127
    assert kept.text == f"{tmp_path}/sshd: No such file or directory\n"


def test_sshd_has_no_input_no_pipe_of_ours_and_no_ignored_signal(keep: Keep) -> None:
    kept = keep({
        "sshd": """
            ignored = int(open("/proc/self/status").read().partition("SigIgn:")[2].split()[0], 16)
            numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD)
            # Python itself ignores SIGPIPE; no program of ours may inherit the others.
            assert not any(ignored & 1 << number - 1 for number in numbers), hex(ignored)
            assert [os.readlink(f"/proc/self/fd/{n}") for n in (0, 1)] == ["/dev/null"] * 2
            links = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")[:-1]]
            assert not [link for link in links if link.startswith(("pipe:", "socket:"))], links
        """
    })  # fmt: skip
    kept.order()
    assert kept.ended() == 0, kept.text


def test_the_end_of_input_ends_logins_and_hangs_up_their_programs(keep: Keep) -> None:
    kept = keep(SSHD_WITH_A_LOGIN)
    kept.order()
    pids = [kept.pid(word) for word in ("sshd", "session", "program")]
    assert kept.leave() == 0
    assert is_gone(pids[0])
    assert is_gone(pids[1])
    wait_until(lambda: is_over(pids[2]), "the program is hung up")


def test_what_a_program_has_started_in_its_group_is_hung_up_too(keep: Keep) -> None:
    kept = keep(SSHD_WITH_A_LOGIN | {
        "program": """
            if os.fork():
                say("program")
            else:
                say("child")
            rest()
        """
    })  # fmt: skip
    kept.order()
    pids = [kept.pid(word) for word in ("program", "child")]
    assert kept.leave() == 0
    wait_until(lambda: all(map(is_over, pids)), "both are hung up")


def test_a_program_that_ignores_the_hangup_lives_on_without_a_parent(keep: Keep) -> None:
    kept = keep(SSHD_WITH_A_LOGIN | {
        "program": "signal.signal(signal.SIGHUP, signal.SIG_IGN); say('program'); rest()"
    })  # fmt: skip
    kept.order()
    sshd, session, program = (kept.pid(word) for word in ("sshd", "session", "program"))
    assert kept.leave() == 0
    assert is_gone(sshd)
    assert is_gone(session)
    try:
        assert not is_over(program)
        assert int(status_of(program)[1]) not in (kept.process.pid, session)
    finally:
        os.kill(program, signal.SIGKILL)
    wait_until(lambda: is_over(program), "the program has ended")


def test_a_stubborn_sshd_is_killed_after_a_while(keep: Keep) -> None:
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    kept = keep({
        "sshd": f"{stubborn} say('sshd'); start('sshd-session'); rest()",
        "sshd-session": f"{stubborn} say('session'); rest()",
    })  # fmt: skip
    kept.order()
    pids = [kept.pid("sshd"), kept.pid("session")]
    assert kept.leave() == 0
    assert [is_gone(pid) for pid in pids] == [True, True]


def test_a_stopped_sshd_is_killed_after_a_while(keep: Keep) -> None:
    kept = keep({"sshd": QUIET_SSHD})
    kept.order()
    pid = kept.pid("sshd")
    os.kill(pid, signal.SIGSTOP)
    assert kept.leave() == 0
    assert is_gone(pid)


def test_logins_of_an_sshd_that_died_end_too(keep: Keep) -> None:
    kept = keep(SSHD_WITH_A_LOGIN)
    kept.order()
    sshd, session, program = (kept.pid(word) for word in ("sshd", "session", "program"))
    os.kill(sshd, signal.SIGKILL)
    assert kept.ended() == -signal.SIGKILL
    assert not is_over(session), "as with OpenSSH's own"
    assert int(status_of(session)[1]) == kept.process.pid, "the keeper has adopted it"
    assert kept.leave() == 0
    assert is_gone(session)
    wait_until(lambda: is_over(program), "the program is hung up")


def test_a_killed_keeper_takes_the_listener_with_it(keep: Keep) -> None:
    kept = keep({"sshd": QUIET_SSHD})
    kept.order()
    pid = kept.pid("sshd")
    kept.process.kill()
    kept.process.wait()
    wait_until(lambda: is_over(pid), "the listener has ended")


def test_orphans_are_reaped(keep: Keep) -> None:
    kept = keep({
        "sshd": """
            say("sshd")
            for _ in range(3):
                if not os.fork():
                    start("program")
                    os._exit(0)
                os.wait()
            rest()
        """,
        "program": "say('program'); rest()",
    })  # fmt: skip
    kept.order()
    orphans = wait_until(lambda: len(kept.said("program")) == 3 and kept.said("program"), "three")
    assert orphans
    me = str(kept.process.pid)
    wait_until(lambda: all(status_of(pid)[1] == me for pid in orphans), "they are adopted")
    for pid in orphans:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(map(is_gone, orphans)), "no zombie is left")
    assert not is_over(kept.pid("sshd"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_signals_that_are_for_the_bridge_do_nothing(
    keep: Keep, number: int, tmp_path: Path
) -> None:
    kept = keep({"sshd": "say('sshd'); os.read(os.open(sys.argv[0] + '.end', os.O_RDONLY), 1)"})
    end = tmp_path / "sshd.end"
    os.mkfifo(end)
    kept.order()
    pid = kept.pid("sshd")
    kept.process.send_signal(number)
    # It goes on to do its duty: it tells of sshd's end, and starts it again.
    end.write_bytes(b"x")
    assert kept.ended() == 0
    kept.order()
    wait_until(lambda: len(kept.said("sshd")) == 2, "sshd runs again")
    assert is_gone(pid)
    assert kept.process.poll() is None


def test_a_burst_of_ended_children_is_reaped_at_once(keep: Keep) -> None:
    kept = keep({
        "sshd": """
            for _ in range(100):
                if not os.fork():
                    if not os.fork():
                        os._exit(0)
                    os._exit(0)
                os.wait()
            say("sshd")
            rest()
        """
    })  # fmt: skip
    kept.order()
    pid = kept.pid("sshd")
    children = Path(f"/proc/{kept.process.pid}/task/{kept.process.pid}/children")
    wait_until(lambda: children.read_text().split() == [str(pid)], "only sshd is left")
