"""What the command prints when the bridge is up."""

from typing import Any

import pytest

from ttybridge.core.banner import Banner, make_banner
from ttybridge.model import Mode

LINK = "http://127.0.0.1:8080/?token=" + "x" * 120


def banner(**changes: Any) -> Banner:
    values: dict[str, Any] = {
        "version": "1.2.3", "link": LINK, "session": "work", "mode": Mode.TMUX,
    }  # fmt: skip
    return make_banner(**(values | changes))


@pytest.mark.parametrize("columns", [0, 20, 40, 80, 300])
def test_the_link_has_a_line_of_its_own_at_every_width(columns: int) -> None:
    made = banner(columns=columns, notes=("a long note " * 20,))
    assert made.text.splitlines().count(LINK) == 1
    assert "token=" not in made.head + made.tail
    limit = min(max(columns, 40), 100)
    assert all(len(line) <= limit for line in (made.head + made.tail).splitlines())


def test_it_says_what_is_shared_and_what_ctrl_c_does() -> None:
    text = banner().text
    assert "ttybridge 1.2.3" in text
    assert "tmux session work" in text
    assert "the tmux session lives on" in text
    direct = banner(mode=Mode.DIRECT, session="htop -d 5").text
    assert "command: htop -d 5" in direct
    assert "lives on" not in direct
    assert "one connection at a time" in banner(mode=Mode.EXCLUSIVE).text
    assert "in the container" in banner(mode=Mode.CONTAINER).text


def test_notes_are_paragraphs_after_the_link() -> None:
    tail = banner(notes=("Running shells keep their environment.", "Second\nnote.")).tail
    assert "- Running shells keep their environment.\n" in tail
    assert "- Second note.\n" in tail


def test_a_token_of_ones_own_makes_a_lasting_link() -> None:
    assert "same at the next start" in banner(token_generated=False).text
    assert "same at the next start" not in banner(token_generated=True).text
    without = banner(link="http://127.0.0.1:8080/", token_generated=False).text
    assert "same at the next start" not in without
    assert "whoever has it" not in without


def test_text_of_others_cannot_move_the_cursor() -> None:
    made = banner(mode=Mode.DIRECT, session="a\x1b[2J\nb" + "c" * 500, notes=("x\x1b]0;t\x07y",))
    assert "\x1b" not in made.text
    assert "\x07" not in made.text
    assert len(made.head.splitlines()[0]) < 120


def test_an_address_in_a_note_is_not_cut_in_two() -> None:
    address = "https://box.example/" + "a-b/" * 30
    assert address in banner(notes=(f"Also at {address} for others.",), columns=60).text
