"""What a real sshd makes of our configuration: what `sshd -T` says is in force."""

import dataclasses
import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ttybridge.core.sshd_config import SUBSYSTEM, SshdSettings, parse_version, sshd_config
from ttybridge.ssh import host_key

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.ssh,
    pytest.mark.skipif(SSHD is None, reason="sshd is not installed (openssh-server)"),
]


def sshd(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SSHD or "sshd", *arguments], capture_output=True, text=True, timeout=20, env={}
    )


@pytest.fixture(name="settings")
def made_settings(short_path: Path) -> SshdSettings:
    """Settings with files that are there, for the version that is installed."""
    key = short_path / "host_key"
    key.write_bytes(host_key.generate().private)
    key.chmod(0o600)
    shown = sshd("-V")
    return SshdSettings(
        user="me",
        host="127.0.0.1",
        port=2222,
        host_key=str(key),
        authorized_keys=str(short_path / "authorized_keys"),
        version=parse_version(shown.stdout + shown.stderr),
    )


def in_force(settings: SshdSettings) -> dict[str, list[str]]:
    """Return what sshd says is in force: the values of each name, all in small letters."""
    file = Path(settings.host_key).with_name("sshd_config")
    file.write_text(sshd_config(settings))
    checked = sshd("-t", "-f", str(file))
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    shown = sshd("-T", "-f", str(file))
    assert shown.returncode == 0, shown.stderr
    found: dict[str, list[str]] = {}
    for line in shown.stdout.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name, []).append(value)
    return found


OFF = (
    "passwordauthentication",
    "kbdinteractiveauthentication",
    "permitemptypasswords",
    "hostbasedauthentication",
    "x11forwarding",
    "permittunnel",
    "permituserenvironment",
    "permituserrc",
    "gatewayports",
    "usedns",
    "printmotd",
    "printlastlog",
)
"""What nobody gets, however the bridge is set."""


@pytest.mark.parametrize("switches", list(itertools.product([True, False], repeat=3)))
def test_switches_are_in_force_and_the_rest_is_off(
    settings: SshdSettings, switches: tuple[bool, ...]
) -> None:
    forwarding, agent, sftp = switches
    found = in_force(dataclasses.replace(settings, forwarding=forwarding, agent=agent, sftp=sftp))
    word = {True: "yes", False: "no"}
    assert found["allowtcpforwarding"] == [word[forwarding]]
    assert found["allowstreamlocalforwarding"] == [word[forwarding]]
    assert found["allowagentforwarding"] == [word[agent]]
    assert found.get("subsystem") == ([f"sftp {SUBSYSTEM}"] if sftp else None)
    assert {name: found[name] for name in OFF} == {name: ["no"] for name in OFF}


def test_only_keys_of_one_file_open_it_for_one_account(settings: SshdSettings) -> None:
    found = in_force(settings)
    assert found["authenticationmethods"] == ["publickey"]
    assert found["pubkeyauthentication"] == ["yes"]
    assert found["authorizedkeysfile"] == [settings.authorized_keys]
    assert found["authorizedkeyscommand"] == ["none"]
    assert found["trustedusercakeys"] == ["none"]
    assert found["allowusers"] == ["me"]
    assert found["permitrootlogin"] in (["without-password"], ["prohibit-password"])
    assert found["hostkey"] == [settings.host_key]
    assert found["listenaddress"] == ["127.0.0.1:2222"]
    assert "acceptenv" not in found
    assert found["pidfile"] == ["none"]
    assert found["setenv"] == ["SHLVL=2"]


@pytest.mark.parametrize("uses_pam", [True, False])
def test_pam_is_asked_only_when_told(settings: SshdSettings, uses_pam: bool) -> None:
    found = in_force(dataclasses.replace(settings, uses_pam=uses_pam))
    assert found.get("usepam", ["no"]) == ["yes" if uses_pam else "no"]


@pytest.mark.parametrize(
    ("host", "shown"),
    [("::1", "[::1]:2222"), ("0.0.0.0", "0.0.0.0:2222"), ("::", "[::]:2222")],
)
def test_addresses_without_brackets_are_taken(
    settings: SshdSettings, host: str, shown: str
) -> None:
    assert in_force(dataclasses.replace(settings, host=host))["listenaddress"] == [shown]


def test_a_version_that_knows_penalties_has_them_off(settings: SshdSettings) -> None:
    if settings.version is None or settings.version < (9, 8):
        pytest.skip(f"this sshd is too old: {settings.version}")
    assert in_force(settings)["persourcepenalties"] == ["no"]


def test_an_older_version_refuses_what_only_newer_ones_are_told(settings: SshdSettings) -> None:
    if settings.version is None or settings.version >= (9, 8):
        pytest.skip(f"this sshd is too new: {settings.version}")
    file = Path(settings.host_key).with_name("sshd_config")
    file.write_text(sshd_config(dataclasses.replace(settings, version=(9, 8))))
    checked = sshd("-t", "-f", str(file))
    assert checked.returncode != 0
    assert re.search("Bad configuration option: PerSourcePenalties", checked.stderr)
