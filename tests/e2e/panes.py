"""What a pane's program was started with."""

from pathlib import Path

from tests.conftest import Tmux, wait_until


def entries(data: bytes) -> dict[bytes, bytes]:
    """Parse an environment as the kernel and `env -0` show it."""
    return dict(entry.split(b"=", 1) for entry in data.split(b"\0")[:-1])


def pane_environment(tmux: Tmux, target: str) -> dict[bytes, bytes]:
    """Return the environment of a pane's bash, byte by byte, once it has shown its prompt.

    Before it is started the process has tmux's own; and while bash reads its environment, it puts a
    NUL over the `=` of one entry after the other.
    """

    def prompt() -> bool:
        return tmux("display-message", "-p", "-t", target, "#{cursor_x}") != "0"

    wait_until(prompt, f"the prompt of {target}")
    pid = tmux("display-message", "-p", "-t", target, "#{pane_pid}")
    return entries(Path(f"/proc/{pid}/environ").read_bytes())
