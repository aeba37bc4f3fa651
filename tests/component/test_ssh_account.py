"""What is read of an account before sshd is to log it in, and where sshd is looked for."""

import os
from pathlib import Path

import pytest

from ttybridge.errors import MissingProgramError, SshdError
from ttybridge.ssh.account import SBIN, find_sshd, own_account


def program(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("line", "is_locked"),
    [
        ("root:!:19000::::::", True),
        ("root:!$6$salt$hash:19000::::::", True),
        ("root:*:19000::::::", False),  # no password matches, and keys do
        ("root::19000::::::", False),
        ("root:$6$salt$hash!:19000::::::", False),
        ("rooter:!:19000::::::\nroot:*:19000::::::", False),
        ("rooter:*:19000::::::\nroot:!:19000::::::", True),
        ("root", False),
        ("", False),
    ],
)
def test_root_is_locked_when_its_own_password_begins_so(
    tmp_path: Path, line: str, is_locked: bool
) -> None:
    shadow, pam = tmp_path / "shadow", tmp_path / "pam"
    shadow.write_text(f"{line}\n")
    pam.touch()
    assert own_account(shadow=shadow, pam=pam, uid=lambda: 0).needs_pam == is_locked
    pam.unlink()
    if is_locked:
        with pytest.raises(SshdError, match="is locked"):
            own_account(shadow=shadow, pam=pam, uid=lambda: 0)
    else:
        assert own_account(shadow=shadow, pam=pam, uid=lambda: 0).name == "root"


def test_without_the_file_of_passwords_nothing_is_locked(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert not own_account(shadow=missing, pam=missing, uid=lambda: 0).needs_pam


def test_sshd_is_found_in_path_before_elsewhere(tmp_path: Path) -> None:
    first, second = program(tmp_path / "a/sshd"), program(tmp_path / "b/sshd")
    (tmp_path / "c/sshd").mkdir(parents=True)
    path = f"{tmp_path}/c:{tmp_path}/missing:{first.parent}:{second.parent}"
    assert find_sshd("sshd", path) == str(first)
    first.chmod(0o644)
    assert find_sshd("sshd", path) == str(second)


def test_sshd_is_found_where_ordinary_users_do_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sbin = program(tmp_path / "sbin/sshd")
    assert "/usr/sbin" in SBIN
    monkeypatch.setattr("ttybridge.ssh.account.SBIN", (str(sbin.parent),))
    assert find_sshd("sshd", "/nowhere") == str(sbin)
    assert find_sshd("sshd", "") == str(sbin)


def test_no_program_of_the_working_folder_is_taken_for_sshd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "no-such-sshd")
    monkeypatch.chdir(tmp_path)
    for path in (".", "", ":", f".:{os.curdir}/"):
        with pytest.raises(MissingProgramError):
            find_sshd("no-such-sshd", path)
    # Unless it is named as a path.
    assert find_sshd("./no-such-sshd", "") == str(tmp_path / "no-such-sshd")
