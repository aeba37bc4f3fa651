"""Tells who answers under a bridge's public address: the bridge, its tunnel, or somebody else."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from ttybridge.core import ngrok_errors


class Who(Enum):
    """Who has answered."""

    BRIDGE = "bridge"
    """A bridge, and well."""
    WARNING = "warning"
    """ngrok, with the page that browsers see before the bridge's own."""
    LOGIN = "login"
    """A login that stands before the bridge: people pass it, programs do not."""
    OTHER = "other"
    """Anybody else, or a bridge that refuses: nobody gets in."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means."""

    who: Who
    """Who has answered."""
    text: str
    """What was found; may quote the answer, so that its characters are not checked."""
    hint: str = ""
    """What to do next."""


NGROK_WARNING = 6024
"""The code on the page of ngrok's free plan that warns people of phishing."""

_BRIDGE = re.compile(rb"<title>[^<]*\bttybridge</title>|--allow-host NAME")
_WARNING = re.compile(r"ERR_NGROK_6024|ngrok-skip-browser-warning")
_TITLE = re.compile(r"<title[^>]*>(.{0,400}?)</title>", re.IGNORECASE | re.DOTALL)
_CLOUDFLARE_CODE = re.compile(r"""(?:error code:\s*|cf-error-code">\s*|\bError\s+)(1\d{3})\b""")
_LOGIN_WORD = re.compile(r"(?i)\b(?:log-?in|sign-?in|sso|oauth2?|saml|authorize|authn?|idp)\b")
_LOGIN_HOSTS = (".cloudflareaccess.com", "idp.ngrok.com", "accounts.google.com")

_AGAIN = (
    "A tunnel that is lost is opened again by itself: try again in a minute. If it stays so, start "
    "the bridge anew."
)
_PAST_LOGIN = (
    "Browsers go on after it. Programs (ttybridge ssh) do not get past it: give them an address "
    "without a login of its own."
)
_NOT_OURS = (
    "Open the address in a browser to see whose page it is. A network that wants a login first, or "
    "a proxy that leads elsewhere, answers for every name."
)
_BUSY = "Fewer visitors at once, or another tunnel, help; try again in a minute."

_NGROK: Mapping[int, tuple[str, str]] = {
    3200: ("ngrok says that no tunnel of this name is open", _AGAIN),
    3004: ("ngrok says that what the bridge answers is no HTTP", _AGAIN),
    8012: (
        "ngrok's agent runs, and cannot reach the bridge on its machine",
        "Is something in between, such as a firewall for 127.0.0.1?",
    ),
}
_CLOUDFLARE: Mapping[int, tuple[str, str]] = {
    1033: ("Cloudflare says that no cloudflared is connected for this name", _AGAIN),
    1016: ("Cloudflare no longer knows where this name leads", _AGAIN),
    1015: ("Cloudflare refuses: there were too many requests", _BUSY),
    1020: (
        "Cloudflare's rules for this name refuse the request",
        "Change them in the dashboard of Cloudflare.",
    ),
}
_STATUS: Mapping[int, tuple[str, str]] = {
    403: ("something before the bridge refuses", _NOT_OURS),
    404: (
        "nothing is served under this address",
        "A proxy may lead elsewhere, or expect another path: --base-path.",
    ),
    429: ("something before the bridge refuses: there were too many requests", _BUSY),
    502: ("something before the bridge answers, and does not reach it", _AGAIN),
    503: ("something before the bridge answers, and does not reach it", _AGAIN),
    504: ("something before the bridge answers, and the bridge does not in time", _AGAIN),
    511: (
        "the network that this machine is in wants a login first",
        "Open any page in a browser on this network, and log in there.",
    ),
    530: ("Cloudflare says that no cloudflared is connected for this name", _AGAIN),
}


