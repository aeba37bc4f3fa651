"""QR codes of links: for a terminal as half blocks, for a notebook's card as SVG."""

import segno

QUIET_ZONE = 4
"""Light modules around a code, as ISO/IEC 18004 wants them: without, cameras do not find it."""

TEXT_QUIET_ZONE = 2
"""The same on a terminal: two cells less in height, so that a link's code fits 24 rows. Cameras of
phones find it all the same."""

_HALVES = {(True, True): " ", (True, False): "▄", (False, True): "▀", (False, False): "█"}
"""Characters for two modules on top of each other, `True` for dark ones: light is drawn."""

_LIGHT_ON_DARK = "\x1b[38;5;231;48;5;16m"
_RESET = "\x1b[0m"


def qr_text(text: str, *, colors: bool = True) -> str:
    """Return a QR code as lines of half blocks, each with its newline.

    Args:
        text: What it says.
        colors: Whether to set the colours, white on black, with escape sequences. Without, it is
            right on dark terminals, and inverted on light ones, which most cameras read, too.
    """
    code = segno.make(text, error="m", micro=False)
    rows = [list(map(bool, row)) for row in code.matrix_iter(border=TEXT_QUIET_ZONE)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    pairs = zip(rows[::2], rows[1::2], strict=True)
    lines = ("".join(_HALVES[both] for both in zip(*pair, strict=True)) for pair in pairs)
    return "".join(f"{_LIGHT_ON_DARK}{line}{_RESET}\n" if colors else f"{line}\n" for line in lines)


def qr_svg(text: str) -> str:
    """Return a QR code as an SVG element without a size of its own: dark on white, everywhere."""
    code = segno.make(text, error="m", micro=False)
    return code.svg_inline(
        border=QUIET_ZONE, dark="#000", light="#fff", omitsize=True, svgclass=None, lineclass=None
    )
