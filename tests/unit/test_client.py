"""The client's pure parts: addresses, names, Host blocks, what the bridge says, its own files."""

import contextlib
import doctest
import json
import os
import stat
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ttybridge import arguments, subcommands
from ttybridge.client import address, http, ssh_config, store
from ttybridge.client.address import checked_name, parse_address
from ttybridge.core.public_key import parse_public_key
from ttybridge.errors import ConfigError, TtyBridgeError
from ttybridge.model import Secret

TOKEN = "R7xk2-Qm9fLw0_ab"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 42 + "B"
BOX = parse_address("https://box.example")


def host(**changes: Any) -> ssh_config.Host:
    settings: dict[str, Any] = {
        "name": "box",
        "user": "root",
        "known_hosts": Path("/home/a/.config/ttybridge/ssh/known_hosts"),
        "identity": Path("/home/a/.ssh/id_ed25519"),
        "proxy": ("/usr/bin/python3", "-I", "-m", "ttybridge", "proxy", "https://box.example"),
    }
    return ssh_config.Host(**settings | changes)


@pytest.mark.parametrize("module", [address, http, ssh_config])
def test_the_examples_in_docstrings_are_true(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("link", "base", "name"),
    [
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000", "ttybridge-127.0.0.1-8000"),
        ("https://box.example", "https://box.example", "ttybridge-box.example"),
        ("https://box.example:443/?x=1#a", "https://box.example", "ttybridge-box.example"),
        ("https://Box.Example:8443", "https://box.example:8443", "ttybridge-box.example-8443"),
        ("HTTP://box.example:80/", "http://box.example", "ttybridge-box.example-4d476249"),
        ("http://gpu-box:8000/", "http://gpu-box:8000", "ttybridge-gpu-box-8000-ca3a9d0a"),
        ("https://gpu-box/", "https://gpu-box", "ttybridge-gpu-box"),
        ("https://box.example/user/a/proxy/8080/", "https://box.example/user/a/proxy/8080",
         "ttybridge-box.example-user-a-proxy-8080"),
        ("http://[::1]:8000/", "http://[::1]:8000", "ttybridge--1-8000-ad792318"),
        ("https://bücher.example/", "https://xn--bcher-kva.example",
         "ttybridge-xn--bcher-kva.example"),
        ("https://box.example/ä'b", "https://box.example/%C3%A4%27b",
         "ttybridge-box.example-C3-A4-27b-bccbed14"),
    ],
)  # fmt: skip
def test_an_address_is_taken_apart(link: str, base: str, name: str) -> None:
    found = parse_address(link)
    assert (found.base, found.name, found.token) == (base, name, None)
    assert checked_name(name) == name


def test_the_token_is_taken_out_of_a_link() -> None:
    found = parse_address(f"https://box.example/a/?x=1&token={TOKEN}#top")
    assert found.base == "https://box.example/a"
    assert found.token == TOKEN
    assert TOKEN not in repr(found)


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("box.example", "has to begin with https://"),
        ("ftp://box.example/", "has to begin with https://"),
        ("http://", "names no host"),
        ("https:///a", "names no host"),
        ("https://box.example:99999/", "Port out of range"),
        ("https://box.example:x/", "Port"),
        ("https://[::1/", "is not the address"),
        ("https://[::g]/", "is not the address"),
        ("https://-box*/", "characters that no name has"),
        ("https://a b/", "spaces"),
        ("https://box.example/\n", "line breaks"),
        ("https://me:pw@box.example/", "password in the address"),
        ("https://box.example/?token=abc", "is not the token of a bridge"),
        ("https://box.example/?token=", "is not the token of a bridge"),
        ("https://box.example/?token=R7xk2-Qm9fLw0_ab%0d%0aX:%20y", "is not the token"),
    ],
)
def test_what_is_no_link_is_refused_with_a_sentence(link: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_address(link)
    assert "R7xk2" not in str(caught.value)


@given(st.text(min_size=1, max_size=40))
def test_no_text_is_taken_for_a_link_or_shown_with_its_token(text: str) -> None:
    try:
        found = parse_address(f"https://{text}?token={TOKEN}")
    except ConfigError as error:
        said = str(error)
    else:
        said = found.base
        assert checked_name(found.name) == found.name
        assert said.isascii()
        assert said.isprintable()
    assert TOKEN not in said


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://box.example", "http://box.example"),
        ("http://127.0.0.1:8000", "https://127.0.0.1:8000"),
        ("https://box.example/a/b", "https://box.example/a-b"),
        ("https://box.example/a/b", "https://box.example/a//b"),
        ("https://box.example/a/b", "https://box.example/A/b"),
        ("https://box.example/a.b", "https://box.example-a.b"),
        ("https://box.example/8000", "https://box.example:8000"),
        ("https://gpu-8000", "https://gpu:8000"),
        ("https://gpu/box", "https://gpu-box"),
        ("https://box.example.", "https://box.example"),
        ("http://[::1]:8000", "http://[::1:8000]"),
    ],
)
def test_addresses_that_read_alike_have_names_of_their_own(one: str, other: str) -> None:
    names = {parse_address(one).name, parse_address(other).name}
    assert len({name.lower() for name in names}) == 2, "known_hosts does not tell case apart"
    assert all(checked_name(name) == name for name in names)


