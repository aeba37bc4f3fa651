"""Reads the body of a request whole: up to a size, and within a time."""

import asyncio

from aiohttp import web

from ttybridge.core.meter import Meter


async def read_body(request: web.Request, most_bytes: int, within_s: float, meter: Meter) -> bytes:
    """Return the body of a request.

    Args:
        request: The request.
        most_bytes: Its largest size, in bytes, announced or not.
        within_s: Time for all of it to arrive, in seconds.
        meter: Counts.

    Raises:
        web.HTTPRequestEntityTooLarge: It is larger.
        web.HTTPRequestTimeout: It does not arrive in time.
        web.HTTPBadRequest: It breaks off, or is malformed.
    """
    body = bytearray()
    with meter.body(asyncio.get_running_loop().time()):
        try:
            async with asyncio.timeout(within_s):
                while chunk := await request.content.readany():
                    body += chunk
                    if len(body) > most_bytes:
                        meter.refuse("size")
                        raise _last(web.HTTPRequestEntityTooLarge(most_bytes, len(body)))
        except (ConnectionError, web.RequestPayloadError):
            # The client is gone, or what it sends is no body: nobody is there to be told.
            raise _last(web.HTTPBadRequest(text="The request is malformed.\n")) from None
        except TimeoutError:
            meter.refuse("body")
            text = "The request did not arrive in time.\n"
            raise _last(web.HTTPRequestTimeout(text=text)) from None
    meter.took(len(body))
    return bytes(body)


def _last(answer: web.HTTPException) -> web.HTTPException:
    """Return an answer after which the connection ends: the rest of the body is not read."""
    answer.force_close()
    return answer
