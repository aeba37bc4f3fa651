"""Log lines: one line each, bounded, without secrets and control characters."""

import io
import logging
from collections.abc import Iterator

import pytest

from ttybridge import logs

TOKEN = "R7xk2-Qm9fLw0_ab-and-more"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    text = io.StringIO()
    root, ours = logging.getLogger(), logging.getLogger("ttybridge")
    before = root.level, ours.level
    logs.configure(verbosity=2, stream=text)
    yield text
    assert logs._handler is not None
    root.removeHandler(logs._handler)
    root.setLevel(before[0])
    ours.setLevel(before[1])
    logs.redactor._secrets.clear()


def log() -> logging.Logger:
    return logging.getLogger("ttybridge.test")


def test_a_line_has_time_level_place_and_text(stream: io.StringIO) -> None:
    log().info("client %s joined", "c7")
    line = stream.getvalue()
    assert line.endswith(" info ttybridge.test: client c7 joined\n")
    assert line.count("\n") == 1


def test_the_token_never_shows_wherever_it_stands(stream: io.StringIO) -> None:
    logs.hide(TOKEN)
    log().info("plain %s", TOKEN)
    log().info("in the message " + TOKEN)
    log().info("%(a)s", {"a": [TOKEN]})
    log().info("bytes %r", TOKEN.encode())
    log().warning("with a stack", stack_info=True)
    try:
        value = [TOKEN]
        raise ValueError(value)
    except ValueError:
        log().exception("failed for %s", TOKEN)
    try:
        raise RuntimeError(TOKEN) from KeyError(TOKEN)
    except RuntimeError as error:
        log().error("failed", exc_info=error)
    logging.getLogger("aiohttp").error("other package %s", TOKEN)
    text = stream.getvalue()
    assert text.count(logs.HIDDEN) >= 8
    assert "ValueError" in text
    assert "Traceback" in text
    assert TOKEN not in text


@pytest.mark.parametrize(
    "text",
    [
        "GET /?token={0} HTTP/1.1",
        "GET /colab/tty?colab-runtime-proxy-token={0}",
        "GET /tty/?EIO=4&sid={0}&transport=polling",
        "GET /?x=1&token%3D{0}",
        "Cookie: a=b; ttybridge-8080={0}; c=d",
        "{{'Cookie': 'ttybridge-8080={0}'}}",
        "Set-Cookie: ttybridge-8080={0}; HttpOnly",
        "set ttybridge-8080={0}",
        "Authorization: Bearer {0}",
        "('Authorization', 'Bearer {0}')",
        "{{'Authorization': 'Basic {0}'}}",
        "X-Colab-Runtime-Proxy-Token: {0}",
        "{{'X-Colab-Runtime-Proxy-Token': '{0}'}}",
        '{{"resume": {{"id": "c7", "key": "{0}"}}}}',
        "TTYBRIDGE_TOKEN={0}",
        "HF_TOKEN: {0}",
        "password={0}",
        "api_key = {0}",
        "postgres://me:{0}@db/x",
    ],
)
def test_what_looks_like_a_secret_is_taken_out(stream: io.StringIO, text: str) -> None:
    log().warning(text.format("Zq81xUnknown77"))
    assert "Zq81xUnknown77" not in stream.getvalue()
    assert logs.HIDDEN in stream.getvalue()


def test_ordinary_lines_stay_readable(stream: io.StringIO) -> None:
    for text in (
        "client c7 joined from 127.0.0.1 as owner",
        "listening on http://127.0.0.1:8080/",
        "the token was wrong, 401 for 10.0.0.1",
        "keyboard=us monkey=1 outside=2",
    ):
        log().info(text)
        assert text in stream.getvalue()
    assert logs.HIDDEN not in stream.getvalue()


def test_control_characters_cannot_forge_lines_or_move_the_cursor(stream: io.StringIO) -> None:
    log().warning("path %s", "/a\n12:00:00 info ttybridge: all well\r\x1b[2J\x9b1m\u2028x")
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert not any(c in line for c in "\r\x1b\x9b\u2028")
    assert r"\n12:00:00" in line


def test_a_long_line_is_cut(stream: io.StringIO) -> None:
    log().warning("x" * 1_000_000)
    log().warning("\x00" * 1_000_000)
    for line in stream.getvalue().splitlines():
        assert len(line) <= logs.MAX_LINE


def test_a_secret_at_the_cut_does_not_show_in_part(stream: io.StringIO) -> None:
    logs.hide(TOKEN)
    log().warning("%s", "x" * (logs.MAX_LINE - 50) + TOKEN)
    assert TOKEN[:6] not in stream.getvalue()


def test_tracebacks_are_for_those_who_ask(stream: io.StringIO) -> None:
    for verbosity, wanted in ((0, False), (2, True)):
        text = io.StringIO()
        logs.configure(verbosity=verbosity, stream=text)
        try:
            raise ValueError("the reason")
        except ValueError:
            log().exception("failed")
        assert ("Traceback" in text.getvalue()) is wanted
        assert "failed" in text.getvalue()
        assert "ValueError: the reason" in text.getvalue()


@pytest.mark.parametrize(
    ("verbosity", "quiet", "shown"),
    [
        (0, False, ["warning", "error"]),
        (1, False, ["info", "warning", "error"]),
        (2, False, ["debug", "info", "warning", "error"]),
        (2, True, ["error"]),
    ],
)
def test_the_level_follows_the_options(
    stream: io.StringIO, verbosity: int, quiet: bool, shown: list[str]
) -> None:
    text = io.StringIO()
    logs.configure(verbosity=verbosity, quiet=quiet, stream=text)
    for level in ("debug", "info", "warning", "error"):
        getattr(log(), level)("said %s", level)
    assert [line.split()[1] for line in text.getvalue().splitlines()] == shown
    assert stream.getvalue() == ""


def test_other_packages_never_log_their_messages(stream: io.StringIO) -> None:
    logging.getLogger("engineio.server").info("received packet with what was typed")
    logging.getLogger("asyncio").debug("detail")
    assert stream.getvalue() == ""


def test_arguments_that_do_not_fit_are_not_an_exception(stream: io.StringIO) -> None:
    log().warning("%d clients", "many")
    assert "arguments do not fit" in stream.getvalue()
