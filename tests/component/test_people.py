"""People of a session: admission, roles that change, removals, and who is told of whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import clean_environment
from tests.e2e.hostile import eventually
from ttybridge.adapters.pty import Pty
from ttybridge.core import stream
from ttybridge.core.cursor import HIGH_BYTES, Chunk, Finished, Resized
from ttybridge.core.people import Actor, Person
from ttybridge.core.permissions import Entrance
from ttybridge.model import ClientId, Display, EndReason, Role, WindowSize
from ttybridge.sessions import door, seats
from ttybridge.sessions.attachment import Attachment, RoleChanged
from ttybridge.sessions.direct import DirectTerminal
from ttybridge.sessions.door import NotAdmitted, Refused
from ttybridge.sessions.hub import Hub
from ttybridge.sessions.place import Place
from ttybridge.sessions.room import SessionFull
from ttybridge.sessions.terminal import Terminal

SIZE = WindowSize(cols=80, rows=24)
OWNER = Person(Role.OWNER, Entrance.PAGE, "Olga", "cookie-olga", "", "192.0.2.1")
EDITOR = Person(Role.EDITOR, Entrance.PAGE, "Ed", "cookie-ed", "l1", "192.0.2.2")
VIEWER = Person(Role.VIEWER, Entrance.PAGE, "Vi", "cookie-vi", "l2", "192.0.2.3")
NOBODY = Person(Role.VIEWER, Entrance.PAGE)
BY_OWNER = Actor(Role.OWNER, "Olga", Entrance.API)
BY_EDITOR = Actor(Role.EDITOR, "Ed", Entrance.API)
BY_VIEWER = Actor(Role.VIEWER, "Vi", Entrance.API)


class Keeper:
    """Keeps credentials, and what it was told of them."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def set_role(self, credential: str, role: Role) -> None:
        self.told.append((credential, role.value))

    def end(self, credential: str) -> None:
        self.told.append((credential, "end"))


