"""Guests: people who come by a shared link, as programs do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import aiohttp

from tests.conftest import RunningBridge


async def token_of(bridge: RunningBridge, role: str, **options: object) -> str:
    """Open a new link for a role; return what a program sends as its token from then on."""
    return await open_link(bridge, bridge.control.share(role, **options).url)  # type: ignore[arg-type]


async def open_link(bridge: RunningBridge, url: str) -> str:
    """Open a link as a program does; return its token."""
    form = {"link": parse_qs(urlsplit(url).query)["link"][0]}
    headers = {"Accept": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{bridge.address}login", data=form, headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["token"])


@asynccontextmanager
async def guest(
    bridge: RunningBridge, role: str, **options: object
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open an HTTP session for somebody who came by a link for a role."""
    token = bridge.token if role == "token" else await token_of(bridge, role, **options)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        session.headers["X-Test-Token"] = token
        yield session


def own_token(session: aiohttp.ClientSession) -> str:
    """Return the token of a guest's session."""
    return session.headers["X-Test-Token"]
