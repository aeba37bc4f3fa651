"""Running a text in a shell that people watch: what is typed, what is sourced, what it prints.

The shell is typed one line, which sources a file of ours: that marks the begin, sources the text
itself as if it had been typed, and marks the end with the exit status. The marks are OSC sequences
with a number that nobody uses, and tmux draws nothing for them (3.3a drops what it does not know;
an APC would have changed the pane's title). What the pane printed in between is the output.

A shell that is interrupted, or that meets an unset variable under `set -u`, forgets the rest of
the file and shows its prompt. The end is therefore marked by a hook that the shell runs before
its prompt as well, and in shells without one by a trap on SIGINT. Whoever comes first removes the
hook, so that the shell is left as it was.
"""

import codecs
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

HOOK = "__ttybridge_end"
"""Name of the function that the shell has while it runs a text."""

_OSC = 7717
"""Number of our marks; xterm, iTerm2, VS Code, kitty and tmux use none near it."""

_MAX_STATUS_DIGITS = 3


class Shell(Enum):
    """A family of shells that is told the same way."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POSIX = "sh"
    """dash, busybox, ksh93 and mksh: no hook before the prompt that they have in common."""


_SHELLS = {
    **dict.fromkeys(("bash", "rbash"), Shell.BASH),
    **dict.fromkeys(("zsh", "zsh5"), Shell.ZSH),
    **dict.fromkeys(("fish",), Shell.FISH),
    **dict.fromkeys(("sh", "dash", "ash", "busybox", "ksh", "ksh93", "mksh", "pdksh"), Shell.POSIX),
}
_WITH_ARGUMENT = frozenset(
    {"--rcfile", "--init-file", "-o", "+o", "-O", "+O", "--init-command", "--features"}
)
_COMMAND = re.compile(r"-[a-zA-Z]*c[a-zA-Z]*|--command")


def shell_of(program: str, argv: Sequence[str]) -> Shell | None:
    """Tell which shell a process is; None for another program, and for a shell that runs a script.

    Args:
        program: Path or name of the program.
        argv: Its command line.

    >>> shell_of("/usr/bin/bash", ["-bash"]), shell_of("/usr/bin/dash", ["sh", "build.sh"])
    (<Shell.BASH: 'bash'>, None)
    """
    name = program.rpartition("/")[2]
    words = list(argv[1:])
    if name == "busybox" and argv and argv[0].rpartition("/")[2] == name:
        if words[:1] not in (["sh"], ["ash"]):
            return None
        del words[0]
    shell = _SHELLS.get(name)
    return None if shell is None or _runs_script(words) else shell


def _runs_script(words: Sequence[str]) -> bool:
    """Tell whether a shell's arguments name a command or a script: then nobody can type to it."""
    rest = iter(words)
    for word in rest:
        if word in _WITH_ARGUMENT:
            next(rest, None)
        elif not word.startswith(("-", "+")) or _COMMAND.fullmatch(word):
            return True
    return False


def has_line_editor(shell: Shell) -> bool:
    """Tell whether a shell at its prompt reads single keys, which its terminal then shows."""
    return shell is not Shell.POSIX


def typed_line(shell: Shell, file: str) -> str:
    """Return the line that sources a file; its blank keeps it out of many a history."""
    return f" {'source' if shell is Shell.FISH else '.'} {file}"


def sourced(shell: Shell, nonce: str, folder: str) -> str:
    """Return the file that is sourced.

    Args:
        shell: What reads it.
        nonce: Tells this run's marks from those of others; letters and digits.
        folder: Where the text lies as `cell`; a path that needs no quotes.
    """
    names = {"H": HOOK, "M": f"\\033]{_OSC};{nonce};%s\\007", "F": folder}
    return re.sub(r"@([HMF])@", lambda found: names[found[1]], _FILES[shell])


# What is printed goes to the terminal itself: the text may have redirected the shell's output. A
# group's own redirection hides what `set -x` would show of it. Under `set -e`, the hook ends no
# shell. `$?` after it is the text's.
_FILES = {
    Shell.BASH: r"""{
@H@() {
  local code=$? hook='{ @H@; } 2>/dev/null;'
  if [[ ${PROMPT_COMMAND-} ]]; then
    builtin declare -g PROMPT_COMMAND="${PROMPT_COMMAND//"$hook"/}" || :
    if [[ ! $PROMPT_COMMAND ]]; then builtin unset 'PROMPT_COMMAND[0]' || :; fi
  fi
  builtin unset -f @H@
  builtin printf '@M@' "$code" >/dev/tty
  case $- in *e*) return 0 ;; esac
  return "$code"
}
builtin declare PROMPT_COMMAND="{ @H@; } 2>/dev/null;${PROMPT_COMMAND-}" || :
builtin printf '@M@' begin >/dev/tty
} 2>/dev/null
. @F@/cell
{ @H@; } 2>/dev/null
""",
    Shell.ZSH: r"""{
@H@() {
  builtin local code=$? back=$?
  if [[ -o errexit ]]; then back=0; fi
  builtin emulate -L zsh
  precmd_functions=("${(@)precmd_functions:#@H@}")
  builtin unfunction @H@
  builtin printf '@M@' "$code" >/dev/tty
  return $back
}
builtin typeset -ga precmd_functions
precmd_functions=(@H@ "${precmd_functions[@]}")
builtin printf '@M@' begin >/dev/tty
} 2>/dev/null
. @F@/cell
{ @H@; } 2>/dev/null
""",
    Shell.FISH: r"""function @H@ --on-event fish_prompt
    set -l code $status
    functions --erase @H@
    builtin printf '@M@' $code >/dev/tty
    return $code
end
builtin printf '@M@' begin >/dev/tty
source @F@/cell
@H@
""",
    # `command .` goes on after a syntax error, and does not end the shell. The trap is looked for
    # in a file, since dash and mksh list none in a substitution; it removes itself first, so that
    # one that is left behind is felt once and does nothing.
    Shell.POSIX: r"""{
@H@() {
  set -- "${1:-$?}"
  trap >@F@/trap
  while read -r line; do
    case $line in *@H@*) trap - INT ;; esac
  done <@F@/trap
  unset -f @H@
  command printf '@M@' "$1" >/dev/tty
  case $- in *e*) return 0 ;; esac
  return "$1"
}
trap >@F@/trap
case "$(cat @F@/trap)" in
*INT*) ;;
*) trap 'trap - INT; { @H@ 130; } 2>/dev/null; kill -INT $$' INT ;;
esac
command printf '@M@' begin >/dev/tty
} 2>/dev/null
command . @F@/cell
{ @H@; } 2>/dev/null
""",
}


