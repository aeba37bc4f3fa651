"""`ttybridge play --serve` has the same gate: what it shows, to whom, and nothing else."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.component.door_cases import (
    CREDENTIALS,
    HOSTS,
    ORIGINS,
    Case,
    Entrance,
    ask,
    is_refusal,
    lines_logged,
    routes_of,
    row,
)
from tests.component.doorway import BEARER, TOKEN, Door
from ttybridge.adapters.listen import bind
from ttybridge.core.throttle import Throttle
from ttybridge.web import recordings
from ttybridge.web.assets import load_page
from ttybridge.web.security import Gate

RECORDING = b'{"version": 2, "width": 80, "height": 24}\n[0.0, "o", "hello"]\n'

ROWS = [
    row("GET", "/", 200),
    row("GET", "/replay?name=demo.cast", 200, 200, 403, 200),
    row("GET", "/replay?name=other.cast", 404, 404, 403, 404),
    row("GET", "/recordings/demo.cast", 200, 200, 403, 200, route="/recordings/{name}"),
    row("GET", "/recordings/other.cast", 404, 404, 403, 404, route="/recordings/{name}"),
    row("GET", "/recordings/..%2Fother.cast", 404, 404, 403, 404, route="/recordings/{name}"),
    row("GET", "/login", 303, public=True),
    row("POST", "/login", 401, public=True),
    row("POST", "/logout", 303),
    row("GET", "/healthz", 200, public=True),
    row("POST", "/", 405, route="-"),
    row("GET", "/tty/", 404, route="-"),
    row("GET", "/api/status", 404, route="-"),
]


@pytest.fixture
async def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    made: list[tuple[Gate, web.Application]] = []
    install = Gate.install

    def note(gate: Gate, app: web.Application) -> None:
        made.append((gate, app))
        install(gate, app)

    monkeypatch.setattr(Gate, "install", note)
    monkeypatch.setattr(Throttle, "failed", lambda *_: 0.0)
    path = tmp_path / "demo.cast"
    path.write_bytes(RECORDING)
    (tmp_path / "other.cast").write_bytes(RECORDING)
    (listener,) = await bind("127.0.0.1", (0,))
    with listener:
        port = listener.getsockname()[1]
        async with recordings.serve_one(path, load_page(), TOKEN, port, [listener]):
            yield Door(port, made[0][1], made[0][0])


def entrances(door: Door) -> list[Entrance]:
    files = sorted(door.gate._policy.public_files)
    return [*ROWS, *(row("GET", file, 200, public=True) for file in files)]


async def test_the_table_has_every_route(door: Door) -> None:
    assert routes_of(door.app) == {
        (each.method, each.route) for each in entrances(door) if each.route != "-"
    }


@pytest.mark.parametrize(
    "cases", [CREDENTIALS, ORIGINS, HOSTS], ids=["credentials", "origins", "hosts"]
)
async def test_every_entrance_answers_every_credential_as_the_table_says(
    door: Door, cases: list[Case], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    refused = 0
    for entrance in entrances(door):
        for case in cases:
            caplog.clear()
            answer, expected = await ask(door, entrance, case), case.expected(entrance)
            where = f"{entrance.name} with {case.name}"
            # aiohttp itself refuses a request without Host, or with two.
            allowed = (expected, 400) if case.hosts is not None else (expected,)
            assert answer.status in allowed, f"{where}: {answer.status}, not {expected}"
            if is_refusal(entrance, case):
                refused += 1
                assert RECORDING not in answer.body, where
                assert "set-cookie" not in answer.head.lower(), where
                assert len(list(lines_logged(caplog))) <= 1, where
                assert TOKEN not in caplog.text + answer.head + answer.body.decode("latin-1")
    assert refused > 100


async def test_what_is_shown_is_the_recording(door: Door) -> None:
    answer = await door.ask("GET", "/recordings/demo.cast", BEARER)
    assert answer.body == RECORDING
