"""The table of rights, written out again by hand: whoever changes it has to change it here, too."""

import itertools

import pytest

from ttybridge.core.permissions import (
    Action,
    Entrance,
    is_lower,
    may,
    may_change,
    may_remove,
    may_share,
)
from ttybridge.model import Role

ROLES = {"o": Role.OWNER, "e": Role.EDITOR, "v": Role.VIEWER}

WHO_MAY = """
                page  connect  colab  ssh   api   files  proxy  control
JOIN            oev   oev      oev    oev   -     -      -      oev
TYPE            oe    oe       oe     oe    -     -      -      oe
RESIZE          oe    oe       oe     oe    -     -      -      oe
SEE_PEOPLE      oev   oev      -      -     oev   -      -      oev
RAISE_HAND      oev   oev      -      -     -     -      -      oev
GIVE_KEYBOARD   -     -        -      -     oe    -      -      oe
REMOVE          -     -        -      -     oe    -      -      oe
ADMIT           -     -        -      -     o     -      -      o
SHARE_VIEWER    -     -        -      -     oe    -      -      oe
SHARE           -     -        -      -     o     -      -      o
RECORD          -     -        -      -     oe    -      -      oe
REPLAY          -     -        -      -     oe    oe     -      oe
RUN             -     -        -      oe    -     -      -      oe
USE_PROXY       -     -        -      -     -     -      oe     oe
MANAGE          -     -        -      -     o     -      -      o
"""

HEAD, *LINES = [line.split() for line in WHO_MAY.strip().splitlines()]
TABLE = {
    (name, entrance): letters
    for name, *row in LINES
    for entrance, letters in zip(HEAD, row, strict=True)
}


@pytest.mark.parametrize("entrance", list(Entrance), ids=lambda entrance: entrance.value)
@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)
def test_a_role_may_do_at_an_entrance_what_the_table_says(role: Role, entrance: Entrance) -> None:
    letter = next(letter for letter, each in ROLES.items() if each is role)
    said = {action: letter in TABLE[action.name, entrance.value] for action in Action}
    assert {action: may(role, action, entrance) for action in Action} == said


def test_the_table_has_every_action_and_entrance_once() -> None:
    assert [entrance.value for entrance in Entrance] == HEAD
    assert [line[0] for line in LINES] == [action.name for action in Action]
    assert {len(line) for line in LINES} == {len(HEAD) + 1}


# By whom, from whom, to what.
MAY_CHANGE = {
    *("ooo", "ooe", "oov", "oeo", "oee", "oev", "ovo", "ove", "ovv"),
    *("eee", "eev", "eve", "evv"),
}
# By whom, whom.
MAY_REMOVE = {"oo", "oe", "ov", "ev"}
# By whom, to what.
MAY_SHARE = {"oo", "oe", "ov", "ev"}


@pytest.mark.parametrize("who", ["".join(each) for each in itertools.product("oev", repeat=3)])
def test_a_role_is_changed_only_by_whom_the_list_names(who: str) -> None:
    actor, target, wanted = (ROLES[letter] for letter in who)
    assert may_change(actor, target, wanted) is (who in MAY_CHANGE)


@pytest.mark.parametrize("who", ["".join(each) for each in itertools.product("oev", repeat=2)])
def test_people_are_removed_and_links_made_only_by_whom_the_lists_name(who: str) -> None:
    actor, other = (ROLES[letter] for letter in who)
    assert may_remove(actor, other) is (who in MAY_REMOVE)
    for entrance in Entrance:
        is_offered = entrance in (Entrance.API, Entrance.CONTROL)
        assert may_share(actor, other, entrance) is (is_offered and who in MAY_SHARE)
    assert is_lower(actor, other) is (who in {"vo", "ve", "eo"})


def test_nobody_gives_more_than_they_have_and_nobody_raises_themselves() -> None:
    for actor, target, wanted in itertools.product(Role, repeat=3):
        if may_change(actor, target, wanted):
            assert not is_lower(actor, wanted)
            assert not is_lower(actor, target)
    for actor, wanted in itertools.product(Role, repeat=2):
        assert not (may_change(actor, actor, wanted) and is_lower(actor, wanted))
        assert not (may_share(actor, wanted, Entrance.API) and is_lower(actor, wanted))
