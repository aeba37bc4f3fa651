"""Which polling requests a client sends, and in which order their answers count."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core import polls as module
from ttybridge.core.polls import LIVELY_S, MAX_REQUESTS, Polls


def lively(count: int = MAX_REQUESTS) -> Polls:
    """Return polls whose first answer had its number, with so many GETs under way: 2, 3, …"""
    polls = Polls()
    assert polls.answer(polls.begin_get(), "1", b"one") == [b"one"]
    polls.begin_post(0.0)
    polls.end_post()
    assert gets(polls, 0.0) == list(range(2, 2 + count))
    return polls


def gets(polls: Polls, now: float) -> list[int]:
    """Send the GETs that are of use; return what they are called."""
    found = []
    while polls.wants_get(now):
        found.append(polls.begin_get())
    return found


def posts(polls: Polls, now: float = 0.0) -> list[int]:
    """Send as many POSTs as may be; return their numbers."""
    found = []
    while polls.may_post:
        found.append(polls.begin_post(now))
    return found


@pytest.mark.parametrize("number", ["1", "0"])
def test_there_is_one_of_each_until_an_answer_has_a_number(number: str) -> None:
    polls = Polls()
    assert (gets(polls, 0.0), posts(polls)) == ([1], [1])
    assert gets(polls, 0.0) == []
    polls.answer(1, number, b"")
    assert (gets(polls, 0.0), posts(polls)) == ([2, 3, 4], [2, 3])
    polls.end_post()
    assert posts(polls) == [4]


def test_there_is_one_of_each_where_an_answer_has_no_number() -> None:
    polls = Polls()
    gets(polls, 0.0), posts(polls)
    assert polls.answer(1, None, b"first") == [b"first"]
    assert (gets(polls, 0.0), posts(polls)) == ([2], [])
    polls.end_post()
    assert (gets(polls, 0.0), posts(polls)) == ([], [2])
    assert polls.answer(2, None, b"second") == [b"second"]
    assert not polls.is_over


def test_several_gets_are_held_for_a_while_after_something_was_sent() -> None:
    polls = lively()
    polls.answer(2, "2", b"")
    assert gets(polls, LIVELY_S * 1.01) == []
    for poll, number in ((3, "0"), (4, "3")):
        polls.answer(poll, number, b"")
    assert gets(polls, LIVELY_S * 1.01) == [5]
    polls.begin_post(LIVELY_S * 2)
    assert gets(polls, LIVELY_S * 2) == [6, 7]


def test_answers_that_overtake_each_other_are_put_in_order() -> None:
    polls = lively()
    assert polls.answer(4, "3", b"three") == []
    assert polls.answer(3, "0", b"6") == []
    assert polls.answer(2, "2", b"two") == [b"two", b"three"]
    assert not polls.is_over


def test_an_answer_is_waited_for_until_no_get_that_was_under_way_can_bring_it() -> None:
    polls = lively()
    polls.answer(3, "3", b"")
    later = gets(polls, 0.0)
    polls.answer(4, "0", b"6")
    polls.answer(later[0], "4", b"")
    assert not polls.is_lost  # the first one may still bring it
    polls.answer(2, "5", b"")  # it was asked twice
    assert polls.is_lost
    assert polls.is_over
    assert gets(polls, 0.0) == []


def test_an_answer_that_comes_late_and_another_after_it_are_no_loss() -> None:
    polls = lively()
    polls.answer(3, "3", b"three")
    assert polls.answer(2, "2", b"two") == [b"two", b"three"]
    fifth = gets(polls, 0.0)[0]
    assert polls.answer(fifth, "5", b"five") == []
    assert polls.answer(4, "4", b"four") == [b"four", b"five"]
    assert not polls.is_lost


@pytest.mark.parametrize("number", ["1", "-2", "two", "²", "2.0", "", "9" * 16])
def test_a_number_that_cannot_be_is_a_loss(number: str) -> None:
    polls = lively()
    assert polls.answer(2, number, b"") == []
    assert polls.is_over


def test_a_number_that_comes_twice_is_a_loss() -> None:
    polls = lively()
    polls.answer(2, "3", b"")
    polls.answer(3, "3", b"")
    assert polls.is_lost


def test_an_answer_without_a_number_beside_others_is_a_loss() -> None:
    polls = lively()
    assert polls.answer(2, None, b"?") == []
    assert polls.is_lost


def test_a_get_that_fails_waits_for_the_goodbye_that_another_one_brings() -> None:
    polls = lively()
    polls.fail_get(2)
    assert gets(polls, 0.0) == []
    polls.fail_get(3)
    assert not polls.is_over
    assert polls.answer(4, "2", b"41") == [b"41"]
    assert polls.is_over


@pytest.mark.parametrize(("count", "size"), [(12, 1), (4, 100)])
def test_what_waits_for_a_missing_answer_is_bounded(
    monkeypatch: pytest.MonkeyPatch, count: int, size: int
) -> None:
    monkeypatch.setattr(module, "MAX_EARLY", 10)
    monkeypatch.setattr(module, "MAX_EARLY_BYTES", 350)
    polls = lively()
    taken = 0
    while not polls.is_lost:
        taken += 1
        polls.answer(polls.begin_get(), str(taken + 2), bytes(size))
    assert taken == min(count, 11)


@given(st.integers(1, 60), st.randoms(use_true_random=False))
def test_whatever_the_order_on_the_way_each_answer_counts_once_and_in_order(
    count: int, chance: random.Random
) -> None:
    polls = Polls()
    first = polls.begin_get()
    assert polls.answer(first, "1", b"1") == [b"1"]
    waiting: list[int] = []
    on_the_way: list[tuple[int, str]] = []
    number, found = 1, [b"1"]
    while len(found) < count:
        polls.begin_post(0.0)
        polls.end_post()
        waiting += gets(polls, 0.0)
        if waiting and number < count:
            poll = waiting.pop(chance.randrange(len(waiting)))
            number += 1
            on_the_way.append((poll, str(number)))
        if on_the_way and (chance.random() < 0.5 or number == count or not waiting):
            poll, text = on_the_way.pop(chance.randrange(len(on_the_way)))
            found += polls.answer(poll, text, text.encode())
            assert not polls.is_lost
    assert found == [str(n).encode() for n in range(1, count + 1)]
