"""Finds the active pane, and the shell in it that waits for a line."""

import asyncio
import os
import termios
from dataclasses import dataclass
from pathlib import Path

from ttybridge.adapters.tmux_control import TmuxControl
from ttybridge.core.pane_run import Shell, has_line_editor, shell_of
from ttybridge.errors import TerminalError

STARTS_S = 1.0
"""Time for a new pane's first program to be its shell, in seconds."""

PROMPT_S = 10.0
"""Time for a shell that still starts, or runs its last line, to show its prompt, in seconds."""

POLL_S = 0.02
"""How often a terminal is asked for its modes while a prompt is awaited, in seconds."""

_LOOK = (
    "#{pane_id} #{pane_pid} #{pane_tty} #{pane_dead} #{pane_pipe} #{pane_synchronized} "
    "#{pane_input_off} #{pane_current_command}"
)
_LFLAG = 3
"""Index of the local modes in what `termios.tcgetattr` returns."""


@dataclass(frozen=True, slots=True)
class Foreground:
    """The shell that has a pane's terminal."""

    pid: int
    """Its process id, which leads the terminal's foreground process group."""
    shell: Shell
    """What it is."""
    image: tuple[str, ...]
    """Tells its program's start from any other start, also by `exec` in the same process."""
    may_read: bool
    """Whether it may read this user's files."""


@dataclass(frozen=True, slots=True)
class Pane:
    """A pane that takes a line."""

    id: str
    """tmux's name of it, such as `%0`."""
    tty: str
    """Path of its terminal."""
    shell: Foreground
    """What reads what is typed."""


async def active_pane(control: TmuxControl) -> Pane:
    """Return the active pane, when it takes a line.

    Raises:
        TerminalError: It does not.
    """
    target = control.target
    answer = await control.run(
        [*target.base, "display-message", "-p", "-t", f"{target.exact}:", _LOOK]
    )
    words = answer.output.decode(errors="replace").split(None, 7)
    if answer.status != 0 or len(words) < 7:
        raise TerminalError(
            f"The tmux session {target.session!r} is not there.",
            hint="It is made anew when somebody joins: open the terminal.",
        )
    dead, piped, synchronized, off = (word == "1" for word in words[3:7])
    command = words[7].strip() if len(words) > 7 else ""
    if dead:
        raise TerminalError(
            "The program of the active pane has ended.", hint="Choose another pane."
        )
    if piped:
        raise taken()
    if synchronized:
        raise TerminalError(
            "What is typed into the active pane goes to other panes, too.",
            hint="Switch tmux's synchronize-panes off.",
        )
    if off:
        raise TerminalError(
            "The active pane takes no keys.", hint="Switch it on with `tmux select-pane -e`."
        )
    shell = await _shell(int(words[1]), words[2], command)
    if shell is None:
        raise TerminalError(
            f"The active pane runs {command or 'a program'!r}, not a shell at its prompt.",
            hint="Leave the program, or choose another pane or window.",
        )
    if not shell.may_read:
        raise TerminalError(
            f"The shell of the active pane ({command}) belongs to another user.",
            hint="Leave it, or choose another pane or window.",
        )
    return Pane(words[0], words[2], shell)


def taken() -> TerminalError:
    """Return what is said of a pane whose output goes to a program of the user's."""
    return TerminalError(
        "The active pane's output is piped to a program already (tmux's pipe-pane).",
        hint="End that with `tmux pipe-pane`, or choose another pane.",
    )


def foreground(pane_pid: int, command: str) -> Foreground | None:
    """Return the shell that has the terminal of a pane; None when another program has it.

    Args:
        pane_pid: The pane's first process.
        command: What tmux takes for the name of the program, for processes of others.
    """
    try:
        pid = int(_stat(pane_pid)[5])
        process = Path(f"/proc/{pid}")
        argv = process.joinpath("cmdline").read_bytes().split(b"\0")[:-1]
        owner = process.stat().st_uid
        image = _image(pid)
    except (OSError, ValueError, IndexError):
        return None
    try:
        program = str(process.joinpath("exe").readlink())
    except OSError:  # it belongs to somebody else
        program = command
    shell = shell_of(program.removesuffix(" (deleted)"), [os.fsdecode(word) for word in argv])
    if shell is None:
        return None
    return Foreground(pid, shell, image, may_read=owner in (0, os.getuid()))


async def _shell(pane_pid: int, tty: str, command: str) -> Foreground | None:
    """Return the shell in a pane once it is at its prompt, where its terminal shows that.

    None when another program has the terminal for longer than a shell takes to start.

    Raises:
        TerminalError: The shell runs something.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    while True:  # nothing tells of it
        shell = foreground(pane_pid, command)
        if shell is not None and not (has_line_editor(shell.shell) and not edits_line(tty)):
            return shell
        if loop.time() > start + (STARTS_S if shell is None else PROMPT_S):
            break
        await asyncio.sleep(POLL_S)
    if shell is None:
        return None
    raise TerminalError(
        "The shell of the active pane shows no prompt: it runs something.",
        hint="Wait for its end, interrupt it, or choose another pane or window.",
    )


def is_same(shell: Foreground) -> bool:
    """Tell whether a shell still runs, and has replaced itself by no other program."""
    try:
        return _image(shell.pid) == shell.image
    except (OSError, IndexError):
        return False


def is_running(shell: Foreground) -> bool:
    """Tell whether the process of a shell still runs, whatever it has become."""
    try:
        return _image(shell.pid)[0] == shell.image[0]
    except (OSError, IndexError):
        return False


def edits_line(tty: str) -> bool:
    """Tell whether the program at a terminal takes single keys, as a shell does at its prompt."""
    try:
        terminal = os.open(tty, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not termios.tcgetattr(terminal)[_LFLAG] & termios.ICANON
    except termios.error:
        return False
    finally:
        os.close(terminal)


def _image(pid: int) -> tuple[str, ...]:
    """Return a process's start time, and where its program's stack and code lie.

    The kernel puts them elsewhere at each `exec`; it shows zeros of other users' processes.

    Raises:
        ProcessLookupError: It has ended, though nobody may have asked for its status yet.
    """
    stat = _stat(pid)
    if stat[0] in ("Z", "X"):
        raise ProcessLookupError
    return stat[19], stat[23], stat[25]


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on, the state; proc(5) counts from one."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
