"""SSH for ordinary users, and what can be wrong with an account or a machine, with its message."""

import contextlib
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import (
    DEADLINE_S,
    ROOT,
    RunningBridge,
    StartBridge,
    Tmux,
    clean_environment,
    wait_until,
)
from tests.e2e.conftest import WITH_TERMINALS, StartOnPty, StartOrdinary
from tests.e2e.ssh import SSHD, Ssh, needs_ssh, run, running_agent, ssh_address
from tests.e2e.ssh_machine import NAME, UID, Machine, User, ordinary
from tests.e2e.test_environment import nasty_variables
from tests.e2e.test_ssh_life import listener
from tests.ports import free_port
from ttybridge.client.control import Control
from ttybridge.config import Config
from ttybridge.config_reach import DEFAULT_SSH_PORT, PORT_TRIES
from ttybridge.ssh.account import find_sftp_server
from ttybridge.ssh_checks import ssh_checks

pytestmark = [*needs_ssh, pytest.mark.usefixtures("mounts")]

WITHOUT_TERMINALS = ""
"""Options of devpts, as some containers mount it."""

NO_TERMINAL = (
    "SSH logins with a terminal are dropped here: /dev/pts does not give terminals to the group "
    "tty, and only root can change that. Commands, scp and sftp work (ssh -T)."
)
MENDED_BY = "As root: mount -o remount,gid=5,mode=620 /dev/pts"

OF_THE_LOGIN = {
    *(b"PWD", b"OLDPWD", b"SHLVL", b"_"),
    *(b"TERM", b"SSH_CLIENT", b"SSH_CONNECTION"),
}
"""What describes a terminal or a login, or is the shell's own."""


def entries(data: bytes) -> dict[bytes, bytes]:
    return dict(entry.split(b"=", 1) for entry in data.split(b"\0")[:-1])


def test_an_ordinary_user_types_in_the_session_and_has_its_window_s_size(
    start_ordinary: StartOrdinary, start_on_pty: StartOnPty
) -> None:
    found = start_ordinary()
    terminal = start_on_pty(
        found.ssh.command(found.bridge, "bridge"),
        env=clean_environment(TERM="xterm-256color"),
        cols=101,
        rows=31,
    )
    terminal.wait_for_text("[0] 0:")

    def says(text: str) -> bool:
        terminal.type(b"clear; echo $(id -un) has $(stty size)\r")
        return text in terminal.tail

    wait_until(lambda: says(f"{NAME} has 30 101"), "the size at the start")
    terminal.resize(90, 21)
    wait_until(lambda: says(f"{NAME} has 20 90"), "the size after a change")
    assert NO_TERMINAL not in words(found.bridge)


