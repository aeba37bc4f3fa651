"""The agent's program: found where it may be, or installed by pyngrok."""

import asyncio
import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ttybridge.core.ngrok import parse_version
from ttybridge.errors import MissingProgramError
from ttybridge.tunnels.agent import Agent
from ttybridge.tunnels.base import Context
from ttybridge.tunnels.ngrok_config import agent_environment, config_folder

VERSION_S = 10.0
"""Time for the agent to say its version, in seconds."""

INSTALL_S = 100.0
"""Time for downloading the agent, in seconds: 10 MB, at 80 kB/s."""

TOLD_PERCENT = 20
"""Steps of the download that the user is told, in percent."""

HOW_TO_INSTALL = (
    "Install it (https://ngrok.com/download), or use another tunnel: --cloudflared, or "
    "--tunnel ssh:USER@HOST."
)
"""What to do when there is no agent."""

# In a process of its own: it prints its progress to stdout, and cannot be stopped otherwise.
_INSTALL = """\
import sys
sys.path[:] = sys.argv[2:]
from pyngrok import installer
installer.install_ngrok(sys.argv[1])
"""


def find(environ: Mapping[str, str]) -> Path | None:
    """Return the agent of PATH, else the one where pyngrok keeps it."""
    return next((file for file in _candidates(environ) if _is_program(file)), None)


def place(environ: Mapping[str, str]) -> Path:
    """Return where pyngrok keeps the agent."""
    named = environ.get("PYNGROK_NGROK_PATH")
    return Path(named) if named else config_folder(environ) / "ngrok"


async def version_of(binary: Path, context: Context) -> tuple[int, ...]:
    """Return the agent's version.

    Raises:
        MissingProgramError: It does not run, or is another program.
    """
    lines = await _run([str(binary), "version"], context, VERSION_S)
    version = parse_version("\n".join(lines))
    if version is None:
        said = lines[-1] if lines else "it says nothing"
        raise MissingProgramError(
            f"{binary} does not run as ngrok's agent: {said}", hint=HOW_TO_INSTALL
        )
    return version


async def install(context: Context, folder: Path) -> Path:
    """Download the agent to pyngrok's place, or into a folder where that cannot be written.

    Args:
        context: Whose user is told.
        folder: A private folder: the archive and what is in it go through here. pyngrok itself
            would leave half a program behind when it is stopped, and would take the archive from
            a name in /tmp that anybody can guess.

    Raises:
        MissingProgramError: It cannot be downloaded.
    """
    context.say("Installing ngrok: downloading its agent from ngrok.com…")
    binary = folder / "download" / "ngrok"
    binary.parent.mkdir(mode=0o700)
    argv = [sys.executable, "-I", "-c", _INSTALL, str(binary), *filter(None, sys.path)]
    temporary = {"TMPDIR": str(binary.parent)}
    lines = await _run(argv, context, INSTALL_S, environ=temporary, is_told=True)
    if not binary.exists():
        reason = lines[-1].rpartition(": ")[2].strip("<>. ") if lines else "it takes too long"
        raise MissingProgramError(
            f"ngrok's agent is not installed, and cannot be downloaded: {reason}.",
            hint=HOW_TO_INSTALL,
        )
    await version_of(binary, context)
    kept = _keep(binary, place(context.environ))
    context.say(f"Installing ngrok: done, {kept}" if kept != binary else "Installing ngrok: done")
    return kept


def _keep(binary: Path, place: Path) -> Path:
    """Put the program where it is found the next time; return where it is now."""
    new = place.with_name(f".ngrok-{os.getpid()}.new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(binary, new)
        new.chmod(0o700)
        new.replace(place)
    except OSError:
        new.unlink(missing_ok=True)
        return binary
    return place


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        if folder:
            yield Path(folder).absolute() / "ngrok"
    yield place(environ)


def _is_program(file: Path) -> bool:
    """Tell whether a file is an agent: pyngrok puts a script of that name into PATH.

    The script downloads an agent, whatever it is asked.
    """
    if not (file.is_file() and os.access(file, os.X_OK)):
        return False
    try:
        with file.open("rb") as opened:
            head = opened.read(4096)
    except OSError:
        return True  # it may be run, not read
    return not (head.startswith(b"#!") and b"from pyngrok" in head)


async def _run(
    argv: list[str],
    context: Context,
    within_s: float,
    *,
    environ: Mapping[str, str] | None = None,
    is_told: bool = False,
) -> list[str]:
    """Run a program to its end, or to the deadline, and return its last lines."""
    told = 0

    def tell(line: str) -> None:
        nonlocal told
        percent = re.search(r"(\d+)%", line)
        if is_told and percent and int(percent[1]) >= told + TOLD_PERCENT:
            told = int(percent[1]) // TOLD_PERCENT * TOLD_PERCENT
            context.say(f"Installing ngrok: {told}%")

    environment = agent_environment(context.environ) | dict(environ or {})
    agent = Agent(argv, environment, context.folder, on_line=tell)
    try:
        await agent.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await agent.wait()
        return list(agent.lines)
    finally:
        await agent.stop()