alike = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["http://", "https://"]),
        st.text("a1-.", min_size=1, max_size=4),
        st.sampled_from(["", ":1", ":11"]),
        st.text("a1-./", max_size=4).map(lambda path: path and f"/{path}"),
    ),
)


@given(st.lists(alike, min_size=2, max_size=40))
def test_no_two_addresses_share_a_name(links: list[str]) -> None:
    bases: dict[str, str] = {}
    for link in links:
        with contextlib.suppress(ConfigError):
            found = parse_address(link)
            assert bases.setdefault(found.name, found.base) == found.base


def test_long_addresses_have_names_of_their_own() -> None:
    names = {parse_address(f"https://{'a' * 60}.example/{'b' * 90}{end}").name for end in "xyz"}
    assert len(names) == 3
    assert max(map(len, names)) <= address.MAX_NAME


@pytest.mark.parametrize("name", ["", "-a", "a b", "a*", "a,b", "../a", "a/b", "a%h", "x" * 101])
def test_names_that_mean_something_to_ssh_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--name"):
        checked_name(name)


@pytest.mark.parametrize(
    ("link", "local", "clear"),
    [
        ("http://127.0.0.1:1/", True, False),
        ("http://localhost:1/", True, False),
        ("http://[::1]/", True, False),
        ("http://box.example/", False, True),
        ("https://box.example/", False, False),
    ],
)
def test_only_plain_http_to_another_machine_is_readable_on_the_way(
    link: str, local: bool, clear: bool
) -> None:
    found = parse_address(link)
    assert (found.is_local, found.is_clear) == (local, clear)


def test_a_block_pins_the_host_key_and_names_what_it_needs() -> None:
    lines = [line.strip() for line in ssh_config.block(host()).splitlines()]
    assert lines[0] == "Host box"
    assert "StrictHostKeyChecking yes" in lines
    assert "HostKeyAlias box" in lines
    assert "IdentitiesOnly yes" in lines
    # A user's own settings, which come later, cannot have the server change what is pinned.
    assert "UpdateHostKeys no" in lines
    assert "UserKnownHostsFile /home/a/.config/ttybridge/ssh/known_hosts" in lines
    assert "ProxyCommand /usr/bin/python3 -I -m ttybridge proxy https://box.example" in lines


def test_spaces_and_percent_signs_in_paths_are_escaped_for_ssh_and_for_the_shell() -> None:
    text = ssh_config.block(host(identity=Path("/a b/100%"), proxy=("/a b/100%/python", "x$y")))
    assert '  IdentityFile "/a b/100%%"\n' in text
    assert "  ProxyCommand '/a b/100%%/python' 'x$y'\n" in text


@pytest.mark.parametrize("name", ["a\nb", 'a"b', "a'b", "a\\b", "${HOME}", "a\x1bb"])
def test_paths_that_ssh_would_read_as_something_else_are_refused(name: str) -> None:
    with pytest.raises(TtyBridgeError, match="cannot hold the path"):
        ssh_config.block(host(identity=Path("/a", name)))
    with pytest.raises(TtyBridgeError, match="cannot hold the path"):
        ssh_config.block(host(proxy=("python", name)))


def test_a_block_takes_the_place_of_the_older_one_of_its_name() -> None:
    old = b"# mine\nHost a\n  Port 1\n\n# about box\nHost box\n  Port 2\n  # in it\n\n# c\nHost c\n"
    new = ssh_config.with_block(old, "box", "Host box\n  Port 9\n")
    wanted = b"# mine\nHost a\n  Port 1\n\n# about box\nHost box\n  Port 9\n"
    assert new == wanted + b"  # in it\n\n# c\nHost c\n"


