"""Full disks: what cannot be written is said once, and nobody loses the session."""

import json
import os
import shlex
import time
from pathlib import Path

import pytest

from tests.conftest import Figure, StartBridge, Tmux
from tests.e2e.polling_client import PollingClient
from tests.e2e.raw_client import PageClient, eventually
from tests.e2e.ssh import Ssh, needs_ssh
from tests.e2e.test_recording import UNSHARE, can_mount, read

pytestmark = pytest.mark.skipif(
    not can_mount(), reason="no file system can be mounted here (unshare --mount)"
)

SIZE = 256 * 1024
"""Room of the disk, in bytes."""


def small_disk(folder: Path) -> list[str]:
    """Return what to put before a command so that it sees a small disk in a folder."""
    folder.mkdir()
    mount = f"mount -t tmpfs -o size={SIZE} none {shlex.quote(str(folder))}"
    return [*UNSHARE, "sh", "-c", f'{mount} && exec "$@"', "sh"]


def fill(inside: Path) -> None:
    """Leave no byte on a disk."""
    with (inside / "fill").open("ab", buffering=0) as file:
        for size in (65536, 1024, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue


@needs_ssh[1]
@needs_ssh[2]
async def test_a_disk_that_fills_up_ends_what_is_written_and_nobody_s_session(
    start_bridge: StartBridge, tmux: Tmux, ssh: Ssh, short_path: Path, figure: Figure
) -> None:
    folder = short_path / "small"
    bridge = start_bridge(
        *ssh.options,
        "--audit-log",
        str(folder / "audit.jsonl"),
        "--record",
        str(folder / "it.cast"),
        env={"TMPDIR": str(folder)},
        prefix=small_disk(folder),
    )
    inside = Path(f"/proc/{bridge.pid}/root{folder}")
    assert (inside / f"ttybridge-{os.getuid()}").is_dir(), "its private folder is there, too"
    async with await PageClient.join(bridge) as page, await PollingClient.join(bridge) as poller:
        await poller.shows("$")
        assert ssh.run(bridge, "bridge", "echo in").stdout == b"in\n"
        before = (inside / "audit.jsonl").read_text()
        fill(inside)
        began = time.monotonic()
        # A file goes on to the end of its page of 4 KiB.
        await page.type("seq 5000; echo full-$((1))\r")
        for client in (page, poller):
            await client.shows("full-1")
        took = time.monotonic() - began
        await eventually(lambda: "it.cast has ended: No space left" in bridge.log, "it is said")
        for kind in (PageClient, PollingClient) * 20:
            async with await kind.join(bridge) as visitor:
                await visitor.type("echo visitor-$((1))\r")
                await visitor.shows("visitor-1")
                await visitor.leave()
            if "audit log" in bridge.log:
                break
        # What sshd needs was written before.
        assert ssh.run(bridge, "bridge", "echo in").stdout == b"in\n"
        figure("disk full, both clients answered", seconds=took)
        assert took < 2
    told = [line for line in bridge.log.splitlines() if "No space left" in line]
    assert len(told) == 2, told
    assert any("audit log" in line for line in told)
    after = (inside / "audit.jsonl").read_text()
    assert after.startswith(before), "what was written stays"
    assert (inside / "it.cast").read_bytes().endswith(b"\n")
    _, events = read(inside / "it.cast")
    assert events
    (inside / "fill").unlink()
    async with await PageClient.join(bridge) as page:
        await page.shows("visitor-1")
    await eventually(
        lambda: (inside / "audit.jsonl").read_text() != after, "the log goes on when there is room"
    )
    later = (inside / "audit.jsonl").read_text().removeprefix(after)
    # The event that was cut, if one was, spoils none of the next ones.
    assert after.endswith("\n") or later.startswith("\n")
    assert all(json.loads(line)["event"] for line in later.splitlines() if line)
    assert bridge.stop() == 0
    assert "Traceback" not in bridge.log


def full_disk(folder: Path) -> list[str]:
    """Return what to put before a command so that it sees a full disk in a folder."""
    prefix = small_disk(folder)
    fills = f"head -c {2 * SIZE} /dev/zero > {shlex.quote(str(folder))}/fill 2>/dev/null;"
    prefix[-2] = prefix[-2].replace("&& exec", f"&& {fills} exec")
    return prefix


async def test_a_bridge_starts_and_serves_where_the_disk_is_full(
    start_bridge: StartBridge, short_path: Path, figure: Figure
) -> None:
    folder = short_path / "small"
    prefix = full_disk(folder)
    began = time.monotonic()
    bridge = start_bridge(
        "--record",
        str(folder / "it.cast"),
        "--audit-log",
        str(folder / "audit.jsonl"),
        env={"TMPDIR": str(folder)},
        prefix=prefix,
    )
    async with await PageClient.join(bridge) as page:
        await page.type("echo full-$((1))\r")
        await page.shows("full-1")
    figure("start on a full disk", seconds=time.monotonic() - began)
    told = [line for line in bridge.log.splitlines() if "No space left" in line]
    assert len(told) == 2, bridge.log
    assert bridge.stop() == 0
    assert "Traceback" not in bridge.log


@needs_ssh[1]
@needs_ssh[2]
def test_where_a_full_disk_leaves_no_room_for_the_files_of_ssh_a_sentence_says_so(
    start_bridge: StartBridge, ssh: Ssh, short_path: Path
) -> None:
    folder = short_path / "small"
    said = rf"\(status 6\):\nttybridge: error: The private folder {folder}/\S+ cannot be written to"
    with pytest.raises(pytest.fail.Exception, match=said) as failed:
        start_bridge(*ssh.options, env={"TMPDIR": str(folder)}, prefix=full_disk(folder))
    assert "Traceback" not in str(failed.value)
