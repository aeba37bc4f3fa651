"""Another machine for one program: other accounts, folders and terminals, by mounts of its own.

The machine itself stays as it is. What is mounted over it is in a mount namespace that only the
program and its children see, and ends with them; network and processes are shared.

The upper half builds a command line; the lower half is what that runs, as root, before it becomes
the program. It stands alone, because it runs where other modules may be out of reach.
"""

import grp
import itertools
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

NAME, UID, GID = "bridgeuser", 54321, 54321
"""An account that only exists in a namespace; the number is above those that systems give out."""


@dataclass(frozen=True)
class User:
    """An account, as in /etc/passwd."""

    name: str = NAME
    uid: int = UID
    gid: int = GID
    home: str = "/"
    shell: str = "/bin/bash"

    @property
    def line(self) -> str:
        """Its line in /etc/passwd."""
        return f"{self.name}:x:{self.uid}:{self.gid}::{self.home}:{self.shell}\n"


class Machine:
    """What a program finds; methods add to it and return it."""

    def __init__(self, folder: Path) -> None:
        """Change nothing yet.

        Args:
            folder: The test's own, with a short path, for what is mounted.
        """
        self._folder = folder
        self._steps: list[list[str]] = []
        self._ids: tuple[int, int] | None = None

    def prefix(self) -> list[str]:
        """Return what goes before a command, which keeps its process id and environment."""
        plan = json.dumps({"steps": self._steps, "ids": self._ids})
        unshare = ["unshare", "--mount", "--propagation", "private"]
        return [*unshare, sys.executable, "-IS", str(Path(__file__).resolve()), plan]

    def run(self, *argv: str) -> "Machine":
        """Run a command as root on the way in."""
        self._steps.append(list(argv))
        return self

    def over(self, path: str, text: str, mode: int = 0o644) -> "Machine":
        """Put another content over a file that there is."""
        file = self._new("file")
        file.write_text(text)
        file.chmod(mode)
        return self.run("mount", "--bind", str(file), path)

    def add(self, path: str, text: str) -> "Machine":
        """Put a file where there is none, into a copy of its folder."""
        copy, file, folder = self._new("copy"), self._new("file"), str(Path(path).parent)
        copy.mkdir()
        file.write_text(text)
        file.chmod(0o644)
        self.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(copy))
        self.run("cp", "-a", f"{folder}/.", str(copy)).run(
            "cp", str(file), str(copy / Path(path).name)
        )
        return self.run("mount", "--bind", str(copy), folder)

    def empty(self, path: str, *, mode: str = "755", keep: Iterable[Path] = ()) -> "Machine":
        """Put an empty folder over a folder; some folders below it stay, and what Python needs."""
        kept_too = (each for each in _needed() if each.is_relative_to(path))
        keep = dict.fromkeys((*keep, *kept_too))
        new = self._new("empty")
        new.mkdir()
        self.run("mount", "-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", str(new))
        for kept in keep:
            place = str(new / kept.relative_to(path))
            self.run("mkdir", "-p", place).run("mount", "--rbind", str(kept), place)
        return self.run("mount", "--rbind", str(new), path)

    def terminals(self, options: str) -> "Machine":
        """Give it terminals of its own, with options of devpts such as `gid=5,mode=620`."""
        more = ",".join(part for part in ("newinstance,ptmxmode=666", options) if part)
        self.run("mount", "-t", "devpts", "-o", more, "devpts", "/dev/pts")
        return self.run("mount", "--bind", "/dev/pts/ptmx", "/dev/ptmx")

    def accounts(self, *added: User, without: Sequence[str] = ()) -> "Machine":
        """Add accounts to those that there are, and take some away; an added one replaces."""
        gone = {*without, *(user.name for user in added)}
        kept = [line for line in _lines("/etc/passwd") if line.split(":")[0] not in gone]
        self.over("/etc/passwd", "".join([*kept, *(user.line for user in added)]))
        groups = _lines("/etc/group")
        known = {entry.gr_gid for entry in grp.getgrall()}
        new = [f"{user.name}:x:{user.gid}:\n" for user in added if user.gid not in known]
        return self.over("/etc/group", "".join([*groups, *new]))

    def password(self, name: str, password: str) -> "Machine":
        """Give an account another entry in /etc/shadow."""
        kept = [line for line in _lines("/etc/shadow") if line.split(":")[0] != name]
        text = "".join([*kept, f"{name}:{password}:19000:0:99999:7:::\n"])
        return self.over("/etc/shadow", text, 0o640)

    def become(self, uid: int, gid: int) -> "Machine":
        """Run the program as this user, who can reach Python and the checkout."""
        self._ids = (uid, gid)
        for closed, paths in _closed(_needed()).items():
            self.empty(str(closed), keep=paths)
        return self

    def _new(self, kind: str) -> Path:
        """Return a path that is free."""
        numbers = (self._folder / f"{kind}-{number}" for number in itertools.count())
        return next(path for path in numbers if not path.exists())


def ordinary(folder: Path, terminals: str, user: User | None = None) -> tuple[Machine, Path]:
    """Return a machine whose program runs as an ordinary user, and that user's home.

    Args:
        folder: A folder below /tmp with a short path; becomes the user's.
        terminals: Options of devpts.
        user: The account; one with its home in the folder when none is given.
    """
    home = folder / "home"
    home.mkdir(exist_ok=True)
    user = user or User(home=str(home))
    for path in (folder, home):
        os.chown(path, user.uid, user.gid)
    machine = Machine(folder).accounts(user).terminals(terminals)
    return machine.empty("/run").become(user.uid, user.gid), home


def why_not(folder: Path) -> str:
    """Return why no such machine can be made here, empty when it can."""
    if os.getuid() != 0:
        return "only root can mount"
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return "unshare or mount is not installed (util-linux)"
    try:
        pwd.getpwuid(UID)
    except KeyError:
        machine = Machine(folder).accounts(User()).terminals("gid=5").become(UID, GID)
        done = subprocess.run(
            [*machine.prefix(), sys.executable, "-c", "import ttybridge.cli, aiohttp"],
            capture_output=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            cwd="/",
            text=True,
        )
        said = done.stderr.strip().splitlines() or [""]
        return f"mounts of one's own do not work: {said[-1]}" if done.returncode else ""
    return f"the number {UID} belongs to a user of this machine"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines(keepends=True)


def _needed() -> list[Path]:
    """Return the folders that Python and the checkout are in, none below another."""
    found = {Path(path).resolve() for path in (sys.base_prefix, sys.prefix, ROOT)}
    return [p for p in sorted(found) if not any(o != p and p.is_relative_to(o) for o in found)]


def _closed(paths: Sequence[Path]) -> dict[Path, list[Path]]:
    """Return the folders that others cannot enter, with the paths below them that are needed."""
    found: dict[Path, list[Path]] = {}
    for path in paths:
        above = reversed(path.parents)
        closed = next((p for p in above if not p.stat().st_mode & stat.S_IXOTH), None)
        if closed is not None and path not in found.get(closed, []):
            found.setdefault(closed, []).append(path)
    return found


def enter(plan: str, argv: list[str]) -> None:
    """Do what the plan says, then become the program."""
    todo = json.loads(plan)
    for step in todo["steps"]:
        done = subprocess.run(step, capture_output=True, text=True, umask=0o022)
        if done.returncode:
            sys.exit(f"{' '.join(step)}: {done.stderr.strip()}")
    if todo["ids"] is not None:
        uid, gid = todo["ids"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    enter(sys.argv[1], sys.argv[2:])
