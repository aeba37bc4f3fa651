"""Keys from real files and over real HTTP; host keys that the real ssh-keygen reads."""

import asyncio
import fcntl
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from aiohttp import web

from ttybridge.core.ssh_keys import (
    AuthorizedKey,
    GithubUser,
    PublicKey,
    entry_line,
    parse_entry,
    parse_public_key,
)
from ttybridge.errors import SshdError
from ttybridge.ssh import host_key, keys
from ttybridge.ssh.host_key import FILE_NAME, HostKey

SECRET = "correct horse battery staple"
DERIVED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICcUAgPj6UU7eCy7TG/sZNgTCSIBD2XESBRA4YKI11ld"
"""What belongs to SECRET, for ever: another value here changes the host key of everybody."""

ONE, TWO, THREE = (host_key.generate().public for _ in range(3))

needs_ssh_keygen = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed"
)
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


@dataclass
class Github:
    """A stand-in for GitHub on this machine."""

    url: str = ""
    answers: dict[str, web.Response] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        self.headers.append(dict(request.headers))
        return self.answers.get(request.path, web.Response(status=404, text="Not Found"))


@pytest.fixture(name="github")
async def started_github() -> AsyncIterator[Github]:
    github = Github()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", github.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        github.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await web.SockSite(runner, listener).start()
        yield github
        await runner.cleanup()


async def collected(**sources: Any) -> keys.Collected:
    given: dict[str, Any] = {"files": [], "default_file": None, "literal": [], "github_users": []}
    async with asyncio.timeout(20):
        return await keys.collect(**(given | {"github_url": "http://127.0.0.1:9"} | sources))


async def refused(**sources: Any) -> str:
    with pytest.raises(SshdError) as caught:
        await collected(**sources)
    assert caught.value.hint
    return str(caught.value)


def file_of(folder: Path, text: str, name: str = "authorized_keys") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def found(result: keys.Collected) -> list[tuple[PublicKey, bool]]:
    return [(entry.key, entry.read_only) for entry in result.entries]


def of_octocat(key: PublicKey) -> PublicKey:
    """Return a key as it comes from GitHub: it has no comment there, so the user's name is one."""
    return replace(key, comment="octocat")


# Where keys come from


async def test_keys_of_all_sources_are_merged(tmp_path: Path, github: Github) -> None:
    github.answers["/octocat.keys"] = web.Response(text=f"{TWO.line}\n{THREE.line}\n")
    result = await collected(
        files=[file_of(tmp_path, f"{ONE.line}\n{TWO.line} me\n")],
        literal=[parse_entry(f"read-only {ONE.line}", "--ssh-key")],
        github_users=[GithubUser("octocat")],
        github_url=github.url + "/",
    )
    assert found(result) == [
        (ONE, True),
        (parse_public_key(f"{TWO.line} me"), False),
        (of_octocat(THREE), False),
    ]
    assert result.notes == ()


async def test_lines_that_are_left_out_are_told(tmp_path: Path) -> None:
    path = file_of(tmp_path, f'{ONE.line}\ncommand="s3cret" {TWO.line}\n')
    result = await collected(files=[path])
    assert found(result) == [(ONE, False)]
    assert len(result.notes) == 1
    assert result.notes[0].startswith(f"{path}, line 2: the option 'command'")
    assert "s3cret" not in result.notes[0]


LIMITED = f'command="rrsync /b",restrict {ONE.line} backup'


@pytest.mark.parametrize("limited_is_first", [True, False])
async def test_a_key_that_one_file_limits_does_not_come_in_by_another_source(
    tmp_path: Path, github: Github, limited_is_first: bool
) -> None:
    github.answers["/octocat.keys"] = web.Response(text=f"{ONE.line}\n{THREE.line}\n")
    limiting = file_of(tmp_path, f"{TWO.line}\n{LIMITED}\n")
    plain = file_of(tmp_path, f"{ONE.line}\n{TWO.line}\n", "plain")
    result = await collected(
        files=[limiting, plain] if limited_is_first else [plain, limiting],
        literal=[parse_entry(ONE.line, "--ssh-key")],
        github_users=[GithubUser("octocat")],
        github_url=github.url,
    )
    assert found(result) == [(TWO, False), (of_octocat(THREE), False)]
    told = [note for note in result.notes if note.startswith(ONE.label)]
    for source in ("--ssh-key", str(plain), "GitHub user 'octocat'"):
        start = f"{ONE.label} from {source} is left out, because {limiting}, line 2 limits"
        assert [note for note in told if note.startswith(start)]
    assert len(told) == 3


