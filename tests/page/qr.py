"""Reads QR codes that are known module by module: nothing to find, nothing to correct."""

from collections.abc import Callable, Sequence
from typing import Any

from segno import consts

MASKS: tuple[Callable[[int, int], bool], ...] = (
    lambda y, x: (y + x) % 2 == 0,
    lambda y, x: y % 2 == 0,
    lambda y, x: x % 3 == 0,
    lambda y, x: (y + x) % 3 == 0,
    lambda y, x: (y // 2 + x // 3) % 2 == 0,
    lambda y, x: y * x % 2 + y * x % 3 == 0,
    lambda y, x: (y * x % 2 + y * x % 3) % 2 == 0,
    lambda y, x: ((y + x) % 2 + y * x % 3) % 2 == 0,
)
"""The masks of ISO/IEC 18004, by number: whether a module is turned over."""

LEVELS = {
    1: consts.ERROR_LEVEL_L,
    0: consts.ERROR_LEVEL_M,
    3: consts.ERROR_LEVEL_Q,
    2: consts.ERROR_LEVEL_H,
}
"""Error correction levels by their bits in the format information."""


def read_qr(modules: Sequence[Sequence[bool]]) -> str:
    """Return the text of a code in byte mode, up to version 9; without its quiet zone."""
    size = len(modules)
    version = (size - 17) // 4
    row = [modules[8][x] for x in (0, 1, 2, 3, 4, 5, 7, 8)]
    column = [modules[y][8] for y in (7, 5, 4, 3, 2, 1, 0)]
    form = _number(row + column) ^ 0x5412
    turned = MASKS[form >> 10 & 7]
    bits = [
        modules[y][x] != turned(y, x) for y, x in _path(size) if not _is_fixed(version, size, y, x)
    ]
    codewords = [_number(bits[at : at + 8]) for at in range(0, len(bits) - 7, 8)]
    blocks: list[int] = []
    table: Any = consts.ECC  # segno's own types do not say what is in it
    for info in table[version][LEVELS[form >> 13]]:
        blocks += [info.num_data] * info.num_blocks
    data: list[list[int]] = [[] for _ in blocks]
    words = iter(codewords)
    for place in range(max(blocks)):
        for block, length in enumerate(blocks):
            if place < length:
                data[block].append(next(words))
    stream = [bool(word >> bit & 1) for block in data for word in block for bit in range(7, -1, -1)]
    assert _number(stream[:4]) == 4, "not in byte mode"
    count = _number(stream[4:12])
    return bytes(_number(stream[at : at + 8]) for at in range(12, 12 + 8 * count, 8)).decode()


def _number(bits: Sequence[bool]) -> int:
    return int("".join("1" if bit else "0" for bit in bits), 2)


def _path(size: int) -> list[tuple[int, int]]:
    """Return all modules in the order of the data: two columns at a time, up and down."""
    rights = [x if x > 6 else x - 1 for x in range(size - 1, 0, -2)]
    places = []
    for number, right in enumerate(rights):
        ys = range(size - 1, -1, -1) if number % 2 == 0 else range(size)
        places += [(y, x) for y in ys for x in (right, right - 1)]
    return places


def _is_fixed(version: int, size: int, y: int, x: int) -> bool:
    """Tell whether a module belongs to a pattern or to what is said about the code itself."""
    if 6 in (y, x):
        return True
    if (y < 9 and (x < 9 or x >= size - 8)) or (y >= size - 8 and x < 9):
        return True
    if version >= 7 and ((y < 6 and x >= size - 11) or (x < 6 and y >= size - 11)):
        return True
    centres = consts.ALIGNMENT_POS[version - 2] if version > 1 else ()
    last = size - 7
    return any(
        abs(y - cy) <= 2 and abs(x - cx) <= 2 and (cy, cx) not in ((6, 6), (6, last), (last, 6))
        for cy in centres
        for cx in centres
    )
