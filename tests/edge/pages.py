"""The pages that the edge answers with by itself: the warning for browsers, and errors."""

from http import HTTPStatus

from tests.edge.http1 import Head

WARNING_COOKIE = "abuse_interstitial"
"""The cookie by which a browser that has seen the warning is known; its value is the host."""

_WARNING = """<!doctype html>
<title>Warning</title>
<link rel="icon" href="data:,">
<p>{host} is served by somebody else's machine.</p>
<button id="visit">Visit Site</button>
<script>
document.querySelector("#visit").addEventListener("click", () => {{
  document.cookie = `{cookie}=${{location.hostname}}; path=/; max-age=604800; secure`;
  location.reload();
}});
</script>
"""


def wants_warning(head: Head) -> bool:
    """Tell whether a request gets the warning instead of an answer.

    Browsers get it that ask for a page: not scripts, styles, fetches or WebSockets.
    """
    is_page = head.words[0] == "GET" and "text/html" in head.get("accept")
    is_browser = "Mozilla" in head.get("user-agent")
    is_known = f"{WARNING_COOKIE}=" in head.get("cookie")
    return is_page and is_browser and not is_known and not head.get("ngrok-skip-browser-warning")


def warning_page(host: str) -> bytes:
    """Return the answer with the warning; its button sets the cookie and loads again."""
    return _page(200, "ERR_NGROK_6024", _WARNING.format(host=host, cookie=WARNING_COOKIE))


def error_page(status: int, code: str, text: str) -> bytes:
    """Return an answer that says what is wrong, with the code in a header."""
    return _page(status, code, f"<!doctype html>\n<title>{code}</title>\n<p>{text}</p>\n")


def _page(status: int, code: str, text: str) -> bytes:
    body = text.encode()
    fields = (
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Ngrok-Error-Code", code),
        ("Connection", "close"),
    )
    return Head(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", fields).pack() + body
