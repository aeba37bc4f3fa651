"""Links: what their texts say and prove, and what is kept of them."""

import re
import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttybridge.core.links import (
    MAX_LINK_CHARS,
    MAX_LINKS,
    MAX_OPENED,
    SESSION_LIFE_S,
    Link,
    Links,
    Over,
)
from ttybridge.core.people import MAX_NAME
from ttybridge.errors import TtyBridgeError
from ttybridge.model import Role

NOW = 1_800_000_000.0
DAY_S = 86_400.0
PLAIN = re.compile(r"[A-Za-z0-9._-]+")
CHARACTERS = string.ascii_letters + string.digits + "._-="


def links(key: bytes = b"key of this run") -> Links:
    return Links(key)


def shared(role: Role = Role.VIEWER, uses: int | None = None, **values: Any) -> Link:
    link = Link(role, NOW + DAY_S, uses, is_shared=True, access_until=NOW + DAY_S)
    return replace(link, **values)


ISSUED = st.builds(
    Link,
    role=st.sampled_from(Role),
    ends_at=st.floats(NOW, NOW + 30 * DAY_S),
    uses=st.none() | st.integers(1, 10_000),
    name=st.text(max_size=60),
    is_shared=st.booleans(),
)


@given(ISSUED)
def test_a_text_is_short_needs_no_escaping_and_is_found_again(link: Link) -> None:
    table = links()
    made = table.issue(link, NOW)
    assert PLAIN.fullmatch(made.text)
    assert len(made.text) <= MAX_LINK_CHARS
    assert table.find(made.text, NOW) == made == table.get(made.id)
    assert (made.role, made.ends_at, made.uses) == (link.role, link.ends_at, link.uses)
    assert made.text not in repr(made)


@pytest.mark.parametrize("name", ["", "Ada", "x" * 99, "é" * 99, "漢" * 99, "🚀" * 99])
def test_a_name_is_kept_and_a_long_one_is_cut_between_two_characters(name: str) -> None:
    made = links().issue(shared(name=name), NOW)
    assert name.startswith(made.name)
    assert made.name == name[:MAX_NAME] or len(made.name.encode()) in range(77, 81)
    assert len(made.text) <= 145


@given(
    st.text() | st.text(CHARACTERS, max_size=60) | st.binary().map(lambda b: b.decode("latin-1"))
)
def test_no_text_but_an_issued_one_is_known(text: str) -> None:
    table = links()
    for role in Role:
        table.issue(Link(role, NOW + DAY_S, None, name="Ada"), NOW)
    assert table.known(text) is None
    assert table.find(text, NOW) is None
    assert table.use(text, NOW) is None


@pytest.mark.parametrize("name", ["", "Ada Lovelace"])
def test_a_text_with_any_character_changed_is_nothing(name: str) -> None:
    table = links()
    text = table.issue(shared(name=name), NOW).text
    for place in range(len(text)):
        for other in CHARACTERS.replace(text[place], ""):
            assert table.known(text[:place] + other + text[place + 1 :]) is None
        assert table.known(text[:place] + text[place + 1 :]) is None
    for other in (text + "=", text + "A", " " + text, text + "\n", text.upper(), text * 2):
        assert table.known(other) is None
    assert table.known(text) is not None


@settings(max_examples=50)
@given(ISSUED, ISSUED, st.integers(0, 5), st.integers(0, 5))
def test_parts_of_two_texts_make_no_third(one: Link, two: Link, a: int, b: int) -> None:
    table = links()
    texts = [table.issue(each, NOW).text for each in (one, two)]
    first, second = (text.split(".") for text in texts)
    mixed = ".".join(first[:a] + second[b:])
    assert mixed in texts or table.known(mixed) is None


@pytest.mark.parametrize("part", range(4))
def test_no_part_of_a_text_can_be_written_anew(part: int) -> None:
    table = links()
    text = table.issue(shared(name="Ada"), NOW).text
    table.issue(shared(Role.OWNER), NOW)
    for other in ("o", "e", "l2", "zzzzzzz", "T3duZXI", ""):
        parts = text.split(".")
        if parts[part] != other:
            parts[part] = other
            assert table.known(".".join(parts)) is None


