"""Hosts and origins as text: what Host and Origin hold."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

DEFAULT_PORTS = {"http": 80, "https": 443}
"""Ports that a browser leaves out of Host and Origin (RFC 9110, 4.2)."""

_AUTHORITY = re.compile(
    r"(\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?)(?::(\d{1,5}))?"
)
_ORIGIN = re.compile(r"(https?)://(.+)")


@dataclass(frozen=True, slots=True)
class Authority:
    """The host and port that a URL or a Host header names."""

    host: str
    """Name or address in lower case; IPv6 without brackets, in its shortest form."""
    port: int | None = None
    """1 to 65535; None when none is written."""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `host` or `host:port`; None when it is malformed.

        >>> Authority.parse("[::0001]:8080")
        Authority(host='::1', port=8080)
        >>> Authority.parse("user@host") is None
        True
        """
        match = _AUTHORITY.fullmatch(text.lower())
        if match is None or not text.isascii():
            return None
        host, digits = match[1], match[2]
        if host.startswith("["):
            try:
                host = IPv6Address(host[1:-1]).compressed
            except ValueError:
                return None
        port = int(digits) if digits else None
        if port is not None and not 1 <= port <= 65535:
            return None
        return cls(host, port)

    def with_port(self, scheme: str) -> "Authority":
        """Return the same host with its port written out, taken from `scheme` if absent."""
        return Authority(self.host, self.port or DEFAULT_PORTS[scheme])

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def parse_origin(text: str) -> tuple[str, Authority] | None:
    """Split an Origin into scheme and authority with its port; None when it is malformed.

    >>> parse_origin("https://a.example")
    ('https', Authority(host='a.example', port=443))
    """
    match = _ORIGIN.fullmatch(text.lower()) if text.isascii() else None
    authority = Authority.parse(match[2]) if match else None
    if match is None or authority is None:
        return None
    return match[1], authority.with_port(match[1])


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an IP address; an IPv4 address inside IPv6 comes back as IPv4, anything else as None.

    >>> parse_address("::ffff:127.0.0.1")
    IPv4Address('127.0.0.1')
    """
    try:
        address = ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