configs = st.lists(
    st.sampled_from(
        [b"Host a", b"Host box other", b"host=c", b"Match all", b"  Port 22", b"# text", b"",
         b"  User \xff", b"Include other", b"\tHost  d\r"],
    ),
    max_size=12,
).map(lambda lines: b"\n".join(lines))  # fmt: skip


@given(configs, configs)
def test_other_blocks_stay_byte_for_byte_when_one_is_added_or_replaced(
    before: bytes, after: bytes
) -> None:
    first = ssh_config.with_block(before, "box", "Host box\n  Port 1\n")
    assert first.startswith(before)
    assert first.endswith(b"\nHost box\n  Port 1\n")
    more = first + b"\nHost last\n" + after
    second = ssh_config.with_block(more, "box", "Host box\n  Port 2\n")
    assert second == more.replace(b"Host box\n  Port 1\n", b"Host box\n  Port 2\n")


@given(st.binary(max_size=60) | configs)
@example(b"=")
def test_the_include_is_put_first_once_and_all_other_bytes_stay(data: bytes) -> None:
    new = ssh_config.with_include(data)
    assert new.endswith(data)
    assert ssh_config.with_include(new) == new


@pytest.mark.parametrize(
    "data",
    [
        b"Include ttybridge_config\n",
        b"\n# first of all\n\tinclude=ttybridge_config\nHost a\n",
        b"Include other ttybridge_config\r\nHost a\r\n",
    ],
)
def test_an_include_that_comes_first_already_is_left_alone(data: bytes) -> None:
    assert ssh_config.with_include(data) == data


def test_an_include_inside_a_block_does_not_count() -> None:
    data = b"Host a\n  Include ttybridge_config\n"
    assert ssh_config.with_include(data) == b"Include ttybridge_config\n\n" + data


def test_what_follows_the_address_is_handed_to_ssh_untouched() -> None:
    words = ["-t", "--help", "--", "--token", "htop", "-L", "1:a:2"]
    found = arguments.parse(["ssh", "--identity", "k", "https://box.example", *words])
    assert found.problems == []
    assert not found.help
    assert found.subcommand is subcommands.SSH
    assert found.words == ("https://box.example",)
    assert found.rest == tuple(words)
    assert found.values == {"--identity": "k"}


def test_own_flags_of_the_client_are_read_in_both_forms() -> None:
    found = arguments.parse(
        ["ssh-config", "https://box.example", "--name=box", "--write", "--token-file", "t",
         "--replace-host-key", "--identity=/k"]
    )  # fmt: skip
    assert found.problems == []
    assert found.values == {"--name": "box", "--identity": "/k"}
    assert found.flags == {"token_file": "t"}
    assert {"--write", "--replace-host-key"} <= found.switches


def test_all_faults_of_a_client_command_are_reported_at_once() -> None:
    found = arguments.parse(["proxy", "--wirte", "--name", "--port", "1", "--write=1"])
    text = "\n".join(found.problems)
    assert "ttybridge proxy needs URL: the link" in text
    assert "There is no option --wirte." in text
    assert "--name needs a value: --name NAME." in text
    assert (
        "--name is not an option of ttybridge proxy. It belongs to: ttybridge share, ttybridge "
        "ssh-config, ttybridge connect." in text
    )
    assert "--port is not an option of ttybridge proxy." in text
    assert "--write takes no value." in text


def test_a_word_too_many_and_a_command_are_refused_where_nothing_takes_them() -> None:
    assert "nothing called 'more'" in arguments.parse(["proxy", "https://a", "more"]).problems[0]
    assert "takes no command" in arguments.parse(["proxy", "https://a", "--", "x"]).problems[0]


def facts(**changes: object) -> bytes:
    return json.dumps(
        {"user": "root", "hostKey": KEY, "fingerprint": "SHA256:x"} | changes
    ).encode()


def test_what_the_bridge_says_is_read() -> None:
    found = http.parse_facts(facts(), BOX)
    assert (found.user, found.host_key.line) == ("root", KEY)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000, facts(user=1), facts(hostKey=None),
        facts(user=""), facts(user="root\n  ProxyCommand x"), facts(user="root\r"),
        facts(user="a\u2028b"), facts(user="a\ud800"), facts(user="a\u202eb"), facts(user="a\0"),
        facts(hostKey=KEY + "\nevil ssh-ed25519 AAAA"),
        facts(hostKey="ssh-ed25519 AAAA"), facts(hostKey="ssh-dss " + KEY.split()[1]),
        facts(hostKey="@cert-authority " + KEY), facts(hostKey="[1,2]"),
    ],
)  # fmt: skip
def test_nothing_unexpected_from_the_server_is_taken(data: bytes) -> None:
    with pytest.raises(TtyBridgeError, match="not as a bridge does"):
        http.parse_facts(data, BOX)


