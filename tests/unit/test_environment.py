"""What of an environment is passed on, hidden, masked, and read back from tmux."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core import environment as env

NAME = st.binary(min_size=1, max_size=12).filter(lambda n: not set(n) & set(b"=\0\n"))
VALUE = st.binary(max_size=60).filter(lambda v: b"\0" not in v)


def test_what_node_pty_drops_and_our_own_token_are_dropped_and_nothing_else() -> None:
    kept = {b"LD_LIBRARY_PATH": b"/usr/lib64-nvidia", b"TMUX_TMPDIR": b"/t", b"A=": b"", b"": b"x"}
    dropped = dict.fromkeys(
        [
            *(b"TMUX", b"TMUX_PANE", b"STY", b"WINDOW", b"WINDOWID", b"TERMCAP", b"COLUMNS"),
            *(b"LINES", b"TTYBRIDGE_TOKEN"),
        ],
        b"1",
    )
    assert env.child_environment(kept | dropped) == kept


def test_a_pty_gets_its_terminal_type_and_directory() -> None:
    made = env.pty_environment({b"TERM": b"dumb", b"PWD": b"/old", b"A": b"1"}, cwd=b"/new")
    assert made == {b"TERM": b"xterm-256color", b"PWD": b"/new", b"A": b"1"}


def test_an_entry_that_no_program_could_be_started_with_is_found() -> None:
    fits = env.MAX_ENTRY_BYTES - len(b"A=") - 1
    assert env.too_long({b"A": b"x" * fits}) == []
    assert env.too_long({b"A": b"x" * (fits + 1)}) == [b"A"]


@pytest.mark.parametrize(
    "name",
    [
        b"HF_TOKEN",
        b"AWS_SECRET_ACCESS_KEY",
        b"PGPASSWORD",
        b"NGROK_AUTHTOKEN",
        b"API_KEY",
        b"MYSQL_PWD",
    ],
)
def test_names_of_secrets_are_known(name: bytes) -> None:
    assert env.is_secret(name)


@pytest.mark.parametrize(
    "name", [b"PATH", b"LD_LIBRARY_PATH", b"HOME", b"KEYBOARD", b"PWD_COUNT", b"PWD", b"OLDPWD"]
)
def test_other_names_are_not_masked(name: bytes) -> None:
    assert not env.is_secret(name)


def test_a_mask_shows_nothing_of_the_value() -> None:
    assert "hunter2" not in env.mask(b"hunter2")


def test_hidden_names_are_those_that_the_server_alone_has() -> None:
    assert env.names_to_hide({b"A": b"1"}, [b"A", b"B", b"TERM", b"TMUX"]) == (b"B",)


def test_a_difference_names_what_is_added_removed_and_changed() -> None:
    diff = env.compare({b"A": b"1", b"B": b"2", b"SHLVL": b"1"}, {b"B": b"3", b"C": b"4"})
    assert diff == env.EnvironmentDiff((b"A",), (b"C",), (b"B",))
    assert diff
    assert not env.compare({b"A": b"1"}, {b"A": b"1", b"TERM": b"x"})


def _as_tmux_prints(variables: dict[bytes, bytes | None]) -> bytes:
    lines = []
    for name, value in variables.items():
        if value is None:
            lines.append(b"unset %s;\n" % name)
        else:
            quoted = b"".join(b"\\" + bytes([b]) if b in b'$`"\\' else bytes([b]) for b in value)
            lines.append(b'%s="%s"; export %s;\n' % (name, quoted, name))
    return b"".join(lines)


@given(st.dictionaries(NAME.filter(lambda n: b" " not in n), st.none() | VALUE, max_size=8))
def test_what_tmux_prints_is_read_back_exactly(variables: dict[bytes, bytes | None]) -> None:
    assert env.parse_show_environment(_as_tmux_prints(variables)) == variables


@given(st.binary(max_size=200))
def test_any_output_of_tmux_is_taken(data: bytes) -> None:
    env.parse_show_environment(data)
