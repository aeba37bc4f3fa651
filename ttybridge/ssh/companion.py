"""The companion sshd with all that belongs to it: keys, host key, private files, logins."""

import asyncio
import contextlib
import logging
import os
import secrets
import shlex
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ttybridge.adapters.listen import bind
from ttybridge.adapters.rundir import write_private
from ttybridge.config import Config
from ttybridge.core import environment as env
from ttybridge.core.people import Person
from ttybridge.core.public_key import PublicKey
from ttybridge.core.ssh_keys import AuthorizedKey
from ttybridge.core.ssh_log import says_port_is_taken
from ttybridge.core.sshd_config import SshdSettings, parse_version, sshd_config
from ttybridge.errors import SshdError
from ttybridge.model import Role
from ttybridge.sessions.hub import Hub
from ttybridge.ssh import host_key, joined, login, single
from ttybridge.ssh.account import Account, find_sftp_server, find_sshd, own_account
from ttybridge.ssh.authority import Authority
from ttybridge.ssh.daemon import Daemon
from ttybridge.ssh.kept import FOR_PYTHON, PATH, SCRIPT_FLAGS, environment_for_python
from ttybridge.ssh.keys import collect
from ttybridge.ssh.logins import Logins
from ttybridge.ssh.roster import Roster, may_run, name_of

log = logging.getLogger(__name__)

PORT_TRIES = 5
"""How often a free port is looked for: somebody may take it before sshd does."""

VERSION_S = 5.0
"""Time for sshd to say its version, in seconds."""

MAKE_ROOM = "Make room there, or name another folder with TMPDIR."
"""What to do where the files for sshd cannot be written."""


@dataclass(frozen=True, slots=True)
class Companion:
    """A running companion sshd."""

    user: str
    """The account that everybody logs in to."""
    host: str
    """Address that it listens on."""
    port: int
    """Port that it listens on."""
    host_key: PublicKey
    """Its host key's public half."""
    notes: tuple[str, ...]
    """Sentences about what the user may not expect."""
    sshd: str
    """Absolute path of sshd."""
    folder: Path
    """Private folder with its files."""
    python: Mapping[str, str]
    """Environment that our scripts are started with."""
    roster: Roster = field(repr=False)
    """Who may log in."""
    authority: Authority = field(repr=False)
    """Is told what becomes of people, and ends their connections."""
    hub: Hub = field(repr=False)
    """The session."""
    daemon: Daemon = field(repr=False)
    """The sshd that listens."""

    async def connect(self, key: PublicKey, person: Person) -> single.Connection:
        """Start an sshd for one connection that accepts this key and no other.

        Args:
            key: The key.
            person: Who has brought it, through the web address. Programs may be run by those who
                may do so and whom the session's door would let in, or has let in.

        Raises:
            SshdError: It does not start; has its last lines.
        """
        name = person.name or name_of(key.comment, person.address)
        person = replace(person, name=name)
        runs = may_run(person.role) and self.hub.people.door.lets_in(person)
        who = f"web-{secrets.token_hex(8)}"
        line = self.roster.add_guest(who, AuthorizedKey(key, not runs, (), "the web"), person)
        config = self.folder / "sshd_config"
        try:
            connection = await single.connect(
                self.sshd, config, line + "\n", self.python, user=self.user
            )
        except BaseException:
            self.roster.remove_guest(who)
            raise

        def forget() -> None:
            self.authority.guests.pop(who, None)
            self.roster.remove_guest(who)

        self.authority.guests[who] = connection
        connection.on_close = forget
        return connection

    def update_environment(self, changes: Mapping[bytes, bytes | None]) -> env.Update:
        """Change variables of logins from now on; those that are there keep theirs.

        Args:
            changes: Each name with its new value, or None where the variable is gone.

        Returns:
            What was taken of it.

        Raises:
            SshdError: The file for logins cannot be written.
        """
        update = env.update(changes)
        file = self.folder / "environment"
        try:
            before = login.entries(file.read_bytes())
            write_private(file, _entries(env.updated(before, update.changes)))
        except OSError as error:
            hint = "If it has been removed, start the bridge again."
            raise _not_writable(self.folder, error, hint) from error
        return update


