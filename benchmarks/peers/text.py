"""Coloured text as programs write it: the same for everybody, with characters of all lengths."""

import random

WORDS = (
    *("the", "quick", "brown", "fox", "naïve", "façade", "東京", "都庁", "✓", "→", "😀", "λόγος"),
    *("привет", "0123456789", "[ERROR]", "{json}", '"quoted"', "C:\\path"),
)

SEED = 7
"""Of the choice of words."""


def coloured(size: int) -> bytes:
    """Return about so many bytes of lines of words in colours; lines end with LF.

    No line is longer than a window of 120 columns, and none has a CR.
    """
    source = random.Random(SEED)  # noqa: S311  the same text each time, and no secret
    lines = []
    for _ in range(2000):
        words = []
        for word in source.choices(WORDS, k=12):
            code = source.randrange(256)
            form = source.choice((f"\x1b[38;5;{code}m", f"\x1b[{30 + code % 8}m", "", "\x1b[1m"))
            words.append(f"{form}{word}\x1b[0m" if form else word)
        lines.append(" ".join(words) + "\n")
    block = "".join(lines).encode()
    text = block * (size // len(block) + 1)
    return text[: text.rindex(b"\n", 0, size) + 1]
