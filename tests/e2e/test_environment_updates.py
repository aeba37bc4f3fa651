"""Variables that change while the bridge runs reach new windows and SSH logins, byte by byte."""

import asyncio
import os
import secrets
import subprocess
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S, Tmux, clean_environment
from tests.e2e.hostile import eventually
from tests.e2e.panes import entries, pane_environment
from tests.e2e.ssh import Ssh, needs_ssh
from ttybridge.adapters.pty import Pty
from ttybridge.adapters.rundir import bases, private_folder
from ttybridge.adapters.tmux_control import TmuxControl
from ttybridge.config import Config
from ttybridge.core.environment import MAX_ENTRY_BYTES, pty_environment
from ttybridge.core.ssh_keys import parse_entry
from ttybridge.core.tmux import Target
from ttybridge.model import DEFAULT_SIZE, ClientId, Role
from ttybridge.sessions.hub import Hub
from ttybridge.sessions.place import Place
from ttybridge.sessions.tmux import TmuxTerminals
from ttybridge.ssh.companion import companion

CHANGES: dict[bytes, bytes | None] = {
    b"NEWLINE": b"one\ntwo\n\n",
    b"QUOTES": b"'single' \"double\" `id`",
    b"DOLLAR": b"$HOME ${A} $(id) #{pane_id}",
    b"SEMICOLON": b"a;b;",
    b"INVALID": b"\xff\xfe\xc3",
    b"LARGE": b"x" * 100_000 + b'"$;\\\n',
    b"EMPTY": b"",
    b"CHANGED": b"new",
    b"GONE": None,
    b"ONLY_THE_SERVER": None,
    b"NEVER_THERE": None,
}
LEFT_ALONE: dict[bytes, bytes | None] = {
    b"TERM": b"dumb",
    b"PWD": None,
    b"TMUX": b"/tmp/x,1,0",
    b"TTYBRIDGE_TOKEN": b"planted",
    b"A=B": b"",
    b"": b"",
    b"NUL": b"a\0b",
}


def snapshot(home: Path) -> dict[bytes, bytes]:
    text = clean_environment(HOME=str(home), SHELL="/bin/bash", CHANGED="old", GONE="1", KEPT="k")
    everything = {os.fsencode(name): os.fsencode(value) for name, value in text.items()}
    return pty_environment(everything, cwd=os.fsencode(home))


def terminals_of(tmux: Tmux, environment: Mapping[bytes, bytes], home: Path) -> TmuxTerminals:
    control = TmuxControl(
        Target(socket_path=str(tmux.socket)), environment=environment, cwd=str(home)
    )
    return TmuxTerminals(
        control,
        Pty.spawn,
        environment=environment,
        cwd=str(home),
        exclusive=False,
        clipboard=False,
        container=None,
        run_id=secrets.token_hex(4),
    )


def hub_of(terminals: TmuxTerminals) -> Hub:
    return Hub(
        terminals,
        max_clients=10,
        resume_s=1,
        window_bytes=1 << 20,
        make_key=lambda: secrets.token_urlsafe(8),
    )


def new_window(tmux: Tmux, home: Path) -> str:
    return tmux("new-window", "-d", "-c", str(home), "-P", "-F", "#{pane_id}", "-t", "=0:")


def check(found: Mapping[bytes, bytes], environment: Mapping[bytes, bytes]) -> None:
    """Check that the changes are there exactly, and nothing else has changed."""
    for name, value in CHANGES.items():
        assert found.get(name) == value, name
    assert found[b"KEPT"] == b"k"
    assert found[b"PATH"] == environment[b"PATH"]
    assert found[b"PWD"] == environment[b"PWD"]
    assert found.get(b"TERM") != b"dumb"
    assert not {b"TTYBRIDGE_TOKEN", b"A", b"NUL"} & found.keys()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