class Room:
    """A session that copies its input to its output, and what was noted of its people."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.people, self.keeper = hub, hub.people, Keeper()
        self.events: list[tuple[str, dict[str, object]]] = []
        hub.people.holders.append(self.keeper)
        hub.people.note = lambda event, **fields: self.events.append((event, fields))

    async def join(self, person: Person) -> Attachment:
        return await self.hub.join(person, SIZE, acks=False)

    def noted(self, event: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.events if name == event]

    async def shows(self, reader: Attachment, text: bytes) -> bytes:
        """Read until the output has a text; return all of it."""
        output = b""
        async with asyncio.timeout(10):
            while text not in output:
                item = await reader.next(10_000)
                output += item.data if isinstance(item, Chunk) else b""
        return output


@asynccontextmanager
async def room(**options: object) -> AsyncIterator[Room]:
    command = DirectTerminal(
        Pty.spawn,
        ["cat"],
        environment={n.encode(): v.encode() for n, v in clean_environment().items()},
        cwd=str(Path.cwd()),
        log_bytes=2_000_000,
        waits=False,
    )
    hub = Hub(
        command,
        **{"max_clients": 9, "resume_s": 60, "window_bytes": 500_000, "make_key": lambda: "k"}  # type: ignore[arg-type]
        | options,
    )
    await hub.start()
    try:
        yield Room(hub)
    finally:
        await hub.close()


async def told(client: Attachment) -> list[RoleChanged]:
    """Return what a client is told about its role."""
    found = []
    while (item := client.next_nowait(0)) is not None:
        if isinstance(item, RoleChanged):
            found.append(item)
        else:
            break
    return found


async def test_the_keyboard_is_given_and_taken_back_at_once() -> None:
    async with room() as session:
        owner, viewer = await session.join(OWNER), await session.join(VIEWER)
        viewer.write(b"one\n")
        await session.people.grant("c2", Role.EDITOR, BY_OWNER)
        viewer.write(b"two\n")
        await session.people.grant("Vi", Role.VIEWER, BY_OWNER)
        viewer.write(b"three\n")
        owner.write(b"end\n")
        output = await session.shows(owner, b"end")
        assert (b"one" in output, b"two" in output, b"three" in output) == (False, True, False)
        assert await told(viewer) == [
            RoleChanged(Role.EDITOR, "Olga"),
            RoleChanged(Role.VIEWER, "Olga"),
        ]
        assert session.keeper.told == [("cookie-vi", "editor"), ("cookie-vi", "viewer")]
        assert [(e["who"], e["before"], e["role"], e["by"]) for e in session.noted("role")] == [
            ("Vi", "viewer", "editor", "Olga"),
            ("Vi", "editor", "viewer", "Olga"),
        ]


async def test_what_a_viewers_terminal_answers_by_itself_is_dropped_too() -> None:
    async with room() as session:
        viewer = await session.join(VIEWER)  # the first one there
        owner = await session.join(OWNER)
        viewer.ack(0)
        viewer.write(b"\x1b[?62;22c")
        viewer.write_numbered(1, b"\x1b[8;24;80t")
        owner.write(b"\x1b[?1;2c")
        owner.write(b"end\n")
        output = await session.shows(owner, b"end")  # as the pty shows what is typed
        assert b"^[[?1;2c" in output
        assert b"?62;22c" not in output
        assert b"8;24;80t" not in output


async def test_of_all_terminals_on_one_pty_the_first_that_may_type_answers() -> None:
    async with room() as session:
        await session.join(VIEWER)
        owner, editor = await session.join(OWNER), await session.join(EDITOR)
        editor.write(b"\x1b[?62;22c")
        owner.write(b"\x1b[?1;2c")
        editor.write(b"end\n")
        output = await session.shows(owner, b"end")
        assert b"^[[?1;2c" in output
        assert b"?62;22c" not in output


async def test_a_viewers_window_does_not_make_the_one_of_all_smaller() -> None:
    async with room() as session:
        owner, viewer = await session.join(OWNER), await session.join(VIEWER)
        viewer.resize(WindowSize(cols=20, rows=5))
        assert owner.terminal.size == SIZE
        await session.people.grant("Vi", Role.EDITOR, BY_OWNER)
        assert owner.terminal.size == WindowSize(cols=20, rows=5)


async def test_a_viewer_who_takes_nothing_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PATIENCE_S", 600.0)  # so that a pause would last
    async with room() as session:
        owner = await session.join(OWNER)
        await session.hub.join(VIEWER, SIZE, acks=True)
        for number in range(300):
            owner.write(b"%d" % number + b"-" * 900 + b"\n")
        owner.write(b"end\n")
        assert len(await session.shows(owner, b"end")) > 2 * HIGH_BYTES


async def test_a_grant_is_for_all_tabs_of_a_person_and_for_nobody_else() -> None:
    async with room() as session:
        one, other, nobody = [await session.join(each) for each in (VIEWER, VIEWER, NOBODY)]
        await session.people.grant(one.id, Role.EDITOR, BY_OWNER)
        assert [a.role for a in (one, other, nobody)] == [Role.EDITOR, Role.EDITOR, Role.VIEWER]
        another_nobody = await session.join(NOBODY)
        await session.people.grant(nobody.id, Role.EDITOR, BY_OWNER)
        assert (nobody.role, another_nobody.role) == (Role.EDITOR, Role.VIEWER)
        assert session.keeper.told == [("cookie-vi", "editor")], "nobody has no credential"


@pytest.mark.parametrize(
    ("actor", "who", "role", "is_allowed"),
    [
        (BY_VIEWER, "Vi", Role.EDITOR, False),
        (BY_EDITOR, "Vi", Role.EDITOR, True),
        (BY_EDITOR, "Vi", Role.OWNER, False),
        (BY_EDITOR, "Olga", Role.VIEWER, False),
        (BY_EDITOR, "Ed", Role.OWNER, False),
        (BY_OWNER, "Ed", Role.OWNER, True),
        (BY_OWNER, "Olga", Role.VIEWER, True),
    ],
)
async def test_who_may_change_whose_role(
    actor: Actor, who: str, role: Role, is_allowed: bool
) -> None:
    async with room() as session:
        clients = {p.name: await session.join(p) for p in (OWNER, EDITOR, VIEWER)}
        before = clients[who].role
        if is_allowed:
            await session.people.grant(who, role, actor)
        else:
            with pytest.raises(Refused, match="may not make"):
                await session.people.grant(who, role, actor)
        assert clients[who].role is (role if is_allowed else before)
        assert bool(session.keeper.told) is is_allowed


async def test_who_is_removed_is_told_why_types_no_more_and_stays_out() -> None:
    async with room() as session:
        owner, editor, tab = [await session.join(each) for each in (OWNER, EDITOR, EDITOR)]
        with pytest.raises(Refused, match="may not remove"):
            session.people.kick(editor.id, BY_EDITOR)
        note = session.people.kick(editor.id, BY_OWNER)
        assert "revoke l1" in note
        editor.write(b"late\n")
        for client in (editor, tab):
            item = await client.next(10_000)
            assert isinstance(item, Finished)
            assert (item.end.reason, item.end.restart) == (EndReason.REMOVED, False)
        owner.write(b"end\n")
        assert b"late" not in await session.shows(owner, b"end")
        assert session.keeper.told == [("cookie-ed", "end")]
        with pytest.raises(NotAdmitted) as refusal:
            await session.join(EDITOR)
        assert refusal.value.code == "removed"
        assert session.noted("kick")[0]["by"] == "Olga"
        assert session.noted("refuse")[0]["why"] == "removed"
        editor_again = await session.join(Person(Role.EDITOR, Entrance.PAGE, "Ed", "another"))
        assert editor_again.role is Role.EDITOR


async def test_guests_wait_until_they_are_let_in_and_owners_do_not() -> None:
    async with room(approves=True) as session:
        await session.join(OWNER)
        waits = asyncio.Event()
        joining = asyncio.create_task(
            session.hub.join(VIEWER, SIZE, acks=False, on_waiting=waits.set)
        )
        await asyncio.wait_for(waits.wait(), 5)
        row = session.people.rows()[0]
        assert (row["state"], row["name"], row["address"]) == ("waiting", "Vi", "192.0.2.3")
        assert len(session.hub.attachments) == 1
        session.people.admit(row["id"], BY_OWNER)
        viewer = await joining
        assert viewer.id == row["id"]
        again = await session.join(VIEWER)
        assert again.role is Role.VIEWER, "who was let in once comes back without waiting"
        assert session.noted("admit")[0]["by"] == "Olga"


async def test_who_is_turned_away_leaves_or_hears_of_an_open_door_waits_no_longer() -> None:
    async with room(approves=True) as session:
        waiting = [
            asyncio.create_task(session.join(Person(Role.VIEWER, Entrance.PAGE, f"v{n}", f"s{n}")))
            for n in range(3)
        ]
        await eventually(lambda: len(session.people.rows()) == 3, "three wait")
        session.people.refuse("v0", BY_OWNER)
        with pytest.raises(NotAdmitted) as refusal:
            await waiting[0]
        assert refusal.value.code == "refused"
        waiting[1].cancel()
        await asyncio.gather(waiting[1], return_exceptions=True)
        assert [row["name"] for row in session.people.rows()] == ["v2"]
        with pytest.raises(Refused, match="Nobody waits"):
            session.people.admit("v1", BY_OWNER)
        session.people.approve(False, BY_OWNER)
        assert (await waiting[2]).name == "v2"
        await session.join(Person(Role.VIEWER, Entrance.PAGE, "v3", "s3"))


async def test_not_more_people_wait_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_WAITING", 1)
    async with room(approves=True) as session:
        first = asyncio.create_task(session.join(VIEWER))
        await eventually(lambda: session.people.rows(), "one waits")
        with pytest.raises(NotAdmitted) as refusal:
            await session.join(EDITOR)
        assert refusal.value.code == "full"
        session.people.kick("c1", BY_OWNER)
        with pytest.raises(NotAdmitted):
            await first


async def test_a_locked_session_takes_back_only_those_who_were_in() -> None:
    async with room() as session:
        viewer = await session.join(VIEWER)
        session.hub.leave(viewer)
        session.people.lock(True, BY_OWNER)
        for newcomer in (OWNER, EDITOR, NOBODY):
            with pytest.raises(NotAdmitted) as refusal:
                await session.join(newcomer)
            assert refusal.value.code == "locked"
        await session.join(VIEWER)
        session.people.lock(False, BY_OWNER)
        await session.join(EDITOR)
        assert [name for name, _ in session.events if "lock" in name] == ["lock", "unlock"]


async def test_the_door_says_beforehand_whom_it_lets_in() -> None:
    async with room() as session:
        lets_in = session.people.door.lets_in
        await session.join(VIEWER)
        assert all(map(lets_in, (OWNER, EDITOR, VIEWER, NOBODY)))
        session.people.approve(True, BY_OWNER)
        assert [lets_in(p) for p in (OWNER, EDITOR, VIEWER, NOBODY)] == [True, False, True, False]
        session.people.lock(True, BY_OWNER)
        assert [lets_in(p) for p in (OWNER, EDITOR, VIEWER)] == [False, False, True]
        session.people.kick("Vi", BY_OWNER)
        assert not lets_in(VIEWER)


async def test_the_door_closes_behind_the_first_owner_when_that_is_asked_for() -> None:
    async with room(locks_after_owner=True) as session:
        await session.join(VIEWER)
        await session.join(OWNER)
        with pytest.raises(NotAdmitted):
            await session.join(EDITOR)
        await session.join(OWNER)


async def test_people_are_told_of_each_other_what_their_role_may_know() -> None:
    async with room() as session:
        for person in (OWNER, EDITOR, VIEWER, Person(Role.VIEWER, Entrance.SSH, "Wu", "ssh:x")):
            await session.join(person)
        rows = session.people.rows_for(Role.OWNER)
        assert [(r["name"], r["via"], r["link"], r["address"]) for r in rows] == [
            ("Olga", "page", "", "192.0.2.1"),
            ("Ed", "page", "l1", "192.0.2.2"),
            ("Vi", "page", "l2", "192.0.2.3"),
            ("Wu", "ssh", "", ""),
        ]
        editors = session.people.rows_for(Role.EDITOR)
        assert [r["name"] for r in editors] == ["Olga", "Ed", "Vi", "Wu"]
        viewers = session.people.rows_for(Role.VIEWER, own_id="c4")
        assert [r["name"] for r in viewers] == ["Olga", "Ed", "Wu"]
        assert all("address" not in r and "link" not in r for r in [*editors, *viewers])
        assert session.people.watching == 2


async def test_a_hand_is_a_viewers_and_falls_when_the_keyboard_comes() -> None:
    async with room() as session:
        viewer, editor = await session.join(VIEWER), await session.join(EDITOR)
        console = await session.join(Person(Role.VIEWER, Entrance.COLAB, "Co", "s"))
        changes: list[None] = []
        session.people.on_change.append(lambda: changes.append(None))
        for client in (viewer, viewer, editor, console):
            session.people.hand(client, True)
        assert [(r["name"], r["hand"]) for r in session.people.rows()] == [
            ("Vi", True),
            ("Ed", False),
            ("Co", False),
        ]
        assert len(changes) == 1
        await session.people.grant("Vi", Role.EDITOR, BY_EDITOR)
        assert not viewer.hand


async def test_a_name_that_was_given_stays_and_one_of_two_people_is_not_enough() -> None:
    async with room() as session:
        named, free, other = [await session.join(p) for p in (VIEWER, NOBODY, NOBODY)]
        for client in (named, free, other):
            session.people.rename(client, "\x1b[1mZoë\n")
        assert [a.name for a in (named, free, other)] == ["Vi", "[1mZoë", "[1mZoë"]
        with pytest.raises(Refused, match="2 are called"):
            await session.people.grant("[1mZoë", Role.EDITOR, BY_OWNER)
        with pytest.raises(Refused, match="Nobody here"):
            session.people.kick("c99", BY_OWNER)


async def test_a_credential_that_has_ended_takes_its_clients_along_those_that_wait_too() -> None:
    async with room(approves=True) as session:
        owner = await session.join(OWNER)
        joining = asyncio.create_task(session.join(VIEWER))
        await eventually(lambda: len(session.people.rows()) == 2, "the viewer waits")
        session.hub.remove_credential("cookie-vi", "The link has been revoked.")
        with pytest.raises(NotAdmitted):
            await joining
        session.hub.remove_credential("", "nobody")
        assert not owner.has_ended
        session.hub.remove_credential("cookie-olga", "The session has ended.")
        item = await owner.next(100)
        assert isinstance(item, Finished)
        assert item.end.message == "The session has ended."


async def test_a_removed_client_that_is_away_has_no_place_to_come_back_to() -> None:
    async with room() as session:
        viewer, editor = await session.join(VIEWER), await session.join(EDITOR)
        session.hub.park(viewer)
        session.people.kick("Vi", BY_OWNER)
        assert session.hub.attachments == [editor]
        session.people.kick("Ed", BY_OWNER)
        session.hub.park(editor)
        assert session.hub.attachments == []


async def test_viewers_of_the_shared_stream_have_a_limit_of_their_own() -> None:
    async with room(max_clients=2, max_viewers=2) as session:
        join = session.hub.join
        for _ in range(2):
            await join(NOBODY, SIZE, acks=False, display=Display.SESSION)
        with pytest.raises(SessionFull, match="--max-viewers"):
            await join(NOBODY, SIZE, acks=False, display=Display.SESSION)
        await session.join(OWNER)
        await session.join(EDITOR)
        with pytest.raises(SessionFull, match="--max-clients"):
            await session.join(Person(Role.EDITOR, Entrance.PAGE, "", "e2"))
        session.hub.park(session.hub.attachments[0])
        watching = await join(NOBODY, SIZE, acks=False, display=Display.AUTO)
        assert [a.id for a in session.hub.attachments] == ["c2", "c4", "c5", watching.id]


async def test_a_viewer_gets_a_terminal_of_its_own_only_where_there_is_room() -> None:
    async with room(max_clients=3) as session:
        watching = [
            await session.hub.join(NOBODY, SIZE, acks=False, display=Display.SESSION)
            for _ in range(5)
        ]
        for viewer in watching:
            session.hub.choose_display(viewer, Display.OWN)
        await eventually(lambda: sum(not v.follows for v in watching) == 2, "two have changed")
        owner = await session.join(OWNER)
        assert owner.role is Role.OWNER
        with pytest.raises(SessionFull):
            await session.people.grant(watching[4].id, Role.EDITOR, BY_OWNER)
        assert watching[4].role is Role.VIEWER


async def test_who_only_watches_takes_no_place_that_an_owner_may_come_back_to() -> None:
    async with room(max_clients=4) as session:
        away = await session.join(OWNER)
        await session.join(EDITOR)
        session.hub.park(away)
        await session.join(NOBODY)
        await session.join(Person(Role.VIEWER, Entrance.PAGE, "", "another"))
        with pytest.raises(SessionFull):
            await session.join(NOBODY)
        assert away in session.hub.attachments
        await session.join(Person(Role.EDITOR, Entrance.PAGE, "Ida", "cookie-ida"))
        assert away not in session.hub.attachments


async def test_a_change_that_comes_while_somebody_is_joining_counts() -> None:
    async with room() as session:
        first = await session.join(EDITOR)
        opened = session.hub.terminals.open
        gate = asyncio.Event()

        async def slowly(client_id: ClientId, place: Place) -> Terminal:
            await gate.wait()
            return await opened(client_id, place)

        session.hub.terminals.open = slowly  # type: ignore[method-assign]
        second = asyncio.create_task(session.join(EDITOR))
        third = asyncio.create_task(session.join(VIEWER))
        await asyncio.sleep(0)
        granting = asyncio.create_task(session.people.grant(first.id, Role.VIEWER, BY_OWNER))
        session.hub.remove_credential("cookie-vi", "The link has been revoked.")
        await asyncio.sleep(0)
        gate.set()
        await granting
        assert (await second).role is Role.VIEWER
        with pytest.raises(NotAdmitted):
            await third


async def test_a_grant_is_carried_out_though_the_one_who_gives_it_leaves() -> None:
    async with room() as session:
        viewer = await session.join(VIEWER)
        granting = asyncio.create_task(session.people.grant("Vi", Role.EDITOR, BY_OWNER))
        await asyncio.sleep(0)
        granting.cancel()
        await asyncio.gather(granting, return_exceptions=True)
        await eventually(lambda: viewer.role is Role.EDITOR, "the grant is carried out")


async def test_one_person_does_not_fill_the_waiting_room_and_is_let_in_in_all_tabs() -> None:
    async with room(approves=True) as session:
        tabs = [asyncio.create_task(session.join(VIEWER)) for _ in range(4)]
        await eventually(lambda: tabs[3].done(), "the fourth tab is turned away")
        with pytest.raises(NotAdmitted):
            await tabs[3]
        with pytest.raises(Refused, match="may not turn"):
            session.people.kick("c1", BY_EDITOR)
        session.people.admit("Vi", BY_OWNER)
        assert [(await tab).name for tab in tabs[:3]] == ["Vi"] * 3


async def test_a_locked_door_stays_closed_when_nobody_has_to_be_asked_any_more() -> None:
    async with room(approves=True) as session:
        waiting = asyncio.create_task(session.join(VIEWER))
        await eventually(lambda: session.people.rows(), "one waits")
        session.people.lock(True, BY_OWNER)
        session.people.approve(False, BY_OWNER)
        await asyncio.sleep(0)
        assert not waiting.done()
        session.people.lock(False, BY_OWNER)
        assert (await waiting).name == "Vi"


async def test_sizes_are_told_when_they_change_and_not_each_time_somebody_says_one() -> None:
    async with room() as session:
        owner, viewer = await session.join(OWNER), await session.join(VIEWER)
        told = []
        for cols in range(100):
            viewer.resize(WindowSize(cols=40 + cols, rows=20))
            while (item := owner.next_nowait(0)) is not None:
                told.append(item)
        assert [item for item in told if isinstance(item, Resized)] == [Resized(SIZE)]


async def test_the_window_stays_for_who_comes_back_and_then_goes_to_the_largest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seats, "SIZE_GRACE_S", 0.2)
    auto = {"acks": False, "display": Display.AUTO}
    small, large = WindowSize(cols=40, rows=20), WindowSize(cols=120, rows=40)
    async with room() as session:
        owner = await session.hub.join(OWNER, SIZE, **auto)  # type: ignore[arg-type]
        phone = await session.hub.join(EDITOR, small, **auto)  # type: ignore[arg-type]
        desk = await session.hub.join(Person(Role.EDITOR, Entrance.PAGE), large, **auto)  # type: ignore[arg-type]
        assert [a.follows for a in (owner, phone, desk)] == [False, True, True]
        session.hub.leave(owner)
        owner = await session.hub.join(OWNER, SIZE, **auto)  # type: ignore[arg-type]
        await asyncio.sleep(0.4)  # longer than anybody waits for the window
        assert [a.follows for a in (owner, phone, desk)] == [False, True, True]
        session.hub.leave(owner)
        await eventually(lambda: not desk.follows, "the largest has the window")
        assert phone.follows
        session.hub.choose_display(phone, Display.OWN)
        await eventually(lambda: desk.follows, "who left it open follows")
        assert not phone.follows
