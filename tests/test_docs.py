"""The documents agree with the program: links, commands, options, exit codes."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ttybridge import errors, model
from ttybridge.config import Config
from ttybridge.options import options_of
from ttybridge.subcommands import SUBCOMMANDS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")

SWITCHES = {each.name: {flag for flag, _ in each.switches} for each in SUBCOMMANDS}
"""Flags of each subcommand that are no settings; the name of the bridge itself is empty."""

OTHER_FLAGS = {"--help", "--version", "--logdir"}.union(*SWITCHES.values())
"""Flags that are no settings; the last one is TensorBoard's."""


def blocks(text: str, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(text) if found == language]


def commands(path: Path) -> list[list[str]]:
    """The commands of a document's sh blocks, split as the shell splits them."""
    lines = "".join(blocks(path.read_text(encoding="utf-8"), "sh")).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def anchors(path: Path) -> set[str]:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def known_flags() -> set[str]:
    options = options_of(Config)
    return {flag for each in options for flag in (each.flag, each.on_flag, each.off_flag) if flag}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = path.parent / name if name else path
        assert linked.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_in_documents_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z][a-z0-9-]*)", text))
    named |= {words[1] for words in commands(path) if words[0] == "make"}
    assert named <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_ttybridge_commands_in_documents_are_understood(path: Path) -> None:
    for words in commands(path):
        if words[0] != "ttybridge":
            continue
        own = words[1 : words.index("--")] if "--" in words else words[1:]
        subcommand = own[0] if own and not own[0].startswith("-") else ""
        assert subcommand in SWITCHES, words
        flags = {word for word in own if word.startswith("--")}
        assert flags <= known_flags() | SWITCHES[subcommand], words


def test_the_guide_explains_every_option_and_no_other() -> None:
    text = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    named = set(FLAG.findall(text)) - OTHER_FLAGS
    wanted = {option.flag for option in options_of(Config)} - {"--"}
    assert wanted <= named
    assert named <= known_flags()


def test_configuration_files_in_documents_have_known_keys() -> None:
    keys = {option.key for option in options_of(Config)}
    found = [block for path in DOCUMENTS for block in blocks(path.read_text(), "toml")]
    assert found
    for block in found:
        assert set(tomllib.loads(block)) <= keys


def test_the_first_command_of_the_readme_is_make_run() -> None:
    assert commands(ROOT / "README.md")[0] == ["make", "run"]
    assert ["make", "test"] in commands(ROOT / "README.md")


def test_help_and_version_answer_without_starting_anything() -> None:
    for flag, wanted in (("--help", "ttybridge"), ("--version", _version())):
        done = subprocess.run(
            [sys.executable, "-m", "ttybridge", flag],
            capture_output=True, text=True, timeout=30, check=True, cwd=ROOT,
        )  # fmt: skip
        assert wanted in done.stdout


def test_exit_codes_of_errors_are_documented() -> None:
    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    codes = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.TtyBridgeError)
    }
    for code in codes:
        assert re.search(rf"^\| *`?{code}`? *\|", text, re.MULTILINE), f"exit code {code}"


def test_the_protocol_names_every_reason_role_and_mode() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    for kind in (model.EndReason, model.Role, model.Mode):
        for member in kind:
            assert f"`{member.value}`" in text


def _version() -> str:
    text = (ROOT / "ttybridge" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'__version__ = "([^"]+)"', text)
    assert found
    return found[1]


def test_nothing_says_to_take_any_host_key() -> None:
    folders = ("ttybridge", "docs", "examples", "scripts", "benchmarks", "tests", "static/src")
    kinds = {".py", ".sh", ".md", ".ts", ".ipynb", ".toml"}
    found = [p for name in folders for p in (ROOT / name).rglob("*") if p.suffix in kinds]
    assert len(found) > 100
    for path in [*(p for p in found if "node_modules" not in p.parts), ROOT / "README.md"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"StrictHostKeyChecking[\s=:\"',]+(no|off)\b", text), path
