"""`ttybridge.start`: starts a bridge as a child process, and is the handle to it.

The child has this process's environment and a session of its own, so that Ctrl-C here, or the
interrupt of a notebook's cell, does not reach it.
"""

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ttybridge.adapters.rundir import bases
from ttybridge.child import STOP_S, Child
from ttybridge.client import control
from ttybridge.client.control import Control, Link, Running
from ttybridge.client.status import Status
from ttybridge.config import Config
from ttybridge.errors import ConfigError, TtyBridgeError
from ttybridge.options import Kind, Option, options_of
from ttybridge.settings import did_you_mean
from ttybridge.tokens import HOST_KEY_SECRET_VARIABLE, TOKEN_VARIABLE

_SECRETS = {"token": TOKEN_VARIABLE, "host_key_secret": HOST_KEY_SECRET_VARIABLE}


def start(tunnel: str | None = None, ssh: bool | None = None, **options: object) -> "Bridge":
    """Start a bridge as a child process, with this process's environment and working directory.

    Returns at once. Entering the returned handle, or the first use of it, waits until the bridge
    serves, and raises why it does not. It is stopped when the handle's context is left, at the
    latest when this interpreter exits.

    Args:
        tunnel: What makes it public: `ngrok`, `cloudflared`, `ssh:USER@HOST`; None for nothing.
        ssh: Whether there is an SSH server; None: as a variable or the configuration file says.
        options: All other options, by the names in docs/options.md with `_` for `-`: `port=9000`,
            `ssh_key=["ssh-ed25519 AAAA…"]`, `command=["htop"]`. None is as if it were not given. A
            `token` and a `host_key_secret` are handed over in the child's environment, never in its
            arguments.

    Raises:
        ConfigError: There is no such option, or its value is of the wrong type.
    """
    arguments, secrets = translate({"tunnel": tunnel, "ssh": ssh, **options})
    return launch(arguments, secrets)


def translate(options: Mapping[str, object]) -> tuple[list[str], dict[str, str]]:
    """Return options as words of a command line, and the variables with the secrets among them.

    Raises:
        ConfigError: There are no such options, or their values are of the wrong type.
    """
    known = {option.name: option for option in options_of(Config)}
    words: list[str] = []
    last: list[str] = []
    secrets: dict[str, str] = {}
    problems: list[str] = []
    for name, value in options.items():
        if value is None:
            continue
        try:
            if name in _SECRETS:
                secrets[_SECRETS[name]] = _text(value)
            elif name not in known:
                near = did_you_mean(name, [*known, *_SECRETS])
                problems.append(f"There is no option {name!r}.{near}")
            elif known[name].kind is Kind.COMMAND:
                last = ["--", *(_text(word) for word in _items(value))]
            else:
                words += _words(known[name], value)
        except TypeError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ConfigError(problems)
    return words + last, secrets


def launch(
    arguments: Sequence[str], secrets: Mapping[str, str] | None = None, *, outlives: bool = False
) -> "Bridge":
    """Start a bridge by the words of its command line; returns at once, as `start`.

    Args:
        arguments: The words.
        secrets: Variables for the child's environment alone.
        outlives: Whether it goes on when this interpreter exits.
    """
    child = Child(arguments, dict(os.environb), secrets or {}, outlives=outlives)
    return Bridge(child, outlives=outlives)


