"""Command lines for people to paste, and paths for programs. Nothing is run here."""

import re
import shlex
from collections.abc import Sequence


def for_any_shell(argv: Sequence[str]) -> str:
    """Return a command line that means the same in sh and in zsh.

    zsh takes an unquoted word that begins with `=` for the path of a program (EQUALS, zsh 5.9).

    >>> for_any_shell(["tmux", "attach", "-t", "=0"])
    "tmux attach -t '=0'"
    """
    return " ".join(f"'{word}'" if _is_path(word) else shlex.quote(word) for word in argv)


def _is_path(word: str) -> bool:
    """Tell whether zsh would look for a program, and `shlex.quote` sees nothing to quote."""
    return word.startswith("=") and shlex.quote(word) == word


def is_safe_path(path: str) -> bool:
    """Tell whether sshd and every shell take a path as it is, without quotes and escapes.

    >>> is_safe_path("/run/user/0/ttybridge/a1"), is_safe_path("/tmp/My folder/%h")
    (True, False)
    """
    return re.fullmatch(r"[A-Za-z0-9/._+@-]+", path) is not None
