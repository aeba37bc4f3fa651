"""The header fields between a browser and a web app below `/proxy/`: what passes, and how.

An app sees a request of a browser on its own machine: Host, Origin and Referer name
`localhost:PORT`, so that its checks against DNS rebinding and foreign pages pass. What they would
have refused was refused before, by the gate. Its answer goes back as from the public address, and
can neither set nor end what belongs to the rest of that address.
"""

from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from ttybridge.core.authority import DEFAULT_PORTS, Authority, parse_origin
from ttybridge.core.proxied import IsOurs, Way, own_query

COOKIE_PREFIX = "ttybridge-"
"""How the names of our cookies begin; no app gets one or sets one."""

Headers = list[tuple[str, str]]
"""Header fields in order; names may come more than once."""

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields about one connection (RFC 9110, 7.6.1)."""

_NOT_PASSED_ON = _HOP_BY_HOP | {
    "authorization",
    "cookie",
    "expect",  # answered here already
    "forwarded",
    "host",
    "origin",
    "referer",
    "x-colab-runtime-proxy-token",
    "x-real-ip",
}
"""Fields of a request that are left out, or written anew."""

_NOT_PASSED_BACK = _HOP_BY_HOP | {
    # These hold for the whole address, not for the app alone.
    "accept-ch",
    "alt-svc",
    "clear-site-data",
    "critical-ch",
    "nel",
    "public-key-pins",
    "report-to",
    "strict-transport-security",
}
"""Fields of an answer that are left out."""

_CORS = "access-control-"
"""So are all that begin like this: no other website may read anything here, whatever the app
allows."""


def own_cookies(header: str) -> str:
    """Return a Cookie header without our cookies.

    >>> own_cookies("a=1; ttybridge-8000=secret; b=2")
    'a=1; b=2'
    """
    pairs = (pair.strip() for pair in header.split(";"))
    return "; ".join(pair for pair in pairs if pair and not _is_our_cookie(pair))


def _is_our_cookie(pair: str) -> bool:
    # A cookie without a name is sent back as its value alone: `=ttybridge-1=x` would become ours.
    return pair.strip(" \t=").lower().startswith(COOKIE_PREFIX)


def request_headers(headers: Iterable[tuple[str, str]], way: Way, is_ours: IsOurs) -> Headers:
    """Return the header fields for the app.

    A request with an Origin names the app by its local name alone: Jupyter compares Origin with
    Host, code-server with X-Forwarded-Host when there is one. The others say where the browser is,
    so that an app which writes whole addresses writes the right ones.

    Args:
        headers: What the client sent.
        way: The way of the request.
        is_ours: Finds our credentials.
    """
    sent = list(headers)
    listed = _listed(sent)
    passed = [("Host", way.host)]
    has_origin = False
    for name, value in sent:
        lower = name.lower()
        if lower == "cookie" and (cookies := own_cookies(value)):
            passed.append((name, cookies))
        elif lower == "authorization" and not is_ours(value.rpartition(" ")[2]):
            passed.append((name, value))
        elif lower == "referer" and (referer := _referer(value, way, is_ours)):
            passed.append((name, referer))
        elif lower == "origin" and not has_origin:
            has_origin = True
            passed.append((name, f"http://{way.host}"))
        elif lower not in _NOT_PASSED_ON | listed and not lower.startswith(
            ("x-forwarded-", "x-ttybridge-")
        ):
            passed.append((name, value))
    if not has_origin:
        passed.append(("X-Forwarded-Host", str(way.seen.authority)))
        passed.append(("X-Forwarded-Proto", way.seen.scheme))
    if way.seen.address:
        passed.append(("X-Forwarded-For", way.seen.address))
    if not way.keeps_prefix:
        passed.append(("X-Forwarded-Prefix", way.prefix))
    return passed


def _listed(headers: Headers) -> set[str]:
    """Return the names that Connection lists: they are about that connection, too."""
    values = (value for name, value in headers if name.lower() == "connection")
    return {name.strip().lower() for value in values for name in value.split(",")}


def _referer(value: str, way: Way, is_ours: IsOurs) -> str:
    """Return the Referer for the app; empty when it is not one of the app's own pages."""
    scheme, _, rest = value.partition("://")
    authority, slash, path_and_query = rest.partition("/")
    path, question, query = (slash + path_and_query).partition("?")
    if not _is_seen(f"{scheme}://{authority}", way) or not way.is_below(path):
        return ""
    path = path if way.keeps_prefix else path.removeprefix(way.prefix) or "/"
    return f"http://{way.host}{path}{question}{own_query(query, is_ours)}"


def _is_seen(origin: str, way: Way) -> bool:
    seen = way.seen
    return parse_origin(origin) == (seen.scheme, seen.authority.with_port(seen.scheme))


def knows_prefix(status: int, location: str, way: Way) -> bool:
    """Tell whether an answer to a path without the prefix shows that the app expects it.

    Jupyter with a base_url sends everybody who asks for `/` there.
    """
    return 300 <= status < 400 and way.is_below(_path_of(location, way) or "")


