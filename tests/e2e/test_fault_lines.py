"""Lines that are cut or fall silent: nothing is lost or doubled, and what is dead is dropped."""

import asyncio
import contextlib
import random
import re
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import Figure, RunningBridge, StartBridge, Tmux, clean_environment, wait_until
from tests.e2e.cables import ALLOW, through
from tests.e2e.conftest import StartOnPty
from tests.e2e.hostile import Watched
from tests.e2e.polling_client import PollingClient
from tests.e2e.raw_client import ColabClient, ContractClient, PageClient, eventually
from tests.e2e.ssh import Ssh, needs_ssh, ssh_address
from tests.page.network import Cable

WAYS: dict[str, type[PageClient]] = {"WebSocket": PageClient, "polling": PollingClient}

both_ways = pytest.mark.parametrize("way", WAYS)

BACK_S = 2.0
"""Time in which the screen is there again once the line is back, in seconds."""

LAST = 200_000


def losses(numbers: list[int], last: int) -> tuple[int, int]:
    """Return how many of 1 to `last` are missing, and how many came more than once."""
    return len(set(range(1, last + 1)) - set(numbers)), len(numbers) - len(set(numbers))


def ends(client: PageClient) -> bool:
    return client.closed.is_set() or client.output.endswith(b"all\r\n")


async def resumed(lost: PageClient, cable: Cable, bridge: RunningBridge) -> PageClient:
    """Come back in the place of a lost client; the line may be cut while that is under way."""
    for _ in range(5):
        with contextlib.suppress(aiohttp.ClientError, OSError):
            return await type(lost).join(through(cable, bridge), resume=lost)
    pytest.fail("the client cannot come back")


@both_ways
async def test_five_cuts_at_random_places_lose_and_double_no_byte(
    start_bridge: StartBridge, new_cable: Callable[[int], Cable], figure: Figure, way: str
) -> None:
    command = ["sh", "-c", f"stty -echo; echo ready; read go; seq 1 {LAST}; echo all; read x"]
    bridge = start_bridge(*ALLOW, command=command)
    cable = new_cable(bridge.port)
    place = random.Random(5)
    output, waits = bytearray(), []
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await WAYS[way].join(through(cable, bridge)))
        await client.shows("ready")
        cable.cut_after(*(place.randint(20_000, 150_000) for _ in range(5)))
        await client.type("\r")
        await eventually(lambda: ends(client), "the first cut")
        while not client.output.endswith(b"all\r\n"):
            began = time.monotonic()
            output += client.output
            client = await stack.enter_async_context(await resumed(client, cable, bridge))
            assert client.joined["resumed"]
            await eventually(lambda c=client: c.output or c.closed.is_set(), "output again")  # type: ignore[misc]
            waits.append(time.monotonic() - began)
            await eventually(lambda c=client: ends(c), "the next cut, or the end")  # type: ignore[misc]
        output += client.output
        assert client.resets == []
    assert cable.cuts == 5
    numbers = [int(word) for word in re.findall(rb"(?<!\d)(\d+)\r\n", output)]
    lost, doubled = losses(numbers, LAST)
    figure(f"line cut, {way}", seconds=max(waits), bytes_lost=lost, duplicates=doubled)
    assert (lost, doubled) == (0, 0)
    whole = b"".join(b"%d\r\n" % number for number in range(1, LAST + 1))
    assert bytes(output) == b"ready\r\n" + whole + b"all\r\n"
    assert max(waits) < BACK_S


async def test_what_is_kept_no_more_is_replaced_by_the_screen_of_the_moment(
    start_bridge: StartBridge, figure: Figure
) -> None:
    command = ["sh", "-c", f"stty -echo; echo ready; read go; seq 1 {LAST}; echo all; read x"]
    bridge = start_bridge("--backlog", "64K", "--window", "64K", command=command)
    async with await PageClient.join(bridge) as lost, await PageClient.join(bridge) as other:
        await lost.shows("ready")
        lost.cut()
        await eventually(lambda: "lost its connection" in bridge.log, "the bridge knows of the cut")
        await other.type("\r")
        await other.shows("all\r\n")  # the program goes on for who is there
        assert other.resets == []
        began = time.monotonic()
        async with await PageClient.join(bridge, resume=lost) as again:
            await again.shows("all\r\n")
            took = time.monotonic() - began
            assert again.joined["resumed"]
            assert [(each["reason"], each["hard"]) for each in again.resets] == [("lost", True)]
            numbers = [int(word) for word in re.findall(rb"(?<!\d)(\d+)\r\n", again.output)]
            assert len(numbers) > 1000
            assert numbers == list(range(numbers[0], LAST + 1))
    figure("line cut, more missed than is kept", seconds=took)
    assert took < BACK_S


