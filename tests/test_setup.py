"""scripts/setup.sh on machines that lack something: it says what, and what to install."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BASIC = (
    "bash", "cat", "chmod", "dirname", "env", "grep", "id", "mkdir", "mktemp", "rm", "tail",
    "timeout", "touch", "true",
)  # fmt: skip
"""Programs of every Debian that the script uses; no apt-get, tmux, node or python."""

Machine = tuple[Path, Path]
"""The copy of the checkout, and the only folder in PATH."""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A checkout with a built page on a machine that has basic programs only."""
    checkout, programs = tmp_path / "checkout", tmp_path / "bin"
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    shutil.copy2(ROOT / "pyproject.toml", checkout)
    (checkout / "static" / "dist").mkdir(parents=True)
    (checkout / "static" / "page.ts").write_text("")
    (checkout / "static" / "dist" / "index.html").write_text("")
    programs.mkdir()
    for name in BASIC:
        found = shutil.which(name)
        assert found, name
        (programs / name).symlink_to(found)
    return checkout, programs


def add_program(machine: Machine, name: str, script: str) -> None:
    path = machine[1] / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def add_python(machine: Machine, name: str, minor: int) -> None:
    """Add a stand-in that answers as Python 3.`minor` and makes an empty environment."""
    add_program(
        machine,
        name,
        f"""case "$*" in
        --version) echo "Python 3.{minor}.1" ;;
        *version_info*) echo {minor} ;;
        "-m venv "*) mkdir -p "$3/bin" && cat "$0" >"$3/bin/python" && chmod +x "$3/bin/python" ;;
        *page.py*) exec {sys.executable} "$@" ;;
        esac""",
    )