@pytest.mark.parametrize(
    "user",
    ["root", "ana@corp.example", "zoë", "Ana.B_c+d-e", "山田", "_apt", "7", "box$", "é" * 64],
)
def test_accounts_of_every_kind_are_taken_as_ssh_reads_them(user: str) -> None:
    found = http.parse_facts(facts(user=user), BOX)
    assert f"  User {user}\n" in ssh_config.block(host(user=found.user))


@pytest.mark.parametrize(
    "user",
    ["CORP\\zoe", "a b", " a", "a ", '"a"', "a'b", "-oProxyCommand=x", "%h", "a%", "${HOME}", "$",
     "a$b", "a=b", "#a", "a;b", "a`b", "a|b", "*", "a,b", "a/b", "a:b", "é" * 65],
)  # fmt: skip
def test_an_account_that_ssh_cannot_be_told_is_named_as_the_problem(user: str) -> None:
    with pytest.raises(TtyBridgeError, match="ssh's configuration cannot hold that name") as caught:
        http.parse_facts(facts(user=user), BOX)
    assert f"'{user}'" in str(caught.value)


def test_a_web_page_in_place_of_the_answer_is_named() -> None:
    with pytest.raises(TtyBridgeError, match="A web page answers in place of the bridge"):
        http.parse_facts(b"\n<!DOCTYPE html><title>You are about to visit</title>", BOX)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, b"missing pubkey", "does not take this key (400: missing pubkey)"),
        (400, b"unsupported key type: x", "Leave --identity out"),
        (400, b"odd", "does not understand the request (400: odd). Use the same version"),
        (401, b"", "Get a new link"),
        (403, b"Host", "--allow-host"),
        (404, b"not here", "started with --ssh"),
        (429, b"There are 20", "too many connections or logins (429: There are 20)"),
        (502, b"", "its SSH server does not answer"),
        (500, b"a\x1b[31m\nb", r"(500: a\x1b[31m\nb)"),
        (404, b"<html>ERR_NGROK_3200</html>", "(404, ERR_NGROK_3200): the tunnel is closed"),
        (404, b"The endpoint is offline.\n\nERR_NGROK_3200", "the tunnel is closed"),
        (302, b"", "a login stands before it"),
    ],
)
def test_every_refusal_has_its_sentence(status: int, body: bytes, said: str) -> None:
    assert said in str(http.refusal(status, body))


def test_what_the_bridge_says_of_a_links_end_stands_alone() -> None:
    said = "This link has been revoked. Ask whoever shared it with you for a new link."
    assert str(http.refusal(401, said.encode())) == said
    plain = b"A valid token is needed. Open the link that ttybridge printed when it started."
    assert "A valid token" not in str(http.refusal(401, plain))


CONNECTION: Any = aiohttp.client_reqrep.ConnectionKey("h", 1, True, True, None, None, None, None)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (aiohttp.ClientConnectorError(CONNECTION, OSError(111, "Connect call failed ('::1', 1)")),
         "nothing answers at this address and port"),
        (aiohttp.ClientConnectorDNSError(CONNECTION, OSError(-2, "Name or service not known")),
         "no machine of this name"),
        (aiohttp.ClientConnectorSSLError(CONNECTION, OSError(1, "WRONG_VERSION_NUMBER")), "https"),
        (aiohttp.ServerDisconnectedError(), "closed without an answer"),
        (aiohttp.ClientPayloadError("Response payload is not completed"), "not speak as a bridge"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed"), "no connection"),
    ],
    ids=["refused", "name", "tls", "closed", "payload", "several"],
)  # fmt: skip
def test_why_nobody_answers_is_said_without_words_of_a_library(error: Exception, said: str) -> None:
    text = http.unreached(error)
    assert said in text
    assert not any(sign in text for sign in "[]()':")


def opened(tmp_path: Path) -> store.Store:
    return store.open_store({"XDG_CONFIG_HOME": str(tmp_path)})


