"""Which Host and Origin a request may carry, and where it really comes from.

A browser adds its cookie to whatever address a page on the web asks it for. Two checks stand
against that. The Host list refuses names that are not ours, so that a foreign name pointed at this
machine (DNS rebinding) reaches nothing. The Origin must be exactly the scheme, host and port that
the request is addressed to: other ports of the same machine are the same *site* to a browser, so
SameSite cookies alone do not tell them apart.
"""

import re
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Self

from ttybridge.errors import AccessDenied, ConfigError

PAGE, LOGIN, LOGOUT, HEALTH = "/", "/login", "/logout", "/healthz"
"""Local paths (base path removed) that have rules of their own."""

DEFAULT_PORTS = {"http": 80, "https": 443}
"""Ports that a browser leaves out of Host and Origin (RFC 9110, 4.2)."""

_AUTHORITY = re.compile(
    r"(\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?)(?::(\d{1,5}))?"
)
_ORIGIN = re.compile(r"(https?)://(.+)")
_BASE_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")

_NOT_SERVED = (
    "This host name is not served here. The owner can add it with the option --allow-host NAME."
)


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


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A public name that leads here while a tunnel is open."""

    authority: Authority
    """Its name, with a port when the public address has one."""
    scheme: str = "https"
    """Scheme of the public address: what browsers put into Origin."""


@dataclass(frozen=True, slots=True)
class SecurityPolicy:
    """What the options say about hosts, proxies and frames.

    Raises:
        ConfigError: a value cannot be read; all of them are named at once.
    """

    port: int
    """The port that the bridge listens on."""
    bound_host: str = "127.0.0.1"
    """The address that the bridge listens on; a wildcard such as 0.0.0.0 adds no Host."""
    allow_hosts: tuple[str, ...] = ()
    """More Host values: `name` with any port, or `name:port`."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded headers are believed."""
    frame_origins: tuple[str, ...] = ()
    """Origins that may show the page in a frame; empty forbids framing."""
    base_path: str = ""
    """Path that a proxy puts in front of every address, `/a/b`; empty for none."""
    public_files: frozenset[str] = frozenset()
    """Local paths of built page files that need no credential, such as `/style-1a2b.css`."""
    tunnels: tuple[Tunnel, ...] = ()
    """Public names of the tunnels that are open now."""
    _own: frozenset[Authority] = field(init=False, repr=False, compare=False)
    _extra: frozenset[Authority] = field(init=False, repr=False, compare=False)
    _proxies: tuple[IPv4Network | IPv6Network, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        problems: list[str] = []
        own = {Authority(name, self.port) for name in ("127.0.0.1", "localhost", "::1")}
        bound = parse_address(self.bound_host)
        if bound is not None and not bound.is_unspecified:
            own.add(Authority(bound.compressed, self.port))
        elif bound is None and (named := Authority.parse(self.bound_host)):
            own.add(Authority(named.host, self.port))
        extra: set[Authority] = set()
        for name in self.allow_hosts:
            authority = Authority.parse(name)
            if authority is None:
                problems.append(f"Allowed host {name!r} is not a name or NAME:PORT.")
            else:
                extra.add(authority)
        proxies: list[IPv4Network | IPv6Network] = []
        for text in self.trusted_proxies:
            try:
                proxies.append(ip_network(text, strict=False))
            except ValueError:
                problems.append(f"Trusted proxy {text!r} is not an IP address or a network.")
        problems += [
            f"Frame origin {text!r} is not like https://host or https://host:port."
            for text in self.frame_origins
            if parse_origin(text) is None
        ]
        base_path = self.base_path.rstrip("/")
        if not _BASE_PATH.fullmatch(base_path):
            problems.append(f"Base path {self.base_path!r} is not like /a or /a/b.")
        if problems:
            raise ConfigError(problems)
        object.__setattr__(self, "base_path", base_path)
        object.__setattr__(self, "_own", frozenset(own))
        object.__setattr__(self, "_extra", frozenset(extra))
        object.__setattr__(self, "_proxies", tuple(proxies))

    def paths(self, local_path: str) -> tuple[str, ...]:
        """Return the paths to register a route under: with and without the base path."""
        return (local_path, self.base_path + local_path) if self.base_path else (local_path,)

    def local_path(self, path: str) -> str:
        """Return `path` without the base path, which a proxy in front may have removed already."""
        if self.base_path and (path + "/").startswith(self.base_path + "/"):
            return path[len(self.base_path) :] or "/"
        return path

    def allows(self, authority: Authority) -> bool:
        """Tell whether a Host is one of ours."""
        spellings = {authority}
        if authority.port is None:  # clients leave the default port out
            spellings |= {Authority(authority.host, port) for port in DEFAULT_PORTS.values()}
        return (
            not spellings.isdisjoint(self._own | self._extra)
            or Authority(authority.host) in self._extra
            or self.tunnel(authority) is not None
        )

    def tunnel(self, authority: Authority) -> Tunnel | None:
        """Return the open tunnel whose public name this is."""
        for tunnel in self.tunnels:
            if tunnel.authority.with_port(tunnel.scheme) == authority.with_port(tunnel.scheme):
                return tunnel
        return None

    def trusts(self, peer: str) -> bool:
        """Tell whether X-Forwarded headers from this peer are believed."""
        address = parse_address(peer)
        return address is not None and any(address in network for network in self._proxies)


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What the decision about a request looks at. Header fields hold every value that was sent."""

    method: str = "GET"
    """The method, as sent."""
    path: str = "/"
    """Path without base path and query."""
    is_origin_form: bool = True
    """Whether the request target is a path; a whole URL there would overrule Host."""
    scheme: str = "http"
    """`https` when the bridge itself ended the TLS connection."""
    peer: str = ""
    """Address at the other end of the connection; empty when it has none."""
    hosts: tuple[str, ...] = ()
    """Host."""
    origins: tuple[str, ...] = ()
    """Origin."""
    fetch_sites: tuple[str, ...] = ()
    """Sec-Fetch-Site; pages cannot forge it."""
    fetch_mode: str = ""
    """Sec-Fetch-Mode."""
    fetch_dest: str = ""
    """Sec-Fetch-Dest."""
    forwarded_proto: tuple[str, ...] = ()
    """X-Forwarded-Proto."""
    forwarded_host: tuple[str, ...] = ()
    """X-Forwarded-Host."""
    forwarded_for: tuple[str, ...] = ()
    """X-Forwarded-For."""
    is_upgrade: bool = False
    """Whether it asks for a WebSocket."""
    from_page: bool = False
    """Whether it has X-TTYBridge-Client; a foreign page would have to ask first (OPTIONS)."""
    content_length: int = 0
    """Announced size of the body in bytes; 0 when none is announced."""
    header_tokens: tuple[str, ...] = ()
    """Tokens of Authorization: Bearer and X-Colab-Runtime-Proxy-Token."""
    query_tokens: tuple[str, ...] = ()
    """Tokens of the query parameters."""
    cookies: tuple[str, ...] = ()
    """Values of the session cookie."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Where a request is addressed to and who sent it, after the proxies that are trusted."""

    scheme: str
    """`http` or `https`, as the client's address bar has it."""
    authority: Authority
    """Host and port, as the client's address bar has them."""
    address: str
    """Address of the client, for slowing down guesses; empty when unknown."""


def check_host(facts: RequestFacts, policy: SecurityPolicy) -> Seen:
    """Find out what a request is addressed to.

    From a trusted proxy the last value of each X-Forwarded header counts, the one that the proxy
    itself added. The Host header must be one of ours all the same: a page rebound to this machine
    can send X-Forwarded-Host. An open tunnel tells the scheme by itself.

    Raises:
        AccessDenied: 400 for a target that is not a path; 421 for a Host that is missing, sent
            twice, malformed, or not ours.
    """
    if not facts.is_origin_form:
        raise AccessDenied("The request target is not a path.", status=400)
    authority = Authority.parse(facts.hosts[0]) if len(facts.hosts) == 1 else None
    if authority is None or not policy.allows(authority):
        raise AccessDenied(_NOT_SERVED, status=421)
    scheme, address = facts.scheme, facts.peer
    tunnel = policy.tunnel(authority)
    peer = parse_address(facts.peer)
    if policy.trusts(facts.peer):
        proto = _last(facts.forwarded_proto).lower()
        scheme = proto if proto in DEFAULT_PORTS else scheme
        address = _last(facts.forwarded_for) or address
        if forwarded := _last(facts.forwarded_host):
            authority = Authority.parse(forwarded)
            if authority is None or not policy.allows(authority):
                raise AccessDenied(_NOT_SERVED, status=421)
            tunnel = policy.tunnel(authority)
    elif tunnel and peer is not None and peer.is_loopback:
        address = _last(facts.forwarded_for) or address
    if tunnel:
        scheme = tunnel.scheme
    return Seen(scheme, authority, address[:64])


def _last(values: tuple[str, ...]) -> str:
    return values[-1].rpartition(",")[2].strip() if values else ""


def check_origin(
    facts: RequestFacts, policy: SecurityPolicy, seen: Seen, *, is_open: bool = False
) -> None:
    """Refuse what another website may have made a browser send.

    Args:
        facts: The request.
        policy: The options.
        seen: What `check_host` found.
        is_open: True when no credential is asked for (--no-auth).

    Raises:
        AccessDenied: 403, before any credential is looked at.
    """
    site = ",".join(facts.fetch_sites).strip().lower()
    if site not in ("", "same-origin", "none") and not _is_page_visit(facts, policy):
        raise AccessDenied("Another website asked for this.", status=403)
    if facts.origins:
        _check_sent_origin(facts, seen, site)
    elif not _may_lack_origin(facts, policy, site, is_open=is_open):
        raise AccessDenied("The request does not say which page sent it (Origin).", status=403)


def _is_page_visit(facts: RequestFacts, policy: SecurityPolicy) -> bool:
    """Tell whether this is somebody who follows a link to the page, or a frame that is allowed."""
    frames = ("iframe", "frame") if policy.frame_origins else ()
    return (
        (facts.method, facts.path, facts.fetch_mode) == ("GET", PAGE, "navigate")
        and facts.fetch_dest in ("document", *frames)
        and not facts.is_upgrade
    )


def _check_sent_origin(facts: RequestFacts, seen: Seen, site: str) -> None:
    own = (seen.scheme, seen.authority.with_port(seen.scheme))
    if len(facts.origins) == 1:
        if parse_origin(facts.origins[0]) == own:
            return
        # Under Referrer-Policy: no-referrer a browser sends `null` with a form, its own too (Fetch
        # standard, "append a request Origin header"). A sandboxed frame has Sec-Fetch-Site:
        # cross-site. Over plain http there is no Sec-Fetch-Site; the token in the form decides.
        is_login = facts.path == LOGIN and site in ("", "same-origin")
        is_logout = facts.path == LOGOUT and site == "same-origin"
        if facts.origins[0] == "null" and facts.method == "POST" and (is_login or is_logout):
            return
    raise AccessDenied("The request comes from another website (Origin).", status=403)


def _may_lack_origin(
    facts: RequestFacts, policy: SecurityPolicy, site: str, *, is_open: bool
) -> bool:
    """Tell whether a request without Origin is no danger.

    Danger is only in what a browser adds by itself: the cookie, or nothing at all with --no-auth.
    """
    if facts.header_tokens or facts.query_tokens or not (facts.cookies or is_open):
        return True
    if facts.is_upgrade:  # every browser sends Origin with a WebSocket
        return is_open and not site
    if facts.from_page or site == "same-origin" or facts.path == LOGIN:
        return True
    if facts.method in ("GET", "HEAD") and (
        site == "none" or facts.path in (PAGE, HEALTH) or facts.path in policy.public_files
    ):
        return True
    return is_open and not site  # a program; browsers send Origin with every foreign POST
