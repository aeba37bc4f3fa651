"""The arithmetic of the benchmark: percentiles, goals, tables, and what counts as the same text."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.flood import stamp
from benchmarks.foreign import Used, ticks_between
from benchmarks.goals import Goal, Verdict, judge
from benchmarks.line import FIRST_WINDOW, Window
from benchmarks.report import BEGIN as MARK_BEGIN
from benchmarks.report import END as MARK_END
from benchmarks.report import Run, Sample, markdown, replaced, table
from benchmarks.stats import Spread, percentile, spread
from benchmarks.text import BEGIN, END, LINE_NUMBER, digest_of, write_text
from benchmarks.viewers import Stamps
from benchmarks.workload import Column, Numbers, Workload, WrongOutputError
from benchmarks.workloads import ALL
from benchmarks.workloads.bulk import check, stale_lines


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)]
)
def test_a_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_a_percentile_of_few_values_is_the_largest_and_of_none_no_number() -> None:
    assert percentile([3.0, 9.0, 1.0], 99) == 9.0
    assert math.isnan(percentile([], 50))


def test_a_spread_leaves_out_rounds_without_a_number() -> None:
    assert spread([math.nan, 5.0, 1.0, 2.0]) == Spread(2.0, 1.0, 5.0, 3)
    assert spread([math.nan]) is None


OURS_AND_THEIRS = {
    "ttybridge": {"ms": 1.2, "mb_s": 60.0, "zero": 0.0},
    "ttyd": {"ms": 1.0, "mb_s": 50.0, "zero": 0.0},
    "wetty": {"ms": 3.0, "mb_s": 70.0},
    "pty": {"ms": 0.1, "mb_s": 90.0},
    "ssh": {"ms": 0.1},
}


@pytest.mark.parametrize(
    ("goal", "verdict", "value", "peer"),
    [
        (Goal("ms", 1.25, against="ttyd"), Verdict.MET, 1.2, "ttyd"),
        (Goal("ms", 1.1, against="ttyd"), Verdict.MISSED, 1.2, "ttyd"),
        (Goal("ms", 1.2), Verdict.MET, 1.2, ""),
        (Goal("ms", 1.19), Verdict.MISSED, 1.2, ""),
        (Goal("mb_s", 1.15, is_floor=True, against="ttyd"), Verdict.MET, 1.2, "ttyd"),
        (Goal("mb_s", 0.85, is_floor=True, against="pty"), Verdict.MISSED, 60 / 90, "pty"),
        # The best of the others is no floor: neither a bare pty nor ssh.
        (Goal("ms", 1, against="best"), Verdict.MISSED, 1.2, "ttyd"),
        (Goal("ms", 1, against="best", without=frozenset({"ttyd"})), Verdict.MET, 0.4, "wetty"),
        (Goal("mb_s", 1, is_floor=True, against="best"), Verdict.MISSED, 60 / 70, "wetty"),
        (Goal("zero", 0), Verdict.MET, 0.0, ""),
    ],
)
def test_a_goal_is_judged(goal: Goal, verdict: Verdict, value: float, peer: str) -> None:
    outcome = judge(goal, OURS_AND_THEIRS)
    assert (outcome.verdict, outcome.peer) == (verdict, peer)
    assert outcome.value == pytest.approx(value)


@pytest.mark.parametrize(
    "goal",
    [
        Goal("unknown", 1),
        Goal("ms", 1, against="terminado"),
        Goal("unknown", 1, against="ttyd"),
        Goal("zero", 1, against="wetty"),
        Goal("zero", 1, against="best", without=frozenset({"ttyd"})),
    ],
)
def test_what_was_not_measured_is_neither_met_nor_missed(goal: Goal) -> None:
    assert judge(goal, OURS_AND_THEIRS).verdict is Verdict.NOT_MEASURED


@pytest.fixture
def text(tmp_path: Path) -> tuple[bytes, str]:
    size, digest = write_text(tmp_path / "text", 100_000)
    written = (tmp_path / "text").read_bytes()
    assert len(written) == size
    return written, digest


def shown(text: bytes) -> bytes:
    return b"ready" + BEGIN + text.replace(b"\n", b"\r\n") + END + b"prompt"


def test_the_same_text_is_the_same_and_a_planted_byte_is_not(text: tuple[bytes, str]) -> None:
    written, digest = text
    check(shown(written), digest)
    for at in (0, len(written) // 2, len(written) - 2):
        planted = written[:at] + bytes([written[at] ^ 1]) + written[at + 1 :]
        with pytest.raises(WrongOutputError, match="SHA-256"):
            check(shown(planted), digest)
    for other in (written[:-1], written + b"\n", written.replace(b"\n", b"", 1)):
        with pytest.raises(WrongOutputError, match="SHA-256"):
            check(shown(other), digest)


def test_half_a_text_is_no_text(text: tuple[bytes, str]) -> None:
    written, digest = text
    for output in (b"", written, BEGIN + written, END + BEGIN):
        assert digest_of(output) == ""
        with pytest.raises(WrongOutputError, match="did not come"):
            check(output, digest)


def test_lines_of_the_text_are_numbered_coloured_and_not_ascii(text: tuple[bytes, str]) -> None:
    written, _ = text
    numbers = [int(number) for number in LINE_NUMBER.findall(written)]
    assert numbers == list(range(written.count(b"\n")))
    assert b"\r" not in written
    assert written.count(b"\x1b[") > len(numbers)
    assert len(written.decode()) < len(written)


def test_lines_are_stale_that_are_not_on_the_last_screen() -> None:
    lines = [b"\x1b[1m#%07d \x1b[0m text\r\n" % number for number in range(100)]
    assert stale_lines(b"".join(lines), rows=31) == 69
    assert stale_lines(b"".join(lines[-31:]), rows=31) == 0


def test_a_window_doubles_with_each_round_trip_as_long_as_it_is_used() -> None:
    window = Window(0.1)
    sent, now = [], 0.0
    for _ in range(4):
        sent.append(window.room(now))
        window.sent(now, sent[-1])
        assert window.room(now + 0.05) == 0
        assert window.next_room() == pytest.approx(now + 0.1)
        now += 0.1001
    assert sent == [FIRST_WINDOW * 2**at for at in range(4)]
    idle = Window(0.1)
    for at in range(5):
        assert idle.room(at * 0.2) == FIRST_WINDOW
        idle.sent(at * 0.2, 5000)


def test_other_work_is_counted_once_when_a_process_ends() -> None:
    before = {7: Used(1, 10, 5), 8: Used(7, 100, 20), 9: Used(7, 7, 0)}
    # 8 has used 4 more before its end, and 7 has waited for it; another came and went meanwhile.
    assert ticks_between(before, {7: Used(1, 11, 5 + 124 + 3), 9: Used(7, 9, 0)}) == 1 + 4 + 3 + 2
    # Nobody has waited for it: only what is left is known, and nothing is negative.
    assert ticks_between(before, {7: Used(1, 11, 5), 9: Used(7, 7, 0)}) == 1


def test_other_work_is_counted_once_when_a_process_ends_with_its_parent() -> None:
    before = {1: Used(0, 0, 0), 7: Used(1, 10, 0), 8: Used(7, 20, 0), 9: Used(8, 3000, 0)}
    assert ticks_between(before, {1: Used(0, 0, 0), 7: Used(1, 10, 20 + 3001)}) == 1
    assert ticks_between(before, {1: Used(0, 2, 3031)}) == 2


def nothing(case: object) -> Numbers:
    return {}


ROW = Workload(
    "row",
    "A row",
    (Column("ms", "time, ms"), Column("kb", "KB")),
    nothing,
    goals={"direct": (Goal("ms", 2, against="ttyd"), Goal("kb", 5, unit="KB"))},
    modes=("direct",),
)


def run(*samples: Sample) -> Run:
    return Run([ROW], samples, {"ttybridge": "1", "ttyd": "2"}, {"wetty": "no node"}, "Here.", 3)


def sample(peer: str, number: int, error: str = "", **numbers: float) -> Sample:
    return Sample("row", "direct", peer, number, numbers, error)


def test_tables_have_medians_ranges_versions_absences_and_verdicts() -> None:
    text = markdown(
        run(
            *(sample("ttybridge", at, ms=ms, kb=7.0) for at, ms in enumerate((9.0, 2.0, 3.0))),
            *(sample("ttyd", at, ms=2.0) for at in range(3)),
        )
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["A row", "direct", "time ≤ 2 × ttyd", "3.00 (2.00–9.00)", "1.50 × ttyd", "met"] in rows
    assert ["A row", "direct", "KB ≤ 5 KB", "7.00 (7.00–7.00)", "–", "missed"] in rows
    assert ["ttyd", "2.00 (2.00–2.00)", "–"] in rows
    assert "- ttyd: 2" in text
    assert "- wetty is absent: no node" in text


def test_a_wrong_or_failed_round_is_no_result() -> None:
    wrong = run(
        sample("ttybridge", 0, ms=1.0),
        sample("ttybridge", 1, "WRONG: SHA-256 1 instead of 2"),
        sample("ttyd", 0, ms=1.0),
    )
    assert [o.verdict for _, _, o in wrong.outcomes()] == [Verdict.NOT_MEASURED] * 2
    text = markdown(wrong)
    assert "| ttybridge | WRONG" in text
    assert "ttybridge: WRONG: SHA-256 1 instead of 2" in text
    failed = run(sample("ttybridge", 0, ms=1.0), sample("ttyd", 0, "failed: no prompt"))
    assert [o.verdict for _, _, o in failed.outcomes()] == [Verdict.NOT_MEASURED] * 2
    assert "failed: no prompt" in markdown(failed)


def test_tables_are_aligned() -> None:
    assert len({len(line) for line in table([["a", "b"], ["long cell", "1"]]).splitlines()}) == 1


def test_only_what_is_between_the_markers_is_replaced() -> None:
    document = f"# Title\n\n{MARK_BEGIN}\nold\n\\1 old\n{MARK_END}\n\n## After\n"
    made = replaced(document, "| new \\1 |\n")
    assert made == f"# Title\n\n{MARK_BEGIN}\n| new \\1 |\n{MARK_END}\n\n## After\n"
    assert replaced(made, "| new \\1 |\n") == made
    for broken in ("", document + MARK_BEGIN, f"{MARK_END}\n{MARK_BEGIN}\n"):
        with pytest.raises(ValueError, match="measured"):
            replaced(broken, "new")


@pytest.mark.parametrize("workload", ALL, ids=lambda workload: workload.name)
def test_goals_speak_of_numbers_that_are_in_the_table(workload: Workload) -> None:
    keys = {column.key for column in workload.columns}
    for mode, goals in workload.goals.items():
        assert mode in workload.modes
        assert {goal.number for goal in goals} <= keys


@given(st.lists(st.sampled_from(["STAMP", "\r\n", "[S", "[", "\x1b[31m", "fox " * 20])), st.data())
def test_each_stamp_is_found_once_wherever_messages_end(
    parts: list[str], draw: st.DataObject
) -> None:
    texts = [stamp(number) if part == "STAMP" else part for number, part in enumerate(parts)]
    output = "".join(texts).encode()
    cuts = draw.draw(st.sets(st.integers(0, len(output))))
    stamps, begin = Stamps(), 0
    for end in [*sorted(cuts), len(output)]:
        stamps.feed(output[begin:end], now=0)
        begin = end
    found = [number for _, part in stamps.found for number, _ in part]
    assert found == [number for number, part in enumerate(parts) if part == "STAMP"]
