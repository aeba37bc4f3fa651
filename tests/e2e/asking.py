"""Asks a bridge by HTTP, as a script does."""

import urllib.error
import urllib.request

from tests.conftest import DEADLINE_S


def ask(url: str, token: str, *, accept: str = "") -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of an answer."""
    headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": accept}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()
