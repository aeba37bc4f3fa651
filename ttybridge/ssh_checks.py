"""The doctor's checks of what `--ssh` needs. Nobody is asked over the network."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ttybridge.adapters.listen import bind
from ttybridge.adapters.rundir import bases, private_folder, write_private
from ttybridge.check import FAIL, OK, WARN, Check
from ttybridge.config import Config
from ttybridge.config_reach import DEFAULT_SSH_PORT
from ttybridge.core.ssh_log import explain, missing_folder
from ttybridge.core.sshd_config import SshdSettings, parse_version, sshd_config
from ttybridge.errors import SshdError, TtyBridgeError
from ttybridge.ssh import host_key
from ttybridge.ssh.account import Account, find_sftp_server, find_sshd, own_account
from ttybridge.ssh.kept import PATH, SCRIPT_FLAGS, environment_for_python
from ttybridge.ssh.keys import collect

MIN_VERSION = (8, 0)
"""Oldest OpenSSH that knows all settings that are used."""

PROGRAM_TIMEOUT_S = 5
"""Seconds for sshd to say something, and for Python to start."""


def ssh_checks(config: Config, environ: Mapping[bytes, bytes]) -> Iterator[Check]:
    """Check what `--ssh` needs.

    Args:
        config: The options.
        environ: The environment that logins would get.
    """
    checks: dict[str, Callable[[], Iterator[Check]]] = {
        "ssh account": _account,
        "ssh keys": lambda: _keys(config, environ),
        "ssh host key": lambda: _host_key(config),
        "ssh port": lambda: _port(config),
        "sftp": lambda: _sftp(config),
        "ssh python": lambda: _python(environ),
        "sshd": lambda: _sshd(config, environ),
    }
    for name, check in checks.items():
        try:
            yield from check()
        except TtyBridgeError as error:
            yield Check(name, FAIL, _one_line(error.message), error.hint)
        except OSError as error:
            yield Check(name, WARN, f"could not be checked: {error}")


def _account() -> Iterator[Check]:
    account = own_account()
    yield Check("ssh account", OK, f"{account.name}, with the shell {account.shell}")
    for note in account.notes:
        yield Check("ssh account", WARN, note)


def _keys(config: Config, environ: Mapping[bytes, bytes]) -> Iterator[Check]:
    home = os.fsdecode(environ.get(b"HOME", b""))
    names = ", ".join(user.name for user in config.github_user)
    if names:
        yield Check("ssh keys", OK, f"GitHub is asked for those of {names} at the start")
    if names and not (config.authorized_keys or config.ssh_key):
        return
    found = asyncio.run(
        collect(
            files=config.authorized_keys,
            default_file=Path(home, ".ssh/authorized_keys") if home and not names else None,
            literal=config.ssh_key,
            github_users=(),
            github_url=config.github_url,
        )
    )
    watchers = sum(entry.read_only for entry in found.entries)
    more = f", {watchers} of them only to watch" if watchers else ""
    yield Check("ssh keys", OK, f"{len(found.entries)} may log in{more}")
    for note in found.notes:
        yield Check("ssh keys", WARN, note)


def _host_key(config: Config) -> Iterator[Check]:
    if config.host_key_secret is not None:
        key = host_key.derive(config.host_key_secret)
        yield Check("ssh host key", OK, f"made from the secret: {key.public.fingerprint}")
    elif config.state_dir is None:
        hint = "--state-dir DIR keeps it."
        yield Check("ssh host key", OK, "a new one is made at each start", hint)
    elif (config.state_dir / host_key.FILE_NAME).exists():
        key, notes = host_key.kept(config.state_dir)
        text = f"kept in {config.state_dir}: {key.public.fingerprint}"
        yield Check("ssh host key", OK, text)
        for note in notes:
            yield Check("ssh host key", WARN, note)
    else:
        folder = config.state_dir.absolute()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            yield Check("ssh host key", OK, f"is made at the start, and kept in {folder}")
        else:
            hint = "Choose another folder with --state-dir."
            yield Check("ssh host key", FAIL, f"nothing can be written to {there}", hint)


def _port(config: Config) -> Iterator[Check]:
    sockets = asyncio.run(bind(config.ssh_host, config.ssh_ports, option="--ssh-port"))
    port: int = sockets[0].getsockname()[1]
    for found in sockets:
        found.close()
    if config.ssh_port == 0:
        yield Check("ssh port", OK, "any free one")
    elif port == config.ssh_ports[0]:
        yield Check("ssh port", OK, f"{port} on {config.ssh_host} is free")
    else:
        text = f"{DEFAULT_SSH_PORT} is taken; {port} will be used"
        yield Check("ssh port", WARN, text)


def _sftp(config: Config) -> Iterator[Check]:
    found = find_sftp_server()
    if not config.ssh_sftp:
        yield Check("sftp", OK, "switched off")
    elif found:
        yield Check("sftp", OK, found)
    else:
        hint = "Install it (apt-get install openssh-sftp-server)."
        text = "sftp-server is missing: no sftp, and scp needs its option -O"
        yield Check("sftp", WARN, text, hint)


def _python(environ: Mapping[bytes, bytes]) -> Iterator[Check]:
    """Start Python as it is started for each login: without the bridge's environment."""
    try:
        status, said = _ask(
            *(sys.executable, SCRIPT_FLAGS, "-c", "pass"), env=environment_for_python(environ)
        )
    except OSError as error:
        status, said = -1, str(error)
    if status == 0:
        yield Check("ssh python", OK, f"{sys.executable} runs what a login needs")
    else:
        text = f"{sys.executable} does not start without your environment, so no login would work"
        hint = "Install ttybridge for a Python that needs no variable but LD_LIBRARY_PATH."
        reason = _one_line(said) or f"status {status}"
        yield Check("ssh python", FAIL, f"{text}: {reason}", hint)