def setup(
    machine: Machine, purpose: str = "run", *options: str, **variables: str
) -> tuple[int, str]:
    checkout, programs = machine
    done = subprocess.run(
        [checkout / "scripts" / "setup.sh", purpose, *options],
        env={"PATH": str(programs), "HOME": str(checkout), **variables},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_machine_without_python_is_told_what_to_install(machine: Machine) -> None:
    status, text = setup(machine)
    assert status == 1
    assert "Python 3.11 or newer is needed; no python3 was found.\n" in text
    assert "apt-get install python3 python3-venv" in text


def test_an_old_python_is_named_with_its_version(machine: Machine) -> None:
    add_python(machine, "python3", 10)
    status, text = setup(machine)
    assert status == 1
    assert "Python 3.11 or newer is needed; python3 is Python 3.10.1.\n" in text


def test_the_newest_python_is_taken(machine: Machine) -> None:
    for name, minor in (("python3", 10), ("python3.11", 11), ("python3.13", 13)):
        add_python(machine, name, minor)
    add_program(machine, "python3.14", "echo not installed >&2; exit 127")
    add_program(machine, "tmux", "")
    status, text = setup(machine)
    assert status == 0, text
    assert "with Python 3.13.1" in text


def test_the_python_that_is_asked_for_is_taken(machine: Machine) -> None:
    add_python(machine, "python3.13", 13)
    add_python(machine, "mine", 12)
    add_program(machine, "tmux", "")
    assert "with Python 3.12.1" in setup(machine, PYTHON="mine")[1]
    assert setup(machine) == (0, ""), "the environment that is there is kept"
    assert "with Python 3.13.1" in setup(machine, PYTHON="python3.13")[1]


def test_missing_programs_stop_run_and_are_named(machine: Machine) -> None:
    add_python(machine, "python3.12", 12)
    status, text = setup(machine)
    assert status == 1
    assert "These programs are missing: tmux\n" in text
    assert "apt-get install tmux\n" in text


def test_node_is_needed_only_while_the_page_is_not_built(machine: Machine) -> None:
    add_python(machine, "python3.12", 12)
    add_program(machine, "tmux", "")
    assert setup(machine)[0] == 0
    (machine[0] / "static" / "dist" / "index.html").unlink()
    status, text = setup(machine)
    assert status == 1
    assert "These programs are missing: nodejs npm\n" in text


def test_an_old_node_is_named_with_its_version(machine: Machine) -> None:
    add_python(machine, "python3.12", 12)
    for name, script in (("tmux", ""), ("npm", ""), ("node", "echo v12.22.9")):
        add_program(machine, name, script)
    (machine[0] / "static" / "dist" / "index.html").unlink()
    status, text = setup(machine)
    assert status == 1
    assert "Node 18+ and npm are needed" in text
    assert "node says it is v12.22.9" in text


def test_missing_programs_are_installed_by_sudo_without_a_password(machine: Machine) -> None:
    add_python(machine, "python3.12", 12)
    (machine[1] / "id").unlink()
    add_program(machine, "id", "echo 1000")
    log = machine[0] / "log"
    add_program(machine, "sudo", 'test "$1" = -n && shift && "$@"')
    add_program(
        machine,
        "apt-get",
        f'echo "$*" >>{log}; case "$*" in *install*) cat "$0" >{machine[1]}/tmux;'
        f" chmod +x {machine[1]}/tmux ;; esac",
    )
    status, text = setup(machine)
    assert status == 0, text
    update, install = log.read_text().splitlines()
    assert update.endswith("update")
    assert install.endswith("install -y --no-install-recommends tmux")


@pytest.mark.skipif(Path("/usr/sbin/sshd").exists() is False, reason="sshd is what is left out")
def test_ssh_needs_nothing_more_where_sshd_is(machine: Machine) -> None:
    add_python(machine, "python3.12", 12)
    add_program(machine, "tmux", "")
    assert setup(machine, "run", "--ssh")[0] == 0


def test_sshd_is_installed_for_ssh_alone_and_its_own_service_left_off(machine: Machine) -> None:
    script = machine[0] / "scripts/setup.sh"
    script.write_text(script.read_text().replace("/usr/sbin/sshd", "/no/such/sshd"))
    add_python(machine, "python3.12", 12)
    (machine[1] / "id").unlink()
    add_program(machine, "id", "echo 0")
    add_program(machine, "tmux", "")
    log = machine[0] / "log"
    add_program(machine, "systemctl", f'echo "systemctl $*" >>{log}')
    add_program(
        machine,
        "apt-get",
        f'echo "$RUNLEVEL $*" >>{log}; case "$*" in *install*) cat "$0" >{machine[1]}/sshd;'
        f" chmod +x {machine[1]}/sshd ;; esac",
    )
    assert setup(machine)[0] == 0
    assert not log.exists()
    status, text = setup(machine, "run", "--ssh", "--port", "9000")
    assert status == 0, text
    mask, _update, install = log.read_text().splitlines()
    assert mask == "systemctl mask ssh.service ssh.socket"
    assert install.startswith("1 ")
    assert install.endswith("install -y --no-install-recommends openssh-server")
    assert "systemctl unmask" in text


def test_the_tests_need_sshd_without_being_asked(machine: Machine) -> None:
    script = machine[0] / "scripts/setup.sh"
    script.write_text(script.read_text().replace("/usr/sbin/sshd", "/no/such/sshd"))
    add_python(machine, "python3.11", 11)
    status, text = setup(machine, "test")
    assert status == 0, text
    (missing,) = (line for line in text.splitlines() if line.startswith("Not installed:"))
    assert "openssh-server" in missing


def test_a_failing_apt_is_quoted_and_the_program_named(machine: Machine) -> None:
    add_python(machine, "python3.12", 12)
    (machine[1] / "id").unlink()
    add_program(machine, "id", "echo 0")
    add_program(machine, "apt-get", "echo E: no such mirror; exit 100")
    status, text = setup(machine)
    assert status == 1
    assert "E: no such mirror\n" in text
    assert "These programs are missing: tmux\n" in text


def test_tests_go_on_without_what_cannot_be_installed(machine: Machine) -> None:
    add_python(machine, "python3.11", 11)
    status, text = setup(machine, "test")
    assert status == 0, text
    assert "vim htop" in text
    assert "The tests that need them are skipped." in text
    assert "No colab command line (it needs Python 3.12 or newer); its tests are skipped." in text


def test_the_ngrok_agent_is_installed_once_and_done_without_where_npm_fails(
    machine: Machine,
) -> None:
    folder = machine[0] / "tests" / "node"
    folder.mkdir(parents=True)
    (folder / "package-lock.json").write_text("{}")
    add_python(machine, "python3.11", 11)
    add_program(machine, "node", "echo v20.1.0")
    add_program(machine, "npm", "echo npm error EBADPLATFORM >&2; exit 1")
    # The page's packages are there already.
    packages = machine[0] / "static" / "node_modules"
    packages.mkdir()
    (machine[0] / "static" / "package-lock.json").write_text("{}")
    (packages / ".package-lock.json").write_text("{}")
    status, text = setup(machine, "test")
    assert status == 0, text
    # Lines of what is installed beside it may be between the two.
    assert "npm error EBADPLATFORM\n" in text
    assert text.index("npm error EBADPLATFORM") < text.index("No ngrok agent could be installed")
    add_program(machine, "npm", 'mkdir node_modules; echo "$*" >node_modules/.package-lock.json')
    status, text = setup(machine, "test")
    assert status == 0, text
    assert "installing the ngrok agent" in text
    installed = folder / "node_modules" / ".package-lock.json"
    assert installed.read_text().startswith("ci --ignore-scripts ")
    status, text = setup(machine, "test")
    assert status == 0, text
    assert "ngrok" not in text


def test_a_checkout_that_was_moved_gets_a_new_environment(machine: Machine) -> None:
    add_python(machine, "python3.12", 12)
    add_program(machine, "tmux", "")
    assert "making a virtual environment" in setup(machine)[1]
    moved = machine[0].rename(machine[0].parent / "elsewhere")
    assert "making a virtual environment" in setup((moved, machine[1]))[1]
