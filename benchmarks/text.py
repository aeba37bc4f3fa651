"""The text of the throughput rows: coloured UTF-8, with a number in each line."""

import hashlib
import re
from pathlib import Path

WORDS = (
    "build", "ünïcode", "終端機", "passed", "привет", "λ→μ", "🚀", "warning:", "naïve", "│├──",
    "done.", "한국어", "/usr/share/doc", "0x7ffe", "ok",
)  # fmt: skip

LINE_NUMBER = re.compile(rb"#(\d{7}) ")

DIFFERENT = 5000
"""Lines after which all but the number repeats."""

BEGIN, END = b"<<BEGIN>>", b"<<END>>"
"""What a program prints before and after the text; the text has no "<"."""


def line(number: int) -> bytes:
    """Return a line of about a hundred columns: its number, words in colours, a newline."""
    parts = [f"\x1b[1;3{number % 7 + 1}m#{number:07d} \x1b[0m"]
    for at in range(11):
        word = WORDS[(number * 7 + at * (number % 5 + 1)) % len(WORDS)]
        parts.append(f"\x1b[38;5;{(number + at * 31) % 256}m{word}\x1b[0m ")
    return "".join(parts).encode() + b"\n"


def write_text(path: Path, size: int) -> tuple[int, str]:
    """Write a text of at least so many bytes.

    Returns:
        Its bytes, and its SHA-256 in hexadecimal.
    """
    lines = [line(number) for number in range(DIFFERENT)]
    digest, written, number = hashlib.sha256(), 0, 0
    with path.open("wb") as file:
        while written < size:
            block = bytearray()
            for _ in range(10_000):
                old = lines[number % len(lines)]
                at = old.index(b"#") + 1
                block += old[:at] + b"%07d" % number + old[at + 7 :]
                number += 1
                if written + len(block) >= size:
                    break
            file.write(block)
            digest.update(block)
            written += len(block)
    return written, digest.hexdigest()


def digest_of(output: bytes) -> str:
    r"""Return the SHA-256 of the text in a terminal's output; "" when it is not all there.

    The terminal has made a carriage return and a newline of each newline; that is undone.

    >>> digest_of(b"x<<BEGIN>>a\r\nb\r\n<<END>>") == hashlib.sha256(b"a\nb\n").hexdigest()
    True
    """
    begin = output.find(BEGIN)
    end = output.rfind(END)
    if begin < 0 or end < begin:
        return ""
    text = output[begin + len(BEGIN) : end].replace(b"\r\n", b"\n")
    return hashlib.sha256(text).hexdigest()
