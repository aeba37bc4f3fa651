"""A cell's text runs in the shared pane of a real tmux, in each shell that is installed."""

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S, Tmux, clean_environment
from tests.e2e.hostile import eventually
from ttybridge.adapters import pane_run, pane_shell
from ttybridge.adapters.pane_run import PaneRun, PaneRuns, RunEnd
from ttybridge.adapters.tmux_control import TmuxControl
from ttybridge.core.tmux import Target
from ttybridge.errors import TerminalError

SHELLS = {
    "bash": ["bash", "--norc"],
    "zsh": ["zsh", "-f"],
    "dash": ["env", "dash"],
    "fish": ["fish", "--no-config"],
    "ksh": ["env", "ksh"],
    "mksh": ["env", "mksh"],
    "busybox": ["busybox", "ash"],
}
"""Command lines of interactive shells that read nothing of the user's. tmux runs them itself:
one word would be run by another shell."""


@dataclass
class Cells:
    """Runs cells in a tmux session of the test's own."""

    tmux: Tmux
    folder: Path
    runs: PaneRuns = field(init=False)

    def __post_init__(self) -> None:
        environment = {os.fsencode(n): os.fsencode(v) for n, v in self.environment.items()}
        target = Target(socket_path=str(self.tmux.socket))
        control = TmuxControl(target, environment=environment, cwd="/")
        self.runs = PaneRuns(control, self.folder)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the session."""
        return clean_environment(HOME=str(self.folder.parent), SHELL="/bin/sh")

    def open(self, argv: Sequence[str], **environment: str) -> None:
        """Start the session with a shell."""
        home = self.folder.parent
        size = ("-x", "100", "-y", "50")
        env = self.environment | environment
        self.tmux(
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-s",
            "0",
            "-c",
            str(home),
            *size,
            *argv,
            env=env,
        )

    async def run(
        self,
        text: str,
        *,
        when: str = "",
        then: Callable[[PaneRun], object] | None = None,
        max_bytes: int = pane_run.MAX_BYTES,
    ) -> tuple[str, RunEnd]:
        """Run a text to its end; `then` is done once when the output has `when`."""
        output = ""
        async with asyncio.timeout(DEADLINE_S), self.runs.run(text, max_bytes=max_bytes) as run:
            async for piece in run:
                output += piece
                if then is not None and when in output:
                    done = then(run)
                    if asyncio.iscoroutine(done):
                        await done
                    then = None
        assert run.end is not None
        return output, run.end

    async def status(self, text: str) -> int | None:
        """Run a text and return its status."""
        return (await self.run(text))[1].status

    async def output(self, text: str) -> str:
        """Run a text that succeeds and return its output."""
        output, end = await self.run(text)
        assert end == RunEnd(0, "", 0), output
        return output

    async def refuses(self, part: str, text: str = "echo ran") -> None:
        """Check that a text is not run, and that the reason has a hint."""
        with pytest.raises(TerminalError, match=part) as caught:
            async with self.runs.run(text):
                pytest.fail("it was run")
        assert caught.value.hint or "character" in part

    def sleeps(self) -> bool:
        """Tell whether the pane's shell has a child that sleeps."""
        pid = self.tmux("display-message", "-p", "-t", "=0:", "#{pane_pid}")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        names = [Path(f"/proc/{child}/comm") for child in children]
        return any(name.read_text() == "sleep\n" for name in names if name.exists())

    async def interrupt_sleep(self, run: PaneRun) -> None:
        """Type Ctrl-C once the cell sleeps: before, some shells overhear it."""
        await eventually(self.sleeps, "the cell sleeps")
        await run.interrupt()

    def check_nothing_is_left(self) -> None:
        """Check that no file and no pipe of a run is left."""
        assert list(self.folder.iterdir()) == []
        assert self.tmux("display-message", "-p", "-t", "=0:", "#{pane_pipe}") == "0"


@pytest.fixture
def cells(tmux: Tmux, short_path: Path) -> Cells:
    folder = short_path / "run"
    folder.mkdir(mode=0o700)
    return Cells(tmux, folder)


@pytest.fixture
def bash(cells: Cells) -> Cells:
    cells.open(SHELLS["bash"])
    return cells


