"""Requests that take their time: they end with the browser's connection or its credential."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

GONE_CHECK_S = 1.0
"""Time between two looks whether the browser is still there, in seconds: aiohttp tells nobody."""


class Underway:
    """The requests of one entrance that are being answered."""

    def __init__(self) -> None:
        """Begin with none."""
        self._owners: dict[asyncio.Task[web.StreamResponse], str] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._owners)

    async def do(
        self,
        request: web.Request,
        principal_id: str,
        work: Coroutine[Any, Any, web.StreamResponse],
    ) -> web.StreamResponse:
        """Do the work as long as the browser is there and the credential holds; then cut it.

        It may raise ConnectionError: then one of both ends has gone.

        Args:
            request: What is answered.
            principal_id: Whose credential came with it.
            work: Answers it.
        """
        task = asyncio.create_task(work)
        self._owners[task] = principal_id
        gone = asyncio.create_task(_until_gone(request))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._owners[task]
            task.cancel()
            gone.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)
        if task.cancelled() or isinstance(task.exception(), ConnectionError):
            return cut(request)
        return task.result()

    async def end_all_of(self, principal_id: str) -> None:
        """End the requests of somebody whose credential has ended."""
        await self._end([task for task, owner in self._owners.items() if owner == principal_id])

    async def end(self) -> None:
        """End all requests."""
        await self._end(list(self._owners))

    async def _end(self, tasks: list[asyncio.Task[web.StreamResponse]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def cut(request: web.Request) -> web.Response:
    """End the connection at once; the answer that is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


async def _until_gone(request: web.Request) -> None:
    # aiohttp tells only the handlers of an application that lets it cancel all of them.
    while (transport := request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(GONE_CHECK_S)
