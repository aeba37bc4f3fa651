"""The commands about people and recordings: what is wrong on the command line, and the tables."""

import doctest
import io
import time
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest

from ttybridge import arguments, people_commands, record_commands, running, subcommands
from ttybridge.client.control import Control
from ttybridge.client.people import Here, SharedLink, Somebody
from ttybridge.client.status import Status
from ttybridge.config import Config
from ttybridge.core import audit
from ttybridge.errors import ConfigError, TtyBridgeError

NOWHERE: dict[bytes, bytes] = {b"TMPDIR": b"/nowhere"}
CHOSEN = Config(label="none of this name")


def run(*words: str) -> None:
    given = arguments.parse(words)
    assert given.problems == []
    out = io.StringIO()
    if given.subcommand is subcommands.RECORD:
        record_commands.record(given, CHOSEN, NOWHERE, out)
    elif given.subcommand is subcommands.AUDIT:
        record_commands.audit(given, CHOSEN, NOWHERE, out)
    else:
        people_commands.run(given, CHOSEN, NOWHERE, out, out)


@pytest.mark.parametrize("module", [people_commands, audit], ids=["commands", "audit"])
def test_the_examples_in_docstrings_are_true(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert (found.attempted > 0, found.failed) == (True, 0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("share --role edtor", "Did you mean editor?"),
        ("share --life 31d", "a time up to 30d"),
        ("share --life 0", "a time up to 30d"),
        ("share --life soon", "a time up to 30d"),
        ("share --uses 0", "--uses '0': give a number of browsers"),
        ("share --uses many", "--uses 'many'"),
        ("grant c7 --role root", "give viewer, editor or owner"),
        ("record strat", "Did you mean start?"),
        ("record xyz", "Give start, stop, status or marker."),
        ("record start a b", "takes one FILE"),
        ("record start --format gif", "give v2 or v3"),
        ("record start --json", "--json is not an option of ttybridge record start"),
        ("record stop --input", "--input is not an option of ttybridge record stop"),
        ("record stop now", "takes no 'now'"),
        ("record status x", "takes no 'x'"),
        ("record marker", "needs a label"),
    ],
)
def test_a_wrong_value_gets_a_sentence_before_any_bridge_is_asked(words: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(*words.split())
    (found,) = caught.value.problems
    assert says in found


@pytest.mark.parametrize(
    "words",
    [
        *(sub.name for sub in subcommands.PEOPLE if not sub.words),
        *(f"{sub.name} c7" for sub in subcommands.PEOPLE if sub.words),
        *("record start", "record status", "record marker x", "record stop", "audit", "revoke l3"),
        *("share --life 30d --uses 10000 --role owner", "grant Ada Lovelace --role viewer"),
    ],
)
def test_where_no_bridge_runs_each_command_says_so(words: str) -> None:
    with pytest.raises(TtyBridgeError, match="No bridge of yours with the label 'none of this"):
        run(*words.split())


def somebody(**more: object) -> Somebody:
    row: dict[str, object] = {
        "id": "c1", "name": "", "role": "owner", "given": "owner", "via": "page",
        "since": time.time() - 4000, "idle_s": 3.2, "cols": 120, "rows": 32, "follows": False,
        "rtt_ms": 12.4, "hand": False, "state": "here", "link": "", "address": "192.0.2.7",
    }  # fmt: skip
    return Somebody(**(row | more))  # type: ignore[arg-type]


def test_people_are_a_table_under_those_who_wait() -> None:
    people = (
        somebody(address="192.0.2.7\x1b\x9b2J"),
        somebody(id="c5", role="viewer", given="viewer", address=""),
        somebody(id="c12", name="山田 太郎", role="viewer", given="viewer", hand=True, rtt_ms=None),
        somebody(id="c9", name="Bo\x1b[2J", role="viewer", state="waiting"),
        somebody(id="c3", name="Ada", role="editor", given="viewer", state="away", link="l1"),
    )
    recording = {"name": "x.cast", "since": 0.0, "input": True}
    shown = "".join(people_commands._who_lines(Here(people, True, True, recording), " --label x"))
    assert shown == (
        "These wait to be let in:\n"
        "  c9  Bo[2J  viewer  page  192.0.2.7  ttybridge admit c9 --label x\n"
        "\n"
        "ID   NAME       ROLE    HOW   FROM         SINCE  IDLE  SIZE    TRIP\n"
        "c1   Owner c1   owner   page  192.0.2.72J  1h     3s    120x32  12 ms\n"
        "c5   Guest c5   viewer  page  –            1h     3s    120x32  12 ms\n"
        "c12  山田 太郎  viewer  page  192.0.2.7    1h     3s    120x32  –      "
        "asks for the keyboard: ttybridge grant c12 --label x\n"
        "c3   Ada        editor  page  192.0.2.7    1h     3s    120x32  12 ms  "
        "connection lost; came as viewer; link l1\n"
        "Nobody new comes in: ttybridge unlock --label x\n"
        "Newcomers wait to be let in: ttybridge approve --off --label x\n"
        "The session is recorded, with what is typed: ttybridge record stop --label x\n"
    )


def test_links_are_a_table_that_says_what_is_left_of_them() -> None:
    links = (
        SharedLink("l1", "viewer", "", 80_000.0, None, 2, ("c12", "c3")),
        SharedLink("l10", "editor", "Ada", -3.0, 0, 1),
    )
    assert "".join(people_commands._link_lines(links, 0.0)) == (
        "ID   ROLE    NAME  OPENED  LEFT  ENDS    HERE\n"
        "l1   viewer  –     2x      any   in 22h  c12 c3\n"
        "l10  editor  Ada   1x      0     ended   –\n"
    )


class Present:
    """A bridge that knows who is there, and nothing else."""

    def __init__(self, *here: Somebody) -> None:
        self._here = here

    def people(self) -> Here:
        return Here(self._here, False, False, None)


@pytest.mark.parametrize(
    ("who", "found"),
    [
        ("c7", ("c7", "Guest c7")),
        ("Guest 7", ("c7", "Guest c7")),
        ("guest c7", ("c7", "Guest c7")),
        ("Owner c1", ("c1", "Owner c1")),
        ("Ada", ("c3", "Ada (c3)")),
        # Who has a name is called by it, who waits is not in, and two are for the bridge to tell.
        ("Guest c3", ("Guest c3", "Guest c3")),
        ("Cy", ("Cy", "Cy")),
        ("Bo", ("Bo", "Bo")),
        ("nobody\x1b[1m", ("nobody\x1b[1m", "nobody[1m")),
    ],
)
def test_somebody_is_found_by_what_the_list_says(who: str, found: tuple[str, str]) -> None:
    here = Present(
        somebody(),
        somebody(id="c7", role="editor"),
        somebody(id="c3", name="Ada", role="viewer"),
        somebody(id="c4", name="Bo"),
        somebody(id="c5", name="Bo"),
        somebody(id="c6", name="Cy", state="waiting"),
    )
    assert people_commands._found(cast(Control, here), who, ("here", "away")) == found


def test_a_guest_with_the_name_that_another_one_is_called_by_gets_nothing_instead() -> None:
    here = Present(somebody(id="c7", role="viewer"), somebody(id="c8", name="Guest c7"))
    with pytest.raises(TtyBridgeError, match="c7, c8"):
        people_commands._found(cast(Control, here), "Guest c7", ("here",))


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://127.0.0.1:8080/?link=x", True),
        ("http://localhost:8080/", True),
        ("http://[::1]:8080/", True),
        ("https://127.example.com/", False),
        ("https://box.example/?link=127.0.0.1", False),
        ("http://192.0.2.7:8080/", False),
    ],
)
def test_a_link_for_this_machine_alone_is_told_from_others(url: str, is_local: bool) -> None:
    assert people_commands._is_local(url) is is_local