def running() -> list[tuple[Control, Status]]:
    """Return the bridges of this user that run, however they were started."""
    return control.find(bases(os.environb))


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a text that was run in the shared pane."""

    output: str
    """What it printed."""
    status: int
    """Its exit status."""


class Bridge:
    """A bridge that was started from here.

    A context manager, for `with` and for `async with`: entering waits until the bridge serves,
    leaving stops it. Every attribute and method but `is_running`, `log`, `pid` and `stop` waits for
    that, too, and raises the reason when the bridge could not start, or has stopped since.
    """

    def __init__(self, child: "Child", *, outlives: bool = False) -> None:
        self._child = child
        self._lock = threading.Lock()
        self._control: Control | None = None
        self._link: str | None = None
        self._ssh_link: str | None = None
        self._failure: TtyBridgeError | None = None
        if not outlives:
            _owned.add(self)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether its process runs; never waits."""
        return self._child.is_running

    @property
    def url(self) -> str:
        """A link that lets one browser in; public when there is a tunnel. Always the same one.

        It is made when this is read for the first time, and can be opened within ten minutes
        (`link_life_s`). `link` makes others.
        """
        if self._link is None:
            self._link = self.link()
        return self._link

    @property
    def address(self) -> str:
        """The address without a token: the public one when there is a tunnel, else the local."""
        status = self.status()
        return status.public_url or status.address

    @property
    def port(self) -> int:
        """The local port."""
        return self.status().port

    @property
    def ssh_command(self) -> str | None:
        """The command that logs in by SSH, from as far as possible; None without SSH.

        `ssh` with a public port where a tunnel carries TCP; else, with a tunnel, `ttybridge ssh`
        with a link that lets in once; else `ssh` for whoever reaches this machine. Always the same.
        """
        status = self.status()
        if status.ssh is None or status.ssh.public is not None or not status.public_url:
            return ssh_command(status) or None
        if self._ssh_link is None:
            self._ssh_link = self.link(uses=1)
        return f"ttybridge ssh '{self._ssh_link}'"

    @property
    def log(self) -> str:
        """What the bridge has written to stderr so far; never waits."""
        return self._child.log()

    def wait(self) -> Self:
        """Wait until it serves.

        Raises:
            TtyBridgeError: It could not start; of the class that belongs to the reason.
            KeyboardInterrupt: Somebody did not want to wait; the bridge is ended.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._control is None:
                try:
                    self._child.wait_until_up()
                    self._control = self._find()
                except BaseException as error:
                    self._failure = error if isinstance(error, TtyBridgeError) else None
                    self._child.end()
                    self._child.close()
                    _owned.discard(self)
                    raise
        self._child.check()
        return self

    def _find(self) -> Control:
        for found, status in running():
            if status.pid == self.pid:
                return found
        raise self._child.reason("The bridge serves, and its control socket is not found")

    def control(self) -> Control:
        """Return its control socket, when it serves."""
        self.wait()
        assert self._control is not None  # noqa: S101 - for the type checker
        return self._control

    def status(self) -> Status:
        """Return what it says about itself."""
        return self.control().status()

    def link(
        self, *, frame: bool = False, life_s: float | None = None, uses: int | None = None
    ) -> str:
        """Make a link; public when there is a tunnel.

        Args:
            frame: Whether it is for a frame of another site, where there are no cookies.
            life_s: Seconds in which it can be opened; None: `link_life_s`.
            uses: How many browsers it lets in; None: `link_uses`.
        """
        made: Link = self.control().link(frame=frame, life_s=life_s, uses=uses)
        return made.url

    def run(self, text: str, *, show: Callable[[str], object] | None = None) -> RunResult:
        """Run a text in the shared pane, where everyone watches, and wait for its end.

        Ctrl-C here becomes Ctrl-C there.

        Args:
            text: One or more lines for the shell.
            show: Called with each piece of the output as it comes.
        """
        return run_in_pane(self.control(), text, show=show)

    def stop(self) -> None:
        """Stop it, and wait until it has; its tmux session lives on. Does nothing twice.

        Nor does it from a process that was forked from its starter.
        """
        if not self._child.is_ours:
            return
        _owned.discard(self)
        if self._control is not None:
            with contextlib.suppress(TtyBridgeError):
                self._control.stop()
                self._child.wait(STOP_S)
        self._child.end()
        with self._lock:  # whoever waits for it sees its end
            self._child.close()

    async def astop(self) -> None:
        """Like `stop`, without blocking the event loop; goes on when it is cancelled."""
        await asyncio.to_thread(self.stop)

    async def arun(self, text: str, *, show: Callable[[str], object] | None = None) -> RunResult:
        """Like `run`, without blocking the event loop.

        When it is cancelled, Ctrl-C is sent to the pane. `show` is called in another thread.
        """
        running = await asyncio.to_thread(lambda: self.control().run(text))
        work = asyncio.create_task(asyncio.to_thread(_collect, running, show))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            running.close()
            await asyncio.gather(work, return_exceptions=True)
            raise

    def __enter__(self) -> Self:
        return self.wait()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        try:
            return await asyncio.to_thread(self.wait)
        except asyncio.CancelledError:
            await self.astop()  # which ends the waiting thread, too
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        await self.astop()

    def __repr__(self) -> str:
        return f"<ttybridge.Bridge, process {self.pid}>"


def ssh_command(status: Status) -> str:
    """Return the command that logs in to a bridge with SSH by the way that reaches farthest."""
    ssh = status.ssh
    if ssh is None or ssh.public is None:
        return ssh.command if ssh else ""
    host, port = ssh.public
    return f"ssh -p {port} {ssh.user}@{host}"


def run_in_pane(
    control: Control, text: str, *, show: Callable[[str], object] | None = None
) -> RunResult:
    """Run a text in a bridge's shared pane; parameters as for `Bridge.run`."""
    return _collect(control.run(text), show)


def _collect(running: Running, show: Callable[[str], object] | None) -> RunResult:
    output = []
    with running:
        for piece in running:
            output.append(piece)
            if show is not None:
                show(piece)
    return RunResult("".join(output), running.status or 0)


def _words(option: Option, value: object) -> list[str]:
    """Return the flags for a value; raises TypeError with a sentence."""
    match option.kind:
        case Kind.SWITCH:
            if not isinstance(value, bool):
                message = f"give True or False, not {_shown(value)}."
                raise TypeError(message)
            return [option.on_flag if value else option.off_flag]
        case Kind.COUNT:
            if isinstance(value, bool) or not isinstance(value, int):
                message = f"give a number, not {_shown(value)}."
                raise TypeError(message)
            return [option.flag] * value
        case Kind.LIST:
            return [f"{option.flag}={_text(item)}" for item in _items(value)]
        case _:
            return [f"{option.flag}={_text(value)}"]


def _items(value: object) -> Sequence[object]:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str | int | os.PathLike | range):
        return [value]
    message = f"give a list of texts, not {_shown(value)}."
    raise TypeError(message)


def _text(value: object) -> str:
    """Return a value as it is typed; raises TypeError with a sentence."""
    if isinstance(value, range):
        if value.step != 1 or not value:
            message = "give a range with step 1 that is not empty."
            raise TypeError(message)
        return f"{value.start}-{value.stop - 1}"
    if isinstance(value, os.PathLike):
        return _encodable(str(Path(value).expanduser()))
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return _encodable(str(value))
    message = f"give a text or a number, not {_shown(value)}."
    raise TypeError(message)


def _encodable(text: str) -> str:
    try:
        if b"\0" not in os.fsencode(text):
            return text
    except UnicodeEncodeError:
        pass
    message = "it has a character that no argument of a program can hold."
    raise TypeError(message)


def _shown(value: object) -> str:
    return type(value).__name__ if not isinstance(value, bool) else str(value)


_owned: set[Bridge] = set()
"""Bridges that do not outlive this interpreter."""


@atexit.register
def _stop_all() -> None:
    for bridge in list(_owned):
        bridge.stop()
