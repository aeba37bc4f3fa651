"""The places of a soak's clients: each is taken again and again, through a cable of its own."""

import asyncio
import contextlib
from collections import Counter
from typing import Any

from tests.e2e.cables import Through
from tests.e2e.guests import token_of
from tests.page.network import Cable
from tests.soak.bridges import Soaked
from tests.soak.browser import BrowserCheck, type_into
from tests.soak.checks import Keys, Lines, Violation, spell
from tests.soak.clients import LOST, ColabCheck, LibraryCheck, PageCheck, PollCheck, SshCheck

AGAIN_S = 0.25
"""Pause before a client comes back, in seconds."""

LOST_FOR_S = 120.0
"""Longest time in which a client may fail to come back, in seconds."""


class Slot:
    """A client that is there, or is to be.

    Attributes:
        number: Its alphabet.
        name: What it is called in the table.
        typed: The last number that it has typed.
        counts: What has happened.
    """

    def __init__(
        self, number: int, kind: str, soaked: Soaked, keys: Keys, *, role: str = "owner"
    ) -> None:
        self.number, self.kind, self.soaked, self.role = number, kind, soaked, role
        self.name = f"{soaked.name} {kind}" + (f" ({role})" if role != "owner" else "")
        self.keys = keys
        self.typed = 0
        self.counts: Counter[str] = Counter()
        self.client: Any = None
        self.browser: BrowserCheck | None = None
        self.is_wanted = asyncio.Event()
        self.is_wanted.set()
        self._leaves = asyncio.Event()
        self._lost: PageCheck | None = None
        self._token = soaked.running.token
        self._has_token = role == "owner"
        port = soaked.running.port
        if kind == "ssh":
            status = soaked.control.status().ssh
            assert status is not None
            port = status.port
        self.cable: Cable | None = None if kind == "reference" else Cable(port)
        keys.strict[number] = role == "owner" and kind != "browser"

    @property
    def is_here(self) -> bool:
        """Whether it is connected."""
        return self.client is not None and not self.client.closed.is_set()

    async def run(self) -> None:
        """Be there, and come back, until cancelled.

        Raises:
            Violation: What it was shown was wrong, or it cannot come back.
        """
        loop = asyncio.get_running_loop()
        since = loop.time()
        while True:
            await self.is_wanted.wait()
            self._leaves.clear()
            try:
                client = await self._join()
            except LOST as error:
                self.counts["failed tries"] += 1
                if "401" in str(error) and self.role != "owner":
                    self._has_token = False  # removed while it was away
                    self._lost = None
                if loop.time() - since > LOST_FOR_S:
                    raise Violation(f"{self.name}: cannot come back: {error!r}") from error
                await asyncio.sleep(AGAIN_S)
                continue
            self.client = client
            self.counts["joins"] += 1
            try:
                await self._until_gone(client)
            finally:
                self.client = None
                self.counts["bytes"] += client.received
                try:
                    await asyncio.shield(client.close())
                except (AssertionError, *LOST):
                    pass  # what was wrong with its output is looked at below
            self._check(client)
            since = loop.time()
            await asyncio.sleep(AGAIN_S)

    async def _until_gone(self, client: Any) -> None:
        ends = [asyncio.create_task(each.wait()) for each in (client.closed, self._leaves)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._leaves.is_set() and hasattr(client, "leave"):
                with contextlib.suppress(*LOST):
                    async with asyncio.timeout(5):
                        await client.leave()
        except TimeoutError:
            pass
        finally:
            for end in ends:
                end.cancel()

    def _check(self, client: Any) -> None:
        fault = client.fault()
        if fault is not None:
            told = getattr(client, "joined", {})
            raise Violation(
                f"{self.name}: {fault}; joined {told}, received {client.received}, resets "
                f"{getattr(client, 'resets', [])[-2:]}, counts {dict(self.counts)}"
            )
        is_page = isinstance(client, (PageCheck, PollCheck))
        if is_page and client.exit.get("reason") == "removed":
            self._has_token = False
        if is_page and not client.exit and not self._leaves.is_set():
            self._lost = client
            self.counts["lost"] += 1
        else:
            self._lost = None
            self.keys.excuse(self.number, self.typed)

    async def _join(self) -> Any:
        running = self.soaked.running
        if not self._has_token:
            self._token = await token_of(running, self.role, uses=None)
            self._has_token = True
        address = self.cable.link(running.address) if self.cable else running.address
        far = Through(address, self._token)
        lines = None
        if self.soaked.tmux is None:
            lines = Lines(may_lack=self.kind == "library polling")
        match self.kind:
            case "ssh":
                assert self.cable is not None
                client: Any = SshCheck(
                    self.soaked.ssh.command(running, "-p", str(self.cable.port), "bridge")
                )
                client.compare(lines)
                return client
            case "colab":
                client = ColabCheck()
                client.compare(lines)
                try:
                    await client._open(far, "colab/tty")
                except BaseException:
                    await client.close()
                    raise
                return client
            case "library" | "library polling":
                transport = "polling" if "polling" in self.kind else "websocket"
                client = LibraryCheck(transport)
                client.compare(lines)
                try:
                    await client.open(far)
                except BaseException:
                    await client.close()
                    raise
                return client
            case _:
                return await self._join_page(far, lines)

    async def _join_page(self, far: Through, lines: Lines | None) -> Any:
        kind = PollCheck if self.kind == "polling" else PageCheck
        lost = self._lost
        if lost is not None:
            client = await kind.join(far, resume=lost)
        else:
            client = await kind.join(far)
        if lost is not None and client.joined["resumed"]:
            self.counts["resumed"] += 1
            client.compare(lost.hand_over())
            await client.send_again(lost)
        else:
            if lost is not None:
                self.counts["joined anew"] += 1
            self.keys.excuse(self.number, self.typed)
            client.compare(lines)
        self._lost = None
        return client

    # --- actions ---------------------------------------------------------------------------

    async def type(self, count: int) -> None:
        """Type some numbers."""
        for _ in range(count):
            text = spell(self.number, self.typed + 1)
            if self.browser is not None:
                if not type_into(self, text):
                    return
            elif not self.is_here:
                return
            self.typed += 1
            self.counts["keys"] += 1
            client = self.client
            if self.browser is not None:
                continue
            if isinstance(client, (PageCheck, PollCheck)):
                await client.type(text)
            elif isinstance(client, SshCheck):
                client.type(text)
            else:
                with contextlib.suppress(*LOST):
                    await client.send(data=text)

    async def resize(self, cols: int, rows: int) -> None:
        """Change the window size."""
        client = self.client
        if self.browser is not None:
            self.browser.sizes.put((cols * 9, rows * 18))
        elif client is None:
            return
        elif isinstance(client, (PageCheck, PollCheck)):
            await client.resize(cols, rows)
        elif isinstance(client, SshCheck):
            client.resize(cols, rows)
        else:
            with contextlib.suppress(*LOST):
                await client.send(cols=cols, rows=rows)

    async def stall(self, seconds: float) -> None:
        """Read nothing for a while."""
        client = self.client
        if client is None or not hasattr(client, "stall"):
            return
        client.stall()
        await asyncio.sleep(seconds)
        client.go_on()

    async def leave(self, seconds: float) -> None:
        """Leave, and come again later."""
        if self.browser is not None or not self.is_here:
            return
        if self.cable is not None and self.cable.is_held:
            # What is held would arrive after the next one's keys.
            await asyncio.to_thread(self.cable.cut)
            await asyncio.to_thread(self.cable.mend)
            return
        self.is_wanted.clear()
        self._leaves.set()
        await asyncio.sleep(seconds)
        self.is_wanted.set()
