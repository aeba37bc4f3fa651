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
    IPv4Network,
    IPv6Network,
    ip_network,
)

from ttybridge.core.authority import DEFAULT_PORTS, Authority, parse_address, parse_origin
from ttybridge.core.protocol import MAX_MESSAGE_BYTES
from ttybridge.errors import AccessDenied, ConfigError

PAGE, LOGIN, LOGOUT, HEALTH = "/", "/login", "/logout", "/healthz"
"""Local paths (base path removed) that have rules of their own."""

REPLAY, RECORDINGS = "/replay", "/recordings/"
"""The page that plays recordings, and the folder that they are downloaded from."""

_BASE_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")

_NOT_SERVED = (
    "This host name is not served here. The owner can add it with the option --allow-host NAME."
)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A public name that leads here while a tunnel is open."""

    authority: Authority
    """Its name, with a port when the public address has one."""
    scheme: str = "https"
    """Scheme of the public address: what browsers put into Origin."""
    adds_client_address: bool = False
    """Whether its end puts the client's address last in X-Forwarded-For, as a web server does;
    others pass on what the client wrote there."""


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
    proxied_ports: tuple[range, ...] = ()
    """Ports whose web apps are served below `/proxy/`."""
    public_files: frozenset[str] = frozenset()
    """Local paths of built page files that need no credential, such as `/style-1a2b.css`."""
    tunnels: tuple[Tunnel, ...] = ()
    """Public names of the tunnels that are open now."""
    max_body_bytes: int = MAX_MESSAGE_BYTES
    """Largest body of a request, but for the login and proxied apps."""
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

    def is_tunnel_origin(self, origin: tuple[str, Authority] | None) -> bool:
        """Tell whether an Origin is the page at the public address of an open tunnel."""
        return any(
            origin == (tunnel.scheme, tunnel.authority.with_port(tunnel.scheme))
            for tunnel in self.tunnels
        )

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
    is_proxied: bool = False
    """Whether it is for another web app of this machine, below `/proxy/`."""
    header_tokens: tuple[str, ...] = ()
    """Tokens of Authorization: Bearer and X-Colab-Runtime-Proxy-Token."""
    query_tokens: tuple[str, ...] = ()
    """Tokens of the query parameters."""
    links: tuple[str, ...] = ()
    """Texts of links in the query."""
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

    @property
    def place(self) -> str:
        """Host and port, the port written out: what a cookie is for."""
        return str(self.authority.with_port(self.scheme))


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
    elif tunnel and tunnel.adds_client_address and peer is not None and peer.is_loopback:
        address = _last(facts.forwarded_for) or address
    if tunnel:
        scheme = tunnel.scheme
    return Seen(scheme, authority, address[:64])


def seen_through_frame(facts: RequestFacts, policy: SecurityPolicy) -> Seen | None:
    """Return where the visit of a frame is addressed to, whatever the name; None when malformed.

    The platform's proxy in front has a name that only the browser knows, and may say which scheme.
    """
    authority = Authority.parse(facts.hosts[0]) if len(facts.hosts) == 1 else None
    if authority is None or not facts.is_origin_form:
        return None
    proto = _last(facts.forwarded_proto).lower()
    tunnel = policy.tunnel(authority)
    known = tunnel.scheme if tunnel else facts.scheme
    return Seen(proto if proto in DEFAULT_PORTS else known, authority, facts.peer[:64])


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
        _check_sent_origin(facts, policy, seen, site)
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


def _check_sent_origin(facts: RequestFacts, policy: SecurityPolicy, seen: Seen, site: str) -> None:
    own = (seen.scheme, seen.authority.with_port(seen.scheme))
    if len(facts.origins) == 1:
        origin = parse_origin(facts.origins[0])
        # A tunnel may rewrite Host, and leaves Origin: what it says then is our page, too.
        if origin == own or policy.is_tunnel_origin(origin):
            return
        # Under Referrer-Policy: no-referrer a browser sends `null` with a form, its own too (Fetch
        # standard, "append a request Origin header"). A sandboxed frame has Sec-Fetch-Site:
        # cross-site. Over plain http there is no Sec-Fetch-Site; the token in the form decides.
        is_login = facts.path == LOGIN and site in ("", "same-origin")
        is_own = (facts.path == LOGOUT or facts.is_proxied) and site == "same-origin"
        if facts.origins[0] == "null" and facts.method == "POST" and (is_login or is_own):
            return
    raise AccessDenied("The request comes from another website (Origin).", status=403)


def _is_shown(path: str) -> bool:
    """Tell whether an address is one that people open: what it answers, no other page can read."""
    return path in (PAGE, HEALTH, REPLAY) or path.startswith(RECORDINGS)


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
        site == "none" or _is_shown(facts.path) or facts.path in policy.public_files
    ):
        return True
    return is_open and not site  # a program; browsers send Origin with every foreign POST
