"""The wheel and the sdist contain the built page and nothing that does not belong there."""

import ast
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "static"
SOURCES = ("ttybridge", "static", "scripts", "tests", "docs")
FILES = ("pyproject.toml", "hatch_build.py", "Makefile", "LICENSE", "README.md", ".gitignore")

pytestmark = pytest.mark.slow


def without_node(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has Python and nothing else."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    return {**os.environ, "PATH": str(programs), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def copy_checkout(tmp_path: Path) -> Path:
    """Copy the project, and put things in the way that must not be packed."""
    copy = tmp_path / "checkout"
    skipped = shutil.ignore_patterns("node_modules", "__pycache__", "page")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=skipped if name != "tests" else None)
    for name in FILES:
        shutil.copy2(ROOT / name, copy / name)
    for stray in ("venv/lib/stray.py", "static/node_modules/stray/index.js", "secret.env"):
        path = copy / stray
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("stray")
    return copy


def run(*arguments: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip


def build(folder: Path, out: Path, env: dict[str, str]) -> tuple[Path, Path]:
    done = run("-m", "hatchling", "build", "-d", str(out), cwd=folder, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return wheel, sdist


def page_files() -> set[str]:
    dist = STATIC / "dist"
    return {path.relative_to(dist).as_posix() for path in dist.rglob("*") if path.is_file()}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    if not runpy.run_path(str(ROOT / "scripts" / "page.py"))["is_current"](STATIC):
        pytest.skip("the page is not built (Node 18+ and npm are needed)")
    return copy_checkout(tmp_path)


def test_wheel_and_sdist_hold_the_page_and_install_without_node(
    checkout: Path, tmp_path: Path
) -> None:
    env = without_node(tmp_path)
    wheel, sdist = build(checkout, tmp_path / "out", env)

    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in packed if name.startswith("ttybridge/page/")} == {
        f"ttybridge/page/{name}" for name in page_files()
    }
    assert "ttybridge/py.typed" in packed
    assert {name.split("/")[0] for name in packed} == {"ttybridge", wheel_info(wheel)}

    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-xzf", sdist, "--strip-components=1", "-C", unpacked], check=True)
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")}
    assert {f"static/dist/{name}" for name in page_files()} <= names
    assert {"Makefile", "static/package-lock.json", "scripts/setup.sh"} <= names
    assert [name for name in names if re.search(r"node_modules|venv|stray|\.env", name)] == []

    # A wheel made from the sdist is the one made from the checkout, and Node is not asked for.
    second, _ = build(unpacked, tmp_path / "second", env)
    assert set(zipfile.ZipFile(second).namelist()) == packed

    target = tmp_path / "site"
    done = run(
        "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target),
        str(wheel), cwd=tmp_path, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (target / "ttybridge" / "page" / "index.html").read_bytes() == (
        STATIC / "dist" / "index.html"
    ).read_bytes()
    assert (target / "bin" / "ttybridge").is_file()


def wheel_info(wheel: Path) -> str:
    return "-".join(wheel.name.split("-")[:2]) + ".dist-info"


def test_building_from_a_checkout_without_npm_says_what_is_missing(tmp_path: Path) -> None:
    copy = copy_checkout(tmp_path)
    shutil.rmtree(copy / "static" / "dist", ignore_errors=True)
    done = run("-m", "hatchling", "build", cwd=copy, env=without_node(tmp_path))
    assert done.returncode != 0
    assert "Node 18+ and npm are needed to build the page from a checkout" in done.stderr
    assert "npm was not found" in done.stderr


def test_the_page_is_stale_once_a_source_is_newer(checkout: Path) -> None:
    is_current = runpy.run_path(str(checkout / "scripts" / "page.py"))["is_current"]
    assert is_current(checkout / "static")
    index = checkout / "static" / "dist" / "index.html"
    built = index.stat().st_mtime
    os.utime(checkout / "static" / "package.json", (built + 1, built + 1))
    assert not is_current(checkout / "static")


@pytest.mark.parametrize("folder", [STATIC, ROOT / "tests" / "node"], ids=lambda path: path.name)
def test_the_lock_file_pins_every_package_and_names_no_address(folder: Path) -> None:
    text = (folder / "package-lock.json").read_text(encoding="utf-8")
    packages = {name: each for name, each in json.loads(text)["packages"].items() if name}
    assert packages
    assert [name for name, each in packages.items() if "integrity" not in each] == []
    assert "resolved" not in text
    assert "omit-lockfile-registry-resolved=true" in (folder / ".npmrc").read_text()


FLOORS = {
    "aiohttp": "3.14",  # 3.9.2 and 3.10.2: files outside of a static folder
    "python-engineio": "4.13.2",  # messages without a limit, timers for each pong
    "python-socketio": "5.16.2",  # binary packets that were kept for strangers
}
"""Versions below which a library has a known fault that a stranger can use."""


def numbers(text: str) -> list[int]:
    """Return the numbers of a version, for comparing."""
    return [int(part) for part in text.split(".")]


@pytest.mark.parametrize("name", FLOORS)
def test_libraries_are_not_taken_with_their_known_faults(name: str) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = " ".join(settings["project"]["dependencies"])
    least = re.findall(rf"(?:^|\s){name}>=([0-9.]+),", needed)
    assert [numbers(each) >= numbers(FLOORS[name]) for each in least] == [True], least
    assert numbers(version(name)) >= numbers(FLOORS[name])


def test_the_terminal_in_the_page_is_of_one_version_which_the_page_names() -> None:
    wanted = json.loads((STATIC / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    locked = json.loads((STATIC / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    parts = {name: text for name, text in wanted.items() if name.startswith("@xterm/")}
    assert {name: locked[f"node_modules/{name}"]["version"] for name in parts} == parts
    assert numbers(parts["@xterm/xterm"]) >= [6]
    licences = list((STATIC / "dist").glob("licences-*.txt"))
    if not licences:
        pytest.skip("the page is not built (Node 18+ and npm are needed)")
    text = licences[0].read_text(encoding="utf-8")
    assert f"\n@xterm/xterm {parts['@xterm/xterm']} (MIT)\n" in text


def test_make_run_gives_the_environment_that_make_got(tmp_path: Path) -> None:
    """The names and values that make and the shell lose or add on the way."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    shutil.copy2(ROOT / "Makefile", copy / "Makefile")
    programs = copy / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    (copy / "scripts" / "setup.sh").write_text("#!/bin/sh\n")
    (programs / "ttybridge").write_text(
        f"#!{sys.executable}\n"
        "import sys, pathlib\n"
        "print(repr(sys.argv[1:]))\n"
        "print(pathlib.Path('/proc/self/environ').read_bytes().split(b'\\0')[:-1])\n"
    )
    (programs / "ttybridge").chmod(0o755)
    given = {
        "PATH": os.environ["PATH"],
        "A.B": "not a shell name",
        "BASH_FUNC_f%%": "() { :; }",
        "PRICE": "$5 $(make) $$",
        "LINES2": "one\ntwo\n",
        "EMPTY": "",
        "ARGS": "of the user",
        "MAKEFLAGS": "",
    }
    done = subprocess.run(
        ["make", "run", "ARGS=--port 9000 'a  b' '$HOME'"],
        cwd=copy, env=given, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    arguments, environment = done.stdout.splitlines()
    assert arguments == repr(["--port", "9000", "a  b", "$HOME"])
    assert sorted(ast.literal_eval(environment)) == sorted(
        f"{k}={v}".encode() for k, v in given.items()
    )
