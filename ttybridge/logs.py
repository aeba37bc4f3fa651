r"""Log lines on stderr: one line each, bounded, with secrets and control characters removed.

Rules: never a token, cookie or key, never what is typed or shown in the terminal, never a
whole environment. The filter below is the net for what slips through.
"""

import logging
import re
import sys
from typing import TextIO

MAX_LINE = 2000
"""Characters of one line: a hostile client cannot fill the disk with one message."""

MAX_TRACEBACK_LINES = 60
"""Lines of a traceback that are kept, the last ones: the cause is at the end."""

MAX_SCANNED = 8 * MAX_LINE
"""Characters that are searched for what looks like a secret; what comes after is cut off."""

HIDDEN = "•••"
"""Stands where a secret was."""

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)

# Repetitions are bounded where another part follows, so that the search stays linear: text of a
# client gets here.
_END = r"""[^\s&"'<>;,#)\]}]+"""
_PATTERNS = (
    # Headers, as text or in the repr of a mapping: the value goes on to the end of the line.
    (r"(?i)\b((?:set-)?cookie['\"]?\s{0,4}[:=]\s{0,4}).*", rf"\1{HIDDEN}"),
    (
        r"(?i)\b((?:proxy-)?authorization|x-colab-runtime-proxy-token)(['\"]?\s{0,4}[:=,]\s{0,4})['\"]?"
        r"(?:(?:bearer|basic|digest|token)\s{1,4})?" + _END,
        rf"\1\2{HIDDEN}",
    ),
    (r"(?i)\b(bearer|basic)\s{1,4}" + _END, rf"\1 {HIDDEN}"),
    # name=value, name: value and "name": "value"; also token%3Dvalue.
    (
        r"(?i)((?:token|secret|passwo?r?d|passphrase|api_?key|\bkey|\bsid"
        r"|\bttybridge-\d{1,5})['\"]?\s{0,4}(?:=|:|%3D)\s{0,4}['\"]?)" + _END,
        rf"\1{HIDDEN}",
    ),
    # A password in an address.
    (r"(?i)\b([a-z][a-z0-9+.-]{0,19}://[^/\s:@]{0,99}:)[^/\s@]+@", rf"\1{HIDDEN}@"),
)


class Redactor(logging.Filter):
    """Takes secrets out of records: the known ones, and what looks like one."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets: set[str] = set()

    def hide(self, secret: str) -> None:
        """Remember a secret, so that it is taken out wherever it stands."""
        if len(secret) >= 4:
            self._secrets.add(secret)

    def clean(self, text: str) -> str:
        """Return `text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = text[:MAX_SCANNED]
        for pattern, replacement in _PATTERNS:
            text = re.sub(pattern, replacement, text)  # compiled with the first line
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record in place: message, arguments, traceback and stack."""
        try:
            message = record.getMessage()
        except Exception:  # a wrong format string is a fault of ours, not worth an exception
            message = f"{record.msg!r} (arguments do not fit)"
        record.msg, record.args = self.clean(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            lines = record.exc_text.splitlines()[-MAX_TRACEBACK_LINES:]
            record.exc_text = "\n".join(map(self.clean, lines))
        if record.stack_info:
            record.stack_info = self.clean(record.stack_info)
        record.exc_info = None
        return True


class LineFormatter(logging.Formatter):
    """`12:30:05 warning ttybridge.web: text`; tracebacks as indented lines when asked for."""

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a newline at the end."""
        time = self.formatTime(record, "%H:%M:%S")
        lines = [f"{time} {record.levelname.lower()} {record.name}: {record.getMessage()}"]
        trace = (record.exc_text or "").rstrip().split("\n")
        if not self._tracebacks:
            # The last line names the error; the rest is for those who ask with -vv.
            lines[0] += f" ({trace[-1]})" if trace[-1] else ""
        elif trace[-1]:
            lines += [f"    {line}" for line in trace]
        return "\n".join(one_line(line) for line in lines)


def one_line(text: str) -> str:
    r"""Escape control characters and cut what is too long.

    >>> one_line("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    cut = text[: MAX_LINE + 1]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return shown if len(shown) <= MAX_LINE else shown[: MAX_LINE - 1] + "…"


redactor = Redactor()
"""The filter of this process."""

_handler: logging.Handler | None = None


def hide(secret: str) -> None:
    """Take a secret, such as the token, out of all log lines from now on."""
    redactor.hide(secret)


def configure(*, verbosity: int = 0, quiet: bool = False, stream: TextIO | None = None) -> None:
    """Send log lines to stderr; calling it again replaces what was set before.

    Args:
        verbosity: 0 for warnings, 1 for life events, 2 for everything of ours.
        quiet: Only errors.
        stream: Where to, instead of stderr.
    """
    global _handler
    root, ours = logging.getLogger(), logging.getLogger("ttybridge")
    if _handler is not None:
        root.removeHandler(_handler)
    _handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    _handler.addFilter(redactor)
    _handler.setFormatter(LineFormatter(tracebacks=verbosity >= 2))
    root.addHandler(_handler)
    level = logging.ERROR if quiet else _LEVELS[min(verbosity, 2)]
    # Other packages never go below warnings: their debug lines have whole messages in them.
    root.setLevel(max(level, logging.WARNING))
    ours.setLevel(level)
