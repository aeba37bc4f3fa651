"""A fake cloudflared in PATH: see tests/fakes/cloudflared.py."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import clean_environment

SCRIPT = Path(__file__).with_name("fakes") / "cloudflared.py"


@dataclass(frozen=True)
class FakeCloudflared:
    """An installed one; it can be started for several local ports."""

    folder: Path
    """Where it is, and what it writes."""

    @property
    def env(self) -> dict[str, str]:
        """The environment in which it is found."""
        return clean_environment(PATH=f"{self.folder / 'bin'}:{os.environ['PATH']}")

    def state(self, local_port: int) -> dict[str, object]:
        """Return what it says of its last start: `pid`, `argv`, `environ`, `starts`, `hostname`,
        and `port`, the loopback port that stands for its public name."""
        file = self.folder / f"state-{local_port}.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def behave(self, **behaviour: object) -> None:
        """Say how it behaves from now on; what was said before is forgotten.

        At any time: `hostname="other.trycloudflare.com"`, `ready=503`, `lies="name"` (another
        name than in its log). At its start: `silent=True`, `late_s=1`, `dies_s=1`,
        `fails="429" | "offline" | "odd"`, `metrics_taken=2` (so many starts).
        """
        new = self.folder / "behaviour.new"
        new.write_text(json.dumps(behaviour))
        new.replace(self.folder / "behaviour.json")


def install_fake_cloudflared(folder: Path, **behaviour: object) -> FakeCloudflared:
    """Install the fake one into a folder of the test's own."""
    program = folder / "bin" / "cloudflared"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{SCRIPT}" "{folder}" "$@"\n')
    program.chmod(0o755)
    fake = FakeCloudflared(folder)
    fake.behave(**behaviour)
    return fake
