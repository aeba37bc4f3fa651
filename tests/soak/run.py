"""A soak: clients of all kinds do what a seed says, and what must hold is checked."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.e2e.hostile import Watched
from tests.e2e.ssh import run as run_ssh
from tests.soak.bridges import Soaked
from tests.soak.browser import BrowserCheck
from tests.soak.checks import Keys, Lines, Violation
from tests.soak.clients import LOST, PageCheck, PollCheck
from tests.soak.health import Footprint, Probe
from tests.soak.schedule import Step, steps
from tests.soak.slots import Slot
from ttybridge.errors import TtyBridgeError

CHECK_S = 0.5
"""Time between two looks at everything, in seconds."""

SAMPLE_S = 2.0
"""Time between two samples of memory, in seconds."""

ARRIVES_S = 10.0
"""Longest time that a key of the undisturbed client takes, in seconds."""

GIVEN_BACK_S = 150.0
"""Time for everything to be given back when all have left: idle connections take 75 s, clients that
polled 40 s, places 60 s."""

TUNNEL_BACK_S = 90.0
"""Longest time that the tunnel is away after its agent was killed, in seconds."""

LONG_S = 20.0
"""Length of a run from which on it is waited for all to be given back, in seconds."""

TMUX_KINDS = (
    ("reference", "owner"),
    ("page", "owner"),
    ("page", "editor"),
    ("page", "viewer"),
    ("polling", "owner"),
    ("polling", "viewer"),
    ("library", "owner"),
    ("library polling", "owner"),
    ("colab", "owner"),
    ("ssh", "owner"),
)
DIRECT_KINDS = (
    ("reference", "owner"),
    ("page", "owner"),
    ("page", "owner"),
    ("polling", "owner"),
    ("library", "owner"),
    ("library polling", "owner"),
    ("colab", "owner"),
    ("ssh", "owner"),
)


class Soak:
    """One run.

    Attributes:
        slots: All clients.
        actions: How often each action was done.
        step: The last step that was begun.
    """

    def __init__(self, folder: Path, seed: int, *, with_browser: bool) -> None:
        self.seed = seed
        self.soaked = [
            Soaked(folder, is_tmux=True, rate=20),
            Soaked(folder, is_tmux=False, rate=200),
        ]
        self.actions: Counter[str] = Counter()
        self.step: Step | None = None
        self.footprints = [Footprint(each.name, each.watched) for each in self.soaked]
        tmux = self.soaked[0].tmux
        assert tmux is not None
        server = int(tmux("display-message", "-p", "#{pid}"))
        self.server = Footprint("tmux server", Watched(server))
        self.keys = [Keys(len(TMUX_KINDS)), Keys(len(DIRECT_KINDS) + 1)]
        self.slots: list[Slot] = []
        for soaked, keys, kinds in zip(
            self.soaked, self.keys, (TMUX_KINDS, DIRECT_KINDS), strict=True
        ):
            self.slots += [
                Slot(n, kind, soaked, keys, role=role) for n, (kind, role) in enumerate(kinds)
            ]
        self.references = [slot for slot in self.slots if slot.kind == "reference"]
        self.disturbed = [slot for slot in self.slots if slot.kind != "reference"]
        self.browser: Slot | None = None
        if with_browser:
            self.browser = Slot(len(DIRECT_KINDS), "browser", self.soaked[1], self.keys[1])
            self.disturbed.append(self.browser)
        self.probe = Probe({each.running.port: each.running.pid for each in self.soaked})
        self.slowest_key_s = 0.0
        self.lines_compared = 0
        self._pending: dict[Slot, tuple[int, float]] = {}
        self._tunnel_lost: float | None = None
        self._spare: list[asyncio.Task[None]] = []
        self._recordings = 0
        self._recording = asyncio.Lock()
        self._do: dict[str, Callable[[Slot, float], Awaitable[None]]] = {
            "type": self._type,
            "resize": self._resize,
            "cut": self._cut,
            "hold": self._hold,
            "slow": self._slow,
            "stall": self._stall,
            "leave": self._leave,
            "flood": self._flood,
            "window": self._window,
            "role": self._role,
            "kick": self._kick,
            "visit": self._visit,
            "garbage": self._garbage,
            "kill-client": self._kill_client,
            "login": self._login,
            "record": self._record,
            "tunnel": self._tunnel,
        }

    async def run(self, seconds: float) -> None:
        """Do everything for so long, then leave.

        Raises:
            Violation: Something did not hold.
        """
        tasks = [asyncio.create_task(slot.run(), name=slot.name) for slot in self.slots]
        if self.browser is not None and self.browser.cable is not None:
            link = f"{self.browser.cable.link(self.soaked[1].running.address)}?token="
            self.browser.browser = BrowserCheck(link + self.soaked[1].running.token)
            self.browser.browser.start()
        tasks.append(asyncio.create_task(self._watch(), name="checks"))
        acting = asyncio.create_task(self._act(seconds), name="actions")
        try:
            while not acting.done():
                done, _ = await asyncio.wait(
                    [acting, *tasks, *self._spare], return_when=asyncio.FIRST_COMPLETED, timeout=1
                )
                for task in done:
                    task.result()
                self._spare = [task for task in self._spare if not task.done()]
            await self._settle()
        finally:
            for task in (acting, *tasks, *self._spare):
                task.cancel()
            await asyncio.gather(acting, *tasks, *self._spare, return_exceptions=True)
            if self.browser is not None and self.browser.browser is not None:
                await asyncio.to_thread(self.browser.browser.stop)
            for slot in self.slots:
                if slot.cable is not None:
                    await asyncio.to_thread(slot.cable.close)
            if self.browser is not None and self.browser.cable is not None:
                await asyncio.to_thread(self.browser.cable.close)
        self._look_at_keys()
        if seconds >= LONG_S:
            await self._until_given_back()
        for each in (*self.footprints, self.server):
            each.check()

    async def _act(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for step in steps(self.seed):
            if step.at_s > seconds:
                return
            await asyncio.sleep(began + step.at_s - loop.time())
            self.step = step
            slot = self.disturbed[step.who % len(self.disturbed)]
            self.actions[step.action] += 1
            task = asyncio.create_task(
                self._one(step, slot), name=f"step {step.number}: {step.action}"
            )
            self._spare.append(task)

    async def _one(self, step: Step, slot: Slot) -> None:
        try:
            await self._do[step.action](slot, step.amount)
        except Violation as error:
            raise Violation(f"step {step.number} ({step.action}, {slot.name}): {error}") from error

    # --- actions ---------------------------------------------------------------------------

    async def _type(self, slot: Slot, amount: float) -> None:
        await slot.type(1 + int(amount * 20))

    async def _resize(self, slot: Slot, amount: float) -> None:
        await slot.resize(60 + int(amount * 100), 12 + int(amount * 977) % 40)

    async def _cut(self, slot: Slot, amount: float) -> None:
        if slot.cable is not None:
            slot.counts["cuts"] += 1
            if amount < 0.5:
                await asyncio.to_thread(slot.cable.cut_after, int(amount * 60_000))
            else:
                await asyncio.to_thread(slot.cable.cut)

    async def _hold(self, slot: Slot, amount: float) -> None:
        if slot.cable is None or slot.cable.is_held:
            return
        await asyncio.to_thread(slot.cable.hold)
        await asyncio.sleep(0.5 + 8 * amount)
        slot.counts["cuts"] += 1
        # Half of them end with the line.
        if amount < 0.5:
            await asyncio.to_thread(slot.cable.cut)
        await asyncio.to_thread(slot.cable.mend)

    async def _slow(self, slot: Slot, amount: float) -> None:
        if slot.cable is not None:
            slot.cable.slow(0.4 * amount)
            await asyncio.sleep(5)
            slot.cable.slow(0)

    async def _stall(self, slot: Slot, amount: float) -> None:
        await slot.stall(0.5 + 6 * amount)

    async def _leave(self, slot: Slot, amount: float) -> None:
        await slot.leave(0.2 + 3 * amount)

    async def _flood(self, slot: Slot, amount: float) -> None:
        slot.soaked.flood(2000 + int(30_000 * amount))

    async def _window(self, _: Slot, amount: float) -> None:
        tmux = self.soaked[0].tmux
        assert tmux is not None
        if amount < 0.4:
            words: tuple[str, ...] = ("new-window", "-d", "-t", "=0:", f"sleep {10 * amount:.1f}")
        elif amount < 0.7:
            words = ("split-window", "-d", "-t", "=0:0", f"sleep {3 * amount:.1f}")
        elif amount < 0.9:
            words = ("kill-window", "-t", "=0:{end}") if await self._windows() > 1 else ("refresh",)
        else:
            words = ("rename-window", "-t", "=0:0", f"name-{amount:.3f}")
        await asyncio.to_thread(tmux, *words, check=False)

    async def _windows(self) -> int:
        tmux = self.soaked[0].tmux
        assert tmux is not None
        return len(
            (await asyncio.to_thread(tmux, "list-windows", "-t", "=0", check=False)).split("\n")
        )

    def _guests(self) -> list[Slot]:
        return [
            slot
            for slot in self.slots
            if slot.role != "owner"
            and slot.is_here
            and isinstance(slot.client, (PageCheck, PollCheck))
        ]

    async def _role(self, _: Slot, amount: float) -> None:
        guests = self._guests()
        if not guests:
            return
        slot = guests[int(amount * 100) % len(guests)]
        role = "viewer" if slot.client.role == "editor" else "editor"
        with contextlib.suppress(TtyBridgeError):  # it may have gone meanwhile
            await asyncio.to_thread(slot.soaked.control.grant, slot.client.joined["id"], role)

    async def _kick(self, _: Slot, amount: float) -> None:
        guests = self._guests()
        if not guests:
            return
        slot = guests[int(amount * 100) % len(guests)]
        with contextlib.suppress(TtyBridgeError):  # it may have gone meanwhile
            await asyncio.to_thread(slot.soaked.control.kick, slot.client.joined["id"])

    async def _visit(self, slot: Slot, amount: float) -> None:
        kind = PageCheck if amount < 0.5 else PollCheck
        try:
            visitor = await kind.join(slot.soaked.running)
        except LOST as error:
            raise Violation(f"a visitor was not let in: {error!r}") from error
        visitor.compare(Lines() if slot.soaked.tmux is None else None)
        try:
            async with asyncio.timeout(20):
                while not visitor.received:
                    await asyncio.sleep(0.05)
                await visitor.leave()
        except TimeoutError as error:
            raise Violation("a visitor is shown nothing") from error
        finally:
            with contextlib.suppress(AssertionError, Violation):
                await visitor.close()
        if (fault := visitor.fault()) is not None:
            raise Violation(f"a visitor: {fault}")

    async def _garbage(self, slot: Slot, amount: float) -> None:
        source = random.Random(amount)
        heads = (
            b"",
            b"GET /tty/?EIO=4&transport=websocket HTTP/1.1\r\n",
            b"POST /login HTTP/1.1\r\n",
        )
        data = source.choice(heads) + source.randbytes(200)
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", slot.soaked.running.port)
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0.2)
            writer.transport.abort()

    async def _kill_client(self, _: Slot, amount: float) -> None:
        found = []
        for pid in self.soaked[0].watched.children:
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"attach-session" in line and b"tmux" in line:
                    found.append(pid)
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found[int(amount * 1000) % len(found)], signal.SIGKILL)

    async def _login(self, slot: Slot, amount: float) -> None:
        mark = f"in-{amount:.6f}"
        words = slot.soaked.ssh.command(slot.soaked.running, "bridge", f"echo {mark}")
        done = await asyncio.to_thread(run_ssh, words, deadline_s=30)
        if done.stdout != f"{mark}\n".encode():
            raise Violation(f"an ssh login: {done.returncode}, {done.stdout!r}, {done.stderr!r}")

    async def _record(self, slot: Slot, _: float) -> None:
        async with self._recording:
            self._recordings += 1
            folder, number = slot.soaked.folder, self._recordings
            with contextlib.suppress(TtyBridgeError):  # none is made: it had reached its limit
                await asyncio.to_thread(slot.soaked.control.stop_recording)
            for old in folder.glob("*.cast"):
                old.unlink()
            await asyncio.to_thread(slot.soaked.control.record, folder / f"{number}.cast")

    async def _tunnel(self, _: Slot, __: float) -> None:
        ngrok = self.soaked[0].ngrok
        if ngrok is not None and self._tunnel_lost is None:
            for pid in ngrok.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._tunnel_lost = time.monotonic()

    # --- checks ----------------------------------------------------------------------------

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        sampled = 0.0
        while True:
            await asyncio.sleep(CHECK_S)
            self._look_at_keys()
            for soaked in self.soaked:
                soaked.check()
            self.probe.check()
            browser = self.browser.browser if self.browser is not None else None
            if browser is not None and browser.fault:
                raise Violation(browser.fault)
            if loop.time() - sampled > SAMPLE_S:
                sampled = loop.time()
                for each in (*self.footprints, self.server):
                    each.sample()
                await self._look_at_tunnel()
            for slot in self.references:
                await self._look_at_reference(slot)

    def _look_at_keys(self) -> None:
        for soaked, keys in zip(self.soaked, self.keys, strict=True):
            keys.feed(soaked.typed())

    async def _look_at_reference(self, slot: Slot) -> None:
        pending = self._pending.get(slot)
        now = time.monotonic()
        if pending is None:
            if slot.is_here:
                await slot.type(1)
                self._pending[slot] = (slot.typed, now)
            return
        number, since = pending
        if slot.keys.is_settled(slot.number, number):
            del self._pending[slot]
            return
        self.slowest_key_s = max(self.slowest_key_s, now - since)
        if now - since > ARRIVES_S:
            raise Violation(f"{slot.name}: a key has not arrived for {now - since:.1f} s")

    async def _look_at_tunnel(self) -> None:
        if self._tunnel_lost is None:
            return
        status = await asyncio.to_thread(self.soaked[0].control.status)
        lost_for = time.monotonic() - self._tunnel_lost
        if status.tunnel is not None and status.tunnel.state == "open" and lost_for > 20:
            self._tunnel_lost = None
        elif lost_for > TUNNEL_BACK_S:
            raise Violation(f"the tunnel is not back after {lost_for:.0f} s")

    async def _settle(self) -> None:
        """Wait until every key that cannot be lost has arrived."""
        for slot in self.disturbed:
            if slot.cable is not None:
                await asyncio.to_thread(slot.cable.mend)
        until = time.monotonic() + 60
        strict = [s for s in self.disturbed if s.keys.strict[s.number]]
        while True:
            await asyncio.sleep(0.5)
            pages = [s for s in strict if isinstance(s.client, (PageCheck, PollCheck))]
            behind = [s for s in pages if s.keys.last[s.number] < s.typed]
            if not behind and all(s.is_here for s in self.slots):
                return
            if time.monotonic() > until:
                told = [(s.name, s.keys.last[s.number], s.typed, s.is_here) for s in self.slots]
                raise Violation(f"keys have not arrived, or clients are not back: {told}")

    async def _until_given_back(self) -> None:
        until = time.monotonic() + GIVEN_BACK_S
        while not all(each.is_back() for each in self.footprints):
            await asyncio.sleep(0.5)
            if time.monotonic() > until:
                told = [(each.name, each.start, each.now) for each in self.footprints]
                held = [each.watched.descriptors for each in self.soaked]
                raise Violation(f"not all is given back (start, now): {told}; {held}")
