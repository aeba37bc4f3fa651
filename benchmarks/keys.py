"""Runs in the terminal: shows keys, and writes beside them.

python keys.py BYTES_PER_SECOND

The terminal echoes each key at once. `F` begins a flood and `S` ends it; each of its lines ends
with the mark that was typed last, so that whoever is shown only a screen now and then can tell
from it that the key has been seen.
"""

import os
import sys
import termios
import threading
import time

READY = "ready-for-keys"

MARKS = "~{%&}"
"""Keys that are nowhere else: not in the flood, a status line or a control sequence."""

TICK_S = 0.002
"""Time between two writes, in seconds."""

CATCH_UP = 2
"""How much faster than its rate it writes when it is late; see flood.py."""

FILLER = "the quick brown fox jumps over the lazy dog 0123456789 the quick brown fox jumps over "


class State:
    """What was typed last."""

    mark = " "
    floods = threading.Event()


def listen(state: State) -> None:
    """Read keys for ever."""
    while key := os.read(0, 1).decode("ascii", "replace"):
        if key == "F":
            state.floods.set()
        elif key == "S":
            state.floods.clear()
        elif key in MARKS:
            state.mark = key
    os._exit(0)


def main() -> None:
    """Write as long as it is wanted."""
    size = int(float(sys.argv[1]) * TICK_S)
    settings = termios.tcgetattr(0)
    settings[3] &= ~termios.ICANON
    termios.tcsetattr(0, termios.TCSANOW, settings)
    state = State()
    threading.Thread(target=listen, args=(state,), daemon=True).start()
    os.write(1, f"{READY}\n".encode())
    lines = size // (len(FILLER) + 3) + 1
    while True:
        state.floods.wait()
        due = time.monotonic()
        while state.floods.is_set():
            due = max(due + TICK_S, time.monotonic() - TICK_S / CATCH_UP)
            left = due - time.monotonic()
            if left > 0:
                time.sleep(left)
            os.write(1, f"{FILLER}{state.mark}\n".encode() * lines)


if __name__ == "__main__":
    main()
