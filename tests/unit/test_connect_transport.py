"""Socket.IO as the client of `ttybridge connect` speaks it, packet by packet."""

import asyncio
from collections.abc import Sequence

import pytest

from ttybridge.client.polling import not_opened
from ttybridge.client.transport import Event, Line, Refused, _silence_s


class Carrier:
    """Has the packets that come, and keeps those that go."""

    most_sends = 1
    has_room = True

    def __init__(self, *packets: str | bytes) -> None:
        self._packets = list(packets)
        self.sent: list[str] = []

    async def receive(self) -> str | bytes | None:
        return self._packets.pop(0) if self._packets else None

    async def send(self, packets: Sequence[str]) -> bool:
        self.sent += packets
        return True


async def events(carrier: Carrier) -> list[Event]:
    line, found = Line(carrier, is_polling=False), list[Event]()
    while (event := await line.next()) is not None:
        found.append(event)
    sending = asyncio.create_task(line.send_all())
    await line.leave()
    sending.cancel()
    return found


async def test_events_come_in_order_with_their_bytes_to_the_last_one_before_the_end() -> None:
    head = '451-["out",5,{"_placeholder":true,"num":0}]'
    carrier = Carrier(
        '40{"sid":"x"}', head, b"\x00\xff", '42["exit",{"exitCode":0}]', "41", "42[1]"
    )
    assert await events(carrier) == [
        Event("out", (5, b"\x00\xff")),
        Event("exit", ({"exitCode": 0},)),
    ]


async def test_heartbeats_are_answered_and_the_goodbye_comes_last() -> None:
    carrier = Carrier("2", "6", "2probe", "1")
    assert await events(carrier) == []
    assert carrier.sent == ["3", "3probe", "41", "1"]


@pytest.mark.parametrize(
    "packets",
    [
        ("42",), ("42{}",), ("42[]",), ("42[1]",), ("42[" * 9,), (b"bytes",),
        ("452-[]", b"x"), ('451-["out",0]',), ('451-["out",0]', "text"), ("451-nothing", b"x"),
    ],
)  # fmt: skip
async def test_what_is_malformed_ends_the_connection(packets: tuple[str | bytes, ...]) -> None:
    assert await events(Carrier(*packets, '42["late"]')) == []


@pytest.mark.parametrize(
    ("packet", "code", "text"),
    [
        ('44{"message":"m","data":{"code":"full","hint":"No room.\\u001b"}}', "full", "No room."),
        ('44{"message":"gone"}', "", "gone"),
        ("44", "", "The bridge refuses the connection."),
        ('44{"data":[1]}', "", "The bridge refuses the connection."),
    ],
)
async def test_a_refusal_has_a_code_and_a_sentence(packet: str, code: str, text: str) -> None:
    with pytest.raises(Refused) as caught:
        await events(Carrier(packet))
    assert caught.value.code == code
    assert str(caught.value).startswith(text)
    assert str(caught.value).isprintable()


def test_an_answer_that_is_no_bridges_is_told_without_a_word_of_ssh() -> None:
    assert "does not lead to a bridge (404)" in str(not_opened(404, b"nothing here"))
    assert "ERR_NGROK_3200" in str(not_opened(404, b"<!DOCTYPE html> ERR_NGROK_3200"))


@pytest.mark.parametrize(
    ("opened", "seconds"),
    [({"pingInterval": 20000, "pingTimeout": 20000}, 45), (None, 45), ({"pingTimeout": -1}, 45)],
)
def test_a_dead_line_is_noticed_after_two_heartbeats(opened: object, seconds: float) -> None:
    assert _silence_s(opened) == seconds
