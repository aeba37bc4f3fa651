"""Builds the page (static/dist) with Node and npm, unless it is newer than its sources."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

MIN_NODE = 18
"""Oldest Node major version that builds the page: what esbuild asks for, and Debian 12 has."""

NOT_SOURCES = ("dist", "node_modules", "test")
"""Folders of static/ that do not change the built page."""

UNFINISHED = ".dist-"
"""How the folder of a build under way begins."""


class PageError(Exception):
    """The page cannot be built; the text says what to do."""


def is_current(static: Path) -> bool:
    """Tell whether the built page is there and no source is newer than it."""
    index = static / "dist" / "index.html"
    if not index.is_file():
        return False
    built = index.stat().st_mtime
    sources = [
        path
        for top in static.iterdir()
        if top.name not in NOT_SOURCES and not top.name.startswith(UNFINISHED)
        for path in ([top] if top.is_file() else top.rglob("*"))
    ]
    return all(path.stat().st_mtime <= built for path in sources)


def find_tools() -> None:
    """Check that Node and npm can build the page.

    Raises:
        PageError: one of them is missing or too old.
    """
    problem = ""
    if not shutil.which("npm"):
        problem = "npm was not found"
    elif not shutil.which("node"):
        problem = "node was not found"
    else:
        answer = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
        version = answer.stdout.strip()
        found = re.match(r"v(\d+)\.", version)
        if not found or int(found[1]) < MIN_NODE:
            problem = f"node says it is {version or 'broken'}"
    if problem:
        raise PageError(
            f"Node {MIN_NODE}+ and npm are needed to build the page from a checkout: {problem}. "
            "On Debian 12, Ubuntu 24.04 and newer: apt-get install nodejs npm; elsewhere, "
            f"install Node {MIN_NODE} or newer. The wheel and the sdist contain the built page."
        )


def install_packages(static: Path) -> None:
    """Install the page's packages as its lock file names them, unless that has been done.

    Raises:
        PageError: npm is missing or fails.
    """
    mark = static / "node_modules" / ".package-lock.json"
    lock = static / "package-lock.json"
    if mark.is_file() and mark.stat().st_mtime >= lock.stat().st_mtime:
        return
    find_tools()
    # Install scripts of packages are not run: none is needed, and they could do anything.
    npm(static, "ci", "--ignore-scripts", "--no-audit", "--no-fund")


def npm(static: Path, *arguments: str) -> None:
    """Run npm in the page's folder, its output going to stderr.

    Raises:
        PageError: npm fails; its own output says why.
    """
    done = subprocess.run(
        ["npm", *arguments], cwd=static, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False
    )
    if done.returncode:
        raise PageError(f"npm {arguments[0]} failed in {static}; its output above says why.")


def build(root: Path) -> None:
    """Build the page of the checkout at `root` unless it is current.

    Raises:
        PageError: it cannot be built.
    """
    static = root / "static"
    if is_current(static):
        return
    find_tools()
    install_packages(static)
    npm(static, "run", "build")
    # The build may leave a file as it was; the date says that it has been looked at.
    (static / "dist" / "index.html").touch()


def main() -> int:
    """Build the page of this checkout.

    `packages` only installs its packages; `check` only tells by its status whether it is built.
    """
    root = Path(__file__).resolve().parent.parent
    try:
        if sys.argv[1:] == ["check"]:
            return 0 if is_current(root / "static") else 1
        if sys.argv[1:] == ["packages"]:
            install_packages(root / "static")
        else:
            build(root)
    except PageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
