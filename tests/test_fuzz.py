"""The fuzz targets: over their corpora everywhere, and for a moment by chance with atheris."""

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.__main__ import CORPUS, NO_ATHERIS, TARGETS
from fuzz.checks import FIRST, names
from tests.conftest import ROOT
from ttybridge.core.screen_modes import ScreenModes

MOMENT_S = 1


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_finds_nothing_in_its_corpus_which_reaches_every_check(target: str) -> None:
    module = importlib.import_module(f"fuzz.fuzz_{target}")
    files = sorted((CORPUS / target).iterdir())
    for file in files:
        module.one_input(file.read_bytes())
    reached = {(file.read_bytes()[0] - FIRST) % len(module.CHECKS) for file in files}
    assert reached == set(range(len(module.CHECKS))), names(module.CHECKS)
    assert sum(file.stat().st_size for file in files) < 64_000


def test_a_target_fails_where_the_program_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("fuzz.fuzz_output")
    cut = (CORPUS / "output" / "modes-many").read_bytes()
    right = ScreenModes.feed

    def forgets(self: ScreenModes, data: bytes) -> None:
        right(self, data)
        self._rest = b""

    monkeypatch.setattr(ScreenModes, "feed", forgets)
    with pytest.raises(AssertionError, match="prelude"):
        module.one_input(cut)


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "fuzz", *arguments]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason=NO_ATHERIS)
def test_a_moment_of_fuzzing_finds_nothing_new() -> None:
    done = run("--seconds", str(MOMENT_S), "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^\| `(\w+)` \| [\d,]+ \| ([\d,]+) \|", done.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == list(TARGETS)
    for name, inputs in rows:
        assert int(inputs.replace(",", "")) > 200, name


def test_an_input_is_run_again_by_itself(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(b"a2probe")
    assert run("--replay", str(good), "protocol").stdout == "nothing found\n"
    assert run("--replay", str(good)).returncode == 2
    assert run("nothing").returncode == 2
