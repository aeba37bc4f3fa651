"""Container mode: the exact commands against a stand-in, and all of it against podman with runc."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT, StartBridge, Tmux, clean_environment, wait_until
from tests.e2e.raw_client import ColabClient, PageClient, eventually

DEADLINE_S = 20.0
"""Longest time for one command of the engine, in seconds."""

FEATURES = "RGB,usstyle,overline,strikethrough,clipboard,title,sync"
"""What is said of xterm.js in each tmux client's command line."""


def failed_start(path: str, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Start a bridge that cannot start, with `path` as PATH, and return what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "ttybridge", "--port", "0", "--container", *options],
        env=clean_environment(HOME=str(tmp_path), PYTHONPATH=str(ROOT), PATH=path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done


def open_files(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


# A stand-in for the engine: always runs ----------------------------------------------------------

ENGINE = """#!/bin/sh
{{ printf '%s\\037' "${{0##*/}}" "$@"; echo; }} >> {log}
shift
while :; do
    case $1 in
    -it | -i) shift ;;
    -w | --detach-keys) shift 2 ;;
    -e) export "$2"; shift 2 ;;
    *) break ;;
    esac
done
shift
exec "$@"
"""
"""An engine whose only container is this machine; it notes its arguments."""


class StandIn:
    """A folder with programs that take the place of docker and podman."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        folder.mkdir()

    def add(self, name: str, script: str = ENGINE) -> None:
        """Put an engine into the folder."""
        program = self.folder / name
        program.write_text(script.format(log=self.log))
        program.chmod(0o755)

    @property
    def path(self) -> str:
        """PATH with the folder in front."""
        return f"{self.folder}:{os.environ['PATH']}"

    @property
    def calls(self) -> list[list[str]]:
        """The command lines so far."""
        return [line.split("\x1f")[:-1] for line in self.log.read_text().splitlines()]


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    """An empty folder for engines."""
    return StandIn(tmp_path / "engines")


async def test_the_engine_gets_the_originals_command_and_attaches_nobody_else_out(
    start_bridge: StartBridge, tmux: Tmux, stand_in: StandIn
) -> None:
    stand_in.add("docker")
    stand_in.add("podman")
    socket = str(tmux.socket)
    bridge = start_bridge(
        *("--container", "box", "--socket-path", socket), env={"PATH": stand_in.path}
    )
    async with await PageClient.join(bridge) as page:
        assert page.joined["mode"] == "container"
        await page.type("echo in-$((1))\r")
        await page.shows("in-1")
    on_ptys = [call for call in stand_in.calls if "-it" in call]
    assert all(call[0] == "docker" for call in stand_in.calls)  # auto prefers it
    [start, attach] = on_ptys
    run = start[12].removesuffix("-start")
    begin = ["docker", "exec", "-it", "-w", "/content"]
    begin += ["--detach-keys", "ctrl-^,ctrl-@,ctrl-^"]
    begin += ["-e", "TERM=xterm-256color", "-e", "LANG=C.UTF-8", "-e"]
    client = ["box", "tmux", "-S", socket, "-u", "-T", FEATURES]
    assert run.startswith("TTYBRIDGE_CLIENT=")
    assert start == [*begin, f"{run}-start", *client, "new-session", "-A", "-D", "-s", "0"]
    assert attach == [*begin, f"{run}-c1", *client, "attach-session", "-E", "-t", "=0"]
    bridge.stop()
    wait_until(
        lambda: f"docker exec -it box tmux -S {socket} attach -t '=0'" in bridge.log,
        "how to attach in the container",
    )


async def test_exclusive_runs_the_originals_command_for_each_connection(
    start_bridge: StartBridge, tmux: Tmux, stand_in: StandIn
) -> None:
    stand_in.add("podman")
    options = ("--container", "box", "--socket-path", str(tmux.socket), "--exclusive")
    bridge = start_bridge(*options, "--container-engine", "podman", env={"PATH": stand_in.path})
    async with await PageClient.join(bridge) as one, await PageClient.join(bridge) as two:
        await one.ended()
        assert one.exit["reason"] == "taken-over"
        await two.type("echo in-$((2))\r")
        await two.shows("in-2")
    on_ptys = [call for call in stand_in.calls if "-it" in call]
    assert len(on_ptys) == 3
    for call in on_ptys:
        assert call[0] == "podman"
        assert call[-5:] == ["new-session", "-A", "-D", "-s", "0"]


DAEMON = "Error response from daemon: "
CANNOT_START = "exec failed: unable to start container process: "


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (1, DAEMON + "No such container: box", "no running container 'box'"),
        (1, DAEMON + "container 0123abcd is not running", "no running container 'box'"),
        (
            1,
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. "
            "Is the docker daemon running?",
            "does not answer",
        ),
        (
            1,
            "permission denied while trying to connect to the Docker daemon socket",
            "does not answer",
        ),
        (
            127,
            f"OCI runtime exec failed: {CANNOT_START}exec: tmux: executable file not found in PATH",
            "tmux cannot be run in the container 'box'",
        ),
        (
            126,
            f"OCI runtime exec failed: {CANNOT_START}chdir to cwd (/content) set in config.json "
            "failed: no such file or directory: unknown",
            "no folder /content in the container 'box'",
        ),
        (125, "unknown flag: --frob", "unknown flag: --frob"),
    ],
)
def test_what_docker_complains_about_becomes_one_clear_error(
    stand_in: StandIn, tmp_path: Path, status: int, said: str, told: str
) -> None:
    stand_in.add("docker", f"#!/bin/sh\ncat > /dev/null\necho '{said}' >&2\nexit {status}\n")
    done = failed_start(stand_in.path, tmp_path, "box")
    assert done.returncode == 4, done.stderr
    assert told in done.stderr
    assert said.removeprefix(DAEMON)[-60:] in done.stderr


def test_an_engine_that_is_not_installed_is_a_clear_error(tmp_path: Path) -> None:
    done = failed_start("/nowhere", tmp_path, "box")
    assert done.returncode == 3
    assert "docker or podman was not found" in done.stderr


# podman with runc ---------------------------------------------------------------------------------


class Box:
    """A container of the test's own, and programs `podman` and `docker` that know it.

    It has no image: its tree is empty but for this machine's /usr, read-only. runc, unlike crun,
    runs where control groups are in hybrid mode; vfs needs no overlay; limits are given because
    raising them may be forbidden (all three seen in containers that CI systems use).
    """

    name = "ttybridge-test"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.bin = folder / "bin"
        self.bin.mkdir()
        options = ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]
        options += ["--runtime", shutil.which("runc") or "runc"]
        for part in ("root", "runroot", "tmpdir"):
            options += [f"--{part}", str(folder / part)]
        line = " ".join([shutil.which("podman") or "podman", *options])
        for name in ("podman", "docker"):
            (self.bin / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
            (self.bin / name).chmod(0o755)

    @property
    def path(self) -> str:
        """PATH with the two programs in front."""
        return f"{self.bin}:{os.environ['PATH']}"

    def podman(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run podman."""
        return subprocess.run(
            [str(self.bin / "podman"), *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def run(self) -> str:
        """Make the tree and start the container; return why that fails, or nothing."""
        for name in ("usr", "content", "tmp", "proc", "sys", "dev", "etc", "root", "run", "var"):
            (self.tree / name).mkdir(parents=True)
        (self.tree / "tmp").chmod(0o1777)
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.tree / name).symlink_to(f"usr/{name}")
        (self.tree / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
        limits = ("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1024:4096")
        options = ("-d", "--name", self.name, "--network", "none", *limits, "-v", "/usr:/usr:ro")
        command = ("--rootfs", str(self.tree), "sleep", "infinity")
        done = self.podman("run", *options, *command)
        return "" if done.returncode == 0 else (done.stderr.strip() or "podman run failed")

    def inside(self, *argv: str) -> str:
        """Run a program in the container and return what it prints."""
        return self.podman("exec", self.name, *argv).stdout.strip()

    def pane_size(self) -> str:
        """Return what `stty size` says in the first pane inside."""
        tty = self.inside("tmux", "display-message", "-p", "-t", "=0:", "#{pane_tty}").strip()
        return self.inside("stty", "-F", tty, "size").strip()

    def clients(self) -> list[str]:
        """Return the sizes of the tmux clients inside, sorted."""
        form = "#{client_width}x#{client_height}"
        return sorted(self.inside("tmux", "list-clients", "-F", form).split())


@pytest.fixture(scope="module")
def one_box() -> Iterator[Box]:
    """A running container; skips where there can be none."""
    missing = [name for name in ("podman", "runc", "tmux") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    folder = Path(tempfile.mkdtemp(prefix="tb-box-"))
    box = Box(folder)
    try:
        problem = box.run()
        if problem:
            pytest.skip(f"podman with runc cannot run here: {problem.splitlines()[-1]}")
        yield box
    finally:
        box.podman("rm", "-f", "-t", "0", box.name)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def box(one_box: Box) -> Iterator[Box]:
    """The container, without anything left of the test before."""
    yield one_box
    if one_box.podman("exec", one_box.name, "tmux", "kill-server").returncode:
        one_box.podman("start", one_box.name)


def options_for(box: Box, *more: str) -> Sequence[str]:
    """Return the options of a bridge to the container."""
    return ("--container", box.name, *more)


@pytest.mark.container
async def test_clients_share_a_session_in_a_container_and_leave_nothing_inside(
    start_bridge: StartBridge, box: Box
) -> None:
    bridge = start_bridge(*options_for(box), env={"PATH": box.path})
    async with (
        await PageClient.join(bridge, cols=100, rows=30) as page,
        await ColabClient.join(bridge) as colab,
    ):
        await page.type("echo $PWD-$((1)) $LANG; hostname > /tmp/where\r")
        for client in (page, colab):
            await client.shows("/content-1 C.UTF-8")
        assert (box.tree / "tmp" / "where").exists()  # it runs inside, not here
        await page.resize(111, 33)
        await eventually(lambda: box.clients() == ["111x33", "80x24"], lambda: f"{box.clients()}")
        # tmux tells the pane up to 250 ms after it has taken the client's size itself.
        await eventually(lambda: box.pane_size() == "32 111", lambda: box.pane_size())
        await page.type("stty size\r")
        await page.shows("32 111")
        await page.leave()
        await eventually(lambda: box.clients() == ["80x24"], lambda: f"{box.clients()}")
        await colab.send(data="echo still-$((2))\r")
        await colab.shows("still-2")
    await eventually(lambda: box.clients() == [], lambda: f"{box.clients()}")
    assert bridge.stop() == 0
    wait_until(lambda: "lives on: docker exec -it" in bridge.log, "how to attach")
    assert box.inside("tmux", "list-sessions", "-F", "#S") == "0"
    assert box.inside("sh", "-c", "cat /proc/[0-9]*/comm | grep -c 'tmux: client'") == "0"


@pytest.mark.container
async def test_the_engines_detach_keys_reach_the_shell_at_once(
    start_bridge: StartBridge, box: Box
) -> None:
    bridge = start_bridge(*options_for(box), env={"PATH": box.path})
    async with await PageClient.join(bridge) as page:
        await page.type("echo first-$((1))\r")
        await page.shows("first-1")
        page.output.clear()
        await page.type("\x10")  # Ctrl-P: the line before, without another key
        await page.shows("echo first-$((1))")
        await page.type("\x11\x15echo second-$((2))\r")  # Ctrl-Q, and on with another line
        await page.shows("second-2")
        assert not page.closed.is_set()


@pytest.mark.container
async def test_exclusive_takes_over_in_a_container(start_bridge: StartBridge, box: Box) -> None:
    options = options_for(box, "--exclusive", "--container-engine", "podman")
    bridge = start_bridge(*options, env={"PATH": box.path})
    async with await PageClient.join(bridge) as one, await PageClient.join(bridge) as two:
        await one.ended()
        assert one.exit["reason"] == "taken-over"
        await two.type("echo mine-$((2))\r")
        await two.shows("mine-2")
        await eventually(lambda: box.clients() == ["80x24"], lambda: f"{box.clients()}")


@pytest.mark.container
async def test_clients_left_inside_by_a_killed_bridge_are_taken_over_by_the_next(
    start_bridge: StartBridge, box: Box
) -> None:
    killed = start_bridge(*options_for(box), env={"PATH": box.path})
    async with await PageClient.join(killed, cols=91, rows=27) as page:
        await page.type("echo kept-$((1))\r")
        await page.shows("kept-1")
        killed.stop(signal.SIGKILL)
    # Killing the engine's program leaves the client inside: that is what has to be cleared.
    assert box.clients() == ["91x27"]
    bridge = start_bridge(*options_for(box), env={"PATH": box.path})
    async with await PageClient.join(bridge, cols=92, rows=28) as page:
        await page.shows("kept-1")
        await eventually(lambda: box.clients() == ["92x28"], lambda: f"{box.clients()}")


@pytest.mark.container
async def test_a_client_in_a_container_that_lost_its_place_is_repainted(
    start_bridge: StartBridge, box: Box
) -> None:
    bridge = start_bridge(*options_for(box), env={"PATH": box.path})
    async with await PageClient.join(bridge) as page, await PageClient.join(bridge) as other:
        await page.type("echo settled-$((1))\r")
        for client in (page, other):
            await client.shows("settled-1")
        page.cut()
        async with await PageClient.join(bridge, resume=page, reset=True) as back:
            assert back.joined["resumed"]
            await eventually(lambda: back.resets, "a reset")
            await back.shows("settled-1")
            await back.shows("[0]")  # the whole window, with its status line
        assert other.resets == []


@pytest.mark.container
async def test_a_session_that_ended_in_a_container_is_made_anew(
    start_bridge: StartBridge, box: Box
) -> None:
    bridge = start_bridge(*options_for(box), env={"PATH": box.path})
    async with await PageClient.join(bridge) as page:
        await page.type("exit\r")
        await page.ended()
        assert (page.exit["reason"], page.exit["restart"]) == ("exited", True)
    async with await PageClient.join(bridge) as page:
        await page.type("echo $PWD-$((2))\r")
        await page.shows("/content-2")


@pytest.mark.container
async def test_a_container_that_stops_is_told_and_the_bridge_serves_it_again_later(
    start_bridge: StartBridge, box: Box
) -> None:
    bridge = start_bridge(*options_for(box), env={"PATH": box.path})
    async with await PageClient.join(bridge) as page:
        box.podman("stop", "-t", "0", box.name)
        await page.ended()
        assert page.exit["restart"] is True
    async with await PageClient.join(bridge) as refused:
        assert refused.refused is not None
        assert "no running container" in refused.refused["message"]
        assert refused.refused["data"]["code"] == "unavailable"
    box.podman("start", box.name)
    async with await PageClient.join(bridge) as page:
        await page.type("echo back-$((3))\r")
        await page.shows("back-3")
    assert bridge.stop() == 0


@pytest.mark.container
def test_no_such_container_and_no_tmux_inside_are_clear_errors(box: Box, tmp_path: Path) -> None:
    missing = failed_start(box.path, tmp_path, "no-such-box")
    assert missing.returncode == 4
    assert "docker found no running container 'no-such-box'" in missing.stderr
    no_tmux = failed_start(box.path, tmp_path, box.name, "--tmux", "no-tmux-here")
    assert no_tmux.returncode == 4
    assert f"cannot be run in the container '{box.name}'" in no_tmux.stderr
    content = box.tree / "content"
    content.rmdir()
    try:
        no_content = failed_start(box.path, tmp_path, box.name)
    finally:
        content.mkdir()
    assert no_content.returncode == 4
    assert f"no folder /content in the container '{box.name}'" in no_content.stderr


@pytest.mark.container
async def test_processes_and_descriptors_of_container_clients_are_given_back(
    start_bridge: StartBridge, box: Box
) -> None:
    bridge = start_bridge(*options_for(box), env={"PATH": box.path})

    def children() -> list[str]:
        done = subprocess.run(
            ["ps", "-o", "args=", "--ppid", str(bridge.pid)], capture_output=True, text=True
        )
        return done.stdout.splitlines()

    descriptors = open_files(bridge.pid)
    for _ in range(3):
        async with await PageClient.join(bridge) as page:
            await page.shows("[0]")
            await page.leave()
    await eventually(lambda: children() == [], lambda: f"left: {children()}")
    await eventually(lambda: open_files(bridge.pid) <= descriptors, "descriptors closed")
