"""Takes apart the link or address of a bridge, and gives the machine behind it a name for ssh."""

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlsplit

from ttybridge.advice import is_loopback
from ttybridge.errors import ConfigError
from ttybridge.model import Secret
from ttybridge.tokens import token_problem

MAX_NAME = 100
"""Characters of a name: it names files, and `ssh NAME` should stay easy to type."""

_STANDARD_PORT = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?\.?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PLAIN = re.compile(
    r"""
    (?!.*-[0-9]+$) [a-z0-9_-]+ | [a-z0-9_-]+ : [0-9]+   # a host in one word takes no path
    |
    [a-z0-9._-]* \. [a-z0-9_]+                          # no - after the last dot
    (?: : [0-9]+ | (?! /[0-9]+ (?:/|$) ) )              # no path that reads like a port
    (?: / [a-z0-9_]+ )*                                 # no - or dot in a path
    """,
    re.VERBOSE,
)
"""Host, port and path that can be told apart when `-` stands for what is between them."""
_MARKED = re.compile(r"-[0-9a-f]{8}$")
_COPY = "Copy the link that the bridge printed, and put it in quotes."


@dataclass(frozen=True, slots=True)
class Address:
    """Where a bridge is, and the token when its link has one."""

    base: str
    """The address without a slash at its end, without token: `https://box.example/shell`."""
    host: str
    """Name or IP address, lower case, without brackets."""
    port: int
    """The port, also where the address leaves it out."""
    name: str
    """Name of the machine for ssh, made from host, port and path; no other `base` has it."""
    token: Secret | None = None
    """The token in the link."""
    link: Secret | None = None
    """What is behind `link=`: it can be exchanged for a token, once."""

    @property
    def is_local(self) -> bool:
        """Whether the bridge is reached without leaving this machine."""
        return is_loopback(self.host)

    @property
    def is_clear(self) -> bool:
        """Whether others on the way can read what is sent: plain http to another machine."""
        return self.base.startswith("http:") and not self.is_local


def parse_address(text: str) -> Address:
    """Take apart a link (`https://host/?token=…`) or an address without token.

    Other parameters, and what follows a `#`, are left out.

    Raises:
        ConfigError: It is no such address; never shows what follows the `?`.

    >>> parse_address("http://127.0.0.1:8000/?token=R7xk2-Qm9fLw0_ab")
    Address(base='http://127.0.0.1:8000', host='127.0.0.1', port=8000, name='ttybridge-127.0.0.1-8000', token=Secret('***'), link=None)
    >>> parse_address("https://Box.Example/shell/").name
    'ttybridge-box.example-shell'
    """  # noqa: E501 - the shape of the result reads best on one line
    shown = repr(re.split(r"[?#]", text, maxsplit=1)[0][:80])
    if not text.isprintable() or " " in text:
        raise ConfigError([f"{shown} has spaces or line breaks around or in it. {_COPY}"])
    try:
        parts = urlsplit(text)
        scheme = parts.scheme
        if scheme not in _STANDARD_PORT:
            reason = "it has to begin with https:// or http://"
            raise ValueError(reason)
        host, port = _host(parts.hostname or ""), parts.port
    except ValueError as error:
        raise ConfigError([f"{shown} is not the address of a bridge: {error}. {_COPY}"]) from None
    if parts.username is not None:
        raise ConfigError([f"A user or password in the address is not used. {_COPY}"])
    standard = port in (None, _STANDARD_PORT[scheme])
    shown_host = f"[{host}]" if ":" in host else host
    path = quote(parts.path, safe="/%:@!$&()*+,;=~").rstrip("/")
    base = f"{scheme}://{shown_host}{'' if standard else f':{port}'}{path}"
    return Address(
        base=base,
        host=host,
        port=port or _STANDARD_PORT[scheme],
        name=_default_name(base, host),
        token=_token(parts.query),
        link=_link(parts.query),
    )


def checked_name(name: str) -> str:
    """Return a name for ssh that somebody chose.

    Raises:
        ConfigError: ssh, or a file system, would take it for something else.

    >>> checked_name("gpu-box")
    'gpu-box'
    """
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        message = f"--name {name[:80]!r}: give 1 to {MAX_NAME} letters, digits and . _ -"
        raise ConfigError([f"{message} that begin with a letter or digit."])
    return name


def checked_token(token: str, where: str) -> Secret:
    """Return a token that may be sent.

    Raises:
        ConfigError: It cannot be a bridge's token; the text does not show it.
    """
    problem = token_problem(token)
    if problem:
        raise ConfigError([f"{where} is not the token of a bridge: {problem}"])
    return Secret(token)


def _host(text: str) -> str:
    """Return a host as it is looked up; raises ValueError with a reason."""
    if ":" in text:
        return str(ipaddress.IPv6Address(text))
    if not text.isascii():
        text = text.encode("idna").decode()
    if not text:
        reason = "it names no host"
        raise ValueError(reason)
    if not _HOST.fullmatch(text):
        reason = "the host has characters that no name has"
        raise ValueError(reason)
    return text


def _token(query: str) -> Secret | None:
    given = parse_qs(query, keep_blank_values=True).get("token")
    return checked_token(given[-1], "What follows token= in the link") if given else None


def _link(query: str) -> Secret | None:
    given = parse_qs(query, keep_blank_values=True).get("link")
    return Secret(given[-1]) if given and given[-1] else None


def _default_name(base: str, host: str) -> str:
    """Return an address as one word, in which case does not count: known_hosts passes over it.

    What the word does not tell, a mark at its end does, made from the whole address: another
    scheme than usual for the host, signs that became a `-`, and what was cut off.

    >>> _default_name("https://box.example/a/b", "box.example")
    'ttybridge-box.example-a-b'
    >>> _default_name("https://box.example/a-b", "box.example")
    'ttybridge-box.example-a-b-099a01cc'
    """
    scheme, _, place = base.partition("://")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"ttybridge-{place}").rstrip("-.")
    is_usual = scheme == ("http" if is_loopback(host) else "https")
    is_plain = _PLAIN.fullmatch(place) and not _MARKED.search(name) and len(name) <= MAX_NAME
    if is_usual and is_plain:
        return name
    return f"{name[: MAX_NAME - 9]}-{hashlib.sha256(base.encode()).hexdigest()[:8]}"
