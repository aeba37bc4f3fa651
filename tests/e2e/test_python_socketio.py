"""The unmodified python-socketio as a client, as docs/protocol.md shows it."""

import re
import subprocess
import sys

import aiohttp
import pytest
import socketio

from tests.conftest import DEADLINE_S, ROOT, RunningBridge, StartBridge, clean_environment
from tests.e2e.conftest import program

TEXT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def example() -> str:
    """Return the only program in the document."""
    (found,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_the_example_of_the_document_types_and_reads(
    transport: str, start_bridge: StartBridge
) -> None:
    bridge = start_bridge(command=["sh", "-c", "echo ready; read word; echo it says $word; exit 3"])
    code = example().replace('["polling"]', f'["{transport}"]')
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(ADDRESS=bridge.address, TOKEN=bridge.token),
        capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ready")
    assert done.stdout.endswith("it says exit\n")
    assert bridge.wait() == 3


async def polls(
    bridge: RunningBridge, http: aiohttp.ClientSession, wait_s: float, **headers: str
) -> bool:
    """Tell whether a client that polls gets as far as the namespace."""
    client = socketio.AsyncClient(http_session=http, reconnection=False)
    try:
        await client.connect(
            bridge.address,
            headers,
            socketio_path="tty",
            transports=["polling"],
            wait_timeout=wait_s,
        )
    except socketio.exceptions.ConnectionError:
        return False
    finally:
        await client.disconnect()
    return True


async def test_a_header_of_connect_is_not_enough_as_the_document_says(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(command=program("echo"))
    token = {"Authorization": f"Bearer {bridge.token}"}
    async with aiohttp.ClientSession() as plain, aiohttp.ClientSession(headers=token) as known:
        assert not await polls(bridge, plain, 1.0, **token)
        assert await polls(bridge, known, DEADLINE_S)
    assert "refused POST /tty/" in bridge.log, "the first GET had the header"
    assert "Traceback" not in bridge.log
