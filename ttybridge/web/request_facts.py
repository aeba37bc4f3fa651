"""Reads from an aiohttp request what the decision about it looks at."""

from urllib.parse import parse_qsl

from aiohttp import web

from ttybridge.core.origin import RequestFacts, SecurityPolicy
from ttybridge.core.proxied import proxied_port

QUERY_NAMES = ("token", "colab-runtime-proxy-token")
"""Query parameters that carry the token: our link, and `colab console`."""

LINK_NAMES = ("link",)
"""Query parameter, and field of the login form, that carries a link's text."""

COLAB_HEADER = "X-Colab-Runtime-Proxy-Token"
"""Header in which Colab's VS Code extension sends the token."""

CLIENT_HEADER = "X-TTYBridge-Client"
"""Header that our page adds to its requests."""


def facts_of(request: web.Request, policy: SecurityPolicy, cookie_name: str) -> RequestFacts:
    """Read from a request what `authorize` looks at; never raises for what a client sent."""
    headers = request.headers

    def every(name: str) -> tuple[str, ...]:
        return tuple(headers.getall(name, ()))

    bearers = [
        token.strip()
        for scheme, _, token in (value.strip().partition(" ") for value in every("Authorization"))
        if scheme.lower() == "bearer"
    ]
    path = policy.local_path(request.path)
    is_proxied = proxied_port(path, policy.proxied_ports) is not None
    query = "" if is_proxied else request.rel_url.raw_query_string  # below an app it is the app's
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return RequestFacts(
        method=request.method,
        path=path,
        is_origin_form=request.raw_path.startswith("/"),
        scheme=request.scheme,
        peer=str(peer[0]) if isinstance(peer, tuple) else "",
        hosts=every("Host"),
        origins=every("Origin"),
        fetch_sites=every("Sec-Fetch-Site"),
        fetch_mode=headers.get("Sec-Fetch-Mode", "").lower(),
        fetch_dest=headers.get("Sec-Fetch-Dest", "").lower(),
        forwarded_proto=every("X-Forwarded-Proto"),
        forwarded_host=every("X-Forwarded-Host"),
        forwarded_for=every("X-Forwarded-For"),
        is_upgrade="websocket" in ",".join(every("Upgrade")).lower(),
        from_page=CLIENT_HEADER in headers,
        content_length=_content_length(headers.get("Content-Length", "")),
        header_tokens=(*bearers, *every(COLAB_HEADER)),
        is_proxied=is_proxied,
        query_tokens=tokens_of(query, QUERY_NAMES),
        links=tokens_of(query, LINK_NAMES),
        cookies=_cookies(every("Cookie"), cookie_name),
    )


def _content_length(text: str) -> int:
    # The first digits are enough to be above every limit; int() refuses thousands of them.
    return int(text[:18]) if text.isascii() and text.isdigit() else 0


def tokens_of(query: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return every value of the named fields of a query or a form; never raises."""
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    return tuple(value for name, value in pairs if name in names)


def _cookies(headers: tuple[str, ...], name: str) -> tuple[str, ...]:
    # Read here, because a mapping of cookies keeps one of those that share a name.
    pairs = (pair.strip().partition("=") for header in headers for pair in header.split(";"))
    return tuple(value for key, _, value in pairs if key == name)
