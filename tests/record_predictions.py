"""Records the sessions over which the page's predictions are tested (static/test/sessions/).

    .venv/bin/python -m tests.record_predictions [NAME …]

Somebody types at real programs on a real pty, in tmux where the name says so, at the pace of a
person. A session is a JSON file with `cols`, `rows` and `events`, each with `at` in milliseconds:
`out` is output, `key` what was typed, `as` what it was typed at (below), and `waits` stands where
the person waited to see something before going on.

The times are those of a line without delay; the tests add one.
"""

import codecs
import fcntl
import json
import os
import pty
import random
import re
import select
import signal
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).resolve().parent.parent / "static" / "test" / "sessions"

As = Literal["prompt", "text", "hidden", "free"]
"""What is typed at: the prompt of a shell or the like, where nearly everything is to be seen at
once; text in a program that echoes; something that must never be shown; anything else."""

PROMPT = "ada@host:~$ "

GAP_S = (0.07, 0.17)
"""Shortest and longest time between two keys: 60 to 100 words a minute."""

THINK_S = 0.4
"""Time between seeing a prompt and typing."""

DEADLINE_S = 15.0

ASTERISKS = r"""
import sys, termios, tty
old = termios.tcgetattr(0)
tty.setraw(0)
sys.stdout.write("PIN: "); sys.stdout.flush()
while sys.stdin.read(1) not in "\r":
    sys.stdout.write("*"); sys.stdout.flush()
termios.tcsetattr(0, termios.TCSANOW, old)
print("\nthanks")
"""
"""Echoes an asterisk for each key."""

LOGIN = """
import getpass
input("host login: ")
getpass.getpass("ada@host's password: ")
print("welcome")
"""

SECRET = "read -s -p 'Password: ' x; echo"

POEM = "".join(f"line {n}: the quick brown fox jumps over the lazy dog\n" for n in range(1, 200))


class Typist:
    """A person at a pty.

    Attributes:
        events: What has happened so far.
    """

    def __init__(self, argv: Sequence[str], cols: int, rows: int, home: Path, seed: str) -> None:
        """Start a program on a pty of its own."""
        self.events: list[dict[str, Any]] = []
        self._random = random.Random(seed)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unread = ""
        self._start = time.monotonic()
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.chdir(home)
            environ = {"PATH": "/usr/bin:/bin", "HOME": str(home), "TERM": "xterm-256color"}
            environ |= {"LC_ALL": "C.UTF-8", "SHELL": "/bin/sh", "PS1": PROMPT}
            os.execvpe(argv[0], list(argv), environ)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def see(self, pattern: str) -> None:
        """Wait until output since the last Enter matches, and think; "" waits for nothing."""
        deadline = time.monotonic() + DEADLINE_S
        while not (found := re.search(pattern, self._unread)):
            assert time.monotonic() < deadline, f"{pattern!r} did not come: {self._unread!r}"
            self._read(0.05)
        self._unread = self._unread[found.end() :]
        self._read_for(THINK_S)
        self._note(waits=True)

    def type(self, *keys: str, what: As = "free") -> None:
        """Type keys, one by one; a text of printable characters is as many keys."""
        for text in keys:
            for key in [text] if text.startswith("\x1b") else text:
                if key == "\r":
                    self._unread = ""  # what follows is looked for in the answer
                self._note(key=key, **{"as": what})
                os.write(self._fd, key.encode())
                self._read_for(self._random.uniform(*GAP_S))

    def run(self, command: str) -> None:
        """Type a command at the prompt, and Enter."""
        self.type(command, what="prompt")
        self.type("\r")

    def end(self) -> None:
        """Read what comes in the next moments, and end the program."""
        self._read_for(THINK_S)
        os.kill(self._pid, signal.SIGKILL)
        os.close(self._fd)
        os.waitpid(self._pid, 0)

    def _note(self, **event: object) -> None:
        at = round(1000 * (time.monotonic() - self._start), 1)
        self.events.append({"at": at, **event})

    def _read_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._read(left)

    def _read(self, seconds: float) -> None:
        if not select.select([self._fd], [], [], seconds)[0]:
            return
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            time.sleep(seconds)  # the program has ended: nothing comes any more
            return
        text = self._decoder.decode(data)
        self._unread += text
        self._note(out=text)


