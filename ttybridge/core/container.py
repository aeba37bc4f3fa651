"""Command lines for a session that lives in a container (docker or podman)."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

WORKING_DIRECTORY = "/content"
"""Where the original starts the terminal inside the kernel's container."""

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
            *(self.engine, "exec", "-it", "-w", WORKING_DIRECTORY),
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


def explain_status(status: int, container: Container) -> tuple[str, str] | None:
    """Say what an engine's exit status means, as (message, hint), or None for the program's own.

    125 is the engine's own failure, 126 and 127 mean that the command cannot be run
    (documented for docker and podman alike).
    """
    match status:
        case 125:
            return (
                f"{container.engine} found no running container {container.name!r}.",
                f"`{container.engine} ps` lists those that run.",
            )
        case 126 | 127:
            return (
                f"tmux cannot be run in the container {container.name!r}.",
                "Install tmux in its image.",
            )
        case _:
            return None
