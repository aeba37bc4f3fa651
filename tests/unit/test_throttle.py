"""Wrong tokens are answered slowly, within bounds."""

import pytest

from ttybridge.core.throttle import (
    FIRST_DELAY_S,
    FORGET_S,
    MAX_ADDRESSES,
    MAX_DELAY_S,
    MAX_WAITING,
    Throttle,
)


def test_delays_double_from_the_first_to_the_longest() -> None:
    throttle = Throttle()
    delays = [throttle.failed("192.0.2.1", 100.0) for _ in range(60)]
    assert delays[:7] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0])
    assert set(delays[6:]) == {MAX_DELAY_S}


def test_an_address_is_forgotten_after_ten_quiet_minutes_and_not_before() -> None:
    throttle = Throttle()
    throttle.failed("192.0.2.1", 0.0)
    assert throttle.failed("192.0.2.1", FORGET_S) == pytest.approx(0.2)
    assert throttle.failed("192.0.2.1", 2 * FORGET_S + 1) == FIRST_DELAY_S


def test_addresses_are_counted_apart() -> None:
    throttle = Throttle()
    for _ in range(9):
        throttle.failed("192.0.2.1", 0.0)
    assert throttle.failed("192.0.2.2", 0.0) == FIRST_DELAY_S


def test_one_ipv6_network_counts_as_one_address() -> None:
    throttle = Throttle()
    throttle.failed("2001:db8::1", 0.0)
    assert throttle.failed("2001:db8::ffff", 0.0) == pytest.approx(0.2)
    assert throttle.failed("2001:db8:0:1::1", 0.0) == FIRST_DELAY_S


def test_an_ipv4_address_in_ipv6_form_is_the_same_address() -> None:
    throttle = Throttle()
    throttle.failed("192.0.2.1", 0.0)
    assert throttle.failed("::ffff:192.0.2.1", 0.0) == pytest.approx(0.2)


@pytest.mark.parametrize("address", ["", "unknown", "x" * 10_000, "\0", "1.2.3"])
def test_text_that_is_no_address_is_counted_together(address: str) -> None:
    throttle = Throttle()
    throttle.failed("nonsense", 0.0)
    assert throttle.failed(address, 0.0) == pytest.approx(0.2)


def test_the_table_is_bounded_and_keeps_the_busiest_guesser() -> None:
    throttle = Throttle()
    for number in range(3 * MAX_ADDRESSES):
        throttle.failed(
            f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", float(number) / 1e4
        )
        throttle.failed("192.0.2.1", float(number) / 1e4)
    assert len(throttle._failures) <= MAX_ADDRESSES
    assert throttle.failed("192.0.2.1", 2.0) == MAX_DELAY_S


def test_only_so_many_answers_wait_at_once() -> None:
    throttle = Throttle()
    assert all(throttle.enter() for _ in range(MAX_WAITING))
    assert not throttle.enter()
    throttle.leave()
    assert throttle.enter()
