"""The commands for other machines: `connect`, `ssh`, `proxy` and `ssh-config`."""

import asyncio
import getpass
import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

import ttybridge
from ttybridge.arguments import Arguments
from ttybridge.client import http, proxy, raw_terminal, ssh_config, store
from ttybridge.client.address import Address, checked_name, checked_token, parse_address
from ttybridge.client.ssh_config import Host
from ttybridge.client.store import Kept, Store
from ttybridge.core.people import clean_name
from ttybridge.errors import ConfigError, TtyBridgeError
from ttybridge.model import Secret
from ttybridge.subcommands import CONNECT, PROXY, SSH
from ttybridge.tokens import LINK_VARIABLE, TOKEN_VARIABLE, read_token_file

_MISSING = (
    "The token is missing: give the link that the bridge printed, in quotes, or --token-file FILE, "
    "or set the variable TTYBRIDGE_TOKEN. In a terminal it is asked for."
)
_CLEAR = (
    "ttybridge: warning: {host} is reached by plain http: others on the way can read the token, "
    "and change the host key that is pinned. Use https, or a tunnel."
)

_CLEAR_TERMINAL = (
    "ttybridge: warning: {host} is reached by plain http: others on the way can read the token, "
    "and all that is typed and shown. Use https, or a tunnel."
)


def run(
    given: Arguments, environ: Mapping[str, str], snapshot: Mapping[bytes, bytes], out: TextIO
) -> int:
    """Run one of these commands; `ssh` does not return when it succeeds.

    Args:
        given: The command line.
        environ: The environment, with the token when it is there.
        snapshot: The environment for programs that are started, without the token.
        out: Where the configuration is printed.

    Returns:
        The exit status.

    Raises:
        TtyBridgeError: Something is wrong; it says what, and what to do.
    """
    if given.problems:
        raise ConfigError(given.problems)
    if given.subcommand is CONNECT:
        raw_terminal.check(environ.get("TERM"))  # before a link is used up
    try:
        _hide_credential(given, snapshot)
        opened = _open_link(given, environ)
        if given.subcommand is CONNECT:
            return _connect(given, environ, opened)
        if given.subcommand is PROXY:
            return _proxy(given, environ, opened)
        if given.subcommand is SSH:
            return _ssh(given, environ, snapshot, opened)
        return _ssh_config(given, environ, out, opened)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise  # the one who reads our output has seen enough
        name = f"{error.filename} cannot be used" if error.filename else "That failed"
        raise TtyBridgeError(f"{name}: {error.strerror}.") from None


def _open_link(given: Arguments, environ: Mapping[str, str]) -> Kept | None:
    """Exchange a link for a token, and keep it at once: a link may work once.

    Whoever gives the command again has the token from the first time, and no other one: who gives
    a link means its access. An owner's is kept for the address, too; a guest's would take the
    place of an owner's there.

    Returns:
        The token; None when no link was given.

    Raises:
        TtyBridgeError: The link lets nobody in.
    """
    address = _address(given)
    link = address.link or Secret(environ.get(LINK_VARIABLE, ""))
    if not link or address.token is not None:
        return None
    place = store.open_store(environ)
    opened = asyncio.run(http.exchange(address, link))
    if opened is not None:
        if not opened.is_guests:
            place.save_token(address, opened.token)
        return Kept(opened.token, place.save_opened(address, link, opened.token))
    kept = place.token(address, link)
    if kept is None:
        raise TtyBridgeError("This link is not valid any more.", hint="Ask for a new one.")
    return kept


def _hide_credential(given: Arguments, snapshot: Mapping[bytes, bytes]) -> None:
    """Start again without the token or link of the address, if it is among our arguments.

    Everyone here can read the arguments of a program that runs, and only we its environment.
    """
    address, start = _address(given), len(sys.orig_argv) - len(sys.argv) + 1
    if not (address.token or address.link) or given.words[0] not in sys.orig_argv[start:]:
        return
    # --token-file is left out: a link wins over it, and it over the variable.
    flags = [flag for flag in sorted(given.switches) if flag not in given.values]
    flags += [f"{flag}={value}" for flag, value in given.values.items()]
    own = [given.subcommand.name, *flags, address.base, *given.rest]
    words = [sys.executable, *sys.orig_argv[1:start], *own]
    if address.token is not None:
        credential = {TOKEN_VARIABLE.encode(): address.token.encode()}
    else:
        credential = {LINK_VARIABLE.encode(): str(address.link).encode()}
    sys.stderr.flush()
    os.execve(sys.executable, words, dict(snapshot) | credential)  # noqa: S606 - no shell


def _connect(given: Arguments, environ: Mapping[str, str], opened: Kept | None) -> int:
    # Imported here, because ssh has no use for it, and starts often.
    from ttybridge.client import connect

    address = _address(given)
    name = clean_name(given.values.get("--name", ""))
    if address.is_clear:
        _say(_CLEAR_TERMINAL.format(host=address.host))
    place = store.open_store(environ)
    found = opened or _token(given, environ, lambda: place.token(address))
    options = connect.Options(name, escapes="--no-escape" not in given.switches)
    return connect.run(address, found.token, options, lambda: _keep(place, address, found))


def _keep(place: Store, address: Address, found: Kept) -> Path:
    """Keep a token, now that the bridge has taken it, unless it is kept; return the file."""
    return found.path or place.save_token(address, found.token)


