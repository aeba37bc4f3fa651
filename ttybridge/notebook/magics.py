"""The magics `%ttybridge` and `%%tty`: what people type in cells, and what they get to see.

The bridge is a child of the kernel that outlives it: a kernel that is restarted finds it again by
its label. Errors of users are text, never a traceback.
"""

import getpass
import hashlib
import os
import select
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ttybridge import __version__, arguments, launch, manual, settings, subcommands
from ttybridge.child import STOP_S
from ttybridge.client.control import Control
from ttybridge.client.status import Status
from ttybridge.config import Config
from ttybridge.core.banner import what
from ttybridge.errors import ConfigError, TtyBridgeError
from ttybridge.model import Mode
from ttybridge.notebook import words
from ttybridge.notebook.places import Place, find_place
from ttybridge.notebook.show import Outputs
from ttybridge.notebook.sync import PATIENCE_S, EnvironmentSync
from ttybridge.tokens import NGROK_VARIABLE
from ttybridge.tunnels import ngrok_config

INTERRUPTED = 130
"""Exit status of a text that was ended by Ctrl-C (128 + SIGINT)."""

_extensions: dict[int, "Extension"] = {}


def load_ipython_extension(shell: Any) -> None:
    """Add the magics to a shell: `%load_ext ttybridge`; finds the bridge of this notebook again."""
    extension = Extension(shell)
    _extensions[id(shell)] = extension
    shell.register_magic_function(extension.line, magic_kind="line", magic_name="ttybridge")
    shell.register_magic_function(extension.cell, magic_kind="cell", magic_name="tty")
    shell.events.register("post_run_cell", extension.after_cell)
    extension.find_again()


def unload_ipython_extension(shell: Any) -> None:
    """Take the magics away; the bridge goes on."""
    extension = _extensions.pop(id(shell), None)
    if extension is None:
        return
    shell.events.unregister("post_run_cell", extension.after_cell)
    shell.magics_manager.magics["line"].pop("ttybridge", None)
    shell.magics_manager.magics["cell"].pop("tty", None)


class CellResult(launch.RunResult):
    """What came of a `%%tty` cell: `_` in the next cell; its output is shown already."""

    def _ipython_display_(self) -> None:
        """Show nothing a second time."""


