"""The rules for a token that somebody chose, and the file it may be in."""

import os
import re
import stat
from pathlib import Path

TOKEN_VARIABLE = "TTYBRIDGE_TOKEN"  # noqa: S105 - the name of the variable, not a token
"""The variable with the token; children of the bridge never get it."""

HOST_KEY_SECRET_VARIABLE = "TTYBRIDGE_HOST_KEY_SECRET"  # noqa: S105
"""The variable with the secret that the SSH host key is made from; handled alike."""

LINK_VARIABLE = "TTYBRIDGE_LINK"
"""The variable in which `ttybridge ssh` hands a link to itself, out of its arguments."""

NGROK_VARIABLE = "NGROK_AUTHTOKEN"
"""The variable with the token of an account at ngrok, as ngrok itself calls it. With it somebody
could open tunnels in the user's name: the session does not get it."""

SECRET_VARIABLES = (TOKEN_VARIABLE, HOST_KEY_SECRET_VARIABLE, LINK_VARIABLE, NGROK_VARIABLE)
"""All variables that hold a secret."""

MIN_TOKEN, MAX_TOKEN = 16, 256
"""Characters of a token: 16 random ones have 96 bits; 256 fit every header and address."""

MAX_LINES_BYTES = 64 << 10
"""Largest file with user names and passwords that is read."""

MIN_DISTINCT = 6
"""Different characters a token needs; 16 random ones of 66 practically never have fewer."""

_TOKEN = re.compile(r"[A-Za-z0-9._~-]+")
_WEAK_WORDS = ("password", "passw0rd", "changeme", "letmein", "ttybridge", "qwerty", "12345678")


def token_problem(token: str) -> str:
    """Say what is wrong with a token, without showing it; empty when nothing is.

    >>> token_problem("short")
    'it has 5 characters; give 16 to 256.'
    >>> token_problem("R7xk2-Qm9fLw0_ab")
    ''
    """
    if not token:
        return "it is empty. Leave it out to get a random token."
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN:
        length = f"{len(token)}" if len(token) <= MAX_TOKEN else f"more than {MAX_TOKEN}"
        return f"it has {length} characters; give {MIN_TOKEN} to {MAX_TOKEN}."
    if not _TOKEN.fullmatch(token):
        return "only letters, digits and . _ ~ - may be in it, as clients do not encode it."
    if len(set(token)) < MIN_DISTINCT or token.lower().startswith(_WEAK_WORDS):
        return "it is easy to guess. Make one with: openssl rand -hex 24"
    return ""


def read_token_file(path: Path) -> str:
    """Return the token in a file, without the newline at its end.

    Raises:
        ValueError: It cannot be read, or others may read it; has a sentence.
    """
    text = _read_private(path, MAX_TOKEN + 2)
    return text.removesuffix("\n").removesuffix("\r")


def read_lines(path: Path) -> tuple[str, ...]:
    """Return the lines of a small file with secrets; empty ones are left out.

    Raises:
        ValueError: It cannot be read, or others may read it; has a sentence.
    """
    lines = (line.strip() for line in _read_private(path, MAX_LINES_BYTES).splitlines())
    return tuple(line for line in lines if line)


def _read_private(path: Path, limit_bytes: int) -> str:
    """Return the beginning of a file that nobody else may read."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and stat.S_IMODE(mode) & 0o077:
                message = f"others may read it. Run: chmod 600 {path}"
                raise ValueError(message)
            data = file.read(limit_bytes + 1)
    except OSError as error:
        message = f"it cannot be read: {error.strerror}."
        raise ValueError(message) from None
    return data.decode("utf-8", "replace")
