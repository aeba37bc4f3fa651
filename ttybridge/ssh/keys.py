"""Where the keys that may log in come from: files, the command line, GitHub."""

import asyncio
import os
import ssl
import stat
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from ttybridge.core.ssh_keys import (
    AuthorizedKey,
    GithubUser,
    KeyFile,
    leave_out,
    merge,
    parse_authorized_keys,
)
from ttybridge.errors import SshdError

MAX_FILE_BYTES = 1024 * 1024
"""Largest authorized_keys file that is read, in bytes; some 2500 RSA keys."""

MAX_ANSWER_BYTES = 256 * 1024
"""Largest answer of GitHub that is read, in bytes."""

FETCH_TIMEOUT_S = 15.0
"""Longest time for one user's keys, in seconds, from the name look-up to the last byte."""

MAX_NOTES = 20
"""Lines of one source that are complained about one by one."""

_OTHER_WAY = 'Give a key by --ssh-key "ssh-ed25519 …" or --authorized-keys FILE.'


@dataclass(frozen=True, slots=True)
class Collected:
    """The keys that may log in, and what there is to say about the others."""

    entries: tuple[AuthorizedKey, ...]
    """The keys, each one once; never empty."""
    notes: tuple[str, ...]
    """A sentence on each line that was left out, and on files that others may write to."""


