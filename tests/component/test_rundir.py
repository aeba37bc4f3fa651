"""The private folder on a real file system: closed, one per bridge, and gone afterwards."""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tests.conftest import DEADLINE_S, ROOT
from ttybridge.adapters.rundir import MAX_BASE, private_folder, write_private
from ttybridge.errors import TtyBridgeError

NAME = f"ttybridge-{os.getuid()}"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture(name="base")
def made_base() -> Iterator[Path]:
    """A short folder for folders; afterwards it is empty and no descriptor is left."""
    before = descriptors()
    folder = Path(tempfile.mkdtemp(prefix="tb-"))
    yield folder
    left = list(folder.iterdir())
    shutil.rmtree(folder)
    assert left == []
    assert descriptors() == before


def descriptors() -> set[str]:
    """Return what is open in this process, without what only looking opens."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{link.name} {link.readlink()}")
    return {name for name in found if "/proc/" not in name}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


class Holder:
    """Another process with a private folder."""

    def __init__(self, base: Path) -> None:
        code = (
            "import sys; from pathlib import Path\n"
            "from ttybridge.adapters.rundir import private_folder, write_private\n"
            "with private_folder([Path(sys.argv[1])]) as folder:\n"
            "    write_private(folder / 'environment', b'SECRET=1')\n"
            "    print(folder, flush=True)\n"
            "    sys.stdin.read()\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self.process.stdout is not None
        self.folder = Path(self.process.stdout.readline().rstrip("\n"))

    def end(self, number: int = 0) -> None:
        """Let it leave its folder, or send it a signal; wait for its end."""
        if number:
            self.process.send_signal(number)
        self.process.communicate(timeout=DEADLINE_S)


# The folder


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_only_this_user_can_enter_it(base: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        if umask == 0o777 and os.geteuid() != 0:
            pytest.skip("such a umask locks even its owner out")
        with private_folder([base]) as folder:
            assert folder.parent == base / NAME
            assert mode(folder) == mode(folder.parent) == 0o700 & ~umask
            assert list(folder.iterdir()) == []
    finally:
        os.umask(before)


def test_all_is_gone_at_the_end(base: Path) -> None:
    with private_folder([base]) as folder:
        (folder / "more").mkdir()
        write_private(folder / "more" / "file", b"x")
        (folder / "link").symlink_to(base)
    assert list(base.iterdir()) == []


def test_all_is_gone_after_an_error_and_when_somebody_else_has_removed_it(base: Path) -> None:
    with pytest.raises(ZeroDivisionError), private_folder([base]):
        raise ZeroDivisionError
    assert list(base.iterdir()) == []
    with private_folder([base]) as folder:
        shutil.rmtree(folder.parent)


def test_the_end_does_not_follow_links_out_of_the_folder(base: Path) -> None:
    outside = base / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    with private_folder([base]) as folder:
        (folder / "link").symlink_to(outside)
    assert (outside / "kept").exists()
    shutil.rmtree(outside)


# Other bridges


def test_the_folder_of_a_killed_bridge_is_removed(base: Path) -> None:
    holder = Holder(base)
    holder.end(signal.SIGKILL)
    assert (holder.folder / "environment").exists()
    with private_folder([base]) as folder:
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_folder_of_a_running_bridge_is_kept(base: Path) -> None:
    holder = Holder(base)
    with private_folder([base]) as folder:
        assert (holder.folder / "environment").read_bytes() == b"SECRET=1"
        assert folder != holder.folder
    assert (holder.folder / "environment").exists()
    holder.end()
    assert not holder.folder.exists()


def test_a_lock_is_not_inherited_by_what_the_bridge_starts(base: Path) -> None:
    child = None
    with private_folder([base]) as folder:
        child = subprocess.Popen(["sleep", "100"], close_fds=False)
        links = [path.readlink() for path in Path(f"/proc/{child.pid}/fd").iterdir()]
        assert folder not in links
    child.kill()
    child.wait()


def test_what_is_being_made_and_what_is_foreign_is_left_alone(base: Path) -> None:
    parent, elsewhere = base / NAME, base / "elsewhere"
    parent.mkdir(mode=0o700)
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (parent / "file").write_text("x")
    (parent / "dangling").symlink_to(base / "nowhere")
    (parent / "link").symlink_to(elsewhere)
    being_made = parent / ".1234abcd"
    being_made.mkdir()
    lock = os.open(being_made, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with private_folder([base]):
            names = {path.name for path in parent.iterdir()}
    finally:
        os.close(lock)
    assert names >= {".1234abcd", "file", "dangling", "link"}
    assert (elsewhere / "kept").exists()
    shutil.rmtree(parent)
    shutil.rmtree(elsewhere)


def test_stale_folders_are_removed_in_every_base(base: Path) -> None:
    killed = Holder(base)
    killed.end(signal.SIGKILL)
    assert killed.folder.exists()
    better = base / "better"
    better.mkdir()
    with private_folder([better, base]):
        assert not killed.folder.parent.exists()
    better.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
@pytest.mark.parametrize(
    ("bits", "owner", "says"),
    [
        (0o777, 0, "others may rename what is in"),
        (0o775, 0, "others may rename what is in"),
        (0o755, 65534, "belongs to somebody else"),
        (0o1777, 65534, "belongs to somebody else"),
    ],
)
@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_base_in_which_others_may_rename_is_refused(
    base: Path, bits: int, owner: int, says: str, below: str
) -> None:
    # Whoever puts another folder in the place of ours gives sshd keys of his own.
    shared = base / "shared"
    (shared / below).mkdir(parents=True, exist_ok=True)
    shared.chmod(bits)
    os.chown(shared, owner, -1)
    assert says in refused(shared / below)
    assert str(shared) in refused(shared / below)
    assert not (shared / below / NAME).exists()
    shutil.rmtree(shared)


def test_a_shared_folder_with_the_sticky_bit_is_fine(base: Path) -> None:
    shared = base / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with private_folder([shared]) as folder:
        assert folder.parent.parent == shared
    shared.rmdir()


def test_many_at_once_each_get_their_own(base: Path) -> None:
    start, all_in = Barrier(8), Barrier(8)

    def hold() -> Path:
        start.wait(DEADLINE_S)
        with private_folder([base]) as folder:
            write_private(folder / "file", folder.name.encode())
            all_in.wait(DEADLINE_S)
            assert (folder / "file").read_bytes() == folder.name.encode()
        return folder

    with ThreadPoolExecutor(8) as threads:
        folders = [task.result(DEADLINE_S) for task in [threads.submit(hold) for _ in range(8)]]
    assert len(set(folders)) == 8


def test_many_that_come_and_go_do_not_disturb_each_other(base: Path) -> None:
    def come_and_go() -> None:
        for _ in range(40):
            with private_folder([base]) as folder:
                write_private(folder / "file", b"x")
                assert (folder / "file").exists()

    with ThreadPoolExecutor(4) as threads:
        for task in [threads.submit(come_and_go) for _ in range(4)]:
            task.result(DEADLINE_S)


def test_processes_at_once_each_get_their_own(base: Path) -> None:
    holders = [Holder(base) for _ in range(4)]
    assert len({holder.folder for holder in holders}) == 4
    assert all(holder.folder.is_dir() for holder in holders)
    holders[0].end(signal.SIGKILL)
    for holder in holders[1:]:
        holder.end()
    with private_folder([base]):
        assert not holders[0].folder.exists()


def test_a_folder_that_cannot_be_finished_leaves_nothing(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a file")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(TtyBridgeError, match="No space left"), private_folder([base]):
            pass
    assert list((base / NAME).iterdir()) == []
    (base / NAME).rmdir()


# Where it may be


def test_bases_that_do_not_fit_are_passed_over(base: Path) -> None:
    bases = [
        Path("relative"),
        base / "missing",
        Path("/tmp/with blank"),
        Path("/" + "x" * MAX_BASE),
        base,
    ]
    with private_folder(bases) as folder:
        assert folder.parent.parent == base


def test_when_none_fits_the_reasons_are_told(base: Path) -> None:
    with pytest.raises(TtyBridgeError) as caught, private_folder([base / "missing"]):
        pass
    assert f"{base}/missing/{NAME}: No such file or directory" in str(caught.value)
    assert "TMPDIR" in str(caught.value.hint)
    with pytest.raises(TtyBridgeError, match="no usable folder"), private_folder([]):
        pass


def refused(base: Path) -> str:
    with pytest.raises(TtyBridgeError) as caught, private_folder([base]):
        pass
    return str(caught.value)


@pytest.mark.parametrize("bits", [0o701, 0o710, 0o777, 0o1777, 0o740])
def test_a_folder_that_others_may_enter_is_refused(base: Path, bits: int) -> None:
    parent = base / NAME
    parent.mkdir()
    parent.chmod(bits)
    assert f"others may enter {parent}" in refused(base)
    assert list(parent.iterdir()) == []
    parent.rmdir()


@as_root
def test_a_folder_of_somebody_else_is_refused(base: Path) -> None:
    parent = base / NAME
    parent.mkdir(mode=0o700)
    os.chown(parent, 12345, 12345)
    assert "is not a folder of yours" in refused(base)
    parent.rmdir()


def test_a_link_or_a_file_in_its_place_is_refused(base: Path) -> None:
    parent = base / NAME
    with tempfile.TemporaryDirectory() as other:
        parent.symlink_to(other)
        assert "is not a folder of yours" in refused(base)
        assert list(Path(other).iterdir()) == []
    parent.unlink()
    parent.touch()
    assert "is not a folder of yours" in refused(base)
    parent.unlink()


def test_a_socket_in_the_longest_folder_has_a_path_that_fits() -> None:
    longest = Path("/" + "x" * (MAX_BASE - 1)) / f"ttybridge-{2**32 - 2}" / ("f" * 8) / "login"
    assert len(os.fsencode(longest)) <= 107


# Files in it


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_file_is_readable_for_this_user_alone(base: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with private_folder([base]) as folder:
            data = bytes(range(256)) * 5000
            write_private(folder / "file", data)
            assert mode(folder / "file") == 0o600
            assert (folder / "file").read_bytes() == data
            assert {path.name for path in folder.iterdir()} == {"file"}
    finally:
        os.umask(before)


def test_a_file_is_replaced_at_once_and_whole(base: Path) -> None:
    with private_folder([base]) as folder:
        path = folder / "file"
        write_private(path, b"a" * 100_000)
        path.chmod(0o666)

        def write() -> None:
            for letter in range(97, 123):
                write_private(path, bytes([letter]) * 100_000)

        with ThreadPoolExecutor(1) as threads:
            writing = threads.submit(write)
            while not writing.done():
                data = path.read_bytes()
                assert len(data) == 100_000
                assert len(set(data)) == 1
            writing.result(DEADLINE_S)
        assert path.read_bytes() == b"z" * 100_000
        assert mode(path) == 0o600


def test_what_a_killed_writer_left_is_replaced(base: Path) -> None:
    with private_folder([base]) as folder, tempfile.TemporaryDirectory() as other:
        victim = Path(other, "victim")
        victim.write_bytes(b"kept")
        (folder / ".file").symlink_to(victim)
        write_private(folder / "file", b"new")
        assert victim.read_bytes() == b"kept"
        assert not (folder / "file").is_symlink()
        assert (folder / "file").read_bytes() == b"new"
