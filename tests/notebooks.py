"""Notebooks that are executed for real: a kernel with ttybridge in it, a stand-in for Colab."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Tmux, clean_environment, wait_until

APPS = ROOT / ".venv-apps"
"""The virtual environment with Jupyter; ttybridge is in the other one."""

needs_jupyter = pytest.mark.skipif(
    not (APPS / "bin" / "jupyter-execute").exists(), reason="Jupyter is not installed (.venv-apps)"
)

KERNEL = "ttybridge"
"""Name of the kernel."""

START = """\
import sys
sys.path.pop(0)
sys.path.append({packages!r})
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""
"""Has our Python find ipykernel behind its own packages: none of ours is hidden."""

COLAB = """\
import json, os
calls = []
def note(*call):
    with open(os.environ["COLAB_CALLS"], "a") as file:
        file.write(json.dumps(call) + "\\n")
def register_callback(name, function):
    note("register_callback", name)
    calls.append(function)
def eval_js(script, ignore_result=False, timeout_sec=None):
    note("eval_js", script, timeout_sec)
    return os.environ.get("COLAB_PROXY") or None
def serve_kernel_port_as_iframe(
    port, path="/", width="100%", height="400", cache_in_notebook=False
):
    note("serve_kernel_port_as_iframe", port, path, width, height, cache_in_notebook)
"""
"""What is asked of `google.colab.output`, with its signatures; writes down each call."""


@dataclass
class Notebooks:
    """A folder with notebooks, and a kernel for them.

    The kernel has a home, a tmux and a folder for bridges of its own.
    """

    folder: Path
    """Where the notebooks are, and where the kernel works."""
    short: Path
    """A folder with a short path, for sockets."""
    env: dict[str, str] = field(default_factory=dict)
    """Further variables of the kernel."""

    def __post_init__(self) -> None:
        self.env = {
            "HOME": str(self.folder),
            "TMPDIR": str(self.short),
            "TMUX_TMPDIR": str(self.short),
            "SHELL": "/bin/bash",
            **self.env,
        }

    @property
    def server_environment(self) -> dict[str, str]:
        """The environment for a Jupyter server, or what executes notebooks."""
        (packages,) = (APPS / "lib").glob("python*/site-packages")
        words = [sys.executable, "-c", START.format(packages=str(packages))]
        spec = {"argv": [*words, "-f", "{connection_file}"], "display_name": KERNEL}
        kernel = self.folder / "jupyter" / "kernels" / KERNEL / "kernel.json"
        kernel.parent.mkdir(parents=True, exist_ok=True)
        kernel.write_text(json.dumps({**spec, "language": "python", "env": self.env}))
        folders = {
            f"JUPYTER_{name}": str(self.folder / "jupyter" / name.lower())
            for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
        }
        path = str(self.folder / "jupyter")
        return clean_environment(HOME=str(self.folder), JUPYTER_PATH=path, **folders)

    def write(self, name: str, cells: Sequence[str]) -> Path:
        """Write a notebook with these cells."""
        made: list[dict[str, object]] = [
            {"cell_type": "code", "id": f"c{n}", "source": text, "metadata": {}, "outputs": [],
             "execution_count": None}
            for n, text in enumerate(cells)
        ]  # fmt: skip
        return self._save(name, {"cells": made, "metadata": {}})

    def copy(self, original: Path, *, without_tag: str) -> Path:
        """Copy a notebook, without the cells that have this tag."""
        notebook = json.loads(original.read_text())
        cells = notebook["cells"]
        kept = [c for c in cells if without_tag not in c["metadata"].get("tags", ())]
        assert len(kept) < len(cells)
        return self._save(original.name, notebook | {"cells": kept})

    def execute(self, path: Path) -> list[str]:
        """Execute a notebook and save it; return what each code cell shows as text.

        An error in a cell fails the test.
        """
        done = subprocess.run(
            [str(APPS / "bin" / "jupyter-execute"), "--inplace", "--timeout=60", path.name],
            cwd=self.folder, env=self.server_environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        cells = json.loads(path.read_text())["cells"]
        return [shown(cell) for cell in cells if cell["cell_type"] == "code"]

    def stand_in_for_colab(self) -> Path:
        """Put `google.colab` where the kernel finds it; return where its calls are written."""
        package = self.folder / "stand-ins" / "google" / "colab"
        package.mkdir(parents=True)
        (package / "output.py").write_text(COLAB)
        calls = self.folder / "colab-calls"
        calls.touch()
        self.env |= {"PYTHONPATH": str(package.parents[1]), "COLAB_CALLS": str(calls)}
        return calls

    def bridges(self) -> list[int]:
        """Return the processes of the bridges in our folder."""
        code = "from ttybridge import launch; print(*(s.pid for _, s in launch.running()))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env=clean_environment(TMPDIR=str(self.short), PYTHONPATH=str(ROOT)),
        )  # fmt: skip
        # Bridges of others are found, too: ours have our folder in their environment.
        mark = f"TMUX_TMPDIR={self.short}".encode()
        found = []
        for pid in map(int, done.stdout.split()):
            with contextlib.suppress(OSError):  # one of others that has just ended
                if mark in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(pid)
        return found

    def _save(self, name: str, notebook: Mapping[str, Any]) -> Path:
        path = self.folder / name
        kernel = {"kernelspec": {"name": KERNEL, "display_name": KERNEL, "language": "python"}}
        full = {"nbformat": 4, "nbformat_minor": 5, **notebook, "metadata": kernel}
        path.write_text(json.dumps(full))
        return path


@contextlib.contextmanager
def made_notebooks(folder: Path, short: Path) -> Iterator[Notebooks]:
    """Give a folder for notebooks; the bridges that they leave are ended.

    Args:
        folder: Where the folder is made.
        short: A folder with a short path, for sockets.
    """
    (folder / "notebooks").mkdir()
    made = Notebooks(folder / "notebooks", short)
    yield made
    for pid in made.bridges():
        os.kill(pid, signal.SIGTERM)
        wait_until(partial(is_gone, pid), "the bridge ends")


@contextlib.contextmanager
def tmux_of_kernels(short: Path) -> Iterator[Tmux]:
    """Give the tmux that a kernel of `Notebooks` finds by its environment."""
    server = Tmux(short / f"tmux-{os.getuid()}" / "default")
    yield server
    server.stop()


def shown(cell: Mapping[str, Any]) -> str:
    """Return the outputs of a cell as text."""
    texts = []
    for output in cell["outputs"]:
        text = output.get("text") or output.get("data", {}).get("text/plain") or ""
        texts.append("".join(text))
    return "".join(texts)


def calls_of(file: Path) -> list[list[Any]]:
    """Return the calls that the stand-in for Colab has written down."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie of another parent has, too."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