def answer_headers(
    headers: Iterable[tuple[str, str]], way: Way, *, frame_origins: Sequence[str] = ()
) -> Headers:
    """Return the header fields of an app's answer for the browser.

    The app's own Content-Security-Policy, frame options, caching and opener rules are kept: ours
    would break it. Added are frame-ancestors, so that no other website shows it, and what keeps its
    address and its answers from others when it says nothing about that itself.

    Args:
        headers: What the app sent.
        way: The way of the request.
        frame_origins: Other origins that may show it in a frame.
    """
    sent = list(headers)
    listed = _listed(sent)
    passed: Headers = []
    for name, value in sent:
        lower = name.lower()
        if lower in _NOT_PASSED_BACK or lower in listed or lower.startswith(_CORS):
            continue
        if lower == "set-cookie":
            if cookie := set_cookie(value, way):
                passed.append((name, cookie))
        elif lower in ("location", "content-location"):
            passed.append((name, location(value, way)))
        elif lower == "service-worker-allowed":
            passed.append((name, way.prefix + "/"))  # else its worker could serve our page
        elif lower == "cache-control":
            passed.append((name, _private(value)))
        else:
            passed.append((name, value))
    names = {name.lower() for name, _ in passed}
    ancestors = " ".join(["'self'", *_origins(frame_origins)])
    passed.append(("Content-Security-Policy", f"frame-ancestors {ancestors}"))
    for name, value in (
        ("Cache-Control", "private, no-cache"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        # Not no-referrer: forms would come with `Origin: null`.
        ("Referrer-Policy", "same-origin"),
    ):
        if name.lower() not in names:
            passed.append((name, value))
    return passed


def _origins(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        if parsed := parse_origin(text):
            yield f"{parsed[0]}://{parsed[1]}"


def _private(cache_control: str) -> str:
    """Keep shared caches, such as a tunnel's, from storing an answer."""
    rules = [rule.strip() for rule in cache_control.split(",") if rule.strip()]
    names = {rule.lower() for rule in rules}
    kept = [
        rule for rule in rules if rule.lower() != "public" and not rule.lower().startswith("s-max")
    ]
    if not names & {"private", "no-store"}:
        kept.insert(0, "private")
    return ", ".join(kept)


def location(value: str, way: Way) -> str:
    """Return a redirect's address for the browser.

    Addresses of the app itself become relative, so that they are right behind proxies that add a
    prefix we do not know; those of other websites are left as they are.
    """
    path = _path_of(value, way)
    if path is None:
        return value
    if not way.is_below(path):
        if way.keeps_prefix:
            return value  # it was told the prefix and still leads out
        path = way.prefix + path
    ups = way.target.rest.count("/") - 1
    below = path.removeprefix(way.prefix).removeprefix("/")
    if ups < 0:
        return f"./{way.target.port}/{below}"
    return ("../" * ups or "./") + below


def _path_of(value: str, way: Way) -> str | None:
    """Return path, query and fragment of an address at the app; None for any other address."""
    if value.startswith("/") and not value.startswith(("//", "/\\")):
        return value
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    authority = Authority.parse(parts.netloc)
    if parts.scheme not in ("", *DEFAULT_PORTS) or authority is None:
        return None
    scheme = parts.scheme or way.seen.scheme
    is_app = authority.with_port(scheme).port == way.target.port and authority.host in _LOCAL_NAMES
    if not is_app and not _is_seen(f"{scheme}://{authority}", way):
        return None
    tail = parts._replace(scheme="", netloc="").geturl()
    return tail if tail.startswith("/") else f"/{tail}"


def set_cookie(value: str, way: Way) -> str | None:
    """Return a Set-Cookie header for the browser; None when the app may not set this cookie.

    The cookie stays below the app's folder. Secure is as the browser sees the address: left away
    over http, where the cookie would not be kept, and set over https.
    """
    pair, *rest = value.split(";")
    if _is_our_cookie(pair):
        return None
    attributes: dict[str, str] = {}
    for attribute in rest:
        name, equals, content = attribute.strip().partition("=")
        if name:
            attributes[name.strip().lower()] = f"{name}{equals}{content}"
    attributes.pop("domain", None)
    path = attributes.pop("path", "").partition("=")[2].strip()
    if path.startswith("/"):
        attributes["path"] = f"Path={_cookie_path(path, way)}"
    if way.seen.scheme == "https":
        attributes["secure"] = "Secure"
    else:
        attributes.pop("secure", None)
        attributes.pop("partitioned", None)
        if attributes.get("samesite", "").partition("=")[2].strip().lower() == "none":
            del attributes["samesite"]
    return "; ".join([pair.strip(), *attributes.values()])


def _cookie_path(path: str, way: Way) -> str:
    if way.is_below(path):
        return path
    return way.prefix + ("/" if way.keeps_prefix else path)
