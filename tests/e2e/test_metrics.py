"""Numbers for Prometheus: who gets them, what they say, and what they do not."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ROOT, RunningBridge, StartBridge, clean_environment
from tests.e2e.guests import guest, token_of
from tests.e2e.hostile import PageClient, Watched, eventually, session_of, tty
from tests.e2e.ssh import Ssh
from ttybridge.core.meter import REASONS

Numbers = dict[tuple[str, str], float]
"""Numbers by name, and the values of their labels with a slash between."""


def parsed(text: str) -> Numbers:
    return {
        (sample.name, "/".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(session: aiohttp.ClientSession, address: str) -> Numbers:
    """Scrape as Prometheus does: with the token as a bearer."""
    async with session.get(f"{address}metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return parsed(await answer.text())


async def test_owners_alone_get_numbers_and_only_where_they_are_wanted(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge("--metrics", "--base-path", "/lab")
    root = bridge.address.removesuffix("lab/")
    for address in (bridge.address, root):
        async with aiohttp.ClientSession() as nobody, nobody.get(f"{address}metrics") as answer:
            assert answer.status == 401
        for role, status in (("viewer", 403), ("editor", 403), ("owner", 200), ("token", 200)):
            async with guest(bridge, role) as session:
                async with session.get(f"{address}metrics") as answer:
                    assert answer.status == status, role
                    assert ("ttybridge_limit" in await answer.text()) == (status == 200)
                async with session.post(f"{address}metrics") as answer:
                    assert answer.status == 405
                headers = {"Origin": "https://evil.example"}
                async with session.get(f"{address}metrics", headers=headers) as answer:
                    assert answer.status == 403
    without = start_bridge("--session", "other")
    async with session_of(without) as session, session.get(f"{without.address}metrics") as answer:
        assert answer.status == 404


async def test_the_numbers_are_those_of_the_bridge_and_tell_nothing_of_people(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge("--metrics", "--max-clients", "7", "--max-message", "256K")
    watched = Watched(bridge.pid)
    async with session_of(bridge) as session:
        before = await scrape(session, bridge.address)
        client = await PageClient.join(session, bridge)
        token = await token_of(bridge, "viewer", name="Grace H")
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as guests:
            hello = {"display": "session", "name": "Grace H"}
            viewer = await PageClient.join(guests, bridge, hello=hello)
            await client.type("seq 3000\r")
            await client.until_shown(b"3000")
            await client.echo()
            async with session.get(f"{bridge.address}metrics") as answer:
                text = await answer.text()
            now = parsed(text)
            limits = {name: value for (each, name), value in now.items() if each.endswith("_limit")}
            async with session.get(f"{bridge.address}api/status") as answer:
                status = await answer.json()
            assert limits == {each["name"]: each["limit"] for each in status["limits"]}
            assert (limits["clients"], limits["message_bytes"]) == (7, 256 << 10)
            assert now["ttybridge_clients", "owner/page"] == 1
            assert now["ttybridge_clients", "viewer/page"] == 1
            assert sum(value for (name, _), value in now.items() if name.endswith("clients")) == 2
            assert now["ttybridge_in_use", "clients"] == 1
            assert now["ttybridge_in_use", "viewers"] == 1
            reasons = {label for name, label in now if name == "ttybridge_refused_total"}
            assert reasons == set(REASONS)
            sent, got = ("ttybridge_sent_bytes_total", ""), ("ttybridge_received_bytes_total", "")
            out = client.received + viewer.received
            assert out < now[sent] - before[sent] < 3 * out + 50_000
            assert 500 < now[got] - before[got] < 200_000
            assert now["process_open_fds", ""] == pytest.approx(len(watched.descriptors), abs=4)
            assert now["process_threads", ""] == pytest.approx(watched.threads, abs=2)
            pages = int(Path(f"/proc/{bridge.pid}/statm").read_text().split()[1])
            resident = pages * os.sysconf("SC_PAGE_SIZE")
            assert now["process_resident_memory_bytes", ""] == pytest.approx(resident, rel=0.2)
            assert 0 < now["process_cpu_seconds_total", ""] <= watched.cpu_s + 0.1
            for secret in (bridge.token, token, "Grace", "127.0.0.1", str(bridge.port), "c1"):
                assert secret not in text
            await viewer.close()
        await client.close()
        last = await eventually_scraped(session, bridge, "ttybridge_in_use", "clients", 0)
        assert last[sent] >= now[sent], "what went over lines that have ended still counts"
        assert "ttybridge_tunnel_up" not in text
        assert "ttybridge_sshd_up" not in text


async def eventually_scraped(
    session: aiohttp.ClientSession, bridge: RunningBridge, name: str, label: str, value: float
) -> Numbers:
    """Scrape until a number has a value."""
    async with asyncio.timeout(20):
        while True:
            found = await scrape(session, bridge.address)
            if found[name, label] == value:
                return found
            await asyncio.sleep(0.02)


async def test_refusals_and_recordings_are_counted(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    bridge = start_bridge("--metrics", "--record", str(tmp_path / "a.cast"))
    async with session_of(bridge) as session:
        async with aiohttp.ClientSession() as nobody:
            for path, headers, status in (
                ("", {"Host": "evil.example"}, 421),
                ("", {"Origin": "https://evil.example"}, 403),
                ("api/people", {}, 401),
                ("api/people", {"Authorization": "Bearer wrong"}, 401),
            ):
                async with nobody.get(f"{bridge.address}{path}", headers=headers) as answer:
                    assert answer.status == status
            async with nobody.delete(bridge.address) as answer:
                assert answer.status == 405
        found = await scrape(session, bridge.address)
        refused = {
            label: value
            for (name, label), value in found.items()
            if name == "ttybridge_refused_total" and value
        }
        assert refused == {"host": 1, "origin": 1, "credential": 2, "method": 1}
        assert found["ttybridge_recording", ""] == 1
        size = (tmp_path / "a.cast").stat().st_size
        assert 0 < found["ttybridge_in_use", "recording_bytes"] <= size + 100_000
        assert found["ttybridge_in_use", "recordings_bytes"] > 0


async def test_a_stall_of_the_event_loop_is_seen_once_as_the_longest_and_kept_in_the_histogram(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge("--metrics")
    longest = ("ttybridge_event_loop_lag_max_seconds", "")
    async with session_of(bridge) as session:
        await scrape(session, bridge.address)
        os.kill(bridge.pid, signal.SIGSTOP)
        await asyncio.sleep(1.2)  # the stall itself
        os.kill(bridge.pid, signal.SIGCONT)
        found = await scrape(session, bridge.address)
        if found[longest] < 0.8:  # it may answer before it looks at the time
            await asyncio.sleep(0.3)
            found = await scrape(session, bridge.address)
        assert found[longest] > 0.8
        assert (await scrape(session, bridge.address))[longest] < found[longest]
        slower = found["ttybridge_event_loop_lag_seconds_count", ""]
        slower -= found["ttybridge_event_loop_lag_seconds_bucket", "0.5"]
        assert slower >= 1


@pytest.mark.ssh
async def test_sshd_is_up_until_it_is_not(start_bridge: StartBridge, ssh: Ssh) -> None:
    bridge = start_bridge(*ssh.options, "--metrics")
    async with session_of(bridge) as session:
        found = await scrape(session, bridge.address)
        assert found["ttybridge_sshd_up", ""] == 1
        assert found["ttybridge_limit", "ssh_connections"] == 20


async def test_status_names_what_is_nearly_used_up_and_nothing_else(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge("--max-clients", "2", "--label", "limits")

    def told() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "ttybridge", "status", "--label", str(bridge.pid)],
            capture_output=True, text=True, timeout=30, check=True,
            env=clean_environment(PYTHONPATH=str(ROOT), TMPDIR=tempfile.gettempdir()),
        )  # fmt: skip
        return [line for line in done.stdout.splitlines() if line.startswith("near")]

    async with session_of(bridge) as session:
        first = await PageClient.join(session, bridge)
        assert await asyncio.to_thread(told) == []
        second = await PageClient.join(session, bridge)
        wanted = ["near its limit       clients: 2 of 2 (--max-clients)"]
        assert await asyncio.to_thread(told) == wanted
        status = bridge.control.status()
        use = next(use for use in status.limits if use.name == "clients")
        assert (use.option, use.limit, use.in_use) == ("--max-clients", 2, 2)
        third = await session.ws_connect(tty(bridge))
        await third.send_str('40{"protocol":1,"cols":80,"rows":24}')
        await eventually(lambda: bridge.control.status().refused["full"] == 1, "it is counted")
        await third.close()
        for client in (first, second):
            await client.close()
