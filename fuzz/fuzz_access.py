"""Who is let in: hosts, origins, tokens, cookies, links, keys, addresses, proxied apps' headers."""

import base64
import re
from ipaddress import IPv6Address
from urllib.parse import parse_qsl

from fuzz.checks import dispatch, holds, only, same, text_of
from ttybridge.client.address import parse_address
from ttybridge.client.ssh_config import with_block, with_include
from ttybridge.core.access import BEARER, Credentials, Ended, Principal
from ttybridge.core.authority import Authority, parse_origin
from ttybridge.core.authority import parse_address as parse_ip
from ttybridge.core.decision import authorize
from ttybridge.core.links import Link
from ttybridge.core.origin import RequestFacts, SecurityPolicy, Seen, Tunnel
from ttybridge.core.people import MAX_NAME, clean_name
from ttybridge.core.proxied import Target, Way, own_query, proxied_port
from ttybridge.core.proxied_headers import answer_headers, own_cookies, request_headers
from ttybridge.core.public_key import parse_public_key
from ttybridge.core.ssh_keys import entry_line, parse_authorized_keys, parse_github_user
from ttybridge.core.ssh_tunnel import SshTunnelSettings, check, connect_argv, parse_target
from ttybridge.errors import ConfigError
from ttybridge.model import Role
from ttybridge.web.request_facts import (
    LINK_NAMES,
    QUERY_NAMES,
    _content_length,
    _cookies,
    tokens_of,
)

TOKEN, NOW, PORT = "s3cret-token_with.many~characters", 1_800_000_000.0, 8080
PLACE = f"localhost:{PORT}"
PUBLIC = "a-b.tunnel.example"
POLICY = SecurityPolicy(
    port=PORT,
    allow_hosts=("box.example:9000",),
    public_files=frozenset({"/style.css"}),
    proxied_ports=(range(8888, 8889),),
    tunnels=(Tunnel(Authority(PUBLIC)),),
)
OURS = {f"{name}:{PORT}" for name in ("localhost", "127.0.0.1", "[::1]")} | {"box.example:9000"}
"""Hosts that are served, in the one spelling that browsers send."""


def _ids() -> list[str]:
    return [f"id-{number}" for number in range(20)]


ACCESS = Credentials(TOKEN, new_id=iter(_ids()).__next__)
LINKS = [
    ACCESS.links.issue(Link(Role.OWNER, NOW + 600), NOW),
    ACCESS.links.issue(Link(Role.VIEWER, NOW + 600, None, name="Ada", is_shared=True), NOW),
    ACCESS.links.issue(Link(Role.OWNER, NOW + 600, None, is_framed=True), NOW),
]
COOKIES = {
    "$O": ACCESS.issue_cookie(Role.OWNER, NOW, PLACE),
    "$V": ACCESS.issue_cookie(Role.VIEWER, NOW, PLACE, link=LINKS[1]),
    "$E": ACCESS.issue_cookie(Role.OWNER, NOW - 40 * 86400, PLACE),
    "$P": ACCESS.issue_cookie(Role.OWNER, NOW, f"https://{PUBLIC}"),
    "$B": ACCESS.issue_cookie(Role.VIEWER, NOW, BEARER, link=LINKS[1]),
}
"""Credentials, by what stands for them in an input."""
WORDS = {**COOKIES, "$T": TOKEN, **{f"${n}": link.text for n, link in enumerate(LINKS)}}
GOOD = {TOKEN, *COOKIES.values()} - {COOKIES["$E"]}

AUTHORITY = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?)(?::[0-9]{1,5})?"
)


def _authority(data: bytes) -> None:
    """A Host has one reading, which is read again as the same; nothing odd is a Host."""
    text = text_of(data)
    found = Authority.parse(text)
    origin = parse_origin(text)
    parse_ip(text)
    if found is not None:
        holds(AUTHORITY.fullmatch(text), f"no host: {text!r}")
        same("again", Authority.parse(str(found)), found)
        host, port = text.lower(), found.port
        if port is not None:
            host, _, digits = host.rpartition(":")
            same("port", int(digits), port)
        if host.startswith("["):
            same("address", IPv6Address(host[1:-1]), IPv6Address(found.host))
        else:
            same("host", found.host, host)
    if origin is not None:
        scheme, colon, rest = text.lower().partition("://")
        holds(scheme in ("http", "https") and colon, f"no origin: {text!r}")
        holds(AUTHORITY.fullmatch(rest), f"no origin: {text!r}")
        same("origin again", parse_origin(f"{scheme}://{origin[1]}"), origin)


