"""One line for each login and each refusal, whatever sshd and strangers say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core import ssh_log
from ttybridge.core.ssh_log import MAX_OPEN, MAX_TRIED, Line, LoginLog, explain
from ttybridge.logs import redactor

KEYS = [f"ED25519 SHA256:{letter * 43}" for letter in "abcdefgh"]
PEER = "10.0.0.9 port 42872"
CONNECTION = f'Connection from {PEER} on 127.0.0.1 port 22 rdomain ""'


def accepted(peer: str = PEER, key: str = KEYS[0], user: str = "me") -> list[str]:
    """Return what sshd says of a key that it takes."""
    return [
        f"Accepted key {key} found at /run/x/authorized_keys:1",
        f"Postponed publickey for {user} from {peer} ssh2 [preauth]",
        f"Accepted key {key} found at /run/x/authorized_keys:1",
        f"Accepted publickey for {user} from {peer} ssh2: {key}",
    ]


def failed(key: str, peer: str = PEER, user: str = "me") -> str:
    return f"Failed publickey for {user} from {peer} ssh2: {key}"


def closed(user: str = "me", peer: str = PEER, kind: str = "authenticating") -> str:
    return f"Connection closed by {kind} user {user} {peer} [preauth]"


LEFT = [
    f"Received disconnect from {PEER}:11: disconnected by user",
    f"Disconnected from user me {PEER}",
]


def said(lines: list[str], log: LoginLog | None = None) -> list[Line]:
    """Return what is said of some lines at info or above."""
    log = log or LoginLog()
    return [line for text in lines if (line := log.feed(text)) and line.level != "debug"]


LOGINS = {
    "a command": [
        CONNECTION,
        *accepted(),
        f"Starting session: command for me from {PEER} id 0",
        *LEFT,
    ],
    "a terminal": [
        CONNECTION,
        *accepted(),
        f"Starting session: forced-command (key-option) '/x' on pts/0 for me from {PEER} id 0",
        "syslogin_perform_logout: logout() returned an error",
        *LEFT,
    ],
    "two wrong keys before": [CONNECTION, failed(KEYS[1]), failed(KEYS[2]), *accepted(), *LEFT],
    "an sshd that is not root": [
        CONNECTION,
        *accepted(),
        "User child is on pid 21089",
        "Attempt to write login records by non-root user (aborting)",
        f"Starting session: command for me from {PEER} id 0",
        *LEFT,
    ],
    "a forwarded port that leads nowhere": [
        CONNECTION,
        *accepted(),
        "connect_to 127.0.0.1 port 1: failed.",
        *LEFT,
    ],
    "a killed client": [
        CONNECTION,
        *accepted(),
        f"Starting session: command for me from {PEER} id 0",
        f"Connection closed by {PEER}",
        f"Close session: user me from {PEER} id 0",
        "Transferred: sent 3172, received 3408 bytes",
        f"Closing connection to {PEER}",
    ],
    "a client whose network is gone": [
        CONNECTION,
        *accepted(),
        f"Timeout, client not responding from user me {PEER}",
        f"Close session: user me from {PEER} id 0",
        "Transferred: sent 3172, received 3408 bytes",
        f"Closing connection to {PEER}",
    ],
}
"""What sshd says: 9.2 in all cases but the last, which is after OpenSSH's source."""


@pytest.mark.parametrize("name", LOGINS)
def test_a_login_is_one_line(name: str) -> None:
    text = f"ssh login: user 'me' from {PEER} with {KEYS[0]}"
    assert said(LOGINS[name]) == [Line("info", text)]


