"""Carries a WebSocket between a browser and an app: every frame, and the goodbye of either side."""

import asyncio
from typing import Any

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web

FRAMES = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG)
"""Kinds of frames that are carried as they are."""

Socket = aiohttp.ClientWebSocketResponse[Any] | web.WebSocketResponse[Any]
Goodbye = tuple[int, bytes]


async def carry_both(browser: Socket, app: Socket) -> bool:
    """Carry frames both ways until one side says goodbye, and pass that on.

    Neither may answer pings or goodbyes by itself (`autoping` and `autoclose` off).

    Returns:
        False when one side was gone without a goodbye; both are left as they are then.
    """
    ups = asyncio.create_task(_carry(browser, app))
    downs = asyncio.create_task(_carry(app, browser))
    try:
        await asyncio.wait({ups, downs}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (ups, downs):
            task.cancel()
        by_browser, by_app = await asyncio.gather(ups, downs, return_exceptions=True)
    if isinstance(by_browser, tuple):
        await _part(browser, app, *by_browser)
    elif isinstance(by_app, tuple):
        await _part(app, browser, *by_app)
    else:
        return False
    return True


async def _part(first: Socket, second: Socket, code: int, reason: bytes) -> None:
    """Tell the second side what the first one said, and the first one what was answered."""
    await second.close(code=code, message=reason)
    answered = second.close_code
    await first.close(code=_sendable(answered) if answered else code, message=reason)


async def _carry(source: Socket, sink: Socket) -> Goodbye | None:
    """Carry frames one way; return the source's goodbye, or None when a side is just gone."""
    try:
        while True:
            message = await source.receive()
            if message.type in FRAMES:
                await sink.send_frame(message.data, message.type)
            elif message.type is WSMsgType.CLOSE:
                return _sendable(message.data), (message.extra or "").encode()
            elif isinstance(message.data, aiohttp.WebSocketError):
                return _sendable(message.data.code), b""
            else:
                return None
    except ConnectionError:
        return None


def _sendable(code: int) -> int:
    """Return a close code that may be sent; the reserved ones stand for having got none."""
    return code if 1000 <= code < 5000 and code not in (1004, 1005, 1006, 1015) else WSCloseCode.OK