async def test_when_the_only_key_has_limits_that_cannot_be_kept_the_start_says_so(
    tmp_path: Path,
) -> None:
    path = file_of(tmp_path, f"{LIMITED}\n{ONE.line}\n")
    for sources in ({"files": [path]}, {"default_file": path}):
        message = await refused(**sources)
        assert f"{path}, line 1: the option 'command'" in message
        assert f"{ONE.label} from {path} is left out" in message


async def test_many_bad_lines_are_told_in_few_sentences(tmp_path: Path) -> None:
    result = await collected(files=[file_of(tmp_path, f"{ONE.line}\n" + "bad\n" * 1000)])
    assert len(result.notes) == keys.MAX_NOTES + 1
    assert "980 more lines" in result.notes[-1]


async def test_a_file_that_others_may_write_to_is_told(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE.line)
    path.chmod(0o620)
    assert (await collected(files=[path])).notes == (
        f"Others may write to {path}, and so add keys. Run: chmod go-w {path}",
    )


async def test_the_users_own_file_serves_when_nothing_else_is_given(tmp_path: Path) -> None:
    default = file_of(tmp_path, f"{ONE.line}\nssh-dss AAAA\n")
    result = await collected(default_file=default)
    assert found(result) == [(ONE, False)]
    assert len(result.notes) == 1
    asked_for = await collected(default_file=default, literal=[parse_entry(TWO.line, "--ssh-key")])
    assert found(asked_for) == [(TWO, False)]


async def test_without_any_key_the_three_ways_are_named(tmp_path: Path) -> None:
    for default in (None, tmp_path / "missing", file_of(tmp_path, "# nothing\n")):
        message = await refused(default_file=default)
        assert message.startswith("--ssh needs a key")
        assert "passwords are never accepted" in message
        for way in ("--authorized-keys FILE", "--ssh-key", "--github-user NAME"):
            assert way in message


async def test_when_the_users_own_file_has_no_usable_key_its_lines_are_told(tmp_path: Path) -> None:
    default = file_of(tmp_path, "ssh-dss AAAA\n")
    message = await refused(default_file=default)
    assert message.startswith("--ssh needs a key")
    assert f"{default}, line 1: it is a DSA key" in message


async def test_a_folder_in_the_place_of_the_users_own_file_is_told(tmp_path: Path) -> None:
    assert f"{tmp_path} cannot be read" in await refused(default_file=tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot be read: No such file"),
        ("# nothing\n", "has no key that can be used"),
        ("ssh-dss AAAA\n", "line 1: it is a DSA key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\ns3cret\n", "private half"),
        (f"{ONE.line}\n" + "#" * keys.MAX_FILE_BYTES, "larger than 1024 KiB"),
    ],
)
async def test_a_file_that_was_asked_for_must_have_a_key(
    tmp_path: Path, text: str | None, reason: str
) -> None:
    path = tmp_path / "missing" if text is None else file_of(tmp_path, text)
    other = parse_entry(TWO.line, "--ssh-key")
    message = await refused(files=[path], literal=[other], default_file=file_of(tmp_path, "", "x"))
    assert str(path) in message
    assert reason in message
    assert "s3cret" not in message


@not_as_root
async def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE.line)
    path.chmod(0)
    assert "Permission denied" in await refused(files=[path])


# GitHub


