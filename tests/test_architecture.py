"""Imports point one way, the core is pure, and libraries without types live in one place."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LAYER_OF = {
    "errors": "words",
    "model": "words",
    "core": "core",
    "session": "session",
    "sessions": "session",
    "adapters": "adapters",
    "tunnels": "tunnels",
    "advice": "settings",
    "arguments": "settings",
    "config": "settings",
    "config_reach": "settings",
    "logs": "settings",
    "manual": "settings",
    "options": "settings",
    "readers": "settings",
    "settings": "settings",
    "subcommands": "settings",
    "together": "settings",
    "tokens": "settings",
    "ssh": "ssh",
    "web": "web",
    "client": "client",
    "bridge": "bridge",
    "front": "bridge",
    "loading": "bridge",
    "public": "bridge",
    "shared": "bridge",
    "operations": "bridge",
    "operations_people": "bridge",
    "recordings": "bridge",
    "started": "bridge",
    "usage": "bridge",
    "browser": "entrances",
    "check": "entrances",
    "child": "entrances",
    "cli": "entrances",
    "command": "entrances",
    "doctor": "entrances",
    "env_command": "entrances",
    "launch": "entrances",
    "notebook": "entrances",
    "public_checks": "entrances",
    "qr": "entrances",
    "ssh_checks": "entrances",
    "announce": "entrances",
    "output": "settings",
    "people_commands": "entrances",
    "play": "entrances",
    "record_commands": "entrances",
    "running": "entrances",
    "__main__": "entrances",
}
"""The layer of each module or package directly inside ttybridge."""

MAY_IMPORT = {
    "words": set[str](),
    "core": {"words"},
    "session": {"words", "core"},
    "adapters": {"words", "core"},
    "tunnels": {"words", "core"},
    "settings": {"words", "core"},
    "ssh": {"words", "core", "session", "adapters", "settings"},
    "web": {"words", "core", "session", "adapters", "tunnels", "settings"},
    "client": {"words", "core", "settings"},
    "bridge": {"words", "core", "session", "adapters", "tunnels", "settings", "ssh", "web"},
    "entrances": {
        "words", "core", "session", "adapters", "tunnels", "settings", "ssh", "web", "bridge",
        "client",
    },
}  # fmt: skip
"""What a layer may import besides itself; the package's own version may be read by all."""

IMPURE = frozenset(
    """
    aiohttp asyncio concurrent curses engineio fcntl fileinput glob http logging
    multiprocessing os pathlib pty ptyprocess queue random sched secrets select selectors
    shutil signal socket socketio socketserver ssl subprocess sys tempfile termios threading
    time tty urllib.request webbrowser
    """.split()  # noqa: SIM905  one column of forty words reads worse
)
"""Modules that do I/O, read a clock or an environment, or make random numbers."""

IMPURE_CALLS = {"open", "print", "input", "breakpoint", "exec", "eval"}
"""Builtins that a pure module does not call."""

IMPURE_METHODS = {"now", "today", "utcnow"}
"""Methods of datetime that read the clock."""

ONLY_IN = {
    "socketio": {"ttybridge.web.events", "ttybridge.web.engine"},
    "engineio": {"ttybridge.web.connection", "ttybridge.web.engine", "ttybridge.web.websocket"},
    "ptyprocess": {"ttybridge.adapters.pty_start"},
    "pyngrok": {"ttybridge.tunnels.ngrok", "ttybridge.tunnels.ngrok_start"},
    "cryptography": {"ttybridge.ssh.host_key"},
}
"""Libraries that only these modules import."""

READS_ENVIRONMENT = {
    *("ttybridge.cli", "ttybridge.launch", "ttybridge.loading", "ttybridge.notebook.magics"),
    *("ttybridge.ssh.login", "ttybridge.ssh.keeper"),
}
"""The modules that may read os.environ, those that are programs; all others receive values."""

MAX_LINES = 400
"""Longest file that still reads in one sitting; beyond it, look for a second duty to split off."""


@dataclass(frozen=True)
class Module:
    """One parsed file of the package."""

    name: str
    path: Path
    tree: ast.Module
    is_package: bool

    @property
    def layer(self) -> str | None:
        """The layer, or None where the table has none; the package itself counts as words."""
        parts = self.name.split(".")
        return "words" if len(parts) == 1 else LAYER_OF.get(parts[1])


