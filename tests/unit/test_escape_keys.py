"""The keys for the client itself, however the input is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core.escape_keys import EscapeKeys, Key


def fed(*parts: bytes) -> list[bytes | Key]:
    """Return what comes out, neighbouring bytes joined."""
    keys, found = EscapeKeys(), list[bytes | Key]()
    for part in parts:
        for item in keys.feed(part):
            if isinstance(item, bytes) and found and isinstance(found[-1], bytes):
                found[-1] += item
            else:
                found.append(item)
    return found


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (b"~.", [Key.LEAVE]),
        (b"ls\r~.", [b"ls\r", Key.LEAVE]),
        (b"ls\n~?", [b"ls\n", Key.HELP]),
        (b"\r~\x1a", [b"\r", Key.SUSPEND]),
        (b"\r~hx", [b"\r", Key.HAND, b"x"]),
        (b"\r~h~h", [b"\r", Key.HAND, Key.HAND]),
        (b"\r~~", [b"\r~"]),
        (b"\r~~.", [b"\r~."]),
        (b"\r~x", [b"\r~x"]),
        (b"\r~\r~.", [b"\r~\r", Key.LEAVE]),
        (b"a~.", [b"a~."]),
        (b"cd ~/x\r", [b"cd ~/x\r"]),
        (b"\r \x7f~.", [b"\r \x7f~."]),
        (b"\x1b[200~a\r~.\r\x1b[201~", [b"\x1b[200~a\r~.\r\x1b[201~"]),
        (b"\x1b[200~a\x1b[201~\r~.", [b"\x1b[200~a\x1b[201~\r", Key.LEAVE]),
        (b"\r~", [b"\r"]),
    ],
)
def test_a_tilde_counts_at_the_start_of_a_line_and_outside_a_paste(
    typed: bytes, expected: list[bytes | Key]
) -> None:
    assert fed(typed) == expected
    assert fed(*(bytes([byte]) for byte in typed)) == expected


@given(st.lists(st.binary(max_size=9), max_size=8))
def test_where_the_input_is_cut_does_not_matter(parts: list[bytes]) -> None:
    assert fed(*parts) == fed(b"".join(parts))


@given(st.lists(st.sampled_from([b"~", b".", b"\r", b"h", b"\x1b[200~", b"\x1b[201~", b"x"])))
def test_nothing_is_lost_but_the_keys_and_their_tildes(words: list[bytes]) -> None:
    typed = b"".join(words)
    found = fed(typed, b"\r")
    kept = b"".join(item for item in found if isinstance(item, bytes))
    keys = sum(isinstance(item, Key) for item in found)
    doubled = len(typed) + 1 - len(kept) - 2 * keys
    assert 0 <= doubled <= typed.count(b"~~")
    assert kept.count(b"x") == typed.count(b"x")
