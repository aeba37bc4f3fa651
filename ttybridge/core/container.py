"""Command lines for a session that lives in a container (docker or podman)."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

WORKING_DIRECTORY = "/content"
"""Where the original starts the terminal inside the kernel's container."""

DETACH_KEYS = "ctrl-^,ctrl-@,ctrl-^"
"""Keys that make the engine leave the program. It holds the first back until the next key comes;
with the engines' own, Ctrl-P and Ctrl-Q, the shell's "previous command" seems dead (podman 4.3)."""

MARK = "TTYBRIDGE_CLIENT"
"""Variable that tells our tmux clients inside the container from others."""

_FIND = (
    "for p in $({list_clients} 2>/dev/null); do "
    'if tr "\\0" "\\n" <"/proc/$p/environ" 2>/dev/null | grep -qx "$1"; '
    'then kill -s "$2" "$p"; fi; done'
)
"""Signals the tmux clients whose environment has the line `$1`. Needs sh, tr, grep and tmux."""


@dataclass(frozen=True, slots=True)
class Container:
    """One container and the engine that runs it."""

    engine: str
    """The engine's program, `docker` or `podman`, or a path to one."""
    name: str
    """Name or id of the container."""

    def exec_tmux(self, tmux_argv: Sequence[str], *, mark: str) -> list[str]:
        """Return the original's command around a tmux command line.

        `mark` names the client inside, so that it can be found when the exec is gone.
        """
        return [
            *(self.engine, "exec", "-it", "-w", WORKING_DIRECTORY, "--detach-keys", DETACH_KEYS),
            *("-e", "TERM=xterm-256color", "-e", "LANG=C.UTF-8", "-e", f"{MARK}={mark}"),
            *(self.name, *tmux_argv),
        ]

    def exec_plain(self, argv: Sequence[str]) -> list[str]:
        """Return a command that runs `argv` inside without a terminal, standard input open."""
        return [self.engine, "exec", "-i", "-w", WORKING_DIRECTORY, self.name, *argv]

    def signal_client(self, tmux_base: Sequence[str], *, mark: str, signal: str) -> list[str]:
        """Return a command that sends `signal` to the client with this mark.

        Killing `docker exec` or `podman exec` leaves the program inside running, so a client
        that we are done with is ended this way; SIGWINCH makes it repaint.
        """
        pids = shlex.join([*tmux_base, "list-clients", "-F", "#{client_pid}"])
        script = _FIND.format(list_clients=pids)
        return self.exec_plain(["sh", "-c", script, "sh", f"{MARK}={mark}", signal])


def explain_failure(status: int, errors: str, container: Container) -> tuple[str, str] | None:
    """Say what an engine's failure means, as (message, hint), or None for the program's own.

    126 and 127 mean that the command cannot be run (documented for both engines), 125 is
    podman's own failure. The rest is told by words alone: docker ends with 1 where there is no
    such container, podman 4.3 with 255 where it does not run.

    Args:
        status: The engine's exit status, not 0.
        errors: What it printed on standard error.
        container: The container.
    """
    engine, name = container.engine, container.name
    if _NO_CONTAINER.search(errors):
        return (
            f"{engine} found no running container {name!r}.",
            f"`{engine} ps` lists those that run.",
        )
    if _NO_DAEMON.search(errors):
        return f"{engine} does not answer.", "Start it, or ask for the right to use it."
    match status:
        case 126 | 127 if "chdir" in errors:
            return (
                f"There is no folder {WORKING_DIRECTORY} in the container {name!r}.",
                f"Make it: {engine} exec {name} mkdir {WORKING_DIRECTORY}",
            )
        case 126 | 127:
            return f"tmux cannot be run in the container {name!r}.", "Install tmux in its image."
        case 125:
            return f"{engine} cannot run anything in the container {name!r}.", ""
        case _:
            return None


_NO_CONTAINER = re.compile(
    r"(?i)no such container|no container with name or id|container \S+ is not running"
    r"|container state improper"
)
_NO_DAEMON = re.compile(
    r"(?i)cannot connect to the docker daemon|connect to the docker daemon socket"
)
