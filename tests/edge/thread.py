"""The edge in a thread, for tests whose own thread waits for a browser or a program."""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.conftest import DEADLINE_S
from tests.edge.edge import NgrokEdge

T = TypeVar("T")


class EdgeThread:
    """An edge with a loop of its own: `with EdgeThread() as edge:`.

    Attributes:
        edge: The edge; its attributes may be read from here.
    """

    def __init__(self, **options: Any) -> None:
        """Prepare it; the options are those of `NgrokEdge`."""
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.edge = self.wait(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait(self.edge.__aexit__(kind, error, trace))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(DEADLINE_S)
            self._loop.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the edge's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def restart(self, *, new_addresses: bool = False) -> None:
        """Do what `NgrokEdge.restart` does."""
        self.wait(self.edge.restart(new_addresses=new_addresses))

    async def _start(self) -> NgrokEdge:
        return await NgrokEdge(**self._options).__aenter__()