def test_the_folder_is_private_even_when_it_was_not(tmp_path: Path) -> None:
    folder = tmp_path / "ttybridge" / "ssh"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    assert opened(tmp_path).folder == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_relative_xdg_folder_is_passed_over(tmp_path: Path) -> None:
    found = store.open_store({"XDG_CONFIG_HOME": "config", "HOME": str(tmp_path)})
    assert found.folder == tmp_path / ".config" / "ttybridge" / "ssh"
    with pytest.raises(TtyBridgeError, match="HOME is not set"):
        store.open_store({})


def test_somebody_elses_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(TtyBridgeError, match="belongs to another user"):
        opened(tmp_path)


def test_a_host_key_is_pinned_once_and_another_one_refused(tmp_path: Path) -> None:
    place, key, other = opened(tmp_path), parse_public_key(KEY), parse_public_key(OTHER_KEY)
    assert place.pin("box", key, replace=False)
    assert place.pin("box-2", other, replace=False)
    assert not place.pin("box", key, replace=False)
    with pytest.raises(TtyBridgeError) as caught:
        place.pin("box", other, replace=False)
    assert key.fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)
    assert "--replace-host-key" in str(caught.value)
    assert place.known_hosts.read_text() == f"box {KEY}\nbox-2 {OTHER_KEY}\n"
    assert place.pin("box", other, replace=True)
    assert place.known_hosts.read_text() == f"box-2 {OTHER_KEY}\nbox {OTHER_KEY}\n"
    assert stat.S_IMODE(place.known_hosts.stat().st_mode) == 0o600


def test_a_name_in_other_letters_is_the_same_name_as_it_is_for_ssh(tmp_path: Path) -> None:
    place, key, other = opened(tmp_path), parse_public_key(KEY), parse_public_key(OTHER_KEY)
    assert place.pin("box", key, replace=False)
    assert not place.pin("BOX", key, replace=False)
    with pytest.raises(TtyBridgeError, match="--replace-host-key"):
        place.pin("Box", other, replace=False)
    assert place.pin("Box", other, replace=True)
    assert place.known_hosts.read_text() == f"Box {OTHER_KEY}\n"


def test_a_token_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    place = opened(tmp_path)
    assert place.token(BOX) is None
    path = place.save_token(BOX, Secret(TOKEN))
    assert path.name.startswith("box.example-")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert place.token(BOX) == store.Kept(Secret(TOKEN), path)


@pytest.mark.parametrize(
    "link",
    [
        "http://box.example",
        "https://box.example:444",
        "https://box.example/a",
        "https://box.exampl",
    ],
)
def test_a_kept_token_is_for_no_other_address(tmp_path: Path, link: str) -> None:
    place = opened(tmp_path)
    place.save_token(BOX, Secret(TOKEN))
    assert place.token(parse_address(link)) is None


def test_access_by_a_link_is_kept_for_that_link_and_takes_no_owners_place(tmp_path: Path) -> None:
    place, link, other = opened(tmp_path), Secret("l1.v.abc.sig"), Secret("l2.v.abc.sig")
    path = place.save_opened(BOX, link, Secret(TOKEN + "guest"))
    guests = store.Kept(Secret(TOKEN + "guest"), path)
    assert place.token(BOX, link) == guests
    assert place.token(BOX, other) is None
    assert place.token(parse_address("https://box.example:444"), link) is None
    assert place.token(BOX) == guests, "where there is no owner's"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "l1" not in path.name
    later = place.save_opened(BOX, other, Secret(TOKEN + "later"))
    os.utime(path, (1, 1))
    assert place.token(BOX) == store.Kept(Secret(TOKEN + "later"), later)
    own = place.save_token(BOX, Secret(TOKEN))
    assert place.token(BOX) == store.Kept(Secret(TOKEN), own)
    assert place.token(BOX, link) == guests


@pytest.mark.parametrize("link", ["http://[::1]:8000/", f"https://{'a' * 250}.example/%2F.."])
def test_every_address_has_a_file_for_its_token(tmp_path: Path, link: str) -> None:
    place, where = opened(tmp_path), parse_address(link)
    path = place.save_token(where, Secret(TOKEN))
    assert path.parent == place.folder / "tokens"
    assert place.token(where) == store.Kept(Secret(TOKEN), path)


def test_a_file_is_replaced_behind_its_link_with_its_mode(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    store.replace_file(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"real", "link"}


def test_a_key_that_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(TtyBridgeError, match="There is no key"):
        store.public_half(tmp_path / "id")
    (tmp_path / "id.pub").write_text("ssh-ed25519 AAAA\n")
    with pytest.raises(TtyBridgeError, match="the key is damaged"):
        store.public_half(tmp_path / "id")
