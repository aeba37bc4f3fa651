"""Who may log in over SSH: lines of authorized_keys files, read, merged and written.

Nothing here shows the text of a key in a message: what was pasted may be a private one.
"""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ttybridge.core.public_key import (
    CONTROL,
    KEY_TYPES,
    PRIVATE,
    PublicKey,
    parse_public_key,
    refuse,
    says_key,
    text_problem,
)

__all__ = [
    "KEY_TYPES",
    "READ_ONLY",
    "AuthorizedKey",
    "GithubUser",
    "KeyFile",
    "PublicKey",
    "entry_line",
    "leave_out",
    "merge",
    "parse_authorized_keys",
    "parse_entry",
    "parse_github_user",
    "parse_public_key",
    "secret_problem",
]

MIN_SECRET, MAX_SECRET, MIN_DISTINCT = 16, 1024, 6
"""Characters of a secret that a host key is made from, and how many different ones it needs."""

READ_ONLY = "read-only"
"""Our own option of a line: the key may only watch. It never reaches sshd."""

_FLAGS = frozenset(
    ["restrict", "verify-required", "no-touch-required"]
    + [no + name for no in ("", "no-") for name in ("pty", "user-rc")]
    + [f"{no}{name}-forwarding" for no in ("", "no-") for name in ("port", "agent", "x11")]
)
_WITH_VALUE = frozenset({"from", "expiry-time", "permitopen", "permitlisten"})
_DROPPED = "environment"
_KEPT_FOR_VIEWERS = frozenset({"from", "expiry-time", "verify-required", "no-touch-required"})