async def test_a_place_that_is_kept_no_more_is_replaced_by_another_with_the_screen(
    start_bridge: StartBridge, tmux: Tmux, figure: Figure
) -> None:
    bridge = start_bridge("--resume", "1")
    async with await PageClient.join(bridge) as lost:
        await lost.type("echo before-$((1))\r")
        await lost.shows("before-1")
        lost.cut()
        await eventually(lambda: "lost its connection" in bridge.log, "the bridge knows of the cut")
        await eventually(lambda: " left" in bridge.log, "its place is given up")
        began = time.monotonic()
        async with await PageClient.join(bridge, resume=lost) as again:
            assert not again.joined["resumed"]
            await again.shows("before-1")
            took = time.monotonic() - began
            assert len(tmux.clients()) == 1
    figure("line cut, place given up", seconds=took)
    assert took < BACK_S


@both_ways
async def test_the_tmux_screen_is_back_within_two_seconds_of_the_line(
    start_bridge: StartBridge,
    new_cable: Callable[[int], Cable],
    tmux: Tmux,
    figure: Figure,
    way: str,
) -> None:
    bridge = start_bridge(*ALLOW)
    cable = new_cable(bridge.port)
    async with await WAYS[way].join(through(cable, bridge)) as client:
        await client.type("echo before-$((1)); until [ -e go ]; do sleep .05; done; seq 20000\r")
        await client.shows("before-1")
        cable.cut(refuse=True)
        await eventually(client.closed.is_set, "the client knows of the cut")
        # The program goes on, and prints many screens that the client lacks.
        tmux("send-keys", "-t", "=0:", "", "")
        (Path(f"/proc/{bridge.pid}/cwd") / "go").touch()
        await eventually(lambda: "\n20000\n" in tmux.screen(), "the program goes on")
        cable.mend()
        began = time.monotonic()
        async with await WAYS[way].join(through(cable, bridge), resume=client) as again:
            await again.shows("20000")
            took = time.monotonic() - began
            assert again.joined["resumed"]
            await again.type("echo after-$((1))\r")
            await again.shows("after-1")
    figure(f"line cut, tmux screen, {way}", seconds=took)
    assert took < BACK_S


KEYS = """
import os, sys, termios, tty
tty.setraw(0)
with open("typed", "ab", buffering=0) as file:
    os.write(1, b"ready")
    while data := os.read(0, 65536):
        file.write(data)
        if b"." in data:
            break
os.write(1, b"finished")
os.read(0, 1)
"""


@both_ways
async def test_keys_across_cuts_arrive_once_and_in_order(
    start_bridge: StartBridge,
    new_cable: Callable[[int], Cable],
    tmp_path: Path,
    figure: Figure,
    way: str,
) -> None:
    bridge = start_bridge(*ALLOW, command=[sys.executable, "-c", KEYS])
    cable = new_cable(bridge.port)
    place = random.Random(6)
    count = 0
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await WAYS[way].join(through(cable, bridge)))
        await client.shows("ready")
        for turn in range(8):
            if turn % 2:  # what is typed arrives, and its confirmation does not
                cable.hold_down()
            for _ in range(place.randint(20, 60)):
                count += 1
                await client.type(f"{count};")
                if place.random() < 0.2:
                    await asyncio.sleep(0)
            if turn % 2 and way == "WebSocket":
                wanted = f"{count};".encode()
                await eventually(
                    lambda w=wanted: (tmp_path / "typed").read_bytes().endswith(w),  # type: ignore[misc]
                    "the keys arrive",
                )
            cable.cut()
            cable.mend()
            await eventually(client.closed.is_set, "the client knows of the cut")
            lost = client
            client = await stack.enter_async_context(await resumed(lost, cable, bridge))
            assert client.joined["resumed"]
            await client.send_again(lost)
        await client.type(".")
        await eventually(
            lambda: (tmp_path / "typed").read_bytes().endswith(b"."), "the last key arrives"
        )
    typed = (tmp_path / "typed").read_text()
    numbers = [int(number) for number in typed.removesuffix(".").split(";") if number]
    missing, doubled = losses(numbers, count)
    figure(f"keys across a cut, {way}", keys=count, bytes_lost=missing, duplicates=doubled)
    assert numbers == list(range(1, count + 1))