class Marked:
    r"""Takes the output out of what a pane prints, however that is cut.

    Attributes:
        has_begun: Whether the begin was seen.
        status: The exit status, once the end was seen.

    >>> marked = Marked("n")
    >>> marked.feed(b"$ . run\r\n\x1b]7717;n;begin\x07one\r\n\x1b]7717;n;3\x07$ ")
    'one\n'
    >>> marked.status
    3
    """

    def __init__(self, nonce: str) -> None:
        """Wait for the begin."""
        self.has_begun = False
        self.status: int | None = None
        start = b"\x1b]%d;%s;" % (_OSC, nonce.encode())
        self._start = start
        self._begin = start + b"begin\x07"
        self._end = re.compile(re.escape(start) + rb"([0-9]{1,%d})\x07" % _MAX_STATUS_DIGITS)
        self._longest = len(start) + _MAX_STATUS_DIGITS
        self._rest = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """Take in what the pane prints; return what of it is output, with plain line ends."""
        if self.status is not None:
            return ""
        data = self._rest + data
        if not self.has_begun:
            at = data.find(self._begin)
            if at < 0:
                self._rest = data[-len(self._begin) :]
                return ""
            self.has_begun = True
            data = data[at + len(self._begin) :]
        found = self._end.search(data)
        if found is not None:
            self.status, self._rest = int(found[1]), b""
            return self._text(data[: found.start()], final=True)
        keep = len(data) - self._undecided(data)
        self._rest = data[keep:]
        return self._text(data[:keep])

    def finish(self) -> str:
        """Return what was held back, when no end will come."""
        if not self.has_begun or self.status is not None:
            return ""
        rest, self._rest = self._rest, b""
        return self._text(rest, final=True)

    def _undecided(self, data: bytes) -> int:
        """Return how many bytes at the end may become a mark or a line end."""
        at = data.rfind(b"\x1b", max(0, len(data) - self._longest))
        tail = data[at:]
        if at >= 0 and (self._start.startswith(tail) or self._is_cut_end(tail)):
            return len(tail)
        return int(data.endswith(b"\r"))

    def _is_cut_end(self, tail: bytes) -> bool:
        digits = tail.removeprefix(self._start)
        return digits != tail and (digits.isdigit() or not digits)

    def _text(self, data: bytes, *, final: bool = False) -> str:
        return self._decoder.decode(data.replace(b"\r\n", b"\n"), final)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much output is kept for who takes it, in bytes of UTF-8."""

    total: int
    """Most bytes of one run; the rest is left out."""
    waiting: int
    """Most bytes that wait to be taken; what comes meanwhile is left out."""


class Output:
    r"""Output on its way to somebody who may be slow: bounded, with a mark where some is left out.

    Attributes:
        left_out: Bytes that were left out so far.

    >>> output = Output(Limits(total=4, waiting=100))
    >>> output.put("abcdef")
    >>> output.take()
    'abcd\n[ttybridge: more than 4 bytes; the rest is to be seen in the terminal only]\n'
    """

    def __init__(self, limits: Limits) -> None:
        """Have nothing yet."""
        self.left_out = 0
        self._limits = limits
        self._room = limits.total
        self._pieces: deque[str] = deque()
        self._waiting = 0
        self._gap = 0

    def put(self, text: str) -> None:
        """Add output; never waits."""
        size = len(text) if text.isascii() else len(text.encode())
        if not size:
            return
        if self._room <= 0:
            self.left_out += size
        elif size > self._room:
            self._fill_up(text, size)
        elif self._gap or self._waiting + size > self._limits.waiting:
            self._gap += size
            self.left_out += size
        else:
            self._pieces.append(text)
            self._waiting += size
            self._room -= size

    def take(self) -> str:
        """Return what waits; empty when nothing does."""
        self._close_gap()
        text = "".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        return text

    def _fill_up(self, text: str, size: int) -> None:
        kept = text.encode()[: self._room].decode(errors="ignore")
        self.left_out += size - len(kept.encode())
        self._room = 0
        self._close_gap()
        self._pieces.append(
            f"{kept}\n[ttybridge: more than {self._limits.total} bytes; the rest is to be seen "
            "in the terminal only]\n"
        )

    def _close_gap(self) -> None:
        if self._gap:
            self._pieces.append(
                f"\n[ttybridge: {self._gap} bytes are left out here; they came too fast]\n"
            )
            self._gap = 0
