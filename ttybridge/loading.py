"""Imports what stands in front of the session, in a thread, while the session comes up.

That is aiohttp, Socket.IO and all that uses them: two thirds of the time that the command takes to
its first prompt.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from ttybridge.config import Config
from ttybridge.config_reach import OWN_TUNNELS

if TYPE_CHECKING:
    from ttybridge.front import Front

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that tell OpenSSL where the certificates of authorities are
(SSL_CTX_set_default_verify_paths(3))."""


@contextlib.asynccontextmanager
async def load_front(config: Config) -> AsyncIterator["asyncio.Task[type[Front]]"]:
    """Begin to import it; the task has it. On leaving, the import has ended in any case.

    Args:
        config: The options.
    """
    task = asyncio.create_task(_load(config))
    try:
        yield task
    finally:
        await asyncio.wait([task])


async def _load(config: Config) -> "type[Front]":
    # What a tunnel of another package does with aiohttp is not known.
    is_ours = config.tunnel_name in OWN_TUNNELS
    with no_certificates() if is_ours else contextlib.nullcontext():
        return await asyncio.to_thread(_import)


def _import() -> "type[Front]":
    from ttybridge.front import Front

    return Front


@contextlib.contextmanager
def no_certificates() -> Iterator[None]:
    """Have OpenSSL find no certificates meanwhile.

    aiohttp reads all of the machine's for its client, when it is imported: 144 of them take 50 ms
    and a megabyte. The bridge's own requests go to this machine, or bring their own context.
    Without certificates an https server is refused, never trusted.
    """
    before = {name: os.environ.get(name) for name in CERTIFICATES}
    os.environ.update(dict.fromkeys(CERTIFICATES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