def _facts(text: str) -> RequestFacts:
    """Read a request from lines: method and target, then header fields."""
    first, *lines = text.split("\n")
    method, _, target = first.partition(" ")
    path, _, query = target.partition("?")
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), []).append(value.strip())

    def every(name: str) -> tuple[str, ...]:
        return tuple(fields.get(name, ()))

    bearers = [v[7:].strip() for v in every("authorization") if v[:7].lower() == "bearer "]
    is_proxied = proxied_port(path, POLICY.proxied_ports) is not None
    query = "" if is_proxied else query
    return RequestFacts(
        method=method,
        path=path,
        is_origin_form=target.startswith("/"),
        peer="127.0.0.1",
        hosts=every("host"),
        origins=every("origin"),
        fetch_sites=every("sec-fetch-site"),
        fetch_mode="".join(every("sec-fetch-mode")[:1]).lower(),
        fetch_dest="".join(every("sec-fetch-dest")[:1]).lower(),
        forwarded_proto=every("x-forwarded-proto"),
        forwarded_host=every("x-forwarded-host"),
        forwarded_for=every("x-forwarded-for"),
        is_upgrade="websocket" in ",".join(every("upgrade")).lower(),
        from_page="x-ttybridge-client" in fields,
        content_length=_content_length("".join(every("content-length")[:1])),
        is_proxied=is_proxied,
        header_tokens=(*bearers, *every("x-colab-runtime-proxy-token")),
        query_tokens=tokens_of(query, QUERY_NAMES),
        links=tokens_of(query, LINK_NAMES),
        cookies=_cookies(every("cookie"), f"ttybridge-{PORT}"),
    )


def _request(data: bytes) -> None:
    """Whatever is asked, nobody is let in without a credential, nor past Host, Origin or size."""
    text = text_of(data)
    for word, value in WORDS.items():
        text = text.replace(word, value)
    facts = _facts(text)
    found = authorize(facts, POLICY, ACCESS, NOW)
    same("twice", authorize(facts, POLICY, ACCESS, NOW), found)
    holds(found.status in (200, 400, 401, 403, 405, 413, 421), f"status {found.status}")
    holds(found.status == 200 or (found.principal is None and found.reason), "a refusal")
    if found.link is not None and found.link.is_framed:
        holds((facts.method, facts.path) == ("GET", "/"), "a frame is the page alone")
        return  # the one thing that is looked at before Host: it is for a name nobody knows
    is_served = (
        len(facts.hosts) == 1
        and facts.is_origin_form
        and (
            (host := facts.hosts[0].lower()) in OURS
            or host.removesuffix(":443").removesuffix(":0443").removesuffix(":00443") == PUBLIC
            or Authority.parse(host) in {Authority.parse(name) for name in OURS}
        )
    )
    same("served", found.status not in (400, 421), bool(is_served))
    if not is_served or found.status != 200:
        return
    holds(facts.method in ("GET", "HEAD", "POST") or facts.is_proxied, "a method")
    holds(facts.is_proxied or facts.content_length <= 1_000_000, "a large body")
    holds(len(facts.origins) <= 1, "two origins")
    for origin in facts.origins:
        own = origin.lower().partition("://")[2]
        allowed = (*OURS, PUBLIC, f"{PUBLIC}:443")
        is_own = own in allowed or parse_origin(origin) in [
            parse_origin(f"{scheme}://{name}") for name in allowed for scheme in ("http", "https")
        ]
        holds(is_own or origin == "null", f"a foreign origin: {origin!r}")
    who = found.principal
    if who is None:
        is_public = facts.path in ("/healthz", "/login", *POLICY.public_files)
        holds(found.link is not None or is_public, f"let in as nobody: {facts.path!r}")
        return
    tokens = {*facts.header_tokens, *facts.query_tokens}
    holds((tokens | set(facts.cookies)) & GOOD, "let in without a credential")
    holds(facts.is_proxied or tokens <= GOOD, "a wrong token is overlooked")
    if who.role is Role.OWNER:
        mine = {TOKEN, COOKIES["$O"], COOKIES["$P"]}
        holds((tokens | set(facts.cookies)) & mine, "a viewer became an owner")


def _credential(data: bytes) -> None:
    """No text but an issued one is a token, a cookie or a link."""
    text = text_of(data)
    for word, value in WORDS.items():
        text = text.replace(word, value)
    same("token", ACCESS.check_token(text) is not None, text == TOKEN)
    for place in (None, PLACE, BEARER, ""):
        found = ACCESS.judge(text, NOW, place)
        holds(found is None or text in COOKIES.values(), f"a cookie: {text!r}")
        holds(not isinstance(found, Principal) or text in GOOD, "one that has ended")
        holds(not isinstance(found, Ended), "an end that was none")
    known = ACCESS.links.known(text)
    same("link", known is not None, text in [link.text for link in LINKS])