def _ssh(
    given: Arguments,
    environ: Mapping[str, str],
    snapshot: Mapping[bytes, bytes],
    opened: Kept | None,
) -> int:
    place = store.open_store(environ)
    host = _prepare(given, environ, place, _address(given).name, opened)
    config = place.save_config(host.name, ssh_config.standalone(ssh_config.block(host)))
    sys.stderr.flush()
    try:
        # In our place: exit status, terminal and signals are ssh's own.
        words = ["ssh", "-F", str(config), host.name, *given.rest]
        os.execvpe("ssh", words, dict(snapshot))  # noqa: S606 - no shell is wanted
    except FileNotFoundError:
        raise store.missing("ssh") from None


def _ssh_config(
    given: Arguments, environ: Mapping[str, str], out: TextIO, opened: Kept | None
) -> int:
    chosen = given.values.get("--name")
    name = _address(given).name if chosen is None else checked_name(chosen)
    place = store.open_store(environ)
    block = ssh_config.block(_prepare(given, environ, place, name, opened))
    out.write(_install(block, name, store.home(environ)) if "--write" in given.switches else block)
    return 0


def _install(block: str, name: str, home: Path) -> str:
    """Put a block where ssh finds it, and return the command to log in with."""
    folder = home / ".ssh"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ours = folder / ssh_config.FILE_NAME
    _edit(ours, lambda data: ssh_config.with_block(data, name, block))
    _edit(folder / "config", ssh_config.with_include)
    if Path(pwd.getpwuid(os.getuid()).pw_dir, ".ssh").resolve() == folder.resolve():
        return f"ssh {name}\n"
    # ssh asks the system where the home folder is, not the variable HOME.
    return f"ssh -F {shlex.quote(str(ours))} {name}\n"


def _edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    before = path.read_bytes() if path.exists() else None
    after = change(before or b"")
    if after != before:
        store.replace_file(path, after)


def _prepare(
    given: Arguments, environ: Mapping[str, str], place: Store, name: str, opened: Kept | None
) -> Host:
    """Ask the bridge, pin its key, keep the token; return what the Host block has to say."""
    address = _address(given)
    if address.is_clear:
        _say(_CLEAR.format(host=address.host))
    found = opened or _token(given, environ, lambda: place.token(address))
    identity = _identity(given, environ) or place.own_key()
    store.public_half(identity)  # what is wrong with it is said now, and not at each login
    facts = asyncio.run(http.ask(address, found.token))
    if place.pin(name, facts.host_key, replace="--replace-host-key" in given.switches):
        _say(f"ttybridge: the host key {facts.host_key.fingerprint} is pinned for {name}.")
    token_file = _keep(place, address, found)
    words = ("proxy", "--token-file", str(token_file), "--identity", str(identity), address.base)
    program = program_words(environ.get("PYTHONPATH", ""))
    return Host(name, facts.user, place.known_hosts, identity, (*program, *words))


def _proxy(given: Arguments, environ: Mapping[str, str], opened: Kept | None) -> int:
    address = _address(given)
    found = opened or _token(given, environ, lambda: store.open_store(environ).token(address))
    key = store.public_half(_identity(given, environ) or store.open_store(environ).own_key())
    asyncio.run(proxy.run(address, found.token, key))
    return 0


def _address(given: Arguments) -> Address:
    return parse_address(given.words[0])


def _identity(given: Arguments, environ: Mapping[str, str]) -> Path | None:
    """Return the private key that was named; the shell leaves a ~ after an equals sign."""
    text = given.values.get("--identity")
    if text is None:
        return None
    if text.startswith("~/"):
        text = f"{store.home(environ)}{text[1:]}"
    path = Path(text).absolute()
    # Either half may be named: people pass the .pub file as often.
    return path.with_suffix("") if path.suffix == ".pub" else path


def _token(
    given: Arguments,
    environ: Mapping[str, str],
    kept: Callable[[], Kept | None],
) -> Kept:
    """Return the token: from the link, a file, the variable, the last login, or the terminal."""
    address, file = _address(given), given.flags.get("token_file")
    if address.token is not None:
        return Kept(address.token)
    if file is not None:
        where = f"--token-file {str(file)!r}"
        try:
            return Kept(checked_token(read_token_file(Path(str(file))), where))
        except ValueError as error:
            raise ConfigError([f"{where}: {error}"]) from None
    if environ.get(TOKEN_VARIABLE):
        return Kept(checked_token(environ[TOKEN_VARIABLE], TOKEN_VARIABLE))
    return kept() or Kept(_ask_for_token(address))


def _ask_for_token(address: Address) -> Secret:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise ConfigError([_MISSING]) from None
    try:
        return checked_token(getpass.getpass(f"Token for {address.base}: "), "That")
    except EOFError:
        raise ConfigError([_MISSING]) from None


def program_words(python_path: str) -> list[str]:
    """Return how to start ttybridge from anywhere.

    Isolated (`-I`), so that no folder and no variable brings in other code under our name.
    Where only PYTHONPATH or a user's own packages lead to us, those are named, and still not the
    working directory (`-P`).
    """
    check = "import ttybridge; print(ttybridge.__file__)"
    found = subprocess.run(
        [sys.executable, "-I", "-c", check], capture_output=True, text=True, cwd="/"
    )
    if found.stdout.strip() == ttybridge.__file__:
        return [sys.executable, "-I", "-m", "ttybridge"]
    package = str(Path(ttybridge.__file__).resolve().parents[1])
    others = [str(Path(folder).absolute()) for folder in python_path.split(":") if folder]
    path = ":".join(dict.fromkeys((package, *others)))
    return ["env", f"PYTHONPATH={path}", sys.executable, "-P", "-m", "ttybridge"]


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