async def test_keys_of_a_user_who_may_only_watch_are_read_only(github: Github) -> None:
    github.answers["/octocat.keys"] = web.Response(text=ONE.line)
    result = await collected(
        github_users=[GithubUser("octocat", read_only=True)], github_url=github.url
    )
    assert found(result) == [(of_octocat(ONE), True)]
    assert result.entries[0].source == "GitHub user 'octocat'"
    assert github.asked == ["/octocat.keys"]
    assert "Cookie" not in github.headers[0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: web.Response(status=404), "GitHub knows no user 'octocat'."),
        (lambda: web.Response(text="\n"), "The user 'octocat' has no SSH key at GitHub."),
        (lambda: web.Response(text="<html>"), "has no key that can be used"),
        (lambda: web.Response(status=503, text="s3cret"), "status 503"),
        (lambda: web.Response(status=302, headers={"Location": "/elsewhere"}), "redirect"),
        (lambda: web.Response(text="#" * (keys.MAX_ANSWER_BYTES + 1)), "more than 256 KiB"),
    ],
)
async def test_an_answer_without_keys_is_told(
    github: Github, answer: Callable[[], web.Response], reason: str
) -> None:
    github.answers["/octocat.keys"] = answer()
    github.answers["/elsewhere"] = web.Response(text=ONE.line)
    message = await refused(github_users=[GithubUser("octocat")], github_url=github.url)
    assert reason in message
    assert "octocat" in message
    assert "--ssh-key" in message
    assert "s3cret" not in message
    assert github.asked == ["/octocat.keys"]


async def test_when_github_cannot_be_reached_the_reason_and_another_way_are_told() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        message = await refused(github_users=[GithubUser("octocat")], github_url=url)
    assert "could not be fetched: Cannot connect" in message
    assert "--authorized-keys FILE" in message


async def test_a_github_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FETCH_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        message = await refused(github_users=[GithubUser("octocat")], github_url=url)
    assert "no answer within" in message


async def test_an_address_that_is_none_is_told_without_showing_it() -> None:
    url = "http://me:s3cret@[::1"
    message = await refused(github_users=[GithubUser("octocat")], github_url=url)
    assert "not valid" in message
    assert "s3cret" not in message


# Host keys