@pytest.mark.ssh
@needs_ssh[1]
@needs_ssh[2]
def test_a_cut_ends_one_ssh_login_and_the_next_one_sees_the_session_within_two_seconds(
    start_bridge: StartBridge,
    new_cable: Callable[[int], Cable],
    ssh: Ssh,
    start_on_pty: StartOnPty,
    tmp_path: Path,
    figure: Figure,
) -> None:
    bridge = start_bridge(*ssh.options)
    cable = new_cable(ssh_address(bridge)[0])
    environment = clean_environment(TERM="xterm-256color")
    plain = ssh.command(bridge, "-p", str(cable.port), "bridge")
    login = start_on_pty(plain, env=environment)
    login.wait_for_text("[0] 0:")
    login.type(b"cat > typed\r")
    wait_until((tmp_path / "typed").exists, "the program reads")
    for number in range(1, 41):
        login.type(b"%d\r" % number)
        if number == 20:
            wait_until(lambda: "20" in (tmp_path / "typed").read_text().split(), "half the keys")
    cable.cut()
    assert login.wait() == 255
    arrived = len((tmp_path / "typed").read_text().splitlines())
    watched = Watched(bridge.pid)
    began = time.monotonic()
    again = start_on_pty(plain, env=environment)
    again.wait_for_text("[0] 0:")
    took = time.monotonic() - began
    for number in range(41, 61):
        again.type(b"%d\r" % number)
    again.type(b"\x04")
    wait_until(lambda: "60" in (tmp_path / "typed").read_text().split(), "the last key arrives")
    numbers = [int(word) for word in (tmp_path / "typed").read_text().split()]
    figure("line cut, ssh", seconds=took, duplicates=len(numbers) - len(set(numbers)), keys=arrived)
    # ssh itself promises nothing of what was under way: at most once, and in order.
    assert numbers == sorted(set(numbers))
    assert numbers[-20:] == list(range(41, 61))
    assert took < BACK_S
    wait_until(lambda: watched.ptys <= 1, "no pty of the lost login is left")


# The last output ----------------------------------------------------------------------------------

END = "read go; seq 1 100000; printf the-last-word; exit 7"

LAST_OUTPUT = b"".join(b"%d\r\n" % number for number in range(1, 100_001)) + b"the-last-word"


@pytest.mark.parametrize("way", [*WAYS, "contract", "colab/tty"])
async def test_all_output_comes_before_the_exit(
    start_bridge: StartBridge, figure: Figure, way: str
) -> None:
    bridge = start_bridge(command=["sh", "-c", f"stty -echo; {END}"])
    client: PageClient | ContractClient | ColabClient
    if way == "colab/tty":
        client = await ColabClient.join(bridge)
        await client.send(data="\r")
    elif way == "contract":
        client = await ContractClient.join(bridge)
        await client.send(data="\r")
    else:
        client = await WAYS[way].join(bridge)
        await client.type("\r")
    async with client:
        await client.ended()
        got = bytes(client.output).lstrip(b"\r\n")
        figure(
            f"last output before exit, {way}",
            bytes_lost=len(LAST_OUTPUT) - len(got),
            duplicates=max(0, len(got) - len(LAST_OUTPUT)),
        )
        assert got == LAST_OUTPUT
        if not isinstance(client, ColabClient):
            assert client.exit["exitCode"] == 7
    assert bridge.wait() == 7


FULL = """
import os, time, tty
tty.setraw(0)
os.write(1, b"ready")
os.read(0, 1)
os.set_blocking(1, False)
output = b"".join(b"%d\\n" % number for number in range(1, 500_001))
written, since = 0, time.monotonic()
while time.monotonic() - since < 2:  # since then, nobody has read: there is no room any more
    try:
        written += os.write(1, output[written : written + 65536])
        since = time.monotonic()
    except BlockingIOError:
        time.sleep(0.01)
with open("written.new", "w") as file:
    file.write(str(written))
os.rename("written.new", "written")
os._exit(7)
"""


async def test_output_that_lay_unread_at_the_exit_comes_before_it(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    bridge = start_bridge(command=[sys.executable, "-c", FULL])
    async with await PageClient.join(bridge) as client:
        await client.shows("ready")
        client.acks = False
        await client.type(".")
        await eventually((tmp_path / "written").exists, "the program has ended")
        before = client.offset
        client.acks = True
        await client.emit("ack", before)
        await client.ended()
        written = int((tmp_path / "written").read_text())
        assert written > before
        output = b"".join(b"%d\n" % number for number in range(1, 500_001))
        assert bytes(client.output) == b"ready" + output[:written]
        assert client.exit["exitCode"] == 7
    assert bridge.wait() == 7


@pytest.mark.ssh
@needs_ssh[1]
@needs_ssh[2]
def test_all_output_comes_before_the_exit_over_ssh(
    start_bridge: StartBridge, ssh: Ssh, start_on_pty: StartOnPty, figure: Figure
) -> None:
    bridge = start_bridge(*ssh.options, command=["sh", "-c", f"stty -echo; {END}"])
    login = start_on_pty(ssh.command(bridge, "bridge"), env=clean_environment(TERM="xterm"))
    wait_until(lambda: "ssh login: user" in bridge.log, "the login")
    login.start_anew()
    login.type(b"\r")
    assert login.wait() == 7
    numbers = [int(word) for word in re.findall(rb"(?<!\d)(\d+)\r\n", login.received)]
    lost, doubled = losses(numbers, 100_000)
    figure("last output before exit, ssh", bytes_lost=lost, duplicates=doubled)
    assert (lost, doubled) == (0, 0)
    assert b"the-last-word" in login.received