ATTEMPTS = {
    "a wrong key": ([failed(KEYS[1]), closed()], f"user 'me' from {PEER}; keys tried: {KEYS[1]}"),
    "no key": ([closed()], f"user 'me' from {PEER}; no key that counts was offered"),
    "an unknown user": (
        [
            f"Invalid user nosuch from {PEER}",
            closed("nosuch", kind="invalid"),
        ],
        f"user 'nosuch' from {PEER}; no key that counts was offered",
    ),
    "an account that may not": (
        [
            "User nobody from 10.0.0.9 not allowed because not listed in AllowUsers",
            closed("nobody", kind="invalid"),
        ],
        f"user 'nobody' from {PEER}; no key that counts was offered (not listed in AllowUsers)",
    ),
    "too many keys": (
        [
            *(failed(key) for key in KEYS[:6]),
            f"maximum authentication attempts exceeded for me from {PEER} ssh2 [preauth]",
            f"Disconnecting authenticating user me {PEER}: Too many authentication failures "
            "[preauth]",
        ],
        f"user 'me' from {PEER}; keys tried: {', '.join(KEYS[:6])} "
        "(Too many authentication failures)",
    ),
    "an RSA key with SHA-1": (
        [
            "userauth_pubkey: signature algorithm ssh-rsa not in PubkeyAcceptedAlgorithms "
            "[preauth]",
            closed(),
        ],
        f"user 'me' from {PEER}; no key that counts was offered",
    ),
    "a key from the wrong address": (
        [
            "/run/x/authorized_keys:3: Authentication tried for me with correct key but not from "
            "a permitted host (host=10.0.0.9, ip=10.0.0.9, required=10.9.9.9).",
            "Refused by key options",
            failed(KEYS[1]),
            closed(),
        ],
        f"user 'me' from {PEER}; keys tried: {KEYS[1]} "
        "(a key that counts from other addresses only)",
    ),
    "passwords": (
        [
            f"Failed password for me from {PEER} ssh2",
            f"Failed none for invalid user x from {PEER} ssh2",
            f"Connection reset by authenticating user me {PEER} [preauth]",
        ],
        f"user 'me' from {PEER}; keys tried: password, none",
    ),
    "a disconnect": (
        [
            failed(KEYS[1]),
            f"Received disconnect from {PEER}:14: No more methods [preauth]",
            f"Disconnected from authenticating user me {PEER} [preauth]",
        ],
        f"user 'me' from {PEER}; keys tried: {KEYS[1]}",
    ),
    "an IPv6 client": (
        [closed(peer="fe80::1%eth0 port 9")],
        "user 'me' from fe80::1%eth0 port 9; no key that counts was offered",
    ),
    "too long": ([f"Timeout before authentication for {PEER}"], f"{PEER} took too long"),
    "too long, since 9.8": (
        ["Timeout before authentication for connection from 10.0.0.9 to 10.0.0.1, pid = 77"],
        "10.0.0.9 took too long",
    ),
    "sshd -i": (
        [
            failed(KEYS[1], peer="UNKNOWN port 65535"),
            closed(peer="UNKNOWN port 65535"),
        ],
        f"user 'me' from UNKNOWN port 65535; keys tried: {KEYS[1]}",
    ),
}
"""Connections that are refused, and what is said of each."""


@pytest.mark.parametrize("name", ATTEMPTS)
def test_a_refused_login_is_one_line(name: str) -> None:
    lines, text = ATTEMPTS[name]
    assert said([CONNECTION, *lines]) == [Line("info", f"ssh login refused: {text}")]


@pytest.mark.parametrize(
    "lines",
    [
        [
            'kex_exchange_identification: client sent invalid protocol identifier "GET / HTTP/1.1"',
            f"banner exchange: Connection from {PEER}: invalid format",
        ],
        [
            "kex_exchange_identification: Connection closed by remote host",
            f"Connection closed by {PEER}",
        ],
        [f"Connection reset by {PEER} [preauth]"],
        [
            f"Unable to negotiate with {PEER}: no matching host key type found. Their offer: "
            "ssh-rsa [preauth]"
        ],
        [
            "Bad packet length 1403552977. [preauth]",
            f"ssh_dispatch_run_fatal: Connection from {PEER}: message authentication code "
            "incorrect [preauth]",
        ],
        ["Protocol major versions differ: 2 vs. 1", f"Connection closed by {PEER}"],
    ],
)
def test_scanners_are_not_worth_a_line(lines: list[str]) -> None:
    log = LoginLog()
    found = [log.feed(text) for text in [CONNECTION, *lines]]
    assert [line and line.level for line in found] == ["debug"] * len(found)