def read_package(root: Path) -> dict[str, Module]:
    modules = {}
    for path in sorted((root / "ttybridge").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = Module(name, path, ast.parse(path.read_bytes()), is_package)
    return modules


def imported(module: Module, modules: dict[str, Module]) -> Iterator[str]:
    """Yield the full name of each module that is imported, at whatever depth of the code."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.name.split(".")
                parents = parts[: len(parts) - node.level + module.is_package]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if name in modules or base == "" else base


def is_within(name: str, of: str) -> bool:
    return name == of or name.startswith(of + ".")


def layer_faults(module: Module, modules: dict[str, Module]) -> Iterator[str]:
    if module.layer is None:
        yield f"{module.name} has no layer; give it one in LAYER_OF"
        return
    for name in imported(module, modules):
        if not is_within(name, "ttybridge") or name == "ttybridge":
            continue
        target = LAYER_OF.get(name.split(".")[1])
        if target != module.layer and target not in MAY_IMPORT[module.layer]:
            yield f"{module.name} ({module.layer}) imports {name} ({target})"


def purity_faults(module: Module, modules: dict[str, Module]) -> Iterator[str]:
    if module.layer not in {"words", "core"}:
        return
    for name in imported(module, modules):
        if any(is_within(name, impure) for impure in IMPURE):
            yield f"{module.name} is pure and imports {name}"
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in IMPURE_CALLS:
            yield f"{module.name} is pure and calls {called.id} in line {node.lineno}"
        if isinstance(called, ast.Attribute) and called.attr in IMPURE_METHODS:
            yield f"{module.name} is pure and reads the clock in line {node.lineno}"


def placement_faults(module: Module, modules: dict[str, Module]) -> Iterator[str]:
    for name in imported(module, modules):
        for library, places in ONLY_IN.items():
            if is_within(name, library) and module.name not in places:
                yield f"{module.name} imports {library}; that belongs in {sorted(places)}"
    if module.name in READS_ENVIRONMENT:
        return
    for node in ast.walk(module.tree):
        read = ""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            read = f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            read = " ".join(f"os.{alias.name}" for alias in node.names)
        if any(word in read.split() for word in ("os.environ", "os.environb", "os.getenv")):
            yield f"{module.name} reads the environment; only {sorted(READS_ENVIRONMENT)} do"


def length_faults(path: Path, root: Path) -> Iterator[str]:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if lines > MAX_LINES:
        yield f"{path.relative_to(root)} has {lines} lines; split off its second duty"


def cycle_faults(modules: dict[str, Module]) -> Iterator[str]:
    graph = {
        name: {found for found in imported(module, modules) if found in modules} - {name}
        for name, module in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "modules import each other: " + " -> ".join(error.args[1])


def faults(root: Path) -> list[str]:
    modules = read_package(root)
    found = list(cycle_faults(modules))
    for module in modules.values():
        found += layer_faults(module, modules)
        found += purity_faults(module, modules)
        found += placement_faults(module, modules)
        found += length_faults(module.path, root)
    for source in sorted((root / "static" / "src").glob("**/*.ts")):
        found += length_faults(source, root)
    return found


def plant(root: Path, **files: str) -> list[str]:
    """Write a package of a few modules, `web___app` standing for web/app.py; return its faults."""
    (root / "ttybridge").mkdir()
    for name, text in {"__init__": "__version__ = '0'\n", **files}.items():
        path = root.joinpath("ttybridge", *name.split("___")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return faults(root)


def test_the_package_keeps_to_its_layers() -> None:
    assert read_package(ROOT), "no package found"
    assert faults(ROOT) == []


def test_imports_that_point_down_are_accepted(tmp_path: Path) -> None:
    assert (
        plant(
            tmp_path,
            errors="",
            core___stream="from collections import deque\nfrom ttybridge.errors import E\n",
            adapters___pty_start="import os, ptyprocess\nfrom ttybridge.core import stream\n",
            web___events="import socketio\nfrom ttybridge import __version__\n",
            cli="import os\nfrom ttybridge.web import events\nprint(os.environ)\n",
        )
        == []
    )


def test_an_import_that_points_up_is_found(tmp_path: Path) -> None:
    found = plant(tmp_path, core___stream="from ttybridge.web import events\n", web___events="")
    assert found == ["ttybridge.core.stream (core) imports ttybridge.web.events (web)"]


def test_an_import_that_points_up_is_found_inside_a_function_and_written_relatively(
    tmp_path: Path,
) -> None:
    found = plant(
        tmp_path,
        adapters___pty="def f():\n    from .. import bridge\n    from ..session import S\n",
        bridge="",
        session="",
    )
    assert found == [
        "ttybridge.adapters.pty (adapters) imports ttybridge.bridge (bridge)",
        "ttybridge.adapters.pty (adapters) imports ttybridge.session (session)",
    ]


def test_session_and_adapters_do_not_know_each_other(tmp_path: Path) -> None:
    found = plant(tmp_path, session="import ttybridge.adapters.pty\n", adapters___pty="")
    assert found == ["ttybridge.session (session) imports ttybridge.adapters.pty (adapters)"]


def test_io_clocks_and_random_numbers_in_the_core_are_found(tmp_path: Path) -> None:
    found = plant(
        tmp_path,
        core___a="import os.path\nfrom asyncio import Queue\nfrom time import monotonic\n",
        core___b="import datetime\nopen('x')\ndatetime.datetime.now()\n",
    )
    assert found == [
        "ttybridge.core.a is pure and imports os.path",
        "ttybridge.core.a is pure and imports asyncio",
        "ttybridge.core.a is pure and imports time",
        "ttybridge.core.b is pure and calls open in line 2",
        "ttybridge.core.b is pure and reads the clock in line 3",
    ]


def test_a_library_outside_its_module_is_found(tmp_path: Path) -> None:
    found = plant(tmp_path, web___routes="import socketio\nfrom ptyprocess import PtyProcess\n")
    assert len(found) == 2
    assert "imports socketio" in found[0]
    assert "imports ptyprocess" in found[1]


def test_reading_the_environment_outside_the_command_line_is_found(tmp_path: Path) -> None:
    found = plant(
        tmp_path, web___a="import os\nos.environ['A']\n", web___b="from os import getenv\n"
    )
    assert len(found) == 2
    assert all("reads the environment" in fault for fault in found)


def test_modules_that_import_each_other_are_found(tmp_path: Path) -> None:
    found = plant(
        tmp_path, core___a="import ttybridge.core.b\n", core___b="import ttybridge.core.a\n"
    )
    assert len(found) == 1
    assert "import each other" in found[0]


def test_a_module_without_a_layer_and_a_long_file_are_found(tmp_path: Path) -> None:
    found = plant(tmp_path, surprise="", core___long="x = 1\n" * (MAX_LINES + 1))
    assert found == [
        "ttybridge/core/long.py has 401 lines; split off its second duty",
        "ttybridge.surprise has no layer; give it one in LAYER_OF",
    ]
