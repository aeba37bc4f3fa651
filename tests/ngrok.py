"""The fake `ngrok` agent for tests: installed into a folder, told what to do, looked into."""

import json
import os
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import DEADLINE_S, ROOT, wait_until

TOKEN = "2abcDEFghiJKLmnoPQRstuVWXyz_5tRiCkYtOkEnFoRtEsTs"
"""An authtoken; it must not be seen anywhere."""


@dataclass(frozen=True)
class FakeNgrok:
    """A fake agent; what it can do is described in `tests/fakes/ngrok.py`."""

    bin: Path
    """The folder with the program, its behaviour and its state."""
    home: Path
    """A home without a configuration of ngrok's."""

    @property
    def env(self) -> dict[str, str]:
        """Variables for a bridge: PATH that has it first, HOME, and the token."""
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.home), "NGROK_AUTHTOKEN": TOKEN}

    def behave(self, **behaviour: Any) -> None:
        """Say how it behaves from its next start on."""
        (self.bin / "fake.json").write_text(json.dumps(behaviour))

    def state(self) -> dict[str, Any]:
        """Return what it has seen."""
        file = self.bin / "state.json"
        state: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return {"starts": [], "ports": {}, "requests": [], "commands": []} | state

    def port(self, url: str) -> int:
        """Return the port on 127.0.0.1 behind a public web address; send `Host` along."""
        return int(self.state()["ports"][url.partition("://")[2]])

    def do(self, action: str) -> None:
        """Have the agent that was started last do something: `die`, `move`, `lose`, `return`…"""
        api = self.state()["starts"][-1]["api"]
        request = urllib.request.Request(f"http://{api}/fake/{action}", method="POST")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open(request, timeout=DEADLINE_S).close()
        except OSError:
            if action != "die":
                raise

    def alive(self) -> list[int]:
        """Return the ids of the agents that are running."""
        return [start["pid"] for start in self.state()["starts"] if is_alive(start["pid"])]

    def wait_until_gone(self) -> None:
        """Wait until no agent is left; all of them must have been started."""
        wait_until(lambda: not self.alive(), "the end of the agents")


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that name a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = os.fsdecode(file.read_bytes())
        except OSError:
            continue
        if str(folder) in line and is_alive(int(file.parent.name)):
            found.append(line.replace("\0", " "))
    return found


def install_fake_ngrok(folder: Path, **behaviour: Any) -> FakeNgrok:
    """Put the fake agent into `folder/bin` as `ngrok`.

    Args:
        folder: A folder of the test's own.
        behaviour: See `tests/fakes/ngrok.py`: `plain=True`, `silent=True`, `start_error=108`…
    """
    fake = FakeNgrok(folder / "bin", folder / "home")
    for part in (fake.bin, fake.home):
        part.mkdir(parents=True, exist_ok=True)
    program = fake.bin / "ngrok"
    source = (ROOT / "tests" / "fakes" / "ngrok.py").read_text()
    # -S: it needs the standard library alone.
    program.write_text(f"#!{sys.executable} -IS\n{source}")
    program.chmod(0o755)
    fake.behave(**behaviour)
    return fake