KEY_LINE = re.compile(r"[ \t\r\n]*\S+[ \t]+[A-Za-z0-9+/]+={0,2}(?:[ \t].*)?", re.DOTALL)


def _key(data: bytes) -> None:
    """A key that is taken has one spelling, and gets into a file as one line."""
    text = text_of(data)
    only(ValueError, lambda: parse_github_user(text))
    file = parse_authorized_keys(text, "keys")
    for entry in file.entries:
        line = entry_line(entry, "say hi")
        holds("\n" not in line and "\r" not in line, "a line break")
        holds('command="say hi"' in line, "the command")
    try:
        key = parse_public_key(text)
    except ValueError as error:
        blob = text.split()[1:2]
        holds(not blob or len(blob[0]) < 40 or blob[0] not in str(error), "a key in a message")
        return
    holds(KEY_LINE.fullmatch(text), f"no key: {text!r}")
    same("key again", parse_public_key(key.line), parse_public_key(f"{key.line} "))
    same("blob", base64.b64decode(text.split()[1], validate=True), key.blob)
    holds(key.comment.isprintable(), "a comment that cannot be shown")


WAYS = [
    Way(Target(8888, "/lab/x"), Seen("http", Authority("localhost", PORT), "127.0.0.1")),
    Way(Target(8888, "/lab"), Seen("https", Authority(PUBLIC), ""), "/b", keeps_prefix=True),
]


def _is_ours(text: str) -> bool:
    return text in GOOD


def _proxied(data: bytes) -> None:
    """Nothing of ours gets to an app, and no app sets a cookie of ours or leads out of a header."""
    text = text_of(data).replace("$T", TOKEN).replace("$O", COOKIES["$O"])
    Target.parse(text)
    kept = parse_qsl(own_query(text, _is_ours), errors="surrogateescape")
    holds(TOKEN not in [value for _, value in kept], "the token gets to an app")
    for pair in own_cookies(text).split(";"):
        name, equals, value = pair.partition("=")
        seen = name.strip() if name.strip() or not equals else value.strip()
        holds(not seen.lower().startswith("ttybridge-"), f"our cookie gets to an app: {pair!r}")
    headers = [
        (name.strip(), value.strip())
        for name, colon, value in (line.partition(":") for line in text.split("\n"))
        if colon
    ]
    for way in WAYS:
        for name, value in request_headers(headers, way, _is_ours):
            lower = name.lower()
            holds(lower != "authorization" or not _is_ours(value.rpartition(" ")[2]), "a token")
            mine = _cookies((value,), f"ttybridge-{PORT}") if lower == "cookie" else ()
            holds(not mine, "a cookie that we would take gets to an app")
            holds("\n" not in name + value, "a line break")
        answered = answer_headers(headers, way)
        for name, value in answered:
            if name.lower() == "set-cookie":
                holds(not value.lstrip(" \t=").lower().startswith("ttybridge-"), "our cookie")
                # As browsers read it (RFC 6265, 5.2): only blanks and tabs are trimmed.
                words = [each.partition("=")[0].strip(" \t").lower() for each in value.split(";")]
                holds("domain" not in words[1:], "a cookie for other hosts")
            holds(not name.lower().startswith("access-control-allow"), "another site may read")
            holds("\n" not in name + value, "a line break")
        policies = [value for name, value in answered if name == "Content-Security-Policy"]
        holds("frame-ancestors 'self'" in policies, "frames")


def _address(data: bytes) -> None:
    """Addresses that people paste, names that they choose, and files that are edited."""
    text = text_of(data)
    try:
        address = parse_address(text)
    except ConfigError as error:
        token = text.partition("?token=")[2]
        holds(len(token) < 12 or token not in str(error), "a token in a message")
    else:
        holds(address.base.startswith(("http://", "https://")), "a scheme")
        same("again", parse_address(address.base).base, address.base)
        holds(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", address.name), "a name for ssh")
    name = clean_name(text)
    holds(len(name) <= MAX_NAME and name.isprintable(), f"a name: {name!r}")
    same("name again", clean_name(name), name)
    try:
        target = parse_target(text)
        check(target, SshTunnelSettings())
    except ConfigError:
        pass
    else:
        words = connect_argv("ssh", target, is_pinned=False, version=None)
        same("after the options", words[-2:], ["--", target.host])
    once = with_include(data)
    same("include", with_include(once), once)
    block = with_block(data, "box", "Host box\n    User me\n")
    same("block", with_block(block, "box", "Host box\n    User me\n"), block)


CHECKS = (_authority, _request, _credential, _key, _proxied, _address)


def one_input(data: bytes) -> None:
    """Check one input."""
    dispatch(CHECKS, data)
