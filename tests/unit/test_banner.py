"""What the command prints when the bridge is up."""

import dataclasses
import re
from typing import Any

import pytest

from ttybridge.core.banner import Banner, SshLine, make_banner
from ttybridge.core.public_key import PublicKey
from ttybridge.model import Mode

SSH = SshLine(
    user="me",
    host="127.0.0.1",
    port=2222,
    host_key=PublicKey("ssh-ed25519", b"one"),
    lands="the tmux session",
)
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


@pytest.mark.parametrize("columns", [0, 1, 20, 40, 41, 80, 100, 300])
def test_what_is_to_be_copied_for_ssh_has_lines_of_its_own_at_every_width(columns: int) -> None:
    made = banner(ssh=SSH, columns=columns)
    lines = made.text.splitlines()
    assert lines.count("  ssh -p 2222 me@127.0.0.1") == 1
    at = lines.index("  Host ttybridge")
    assert lines[at - 1] == lines[at + 5] == ""
    assert lines[at : at + 5] == [
        "  Host ttybridge",
        "    HostName 127.0.0.1",
        "    Port 2222",
        "    User me",
        f"    HostKeyAlias {SSH.alias}",
    ]
    assert lines.count(LINK) == 1
    limit = max(min(max(columns, 40), 100), len(SSH.host_key.fingerprint))
    assert all(len(line) <= limit for line in lines if line != LINK)


def test_a_long_name_is_not_cut_in_the_ssh_command() -> None:
    host = "a-long-name." * 20 + "example"
    made = banner(ssh=dataclasses.replace(SSH, host=host), columns=40)
    lines = made.text.splitlines()
    assert f"  ssh -p 2222 me@{host}" in lines
    assert f"    HostName {host}" in lines


@pytest.mark.parametrize("columns", [40, 80])
def test_the_host_key_is_shown_as_ssh_shows_it(columns: int) -> None:
    tail = banner(ssh=SSH, columns=columns).tail
    assert "Host key: ED25519" in tail
    assert re.search(r"SHA256:[A-Za-z0-9+/]{43}$", tail, re.MULTILINE)
    assert SSH.host_key.fingerprint in tail


def test_it_says_where_ssh_lands_and_what_to_do_from_elsewhere() -> None:
    tail = banner(ssh=SSH).tail
    assert "lands in the tmux session:" in tail
    assert "ttybridge ssh LINK" in tail
    assert "ttybridge ssh-config LINK" in tail


def test_the_ssh_part_has_no_token() -> None:
    made = banner(ssh=SSH)
    assert "token" not in made.tail
    assert "x" * 20 not in made.head + made.tail


def test_without_ssh_nothing_is_said_of_it() -> None:
    assert "ssh" not in banner().text.lower()
    assert "HostKeyAlias" not in banner().text


def test_the_ssh_part_stands_between_the_link_and_the_way_to_stop() -> None:
    text = banner(ssh=SSH, notes=("A note.",)).text
    marks = (LINK, "ssh -p", "Host ttybridge", "ssh-config", "Ctrl-C stops", "- A note.")
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)


def test_another_host_key_is_known_by_another_name() -> None:
    keys = [PublicKey("ssh-ed25519", bytes([number])) for number in range(200)]
    aliases = [dataclasses.replace(SSH, host_key=key).alias for key in keys]
    assert len(set(aliases)) == len(keys)
    assert all(re.fullmatch(r"ttybridge-[A-Za-z0-9]{8}", alias) for alias in aliases)
    moved = dataclasses.replace(SSH, host="box.example", port=1, user="you")
    assert moved.alias == SSH.alias
