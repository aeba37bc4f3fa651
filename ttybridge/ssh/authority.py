"""What becomes of SSH connections when the people behind them are removed or may do less."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from ttybridge.model import Role
from ttybridge.ssh import lines, single
from ttybridge.ssh.daemon import Daemon
from ttybridge.ssh.lines import Direct, Line, Peer
from ttybridge.ssh.logins import Hello, Logins
from ttybridge.ssh.roster import Roster

log = logging.getLogger(__name__)

FORGOTTEN_ABOVE = 200
"""Connections above which those that are over are forgotten."""

FORWARDS = "You may watch now: this connection, which forwards something, has ended. Log in again."
"""What somebody is told who may only watch, on a connection that forwards ports or sockets."""


class Authority:
    """Knows the connections of each key and guest, and ends them.

    Attributes:
        guests: The connections over the web address, by what their logins call themselves.
        port: The port that sshd listens on.
    """

    def __init__(self, roster: Roster, logins: Logins, daemon: Daemon) -> None:
        """Listen to the daemon and the logins.

        Args:
            roster: Who may log in.
            logins: The logins in the session.
            daemon: The sshd that listens.
        """
        self.guests: dict[str, single.Connection] = {}
        self.port = 0
        self._roster, self._logins, self._daemon = roster, logins, daemon
        self._connected: dict[Peer, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watched: dict[Line, asyncio.Task[bool]] = {}
        daemon.on_login = self._on_login
        logins.on_removed = self._on_removed

    def set_role(self, credential: str, role: Role) -> None:
        """Give a credential another role until the bridge stops.

        Where it allowed to run programs and does no more, what it runs ends: programs are hung
        up, connections without a login in the session end, and one that forwards something, too.
        """
        ran_before = self._roster.set_role(credential, role)
        for who in self._who(credential):
            for line, hello in self._lines(who):
                if ran_before:
                    self._run(self._limit(line, hello))
                elif self._roster.runs(who) and (watching := self._watched.pop(line, None)):
                    watching.cancel()

    def end(self, credential: str) -> None:
        """Accept a credential no more until the bridge stops, and end all its connections."""
        self._roster.end(credential)
        for who in self._who(credential):
            for line, hello in self._lines(who):
                self._let_speak(who, is_told=hello is not None)
                self._run(self._end(line, who, is_told=hello is not None))

    async def close(self) -> None:
        """Give up what is under way: sshd is ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _who(self, credential: str) -> list[str]:
        """Return what the logins with a credential call themselves."""
        key = self._roster.key_of(credential)
        return [*([key] if key else []), *self._roster.guests_of(credential)]

    def _lines(self, who: str) -> list[tuple[Line, Hello | None]]:
        """Return the connections, each with a login in the session where it has one."""
        if who in self.guests:
            hellos = self._logins.of(who)
            return [(self.guests[who].line, hellos[0] if hellos else None)]
        here = {_peer(hello): hello for hello in self._logins.of(who)}
        peers = {*here, *(peer for peer, key in self._connected.items() if key == who)}
        return [(self._direct(peer), here.get(peer)) for peer in peers]

    def _direct(self, peer: Peer) -> Direct:
        return Direct(self._daemon.keeper, self.port, peer)

    def _on_login(self, peer: Peer, key: str) -> None:
        if len(self._connected) >= FORGOTTEN_ABOVE:
            alive = {other for port, other, *_ in lines.sockets() if port == self.port}
            self._connected = {p: k for p, k in self._connected.items() if p in alive}
        self._connected[peer] = key
        # sshd may have read the file of keys before it was changed.
        if not self._roster.accepts(key):
            self._run(self._end(self._direct(peer), key, is_told=False))
        elif self._roster.is_limited(key) and not self._roster.runs(key):
            self._run(self._end_if_it_forwards(self._direct(peer)))

    def _on_removed(self, hello: Hello) -> None:
        """End the connection of a login that has been removed, whatever else goes over it."""
        self._let_speak(hello.who, is_told=True)
        self._run(self._end(self._line_of(hello), hello.who, is_told=True))

    def _let_speak(self, who: str, *, is_told: bool) -> None:
        """Have a guest's connection, whoever ends it, wait for what its logins say at the end."""
        if is_told and (guest := self.guests.get(who)):
            guest.has_last_words = True

    def _line_of(self, hello: Hello) -> Line:
        guest = self.guests.get(hello.who)
        return guest.line if guest is not None else self._direct(_peer(hello))

    async def _end(self, line: Line, who: str, *, is_told: bool) -> None:
        guest = self.guests.get(who)
        if guest is not None:
            await guest.close(hang_up=True)
        else:
            await lines.end(line, is_told=is_told)

    async def _end_if_it_forwards(self, line: Line) -> None:
        if await lines.until_it_forwards(line, is_new=True):
            log.info("an ssh connection ends: it forwards what its key may not by now")
            await lines.end(line, is_told=False)

    async def _limit(self, line: Line, hello: Hello | None) -> None:
        """Leave nothing of a connection but its logins in the session."""
        if hello is None:
            await self._end(line, "", is_told=False)
            return
        lines.hang_up(line)
        if line in self._watched:
            return
        watching = asyncio.create_task(lines.until_it_forwards(line))
        self._watched[line] = watching
        try:
            if await watching:
                self._logins.remove(hello, FORWARDS)
        finally:
            watching.cancel()
            if self._watched.get(line) is watching:
                del self._watched[line]

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _peer(hello: Hello) -> Peer:
    address, port, *_ = (*hello.connection.split(" "), "", "0")
    return lines.peer(
        address, port if port.isascii() and port.isdigit() and len(port) <= 5 else "0"
    )