def test_a_login_through_a_pair_of_sockets_is_one_line() -> None:
    peer = "UNKNOWN port 65535"
    lines = ["Connection from UNKNOWN port 65535 on  port 65535", *accepted(peer)]
    lines += [f"Disconnected from user me {peer}"]
    assert said(lines) == [Line("info", f"ssh login: user 'me' from {peer} with {KEYS[0]}")]


def test_connections_that_overlap_keep_their_keys_apart() -> None:
    other = "10.0.0.8 port 7"
    lines = [
        failed(KEYS[1]),
        failed(KEYS[2], other),
        closed(peer=other),
        failed(KEYS[3]),
        closed(),
    ]
    first, second = said(lines)
    assert f"{other}; keys tried: {KEYS[2]}" in first.text
    assert f"{PEER}; keys tried: {KEYS[1]}, {KEYS[3]}" in second.text


def test_a_connection_that_is_over_leaves_nothing_to_the_next_from_its_port() -> None:
    first, second = said([failed(KEYS[1]), closed(), failed(KEYS[2]), closed()])
    assert f"keys tried: {KEYS[1]}" in first.text
    assert second.text.endswith(f"keys tried: {KEYS[2]}")


def test_the_reason_of_one_user_is_not_told_of_another() -> None:
    lines = [
        "User nobody from 10.0.0.9 not allowed because not listed in AllowUsers",
        closed(peer="10.0.0.8 port 7"),
        closed("nobody", kind="invalid"),
    ]
    mine, nobodys = said(lines)
    assert "AllowUsers" not in mine.text
    assert "AllowUsers" in nobodys.text


def test_an_account_that_must_be_mended_is_a_warning_and_no_second_line() -> None:
    lines = ["User me not allowed because account is locked", closed(kind="invalid")]
    (line,) = said(lines)
    assert line.level == "warning"
    assert "usermod -p '*' me" in line.text
    (line,) = said(lines, LoginLog("me"))
    assert line.level == "warning"


def test_nothing_is_to_be_mended_about_other_accounts() -> None:
    lines = ["User sshd not allowed because account is locked", closed("sshd", kind="invalid")]
    (line,) = said(lines, LoginLog("me"))
    assert line.level == "info"
    assert line.text.endswith("(only me may log in here)")


@pytest.mark.parametrize(
    "lines",
    [
        ["User root not allowed because account is locked", closed("root", kind="invalid")],
        ["User root from 10.0.0.9 not allowed because not listed in AllowUsers", closed("root")],
        [closed("root")],
        [f"Disconnecting authenticating user root {PEER}: Too many authentication failures"],
    ],
)
def test_for_others_than_the_bridges_account_the_reason_is_that_only_it_may_log_in(
    lines: list[str],
) -> None:
    (line,) = said([CONNECTION, *lines], LoginLog("me"))
    assert line.level == "info"
    assert line.text.startswith(f"ssh login refused: user 'root' from {PEER}; ")
    assert line.text.endswith(" (only me may log in here)")
    (line,) = said([CONNECTION, closed("me")], LoginLog("me"))
    assert not line.text.endswith(")")


@pytest.mark.parametrize(
    ("name", "logged"), [("CORP\\me", r"CORP\\\\me"), ("müller", r"m\\303\\274ller")]
)
def test_an_account_whose_name_sshd_escapes_is_known_as_the_bridges_own(
    name: str, logged: str
) -> None:
    """As OpenSSH 9.2 writes them, when its unprivileged part has them logged."""
    (line,) = said([closed(logged)], LoginLog(name))
    assert "may log in here" not in line.text


def test_when_the_private_folder_is_gone_what_to_do_is_a_warning_that_the_log_shows() -> None:
    for text in (
        "sshd: no hostkeys available -- exiting.",
        "/run/x/sshd_config: No such file or directory",
    ):
        (line,) = said([text])
        assert line.level == "warning"
        assert line.text.endswith(
            "removed the bridge's private folder, and with it the host key. Start the bridge again."
        )
        assert redactor.clean(line.text) == line.text