async def test_new_windows_get_what_has_changed_and_running_shells_keep_theirs(
    tmux: Tmux, home: Path
) -> None:
    """On a server of somebody else's, which has a variable that shall be hidden."""
    theirs = clean_environment(HOME=str(home), SHELL="/bin/bash", ONLY_THE_SERVER="1", CHANGED="s")
    tmux("-f", "/dev/null", "new-session", "-d", "-s", "other", env=theirs)
    environment = snapshot(home)
    terminals = terminals_of(tmux, environment, home)
    await terminals.start()
    before = pane_environment(tmux, "=0:")
    too_long: dict[bytes, bytes | None] = {b"KEPT2": b"x" * MAX_ENTRY_BYTES}
    update = await terminals.update_environment(CHANGES | LEFT_ALONE | too_long)
    assert update.changes == {**CHANGES, b"KEPT2": None}
    assert (set(update.ours), update.too_long) == (set(LEFT_ALONE), (b"KEPT2",))
    check(pane_environment(tmux, new_window(tmux, home)), environment)
    assert pane_environment(tmux, "=0:") == before
    other = tmux("new-window", "-d", "-P", "-F", "#{pane_id}", "-t", "=other:")
    assert pane_environment(tmux, other)[b"CHANGED"] == b"s"
    await terminals.update_environment({b"LATER": b"1", b"EMPTY": None})
    found = pane_environment(tmux, new_window(tmux, home))
    assert (found[b"LATER"], found.get(b"EMPTY"), found[b"CHANGED"]) == (b"1", None, b"new")
    # A session that has ended is made anew with what has changed, its first window, too.
    tmux("kill-session", "-t", "=0")
    await terminals.update_environment({b"EMPTY": b"", b"LATER": None})
    client = ClientId("c1")
    terminal = await terminals.open(client, Place(Role.OWNER, DEFAULT_SIZE))
    try:
        check(pane_environment(tmux, "=0:"), environment)
        assert b"LATER" not in pane_environment(tmux, new_window(tmux, home))
    finally:
        await terminals.release(client, terminal)


async def test_a_server_that_starts_later_has_what_has_changed(tmux: Tmux, home: Path) -> None:
    environment = snapshot(home)
    terminals = terminals_of(tmux, environment, home)
    await terminals.start()
    tmux.stop()
    await eventually(lambda: not tmux("ls", check=False), "the server ends")
    await terminals.update_environment(CHANGES)
    client = ClientId("c1")
    terminal = await terminals.open(client, Place(Role.OWNER, DEFAULT_SIZE))
    try:
        check(pane_environment(tmux, "=0:"), environment)
        check(pane_environment(tmux, new_window(tmux, home)), environment)
    finally:
        await terminals.release(client, terminal)


@needs_ssh[0]
@needs_ssh[1]
@needs_ssh[2]
async def test_ssh_logins_get_what_has_changed(tmux: Tmux, home: Path, ssh: Ssh) -> None:
    environment = snapshot(home)
    terminals = terminals_of(tmux, environment, home)
    async with AsyncExitStack() as stack:
        hub = hub_of(terminals)
        stack.push_async_callback(hub.close)
        key = parse_entry(ssh.owner.public, "the test")
        config = replace(Config(cwd=home), ssh=True, ssh_port=0, ssh_key=(key,))
        folder = stack.enter_context(private_folder(bases(environment)))
        sshd = await stack.enter_async_context(companion(config, hub, environment, folder))
        ssh.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key.line}\n")
        login = [
            *("ssh", "-F", "/dev/null", "-p", str(sshd.port), "-i", str(ssh.owner.file)),
            *("-o", "BatchMode=yes", "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR"),
            *("-o", f"UserKnownHostsFile={ssh.known_hosts}", "-o", "StrictHostKeyChecking=yes"),
            f"{sshd.user}@127.0.0.1",
        ]

        async def logged_in() -> dict[bytes, bytes]:
            done = await asyncio.to_thread(
                subprocess.run, [*login, "env -0"], capture_output=True, timeout=DEADLINE_S
            )
            assert done.returncode == 0, done.stderr
            return entries(done.stdout)

        assert (await logged_in())[b"GONE"] == b"1"
        update = sshd.update_environment(CHANGES | LEFT_ALONE)
        assert update.changes == CHANGES
        check(await logged_in(), environment)
        sshd.update_environment({b"LATER": b"1"})
        assert (await logged_in()).items() >= {b"LATER": b"1", b"CHANGED": b"new"}.items()
        assert (sshd.folder / "environment").stat().st_mode & 0o777 == 0o600