_PRIVATE_REST = re.compile(r"[A-Za-z0-9+/=]+|-----END [A-Z0-9 ]*PRIVATE KEY-----")
_OPTION = re.compile(r'([^\s=",\\]+)(?:="((?:\\"|[^"\\]|\\(?!"))*)")?(,|\Z)')
_TIME = re.compile(r"[0-9]{8}([0-9]{4}([0-9]{2})?)?Z?", re.IGNORECASE)
_KEY = re.compile(rf"({'|'.join(map(re.escape, KEY_TYPES))})[ \t]+([A-Za-z0-9+/=]+)")
_GITHUB_NAME = re.compile(r"(?=.{1,39}\Z)[A-Za-z0-9]+(-[A-Za-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """A key that may log in, and within which limits."""

    key: PublicKey
    """The key itself."""
    read_only: bool
    """Whether it may only watch."""
    options: tuple[str, ...]
    """The options of its line that are kept, as they were written and in their order."""
    source: str
    """Where it comes from, for messages: a file, an option, a GitHub user."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What an authorized_keys file says."""

    entries: tuple[AuthorizedKey, ...]
    """The keys that may log in."""
    notes: tuple[str, ...]
    """A sentence on each line that was left out."""
    refused: Mapping[bytes, str]
    """The keys, by their blobs, that have options which cannot be kept, and where: such a key may
    not come in by another line either, which would have none of its limits."""


@dataclass(frozen=True, slots=True)
class GithubUser:
    """Somebody whose keys at GitHub may log in."""

    name: str
    """The name at GitHub."""
    read_only: bool = False
    """Whether the keys may only watch."""


def parse_entry(text: str, source: str) -> AuthorizedKey:
    """Read one line of an authorized_keys file, as sshd(8) describes it.

    A key that is restricted in a way that cannot be kept here is refused rather than widened.
    `environment` is left out: the session has the environment of the bridge.

    Args:
        text: The line: options, type, base64, comment; the first and the last may be missing.
        source: Where the line comes from, for messages.

    Raises:
        ValueError: The key or an option is not accepted; has a sentence without the key's text.

    >>> line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
    >>> parse_entry('read-only,from="10.0.0.0/8" ' + line, "--ssh-key").options
    ('from="10.0.0.0/8"',)
    """
    bare = text.strip(" \t\r\n")
    refuse(text_problem(bare))
    if not says_key(bare):
        end = _end_of_options(bare)
        if says_key(bare[end:].lstrip(" \t")):
            key = parse_public_key(bare[end:])
            read_only, options = _parse_options(bare[:end])
            return AuthorizedKey(key, read_only, options, source)
    return AuthorizedKey(parse_public_key(bare), False, (), source)


def parse_authorized_keys(text: str, source: str) -> KeyFile:
    r"""Read an authorized_keys file; never raises.

    A private key, which has many lines, gets one sentence.

    Args:
        text: The file's text; lines may end in CR LF.
        source: The file's name, for messages.

    >>> parse_authorized_keys("# mine\n\nssh-dss AAAA\n", "keys").notes[0][:36]
    'keys, line 3: it is a DSA key, which'
    """
    entries: list[AuthorizedKey] = []
    notes: list[str] = []
    refused: dict[bytes, str] = {}
    in_private = False
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        bare = line.strip(" \t\r")
        if not bare or bare.startswith("#") or (in_private and _PRIVATE_REST.fullmatch(bare)):
            continue
        in_private = PRIVATE.search(bare) is not None
        try:
            entries.append(parse_entry(bare, source))
        except ValueError as error:
            notes.append(f"{source}, line {number}: {error}")
            for key in _restricted_keys(bare):
                refused.setdefault(key.blob, f"{source}, line {number}")
    kept, more = leave_out(entries, refused)
    return KeyFile(tuple(kept), (*notes, *more), refused)


def leave_out(
    entries: Iterable[AuthorizedKey], refused: Mapping[bytes, str]
) -> tuple[list[AuthorizedKey], list[str]]:
    """Take the refused keys out: sshd, too, goes by the first line of a key, with its limits.

    Args:
        entries: The keys.
        refused: As in `KeyFile`, of this and of other files.

    Returns:
        The other keys, and a sentence for each that was left out.
    """
    kept: list[AuthorizedKey] = []
    notes: list[str] = []
    for entry in entries:
        if where := refused.get(entry.key.blob):
            notes.append(
                f"{entry.key.label} from {entry.source} is left out, because {where} limits this "
                "key in a way that cannot be kept. Remove one of the two."
            )
        else:
            kept.append(entry)
    return kept, notes


def entry_line(entry: AuthorizedKey, command: str) -> str:
    r"""Write the line with which sshd lets a key run `command` and nothing else.

    A key that may only watch gets no forwarding of any kind, and a pty unless its own options
    take it away (as in sshd, a later option overrules an earlier one).

    Raises:
        ValueError: sshd could not read the command back: it has a control character, or a
            backslash at its end, which would escape the closing quote.

    >>> key = PublicKey("ssh-ed25519", b"")
    >>> entry_line(AuthorizedKey(key, True, ("pty", "port-forwarding"), ""), 'say "hi"')
    'restrict,pty,command="say \\"hi\\"" ssh-ed25519 '
    """
    if not command or CONTROL.search(command) or command.endswith("\\"):
        reason = "a command has no control character, and no backslash at its end."
        raise ValueError(reason)
    # sshd knows this one escape only: a backslash before anything else stands for itself.
    forced = 'command="' + command.replace('"', '\\"') + '"'
    options = [forced, *entry.options]
    if entry.read_only:
        pty = ["pty"] if _may_have_pty(entry.options) else []
        kept = [option for option in entry.options if _name(option) in _KEPT_FOR_VIEWERS]
        options = ["restrict", *pty, forced, *kept]
    return f"{','.join(options)} {entry.key.line}"


def merge(entries: Iterable[AuthorizedKey]) -> list[AuthorizedKey]:
    """Keep one entry for each key, in the order of their first occurrence.

    Where a key occurs several times, its first entry that is read-only wins, wherever it stands:
    when in doubt, a key may do less. Where none is read-only, the first one wins.
    """
    merged: dict[bytes, AuthorizedKey] = {}
    for entry in entries:
        known = merged.setdefault(entry.key.blob, entry)
        if entry.read_only and not known.read_only:
            merged[entry.key.blob] = entry
    return list(merged.values())


def parse_github_user(text: str) -> GithubUser:
    """Read a GitHub user's name, with `:read-only` behind it when the keys may only watch.

    Raises:
        ValueError: It cannot be a name at GitHub; has a sentence.

    >>> parse_github_user("octo-cat:read-only")
    GithubUser(name='octo-cat', read_only=True)
    """
    name = text.removesuffix(":" + READ_ONLY)
    if not _GITHUB_NAME.fullmatch(name):
        reason = (
            "give a name at GitHub, such as octocat or octocat:read-only: at most 39 letters "
            "and digits, with single hyphens between them."
        )
        raise ValueError(reason)
    return GithubUser(name, read_only=name != text)


def secret_problem(secret: str) -> str:
    """Say what is wrong with a secret for a host key, without showing it; empty when nothing is.

    >>> secret_problem("short"), secret_problem("correct horse battery")
    ('it has 5 characters; give 16 to 1024.', '')
    """
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        length = f"{len(secret)}" if len(secret) <= MAX_SECRET else f"more than {MAX_SECRET}"
        return f"it has {length} characters; give {MIN_SECRET} to {MAX_SECRET}."
    if re.search("[\t\ud800-\udfff]", secret) or CONTROL.search(secret):
        return "it has a control character, or bytes that are not UTF-8. Give one line of text."
    if len(set(secret)) < MIN_DISTINCT:
        return "it is easy to guess. Make one with: openssl rand -hex 24"
    return ""


def _restricted_keys(line: str) -> list[PublicKey]:
    """Return the keys in a refused line that has something before them, whether it can be read.

    >>> line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
    >>> len(_restricted_keys(line)), len(_restricted_keys('from="not closed ' + line))
    (0, 1)
    """
    keys: list[PublicKey] = []
    if not says_key(line):
        for found in _KEY.finditer(line):
            with contextlib.suppress(ValueError):  # one that cannot log in by any line
                keys.append(parse_public_key(f"{found[1]} {found[2]}"))
    return keys


def _end_of_options(text: str) -> int:
    """Return where the options of a line end: at a space outside quotes, as in sshd."""
    at, quoted = 0, False
    while at < len(text) and (quoted or text[at] not in " \t"):
        if text.startswith('\\"', at):
            at += 1
        elif text[at] == '"':
            quoted = not quoted
        at += 1
    return at


def _parse_options(text: str) -> tuple[bool, tuple[str, ...]]:
    """Return whether `read-only` is among the options, and those that are kept."""
    read_only = False
    kept: list[str] = []
    at = 0
    separator = ","
    while separator:
        match = _OPTION.match(text, at)
        if match is None:
            reason = 'its options cannot be read. Write them as in restrict,from="10.0.0.0/8"'
            raise ValueError(reason)
        separator = match[3]
        name = match[1].lower()
        refuse(_option_problem(name, match[2], kept))
        read_only |= name == READ_ONLY
        if name not in (READ_ONLY, _DROPPED):
            kept.append(match[0].removesuffix(separator))
        at = match.end()
    return read_only, tuple(kept)


def _option_problem(name: str, value: str | None, kept: Sequence[str]) -> str:
    known = name in _FLAGS or name == READ_ONLY
    if value is not None:
        known = name in _WITH_VALUE or name == _DROPPED
    if not known:
        shown = f"'{name}'" if re.fullmatch(r"[a-z0-9@._-]{1,40}", name) else "in it"
        return f"the option {shown} is not supported here, so the key is left out. Remove it."
    if name == "from" and any(_name(option) == "from" for option in kept):
        return "the option 'from' is there twice. Put all patterns into one, with commas."
    if name == "expiry-time" and not _TIME.fullmatch(value or ""):
        return "the option 'expiry-time' has no time such as 20301231 or 203012312359."
    return ""


def _name(option: str) -> str:
    return option.partition("=")[0].lower()


def _may_have_pty(options: Iterable[str]) -> bool:
    """Tell what sshd makes of the options, of which the last one counts."""
    allowed = True
    for option in options:
        if _name(option) in ("pty", "no-pty", "restrict"):
            allowed = _name(option) == "pty"
    return allowed
