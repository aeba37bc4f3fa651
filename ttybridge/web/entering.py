"""How people come in and go: the cookie, the login form, links, and pages in foreign frames."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import SimpleCookie

from aiohttp import web

from ttybridge.core.access import BEARER, COOKIE_MAX_AGE_S, Credentials, Principal
from ttybridge.core.decision import ASK, MAX_LOGIN_BYTES
from ttybridge.core.links import Link, Over
from ttybridge.core.meter import Meter
from ttybridge.core.origin import Seen
from ttybridge.web.bodies import read_body
from ttybridge.web.request_facts import LINK_NAMES, tokens_of

FORM_TIMEOUT_S = 10.0
"""Longest time for the whole login form to arrive, in seconds: nobody knows who sends it."""

WRONG_TOKEN = b'<p class="wrong" role="alert">This token is wrong.</p>'
"""Stands before the form of the login page when a wrong token was given."""

OLD_LINK = (
    b'<p class="wrong" role="alert">This link has been used, or is too old. Get a new one where '
    b"the bridge runs: <code>ttybridge link</code></p>"
)
"""Stands there when a link was opened that was one before."""

OLD_FRAME = "The link of this terminal has been used, or is too old: run the cell again."
"""Said in a frame, such as that of a notebook that was saved and is opened again."""

FRAMED: web.RequestKey[bool] = web.RequestKey("framed", bool)
"""Set for an answer that a page of any site may show in a frame."""

_FIELDS = re.compile(rb"<label.*?(?=<button)", re.DOTALL)
_FINE = re.compile(rb'<p class="fine">.*?</p>', re.DOTALL)
_INVITATION = re.compile(rb"<h1>.*?</h1>\s*<p>.*?</p>", re.DOTALL)
_FORM = re.compile(rb"<form.*?</form>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Form:
    """What came with the login form."""

    tokens: tuple[str, ...] = ()
    """Its tokens; a form of any other shape has none."""
    links: tuple[str, ...] = ()
    """Its links."""


@dataclass(frozen=True, slots=True)
class Entering:
    """Gives out sessions.

    Args:
        credentials: What is accepted.
        cookie_name: Name of the session cookie.
        may_be_framed: Whether pages of other sites may show ours in a frame.
        clock: Seconds since 1970.
    """

    credentials: Credentials
    cookie_name: str
    may_be_framed: bool
    clock: Callable[[], float]

    def enter(self, who: Principal | Link | None, seen: Seen | None, place: str) -> web.Response:
        """Answer with a fresh cookie and the page's address without the credential.

        Args:
            who: Who comes in, or the link that was opened. No cookie is given to somebody who
                needs none, and none to who shows a session: its end would not be that of the new.
            seen: Where the request is addressed to.
            place: The page's address, relative.
        """
        response = web.Response(status=303, headers={"Location": place})
        is_new = isinstance(who, Link) or (who is not None and who.id == "token")
        if who is not None and is_new and seen is not None:
            link = who if isinstance(who, Link) else None
            value = self.credentials.issue_cookie(who.role, self.clock(), seen.place, link=link)
            secure = seen.scheme == "https"
            # As long for a guest: a cookie that has had its time lets the page say so.
            self.set_cookie(response, value, max_age_s=COOKIE_MAX_AGE_S, secure=secure)
        return response

    def enter_frame(self, request: web.Request, link: Link, page: bytes) -> web.Response:
        """Answer with the page, its credential in it, for a frame whose cookies are refused.

        Script of another site cannot read it there: the page is of another origin than the one
        that frames it. A reload needs a new link.
        """
        value = self.credentials.issue_cookie(link.role, self.clock(), BEARER, link=link)
        meta = f'<meta name="ttybridge-credential" content="{value}" />'.encode()
        response = web.Response(body=page.replace(b"<head>", b"<head>" + meta, 1))
        response.content_type, response.charset = "text/html", "utf-8"
        request[FRAMED] = True
        return response

    def hand_over(self, link: Link) -> web.Response:
        """Answer a program that opens a link: the session as a token, for its requests."""
        value = self.credentials.issue_cookie(link.role, self.clock(), BEARER, link=link)
        return web.json_response(
            {
                "token": value,
                "role": link.role.value,
                "name": link.name,
                "endsAt": link.access_until,
            }
        )

    def leave(self, place: str, *, secure: bool) -> web.Response:
        """Answer with the page's address, and take the cookie away."""
        response = web.Response(status=303, headers={"Location": place})
        self.set_cookie(response, "", max_age_s=0, secure=secure)
        return response

    def set_cookie(
        self,
        response: web.StreamResponse,
        value: str,
        *,
        max_age_s: int,
        secure: bool,
    ) -> None:
        """Add the session cookie to an answer."""
        # No Path: the browser takes the folder of this address, which is the page's under any
        # base path. Lax, not Strict: the link is opened from chats and mails, and a Strict cookie
        # is not sent in the redirect that follows. A frame in a page of another site gets only a
        # cookie of SameSite=None, which browsers take with Secure alone; Partitioned keeps it to
        # frames in that one site, and is not refused with the cookies that follow people around.
        is_framed = secure and self.may_be_framed
        jar = SimpleCookie({self.cookie_name: value})
        morsel = jar[self.cookie_name]
        morsel["max-age"] = str(max_age_s)
        morsel["httponly"] = True
        morsel["samesite"] = "None" if is_framed else "Lax"
        if secure:
            morsel["secure"] = True
        partition = "; Partitioned" if is_framed else ""  # in http.cookies from Python 3.14 on
        response.headers.add("Set-Cookie", morsel.OutputString() + partition)


