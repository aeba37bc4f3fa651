"""Public keys: read, checked, and named as OpenSSH names them.

Nothing here shows the text of a key in a message: what was pasted may be a private one.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

KEY_TYPES = {
    "ssh-ed25519": "ED25519",
    "ecdsa-sha2-nistp256": "ECDSA",
    "ecdsa-sha2-nistp384": "ECDSA",
    "ecdsa-sha2-nistp521": "ECDSA",
    "sk-ssh-ed25519@openssh.com": "ED25519-SK",
    "sk-ecdsa-sha2-nistp256@openssh.com": "ECDSA-SK",
    "ssh-rsa": "RSA",
}
"""The key types that are accepted, each with the name that sshd logs for it."""

MAX_TEXT = 16 * 1024
"""Characters of a line; an RSA key of 16384 bits, the largest that OpenSSH takes, has 2800."""

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 16384
"""Bits of an RSA modulus: below, it can be factored in time; above, OpenSSH cannot read it."""

CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that no line may have: line breaks and all other controls but the tab."""

PRIVATE = re.compile(r"BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File")
"""How a private key begins, in the formats of OpenSSH, OpenSSL and PuTTY."""

_DAMAGED = "the key is damaged. Copy the whole line of the .pub file."


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One public key, checked."""

    type: str
    """The name of its type, one of KEY_TYPES."""
    blob: bytes
    """The key as SSH sends it: fields with a length of four bytes before each (RFC 4253, 6.6)."""
    comment: str = ""
    """What stood after the key; free text, in which only printable characters are left."""

    @property
    def line(self) -> str:
        """The key as a .pub file has it, without the comment."""
        return f"{self.type} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """The key's hash, as `ssh-keygen -l` shows it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest())
        return "SHA256:" + digest.decode().rstrip("=")

    @property
    def label(self) -> str:
        """Type and fingerprint, as sshd logs them: `ED25519 SHA256:…`."""
        return f"{KEY_TYPES[self.type]} {self.fingerprint}"


def parse_public_key(text: str) -> PublicKey:
    """Read one line of a .pub file: type, base64 and an optional comment.

    Raises:
        ValueError: It is no such line; has a sentence, which never shows the text.

    >>> blob = "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
    >>> parse_public_key(f"ssh-ed25519 {blob} me@box").comment
    'me@box'
    >>> parse_public_key("-----BEGIN OPENSSH PRIVATE KEY-----")
    Traceback (most recent call last):
    ValueError: this is the private half of a key. Keep it secret; give the line of the .pub file.
    """
    bare = text.strip(" \t\r\n")
    words = re.split("[ \t]+", bare, maxsplit=2)
    refuse(text_problem(bare) or _type_problem(words[0]))
    blob = _decode(words[1] if len(words) > 1 else "")
    refuse(_blob_problem(words[0], blob))
    comment = "".join(words[2:]).replace("\t", " ")
    comment = "".join(char if char.isprintable() else "\ufffd" for char in comment)
    return PublicKey(words[0], blob, comment)


def refuse(problem: str) -> None:
    """Raise ValueError with a problem, unless it is empty."""
    if problem:
        raise ValueError(problem)


def text_problem(text: str) -> str:
    """Say why a text cannot be a line with a public key, whatever is in it; empty when it can."""
    if PRIVATE.search(text):
        return "this is the private half of a key. Keep it secret; give the line of the .pub file."
    if len(text) > MAX_TEXT:
        return f"it is longer than {MAX_TEXT} characters. Give the line of the .pub file."
    if CONTROL.search(text):
        return "a line break or another control character is in it. Give one line, one key."
    return ""


def _type_problem(key_type: str) -> str:
    if key_type in KEY_TYPES:
        return ""
    if key_type == "ssh-dss":
        return "it is a DSA key, which OpenSSH no longer takes. Make one: ssh-keygen -t ed25519"
    if key_type.endswith("-cert-v01@openssh.com"):
        return "it is a certificate. Give the public key that is in it: the .pub file without -cert"
    return "no key type such as ssh-ed25519 is in it. Give the whole line of the .pub file."


def says_key(text: str) -> bool:
    """Tell whether a text begins with the name of a key type, be it accepted or refused."""
    word = re.split("[ \t]", text, maxsplit=1)[0]
    return word == "ssh-dss" or word in KEY_TYPES or word.endswith("-cert-v01@openssh.com")


def _decode(text: str) -> bytes:
    """Decode base64 that has exactly one spelling."""
    try:
        blob = base64.b64decode(text, validate=True)
    except ValueError:
        blob = b""
    refuse("" if blob and base64.b64encode(blob).decode() == text else _DAMAGED)
    return blob


def _fields(blob: bytes) -> list[bytes]:
    """Split a key into its fields; the last one is cut short when the key is."""
    fields = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        fields.append(blob[4:end] if end <= len(blob) else b"")
        blob = blob[end:]
    return fields


def _blob_problem(key_type: str, blob: bytes) -> str:
    first, *fields = _fields(blob)
    if b"" in (first, *fields):
        return _DAMAGED
    if first != key_type.encode():
        return "the word before the key names another type. Copy the whole line of the .pub file."
    if key_type == "ssh-rsa":
        return _rsa_problem(fields)
    if key_type.startswith("sk-"):
        fields = fields[:-1]  # the application, "ssh:" in most keys
    if "ed25519" in key_type:
        return "" if [len(field) for field in fields] == [32] else _DAMAGED
    return "" if _is_point(key_type, fields) else _DAMAGED


def _rsa_problem(fields: Sequence[bytes]) -> str:
    numbers = [int.from_bytes(field, "big", signed=True) for field in fields]
    if len(numbers) != 2 or min(numbers) < 3:
        return _DAMAGED
    bits = numbers[1].bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        limits = f"{MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted"
        return f"it is an RSA key of {bits} bits; {limits}. Make one: ssh-keygen -t ed25519"
    return ""


def _is_point(key_type: str, fields: Sequence[bytes]) -> bool:
    """Tell whether the fields are a curve's name and an uncompressed point (RFC 5656, 3.1)."""
    curve = key_type.partition("-sha2-")[2].partition("@")[0]
    size = {"nistp256": 32, "nistp384": 48, "nistp521": 66}[curve]
    if len(fields) != 2:
        return False
    return fields[0] == curve.encode() and len(fields[1]) == 1 + 2 * size and fields[1][0] == 4
