"""What every login runs: where it goes, what it gets, what it says, and how little it imports."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core import sshd_config
from ttybridge.ssh import joined, login

ROLES = [b"owner", b"viewer", b"editor", b"removed", b"Owner", b"", b"owner "]
COMMANDS = [None, b"", b"id", login.SUBSYSTEM, login.SUBSYSTEM + b" -l", b"internal-sftp"]
SFTP = [b"", b"/usr/lib/openssh/sftp-server"]


def expected(
    role: bytes, command: bytes | None, has_terminal: bool, lands: bytes, sftp: bytes
) -> bytes:
    """Say where a login goes, as the table in the guide has it."""
    wants = "nothing" if command is None else "a command"
    if command == login.SUBSYSTEM:
        wants = "files"
    match (role, wants, has_terminal):
        case (b"owner" | b"editor", "files", _):
            return b"sftp" if sftp else b"refused no-sftp"
        case (b"owner" | b"editor", "a command", _):
            return b"command"
        case (b"owner" | b"editor", _, True):
            return lands
        case (b"owner" | b"editor", _, False):
            return b"shell"
        case (b"viewer", "files", _):
            return b"refused sftp"
        case (b"viewer", "a command", _):
            return b"refused command"
        case (b"viewer", _, True):
            return b"session"
        case (b"viewer", _, False):
            return b"refused shell"
        case (b"removed", _, _):
            return b"refused removed"
        case _:
            return b"refused role"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_login_goes_where_its_key_and_its_wish_lead(role: bytes, command: bytes | None) -> None:
    for has_terminal, lands, sftp in itertools.product([True, False], [b"session", b"shell"], SFTP):
        where = login.destination(
            command, role=role, has_terminal=has_terminal, lands=lands, sftp=sftp
        )
        assert where == expected(role, command, has_terminal, lands, sftp)
        if where.startswith(b"refused "):
            assert login.REFUSALS[where.removeprefix(b"refused ")]


@given(
    st.none() | st.binary(),
    st.booleans(),
    st.sampled_from([b"session", b"shell"]),
    st.sampled_from(SFTP),
)
def test_a_viewer_gets_the_session_or_nothing(
    command: bytes | None, has_terminal: bool, lands: bytes, sftp: bytes
) -> None:
    where = login.destination(
        command, role=b"viewer", has_terminal=has_terminal, lands=lands, sftp=sftp
    )
    assert where == b"session" or where.startswith(b"refused ")
    assert (where == b"session") == (command is None and has_terminal)


def test_sshd_and_the_login_mean_the_same_by_sftp() -> None:
    assert sshd_config.SUBSYSTEM.encode() == login.SUBSYSTEM


NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & set(b"=\0"))
VALUES = st.binary(max_size=60).map(lambda value: value.replace(b"\0", b""))
SPECIAL = {
    b"SSH_CLIENT",
    b"SSH_CONNECTION",
    b"SSH_TTY",
    b"SSH_AUTH_SOCK",
    b"DISPLAY",
    b"TERM",
    b"PWD",
    b"SHLVL",
}
ENVIRONMENTS = st.dictionaries(NAMES | st.sampled_from(sorted(SPECIAL)), VALUES, max_size=12)


@given(ENVIRONMENTS)
def test_a_file_of_entries_is_read_byte_by_byte(env: dict[bytes, bytes]) -> None:
    data = b"".join(name + b"=" + value + b"\0" for name, value in env.items())
    assert login.entries(data) == env


def test_entries_without_a_sign_and_an_empty_file_are_nothing() -> None:
    assert login.entries(b"") == {}
    assert login.entries(b"A\0B=1\0\0") == {b"B": b"1"}


@given(ENVIRONMENTS, ENVIRONMENTS, st.binary(max_size=9), st.booleans())
def test_every_other_variable_is_the_bridges_byte_by_byte(
    snapshot: dict[bytes, bytes], given_: dict[bytes, bytes], term: bytes, is_command: bool
) -> None:
    kept = dict(snapshot)
    env = login.environment(snapshot, given_, term=term, cwd=b"/home", is_command=is_command)
    assert snapshot == kept
    assert {n: v for n, v in env.items() if n not in SPECIAL} == {
        n: v for n, v in snapshot.items() if n not in SPECIAL
    }
    for name in login.FROM_SSHD:
        assert env.get(name) == given_.get(name)
    for name in login.FROM_SSHD_IF_THERE:
        assert env.get(name) == given_.get(name, snapshot.get(name))
    assert env.get(b"TERM") == (term or snapshot.get(b"TERM"))
    assert env[b"PWD"] == b"/home"


@pytest.mark.parametrize(
    ("level", "is_command", "expected"),
    [
        (None, True, b"1"),
        (b"", True, b"1"),
        (b"0", True, b"1"),
        (b"000", True, b"1"),
        (b"-1", True, b"1"),
        (b"x", True, b"1"),
        (b"\xb2", True, b"1"),
        (b"1", True, b"1"),
        (b"7", True, b"7"),
        (b"9" * 5000, True, b"9" * 5000),
        (None, False, None),
        (b"0", False, b"0"),
    ],
)
def test_a_command_is_never_run_by_a_shell_that_takes_itself_for_the_first(
    level: bytes | None, is_command: bool, expected: bytes | None
) -> None:
    snapshot = {} if level is None else {b"SHLVL": level}
    env = login.environment(snapshot, {}, term=b"", cwd=b"/", is_command=is_command)
    assert env.get(b"SHLVL") == expected


@pytest.fixture(name="types")
def terminal_types(tmp_path: Path) -> dict[bytes, bytes]:
    """An environment with one terminal type in a folder of its own."""
    for folder in ("b", "62"):
        (tmp_path / folder).mkdir()
    (tmp_path / "b" / "box").touch()
    (tmp_path / "62" / "bag").touch()
    (tmp_path / "secret").touch()
    return {b"TERMINFO": os.fsencode(tmp_path)}


def test_a_terminal_type_is_looked_up_as_ncurses_does(
    types: dict[bytes, bytes], tmp_path: Path
) -> None:
    assert login.is_known_terminal(b"box", types)
    assert login.is_known_terminal(b"bag", types)
    assert not login.is_known_terminal(b"bin-of-nobody", types)
    folder = types[b"TERMINFO"]
    assert login.is_known_terminal(b"box", {b"TERMINFO_DIRS": b"/nowhere::" + folder})
    (tmp_path / ".terminfo" / "c").mkdir(parents=True)
    (tmp_path / ".terminfo" / "c" / "cup").touch()
    assert login.is_known_terminal(b"cup", {b"HOME": folder})
    assert not login.is_known_terminal(b"cup", {})


@pytest.mark.parametrize(
    "term",
    [
        b"",
        b"dumb",
        b".",
        b"..",
        b"../secret",
        b"/etc/passwd",
        b"b/box",
        b"..\0",
        b"box\0",
        b"b\0ox",
        b"\xff\xfe",
        b"%s%n",
        b"a" * 10_000,
        b"box\n",
        b"~",
    ],
)
def test_a_hostile_terminal_type_is_not_known(term: bytes, types: dict[bytes, bytes]) -> None:
    assert not login.is_known_terminal(term, types)


@given(st.binary(max_size=60))
def test_no_terminal_type_leads_out_of_the_folders(term: bytes) -> None:
    assert not login.is_known_terminal(b"../" + term, {b"TERMINFO": b"/tmp"})
    login.is_known_terminal(term, {})


def test_a_relative_folder_of_terminal_types_does_not_count(
    types: dict[bytes, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not login.is_known_terminal(b"box", {b"TERMINFO": b"."})
    assert not login.is_known_terminal(b"box", {b"TERMINFO": b"", b"TERMINFO_DIRS": b".:"})


MESSAGES = st.lists(st.tuples(st.sampled_from([b"H", b"I", b"S", b"O", b"E"]), st.binary()))


@given(MESSAGES, st.data())
def test_messages_are_the_same_however_they_are_cut(
    messages: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(joined.message(kind, content) for kind, content in messages)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    buffer = bytearray()
    found = []
    for begin, end in itertools.pairwise([0, *cuts, len(stream)]):
        buffer += stream[begin:end]
        while taken := joined.take_message(buffer):
            found.append(taken)
    assert found == messages
    assert not buffer


def test_a_message_is_not_taken_before_its_last_byte() -> None:
    whole = joined.message(joined.INPUT, b"x" * 300)
    for length in range(len(whole)):
        buffer = bytearray(whole[:length])
        assert joined.take_message(buffer) is None
        assert buffer == whole[:length]


COUNT = "import sys; before = set(sys.modules)\n{}\nprint(*sorted(set(sys.modules) - before))"


def modules_after(code: str) -> set[str]:
    """Return what an isolated Python imports for a piece of code."""
    shown = subprocess.run(
        [sys.executable, "-IS", "-c", COUNT.format(code)],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return set(shown.stdout.split())


def test_it_imports_os_and_nothing_else() -> None:
    code = (
        f"exec(compile(open({login.__file__!r}).read(), 'login', 'exec'), {{'__name__': 'login'}})"
    )
    bare = modules_after("import os")
    assert "os" in bare
    assert len(bare) <= 8
    assert modules_after(code) == bare
