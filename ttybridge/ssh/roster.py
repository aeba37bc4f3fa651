"""Who may log in over SSH, and what for: keys, guests of the web address, and what has changed."""

import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ttybridge.adapters.rundir import write_private
from ttybridge.core.people import Person, clean_name
from ttybridge.core.permissions import Action, Entrance, is_lower, may
from ttybridge.core.ssh_keys import AuthorizedKey, entry_line
from ttybridge.model import Role

log = logging.getLogger(__name__)

CREDENTIAL = "ssh:"
"""What the credential of a key begins with; its fingerprint follows."""

REMOVED = b"removed"
"""What stands for a role in the file of roles where a key opens nothing any more."""


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who has come over the web address with a key for one connection."""

    person: Person
    """Who it is."""
    runs: bool
    """Whether programs may be run on this connection."""


def may_run(role: Role) -> bool:
    """Tell whether a role may run programs beside the session over SSH.

    >>> may_run(Role.EDITOR), may_run(Role.VIEWER)
    (True, False)
    """
    return may(role, Action.RUN, Entrance.SSH)


def name_of(comment: str, address: str) -> str:
    """Return what to call the person behind a key: its comment, else the address.

    A long comment such as a mail address is cut at its `@`.

    >>> name_of("ada@laptop", "10.0.0.1"), name_of("", "10.0.0.1")
    ('ada@laptop', '10.0.0.1')
    >>> name_of("ada@" + "x" * 50, "10.0.0.1")
    'ada'
    """
    whole = clean_name(comment)
    user = clean_name(comment.partition("@")[0])
    return (whole if whole == " ".join(comment.split()) else user or whole) or address


class Roster:
    """The keys and guests of one bridge.

    The files that sshd and the logins read are kept in step; nothing else writes them.
    """

    def __init__(
        self,
        folder: Path,
        entries: Iterable[AuthorizedKey],
        command: Callable[[str, Role], str],
    ) -> None:
        """Know the keys; `write` makes the files.

        Args:
            folder: The bridge's private folder.
            entries: The keys that may log in.
            command: Makes the forced command of a key, from what the login calls itself and what
                it may do.
        """
        self._folder = folder
        self._entries = {entry.key.fingerprint: entry for entry in entries}
        self._command = command
        self._roles: dict[str, Role] = {}
        self._removed: set[str] = set()
        self._guests: dict[str, Guest] = {}

    def write(self) -> None:
        """Write the files.

        Raises:
            OSError: They cannot be written.
        """
        write_private(self._folder / "roles", self._role_entries())
        write_private(self._folder / "authorized_keys", self._key_lines().encode())

    def person(self, who: str, connection: str) -> Person | None:
        """Return who a login is; None when the key opens nothing here.

        Args:
            who: What the login calls itself: a fingerprint, or a guest's name.
            connection: SSH_CONNECTION of the login.
        """
        if who in self._guests:
            return self._guests[who].person
        entry, credential = self._entries.get(who), CREDENTIAL + who
        if entry is None or credential in self._removed:
            return None
        address = connection.split(" ")[0]
        return Person(
            role=self._roles.get(credential, _own_role(entry)),
            entrance=Entrance.SSH,
            name=name_of(entry.key.comment, address),
            credential=credential,
            address=address,
        )

    def add_guest(self, who: str, entry: AuthorizedKey, person: Person) -> str:
        """Take somebody in for one connection.

        Args:
            who: What logins on the connection call themselves.
            entry: The key; one that is read-only runs nothing.
            person: Who it is.

        Returns:
            The line for sshd.
        """
        self._guests[who] = Guest(person, not entry.read_only)
        return entry_line(entry, self._command(who, _told(person.role, entry)))

    def remove_guest(self, who: str) -> None:
        """Forget somebody whose connection is over."""
        is_written = who in self._role_table()
        self._guests.pop(who, None)
        if is_written:
            self._rewrite()

    def accepts(self, who: str) -> bool:
        """Tell whether a key opens anything."""
        return who in self._entries and CREDENTIAL + who not in self._removed

    def is_limited(self, who: str) -> bool:
        """Tell whether a key or guest may do less by now than at first."""
        return who in self._role_table()

    def runs(self, who: str) -> bool:
        """Tell whether programs can be run now with a key, or by a guest."""
        entry, guest = self._entries.get(who), self._guests.get(who)
        made_for = not entry.read_only if entry is not None else guest is not None and guest.runs
        role = self._role_table().get(who, Role.OWNER.value.encode())
        return made_for and role != REMOVED and may_run(Role(role.decode()))

    def key_of(self, credential: str) -> str:
        """Return the fingerprint that a credential stands for; empty when it is no key of ours."""
        who = credential.removeprefix(CREDENTIAL)
        return who if credential.startswith(CREDENTIAL) and who in self._entries else ""

    def guests_of(self, credential: str) -> list[str]:
        """Return the guests who have come in with a credential."""
        return [
            w for w, g in self._guests.items() if credential and g.person.credential == credential
        ]

    def set_role(self, credential: str, role: Role) -> bool:
        """Give whoever has a credential another role from now on.

        Programs can be run with the rights of both: what the key was made for, and the role.

        Returns:
            Whether programs could be run before and cannot now.
        """
        before = self._runners(credential)
        if self.key_of(credential):
            self._roles[credential] = role
        for who in self.guests_of(credential):
            guest = self._guests[who]
            self._guests[who] = replace(guest, person=replace(guest.person, role=role))
        self._rewrite()
        return before > self._runners(credential)

    def end(self, credential: str) -> None:
        """Accept a credential no more."""
        self._removed.add(credential)
        self._rewrite()

    def _runners(self, credential: str) -> int:
        """Count what may run programs with a credential."""
        return sum(map(self.runs, (self.key_of(credential), *self.guests_of(credential))))

    def _role_table(self) -> dict[str, bytes]:
        """Return who may do less now than the login's arguments say."""
        table = {}
        for who, entry in self._entries.items():
            credential = CREDENTIAL + who
            role = self._roles.get(credential)
            if credential in self._removed:
                table[who] = REMOVED
            elif role is not None and is_lower(role, _own_role(entry)):
                table[who] = role.value.encode()
        for who, guest in self._guests.items():
            if guest.person.credential in self._removed:
                table[who] = REMOVED
            elif not may_run(guest.person.role):
                table[who] = guest.person.role.value.encode()
        return table

    def _role_entries(self) -> bytes:
        table = self._role_table().items()
        return b"".join(who.encode() + b"=" + role + b"\0" for who, role in table)

    def _key_lines(self) -> str:
        lines = []
        for who, entry in self._entries.items():
            credential = CREDENTIAL + who
            if credential in self._removed:
                continue
            role = self._roles.get(credential, _own_role(entry))
            limited = replace(entry, read_only=entry.read_only or not may_run(role))
            # The arguments say what the key was made for: the file of roles says what it is now,
            # on connections that are there already as on new ones.
            lines.append(entry_line(limited, self._command(who, _told(Role.OWNER, entry))) + "\n")
        return "".join(lines)

    def _rewrite(self) -> None:
        try:
            self.write()
        except OSError as error:
            # Nobody comes in rather than somebody who may not.
            for name in ("authorized_keys", "roles"):
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink(missing_ok=True)
            log.error(
                "the private folder %s cannot be written to (%s): no key may log in until the "
                "bridge is started again",
                self._folder,
                error.strerror,
            )


def _own_role(entry: AuthorizedKey) -> Role:
    return Role.VIEWER if entry.read_only else Role.OWNER


def _told(role: Role, entry: AuthorizedKey) -> Role:
    """Return what the login's arguments say."""
    return Role.VIEWER if entry.read_only else role