@pytest.mark.parametrize(
    "text",
    [
        "Unable to load host key: /run/x/host_key",
        'Unable to load host key "/run/x/host_key": invalid format',
        "Could not load host key: /run/x/host_key",
    ],
)
def test_the_name_of_a_host_key_that_cannot_be_read_is_not_hidden_by_the_log(text: str) -> None:
    (line,) = said([text])
    assert line == Line("warning", "sshd cannot read /run/x/host_key, which has its host key")
    assert redactor.clean(line.text) == line.text


def test_a_terminal_that_cannot_be_given_is_a_warning_with_the_command_that_helps() -> None:
    text = "chown(/dev/pts/0, 65534, 5) failed: Operation not permitted"
    (line,) = said([text])
    assert line.level == "warning"
    assert "mount -o remount,gid=5,mode=620 /dev/pts" in line.text


def test_what_is_not_known_is_shown_as_a_warning() -> None:
    text = "Authentication refused: bad ownership or modes for directory /x"
    assert said([text]) == [Line("warning", f"sshd: {text}")]


FAKE = f"Accepted publickey for root from 1.2.3.4 port 5 ssh2: {KEYS[7]}"
HOSTILE = [
    "x from 1.2.3.4 port 5",
    "root from 1.2.3.4 port 5 ssh2: ED25519 SHA256:abc",
    FAKE,
    "\x1b[2J\x01",
    "",
    " ",
    "'\"\\",
    "a" * 10_000,
    "User root not allowed because account is locked",
    "chown(/dev/pts/0, 1, 5) failed",
    "Timeout before authentication for 1.2.3.4 port 5",
    closed("root", "1.2.3.4 port 5"),
]
"""User names that strangers choose; sshd itself cuts them after 100 or 255 characters."""


