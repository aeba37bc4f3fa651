"""What SSH logins are made of: the time to a terminal, keys and roles, sockets of connections."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core.people import MAX_NAME, Person
from ttybridge.core.permissions import Entrance
from ttybridge.core.ssh_keys import AuthorizedKey
from ttybridge.model import Role
from ttybridge.ssh import host_key, login
from ttybridge.ssh.joined import ANSWERS, ASK_EVERY_S, GIVE_UP_S, HOLD_S, TYPED_S, RoundTrip
from ttybridge.ssh.lines import OverWeb, accepted, parse_sockets
from ttybridge.ssh.roster import Roster, name_of

# The time to a terminal

KEYS = st.binary(max_size=30).filter(lambda data: b"\x1b[0n" not in data and b"\x1b[3n" not in data)


def asked() -> RoundTrip:
    trip = RoundTrip(0.0)
    trip.shown(0.0)
    trip.ask(2.0)
    return trip


@given(KEYS, KEYS, st.sampled_from(ANSWERS), st.lists(st.integers(1, 64), max_size=6))
def test_an_answer_is_taken_out_of_what_is_typed_however_it_is_cut(
    before: bytes, after: bytes, answer: bytes, cuts: list[int]
) -> None:
    data = before + answer + after
    if data.find(answer) != len(before):
        return
    trip = asked()
    edges = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    typed, begin = b"", 0
    for end in edges:
        typed += trip.typed(data[begin:end], 2.25)
        begin = end
    assert typed == before + after
    assert trip.took_s == 0.25
    assert trip.asked_at is None


@given(KEYS, st.lists(st.integers(1, 40), max_size=6))
def test_without_an_answer_every_byte_is_typed_and_waits_a_moment_at_most(
    data: bytes, cuts: list[int]
) -> None:
    trip = asked()
    typed, begin = b"", 0
    for end in sorted({min(cut, len(data)) for cut in cuts} | {len(data)}):
        typed += trip.typed(data[begin:end], 3.0)
        begin = end
    assert data.startswith(typed)
    assert len(data) - len(typed) <= 3
    assert trip.late(3.0) == b""
    assert typed + trip.late(3.0 + HOLD_S) == data
    assert trip.took_s is None


@given(st.binary(max_size=30))
def test_what_nobody_has_asked_for_is_typed_as_it_is(data: bytes) -> None:
    trip = RoundTrip(0.0)
    assert trip.typed(data, 0.0) == data
    trip.shown(0.0)
    assert trip.typed(data, 0.0) == data


def test_nothing_is_asked_before_the_screen_among_keys_or_in_the_middle_of_output() -> None:
    trip = RoundTrip(0.0)
    assert trip.wait_s(100.0) is None
    trip.shown(100.0)
    assert trip.wait_s(100.0) == pytest.approx(0.25)
    trip.typed(b"x", 100.1)
    assert trip.wait_s(100.1) == TYPED_S
    trip.ask(102.0)
    trip.typed(b"\x1b[0n", 102.1)
    assert trip.wait_s(102.1) == pytest.approx(ASK_EVERY_S - 0.1)
    trip.shown(117.0)
    assert trip.wait_s(117.0) == pytest.approx(0.25)


def test_a_terminal_that_does_not_answer_is_asked_once() -> None:
    trip = asked()
    assert trip.wait_s(2.0) == GIVE_UP_S
    assert trip.late(2.0 + GIVE_UP_S) == b""
    trip.shown(1000.0)
    assert trip.wait_s(2000.0) is None
    # An Escape key is not held any more.
    assert trip.typed(b"\x1b", 2000.0) == b"\x1b"


# Keys and roles

OWNER, VIEWER = (
    AuthorizedKey(key, read_only, (), "test")
    for key, read_only in ((host_key.generate().public, False), (host_key.generate().public, True))
)
OWNS, WATCHES = OWNER.key.fingerprint, VIEWER.key.fingerprint


@pytest.fixture
def roster(tmp_path: Path) -> Roster:
    made = Roster(tmp_path, [OWNER, VIEWER], lambda who, role: f"{role.value} {who}")
    made.write()
    return made


def lines(folder: Path) -> dict[str, str]:
    """Return what sshd reads, by key: the options."""
    text = (folder / "authorized_keys").read_text()
    found = {}
    for line in text.splitlines():
        who = next(k.key for k in (OWNER, VIEWER) if k.key.line in line)
        found[who.fingerprint] = line.removesuffix(f" {who.line}")
    return found


def roles(folder: Path) -> dict[bytes, bytes]:
    return login.entries((folder / "roles").read_bytes())


def role_now(folder: Path, who: str, argument: bytes) -> bytes:
    return login.now(str(folder).encode(), who.encode(), argument)


def test_a_key_s_rights_never_grow_beyond_what_it_was_made_for(
    roster: Roster, tmp_path: Path
) -> None:
    before = lines(tmp_path)
    assert before == {
        OWNS: f'command="owner {OWNS}"',
        WATCHES: f'restrict,pty,command="viewer {WATCHES}"',
    }
    assert roles(tmp_path) == {}
    for role in Role:
        assert not roster.set_role(f"ssh:{WATCHES}", role)
        assert lines(tmp_path) == before
        assert role_now(tmp_path, WATCHES, b"viewer") == b"viewer"
        found = roster.person(WATCHES, "10.0.0.9 5 10.0.0.1 22")
        assert found is not None
        assert (found.role, found.address) == (role, "10.0.0.9")


def test_a_key_that_is_a_viewer_s_by_now_runs_nothing_until_it_is_given_back(
    roster: Roster, tmp_path: Path
) -> None:
    before = lines(tmp_path)
    assert roster.set_role(f"ssh:{OWNS}", Role.VIEWER)
    assert lines(tmp_path)[OWNS] == f'restrict,pty,command="owner {OWNS}"'
    assert lines(tmp_path)[WATCHES] == before[WATCHES]
    assert role_now(tmp_path, OWNS, b"owner") == b"viewer"
    assert not roster.runs(OWNS)
    assert not roster.set_role(f"ssh:{OWNS}", Role.VIEWER), "it could not before"
    assert not roster.set_role(f"ssh:{OWNS}", Role.EDITOR)
    assert role_now(tmp_path, OWNS, b"owner") == b"editor"
    assert roster.runs(OWNS)
    roster.set_role(f"ssh:{OWNS}", Role.OWNER)
    assert (lines(tmp_path), roles(tmp_path)) == (before, {})


def test_a_key_that_is_removed_is_in_no_file_and_no_role_brings_it_back(
    roster: Roster, tmp_path: Path
) -> None:
    roster.end(f"ssh:{OWNS}")
    for _ in range(2):
        assert set(lines(tmp_path)) == {WATCHES}
        assert role_now(tmp_path, OWNS, b"owner") == b"removed"
        assert roster.person(OWNS, "") is None
        assert (roster.accepts(OWNS), roster.runs(OWNS)) == (False, False)
        roster.set_role(f"ssh:{OWNS}", Role.OWNER)


def test_other_people_s_credentials_change_no_key(roster: Roster, tmp_path: Path) -> None:
    before = lines(tmp_path)
    for credential in ("", "ssh:", OWNS, "ssh:SHA256:x", "token", "web-1"):
        assert not roster.set_role(credential, Role.VIEWER)
        roster.end(credential)
    assert (lines(tmp_path), roles(tmp_path)) == (before, {})


def test_a_guest_is_known_while_the_connection_lasts(roster: Roster, tmp_path: Path) -> None:
    ada = Person(Role.EDITOR, Entrance.SSH, "Ada", "s1")
    assert roster.add_guest("web-1", OWNER, ada).startswith('command="editor web-1" ')
    assert roster.add_guest("web-2", VIEWER, ada).startswith('restrict,pty,command="viewer web-2" ')
    assert roster.person("web-1", "UNKNOWN 65535 UNKNOWN 65535") == ada
    assert roster.set_role("s1", Role.VIEWER)
    assert role_now(tmp_path, "web-1", b"editor") == b"viewer"
    found = roster.person("web-1", "")
    assert found is not None
    assert found.role is Role.VIEWER
    roster.set_role("s1", Role.OWNER)
    assert (roster.runs("web-1"), roster.runs("web-2")) == (True, False)
    roster.end("s1")
    assert role_now(tmp_path, "web-2", b"viewer") == b"removed"
    for who in ("web-1", "web-2"):
        roster.remove_guest(who)
        assert roster.person(who, "") is None
    assert roles(tmp_path) == {}


def test_when_nothing_can_be_written_nobody_comes_in(
    roster: Roster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".roles").mkdir()  # in the place of the new file
    roster.set_role(f"ssh:{OWNS}", Role.VIEWER)
    assert not (tmp_path / "authorized_keys").exists()
    assert role_now(tmp_path, OWNS, b"owner") == b""
    assert "no key may log in" in caplog.text


@given(st.text())
def test_every_comment_makes_a_name_that_can_be_shown(comment: str) -> None:
    name = name_of(comment, "10.0.0.9")
    assert name
    assert len(name) <= MAX_NAME
    assert name.isprintable()


# Sockets


def test_addresses_of_both_families_are_read_in_one_spelling() -> None:
    word = (127).to_bytes(4, sys.byteorder).hex() if sys.byteorder == "big" else "0100007F"
    mapped = f"0000000000000000FFFF0000{word}"
    text = f"head\n 0: {mapped}:08AE {mapped}:C350 01 0:0 0:0 0 0 0 77 1 0\n"
    assert list(parse_sockets(text)) == [(2222, ("127.0.0.1", 50000), "01", "77")]


@pytest.mark.parametrize(
    "line",
    [
        "Failed publickey for me from 10.0.0.9 port 99 ssh2: ED25519 SHA256:abc",
        "Invalid user Accepted publickey for me from 10.0.0.9 port 99 ssh2: ED25519 SHA256:abc",
        "Accepted publickey for me from 10.0.0.9 port x ssh2: ED25519 SHA256:abc",
        "Accepted password for me from 10.0.0.9 port 99 ssh2",
    ],
    ids=["failed", "a stranger's", "no port", "password"],
)
def test_only_the_line_of_a_login_tells_of_one(line: str) -> None:
    assert accepted(line) is None


def test_a_keeper_that_is_gone_has_no_processes() -> None:
    assert OverWeb(0).processes() == ([], [])