def shell(typist: Typist) -> None:
    """Edit command lines: backspace, arrows, the start of a line, history."""
    typist.see(r"\$ ")
    typist.run("echo hello world")
    typist.see(r"\$ ")
    typist.type("echo one twp", what="prompt")
    typist.type("\x7f")
    typist.type("o three", what="prompt")
    typist.type("\r")
    typist.see(r"\$ ")
    typist.type("ls -l | wc", what="prompt")
    typist.type("\x1b[D", "\x1b[D")
    typist.type("cat | ", what="text")
    typist.type("\x1b[C", "\x1b[C")
    typist.type(" -l", what="prompt")
    typist.type("\r")
    typist.see(r"\$ ")
    typist.type("rm not this", what="prompt")
    typist.type("\x15")
    typist.run("for i in 1 2 3; do echo $i; done")
    typist.see(r"\$ ")
    typist.type("\x1b[A")
    typist.see("done")
    typist.type("; date", what="prompt")
    typist.type("\r")
    typist.see(r"\$ ")
    typist.run("")
    typist.see(r"\$ ")
    typist.run("true && printf '%s\\n' \"naïve café\"")
    typist.see(r"\$ ")


def long_shell(typist: Typist) -> None:
    """Fill the screen, so that each Enter scrolls it, and type on."""
    typist.see(r"\$ ")
    typist.run("seq 30")
    typist.see(r"30\r?\n?(?s:.*)\$ ")
    for _ in range(3):
        typist.run("echo all of this scrolls")
        typist.see(r"scrolls\r?\n?(?s:.*)\$ ")


def completion(typist: Typist) -> None:
    """Complete names by Tab."""
    typist.see(r"\$ ")
    typist.run("cat poem.txt | head -2")
    typist.see(r"\$ ")
    typist.type("cat po", what="prompt")
    typist.type("\t")
    typist.see("txt")
    typist.type("| tail -1", what="prompt")
    typist.type("\r")
    typist.see(r"\$ ")
    typist.type("ls no", what="prompt")
    typist.type("\t", "\t", "\t")
    typist.see("note2")
    typist.type("e2.md", what="text")
    typist.type("\r")
    typist.see(r"\$ ")


def passwords(typist: Typist) -> None:
    """Answer for passwords of several kinds, from a shell that is known by now."""
    typist.see(r"\$ ")
    typist.run("echo warm up")
    typist.see(r"\$ ")
    typist.run("bash secret.sh")
    typist.see(r"Password: ")
    typist.type("correct horse", what="hidden")
    typist.type("\r")
    typist.see(r"\$ ")
    typist.run("python3 login.py")
    typist.see("login: ")
    typist.type("ada", what="text")
    typist.type("\r")
    typist.see("password: ")
    typist.type("s3cr*t", what="hidden")
    typist.type("\r")
    typist.see(r"\$ ")
    typist.run("sleep 1; bash secret.sh")
    typist.type("too early", what="free")
    typist.see("Password: ")
    typist.type("battery staple", what="hidden")
    typist.type("\r")
    typist.see(r"\$ ")


def no_echo(typist: Typist) -> None:
    """Read a line unseen behind a prompt that looks like the shell's own."""
    typist.see(r"\$ ")
    typist.run("echo warm up")
    typist.see(r"\$ ")
    typist.run('read -s -p "$PS1" x; echo')
    typist.see(r"\$ ")
    typist.type("unseen", what="hidden")
    typist.type("\r")
    typist.see(r"\$ ")


def asterisks(typist: Typist) -> None:
    """Give a PIN to a program that echoes asterisks."""
    typist.see(r"\$ ")
    typist.run("python3 asterisks.py")
    typist.see("PIN: ")
    typist.type("12*34*x", what="hidden")
    typist.type("\r")
    typist.see(r"\$ ")
    typist.run("echo done")
    typist.see(r"\$ ")


def vim(typist: Typist) -> None:
    """Move, change and write in vim."""
    typist.see(r"\$ ")
    typist.run("vim -u NONE -n poem.txt")
    typist.see("poem.txt")
    typist.type("jjwwxxkldwj0", what="hidden")
    typist.type("o")
    typist.type("A new line of text, typed in.", what="text")
    typist.type("\x1b")
    typist.see("")
    typist.type("kddpyyPxw", what="hidden")
    typist.type(":")
    typist.type("set number", what="text")
    typist.type("\r")
    typist.see("1 ")
    typist.type("ggxjjdd", what="hidden")
    typist.type(":")
    typist.type("wq", what="text")
    typist.type("\r")
    typist.see(r"\$ ")
    typist.run("echo back again")
    typist.see(r"\$ ")


