"""HTTP with JSON on a bridge's control socket; what goes wrong becomes a sentence."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ttybridge.errors import TtyBridgeError

MAX_ANSWER = 4 << 20
"""Bytes of an answer that are read; ours have some hundred, a list of variables some thousand."""


class Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket.

    Attributes:
        stream: The socket itself.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path, self._timeout_s = path, timeout_s
        # Not one of the names in the class above: it forgets `sock` when the answer has begun.
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def connect(self) -> None:
        """Connect."""
        self.stream.settimeout(self._timeout_s)
        self.stream.connect(str(self._path))
        self.sock = self.stream

    def close(self) -> None:
        """End the connection."""
        super().close()
        self.stream.close()


def send(
    connection: Connection, method: str, path: str, body: Mapping[str, object] | None
) -> http.client.HTTPResponse:
    """Send a request and return the answer, whose body is not read yet.

    Raises:
        TtyBridgeError: The bridge is gone, or refuses.
    """
    # Invalid UTF-8 in variables is lone surrogates here, which only escapes can carry.
    data = None if body is None else json.dumps(body, ensure_ascii=True).encode()
    headers = {"Content-Type": "application/json"} if data is not None else {}
    with failures_in_words():
        connection.request(method, path, data, headers)
        response = connection.getresponse()
    if response.status == 404:
        response.close()
        message = "The bridge that runs does not know this: it is of another version."
        raise TtyBridgeError(message, hint="Stop it and start it again, with this version.")
    if response.status >= 300:
        with response:
            raise error_of(parse(read(response)))
    return response


def read(response: http.client.HTTPResponse) -> bytes:
    """Return the body, or its beginning when it is longer than it may be."""
    with failures_in_words():
        return response.read(MAX_ANSWER)


@contextlib.contextmanager
def failures_in_words() -> Iterator[None]:
    """Turn failures of the connection into sentences."""
    try:
        yield
    except TimeoutError:
        message = "The bridge does not answer in time."
        raise TtyBridgeError(message, hint="The machine may be busy: try again.") from None
    except (OSError, ValueError, http.client.HTTPException):  # ValueError: closed meanwhile
        raise gone() from None


def parse(data: bytes) -> Any:
    """Return an object of JSON.

    Raises:
        TtyBridgeError: It is something else.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise strange() from None
    if not isinstance(found, dict):
        raise strange()
    return found


def error_of(message: Mapping[str, object]) -> TtyBridgeError:
    """Return the error that a bridge's answer tells of."""
    text = str(message.get("error") or "The bridge refuses that.")
    return TtyBridgeError(text, hint=str(message.get("hint") or ""))


def gone() -> TtyBridgeError:
    """Return the error of a bridge that is not there."""
    return TtyBridgeError("The bridge does not answer: it has stopped.", hint="Start it again.")


def strange() -> TtyBridgeError:
    """Return the error of an answer that no bridge gives."""
    message = "The bridge answers in a way that is not understood."
    return TtyBridgeError(message, hint="Stop it and start it again, with this version.")
