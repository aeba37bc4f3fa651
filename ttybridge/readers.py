"""How the text of a value becomes a checked value.

Each reader takes text and raises ValueError with a sentence on what is allowed.
"""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:  # every command reads options, and few have keys
    from ttybridge.core.ssh_keys import AuthorizedKey, GithubUser

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*")
_BASE_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SIZE = re.compile(r"([0-9]+)\s*([KMG]?)(?:i?B)?", re.IGNORECASE)
_SECONDS = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)")


def integer(low: int, high: int, what: str) -> Callable[[str], int]:
    """Return a reader of whole numbers from `low` to `high`.

    >>> integer(1, 9, "a digit")("7")
    7
    """

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"[0-9]{1,12}", text) else -1
        if not low <= number <= high:
            reason = f"give {what}, a whole number from {low} to {high}."
            raise ValueError(reason)
        return number

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Return a reader of times with the units s, m, h and d; the result is in seconds.

    >>> seconds(0, 3600)("2m")
    120.0
    """

    def parse(text: str) -> float:
        match = _SECONDS.fullmatch(text)
        time_s = -1.0
        if match is not None:
            time_s = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
        if not low <= time_s <= high:
            reason = f"give a time from {low:g} to {high:g} seconds, such as 45, 45s or 1m."
            raise ValueError(reason)
        return time_s

    return parse


def byte_size(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of sizes with the units K, M and G (powers of 1024); result in bytes.

    >>> byte_size(1, 1 << 30)("4M")
    4194304
    """

    def parse(text: str) -> int:
        match = _SIZE.fullmatch(text) if len(text) < 20 else None
        size = -1
        if match is not None:
            size = int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]
        if not low <= size <= high:
            reason = f"give a size from {format_size(low)} to {format_size(high)}, such as 512K."
            raise ValueError(reason)
        return size

    return parse


def format_size(size_bytes: int) -> str:
    """Write a number of bytes as `byte_size` reads it.

    >>> format_size(4194304)
    '4M'
    """
    for shift, unit in ((30, "G"), (20, "M"), (10, "K")):
        if size_bytes and size_bytes % (1 << shift) == 0:
            return f"{size_bytes >> shift}{unit}"
    return str(size_bytes)


def choice(*words: str) -> Callable[[str], str]:
    """Return a reader that takes one of a few words."""

    def parse(text: str) -> str:
        if text not in words:
            reason = f"give one of {', '.join(words)}."
            raise ValueError(reason)
        return text

    return parse


def path(text: str) -> Path:
    """Read the path of a file or folder."""
    if not text or "\0" in text:
        reason = "give a path."
        raise ValueError(reason)
    return Path(text)


def audit_log(text: str) -> str:
    """Read where the audit log goes: `auto`, `none`, or the path of a file."""
    return text if text in ("auto", "none") else str(path(text))


def program(text: str) -> str:
    """Read the name or path of a program."""
    if not text or "\0" in text or text.startswith("-"):
        reason = "give the name or the path of a program."
        raise ValueError(reason)
    return text


def host(text: str) -> str:
    """Read an address to listen on; brackets around an IPv6 address are dropped.

    >>> host("[::1]")
    '::1'
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        if len(text) > 253 or not _HOST_NAME.fullmatch(text) or re.fullmatch(r"[0-9.]+", text):
            reason = "give an address or a name of this machine, such as 127.0.0.1 or ::1."
            raise ValueError(reason) from None
    return text.lower()


def host_and_port(text: str) -> str:
    """Read a host name with or without a port, as the Host header of a request has it.

    >>> host_and_port("Box.example:8080")
    'box.example:8080'
    """
    name, bracket, rest = text.partition("]")
    if text.startswith("[") and bracket:
        name, port = name[1:], rest
    elif text.count(":") > 1:
        name, port = text, ""
    else:
        name, colon, digits = text.partition(":")
        port = colon + digits
    try:
        name = host(name)
        if port and not port.startswith(":"):
            raise ValueError
        if port:
            integer(1, 65535, "a port")(port[1:])
    except ValueError:
        reason = "give a host name or address, with or without a port, such as box.example:8080."
        raise ValueError(reason) from None
    return (f"[{name}]" if ":" in name else name) + port


def origin(text: str) -> str:
    """Read the origin of a web page: scheme, host and port, nothing after them.

    >>> origin("https://Hub.example/")
    'https://hub.example'
    """
    scheme, separator, rest = text.rstrip("/").partition("://")
    reason = "give an origin such as https://hub.example or http://127.0.0.1:8888."
    if scheme.lower() not in ("http", "https") or not separator:
        raise ValueError(reason)
    try:
        return f"{scheme.lower()}://{host_and_port(rest)}"
    except ValueError:
        raise ValueError(reason) from None


def network(text: str) -> str:
    """Read an IP address or a network.

    >>> network("10.0.0.7/8"), network("::1")
    ('10.0.0.0/8', '::1/128')
    """
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        reason = "give an IP address or a network, such as 10.0.0.1 or 10.0.0.0/8."
        raise ValueError(reason) from None


def base_path(text: str) -> str:
    """Read the path below which the page is served.

    >>> base_path("/"), base_path("/user/tty/")
    ('', '/user/tty')
    """
    bare = text.rstrip("/")
    if not _BASE_PATH.fullmatch(bare) or {".", ".."} & set(bare.split("/")):
        reason = "give a path such as /tty: a slash, then letters, digits and . _ ~ -"
        raise ValueError(reason)
    return bare


def session_name(text: str) -> str:
    """Read the name of a tmux session.

    tmux replaces ':' and '.', expands '#', puts a backslash before another and before '$', takes
    a name that begins with one of = - @ %, and the marked or mouse target, for something else than
    a name, and ends a command at an argument's last ';' (3.3a, each one tried).
    """
    if not text or len(text) > 128:
        reason = "a session name has 1 to 128 characters."
        raise ValueError(reason)
    if any(char in ":.#$\\" or not char.isprintable() for char in text):
        reason = "a session name has no ':', '.', '#', '$', backslash or control character."
        raise ValueError(reason)
    if text[0] in "=-@%":
        reason = "a session name does not begin with one of = - @ %"
        raise ValueError(reason)
    if text in ("~", "{marked}", "{mouse}") or text.endswith(";"):
        reason = "a session name is not ~, {marked} or {mouse}, and does not end with ';'"
        raise ValueError(reason)
    return text


def socket_name(text: str) -> str:
    """Read the name of a tmux socket, which is a file name in tmux's own folder."""
    if not text or "/" in text or not text.isprintable() or text in (".", ".."):
        reason = "a socket name is a plain file name; for a path there is --socket-path."
        raise ValueError(reason)
    return text


