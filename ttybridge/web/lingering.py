"""A WebSocket that is closed only when its client has closed its end, as HTTP servers linger."""

import asyncio
from typing import Any

from aiohttp import WSMessage, WSMsgType, web

_CLOSED = WSMessage(WSMsgType.CLOSED, None, None)


class LingeringWebSocket(web.WebSocketResponse[Any]):
    """Reads on, for nobody, until the client's goodbye or the `timeout` that it was made with.

    aiohttp 3.14 does so only while nobody is in `receive`; else it closes the socket behind its own
    goodbye. What the client says then is answered with RST, and what was still on its way to it
    is lost: up to 110 KB of the last output, where the client acknowledges as it reads.
    """

    _reading: "asyncio.Task[Any] | None" = None
    _over: asyncio.Event | None = None

    async def receive(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109  # aiohttp's
        """Return the next message; `WSMsgType.CLOSED` when `close` has come to its end."""
        if self._over is None:
            self._reading = reading = asyncio.current_task()
            try:
                return await super().receive(timeout)
            except asyncio.CancelledError:
                # `close` takes its reader away, and undoes that here: the task goes on.
                if self._over is None or reading is None or reading.uncancel() > 0:
                    raise
            finally:
                self._reading = None
        await self._over.wait()
        return _CLOSED

    async def close(self, **goodbye: Any) -> bool:
        """Say goodbye, and wait for the client's; see aiohttp's method."""
        if self.closed or self._reading is asyncio.current_task():
            return await super().close(**goodbye)
        self._over = asyncio.Event()
        if self._reading is not None:
            self._reading.cancel()
        try:
            return await super().close(**goodbye)
        finally:
            self._over.set()