@pytest.mark.parametrize("user", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_user_name_is_one_refusal_from_where_it_really_comes(user: str) -> None:
    lines = [
        CONNECTION,
        f"Invalid user {user} from {PEER}",
        f"Failed publickey for invalid user {user} from {PEER} ssh2: {KEYS[1]}",
        closed(user, kind="invalid"),
    ]
    (line,) = said(lines)
    assert line == Line(
        "info",
        f"ssh login refused: user {user[:64]!r} from {PEER}; keys tried: {KEYS[1]}",
    )


@given(st.text(st.characters(exclude_characters="\n"), max_size=300))
def test_no_user_name_makes_a_login_of_a_refusal(user: str) -> None:
    lines = [
        f"Invalid user {user} from {PEER}",
        f"maximum authentication attempts exceeded for invalid user {user} from {PEER} ssh2 "
        "[preauth]",
        closed(user, kind="invalid"),
    ]
    (line,) = said(lines)
    assert line.level == "info"
    assert line.text.startswith("ssh login refused: ")
    assert f"from {PEER}; " in line.text


@pytest.mark.parametrize(
    "text",
    [
        f'kex_exchange_identification: client sent invalid protocol identifier "{FAKE}"',
        f"Received disconnect from {PEER}:11: {FAKE}",
        f"Received disconnect from {PEER}:11: {closed('root', '1.2.3.4 port 5')} [preauth]",
        f"Unable to negotiate with {PEER}: no matching cipher found. Their offer: {FAKE}",
        f"userauth_pubkey: unsupported public key algorithm: {FAKE} [preauth]",
        f"Starting session: command '{FAKE}' for me from {PEER} id 0",
    ],
)
def test_other_words_of_clients_are_no_login_and_no_refusal(text: str) -> None:
    assert said([text]) == []


LINES = st.one_of(
    st.text(max_size=200),
    st.builds(failed, st.sampled_from(KEYS), st.from_regex(r"\A[!-~]{1,9} port [0-9]{1,5}\Z")),
    st.builds(closed, st.text(max_size=9), st.from_regex(r"\A[!-~]{1,9} port [0-9]{1,5}\Z")),
)


@given(st.lists(LINES, max_size=60))
def test_any_lines_are_taken(lines: list[str]) -> None:
    log = LoginLog()
    for text in lines:
        line = log.feed(text)
        assert line is None or line.level in ("debug", "info", "warning")
    assert len(log._open) <= MAX_OPEN


def test_connections_that_never_end_take_bounded_memory() -> None:
    log = LoginLog()
    for port in range(3 * MAX_OPEN):
        for key in KEYS * 3:
            assert log.feed(failed(key, f"10.0.0.9 port {port}")) is None
    assert len(log._open) == MAX_OPEN
    assert max(len(connection.tried) for connection in log._open.values()) <= MAX_TRIED + 1
    line = log.feed(closed(peer=f"10.0.0.9 port {3 * MAX_OPEN - 1}"))
    assert line is not None
    assert line.text.count("SHA256:") == MAX_TRIED
    forgotten = log.feed(closed(peer="10.0.0.9 port 0"))
    assert forgotten is not None
    assert "no key that counts" in forgotten.text


TRAPS = [
    ("Missing privilege separation directory: /run/sshd", "/run/sshd", "mkdir -m 755 /run/sshd"),
    (
        "/run/sshd must be owned by root and not group or world-writable.",
        "others may write",
        "chown root:root /run/sshd && chmod 755 /run/sshd",
    ),
    ("Privilege separation user sshd does not exist", "user called 'sshd'", "useradd --system"),
    ("User me not allowed because account is locked", "'me' is locked", "usermod -p '*' me"),
    (
        "User me from 10.0.0.9 not allowed because account is locked",
        "'me' is locked",
        "usermod -p '*' me",
    ),
    (
        "User me not allowed because shell /bin/zsh does not exist",
        "/bin/zsh",
        "usermod --shell /bin/bash me",
    ),
    (
        "User me not allowed because shell /bin/x is not executable",
        "/bin/x",
        "usermod --shell /bin/bash me",
    ),
    ("Bind to port 22 on 0.0.0.0 failed: Permission denied.", "Port 22", "--ssh-port"),
    (
        "Bind to port 2222 on 10.9.9.9 failed: Cannot assign requested address.",
        "does not have the address",
        "--ssh-host",
    ),
    (
        "sshd: no hostkeys available -- exiting.",
        "removed the bridge's private folder",
        "Start the bridge again",
    ),
    (
        "/run/x/sshd_config: No such file or directory",
        "removed the bridge's private folder",
        "Start the bridge again",
    ),
    ("sshd re-exec requires execution with an absolute path", "full path", "--sshd"),
    (
        "/run/x/sshd_config: line 9: Bad configuration option: PermitUserRC",
        "the setting PermitUserRC",
        "OpenSSH 8.0",
    ),
    (
        "/run/x/sshd_config line 9: Unsupported option UsePAM",
        "the setting UsePAM",
        "OpenSSH 8.0",
    ),
]


@pytest.mark.parametrize(("line", "what", "hint"), TRAPS)
def test_each_trap_is_explained_with_what_to_do(line: str, what: str, hint: str) -> None:
    found = explain(["before", line, f"{line.split()[0]}: terminating, 1 bad thing"])
    assert found is not None
    assert what in found[0]
    assert hint in found[1]


def test_every_trap_has_a_case() -> None:
    patterns = [pattern for pattern, _, _ in ssh_log._EXPLANATIONS]
    cases = [next(p for p in patterns if p.search(line)) for line, _, _ in TRAPS]
    assert set(cases) == set(patterns)


def test_the_last_trap_counts_and_unknown_lines_are_not_explained() -> None:
    lines = [TRAPS[0][0], TRAPS[2][0], "Cannot bind any address."]
    found = explain(lines)
    assert found is not None
    assert "useradd" in found[1]
    assert explain(["Cannot bind any address."]) is None
    assert explain([]) is None
    braces = explain(["Missing privilege separation directory: /run/{0}{x}"])
    assert braces is not None
    assert "/run/{0}{x}" in braces[1]


def test_the_missing_folder_and_a_taken_port_are_recognised() -> None:
    assert ssh_log.missing_folder(["a", TRAPS[0][0], "b"]) == "/run/sshd"
    assert ssh_log.missing_folder(["a"]) == ""
    # A stranger's words make no folder.
    assert ssh_log.missing_folder([f"Invalid user {TRAPS[0][0]} from {PEER}"]) == ""
    taken = "Bind to port 2222 on 127.0.0.1 failed: Address already in use."
    assert ssh_log.says_port_is_taken([taken, "Cannot bind any address."])
    assert not ssh_log.says_port_is_taken([TRAPS[7][0]])
