"""Writes to streams that somebody may have stopped reading."""

import contextlib
import os
from typing import TextIO


def write(stream: TextIO, text: str) -> None:
    """Write a text and flush it; one that takes nothing leads to nowhere from then on."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):  # a closed pipe, a terminal that is gone, a full disk
        discard(stream)


def discard(stream: TextIO) -> None:
    """Lead a stream to nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