class Extension:
    """The magics of one shell."""

    def __init__(self, shell: Any) -> None:
        """Remember the shell, an IPython `InteractiveShell`."""
        self._shell = shell
        self._label = os.environ.get("TTYBRIDGE_LABEL") or label(os.environ)
        self._words: Sequence[str] | None = None
        self._child: launch.Bridge | None = None
        self._place: Place = find_place(
            os.environ, has_kernel=getattr(shell, "kernel", None) is not None, stop=self._stop
        )
        self._outputs = Outputs(shell, self._place, self._stop)
        self._sync = EnvironmentSync(lambda: os.environb)

    def line(self, line: str) -> None:
        """`%ttybridge [stop | status | link | env [on|off] | options of the command line]`."""
        try:
            given = _split(line)
            commands: dict[str, Callable[[Sequence[str]], None]] = {
                "stop": self._say_stop,
                "status": self._status,
                "link": self._link,
                "env": self._env,
            }
            if given and given[0] in commands:
                commands[given[0]](given[1:])
            else:
                self._start_or_show(given)
        except TtyBridgeError as error:
            _complain(str(error))
        except KeyboardInterrupt:
            _complain("Interrupted.")

    def cell(self, line: str, cell: str) -> CellResult | None:
        """`%%tty [NAME]`: run the cell's text in the shared pane; NAME gets what came of it."""
        name = line.strip()
        if name and not name.isidentifier():
            _complain(f"{name!r} is not the name of a variable: write %%tty, or %%tty NAME.")
            return None
        # What is there from a run before must not pass for this one's.
        for old in ("_exit_code", *([name] if name else [])):
            self._shell.user_ns.pop(old, None)
        output: list[str] = []

        def show(piece: str) -> None:
            output.append(piece)
            sys.stdout.write(piece)
            sys.stdout.flush()

        try:
            done = launch.run_in_pane(self._needed()[0], cell, show=show)
            result = CellResult(done.output, done.status)
        except TtyBridgeError as error:
            _complain(str(error))
            return None
        except KeyboardInterrupt:
            # Leaving it has sent Ctrl-C to the pane. As with %%bash, that is no error of the cell.
            result = CellResult("".join(output), INTERRUPTED)
        self._shell.user_ns["_exit_code"] = result.status
        if name:
            self._shell.user_ns[name] = result
        if result.status != 0:
            _complain(words.ended(result.status))
        return result

    def after_cell(self, *_result: object) -> None:
        """Send what the cell has changed in the environment; never disturbs it."""
        self._sync.send_changes()

    def find_again(self) -> None:
        """Take up the bridge that an earlier kernel of this notebook has started."""
        found = self._find()
        if found is not None:
            self._sync.attach(_patient(found[0]), is_new=False)
            _say("A bridge of this notebook runs already: %ttybridge shows it.")

    def _start_or_show(self, given: Sequence[str]) -> None:
        parsed = arguments.parse(given)
        if parsed.help:
            _say(words.HELP + "\n" + manual.help_text(subcommands.BRIDGE))
            return
        if parsed.version:
            _say(f"ttybridge {__version__}")
            return
        if parsed.subcommand is not subcommands.BRIDGE:
            name = parsed.subcommand.name
            raise ConfigError([f"%ttybridge has no {name}: run !ttybridge {name} instead."])
        if not given and (found := self._find()) is not None:
            self._show(*found, "It runs already.")
            return
        file = settings.find_config_file(parsed.flags, os.environ)
        config = settings.resolve(parsed.flags, os.environ, file, problems=parsed.problems)
        self._choose(config.label or self._label)
        found = self._find()
        if found is not None:
            self._show(*found, self._already(found[1], config, given))
            return
        self._place.check(config)
        self._start(config, given)

    def _choose(self, wanted: str) -> None:
        """Be about the bridge with this label from now on; another one goes on running."""
        if wanted != self._label:
            self._sync.detach()
            self._child = self._words = None
            self._label = wanted

    def _start(self, config: Config, given: Sequence[str]) -> None:
        secrets = self._secrets(config)
        if self._child is not None:  # one that has ended by itself
            self._child.stop()
        words_with_label = [f"--label={self._label}", *given]  # before a -- and its command
        bridge = launch.launch(words_with_label, secrets, outlives=True)
        control = bridge.wait().control()
        self._child, self._words = bridge, tuple(given)
        self._sync.attach(_patient(control), is_new=True)
        self._show(control, control.status())

    def _already(self, status: Status, config: Config, given: Sequence[str]) -> str:
        """Say that it runs, and whether that is what was asked for."""
        if self._words is not None:
            is_same = self._words == tuple(given)
        else:
            name = status.tunnel.name if status.tunnel else "none"
            is_same = config.tunnel_name == name and config.ssh == (status.ssh is not None)
        if is_same:
            return "It runs already."
        return "It runs already, with other options: %ttybridge stop first, then start it again."

    def _secrets(self, config: Config) -> Mapping[str, str]:
        """Return ngrok's token, when it is needed and not in the environment already."""
        if config.tunnel_name != "ngrok" or os.environ.get(NGROK_VARIABLE, "").strip():
            return {}
        token = self._place.ngrok_token()
        if not token and not ngrok_config.has_token(os.environ):
            try:
                token = getpass.getpass("Authtoken of ngrok (dashboard.ngrok.com): ").strip()
            except (EOFError, RuntimeError, NotImplementedError):  # nobody is there to ask
                token = ""
            if not token:
                raise ConfigError([words.NGROK_NEEDS])
        return {NGROK_VARIABLE: token} if token else {}

    def _show(self, control: Control, status: Status, note: str = "") -> None:
        if note:
            _say(note)
        self._outputs.show(control, status, what(Mode(status.mode), status.session))

    def _say_stop(self, rest: Sequence[str]) -> None:
        _nothing_more(rest, "stop")
        self._needed()
        self._stop()
        _say("Stopped; the tmux session lives on, and so does what runs in it.")

    def _stop(self, *_button: object) -> None:
        """Stop the bridge, if it runs; called by buttons, too."""
        found = self._find()
        self._sync.detach()
        if found is not None:
            control, status = found
            control.stop()
            _wait_for_end(status.pid)
        if self._child is not None:
            self._child.stop()
        self._child = self._words = None
        self._outputs.say_stopped()

    def _status(self, rest: Sequence[str]) -> None:
        _nothing_more(rest, "status")
        _, status = self._needed()
        _say(words.status(status, time.time(), launch.ssh_command(status)))
        _say(f"Environment: {words.sync(self._sync)}")

    def _link(self, rest: Sequence[str]) -> None:
        _nothing_more(rest, "link")
        control, _ = self._needed()
        _say(control.link(life_s=self._outputs.life_s, uses=1).url)

    def _env(self, rest: Sequence[str]) -> None:
        if list(rest) not in ([], ["on"], ["off"]):
            raise ConfigError(["Write %ttybridge env, env on, or env off."])
        if rest:
            self._sync.is_on = rest[0] == "on"
            self._sync.send_changes()
        _say(words.sync_report(self._sync))

    def _needed(self) -> tuple[Control, Status]:
        found = self._find()
        if found is None:
            raise TtyBridgeError("No bridge runs here.", hint="%ttybridge starts one.")
        return found

    def _find(self) -> tuple[Control, Status] | None:
        """Return the bridge of this notebook; the newest, if there are several."""
        if self._child is not None and self._child.is_running:
            # Not looked for: a cell may have changed TMPDIR since.
            control = self._child.control()
            return control, control.status()
        for control, status in reversed(launch.running()):
            if status.label == self._label:
                return control, status
        return None


def label(environ: Mapping[str, str]) -> str:
    """Return a name for a notebook's bridge that is the same after the kernel was restarted.

    Jupyter names the notebook's file in the environment; where nothing does, the folder counts.
    """
    place = environ.get("JPY_SESSION_NAME") or str(Path.cwd())
    shown = "".join(c for c in Path(place).name if c.isprintable())[:60]
    return f"notebook {shown} {hashlib.sha256(place.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise ConfigError([f"This line cannot be taken apart: {error}."]) from None


def _patient(control: Control) -> Control:
    """Return a control socket as the cells use it, which must not wait for a bridge that hangs."""
    return Control(control.path, timeout_s=PATIENCE_S)


def _nothing_more(rest: Sequence[str], name: str) -> None:
    if rest:
        raise ConfigError([f"%ttybridge {name} takes nothing more, and here is {rest[0]!r}."])


def _wait_for_end(pid: int) -> None:
    """Wait until a process has ended, whose child it ever is."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:  # it has ended, or this system cannot wait for it
        return
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.poll(STOP_S * 1000)
    finally:
        os.close(descriptor)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
