"""The built page: found once, kept in memory with its compressed forms."""

import base64
import functools
import hashlib
import json
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ttybridge.errors import TtyBridgeError

if TYPE_CHECKING:  # the files are read while aiohttp is being imported
    from aiohttp import web

ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
"""Compressed forms, the smallest first, and the endings of their files."""

INDEX, LOGIN, REPLAY = "index.html", "login.html", "replay.html"
"""The page, what is shown instead without a credential, and the page that plays recordings."""

FIRST = "first.html"
"""The page with its script inside, for browsers that have no copy of it."""

COPY_COOKIE = "ttybridge-page"
"""Cookie that names the script of which a browser has a copy (static/src/kept.ts)."""

_SCRIPT = re.compile(rb'<script(?: type="module")?>(.*?)</script>', re.DOTALL)
_SCRIPT_NAME = re.compile(rb'<meta name="ttybridge-script" content="\./([^"]+)"')

_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html",
          ".svg": "image/svg+xml", ".txt": "text/plain", ".json": "application/json",
          ".webmanifest": "application/manifest+json"}  # fmt: skip


class PageNotBuilt(TtyBridgeError):
    """The built page is missing or incomplete."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    content_type: str
    """Its media type."""
    forms: Mapping[str, bytes]
    """Its bytes by content encoding; `identity` is always there."""

    def respond(self, request: "web.Request", *, keep: bool) -> "web.Response":
        """Answer with the smallest form that the client takes.

        Args:
            request: The request.
            keep: Whether caches may keep the answer for good: its name changes with its content.
        """
        from aiohttp import web

        accepted = request.headers.get("Accept-Encoding", "").lower()
        coding = next((c for c, _ in ENCODINGS if c in self.forms and c in accepted), "identity")
        headers = {"Vary": "Accept-Encoding"}
        if keep:
            headers["Cache-Control"] = "public, max-age=31536000, immutable"
        if coding != "identity":
            headers["Content-Encoding"] = coding
        response = web.Response(body=self.forms[coding], headers=headers)
        response.content_type = self.content_type
        if self.content_type.startswith("text/"):
            response.charset = "utf-8"
        return response


@dataclass(frozen=True)
class Page:
    """The built page."""

    files: Mapping[str, Asset]
    """Its files by name; names have no folders."""

    @property
    def public(self) -> frozenset[str]:
        """Names of the files whose name has a hash: they hold no secret and never change."""
        return frozenset(self.files) - {INDEX, FIRST, LOGIN, REPLAY}

    @property
    def scripts_inside(self) -> tuple[str, ...]:
        """Sources for `script-src` that let the scripts run that stand in the page itself."""
        pages = (self.files[name].forms["identity"] for name in (INDEX, FIRST))
        digests = {
            hashlib.sha256(text).digest() for page in pages for text in _SCRIPT.findall(page)
        }
        return tuple(sorted(f"'sha256-{base64.b64encode(one).decode()}'" for one in digests))

    async def serve(self, request: "web.Request") -> "web.Response":
        """Answer with the page: with its script inside, unless the browser has a copy of that."""
        copy = request.cookies.get(COPY_COOKIE, "").removeprefix("./")
        name = INDEX if copy and copy == self._script else FIRST
        return self.files[name].respond(request, keep=False)

    @functools.cached_property
    def _script(self) -> str:
        found = _SCRIPT_NAME.search(self.files[INDEX].forms["identity"])
        return found[1].decode() if found else ""

    @property
    def login(self) -> bytes:
        """What is shown without a credential."""
        return self.files[LOGIN].forms["identity"]


def page_folder() -> Path:
    """Return where the built page is: in the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    built = package / "page"
    return built if built.is_dir() else package.parent / "static" / "dist"


def load_page(folder: Path | None = None) -> Page:
    """Read the built page.

    Args:
        folder: Where it is; `page_folder()` by default.

    Raises:
        PageNotBuilt: It is missing or incomplete.
    """
    folder = folder or page_folder()
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        names = [str(entry["name"]) for entry in manifest["files"]]
        files = {name: _load(folder / name) for name in names if not name.endswith((".br", ".gz"))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PageNotBuilt(
            f"The page is not built, or not whole ({error}).",
            hint="In a checkout, `make setup` builds it; a wheel contains it: install it again.",
        ) from error
    missing = {INDEX, FIRST, LOGIN, REPLAY} - files.keys()
    if missing:
        raise PageNotBuilt(
            f"The page lacks {' and '.join(sorted(missing))}.", hint="`make setup` builds it."
        )
    return Page(files)


def _load(path: Path) -> Asset:
    forms = {"identity": path.read_bytes()}
    for coding, ending in ENCODINGS:
        compressed = path.with_name(path.name + ending)
        if compressed.is_file():
            forms[coding] = compressed.read_bytes()
    guessed = mimetypes.guess_type(path.name)[0]
    return Asset(_TYPES.get(path.suffix, guessed or "application/octet-stream"), forms)
