"""Numbers as text: what we write is what Prometheus's own parser reads."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ttybridge.core.limits import Use
from ttybridge.core.meter import OF_STATUS, REASONS, Meter
from ttybridge.core.metrics import Family, Histogram, Sample, by_label, counter, gauge, render

Read = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(text: str) -> Read:
    """Return every number with its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)


@given(st.dictionaries(texts, numbers, max_size=5), texts)
def test_any_label_and_number_is_read_back_as_it_was(values: dict[str, float], help: str) -> None:
    text = render([by_label("gauge", "some_name", help, "key", values)])
    found = read(text)
    assert found == {("some_name", (("key", key),)): value for key, value in values.items()}
    lines = text.split("\n")
    assert len(lines) == len(values) + 3
    assert lines[1] == "# TYPE some_name gauge"


def test_families_have_their_kind_and_help() -> None:
    families = [
        counter("a_total", "How often.", 3),
        gauge("b", "How \\much\nnow.", 0.5),
        Family("c", "gauge", "Two labels.", (Sample(1, {"x": "1", "y": 'q"'}),)),
    ]
    found = list(text_string_to_metric_families(render(families)))
    # The parser takes `_total` off the names of counters.
    assert [(f.name, f.type) for f in found] == [("a", "counter"), ("b", "gauge"), ("c", "gauge")]
    assert [f.documentation for f in found] == ["How often.", "How \\much\nnow.", "Two labels."]
    assert found[2].samples[0].labels == {"x": "1", "y": 'q"'}


def test_a_histogram_counts_each_value_in_all_buckets_above_it() -> None:
    lags = Histogram((0.1, 1.0))
    for value in (0.0, 0.1, 0.11, 7.5):
        lags.add(value)
    family = Family("lag_seconds", "histogram", "Lag.", lags.samples())
    found = read(render([family]))
    buckets = {labels[0][1]: value for (name, labels), value in found.items() if labels}
    assert buckets == {"0.1": 2, "1": 3, "+Inf": 4}
    assert found["lag_seconds_count", ()] == 4
    assert math.isclose(found["lag_seconds_sum", ()], 7.71)


@pytest.mark.parametrize("name", ["", "a b", "1a", "a-b", "ä"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="^" + name + "$"):
        render([gauge(name, "x", 1)])
    with pytest.raises(ValueError, match="^" + name + "$"):
        render([by_label("gauge", "good", "x", name, {"a": 1})])


# What is counted ----------------------------------------------------------------------------------


class Connection:
    """Stands for a transport."""


def test_every_reason_is_there_from_the_start_and_no_other_is_counted() -> None:
    meter = Meter()
    assert dict(meter.refused) == dict.fromkeys(REASONS, 0)
    assert set(OF_STATUS.values()) <= REASONS.keys()
    meter.refuse("packet")
    assert meter.refused["packet"] == 1
    with pytest.raises(KeyError):
        meter.refuse("10.0.0.7")
    assert meter.refused.keys() == REASONS.keys()


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_a_connection_is_worth_so_many_lines_and_the_next_one_as_many(lines: int) -> None:
    meter = Meter(lines)
    wanted = [True] * lines + [False] * (5 - lines)
    connections = [Connection(), Connection()]
    assert [[meter.may_log(one) for _ in range(5)] for one in connections] == [wanted, wanted]
    assert meter.not_logged == 2 * (5 - lines)
    assert meter.most_lines == lines
    connections.clear()
    assert len(meter._lines) == 0, "connections that are gone are forgotten"


def test_the_slowest_body_under_way_is_the_one_that_counts() -> None:
    meter = Meter()
    assert meter.body_s(50.0) == 0
    with meter.body(10.0), meter.body(12.0):
        assert meter.body_s(15.0) == 5.0
    with meter.body(14.0):
        assert meter.body_s(15.0) == 1.0
    assert meter.body_s(15.0) == 0


@pytest.mark.parametrize(
    ("use", "is_near"),
    [
        (Use("a", "", 10, 7), False),
        (Use("a", "", 10, 8), True),
        (Use("a", "", 10, 80), True),
        (Use("a", "", 10, 10, is_peak=True), False),
        (Use("a", "", 0, 0), False),
    ],
)
def test_a_limit_is_near_when_most_of_it_is_used_now(use: Use, is_near: bool) -> None:
    assert use.is_near is is_near