async def fetch_keys(url: str) -> str:
    """Return the text at `{github_url}/{name}.keys`: a public key in each line.

    Follows no redirect, sends no cookie, and reads at most MAX_ANSWER_BYTES.

    Raises:
        SshdError: No such user, a user without keys, another answer, or no answer within
            FETCH_TIMEOUT_S.
    """
    name = url.rpartition("/")[2].removesuffix(".keys")
    try:
        status, body = await _get(url)
    except aiohttp.InvalidURL:
        raise _fetch_error(name, "the address of GitHub is not valid") from None
    except TimeoutError:
        raise _fetch_error(name, f"no answer within {FETCH_TIMEOUT_S:.0f} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise _fetch_error(name, f"{error}" or type(error).__name__) from error
    if status == 404:
        message = f"GitHub knows no user '{name}'."
        raise SshdError(message, hint=f"Check the name's spelling. {_OTHER_WAY}")
    if 300 <= status < 400:
        raise _fetch_error(name, f"a redirect (status {status}), which is not followed")
    if status != 200:
        raise _fetch_error(name, f"status {status} instead of keys")
    if len(body) > MAX_ANSWER_BYTES:
        raise _fetch_error(name, f"the answer has more than {MAX_ANSWER_BYTES // 1024} KiB")
    if not body.strip():
        message = f"The user '{name}' has no SSH key at GitHub."
        raise SshdError(message, hint=f"Add one at GitHub, or pass another user. {_OTHER_WAY}")
    return body.decode("utf-8", "replace")


async def collect(
    *,
    files: Sequence[Path],
    default_file: Path | None,
    literal: Sequence[AuthorizedKey],
    github_users: Sequence[GithubUser],
    github_url: str,
    is_needed: bool = True,
    fetch: Callable[[str], Awaitable[str]] = fetch_keys,
) -> Collected:
    """Gather the keys that may log in.

    Args:
        files: authorized_keys files that were asked for; each must have a usable key.
        default_file: Read when nothing at all was asked for; may be missing.
        literal: Keys that were given themselves.
        github_users: Users whose keys are fetched, one user after the other.
        github_url: Address of GitHub, `https://github.com`.
        is_needed: Whether there must be a key: over a public web address each connection brings
            its own, which that address has let in.
        fetch: Gets the text at an address, and raises SshdError.

    Returns:
        At least one key if one is needed; where one occurs several times, see `merge`. A key that a
        line limits in a way that cannot be kept does not come in by another source either.

    Raises:
        SshdError: A source cannot be read or has no usable key, or there is no source.
    """
    entries = list(literal)
    notes: list[str] = []
    refused: dict[bytes, str] = {}
    for path in files:
        text, warning = await asyncio.to_thread(_read, path)
        found = _usable(parse_authorized_keys(text, str(path)), str(path))
        entries += found.entries
        notes += [*_shortened(found.notes, str(path)), *warning]
        refused |= found.refused
    for user in github_users:
        source = f"GitHub user '{user.name}'"
        text = await fetch(f"{github_url.rstrip('/')}/{user.name}.keys")
        found = _usable(parse_authorized_keys(text, source), source)
        entries += [_of_user(entry, user) for entry in found.entries]
        notes += _shortened(found.notes, source)
        refused |= found.refused
    if not (files or literal or github_users) and default_file is not None:
        own, notes = await asyncio.to_thread(_read_default, default_file)
        entries += own
    entries, left_out = leave_out(entries, refused)
    notes += _shortened(left_out, "Other places")
    if not entries and (is_needed or files or literal or github_users):
        raise _nothing(notes)
    return Collected(tuple(merge(entries)), tuple(notes))


def _of_user(entry: AuthorizedKey, user: GithubUser) -> AuthorizedKey:
    """Return a key of GitHub's, where keys have no comments, with its user's name."""
    key = replace(entry.key, comment=entry.key.comment or user.name)
    return replace(entry, key=key, read_only=entry.read_only or user.read_only)


async def _get(url: str) -> tuple[int, bytes]:
    """Return an answer's status and its first bytes, at most a chunk more than the limit."""
    body = bytearray()
    # As it is: an answer that is packed could be far larger than what arrives.
    headers = {"User-Agent": "ttybridge", "Accept-Encoding": "identity"}
    trusted = await asyncio.to_thread(ssl.create_default_context)  # aiohttp's own is empty: loading
    async with (
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as client,
        client.get(url, allow_redirects=False, ssl=trusted) as response,
    ):
        if response.status == 200:
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    break
        return response.status, bytes(body)


def _fetch_error(name: str, reason: str) -> SshdError:
    message = f"The keys of the GitHub user '{name}' could not be fetched: {reason}."
    return SshdError(message, hint=f"Try again later. {_OTHER_WAY}")


def _read(path: Path) -> tuple[str, list[str]]:
    """Return a file's text, and a note when others may write to it.

    Raises:
        SshdError: It cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}."
        hint = "Pass --authorized-keys with a file that exists and that you may read."
        raise SshdError(message, hint=hint) from error
    if len(data) > MAX_FILE_BYTES:
        message = f"{path} is larger than {MAX_FILE_BYTES // 1024} KiB."
        raise SshdError(message, hint="Pass --authorized-keys with a file of public keys.")
    return data.decode("utf-8", "replace"), _write_note(path, mode)


def _write_note(path: Path, mode: int) -> list[str]:
    if not stat.S_ISREG(mode) or not mode & 0o022:
        return []
    return [f"Others may write to {path}, and so add keys. Run: chmod go-w {path}"]


def _read_default(path: Path) -> tuple[list[AuthorizedKey], list[str]]:
    """Return the keys and notes of a file that nobody asked for; never raises."""
    if not path.exists():
        return [], []
    try:
        text, warning = _read(path)
    except SshdError as error:
        return [], [error.message]
    found = parse_authorized_keys(text, str(path))
    return list(found.entries), _shortened(found.notes, str(path)) + warning


def _usable(found: KeyFile, source: str) -> KeyFile:
    """Return what was found in a source that somebody asked for.

    Raises:
        SshdError: There is no usable key in it.
    """
    if not found.entries:
        message = "\n".join(
            [f"{source} has no key that can be used.", *_shortened(found.notes, source)]
        )
        raise SshdError(message, hint=_OTHER_WAY)
    return found


def _shortened(left_out: Sequence[str], source: str) -> list[str]:
    more = len(left_out) - MAX_NOTES
    rest = [f"{source}: {more} more lines are left out."] if more > 0 else []
    return [*left_out[:MAX_NOTES], *rest]


def _nothing(notes: Sequence[str]) -> SshdError:
    message = "--ssh needs a key that may log in; passwords are never accepted."
    hint = (
        'Pass --authorized-keys FILE, --ssh-key "ssh-ed25519 …" or --github-user NAME; '
        "ssh-keygen -t ed25519 makes a key."
    )
    return SshdError("\n".join([message, *notes]), hint=hint)
