"""Public keys and authorized_keys lines: what is taken, what is left out, what is written."""

import base64
import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core import ssh_keys
from ttybridge.core.ssh_keys import AuthorizedKey, GithubUser, PublicKey
from ttybridge.logs import redactor


def packed(*fields: bytes) -> bytes:
    """Write fields as SSH does, each after its length."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def line(key_type: str, *fields: bytes, after: bytes = b"") -> str:
    blob = packed(key_type.encode(), *fields) + after
    return f"{key_type} {base64.b64encode(blob).decode()}"


def rsa(bits: int) -> str:
    modulus = (1 << (bits - 1)) + 1
    return line("ssh-rsa", b"\1\0\1", modulus.to_bytes(bits // 8 + 1, "big"))


def ecdsa(curve: str, size: int, first: int = 4) -> str:
    return line(f"ecdsa-sha2-{curve}", curve.encode(), bytes([first]) + b"x" * 2 * size)


ED = line("ssh-ed25519", b"k" * 32)
ED_OTHER = line("ssh-ed25519", b"o" * 32)
SK_ED = line("sk-ssh-ed25519@openssh.com", b"k" * 32, b"ssh:")
SK_EC = line("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", b"\4" + b"x" * 64, b"ssh:")

GITHUB_HOST_KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
"""The key of github.com, whose fingerprint GitHub publishes: a vector that was not made here."""

SECRET = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMw"
PRIVATE = (
    f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----\n"
)


def problem(text: str) -> str:
    """Return the sentence with which a key or a line is refused."""
    with pytest.raises(ValueError, match=r".") as caught:
        ssh_keys.parse_entry(text, "here")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (ED, "ED25519"),
        (ecdsa("nistp256", 32), "ECDSA"),
        (ecdsa("nistp384", 48), "ECDSA"),
        (ecdsa("nistp521", 66), "ECDSA"),
        (SK_ED, "ED25519-SK"),
        (SK_EC, "ECDSA-SK"),
        (rsa(2048), "RSA"),
        (rsa(16384), "RSA"),
    ],
)
def test_every_key_type_is_read_written_and_named_as_sshd_does(text: str, name: str) -> None:
    key = ssh_keys.parse_public_key(f"  {text} \t me@my box\r\n")
    assert key.line == text
    assert key.comment == "me@my box"
    assert key.label == f"{name} {key.fingerprint}"
    assert key.type in ssh_keys.KEY_TYPES


def test_the_fingerprint_is_the_one_that_ssh_keygen_shows() -> None:
    key = ssh_keys.parse_public_key(f"ssh-ed25519 {GITHUB_HOST_KEY}")
    assert key.fingerprint == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"


DAMAGED = "the key is damaged"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no key type"),
        ("hello", "no key type"),
        ("ssh-foo AAAA", "no key type"),
        ("ssh-ed25519", DAMAGED),
        ("ssh-ed25519 !!!!", DAMAGED),
        ("ssh-ed25519 AAAA", DAMAGED),
        ("ssh-ed25519 ////////", DAMAGED),
        (ED[:-4], DAMAGED),
        (ED + "=", DAMAGED),
        (ED + "AAAA", DAMAGED),
        (rsa(2048).rstrip("=") + "é", DAMAGED),
        (line("ssh-ed25519", b"k" * 31), DAMAGED),
        (line("ssh-ed25519", b"k" * 32, b""), DAMAGED),
        (line("ssh-ed25519", b"k" * 32, after=b"\0"), DAMAGED),
        (line("ssh-ed25519"), DAMAGED),
        (line("sk-ssh-ed25519@openssh.com", b"k" * 32), DAMAGED),
        (line("sk-ssh-ed25519@openssh.com"), DAMAGED),
        (line("ssh-rsa", b"\1\0\1"), DAMAGED),
        (line("ssh-rsa", b"\1\0\1", b"\x80" + b"k" * 255), DAMAGED),
        (ecdsa("nistp256", 48), DAMAGED),
        (line("ecdsa-sha2-nistp256", b"nistp256"), DAMAGED),
        (ecdsa("nistp256", 32, first=2), DAMAGED),
        (line("ecdsa-sha2-nistp384", b"nistp256", b"\4" + b"x" * 96), DAMAGED),
        (ED.replace("ssh-ed25519", "ssh-rsa"), "names another type"),
        (rsa(1024), "RSA key of 1024 bits"),
        (rsa(2048 - 8), "RSA key of 2040 bits"),
        (rsa(16384 + 8), "RSA key of 16392 bits"),
        ("ssh-dss AAAA", "OpenSSH no longer takes"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "certificate"),
        (ED + " a\nb", "line break"),
        (f"{ED}\n{ED_OTHER}", "line break"),
        (ED + " \x1b[31m", "control character"),
        (ED + " \u2028", "line break"),
        (ED + " " + "x" * 16384, "longer than 16384"),
        (PRIVATE, "private half"),
        (PRIVATE.replace("\n", " "), "private half"),
        ("-----BEGIN RSA PRIVATE KEY-----", "private half"),
        ("PuTTY-User-Key-File-3: ssh-ed25519", "private half"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_with_the_reason(text: str, reason: str) -> None:
    assert reason in problem(text)
    with pytest.raises(ValueError, match=re.escape(reason)):
        ssh_keys.parse_public_key(text)


def test_base64_has_one_spelling_so_that_one_key_is_one_text() -> None:
    text = line("sk-ssh-ed25519@openssh.com", b"k" * 32, b"ssh:other")
    assert text.endswith("g==")
    assert ssh_keys.parse_public_key(text).line == text
    assert DAMAGED in problem(text.replace("g==", "h=="))


def test_characters_that_could_mislead_are_replaced_in_comments() -> None:
    assert ssh_keys.parse_public_key(ED + " me\u202ebox").comment == "me\ufffdbox"


# Lines with options


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ("restrict,pty", ("restrict", "pty")),
        ("No-PTY,no-X11-forwarding", ("No-PTY", "no-X11-forwarding")),
        ("x11-forwarding,user-rc,no-user-rc", ("x11-forwarding", "user-rc", "no-user-rc")),
        ("agent-forwarding,no-agent-forwarding", ("agent-forwarding", "no-agent-forwarding")),
        ("port-forwarding,no-port-forwarding", ("port-forwarding", "no-port-forwarding")),
        ("verify-required,no-touch-required", ("verify-required", "no-touch-required")),
        ('from="10.0.0.0/8,!10.1.1.1"', ('from="10.0.0.0/8,!10.1.1.1"',)),
        (r'from="a \"b\", c"', (r'from="a \"b\", c"',)),
        ('permitopen="a:1",permitopen="b:2"', ('permitopen="a:1"', 'permitopen="b:2"')),
        ('permitlisten="localhost:1"', ('permitlisten="localhost:1"',)),
        ('expiry-time="20301231"', ('expiry-time="20301231"',)),
        ('EXPIRY-TIME="203012312359Z"', ('EXPIRY-TIME="203012312359Z"',)),
        ('environment="A=b c"', ()),
        ('pty,Environment="A=\\"",restrict', ("pty", "restrict")),
    ],
)
def test_options_that_restrict_are_kept_as_they_are(options: str, kept: tuple[str, ...]) -> None:
    entry = ssh_keys.parse_entry(f"{options} \t{ED} me", "keys")
    assert entry == AuthorizedKey(ssh_keys.parse_public_key(f"{ED} me"), False, kept, "keys")


@pytest.mark.parametrize("options", ["read-only", "Read-Only", "pty,read-only,no-user-rc"])
def test_our_own_option_marks_a_key_that_may_only_watch(options: str) -> None:
    entry = ssh_keys.parse_entry(f"{options} {ED}", "keys")
    assert entry.read_only
    assert not any("read-only" in option.lower() for option in entry.options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ('command="s3cret"', "'command'"),
        ("cert-authority", "'cert-authority'"),
        ('principals="s3cret"', "'principals'"),
        ('tunnel="0"', "'tunnel'"),
        ("github.com", "'github.com'"),
        ("pty,PTYs", "'ptys'"),
        ("from", "'from'"),
        ('pty="s3cret"', "'pty'"),
        ('read-only="s3cret"', "'read-only'"),
        ("s3cret" * 20, "option in it"),
        ('from="a",FROM="s3cret"', "twice"),
        ('expiry-time="s3cret"', "'expiry-time'"),
        ('expiry-time="2030"', "'expiry-time'"),
        ("pty,", "cannot be read"),
        (",pty", "cannot be read"),
        ("pty,,restrict", "cannot be read"),
        ("from=s3cret", "cannot be read"),
        ('from="a"b', "cannot be read"),
        ('"s3cret"', "cannot be read"),
        (r"pty\"", "cannot be read"),
        ('from="s3cret', "no key type"),
        (r'from="s3cret\\"', "no key type"),  # two backslashes, and the quote is not closed
        ("pty, restrict", "no key type"),
    ],
)
def test_a_restriction_that_cannot_be_kept_leaves_the_key_out(options: str, reason: str) -> None:
    sentence = problem(f"{options} {ED}")
    assert reason in sentence
    assert "s3cret" not in sentence


# Whole files


def test_a_file_gives_its_keys_and_a_sentence_for_each_bad_line() -> None:
    text = f"\ufeff# mine\r\n\r\n{ED} me\r\n  \t\r\nssh-dss AAAA\r\n  read-only {SK_ED}\r\nx"
    found = ssh_keys.parse_authorized_keys(text, "/k")
    assert [(entry.key.line, entry.read_only) for entry in found.entries] == [
        (ED, False),
        (SK_ED, True),
    ]
    assert [note.partition(": ")[0] for note in found.notes] == ["/k, line 5", "/k, line 7"]


def test_a_private_key_in_a_file_gets_one_sentence_and_is_not_shown() -> None:
    found = ssh_keys.parse_authorized_keys(f"{PRIVATE}{ED}\n{SECRET}\n", "k")
    assert [entry.key.line for entry in found.entries] == [ED]
    assert [note.partition(": ")[0] for note in found.notes] == ["k, line 1", "k, line 6"]
    assert SECRET not in "".join(found.notes)


LIMITS = [
    'command="rrsync /b",restrict',
    'permitopen="a:1",ptys',
    'command="rrsync \x07",restrict',
    'from="10.0.0.1',
    "restrict, pty",
    f'command="{"x" * 16384}"',
]
"""What sshd may keep to, and we cannot."""


@pytest.mark.parametrize("limits", LIMITS, ids=range(len(LIMITS)))
@pytest.mark.parametrize("plain_is_first", [False, True])
def test_a_key_whose_limits_cannot_be_kept_does_not_come_in_by_another_line(
    limits: str, plain_is_first: bool
) -> None:
    lines = [f"{limits} {ED} backup", f"{ED} me"]
    text = "\n".join([*(reversed(lines) if plain_is_first else lines), ED_OTHER])
    found = ssh_keys.parse_authorized_keys(text, "/k")
    assert [entry.key.line for entry in found.entries] == [ED_OTHER]
    where = f"/k, line {2 if plain_is_first else 1}"
    key = ssh_keys.parse_public_key(ED)
    assert found.refused == {key.blob: where}
    refusal, left_out = found.notes
    assert refusal.startswith(f"{where}: ")
    assert left_out.startswith(f"{key.label} from /k is left out, because {where} limits this key")


def test_a_key_that_is_refused_for_itself_takes_no_other_line_along() -> None:
    found = ssh_keys.parse_authorized_keys(f"{ED} \x1b[31m\n# no {ED}\n{ED}\n", "/k")
    assert [entry.key.line for entry in found.entries] == [ED]
    assert found.refused == {}


def test_keys_that_other_files_limit_are_taken_out_with_a_sentence_that_the_log_shows() -> None:
    entries = [dataclasses.replace(entry(text=text), source="--ssh-key") for text in (ED, ED_OTHER)]
    kept, notes = ssh_keys.leave_out(entries, {entries[0].key.blob: "/the/key, line 3"})
    assert kept == entries[1:]
    assert len(notes) == 1
    assert "from --ssh-key is left out, because /the/key, line 3 limits" in notes[0]
    assert redactor.clean(notes[0]) == notes[0]


PIECES = [ED, SK_EC, PRIVATE, SECRET, *' ,"\\\n\r\0#=', "\ufeff", "-cert-v01@openssh.com"]
PIECES += ["restrict", 'from="', "read-only", 'command="x"', "ssh-rsa ", "ssh-dss "]


@given(st.lists(st.text(max_size=30) | st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_text_makes_reading_a_file_fail_and_no_key_is_shown(text: str) -> None:
    found = ssh_keys.parse_authorized_keys(text, "k")
    assert SECRET not in "".join(found.notes)
    assert ED.split()[1] not in "".join(found.notes)
    assert found.refused.keys().isdisjoint(entry.key.blob for entry in found.entries)
    lines = "\n".join(ssh_keys.entry_line(entry, "watch") for entry in found.entries)
    again = ssh_keys.parse_authorized_keys(lines.replace('command="watch"', "pty"), "k")
    assert again.notes == ()
    assert [entry.key for entry in again.entries] == [
        dataclasses.replace(entry.key, comment="") for entry in found.entries
    ]


@given(
    st.binary(min_size=32, max_size=32),
    st.lists(st.sampled_from(["restrict", "pty", 'from="a,b \\"c"', "no-user-rc"]), unique=True),
    st.booleans(),
)
def test_a_line_comes_back_as_it_was(point: bytes, options: list[str], read_only: bool) -> None:
    words = [*options, "read-only"] if read_only else options
    text = f"{','.join(words)} {line('ssh-ed25519', point)}".strip()
    found = ssh_keys.parse_authorized_keys(text, "k")
    assert found.notes == ()
    assert found.entries[0].options == tuple(options)
    assert found.entries[0].read_only is read_only
    assert found.entries[0].key.blob.endswith(point)


# What our sshd reads


def entry(*options: str, read_only: bool = False, text: str = ED) -> AuthorizedKey:
    return AuthorizedKey(ssh_keys.parse_public_key(f"{text} comment"), read_only, options, "k")


@pytest.mark.parametrize(
    ("who", "options"),
    [
        (entry(), 'command="run"'),
        (entry("restrict", 'from="a"'), 'command="run",restrict,from="a"'),
        (entry(read_only=True), 'restrict,pty,command="run"'),
        (
            entry("port-forwarding", 'permitopen="a:1"', "X11-forwarding", read_only=True),
            'restrict,pty,command="run"',
        ),
        (
            entry('From="a"', 'expiry-time="20301231"', "verify-required", read_only=True),
            'restrict,pty,command="run",From="a",expiry-time="20301231",verify-required',
        ),
        (
            entry("no-touch-required", "user-rc", read_only=True),
            'restrict,pty,command="run",no-touch-required',
        ),
        (entry("No-Pty", read_only=True), 'restrict,command="run"'),
        (entry("restrict", read_only=True), 'restrict,command="run"'),
        (entry("restrict", "pty", read_only=True), 'restrict,pty,command="run"'),
        (entry("pty", "no-pty", read_only=True), 'restrict,command="run"'),
    ],
)
def test_the_line_for_sshd_has_the_command_and_the_limits(who: AuthorizedKey, options: str) -> None:
    assert ssh_keys.entry_line(who, "run") == f"{options} {ED}"


@pytest.mark.parametrize("command", ["", "a\nb", "a\rb", "a\0b", "a\\"])
def test_a_command_that_sshd_could_not_read_back_is_refused(command: str) -> None:
    with pytest.raises(ValueError, match="a command has no"):
        ssh_keys.entry_line(entry(), command)


def sshd_unquotes(text: str) -> tuple[str, str]:
    """Read a quoted value as sshd does (opt_dequote); return it and what follows it."""
    assert text[0] == '"'
    value, at = "", 1
    while text[at] != '"':
        at += text.startswith('\\"', at)
        value += text[at]
        at += 1
    return value, text[at + 1 :]


@given(st.text(alphabet="ab \"\\,'$\té", min_size=1, max_size=30))
def test_sshd_reads_any_command_as_it_was(command: str) -> None:
    if command.endswith("\\"):
        command += "."
    written = ssh_keys.entry_line(entry("pty"), command)
    value, rest = sshd_unquotes(written.removeprefix("command="))
    assert value == command
    assert rest == f",pty {ED}"


def test_a_key_that_occurs_twice_may_only_watch_if_one_of_them_says_so() -> None:
    first = dataclasses.replace(entry('from="a"'), source="first")
    watching = dataclasses.replace(entry(read_only=True), source="second")
    last = dataclasses.replace(watching, source="third")
    other = entry(text=ED_OTHER)
    assert ssh_keys.merge([first, other, watching, last]) == [watching, other]
    assert ssh_keys.merge([watching, first]) == [watching]


def test_of_two_entries_of_a_key_the_first_one_is_kept() -> None:
    first, second = entry("pty"), entry("restrict")
    assert ssh_keys.merge(iter([first, second])) == [first]
    assert ssh_keys.merge([]) == []


# Names and secrets


@pytest.mark.parametrize("name", ["a", "octocat", "Octo-Cat-1", "1", "a" * 39])
def test_names_at_github_are_read(name: str) -> None:
    assert ssh_keys.parse_github_user(name) == GithubUser(name, read_only=False)
    assert ssh_keys.parse_github_user(f"{name}:read-only") == GithubUser(name, read_only=True)


@pytest.mark.parametrize(
    "text",
    ["", "-", "-a", "a-", "a--b", "a_b", "a/b", "../a", "a.keys", "é", "٣", "a\n", ":read-only"],
)
def test_what_cannot_be_a_name_at_github_is_refused(text: str) -> None:
    check_no_name(text)


def test_a_long_name_and_another_suffix_are_refused() -> None:
    for text in ("a" * 40, "a:write", "a:read-only:read-only"):
        check_no_name(text)


def check_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="octocat"):
        ssh_keys.parse_github_user(text)


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "0 characters"),
        ("abcdefghijklmno", "15 characters"),
        ("abcdef" * 200, "more than 1024"),
        ("abcde" * 4, "easy to guess"),
        ("correct horse\nbattery", "control character"),
        ("correct horse\tbattery", "control character"),
        ("correct horse battery\udcff", "not UTF-8"),
    ],
)
def test_a_weak_secret_is_refused_and_not_shown(secret: str, reason: str) -> None:
    sentence = ssh_keys.secret_problem(secret)
    assert reason in sentence
    assert not secret or secret not in sentence


@pytest.mark.parametrize("secret", ["correct horse battery", "abcdef" * 3, "пароль и ещё слово"])
def test_a_good_secret_has_no_problem(secret: str) -> None:
    assert ssh_keys.secret_problem(secret) == ""


def test_a_key_is_a_value() -> None:
    assert ssh_keys.parse_public_key(ED) == PublicKey(
        "ssh-ed25519", base64.b64decode(ED.split()[1])
    )
