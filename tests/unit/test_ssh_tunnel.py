"""Tunnels by ssh: arguments, command lines, ports, and what ssh's lines mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core import ssh_tunnel
from ttybridge.core.ssh_tunnel import SshTunnelSettings, Target, parse_target
from ttybridge.errors import ConfigError

BOX = Target("box.example", "me", 2222)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("box", Target("box")),
        ("me@box.example", Target("box.example", "me")),
        ("me@box.example:2222", BOX),
        ("me@box/8080", Target("box", "me", None, 8080)),
        ("me@box:22/80", Target("box", "me", 22, 80)),
        ("192.0.2.1", Target("192.0.2.1")),
        ("[::1]", Target("::1")),
        ("me@[fe80::1%eth0]:22/80", Target("fe80::1%eth0", "me", 22, 80)),
        ("ana@corp.example@box", Target("box", "ana@corp.example")),
        ("CORP\\zoë@my_box", Target("my_box", "CORP\\zoë")),
    ],
)
def test_arguments_name_a_host_and_perhaps_more(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert parse_target(target.argument) == Target(target.host, target.user, target.port)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "needs a host"),
        ("-oProxyCommand=id", "would be an option of ssh"),
        ("me@-box", "would be an option of ssh"),
        ("-l@box", "would be an option of ssh"),
        ("me@box -v", "blanks and control characters"),
        ("me@box\n", "blanks and control characters"),
        ("me@", "'' is not the name of a host"),
        ("@box", "'' is not the name of an account"),
        ("me;id@box", "'me;id' is not the name of an account"),
        ("me@box$(id)", "'box$(id)' is not the name of a host"),
        ("::1", "in brackets"),
        ("me@fe80::1:22", "in brackets"),
        ("[::1", "in brackets"),
        ("[::1]22", "in brackets"),
        ("[box]", "in brackets"),
        ("box:", "the port of ssh is a number from 1 to 65535, not ''"),
        ("box:ssh", "the port of ssh is a number"),
        ("box:0", "the port of ssh is a number"),
        ("box:²", "the port of ssh is a number"),
        ("box:65536", "the port of ssh is a number"),
        ("box/", "after the slash, is a number from 1 to 65535, not ''"),
        ("box/80/81", "after the slash, is a number"),
    ],
)
def test_wrong_arguments_are_named_with_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_target(text)
    (sentence,) = caught.value.problems
    assert problem in sentence
    assert "--tunnel ssh" in sentence


@given(st.text(max_size=40))
def test_no_argument_becomes_an_option_or_more_than_one_word(text: str) -> None:
    try:
        target = parse_target(text)
    except ConfigError:
        return
    for word in (target.host, target.user):
        assert not word.startswith("-")
        assert not set(word) & set(" \t\n'\"`$;|&<>(){}*?[]!#~")


def test_an_address_before_the_far_end_needs_a_port_there() -> None:
    settings = SshTunnelSettings(url="https://me.example")
    with pytest.raises(ConfigError, match=r"ssh:me@box\.example:2222/8080"):
        ssh_tunnel.check(BOX, settings)
    ssh_tunnel.check(Target("box", remote_port=8080), settings)
    ssh_tunnel.check(BOX, SshTunnelSettings())


def test_the_login_keeps_to_the_users_configuration_but_for_what_must_hold() -> None:
    argv = ssh_tunnel.connect_argv("/bin/ssh", BOX, is_pinned=False, version=(9, 2))
    assert argv[:5] == ["/bin/ssh", "-N", "-T", "-S", "ssh"]
    assert argv[-6:] == ["-p", "2222", "-l", "me", "--", "box.example"]
    needed = {"BatchMode=yes", "StrictHostKeyChecking=yes", "ClearAllForwardings=yes",
              "ControlPersist=no", "ForkAfterAuthentication=no",
              "ServerAliveCountMax=3"}  # fmt: skip
    assert {f"-o{option}" for option in needed} <= set(argv)
    # The user's own must stay in force.
    assert not any("KnownHosts" in word or "IgnoreUnknown" in word for word in argv)
    pinned = ssh_tunnel.connect_argv("/bin/ssh", Target("box"), is_pinned=True, version=None)
    only = ("UserKnownHostsFile=known_hosts", "GlobalKnownHostsFile=/dev/null",
            "KnownHostsCommand=none", "VerifyHostKeyDNS=no",
            "HostKeyAlias=ttybridge-tunnel")  # fmt: skip
    assert {f"-o{option}" for option in only} <= set(pinned)
    assert pinned[-2:] == ["--", "box"]


def test_an_old_ssh_gets_no_options_that_it_does_not_know() -> None:
    def names(version: tuple[int, int]) -> set[str]:
        argv = ssh_tunnel.connect_argv("/bin/ssh", BOX, is_pinned=True, version=version)
        return {word[2:].partition("=")[0] for word in argv if word.startswith("-o")}

    newer = {"KnownHostsCommand", "ForkAfterAuthentication"}
    assert names((8, 4)) == names((9, 2)) - newer
    assert names((8, 5)) == names((9, 2)) - {"ForkAfterAuthentication"}
    assert newer <= names((8, 7))


def test_forwardings_are_asked_for_without_the_users_configuration() -> None:
    forwards = [ssh_tunnel.forward(8080), ssh_tunnel.forward(22, 2022)]
    argv = ssh_tunnel.forward_argv("/bin/ssh", BOX, forwards)
    assert " ".join(argv) == (
        "/bin/ssh -F /dev/null -S ssh -O forward -R *:0:127.0.0.1:8080 "
        "-R 127.0.0.1:2022:127.0.0.1:22 -- box.example"
    )


@pytest.mark.parametrize(
    ("output", "wanted", "ports"),
    [
        ("40001\r\n40002\n", [None, None], [40001, 40002]),
        ("40001\n", [None, None], None),
        ("40001\n40002\n", [None], None),
        ("", [8080], [8080]),
        ("Welcome\n", [None], None),
        ("0\n", [None], None),
        ("65536\n", [None], None),
        ("9" * 5000, [None], None),
        ("٤٠٠\n", [None], None),
    ],
)
def test_ports_are_those_that_ssh_prints(
    output: str, wanted: list[int | None], ports: list[int] | None
) -> None:
    assert ssh_tunnel.allocated_ports(output, wanted) == ports


def test_the_real_name_of_an_alias_is_found() -> None:
    assert ssh_tunnel.real_host("host box\nhostname 192.0.2.1\n", BOX) == "192.0.2.1"
    assert ssh_tunnel.real_host("", BOX) == "box.example"


CHANGED = "Host key for [box.example]:2222 has changed and you have requested strict checking."
UNKNOWN = (
    "No ED25519 host key is known for [box.example]:2222 and you have requested strict checking."
)
FAILED = "Host key verification failed."
REFUSED = "me@box.example: Permission denied (publickey,password)."
FORWARD = (
    "mux_client_forward: forwarding request failed: remote port forwarding failed for listen port"
)
CONNECT = "ssh: connect to host box.example port 2222:"


@pytest.mark.parametrize(
    ("lines", "message", "hint"),
    [
        (["ssh: Could not resolve hostname box: Name or service not known"], "not known here", ""),
        ([f"{CONNECT} Connection refused"], "Nobody listens for SSH on box.example", "ssh:me@box."),
        ([f"{CONNECT} Connection timed out"], "box.example cannot be reached", "firewall"),
        ([f"{CONNECT} No route to host"], "box.example cannot be reached", "firewall"),
        ([f"{CONNECT} Network is unreachable"], "box.example cannot be reached", "firewall"),
        ([REFUSED], "refused the login", "ssh-copy-id -p 2222 me@box.example"),
        (
            ["Received disconnect from ::1 port 22:2: Too many authentication failures", REFUSED],
            "too many keys",
            "IdentitiesOnly",
        ),
        ([UNKNOWN, FAILED], "The ED25519 key of box.example is not known", "--tunnel-host-key"),
        ([CHANGED, FAILED], "somebody stands between", "ssh-keygen -R '[box.example]:2222'"),
        ([f"{FORWARD} 0", "muxclient: forward request failed"], "does not let", "PermitListen"),
        ([f"{FORWARD} 8080"], "does not give its port 8080", "after the slash"),
        (
            ["kex_exchange_identification: read: Connection reset by peer",
             "Connection reset by 1.2.3.4 port 80"],
            "does not speak SSH to us",
            "PORT",
        ),
        (["Connection timed out during banner exchange"], "does not speak SSH to us", "PORT"),
    ],
    ids=["name", "refused", "timeout", "route", "network", "key", "keys", "unknown",
         "changed", "forward", "taken", "no ssh", "silent"],
)  # fmt: skip
def test_known_failures_have_sentences_with_ssh_s_own(
    lines: list[str], message: str, hint: str
) -> None:
    found = ssh_tunnel.explain(["Warning: odd", *lines], BOX, is_pinned=False)
    assert message in found[0]
    assert hint in found[1]
    assert "ssh said: " in found[0]
    assert any(line in found[0] for line in lines)


def test_a_pinned_key_is_named_where_it_does_not_fit() -> None:
    changed, then = ssh_tunnel.explain([CHANGED, FAILED], BOX, is_pinned=True)
    assert "given with --tunnel-host-key" in changed
    assert "give the new one" in then
    other, _ = ssh_tunnel.explain([UNKNOWN, FAILED], BOX, is_pinned=True)
    assert "kind of key that --tunnel-host-key gives" in other
    plain = ssh_tunnel.explain([CHANGED], Target("box"), is_pinned=False)[1]
    assert plain.endswith("ssh-keygen -R box.")


def test_other_ends_show_what_ssh_said() -> None:
    lines = ["Timeout, server box.example not responding."]
    assert ssh_tunnel.explain(lines, BOX, is_pinned=False, has_ended=True) == (
        f"The connection to box.example was lost. ssh said: {lines[0]}",
        "",
    )
    message, hint = ssh_tunnel.explain(["odd", "odder"], BOX, is_pinned=False)
    assert message == "ssh did not reach box.example. Its last lines:\nodd\nodder"
    assert hint == "Look whether `ssh -p 2222 me@box.example` works."
    silent, _ = ssh_tunnel.explain([], BOX, is_pinned=False, has_ended=True)
    assert silent == "The connection to box.example has ended. ssh said nothing."


def test_notes_say_what_an_address_is_good_for() -> None:
    web = ssh_tunnel.private_note(BOX, 40001, is_web=True)
    assert "ssh -L 40001:127.0.0.1:40001 -p 2222 me@box.example" in web
    assert "--tunnel-url and ssh:me@box.example:2222/8080" in web
    assert "--tunnel-url" not in ssh_tunnel.private_note(BOX, 40001, is_web=False)
    assert "--tunnel-url" in ssh_tunnel.public_note()