def test_an_ordinary_user_s_commands_have_their_status_errors_and_terminal(
    start_ordinary: StartOrdinary,
) -> None:
    found = start_ordinary()
    done = found.run("bridge", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    done = found.run("-tt", "bridge", "tty; id -un; exit 4")
    assert done.returncode == 4
    assert re.fullmatch(rb"/dev/pts/\d+\r\n%s\r\n" % NAME.encode(), done.stdout)


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/dash"])
def test_an_ordinary_user_s_commands_have_the_environment_byte_by_byte(
    start_ordinary: StartOrdinary, short_path: Path, shell: str
) -> None:
    base = {n.encode(): v.encode() for n, v in clean_environment(PYTHONPATH=str(ROOT)).items()}
    environment = base | nasty_variables()
    user = User(home=str(short_path / "home"), shell=shell)
    found = start_ordinary(user=user, environment=environment)
    # As the shell has got it: dash hands on no name that it could not set itself.
    got = entries(found.run("bridge", "cat /proc/$$/environ; exit 0").stdout)
    assert without(got) == without(environment)
    if shell == "/bin/bash":
        assert without(entries(found.run("bridge", "env -0").stdout)) == without(environment)


def without(environment: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {n: v for n, v in environment.items() if n not in OF_THE_LOGIN}


def test_an_ordinary_user_s_files_are_copied_by_scp_sftp_and_rsync(
    start_ordinary: StartOrdinary, tmp_path: Path
) -> None:
    found = start_ordinary()
    config = found.ssh.config(found.bridge)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(300_000))
    copies = [
        (["scp", *config, str(source), "bridge:by-scp"], b""),
        (["scp", "-O", *config, str(source), "bridge:by-old-scp"], b""),
        (["sftp", *config, "-b", "-", "bridge"], f"put {source} by-sftp\n".encode()),
    ]
    if shutil.which("rsync"):
        remote = " ".join(["ssh", *config])
        copies.append((["rsync", "-e", remote, str(source), "bridge:by-rsync"], b""))
    for argv, orders in copies:
        done = run(argv, stdin=orders)
        assert done.returncode == 0, done.stderr
    names = [path.name for path in found.home.glob("by-*")]
    assert len(names) == len(copies)
    for name in names:
        copy = found.home / name
        assert copy.read_bytes() == source.read_bytes()
        assert copy.stat().st_uid == UID


@pytest.fixture
def agent(ssh: Ssh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An agent with the owner's key; the path of its socket."""
    with running_agent(tmp_path_factory.mktemp("a") / "agent", ssh.owner) as path:
        yield path


def test_ports_and_the_agent_are_forwarded_for_an_ordinary_user(
    start_ordinary: StartOrdinary, agent: str
) -> None:
    found = start_ordinary()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        port, target = free_port(), listener.getsockname()[1]
        words = ["-N", "-L", f"127.0.0.1:{port}:127.0.0.1:{target}", "bridge"]
        forwarding = subprocess.Popen(found.ssh.command(found.bridge, *words))
        try:
            client = wait_until(lambda: connected(port), "the forwarded port")
            assert client is not None
            with client, listener.accept()[0] as server:
                client.sendall(b"there")
                assert server.recv(100) == b"there"
        finally:
            forwarding.terminate()
            forwarding.wait()
    command = found.ssh.command(found.bridge, "-A", "bridge", "ssh-add -l")
    config = Path(command[2])
    config.write_text(config.read_text().replace("IdentityAgent none", f"IdentityAgent {agent}"))
    done = run(command)
    assert found.ssh.owner.fingerprint.encode() in done.stdout, done.stderr


def connected(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
    except OSError:
        return None


def test_a_key_that_may_only_watch_gets_nothing_else_from_an_ordinary_user(
    start_ordinary: StartOrdinary,
) -> None:
    found = start_ordinary()
    ssh = found.ssh
    for words, said, logged in (
        (["bridge", "touch here"], b"run nothing", "tried to run a command"),
        (["-T", "bridge"], b"needs a terminal", "asked for a shell"),
        # sshd throws the errors of a subsystem away.
        (["-s", "bridge", "sftp"], b"", "tried to transfer files"),
    ):
        done = ssh.run(found.bridge, *words, key=ssh.viewer)
        assert done.returncode == 1, done
        assert said in done.stderr
        wait_until(partial(has_logged, found.bridge, logged), logged)
    target = f"127.0.0.1:{found.bridge.port}"
    done = ssh.run(found.bridge, "-W", target, "bridge", key=ssh.viewer)
    assert b"forwarding failed" in done.stderr, done
    assert list(found.home.glob("here")) == []


def test_an_ordinary_user_s_logins_lose_their_rights_and_their_connections(
    start_ordinary: StartOrdinary, short_path: Path, start_on_pty: StartOnPty
) -> None:
    # sshd has two processes for each of their connections, as it has not for root's.
    found = start_ordinary()
    control = Control(next(short_path.glob("ttybridge-*/*/control")))
    command = found.ssh.command(found.bridge, "-M", "-S", str(short_path / "m"), "bridge")
    terminal = start_on_pty(command, env=clean_environment(TERM="xterm-256color"))
    terminal.wait_for_text("[0] 0:")
    shared = ("-S", str(short_path / "m"), "bridge")
    running = subprocess.Popen(
        found.ssh.command(found.bridge, *shared, "echo in; exec sleep 300"), stdout=subprocess.PIPE
    )
    assert running.stdout is not None
    with running.stdout:
        assert running.stdout.readline() == b"in\n"
        control.grant("owner", "viewer")
        assert running.wait(DEADLINE_S) != 0
    assert b"may watch the session" in found.run(*shared, "echo in").stderr
    assert terminal.process.poll() is None
    control.kick("owner")
    assert terminal.wait() == 1
    assert "You have been removed" in terminal.tail
    assert found.run("bridge", "echo in").returncode == 255


def has_logged(bridge: RunningBridge, text: str) -> bool:
    return text in bridge.log


def test_an_ordinary_user_s_secrets_are_its_own_and_gone_at_the_end(
    start_ordinary: StartOrdinary, short_path: Path
) -> None:
    found = start_ordinary()
    short_path.chmod(0o711)  # like /tmp, which everybody may enter
    parent = short_path / f"ttybridge-{UID}"
    paths = [parent, *parent.rglob("*")]
    names = {path.name for path in paths}
    assert names >= {"host_key", "authorized_keys", "environment", "settings", "login"}
    for path in paths:
        status = path.lstat()
        assert status.st_uid == UID, path
        assert stat.S_IMODE(status.st_mode) == (0o700 if path.is_dir() else 0o600), path
    secret = [path for path in paths if path.name in ("host_key", "environment")]
    secret.append(Path(f"/proc/{found.bridge.pid}/environ"))
    for path in secret:
        assert path.read_bytes(), "root can read it"
        theirs = subprocess.run(
            ["cat", path], user=UID + 1, group=UID + 1, extra_groups=[], capture_output=True
        )
        assert b"Permission denied" in theirs.stderr
        assert theirs.stdout == b""
    found.bridge.stop()
    assert not parent.exists()


def test_without_terminals_for_ordinary_users_the_rest_works_and_it_is_said(
    start_ordinary: StartOrdinary,
) -> None:
    found = start_ordinary(terminals=WITHOUT_TERMINALS)
    assert found.run("-T", "bridge", "echo works").stdout == b"works\n"
    assert f"{NO_TERMINAL} {MENDED_BY}" in words(found.bridge)
    assert "daemon: SSH logins" not in found.bridge.log
    assert found.run("-tt", "bridge", "echo not reached").stdout == b""
    # All on one line: it is not the banner.
    wait_until(lambda: f"daemon: {NO_TERMINAL} {MENDED_BY}" in found.bridge.log, "the warning")


def test_a_name_with_an_at_sign_logs_in(start_ordinary: StartOrdinary, short_path: Path) -> None:
    user = User(name="b.user@corp.example", home=str(short_path / "home"))
    found = start_ordinary(user=user)
    assert found.run("bridge", "id -un").stdout == b"b.user@corp.example\n"


def test_while_only_root_may_log_in_an_ordinary_user_is_told(
    start_ordinary: StartOrdinary,
) -> None:
    found = start_ordinary(change=lambda machine: machine.add("/etc/nologin", "Back at noon.\n"))
    done = found.run("bridge", "echo not reached")
    assert done.stdout == b""
    assert b"Back at noon." in done.stderr
    assert "SSH logins are refused while there is the file /etc/nologin" in words(found.bridge)


def words(bridge: RunningBridge) -> str:
    """Return what the bridge has said, on one line: the banner is wrapped."""
    return " ".join(bridge.log.split())


# Root, and what can be in its way.

Result = subprocess.CompletedProcess[str]
Refuse = Callable[..., Result]


@pytest.fixture
def machine(short_path: Path) -> Machine:
    """A machine like this one, with a /run of its own."""
    return Machine(short_path).empty("/run").run("mkdir", "-m", "755", "/run/sshd")


@pytest.fixture
def refuse(tmux: Tmux, ssh: Ssh, tmp_path: Path, short_path: Path) -> Refuse:
    """Start a bridge that cannot start: `refuse(machine, "--sshd", "…", env={…})`.

    It has to leave no folder behind.
    """

    def start(
        machine: Machine, *options: str, env: dict[str, str] | None = None, cwd: Path = tmp_path
    ) -> Result:
        argv = [*machine.prefix(), sys.executable, "-m", "ttybridge", "--port", "0"]
        argv += ["--socket-path", str(tmux.socket), *ssh.options, *options]
        base = clean_environment(
            HOME=str(cwd), PYTHONPATH=str(ROOT), XDG_RUNTIME_DIR="", TMPDIR=str(short_path)
        )
        done = subprocess.run(
            argv,
            env=base | (env or {}),
            cwd=cwd,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=DEADLINE_S,
        )
        assert done.stdout == "", "it did start"
        assert "Traceback" not in done.stderr, done.stderr
        assert list(short_path.glob("ttybridge-*")) == []
        return done

    return start


@dataclass(frozen=True)
class Trap:
    """Something wrong with a machine."""

    name: str
    change: Callable[[Machine], object]
    says: str
    hint: str
    options: tuple[str, ...] = ()
    status: int = 6


TRAPS = [
    Trap(
        "the folder of sshd is missing and cannot be made",
        lambda machine: machine.empty("/run").run("mount", "-o", "remount,ro", "/run"),
        "sshd needs the folder /run/sshd, which is missing and could not be made.",
        "As root: mkdir -m 755 /run/sshd",
    ),
    Trap(
        "others may write to the folder of sshd",
        lambda machine: machine.run("chmod", "775", "/run/sshd"),
        "sshd refuses the folder /run/sshd: others may write to it.",
        "As root: chown root:root /run/sshd && chmod 755 /run/sshd",
    ),
    Trap(
        "the folder of sshd belongs to somebody else",
        lambda machine: machine.run("chown", str(UID), "/run/sshd"),
        "sshd refuses the folder /run/sshd:",
        "As root: chown root:root /run/sshd && chmod 755 /run/sshd",
    ),
    Trap(
        "sshd has no user of its own",
        lambda machine: machine.accounts(without=("sshd",)),
        "sshd needs a user called 'sshd', whom this machine lacks.",
        "useradd --system --no-create-home --home-dir /run/sshd --shell /usr/sbin/nologin sshd",
    ),
    Trap(
        "the account is locked",
        lambda machine: machine.password("root", "!").empty("/etc/pam.d"),
        "The account 'root' is locked, and sshd lets nobody into it.",
        "usermod -p '*' root",
    ),
    Trap(
        "the account has a shell that runs nothing",
        lambda machine: machine.accounts(User("root", 0, 0, "/root", "/usr/sbin/nologin")),
        "The shell of the account 'root' is /usr/sbin/nologin, which runs nothing",
        "usermod --shell /bin/bash root",
    ),
    Trap(
        "the account has a restricted shell",
        lambda machine: machine.accounts(User("root", 0, 0, "/root", "/bin/rbash")),
        "The shell of the account 'root' is /bin/rbash, which is restricted",
        "usermod --shell /bin/bash root",
    ),
    Trap(
        "the account has a shell for git alone",
        lambda machine: machine.accounts(User("root", 0, 0, "/root", "/usr/bin/git-shell")),
        "The shell of the account 'root' is /usr/bin/git-shell, which is restricted",
        "usermod --shell /bin/bash root",
    ),
    Trap(
        "the account has a shell that is missing",
        lambda machine: machine.accounts(User("root", 0, 0, "/root", "/opt/no/zsh")),
        "The shell of the account 'root' is /opt/no/zsh, which",
        "usermod --shell /bin/bash root",
    ),
    Trap(
        "the user has no account",
        lambda machine: machine.become(UID, UID),
        f"The user with the number {UID} has no account here, so sshd cannot log it in.",
        f"a line in /etc/passwd, such as me:x:{UID}:{UID}::/tmp:/bin/bash",
    ),
    Trap(
        "sshd is not installed",
        lambda machine: machine.over(str(SSHD), "", 0o644),
        "sshd was not found, and --ssh needs it.",
        "Install it (apt-get install openssh-server; it need not run), or name it with --sshd",
        status=3,
    ),
    Trap(
        "the program that was named is missing",
        lambda machine: machine,
        "/nonexistent/sshd was not found, and --ssh needs it.",
        "or name it with --sshd PROGRAM.",
        options=("--sshd", "/nonexistent/sshd"),
        status=3,
    ),
    Trap(
        "what was named is no sshd",
        lambda machine: machine,
        "sshd did not start.",
        "Another is named with --sshd PROGRAM.",
        options=("--sshd", "/bin/true"),
    ),
    Trap(
        "the address is not this machine's",
        lambda machine: machine,
        "Cannot listen on 203.0.113.77, port 0: Cannot assign requested address.",
        "--ssh-host",
        options=("--ssh-host", "203.0.113.77"),
        status=1,
    ),
]


@pytest.mark.parametrize("trap", [pytest.param(trap, id=trap.name) for trap in TRAPS])
def test_what_is_wrong_is_said_with_what_to_do(
    refuse: Refuse, machine: Machine, short_path: Path, trap: Trap
) -> None:
    short_path.chmod(0o777)  # the folder of tmux's socket, whoever the bridge runs as
    trap.change(machine)
    done = refuse(machine, *trap.options, cwd=short_path)
    assert done.returncode == trap.status, done.stderr
    assert trap.says in done.stderr
    assert trap.hint in done.stderr


def test_a_missing_folder_of_sshd_is_made(
    start_bridge: StartBridge, ssh: Ssh, machine: Machine
) -> None:
    bridge = start_bridge(*ssh.options, prefix=machine.empty("/run").prefix())
    assert "made /run/sshd, which sshd needs" in bridge.log
    assert ssh.run(bridge, "bridge", "stat -c '%a %U' /run/sshd").stdout == b"755 root\n"


def test_a_folder_of_sshd_that_goes_away_is_made_again(
    start_bridge: StartBridge, ssh: Ssh, machine: Machine
) -> None:
    """The system's own sshd takes it along when it is stopped."""
    bridge = start_bridge(*ssh.options, prefix=machine.prefix())
    assert ssh.run(bridge, "bridge", "rmdir /run/sshd").returncode == 0
    refused = ssh.run(bridge, "bridge", "echo not reached")
    assert refused.returncode == 255, "sshd needs it for each login"
    wait_until(partial(has_logged, bridge, "made /run/sshd, which sshd needs"), "the folder")
    assert ssh.run(bridge, "bridge", "echo works").stdout == b"works\n"


def test_when_the_private_folder_is_removed_a_login_makes_the_log_say_what_to_do(
    start_bridge: StartBridge, ssh: Ssh, short_path: Path
) -> None:
    bridge = start_bridge(*ssh.options, env={"XDG_RUNTIME_DIR": "", "TMPDIR": str(short_path)})
    [host_key] = short_path.rglob("host_key")
    host_key.unlink()
    assert ssh.run(bridge, "bridge", "echo not reached").returncode == 255
    told = f"sshd cannot read {host_key}, which has its host key"
    wait_until(partial(has_logged, bridge, told), "the file")
    wait_until(partial(has_logged, bridge, "Start the bridge again."), "what to do")


def test_a_login_as_another_user_is_refused_with_the_one_who_may(
    start_ordinary: StartOrdinary,
) -> None:
    """`colab ssh` always logs in as root."""
    found = start_ordinary()
    assert found.run("-l", "root", "bridge", "echo not reached").returncode == 255
    wait_until(partial(has_logged, found.bridge, "user 'root' from "), "the refusal")
    assert f"(only {NAME} may log in here)" in found.bridge.log
    assert "account is locked" not in found.bridge.log


@pytest.mark.skipif(not Path("/etc/pam.d/sshd").exists(), reason="PAM does not know sshd here")
def test_a_locked_root_logs_in_through_pam(
    start_bridge: StartBridge, ssh: Ssh, machine: Machine, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options, prefix=machine.password("root", "!").prefix())
    assert ssh.run(bridge, "bridge", "id -un").stdout == b"root\n"
    terminal = start_on_pty(
        ssh.command(bridge, "bridge"), env=clean_environment(TERM="xterm-256color")
    )
    terminal.wait_for_text("[0] 0:")
    assert ssh.run(bridge, "bridge", key=ssh.stranger).returncode == 255


def test_sshd_may_be_named_by_a_relative_path(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    (tmp_path / "my-sshd").symlink_to(str(SSHD))
    bridge = start_bridge(*ssh.options, "--sshd", "./my-sshd", cwd=tmp_path)
    assert ssh.run(bridge, "bridge", "echo works").stdout == b"works\n"


def test_a_port_that_is_taken_is_an_error_of_its_own(refuse: Refuse, machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = refuse(machine, "--ssh-port", str(port))
    assert done.returncode == 5
    assert f"Port {port} is taken. Choose another with --ssh-port" in done.stderr


def test_without_a_port_named_the_next_free_one_is_taken(
    start_bridge: StartBridge, ssh: Ssh
) -> None:
    options = [option for option in ssh.options if option not in ("--ssh-port", "0")]
    with contextlib.ExitStack() as stack:
        is_ours = False
        with contextlib.suppress(OSError):  # somebody else has it, maybe not for long
            stack.enter_context(socket.create_server(("127.0.0.1", DEFAULT_SSH_PORT)))
            is_ours = True
        bridge = start_bridge(*options)
    port = ssh_address(bridge)[0]
    assert DEFAULT_SSH_PORT + is_ours <= port < DEFAULT_SSH_PORT + PORT_TRIES
    assert ssh.run(bridge, "bridge", "echo works").stdout == b"works\n"


def test_a_port_of_root_s_is_refused_to_an_ordinary_user(refuse: Refuse, short_path: Path) -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first <= 22:
        pytest.skip("ordinary users may listen on every port here")
    machine, home = ordinary(short_path, WITH_TERMINALS)
    done = refuse(machine, "--ssh-port", "22", cwd=home)
    assert done.returncode == 1
    assert "Cannot listen on 127.0.0.1, port 22: Permission denied." in done.stderr
    assert "--ssh-port" in done.stderr


def test_a_file_with_keys_in_a_folder_of_everybody_s_counts(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    folder = tmp_path / "everybody's"
    folder.mkdir()
    folder.chmod(0o777)
    file = folder / "keys"
    file.write_text(ssh.owner.public + "\n")
    bridge = start_bridge("--ssh", "--ssh-port", "0", "--authorized-keys", str(file))
    assert ssh.run(bridge, "bridge", "echo works").stdout == b"works\n"


@pytest.mark.parametrize("name", ["with blanks in it", "x" * 80, "not/there"])
def test_a_folder_for_private_files_that_does_not_fit_is_passed_over(
    start_bridge: StartBridge, ssh: Ssh, short_path: Path, name: str
) -> None:
    unfit = short_path / name
    if "/" not in name:
        unfit.mkdir()
    bridge = start_bridge(*ssh.options, env={"TMPDIR": str(unfit)})
    words = Path(f"/proc/{listener(bridge)}/cmdline").read_bytes().decode().split()
    folder = Path(words[words.index("-f") + 1]).parent
    assert folder.parent == Path(f"/tmp/ttybridge-{os.getuid()}")
    assert ssh.run(bridge, "bridge", "echo works").stdout == b"works\n"
    bridge.stop()
    assert not folder.exists()
    assert not unfit.exists() or list(unfit.iterdir()) == []


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (["mkdir", "-m", "700"], "is not a folder of yours"),
        (["touch"], "is not a folder of yours"),
        (["install", "-d", "-m", "755", "-o", str(UID)], "others may enter"),
    ],
)
def test_a_folder_that_is_not_the_user_s_own_is_refused(
    refuse: Refuse, short_path: Path, prepare: list[str], says: str
) -> None:
    folder = f"/tmp/ttybridge-{UID}"
    machine, home = ordinary(short_path, WITH_TERMINALS)
    machine.empty("/tmp", mode="1777", keep=[short_path]).run(*prepare, folder)
    done = refuse(machine, env={"TMPDIR": ""}, cwd=home)
    assert done.returncode == 1
    assert folder in done.stderr
    assert says in done.stderr
    assert "Set TMPDIR to a folder that only you can enter." in done.stderr


# The doctor.

Doctor = Callable[..., dict[str, list[dict[str, str]]]]


@pytest.fixture
def doctor(ssh: Ssh, short_path: Path) -> Doctor:
    """Return what `ttybridge doctor --ssh` finds on a machine, by the names of the checks."""

    def check(
        machine: Machine, *options: str, keys: Sequence[str] | None = None
    ) -> dict[str, list[dict[str, str]]]:
        argv = [*machine.prefix(), sys.executable, "-m", "ttybridge", "doctor", "--json"]
        argv += [*(ssh.options if keys is None else ["--ssh", *keys]), *options]
        env = clean_environment(HOME=str(short_path), PYTHONPATH=str(ROOT), TMPDIR=str(short_path))
        env.pop("XDG_RUNTIME_DIR", None)
        done = subprocess.run(
            argv, env=env, cwd=short_path, capture_output=True, text=True, timeout=DEADLINE_S
        )
        assert done.stderr == ""
        assert list(short_path.glob("ttybridge-*")) == []
        found: dict[str, list[dict[str, str]]] = {}
        for result in json.loads(done.stdout)["checks"]:
            found.setdefault(result["name"], []).append(result)
        return found

    return check


SSH_CHECKS = (
    *("ssh account", "ssh keys", "ssh host key", "ssh port"),
    *("sftp", "ssh python", "sshd", "sshd start"),
)


def test_the_doctor_says_that_all_is_well_for_ssh(doctor: Doctor, machine: Machine) -> None:
    found = doctor(machine)
    texts = {name: [check["text"] for check in found[name]] for name in SSH_CHECKS}
    assert [check["state"] for name in SSH_CHECKS for check in found[name]] == ["ok"] * 8, texts
    assert texts["ssh account"] == ["root, with the shell /bin/bash"]
    assert texts["ssh keys"] == ["2 may log in, 1 of them only to watch"]
    assert re.fullmatch(rf"OpenSSH \d+\.\d+ at {SSHD}", texts["sshd"][0])


@pytest.mark.parametrize(
    ("change", "name", "state", "text", "hint"),
    [
        (lambda m: m.empty("/run"), "sshd start", "ok", "/run/sshd is missing, and made", ""),
        (lambda m: m.run("chmod", "777", "/run/sshd"), "sshd start", "FAIL", "others may", "chmod"),
        (lambda m: m.accounts(without=("sshd",)), "sshd start", "FAIL", "'sshd'", "useradd"),
        (lambda m: m.over(str(SSHD), "", 0o644), "sshd", "FAIL", "not found", "apt-get install"),
        (
            lambda m: m.over(str(SSHD), "#!/bin/sh\necho OpenSSH_7.4p1, x\n", 0o755),
            *("sshd", "warn", "OpenSSH 7.4 at", "Install 8.0 or newer"),
        ),
        (
            lambda m: m.accounts(User("root", 0, 0, "/root", "/bin/false")),
            *("ssh account", "FAIL", "/bin/false", "usermod --shell"),
        ),
        (
            lambda m: m.accounts(User("root", 0, 0, "/root", "/bin/rbash")),
            *("ssh account", "FAIL", "is restricted", "usermod --shell"),
        ),
        (
            lambda m: m.password("root", "!").empty("/etc/pam.d"),
            *("ssh account", "FAIL", "is locked", "usermod -p"),
        ),
        (
            lambda m: m.over(find_sftp_server(), "", 0o644),
            *("sftp", "warn", "scp needs its option -O", "openssh-sftp-server"),
        ),
    ],
)
def test_the_doctor_finds_what_is_in_the_way_of_ssh(
    doctor: Doctor,
    machine: Machine,
    change: Callable[[Machine], object],
    name: str,
    state: str,
    text: str,
    hint: str,
) -> None:
    change(machine)
    [result] = doctor(machine)[name]
    assert result["state"] == state, result
    assert text in result["text"]
    assert hint in result["hint"]


def test_the_doctor_looks_at_keys_port_and_host_key_without_changing_anything(
    doctor: Doctor, machine: Machine, short_path: Path
) -> None:
    state = short_path / "state"
    with socket.create_server(("127.0.0.1", 0)) as github:
        port = github.getsockname()[1]
        options = ["--github-user", "somebody", "--github-url", f"http://127.0.0.1:{port}"]
        options += ["--ssh-port", str(port), "--state-dir", str(state)]
        found = doctor(machine, *options, keys=[])
        github.setblocking(False)
        with pytest.raises(BlockingIOError):
            github.accept()
    assert "GitHub is asked for those of somebody at the start" in found["ssh keys"][0]["text"]
    assert found["ssh port"][0]["state"] == "FAIL"
    assert "--ssh-port" in found["ssh port"][0]["hint"]
    assert found["ssh host key"][0]["text"] == f"is made at the start, and kept in {state}"
    assert not state.exists()
    state.write_text("no folder")
    found = doctor(machine, "--state-dir", str(state), keys=[])
    assert found["ssh host key"][0]["state"] == "FAIL"
    assert found["ssh keys"][0]["state"] == "FAIL"
    assert "--ssh-key" in found["ssh keys"][0]["hint"]


@pytest.mark.parametrize(
    ("script", "environ", "state", "text"),
    [
        ('[ "$LD_LIBRARY_PATH" = /opt/lib ]', {b"LD_LIBRARY_PATH": b"/opt/lib"}, "ok", "runs"),
        (
            "echo libpython3.so: cannot open; exit 127",
            *({}, "FAIL", "so no login would work: libpython3.so: cannot open"),
        ),
        ('test -n "$LIBRARY"', {b"LIBRARY": b"/opt/lib"}, "FAIL", "no login would work: status 1"),
    ],
)
def test_the_doctor_tries_whether_python_starts_as_it_does_for_a_login(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    environ: dict[bytes, bytes],
    state: str,
    text: str,
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    checks = ssh_checks(Config(ssh=True, ssh_port=0), environ)
    [check] = [check for check in checks if check.name == "ssh python"]
    assert check.state == state
    assert text in check.text
    assert bool(check.hint) == (state == "FAIL")


def test_the_doctor_tells_an_ordinary_user_that_terminals_are_dropped(
    doctor: Doctor, short_path: Path
) -> None:
    machine, _ = ordinary(short_path, WITHOUT_TERMINALS)
    account = doctor(machine)["ssh account"]
    assert [check["state"] for check in account] == ["ok", "warn"]
    assert account[1]["text"] == f"{NO_TERMINAL} {MENDED_BY}"