def confirm_page(login_page: bytes, link: str) -> bytes:
    """Return the page that asks whether to open a link.

    Chats and mail programs visit the links in them to show what is there. A link that works once
    must not be used up by that: it is used by a browser that a person leads here, or by the form.

    Args:
        login_page: The page with the login form.
        link: Text of a link that was found, so made of characters that need no escaping.
    """
    field = f'<input type="hidden" name="link" value="{link}" />'.encode()
    page = _FINE.sub(b"", _FIELDS.sub(field, login_page, count=1))
    return _INVITATION.sub(b"<h1>A terminal is shared with you</h1>", page, count=1)


def over_page(login_page: bytes, over: Over) -> bytes:
    """Return the page that tells a guest what has happened.

    Args:
        login_page: The page with the login form, which a guest cannot fill in.
        over: What has ended the guest's link or session.
    """
    what = f"<h1>{over.value.rstrip('.')}</h1><p>{ASK}</p>".encode()
    page = _FORM.sub(b"", _FINE.sub(b"", login_page), count=1)
    return _INVITATION.sub(what, page, count=1)


async def read_form(request: web.Request, within_s: float, meter: Meter) -> Form:
    """Read the login form.

    Args:
        request: The request.
        within_s: Time for a body to arrive, in seconds; at most FORM_TIMEOUT_S counts.
        meter: Counts.

    Raises:
        web.HTTPRequestEntityTooLarge: The body is larger than MAX_LOGIN_BYTES.
        web.HTTPRequestTimeout: It does not arrive in time.
    """
    within_s = min(within_s, FORM_TIMEOUT_S)
    body = await read_body(request, MAX_LOGIN_BYTES, within_s, meter)
    if request.content_type != "application/x-www-form-urlencoded":
        return Form()
    text = body.decode("utf-8", "surrogateescape")
    tokens = tuple(token.strip() for token in tokens_of(text, ("token",)))
    return Form(tokens, tokens_of(text, LINK_NAMES))


def wants_json(request: web.Request) -> bool:
    """Tell whether a program asks, and not a browser."""
    return "application/json" in request.headers.get("Accept", "").lower()