def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """Tell who has answered a request for the page, or for `healthz`.

    Args:
        status: The HTTP status; redirects are not followed.
        headers: The headers, names in lower case.
        body: The beginning of the body.

    >>> judge(404, {}, b"<!doctype html> ERR_NGROK_3200").text
    'ngrok says that no tunnel of this name is open (ERR_NGROK_3200)'
    >>> judge(302, {"location": "https://x.cloudflareaccess.com/cdn-cgi/access/login"}, b"").who
    <Who.LOGIN: 'login'>
    """
    text = body.decode("utf-8", "replace")
    code = ngrok_errors.code_of(headers.get("ngrok-error-code", "")) or ngrok_errors.code_of(text)
    if code is not None or _WARNING.search(text):
        return _ngrok(NGROK_WARNING if code is None else code)
    if headers.get("server") == "ttybridge" or _BRIDGE.search(body):
        return _bridge(status, text)
    if 300 <= status < 400 and (place := headers.get("location", "")):
        return _redirect(status, place)
    if headers.get("server", "").lower() == "cloudflare" or "cf-ray" in headers:
        found = _CLOUDFLARE_CODE.search(text)
        if found:
            return _cloudflare(int(found[1]))
        if headers.get("cf-mitigated") == "challenge":
            said = f"Cloudflare wants to see a browser first ({status})"
            return Verdict(Who.LOGIN, said, _PAST_LOGIN)
    if status == 401:
        return Verdict(Who.LOGIN, "a login stands before the bridge (401)", _PAST_LOGIN)
    if status in _STATUS:
        said, hint = _STATUS[status]
        return Verdict(Who.OTHER, f"{said} ({status})", hint)
    title = _TITLE.search(text)
    quoted = " ".join(html.unescape(title[1]).split())[:80] if title else ""
    named = f', "{quoted}"' if quoted else ""
    return Verdict(
        Who.OTHER, f"somebody else answers in place of the bridge ({status}{named})", _NOT_OURS
    )


def _ngrok(code: int) -> Verdict:
    if code == NGROK_WARNING:
        said = "ngrok's page that warns of phishing comes first; a click on Visit Site goes on"
        hint = "Each browser sees it once a week, programs never; paid plans have none."
        return Verdict(Who.WARNING, said, hint)
    name = f"ERR_NGROK_{code}"
    if code in _NGROK:
        said, hint = _NGROK[code]
        return Verdict(Who.OTHER, f"{said} ({name})", hint)
    said, hint = ngrok_errors.explain(name) or ("ngrok refuses", "")
    return Verdict(Who.OTHER, said.removesuffix("."), hint)


def _bridge(status: int, text: str) -> Verdict:
    if status == 200:
        return Verdict(Who.BRIDGE, "a bridge's page comes, and asks for no login")
    if status == 401:
        return Verdict(Who.BRIDGE, "a bridge's page comes, and asks for a login")
    if status == 421:
        hint = "Start it with --allow-host NAME, NAME being the one in this address."
        return Verdict(Who.OTHER, "a bridge answers, and does not serve this name (421)", hint)
    if status == 429:
        hint = "Somebody is trying wrong tokens under this address: look at the bridge's log."
        return Verdict(Who.OTHER, "the bridge has too many failed logins to answer (429)", hint)
    said = " ".join(text.split())[:120]
    return Verdict(
        Who.OTHER, f"a bridge refuses ({status}: {said})", "Its log says why: ttybridge -v."
    )


def _redirect(status: int, place: str) -> Verdict:
    try:
        parts = urlsplit(place)
        host = parts.hostname or ""
    except ValueError:
        host, parts = "", urlsplit("")
    shown = place.partition("?")[0][:200]
    is_login = host.endswith(_LOGIN_HOSTS) or _LOGIN_WORD.search(f"{host}{parts.path}")
    if is_login:
        where = f" at {host}" if host else ""
        return Verdict(Who.LOGIN, f"a login{where} stands before the bridge", _PAST_LOGIN)
    hint = "If that is where the bridge is, use that address. " + _NOT_OURS
    return Verdict(Who.OTHER, f"the address leads on to {shown} ({status})", hint)


def _cloudflare(code: int) -> Verdict:
    said, hint = _CLOUDFLARE.get(
        code,
        ("Cloudflare answers in place of the bridge", f"See Cloudflare's pages on error {code}."),
    )
    return Verdict(Who.OTHER, f"{said} (error {code})", hint)
