"""Quick tunnels of cloudflared: the command line, its own little web server, its failures.

What is known of it is from its public source (metrics/metrics.go, metrics/readiness.go and
cmd/cloudflared/tunnel/quick_tunnel.go, 2026): the address is made before the little web server
answers, `/quicktunnel` has it, and `/ready` says 200 while there is a connection to Cloudflare.
"""

import json
import re
from collections.abc import Mapping, Sequence

NO_CONFIG = "/dev/null"
"""A configuration file that is empty: the user's own (~/.cloudflared/config.yml) may have rules for
other names, by which every request for a quick tunnel's name is answered with 404."""

GRACE_S = 1
"""Time that cloudflared gives open requests when it is ended, in seconds; by itself it is 30."""

NOTE = "Cloudflare gives this address for tests, promises nothing, and gives another one each time."
"""What a user may not expect of a quick tunnel."""

_KEPT = ("TUNNEL_EDGE_BIND_ADDRESS", "TUNNEL_EDGE_IP_VERSION", "TUNNEL_POST_QUANTUM",
         "TUNNEL_REGION", "TUNNEL_TRANSPORT_PROTOCOL")  # fmt: skip
_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))+")
_NOISE = re.compile(rf"Configuration file {NO_CONFIG} was empty")


def argv(program: str, local_port: int, metrics_port: int) -> list[str]:
    """Return the command line of a quick tunnel.

    >>> argv("/usr/bin/cloudflared", 8080, 40001)[-1]
    'http://127.0.0.1:8080'
    """
    return [
        *(program, "tunnel", "--no-autoupdate", "--config", NO_CONFIG),
        *("--metrics", f"127.0.0.1:{metrics_port}", "--grace-period", f"{GRACE_S}s"),
        *("--url", f"http://127.0.0.1:{local_port}"),
    ]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what would make another tunnel of it, such as TUNNEL_NAME.

    How Cloudflare is reached stays the user's choice.

    >>> environment({"PATH": "/bin", "TUNNEL_TOKEN": "x", "TUNNEL_TRANSPORT_PROTOCOL": "http2"})
    {'PATH': '/bin', 'TUNNEL_TRANSPORT_PROTOCOL': 'http2'}
    """
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("TUNNEL_") or name in _KEPT
    }


def address(answer: str) -> str | None:
    """Return the public address that `/quicktunnel` has; None while it has none.

    >>> address('{"hostname":"a-b.trycloudflare.com"}'), address('{"hostname":""}')
    ('https://a-b.trycloudflare.com', None)
    """
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    name = found.get("hostname") if isinstance(found, dict) else None
    if not isinstance(name, str):
        return None
    host = name.removeprefix("https://").rstrip("/").lower()
    return f"https://{host}" if _HOST_NAME.fullmatch(host) else None


def addresses_in(line: str) -> list[str]:
    """Return the web addresses in a line of its log.

    Somebody else may listen on the port that was meant for its little web server: an address counts
    when cloudflared has said it in its log, too.

    >>> addresses_in("INF |  https://a-b.trycloudflare.com   |")
    ['https://a-b.trycloudflare.com']
    """
    return re.findall(r"https://[a-z0-9.-]+", line.lower())


def says_port_is_taken(lines: Sequence[str]) -> bool:
    """Tell whether somebody was faster with the port of its little web server.

    >>> says_port_is_taken(["ERR Error opening metrics server listener error=taken"])
    True
    """
    return any("Error opening metrics server listener" in line for line in lines)


_FAILURES: Sequence[tuple[re.Pattern[str], str, str]] = (
    (
        re.compile(r"429 Too Many Requests|error code: 1015|status 429"),
        "Cloudflare refuses more quick tunnels from this network's address for now.",
        "Wait some minutes and try again, or use --ngrok or --tunnel ssh:USER@HOST.",
    ),
    (
        re.compile(r"failed to request quick Tunnel|failed to read quick-tunnel response"),
        "cloudflared cannot reach api.trycloudflare.com to ask for a tunnel.",
        "Does this machine reach the Internet, without a proxy? cloudflared takes no notice of "
        "HTTPS_PROXY. Otherwise: --ngrok or --tunnel ssh:USER@HOST.",
    ),
    (
        re.compile(r"failed to unmarshal quick Tunnel|failed to parse quick Tunnel ID"),
        "Cloudflare's service for quick tunnels did not give one.",
        "Try again later, or use --ngrok or --tunnel ssh:USER@HOST.",
    ),
    (
        re.compile(r"flag provided but not defined|Incorrect Usage"),
        "This cloudflared does not know one of the options that are needed.",
        "Install a newer one: https://github.com/cloudflare/cloudflared/releases",
    ),
)


def explain(lines: Sequence[str]) -> tuple[str, str] | None:
    """Return what went wrong and what to do, where cloudflared's last lines are ones that we know.

    >>> explain(['failed to request quick Tunnel: Post "https://…": dial tcp: no such host'])[0]
    'cloudflared cannot reach api.trycloudflare.com to ask for a tunnel.'
    """
    for pattern, message, hint in _FAILURES:
        if any(pattern.search(line) for line in lines):
            return message, hint
    return None


def said(lines: Sequence[str]) -> str:
    """Return its last lines as the end of a message."""
    told = [line for line in lines if not _NOISE.search(line)]
    return " Its last lines:\n" + "\n".join(told) if told else " It said nothing."


def unconnected(url: str) -> tuple[str, str]:
    """Say that there is an address, and no connection to Cloudflare behind it."""
    return (
        f"cloudflared was given {url}, and cannot connect to Cloudflare.",
        "Its port 7844 must be open to the outside, by UDP or TCP; for TCP alone, set "
        "TUNNEL_TRANSPORT_PROTOCOL=http2.",
    )