def container(text: str) -> str:
    """Read the name or id of a container."""
    if not _CONTAINER.fullmatch(text):
        reason = "give the name of a container: letters, digits and . _ -"
        raise ValueError(reason)
    return text


def ssh_key(text: str) -> "AuthorizedKey":
    """Read one public key, with options in front of it as in an authorized_keys file."""
    from ttybridge.core.ssh_keys import parse_entry

    return parse_entry(text, "--ssh-key")


def github_user(text: str) -> "GithubUser":
    """Read the name of a GitHub user, with `:read-only` behind it for keys that only watch."""
    from ttybridge.core.ssh_keys import parse_github_user

    return parse_github_user(text)


def site(text: str) -> str:
    """Read the address of a site that has `/NAME.keys`; plain http only on this machine.

    >>> site("https://git.example/")
    'https://git.example'
    """
    reason = "give an address such as https://github.example.com."
    try:
        parts = urlsplit(text)
        is_local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        port_is_right = parts.port != 0
    except ValueError:
        raise ValueError(reason) from None
    if parts.scheme not in ("https", "http") or not parts.hostname or not port_is_right:
        raise ValueError(reason)
    if parts.scheme == "http" and not is_local:
        reason = "keys must come over https: give an address such as https://github.example.com."
        raise ValueError(reason)
    if parts.query or parts.fragment or parts.username:
        raise ValueError(reason)
    return text.rstrip("/")


def tunnel(text: str) -> str:
    """Read a tunnel's name with its argument: `NAME` or `NAME:ARGUMENT`.

    >>> tunnel("ssh:me@box.example")
    'ssh:me@box.example'
    """
    name, colon, argument = text.partition(":")
    if not _WORD.fullmatch(name) or not text.isprintable() or (colon and not argument):
        message = "give a name such as ngrok, cloudflared or ssh:USER@HOST."
        raise ValueError(message)
    return text


def word(text: str) -> str:
    """Read a word of letters, digits and `- _ .`."""
    if not _WORD.fullmatch(text):
        message = "give one word of letters and digits, such as google."
        raise ValueError(message)
    return text


def domain(text: str) -> str:
    """Read a domain name without scheme, port and path."""
    name = text.removeprefix("https://").rstrip("/").lower()
    if not _HOST_NAME.fullmatch(name) or "." not in name:
        message = "give a name such as box.ngrok.app."
        raise ValueError(message)
    return name


def email(text: str) -> str:
    """Read an e-mail address, or `@domain` for everybody there.

    >>> email("@example.com")
    '@example.com'
    """
    _, at, name = text.rpartition("@")
    if not at or not _HOST_NAME.fullmatch(name) or not text.isprintable() or " " in text:
        message = "give an address such as you@example.com, or @example.com for all of it."
        raise ValueError(message)
    return text


def host_key(text: str) -> str:
    """Read a public host key, as in known_hosts without the names: `ssh-ed25519 AAAA…`."""
    from ttybridge.core.public_key import parse_public_key

    return parse_public_key(text).line


def ports(text: str) -> range:
    """Read a port, or a range of them.

    >>> ports("6006"), ports("8888-8890")
    (range(6006, 6007), range(8888, 8891))
    """
    first, dash, last = text.partition("-")
    if first.isdecimal() and (last if dash else first).isdecimal() and len(text) <= 11:
        found = range(int(first), int(last if dash else first) + 1)
        if found and found.start >= 1 and found.stop <= 65536:
            return found
    message = "give a port such as 6006, or a range such as 8888-8890."
    raise ValueError(message)


def label(text: str) -> str:
    """Read a name that is shown to people."""
    if not text.isprintable() or len(text) > 100:
        message = "give up to 100 printable characters."
        raise ValueError(message)
    return text