def less(typist: Typist) -> None:
    """Read with less."""
    typist.see(r"\$ ")
    typist.run("less poem.txt")
    typist.see("poem.txt")
    typist.type(" jjkG", what="hidden")
    typist.type("g", what="hidden")
    typist.type("/")
    typist.type("line 50", what="text")
    typist.type("\r")
    typist.see("line 50")
    typist.type("nq", what="hidden")
    typist.see(r"\$ ")
    typist.run("echo out of it")
    typist.see(r"\$ ")


def python(typist: Typist) -> None:
    """Calculate with Python."""
    typist.see(">>> ")
    typist.run("x = [n * n for n in range(5)]")
    typist.see(">>> ")
    typist.run("sum(x)")
    typist.see(">>> ")
    typist.run("print('a' * 20, len(x))")
    typist.see(">>> ")
    typist.run("import getpass; getpass.getpass('>>> ')")
    typist.see(">>> ")


def flood(typist: Typist) -> None:
    """Type while something else writes to the screen."""
    typist.see(r"\$ ")
    typist.run("(for i in $(seq 60); do echo noise $i; sleep .05; done) &")
    typist.see("noise 5")
    typist.type("echo in the middle", what="free")
    typist.type("\r")
    typist.see("noise 60")
    typist.type("\r")
    typist.see(r"\$ ")
    typist.run("echo quiet now")
    typist.see(r"\$ ")


def wrap(typist: Typist) -> None:
    """Type a line that is longer than the screen is wide, and take some of it back."""
    typist.see(r"\$ ")
    typist.type("echo this line goes on over the right margin of the screen", what="text")
    typist.type("\x7f" * 25)
    typist.type(" margin", what="text")
    typist.type("\r")
    typist.see(r"\$ ")


BASH = ("bash", "--norc", "--noprofile")

Plan = tuple[Callable[[Typist], None], Sequence[str], int, int]

PLANS: dict[str, Plan] = {
    "shell": (shell, BASH, 80, 24),
    "scrolling": (long_shell, BASH, 80, 12),
    "completion": (completion, BASH, 80, 24),
    "passwords": (passwords, BASH, 80, 24),
    "no-echo": (no_echo, BASH, 80, 24),
    "asterisks": (asterisks, BASH, 80, 24),
    "vim": (vim, BASH, 80, 24),
    "less": (less, BASH, 80, 24),
    "python": (python, ("python3", "-q"), 80, 24),
    "flood": (flood, BASH, 80, 24),
    "wrap": (wrap, BASH, 40, 12),
    "tmux-shell": (shell, BASH, 80, 24),
    "tmux-scrolling": (long_shell, BASH, 80, 12),
    "tmux-completion": (completion, BASH, 80, 24),
    "tmux-passwords": (passwords, BASH, 80, 24),
    "tmux-vim": (vim, BASH, 80, 24),
    "tmux-flood": (flood, BASH, 80, 24),
}

TMUX_CONF = """
set -g status-interval 1
set -g status-right '%H:%M:%S'
set -g default-command 'exec bash --norc --noprofile'
"""
"""A clock in the status line, so that it is drawn between the keys."""


def record(name: str) -> None:
    """Record one session into its file."""
    play, argv, cols, rows = PLANS[name]
    with tempfile.TemporaryDirectory(prefix="typed-", dir="/tmp") as folder:
        home = Path(folder)
        (home / "poem.txt").write_text(POEM)
        (home / "asterisks.py").write_text(ASTERISKS)
        (home / "login.py").write_text(LOGIN)
        (home / "secret.sh").write_text(SECRET)
        for note in ("note1.md", "note2.md"):
            (home / note).write_text("")
        if name.startswith("tmux-"):
            (home / ".tmux.conf").write_text(TMUX_CONF)
            argv = ("tmux", "-S", str(home / "socket"), "new-session")
        typist = Typist(argv, cols, rows, home, name)
        try:
            play(typist)
        finally:
            if name.startswith("tmux-"):
                os.spawnlp(os.P_WAIT, "tmux", "tmux", "-S", str(home / "socket"), "kill-server")
            typist.end()
    FOLDER.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(event, ensure_ascii=False) for event in typist.events)
    text = f'{{"cols": {cols}, "rows": {rows}, "events": [\n{lines}\n]}}\n'
    (FOLDER / f"{name}.json").write_text(text)
    sys.stderr.write(f"{name}: {len(typist.events)} events\n")


if __name__ == "__main__":
    for each in sys.argv[1:] or PLANS:
        record(each)