@contextlib.asynccontextmanager
async def companion(
    config: Config, hub: Hub, environment: Mapping[bytes, bytes], folder: Path
) -> AsyncIterator[Companion]:
    """Start the companion sshd; on leaving, end it with all its logins.

    Args:
        config: The options.
        hub: The session that logins join.
        environment: What logins get.
        folder: The bridge's private folder; removed by the caller.

    Raises:
        TtyBridgeError: It cannot be started; everything that had started is stopped.
    """
    account = own_account()
    sshd = find_sshd(config.sshd, os.fsdecode(environment.get(b"PATH", b"")))
    home = os.fsdecode(environment.get(b"HOME", b""))
    keys = await collect(
        files=config.authorized_keys,
        default_file=Path(home, ".ssh/authorized_keys") if home else None,
        literal=config.ssh_key,
        github_users=config.github_user,
        github_url=config.github_url,
        is_needed=not config.is_public,
    )
    notes = [*account.notes, *keys.notes]
    if not keys.entries:
        notes.append("No key may log in but over the web address (ttybridge ssh): add --ssh-key.")
    key, key_notes = await asyncio.to_thread(_host_key, config)
    sftp = find_sftp_server() if config.ssh_sftp else ""
    notes += key_notes
    if config.ssh_sftp and not sftp:
        notes.append("There is no sftp-server on this machine: scp needs its option -O.")
    async with contextlib.AsyncExitStack() as stack:
        roster = Roster(folder, keys.entries, lambda who, role: _command(folder, who, role))
        try:
            _write_files(folder, config, account, key, environment, sftp)
            roster.write()
        except OSError as error:
            raise _not_writable(folder, error, MAKE_ROOM) from error
        logins = await stack.enter_async_context(Logins(hub, folder / "login", roster))
        argv = [sshd, "-D", "-e", "-f", str(folder / "sshd_config")]
        python = environment_for_python(environment)
        daemon = Daemon(argv, python, user=account.name)
        authority = Authority(roster, logins, daemon)
        stack.push_async_callback(authority.close)
        stack.push_async_callback(daemon.stop)
        stack.push_async_callback(logins.end_all)  # first: they say goodbye themselves
        settings = SshdSettings(
            user=account.name,
            host=config.ssh_host,
            port=0,
            host_key=str(folder / "host_key"),
            authorized_keys=str(folder / "authorized_keys"),
            uses_pam=account.needs_pam,
            forwarding=config.ssh_forwarding,
            agent=config.ssh_agent,
            sftp=bool(sftp),
            version=await _version(sshd),
        )
        authority.port = port = await _start(daemon, settings, folder, config.ssh_ports)
        hub.people.holders.append(authority)
        stack.callback(hub.people.holders.remove, authority)
        watching = asyncio.create_task(daemon.watch())
        stack.push_async_callback(_cancel, watching)
        yield Companion(
            account.name,
            config.ssh_host,
            port,
            key.public,
            tuple(notes),
            sshd,
            folder,
            python,
            roster,
            authority,
            hub,
            daemon,
        )


def _host_key(config: Config) -> tuple[host_key.HostKey, tuple[str, ...]]:
    """Return the host key: from the secret, from the folder that keeps it, or a new one."""
    if config.host_key_secret is not None:
        return host_key.derive(config.host_key_secret), ()
    if config.state_dir is not None:
        return host_key.kept(config.state_dir)
    return host_key.generate(), ()


def _write_files(
    folder: Path,
    config: Config,
    account: Account,
    key: host_key.HostKey,
    environment: Mapping[bytes, bytes],
    sftp: str,
) -> None:
    settings = {
        b"shell": os.fsencode(account.shell),
        b"sftp": os.fsencode(sftp),
        b"lands": b"shell" if config.ssh_shell else b"session",
    }
    write_private(folder / "host_key", key.private)
    write_private(folder / "environment", _entries(environment))
    write_private(folder / "settings", _entries(settings))
    # Copies: the package may be updated or removed while the bridge runs.
    write_private(folder / "login.py", Path(login.__file__).read_bytes())
    write_private(folder / "joined.py", Path(joined.__file__).read_bytes())
    write_private(folder / "run", os.fsencode(_launcher(folder, environment)))


def _not_writable(folder: Path, error: OSError, hint: str) -> SshdError:
    message = f"The private folder {folder} cannot be written to: {error.strerror}."
    return SshdError(message, hint=hint)


def _entries(values: Mapping[bytes, bytes]) -> bytes:
    return b"".join(name + b"=" + value + b"\0" for name, value in values.items())


def _command(folder: Path, who: str, role: Role) -> str:
    """Return the forced command of a key. Its arguments can be read by everybody: no secrets."""
    return shlex.join(["exec", "/bin/sh", str(folder / "run"), role.value, who])


def _launcher(folder: Path, environment: Mapping[bytes, bytes]) -> str:
    """Return the shell script that starts the login program, with what Python needs to start."""
    needed = environment.get(FOR_PYTHON)
    name, value = os.fsdecode(FOR_PYTHON), os.fsdecode(needed or b"")
    export = f"{name}={shlex.quote(value)}\nexport {name}\n" if needed is not None else ""
    # The interpreter itself: a name in PATH may be a slow shim.
    python = os.path.realpath(sys.executable)
    argv = [python, SCRIPT_FLAGS, str(folder / "login.py"), str(folder)]
    return f'{export}exec {shlex.join(argv)} "$@"\n'


async def _start(daemon: Daemon, settings: SshdSettings, folder: Path, ports: Sequence[int]) -> int:
    """Start sshd on the first port that is free; return the port.

    sshd itself takes no port 0, and none that is handed to it: between finding a free one and its
    start, somebody else may take it.

    Raises:
        PortTakenError: There is none.
        SshdError: sshd does not start for another reason.
    """
    for again in range(PORT_TRIES):
        sockets = await bind(settings.host, ports, option="--ssh-port")
        port: int = sockets[0].getsockname()[1]
        for found in sockets:
            found.close()
        text = sshd_config(replace(settings, port=port))
        try:
            write_private(folder / "sshd_config", text.encode())
        except OSError as error:
            raise _not_writable(folder, error, MAKE_ROOM) from error
        try:
            await daemon.start()
        except SshdError:
            if again == PORT_TRIES - 1 or not says_port_is_taken(list(daemon.log.last)):
                raise
            daemon.log.last.clear()
        else:
            return port
    raise AssertionError("unreachable")


async def _version(sshd: str) -> tuple[int, int] | None:
    """Ask sshd for its version; None when it does not say."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(sshd, "-V"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": PATH},
        )
    except OSError as error:
        raise SshdError(f"{sshd} cannot be run: {error.strerror}.") from error
    try:
        async with asyncio.timeout(VERSION_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    return parse_version(output.decode(errors="replace"))


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