def _sshd(config: Config, environ: Mapping[bytes, bytes]) -> Iterator[Check]:
    sshd = find_sshd(config.sshd, os.fsdecode(environ.get(b"PATH", b"")))
    version = parse_version(_ask(sshd, "-V")[1])
    shown = ".".join(map(str, version or ()))
    if version is None:
        yield Check("sshd", WARN, f"{sshd} does not say that it is OpenSSH")
    elif version < MIN_VERSION:
        least = ".".join(map(str, MIN_VERSION))
        hint = f"Install {least} or newer, or name another one with --sshd PROGRAM."
        yield Check("sshd", WARN, f"OpenSSH {shown} at {sshd} is old", hint)
    else:
        yield Check("sshd", OK, f"OpenSSH {shown} at {sshd}")
    with contextlib.suppress(SshdError):  # the account has been complained about
        yield _trial(own_account(), config, environ, sshd, version)


def _trial(
    account: Account,
    config: Config,
    environ: Mapping[bytes, bytes],
    sshd: str,
    version: tuple[int, int] | None,
) -> Check:
    """Have sshd itself look at what it would be started with: it also looks at the machine."""
    with private_folder(bases(environ)) as folder:
        settings = SshdSettings(
            user=account.name,
            host=config.ssh_host,
            port=config.ssh_port or DEFAULT_SSH_PORT,
            host_key=str(folder / "host_key"),
            authorized_keys=str(folder / "authorized_keys"),
            uses_pam=account.needs_pam,
            version=version,
        )
        write_private(folder / "host_key", host_key.generate().private)
        write_private(folder / "sshd_config", sshd_config(settings).encode())
        status, said = _ask(sshd, "-t", "-f", str(folder / "sshd_config"))
    if status == 0:
        return Check("sshd start", OK, "its settings are accepted")
    lines = said.splitlines()
    missing = missing_folder(lines)
    if missing and os.access(Path(missing).parent, os.W_OK | os.X_OK):
        return Check("sshd start", OK, f"{missing} is missing, and made at the start")
    text, hint = explain(lines) or (_one_line(said) or f"it fails with status {status}", "")
    return Check("sshd start", FAIL, text, hint)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _ask(*argv: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a program as sshd is run, or with `env`; return its exit status and all it prints."""
    try:
        done = subprocess.run(
            argv,
            env=env or {"PATH": PATH},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PROGRAM_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return -1, f"no answer within {PROGRAM_TIMEOUT_S} s"
    return done.returncode, done.stdout.decode(errors="replace").strip()
