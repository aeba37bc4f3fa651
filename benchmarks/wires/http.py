"""HTTP requests one after the other on a connection that is kept, as a browser makes them."""

import socket
import zlib

from benchmarks.wires.line import Line, Target, connect


class Answer:
    r"""An answer, put together from what comes.

    >>> answer = Answer()
    >>> answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab")
    >>> answer.feed(b"\r\n1\r\nc\r\n0\r\n\r\n")
    b'abc'

    Attributes:
        status: Of the answer; 0 before its head is there.
        keeps: Whether the connection stays.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.status = 0
        self.keeps = True
        self._data = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """Take in bytes; returns the body when it is whole."""
        self._data += data
        if not self.status and not self._head():
            return None
        if self._headers.get(b"transfer-encoding") == b"chunked":
            if not self._chunks():
                return None
            body = bytes(self._body)
        else:
            if len(self._data) < int(self._headers.get(b"content-length", b"0")):
                return None
            body = bytes(self._data)
        if self._headers.get(b"content-encoding") in (b"gzip", b"deflate"):
            body = zlib.decompress(body, wbits=zlib.MAX_WBITS | 32)
        return body

    def header(self, name: str) -> str | None:
        """Return a header in small letters; None where there is none."""
        value = self._headers.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")

    def _head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = bytes(self._data[:end]).split(b"\r\n")
        del self._data[: end + 4]
        self.status = int(first.split()[1])
        for line in lines:
            name, _, value = line.partition(b":")
            self._headers[name.lower()] = value.strip().lower()
        self.keeps = self._headers.get(b"connection") != b"close"
        return True

    def _chunks(self) -> bool:
        while (end := self._data.find(b"\r\n")) >= 0:
            size = int(self._data[:end].split(b";")[0], 16)
            if len(self._data) < end + 4 + size:
                return False
            self._body += self._data[end + 2 : end + 2 + size]
            del self._data[: end + 4 + size]
            if size == 0:
                return True
        return False


class HttpLine:
    """A connection for requests, opened anew where the server has closed it in the meantime.

    Attributes:
        is_busy: Whether an answer is being waited for.
        line: The connection.
        received: Bytes that came, on all connections so far.
    """

    def __init__(self, target: Target) -> None:
        """Connect; raises OSError."""
        self._target = target
        self.is_busy = False
        self.line = Line(connect(target))
        self._answer = Answer()
        self._before = 0

    @property
    def received(self) -> int:
        """Bytes that came, on all connections so far."""
        return self._before + self.line.received

    def ask(self, method: str, path: str, body: bytes | None = None) -> None:
        """Send a request, on a new connection where the last one has ended."""
        if not self.is_open():
            self._before += self.line.received
            self.line.close()
            self.line = Line(connect(self._target))
        head = self._target.head(method, path) + "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
        if body is not None:
            head += f"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {len(body)}\r\n"
        self.line.send(f"{head}\r\n".encode() + (body or b""))
        self.is_busy = True
        self._answer = Answer()

    def take(self, most: int) -> bytes | None:
        """Take in what is there; returns the answer's body when it is whole.

        Raises:
            EOFError: The server has closed the connection, or ended the session.
            OSError: It refuses.
        """
        data = self.line.receive(0, most)
        body = self._answer.feed(data) if data else None
        if body is None:
            return None
        self.is_busy = False
        if self._answer.status == 400:
            raise EOFError(body.decode(errors="replace"))
        if self._answer.status != 200:
            raise OSError(f"HTTP {self._answer.status}: {body[:200]!r}")
        if not body:
            raise EOFError
        return body

    def header(self, name: str) -> str | None:
        """Return a header of the last answer."""
        return self._answer.header(name)

    def is_open(self) -> bool:
        """Return whether the next request can be sent on this connection."""
        if not self._answer.keeps:
            return False
        with socket.socket(fileno=self.line.fileno()) as probe:
            try:
                return bool(probe.recv(1, socket.MSG_PEEK))
            except BlockingIOError:
                return True
            except OSError:
                return False
            finally:
                probe.detach()

    def close(self) -> None:
        """Close it."""
        self.line.close()