def test_a_bridge_is_chosen_by_label_then_by_process_number_or_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = (None, None, ())
    bridges = [
        (Control(Path(f"/{pid}")), Status(pid, label, "", 0.0, "", "", port, "", 0, *more))
        for pid, label, port in ((101, "", 8080), (102, "", 8081), (103, "8081", 8082))
    ]
    monkeypatch.setattr(running, "find", lambda _: bridges)

    def chosen(label: str) -> str:
        return str(running.one_bridge(Config(label=label), NOWHERE).path)

    assert [chosen(label) for label in ("101", "8080", "102", "8081", "8082")] == [
        "/101", "/101", "/102", "/103", "/103",
    ]  # fmt: skip
    with pytest.raises(TtyBridgeError, match="number or port '99'"):
        chosen("99")
    with pytest.raises(TtyBridgeError, match=r"3 bridges run.*process 102, port 8081") as caught:
        chosen("")
    assert caught.value.hint == "Choose one: --label NAME, or its process number or port."


def test_where_no_bridge_runs_audit_says_where_past_events_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "find", lambda _bases: [])  # those of other tests are none of ours
    given, file = arguments.parse(["audit"]), tmp_path / "audit.jsonl"
    for hint in ("Start one: ttybridge.", str(file)):
        with pytest.raises(TtyBridgeError) as caught:
            record_commands.audit(given, Config(audit_log=str(file)), NOWHERE, io.StringIO())
        assert hint in caught.value.hint
        file.touch()