def ssh_keygen(*arguments: str | Path) -> str:
    done = subprocess.run(["ssh-keygen", *arguments], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def same_as(path: Path) -> tuple[str, str]:
    """Return the public line and the fingerprint of a private key, as ssh-keygen reads it."""
    line = " ".join(ssh_keygen("-y", "-P", "", "-f", path).split()[:2])
    return line, ssh_keygen("-lf", path).split()[1]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def problem_of(folder: Path) -> str:
    with pytest.raises(SshdError) as caught:
        host_key.kept(folder)
    assert caught.value.hint
    return str(caught.value)


def test_new_keys_differ_and_do_not_show_their_private_half() -> None:
    one, two = host_key.generate(), host_key.generate()
    assert one != two
    assert "PRIVATE" not in repr(one)
    assert one.private.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----\n")


def test_a_secret_always_makes_the_same_key() -> None:
    assert host_key.derive(SECRET).public.line == DERIVED
    assert host_key.derive(SECRET) == host_key.derive(SECRET)
    assert host_key.derive(SECRET + " ") != host_key.derive(SECRET)


def test_a_weak_secret_makes_no_key() -> None:
    with pytest.raises(ValueError, match="7 characters") as caught:
        host_key.derive("hunter2")
    assert "hunter2" not in str(caught.value)


@needs_ssh_keygen
@pytest.mark.parametrize("key", [host_key.generate(), host_key.derive(SECRET)])
def test_ssh_keygen_reads_our_keys_as_we_do(tmp_path: Path, key: HostKey) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(key.private)
    assert same_as(path) == (key.public.line, key.public.fingerprint)


def test_a_kept_key_is_private_and_stays_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "state"
    first, notes = host_key.kept(folder)
    assert notes == ()
    assert mode(folder) == 0o700
    assert mode(folder / FILE_NAME) == 0o600
    assert names_in(folder) == [FILE_NAME]
    assert host_key.kept(folder) == (first, ())


@needs_ssh_keygen
def test_ssh_keygen_reads_the_kept_key(tmp_path: Path) -> None:
    key, _ = host_key.kept(tmp_path)
    assert same_as(tmp_path / FILE_NAME) == (key.public.line, key.public.fingerprint)


@needs_ssh_keygen
def test_a_key_of_ssh_keygen_is_taken(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", "me@box", "-f", path)
    before = path.read_bytes()
    key, notes = host_key.kept(tmp_path)
    assert notes == ()
    assert (key.public.line, key.public.fingerprint) == same_as(path)
    assert path.read_bytes() == before


def no_link(*_: object, **__: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.fixture(params=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with links, and as on a drive that has none."""
    if request.param == "no links":
        monkeypatch.setattr(os, "link", no_link)


def test_without_links_the_folder_is_locked_while_the_key_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(temporary: Path, path: Path) -> None:
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
        really_rename(temporary, path)

    really_rename = os.rename
    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(Path, "rename", rename)
    key, _ = host_key.kept(tmp_path)
    assert host_key.kept(tmp_path) == (key, ())


@pytest.mark.usefixtures("links")
def test_bridges_that_start_at_once_get_one_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_have_made_one = Barrier(4)

    def generate() -> HostKey:
        all_have_made_one.wait(20)  # so that each has seen that there is no file
        return made()

    made = host_key.generate
    monkeypatch.setattr(host_key, "generate", generate)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(host_key.kept, [tmp_path / "state"] * 4))
    assert results == [results[0]] * 4
    assert names_in(tmp_path / "state") == [FILE_NAME]
    assert host_key.kept(tmp_path / "state") == results[0]


@pytest.mark.parametrize(("bits", "told"), [(0o600, False), (0o400, False), (0o640, True)])
def test_a_key_that_others_may_read_is_told(tmp_path: Path, bits: int, told: bool) -> None:
    key, _ = host_key.kept(tmp_path)
    (tmp_path / FILE_NAME).chmod(bits)
    again, notes = host_key.kept(tmp_path)
    assert again == key
    assert [f"chmod 600 {tmp_path / FILE_NAME}" in note for note in notes] == [True] * told


@pytest.mark.parametrize("data", [b"", b"s3cret", b"-----BEGIN OPENSSH PRIVATE KEY-----\ns3cret"])
def test_a_damaged_key_is_told_and_left_alone(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(data)
    message = problem_of(tmp_path)
    assert f"{tmp_path / FILE_NAME} is damaged" in message
    assert "s3cret" not in message
    assert (tmp_path / FILE_NAME).read_bytes() == data


@needs_ssh_keygen
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-t", "rsa", "-N", ""], "of another type than Ed25519"),
        (["-t", "ecdsa", "-N", ""], "of another type than Ed25519"),
        (["-t", "ed25519", "-N", "s3cret"], "has a passphrase"),
        (["-t", "rsa", "-m", "PEM", "-N", ""], "OpenSSH's format"),
    ],
)
def test_a_key_that_sshd_could_not_use_is_told_and_left_alone(
    tmp_path: Path, options: list[str], reason: str
) -> None:
    path = tmp_path / FILE_NAME
    ssh_keygen("-q", *options, "-f", path)
    before = path.read_bytes()
    assert reason in problem_of(tmp_path)
    assert path.read_bytes() == before


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE_NAME)
    assert "not a regular file" in problem_of(tmp_path)


def test_a_link_to_nothing_is_told_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "gone")
    assert "No such file" in problem_of(tmp_path)
    assert names_in(tmp_path) == [FILE_NAME]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Not a directory" in problem_of(tmp_path / "file" / "state")


@not_as_root
def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "Permission denied" in problem_of(tmp_path)


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in problem_of(tmp_path)
    assert names_in(tmp_path) == []


# What we write for sshd


@needs_ssh_keygen
@pytest.mark.parametrize("options", [(), ('from="a,b"', "no-user-rc"), ('permitopen="a:1"',)])
@pytest.mark.parametrize("read_only", [False, True])
def test_ssh_keygen_finds_the_key_in_the_line_for_sshd(
    tmp_path: Path, options: tuple[str, ...], read_only: bool
) -> None:
    who = AuthorizedKey(ONE, read_only, options, "test")
    path = file_of(tmp_path, entry_line(who, r"""sh -c 'echo "a b" \"c'""") + "\n")
    assert ssh_keygen("-lf", path).split()[1] == ONE.fingerprint
