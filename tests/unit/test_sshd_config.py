"""The text of sshd_config. A real sshd reads it in component/test_sshd_config_real.py."""

import dataclasses
import itertools
import re

import pytest

from ttybridge.core.shell import is_safe_path
from ttybridge.core.sshd_config import (
    SUBSYSTEM,
    SshdSettings,
    parse_version,
    sshd_config,
)

SETTINGS = SshdSettings(
    user="me",
    host="127.0.0.1",
    port=2222,
    host_key="/run/x/host_key",
    authorized_keys="/run/x/authorized_keys",
)


def words(settings: SshdSettings) -> dict[str, str]:
    """Return the settings of the text by their names; each is there once."""
    pairs = [line.partition(" ")[::2] for line in sshd_config(settings).splitlines()]
    found = dict(pairs)
    assert len(found) == len(pairs)
    return found


ALWAYS = {
    "Port": "2222",
    "ListenAddress": "127.0.0.1",
    "HostKey": "/run/x/host_key",
    "AuthorizedKeysFile": "/run/x/authorized_keys",
    "AllowUsers": "me",
    "AuthenticationMethods": "publickey",
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "X11Forwarding": "no",
    "PermitTunnel": "no",
    "PermitUserEnvironment": "no",
    "PermitUserRC": "no",
    "GatewayPorts": "no",
    "PidFile": "none",
    "LogLevel": "VERBOSE",
    "LoginGraceTime": "20",
    "MaxStartups": "100:30:200",
    "MaxSessions": "100",
    "ClientAliveInterval": "15",
    "ClientAliveCountMax": "4",
}


@pytest.mark.parametrize("switches", list(itertools.product([True, False], repeat=4)))
def test_each_switch_changes_its_own_lines_and_nothing_else(switches: tuple[bool, ...]) -> None:
    names = ("uses_pam", "forwarding", "agent", "sftp")
    chosen = dict(zip(names, switches, strict=True))
    found = words(dataclasses.replace(SETTINGS, **chosen))  # type: ignore[arg-type]
    said = {name: "yes" if value else "no" for name, value in chosen.items()}
    assert found["UsePAM"] == said["uses_pam"]
    assert found["AllowTcpForwarding"] == found["AllowStreamLocalForwarding"] == said["forwarding"]
    assert found["AllowAgentForwarding"] == said["agent"]
    assert found.get("Subsystem") == (f"sftp {SUBSYSTEM}" if chosen["sftp"] else None)
    assert found.items() >= ALWAYS.items()


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (None, None),
        ((8, 0), None),
        ((9, 2), None),
        ((9, 7), None),
        ((9, 8), "no"),
        ((9, 10), "no"),
        ((10, 0), "no"),
    ],
)
def test_penalties_are_only_named_to_an_sshd_that_knows_them(
    version: tuple[int, int] | None, expected: str | None
) -> None:
    found = words(dataclasses.replace(SETTINGS, version=version))
    assert found.get("PerSourcePenalties") == expected


def test_nothing_of_the_systems_configuration_is_read() -> None:
    text = sshd_config(SETTINGS)
    assert not re.search("include|match|/etc", text, re.IGNORECASE)
    assert "AcceptEnv" not in text
    assert text.endswith("\n")


UNSAFE = [
    "",
    "/run/my folder",
    "/run/%h",
    "/run/~",
    "/run/a\nPermitRootLogin yes",
    "/run/a\n",
    "/run/a\tb",
    '/run/"a"',
    "/run/'a'",
    "/run/a\\b",
    "/run/$HOME",
    "/run/a;b",
    "/run/a*",
    "/run/#a",
    "/run/a=b",
    "/run/é",
    "/run/a\0",
]


@pytest.mark.parametrize("path", UNSAFE)
@pytest.mark.parametrize("name", ["host_key", "authorized_keys"])
def test_a_path_that_would_be_misread_is_refused(name: str, path: str) -> None:
    assert not is_safe_path(path)
    with pytest.raises(ValueError, match="would misread"):
        sshd_config(dataclasses.replace(SETTINGS, **{name: path}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("OpenSSH_9.2p1 Debian-2+deb12u7, OpenSSL 3.0.17 1 Jul 2025", (9, 2)),
        ("OpenSSH_9.2, OpenSSL 3.0.19 27 Jan 2026", (9, 2)),
        ("OpenSSH_10.0p2, OpenSSL 3.5.1", (10, 0)),
        ("OpenSSH_9.10p1", (9, 10)),
        ("unknown option -- V\nOpenSSH_8.4p1, OpenSSL 1.1.1\nusage: sshd [-46DdeiqTt]", (8, 4)),
        ("OpenSSH_for_Windows_9.5p1", None),
        ("OpenSSH_9", None),
        ("Dropbear v2022.83", None),
        ("", None),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, int] | None) -> None:
    assert parse_version(text) == version