@pytest.mark.parametrize("name", SHELLS)
async def test_a_cell_runs_as_if_it_had_been_typed(cells: Cells, name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    is_fish = name == "fish"
    cells.open(SHELLS[name])
    export = "set -gx A 'x y'" if is_fish else "export A='x y'"
    assert await cells.output(f"cd /usr/bin\n{export}") == ""
    assert await cells.output('pwd; echo "$A"') == "/usr/bin\nx y\n"
    assert await cells.output("printf 'no end \033[31mred\033[0m'") == "no end \033[31mred\033[0m"
    assert await cells.status("return 7") == 7
    assert await cells.status("") == 0
    output, end = await cells.run("echo one\nif then\necho two")
    assert end.status, output
    assert "cell" in output
    sleeping = "echo up\n/bin/sleep 1000\necho after"
    output, end = await cells.run(sleeping, when="up\n", then=cells.interrupt_sleep)
    assert (end.status, "after" in output) == (130, False), output
    answered = "echo your name\nread name\necho hello $name"
    reply = ("send-keys", "-t", "=0:", "me", "Enter")
    output, end = await cells.run(answered, when="name\n", then=lambda _: cells.tmux(*reply))
    assert output.endswith("hello me\n")
    if not is_fish:
        assert "\n# done\n" in await cells.output("cat <<'X'\nit's $A\n# done\nX")
        output, end = await cells.run("set -u; echo $nope_nope; echo after")
        assert "nope_nope" in output
        assert "after" not in output
        assert await cells.status("set +u") == 0
        await cells.run("trap 'echo mine' INT")
        assert "mine" in await cells.output("trap")
        await cells.run("trap - INT")
    screen = cells.tmux.screen()
    assert "7717" not in screen, "a mark is shown"
    assert "/dev/tty" not in screen
    if is_fish:
        asking = ("C-l", "functions -q __ttybridge_end; echo left_$status", "Enter")
        cells.tmux("send-keys", "-t", "=0:", *asking)
        await eventually(lambda: "left_1\n" in cells.tmux.screen(), "the hook is gone")
    else:
        asking = ("", "clear; trap; __ttybridge_end; echo left_$?_", "Enter")
        cells.tmux("send-keys", "-t", "=0:", *asking)
        await eventually(lambda: "left_127_" in cells.tmux.screen(), "the hook is gone")
        assert "INT" not in cells.tmux.screen(), "the trap is gone"
        assert (await cells.run("set -x\necho traced"))[0].startswith("+")
        assert await cells.status("set +x\n") == 0
    cells.check_nothing_is_left()
    output, end = await cells.run("echo last; exit 3")
    assert output == "last\n"
    assert end == (RunEnd(3, "", 0) if is_fish else RunEnd(None, "The shell ended.", 0))


async def test_the_user_s_prompt_command_runs_as_before(cells: Cells) -> None:
    command = 'last=$?; printf "<prompt %s>" "$last"'
    cells.open(SHELLS["bash"], PROMPT_COMMAND=command)
    await eventually(lambda: "<prompt 0>" in cells.tmux.screen(), "the prompt")
    assert await cells.run("printf a; return 5") == ("a", RunEnd(5, "", 0))
    await eventually(lambda: "a<prompt 5>" in cells.tmux.screen(), "the status is the cell's")
    assert await cells.status("echo $nope; sleep 0; kill -INT $$; echo no") == 130
    cells.tmux("send-keys", "-t", "=0:", "C-l", 'echo "[$PROMPT_COMMAND]"', "Enter")
    await eventually(lambda: f"[{command}]" in cells.tmux.screen(), "it is as it was")
    assert await cells.status("PROMPT_COMMAND=; set -u; echo ${PROMPT_COMMAND+set}") == 0
    assert await cells.output("PROMPT_COMMAND=(true); readonly PROMPT_COMMAND") == ""
    assert await cells.output("echo still") == "still\n"


async def test_a_run_ends_when_the_shell_does_or_becomes_another_program(bash: Cells) -> None:
    assert await bash.output("bash --norc -i <<<'echo inner'") != ""
    bash.tmux("send-keys", "-t", "=0:", "clear; bash --norc", "Enter")
    await eventually(lambda: bash.tmux.screen().startswith("bash-"), "the inner shell")
    ended = RunEnd(None, "The shell ended.", 0)
    output, end = await bash.run("echo x; exit")
    assert (output[:2], end) == ("x\n", ended)
    bash.check_nothing_is_left()
    replaced = "The shell was replaced by another program (exec), which runs on."
    assert await bash.run("exec sleep 1000") == ("", RunEnd(None, replaced, 0))
    bash.check_nothing_is_left()
    await bash.refuses("runs 'sleep', not a shell")


async def test_a_pane_that_takes_no_line_is_refused_with_the_reason(
    bash: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pane_shell, "STARTS_S", 0.1)
    monkeypatch.setattr(pane_shell, "PROMPT_S", 0.5)
    tmux = bash.tmux
    assert await bash.output("echo up") == "up\n"
    await bash.refuses("NUL character", "a\0b")
    await bash.refuses("half a character", "\ud800")
    theirs = bash.folder.parent / "theirs"
    tmux("pipe-pane", "-t", "=0:", f"cat >{theirs}")
    await bash.refuses("piped to a program already")
    assert tmux("display-message", "-p", "-t", "=0:", "#{pane_pipe}") == "1", "it was stolen"
    tmux("pipe-pane", "-t", "=0:")
    tmux("select-pane", "-d", "-t", "=0:")
    await bash.refuses("takes no keys")
    tmux("select-pane", "-e", "-t", "=0:")
    tmux("split-window", "-t", "=0:")
    tmux("set-option", "-w", "-t", "=0:", "synchronize-panes", "on")
    await bash.refuses("goes to other panes, too")
    tmux("kill-pane", "-a", "-t", "=0:.0")
    tmux("set-option", "-w", "-t", "=0:", "synchronize-panes", "off")
    tmux("send-keys", "-t", "=0:", "echo read; read x", "Enter")
    await eventually(lambda: "\nread" in tmux.screen(), "the shell reads")
    await bash.refuses("shows no prompt: it runs something")
    tmux("send-keys", "-t", "=0:", "C-c")
    tmux("send-keys", "-t", "=0:", "cat", "Enter")
    await eventually(lambda: "cat" in tmux("list-panes", "-F", "#{pane_current_command}"), "cat")
    await bash.refuses("runs 'cat', not a shell")
    tmux("set-option", "-t", "=0:", "remain-on-exit", "on")
    tmux("respawn-pane", "-k", "-t", "=0:", "true")
    await eventually(lambda: "1" in tmux("list-panes", "-F", "#{pane_dead}"), "it is dead")
    await bash.refuses("has ended")
    assert "echo ran" not in tmux("capture-pane", "-p", "-S", "-", "-t", "=0:")
    tmux("kill-session", "-t", "=0", check=False)
    await bash.refuses("'0' is not there")
    assert list(bash.folder.iterdir()) == []
    assert theirs.read_bytes() == b""


async def test_what_stands_unfinished_at_the_prompt_and_copy_mode_are_no_hindrance(
    bash: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pane_run, "RETRY_S", 0.5)
    assert await bash.output("echo up") == "up\n"
    bash.tmux("send-keys", "-t", "=0:", "touch typed;")
    assert await bash.output("echo one") == "one\n"
    assert "^C" not in bash.tmux.screen(), "nobody sees that it was cleared"
    bash.tmux("copy-mode", "-t", "=0:")
    assert await bash.output("echo two") == "two\n"
    assert bash.tmux("display-message", "-p", "-t", "=0:", "#{pane_in_mode}") == "0"
    bash.tmux("send-keys", "-t", "=0:", "echo 'half a quote", "Enter")
    assert await bash.output("echo three") == "three\n"
    assert await bash.output("ls typed 2>/dev/null || echo none") == "none\n"
    bash.check_nothing_is_left()


async def test_a_flood_is_streamed_and_cut_at_the_limit(bash: Cells) -> None:
    flood = "head -c 8000000 /dev/zero | tr '\\0' x; echo; echo end"
    output, end = await bash.run(flood)
    assert (len(output), output[-5:], end) == (8_000_005, "\nend\n", RunEnd(0, "", 0))
    output, end = await bash.run(flood, max_bytes=1000)
    assert output.startswith("x" * 1000 + "\n[ttybridge: more than 1000 bytes;")
    assert (end.status, end.left_out) == (0, 8_000_005 - 1000)


async def test_who_takes_nothing_holds_up_nothing_and_bounded_memory(
    bash: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pane_run, "MAX_WAITING", 100_000)
    async with asyncio.timeout(DEADLINE_S), bash.runs.run("seq 300000") as run:
        await eventually(lambda: run.end is not None, "it ends though nobody takes its output")
        output = "".join([piece async for piece in run])
    assert run.end is not None
    assert run.end.status == 0
    assert run.end.left_out > 1_000_000
    assert len(output) < 110_000
    assert output.startswith("1\n2\n")
    assert f"{run.end.left_out} bytes are left out here" in output


async def test_a_second_run_is_refused_and_giving_up_interrupts_the_first(bash: Cells) -> None:
    started = asyncio.Event()

    async def first() -> None:
        text = "trap 'echo caught' INT; echo up; sleep 1000; sleep 1000"
        async with bash.runs.run(text) as run:
            async for piece in run:
                if "up" in piece:
                    started.set()

    task = asyncio.create_task(first())
    async with asyncio.timeout(DEADLINE_S):
        await started.wait()
    await eventually(bash.sleeps, "the cell sleeps")
    await bash.refuses("Another cell runs")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    bash.check_nothing_is_left()
    # One Ctrl-C ends one sleep, since the cell has a trap that goes on.
    await eventually(lambda: bash.tmux.screen().count("^C") == 1, "Ctrl-C is typed")
    await bash.refuses("runs 'sleep', not a shell")
    assert bash.tmux.screen().count("^C") == 1
    bash.tmux("respawn-pane", "-k", "-t", "=0:")
    assert await bash.output("echo next") == "next\n"