def test_a_text_of_another_run_is_nothing() -> None:
    made = links().issue(shared(), NOW)
    assert links(b"another key").known(made.text) is None


def test_a_link_is_opened_as_often_as_it_says_and_counted() -> None:
    table = links()
    text = table.issue(shared(uses=2), NOW).text
    used = [table.use(text, NOW + second) for second in range(3)]
    assert [each and (each.opened, each.uses) for each in used] == [(1, 1), (2, 0), None]
    known = table.known(text)
    assert known is not None
    assert known.over(NOW) is Over.USED
    assert known.opened_at == NOW + 1


def test_a_link_for_any_number_has_an_end_all_the_same() -> None:
    table = links()
    text = table.issue(shared(), NOW).text
    for _ in range(MAX_OPENED):
        assert table.use(text, NOW) is not None
    assert table.use(text, NOW) is None


def test_a_link_ends_at_its_time_and_when_it_is_revoked() -> None:
    table = links()
    one, two = (table.issue(shared(), NOW) for _ in range(2))
    assert table.find(one.text, NOW + DAY_S) is not None
    assert table.find(one.text, NOW + DAY_S + 0.1) is None
    assert table.revoke(two.id).over(NOW) is Over.REVOKED
    assert table.use(two.text, NOW) is None
    assert table.find(one.text, NOW) is not None
    with pytest.raises(TtyBridgeError, match="There is no link 'l3'"):
        table.revoke("l3")


def test_ids_are_counted_and_never_given_twice() -> None:
    table = links()
    assert [table.issue(shared(), NOW).id for _ in range(3)] == ["l1", "l2", "l3"]
    for number in range(4, 3 * MAX_LINKS):
        assert table.issue(Link(Role.OWNER, NOW - 1), NOW).id == f"l{number}"
    assert len(table.all()) == MAX_LINKS
    assert table.get("l1") is not None


def test_links_that_have_had_their_time_are_forgotten_before_others() -> None:
    table = links()
    owners = table.issue(Link(Role.OWNER, NOW + DAY_S), NOW)
    unopened = table.issue(shared(uses=1), NOW)
    used = table.issue(Link(Role.OWNER, NOW + DAY_S), NOW)
    table.use(used.text, NOW)
    revoked = table.issue(shared(), NOW)
    table.use(revoked.text, NOW)
    table.revoke(revoked.id)
    inside = table.issue(shared(uses=1), NOW)
    table.use(inside.text, NOW)
    while len(table.all()) < MAX_LINKS:
        table.issue(shared(), NOW)
    gone: list[str] = []
    for _ in range(3):
        before = {each.id for each in table.all()}
        new = table.issue(shared(), NOW)
        gone += before - {each.id for each in table.all()}
        assert table.get(new.id) is not None
    assert gone == [revoked.id, used.id, owners.id]
    # What is left are guests who are in, or may come: no newer link pushes them out unasked.
    with pytest.raises(TtyBridgeError, match="1000 links for guests already"):
        table.issue(Link(Role.OWNER, NOW + DAY_S), NOW)
    assert table.get(inside.id) is not None
    assert table.get(unopened.id) is not None
    # A forgotten one opens nothing, but who sends it has guessed nothing.
    assert table.find(owners.text, NOW) is None
    known = table.known(owners.text)
    assert known is not None
    assert (known.id, known.over(NOW)) == (owners.id, Over.USED)
    assert table.issue(shared(), NOW + DAY_S + 1).id  # later there is room


def test_whoever_may_be_in_by_a_link_is_not_forgotten_before_the_sessions_end() -> None:
    table = links()
    text = table.issue(shared(uses=1, access_until=None), NOW).text
    used = table.use(text, NOW + 10)
    assert used is not None
    assert used.lets_in(NOW + 10 + SESSION_LIFE_S)
    assert not used.lets_in(NOW + 11 + SESSION_LIFE_S)
