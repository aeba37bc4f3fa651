"""Starting and watching sshd, with stand-ins for it: errors with its words, growing pauses."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S
from ttybridge.errors import SshdError
from ttybridge.ssh import daemon
from ttybridge.ssh.daemon import LAST_LINES, Daemon
from ttybridge.ssh.kept import PATH


def daemon_of(folder: Path, script: str) -> Daemon:
    """Return a daemon whose sshd is a shell script."""
    sshd = folder / "sshd"
    sshd.write_text(f"#!/bin/sh\n{script}\n")
    sshd.chmod(0o755)
    return Daemon([str(sshd), "-D"], {"PATH": PATH}, user="me")


async def eventually(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, what
        await asyncio.sleep(0.01)


async def test_the_last_lines_of_an_sshd_that_ends_travel_with_the_error(tmp_path: Path) -> None:
    script = "for n in $(seq 1 30); do echo line $n >&2; done; exit 3"
    with pytest.raises(SshdError) as caught:
        await daemon_of(tmp_path, script).start()
    lines = str(caught.value).splitlines()
    assert lines[0] == "sshd did not start. Its last lines:"
    assert lines[1:] == [f"line {n}" for n in range(31 - LAST_LINES, 31)]


async def test_an_sshd_that_never_listens_is_given_up_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "READY_S", 0.5)
    pid = tmp_path / "pid"
    script = f"echo $$ > {pid}; echo nobody knows why >&2; exec sleep 300"
    with pytest.raises(SshdError, match="nobody knows why"):
        await daemon_of(tmp_path, script).start()
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


FAILS_WHEN_TOLD = """
if [ -e fails ]; then date +%s.%N >> starts; exit 1; fi
date +%s.%N >> starts
echo $$ > pid
echo Server listening on 127.0.0.1 port 1. >&2
exec sleep 300
"""


async def test_the_pauses_grow_to_a_limit_and_begin_anew_after_a_good_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="ttybridge")
    monkeypatch.setattr(daemon, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(daemon, "LONGEST_PAUSE_S", 0.4)
    monkeypatch.setattr(daemon, "GOOD_WHILE_S", 1.0)
    sshd = daemon_of(tmp_path, f"cd {tmp_path}\n{FAILS_WHEN_TOLD}")
    fails, starts = tmp_path / "fails", tmp_path / "starts"

    def kill() -> None:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    def begun() -> list[float]:
        return [float(line) for line in starts.read_text().split()]

    def pauses() -> list[str]:
        return [r.getMessage()[-5:] for r in caplog.records if "started again in" in r.message]

    await sshd.start()
    watching = asyncio.create_task(sshd.watch())
    try:
        fails.touch()
        kill()
        await eventually(lambda: len(begun()) == 5, "four starts that fail")
        fails.unlink()
        await eventually(lambda: "sshd listens again" in caplog.text, "it listens again")
        assert pauses() == ["0.1 s", "0.2 s", "0.4 s", "0.4 s", "0.4 s"]
        between = [after - before for before, after in itertools.pairwise(begun()[1:])]
        assert all(gap > pause for gap, pause in zip(between, (0.2, 0.4, 0.4, 0.4), strict=True))
        await asyncio.sleep(daemon.GOOD_WHILE_S + 0.1)
        kill()
        await eventually(lambda: len(begun()) == 7, "it is started again")
        assert pauses()[5:] == ["0.1 s"]
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await sshd.stop()
