"""The soak itself runs: for some seconds, or for as long as `TTYBRIDGE_SOAK_MINUTES` says."""

import os
import subprocess
import sys

import pytest

from benchmarks.chromium import CHROMIUM
from tests.conftest import IS_LONG, ROOT
from tests.e2e.ssh import needs_ssh
from tests.soak.checks import Keys, Lines, Violation, spell
from tests.soak.program import line
from tests.soak.schedule import steps

VARIABLE = "TTYBRIDGE_SOAK_MINUTES"
MINUTES = float(os.environ.get(VARIABLE, "0"))


@pytest.mark.ssh
@needs_ssh[1]
@needs_ssh[2]
@pytest.mark.slow
@pytest.mark.skipif(
    not IS_LONG and VARIABLE not in os.environ, reason=f"takes long: {VARIABLE}=5 runs it"
)
@pytest.mark.timeout(MINUTES * 60 + 300)
def test_a_soak_finds_nothing() -> None:
    """Ordinarily ten seconds without a browser, so that the soak does not rot."""
    options = ["--minutes", str(MINUTES or 10 / 60), "--seed", "1"]
    if not MINUTES or not CHROMIUM.exists():
        options.append("--no-browser")
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", *options], cwd=ROOT, capture_output=True, text=True
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("all held")


def text(first: int, last: int) -> bytes:
    return b"".join(map(line, range(first, last)))


def feed(lines: Lines, output: bytes) -> None:
    """Feed output in pieces that are cut anywhere."""
    for at in range(0, len(output), 7):
        lines.feed(output[at : at + 7])


@pytest.mark.parametrize(
    "output",
    [
        text(0, 5) + text(6, 9),
        text(0, 5) + text(4, 9),
        text(0, 9)[:80] + text(0, 9)[81:],
        text(0, 9).replace(b"L000000004 ", b"L000000004 0"),
    ],
)
def test_output_that_lacks_or_repeats_something_is_noticed(output: bytes) -> None:
    with pytest.raises(Violation):
        feed(Lines(), output)


def test_output_that_is_whole_between_resets_is_fine() -> None:
    lines = Lines()
    for part in (text(0, 50)[13:], None, b"\x1bc" + text(60, 70)[5:], text(70, 80)):
        if part is None:
            lines.reset()
            continue
        feed(lines, part)
    assert lines.count == 49 + 19


def test_where_lines_may_lack_none_comes_twice_all_the_same() -> None:
    feed(Lines(may_lack=True), text(0, 9)[:80] + text(0, 30)[400:])
    with pytest.raises(Violation):
        feed(Lines(may_lack=True), text(0, 9) + text(5, 9))


def keys_after(*typed: str) -> Keys:
    keys = Keys(2)
    for part in typed:
        data = part.encode()
        for at in range(0, len(data), 4):
            keys.feed(data[at : at + 4])
    return keys


def test_keys_of_two_clients_are_told_apart_wherever_they_are_mixed() -> None:
    first, second = spell(0, 12) + spell(0, 13), spell(1, 34)
    mixed = first[0] + second[:2] + first[1:4] + second[2:] + first[4:]
    keys = Keys(2)
    keys.strict = [False, False]
    keys.feed(b"ls\r" + mixed.encode())
    assert (keys.last, keys.arrived) == ([13, 34], [2, 1])


@pytest.mark.parametrize(
    "numbers", [(1, 2, 2), (1, 2, 1), (1, 3), (2,)], ids=["twice", "late", "gap", "first"]
)
def test_keys_that_are_doubled_disordered_or_missing_are_noticed(numbers: tuple[int, ...]) -> None:
    with pytest.raises(Violation):
        keys_after(*(spell(1, number) for number in numbers))


def test_keys_that_may_be_lost_may_also_arrive() -> None:
    for arrives in ((1, 2, 3, 4), (1, 4), (1, 3, 4)):
        keys = keys_after(spell(0, 1))
        keys.excuse(0, 3)
        for number in arrives[1:]:
            keys.feed(spell(0, number).encode())
        assert keys.last[0] == 4


def test_a_seed_gives_the_same_steps_again() -> None:
    def some(seed: int) -> list[object]:
        return [step for step, _ in zip(steps(seed), range(200), strict=False)]

    assert some(1) == some(1) != some(2)
