"""Takes out of a terminal's output what does more than draw: for output of unknown origin."""

import re

MAX_HELD = 4096
"""Longest beginning of a sequence that waits for its end, in characters; links are the longest."""

_SEQUENCE = re.compile(
    r"\x1b(?:"
    r"\[(?P<csi>[0-?]*[ -/]*)(?P<final>[@-~])"
    r"|(?P<link>\]8;[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\))"
    r"|(?P<string>\](?!8;|8?\Z)|[PX^_])"
    r"|[ -/]*(?P<short>[0-Z\\`-~])"
    r")"
)
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\](?:8(?:;[^\x00-\x1f\x7f-\x9f]*\x1b?)?)?|[ -/]*)")
_STRING_END = re.compile(r"[\x07\x18\x1a\x9c]|\x1b\\|\x1b(?=[^\\])")
# Most of what there is, in one go. Left to the rest of the code: ENQ, which asks for an answer,
# sequences in one character (C1), and all that is not known to draw.
_PLAIN = re.compile(
    r"(?:[^\x05\x1b\x80-\x9f]++"
    r"|\x1b(?:\[(?:[0-;]*+[@-bd-hj-mopr-suvz{}~]|\?[0-;]*+[hl]|[0-9]*+ q)|[()][0-9A-Z]|[78=>MDEHc])"
    r")++"
)


class Harmless:
    r"""Lets through what draws, and links; takes out what asks the terminal or reaches beyond it.

    Gone are: the clipboard, titles and all other settings by OSC, except links; DCS, APC, PM and
    SOS; questions (ENQ, DA, DSR, XTVERSION, DECRQM, …), whose answers would be typed; and what
    moves or prints the window (XTWINOPS, MC).

    >>> harmless = Harmless()
    >>> harmless.take("\x1b[1mred\x1b]52;c;aGk="), harmless.take("\x07\x1b[c\x1b[0m.")
    ('\x1b[1mred', '\x1b[0m.')
    """

    def __init__(self) -> None:
        self._held = ""
        self._is_in_string = False

    def take(self, text: str) -> str:
        """Return what may be shown of the next piece; sequences may be cut between pieces."""
        text, self._held = self._held + text, ""
        parts: list[str] = []
        at = 0
        while at < len(text):
            if self._is_in_string:
                at = self._skip_string(text, at)
                continue
            start = at
            if plain := _PLAIN.match(text, at):
                start = plain.end()
                parts.append(text[at:start])
            if start == len(text):
                break
            if text[start] != "\x1b":
                at = start + 1
                continue
            found = _SEQUENCE.match(text, start)
            begun = None if found else _BEGUN.fullmatch(text, start)
            if begun is not None and len(text) - start <= MAX_HELD:
                self._held = text[start:]
                break
            # Without its ESC, what is no sequence is text.
            at = found.end() if found else start + 1
            if found is not None:
                self._is_in_string = found["string"] is not None
                parts.append(found[0] if _draws(found) else "")
        return "".join(parts)

    def _skip_string(self, text: str, at: int) -> int:
        end = _STRING_END.search(text, at)
        if end is None:
            self._held = "\x1b" if text.endswith("\x1b") else ""
            return len(text)
        self._is_in_string = False
        return end.end() if end[0] != "\x1b" else end.start()


def _draws(found: re.Match[str]) -> bool:
    if found["string"] is not None:
        return False
    final, between = found["final"], found["csi"]
    if final is None:
        return found["short"] != "Z"  # DECID
    if final in "cintwxy|":
        return False
    first = between[:1]
    is_private = (final == "u" and first in "<=>?") or (final in "Sm" and first == "?")
    return not (first and is_private) and not (
        (final == "q" and first == ">") or (final == "p" and "$" in between)
    )
