"""Where a program is, and where it may run."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ttybridge.errors import MissingProgramError, TerminalError


def existing_folder(cwd: str) -> str:
    """Return `cwd` while one can work in it, otherwise `/`."""
    return cwd if os.access(f"{cwd}/.", os.X_OK) else "/"


def check_folder(cwd: str) -> None:
    """Refuse a working directory that is gone.

    Raises:
        TerminalError: It is not a folder.
    """
    if not Path(cwd).is_dir():
        raise TerminalError(
            f"The working directory {cwd!r} is not a folder.",
            hint="It may have been removed. Make it again, or give another with --cwd.",
        )


def find_program(name: str, environment: Mapping[bytes, bytes]) -> str:
    """Return the path of a program, looked up in the environment's own PATH.

    Raises:
        MissingProgramError: There is no such program.
    """
    path = environment.get(b"PATH", os.defpath.encode())
    program = shutil.which(name, path=os.fsdecode(path))
    if program is None:
        raise MissingProgramError(
            f"The program {name!r} was not found.",
            hint="Check the spelling and PATH, or give its full path.",
        )
    return program
