"""Messages from outside: what is taken, what is refused; Colab's flow control."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core import protocol
from ttybridge.core.colab_contract import ColabMessage, ColabOutput, parse_colab
from ttybridge.errors import ProtocolError
from ttybridge.model import End, EndReason, ExitStatus, WindowSize

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "packet",
    [
        "2", "2probe", "3", "3probe", "5", "1", "40", '40{"protocol":1}', "41",
        '42["in",1,"ls\\n"]', '42["ack",10]', '42["size",80,24]', '42["data",{"data":"{}"}]',
        '427["data",{}]', "430[]",
    ],
)  # fmt: skip
def test_packets_of_clients_pass(packet: str) -> None:
    protocol.check_packet(packet)


@pytest.mark.parametrize(
    "packet",
    [
        "", "x", "0", "6", "7", "8", "9", "4", "44", "2x", "3x", "40/admin,", "41/admin,",
        '42["connect",1]', '42["disconnect"]', '42["\\u0063onnect"]', '42/admin,["in",1,"x"]',
        '42["join",1]', '42[1]', "42", "42{}", '42 ["in"]', "45",
        '451-["in",{"_placeholder":true}]', '4599999999-["in"]',
        '461-[]', "4300000000001[]", "43[]", "bAAAA", "d=4", '42["in"',
        '429999999999["in",1,"x"]', "40x", "4\n0",
    ],
)  # fmt: skip
def test_all_other_packets_are_refused(packet: str) -> None:
    with pytest.raises(ProtocolError):
        protocol.check_packet(packet)


@pytest.mark.parametrize(
    "packet",
    ["40{", '40{"protocol":1', '42["in",1,"x"', '427["data",{]', "430[,]", "430[" + "[" * 5000],
    ids=lambda packet: packet[:20],
)
def test_broken_json_is_refused(packet: str) -> None:
    protocol.check_packet(packet)
    with pytest.raises(ProtocolError):
        protocol.check_content(packet)


@pytest.mark.parametrize("packet", ["2", "2probe", "40", '40{"a":[1]}', '42["in",1,"x"]', "430[]"])
def test_what_is_whole_passes(packet: str) -> None:
    protocol.check_content(packet)


@given(st.text(max_size=60))
def test_no_text_can_name_another_event(text: str) -> None:
    try:
        protocol.check_packet(text)
    except ProtocolError:
        return
    if text.startswith("42"):
        assert text[2:].lstrip("0123456789").startswith(('["in"', '["size"', '["ack"', '["data"'))


class TestHello:
    def test_a_client_of_the_other_contract_has_none(self) -> None:
        assert protocol.parse_hello(None) is None
        assert protocol.parse_hello({"token": "x"}) is None
        assert protocol.parse_hello("x") is None

    def test_sizes_are_clamped(self) -> None:
        hello = protocol.parse_hello({"protocol": 1, "cols": 0, "rows": 99999})
        assert hello == protocol.Hello(WindowSize(cols=2, rows=1000), None)

    def test_a_resume_is_read(self) -> None:
        resume = {"id": "c7", "key": "k", "offset": 12, "reset": True}
        hello = protocol.parse_hello({"protocol": 1, "cols": 80, "rows": 24, "resume": resume})
        assert hello is not None
        assert hello.resume == protocol.Resume("c7", "k", 12, reset=True)

    @pytest.mark.parametrize(
        "auth",
        [
            {"protocol": 2, "cols": 80, "rows": 24},
            {"protocol": True, "cols": 80, "rows": 24},
            {"protocol": 1},
            {"protocol": 1, "cols": "80", "rows": 24},
            {"protocol": 1, "cols": True, "rows": 24},
            {"protocol": 1, "cols": 80, "rows": 24, "resume": []},
            {"protocol": 1, "cols": 80, "rows": 24, "resume": {"id": "c1"}},
            {
                "protocol": 1,
                "cols": 80,
                "rows": 24,
                "resume": {"id": "c1", "key": "k", "offset": -1},
            },
        ],
    )
    def test_anything_else_is_refused(self, auth: object) -> None:
        with pytest.raises(ProtocolError):
            protocol.parse_hello(auth)

    @given(ANYTHING)
    def test_nothing_raises_anything_else(self, value: object) -> None:
        for auth in (value, {"protocol": 1, "cols": value, "rows": 1}, {"protocol": value},
                     {"protocol": 1, "cols": 1, "rows": 1, "resume": value}):  # fmt: skip
            try:
                protocol.parse_hello(auth)
            except ProtocolError:
                continue


class TestInput:
    def test_text_is_utf8(self) -> None:
        assert protocol.parse_input((1, "é🦊")) == (1, "é🦊".encode())

    def test_half_a_surrogate_pair_is_replaced(self) -> None:
        assert protocol.parse_input((1, "\ud83e")) == (1, "\ufffd".encode())

    def test_binary_input_is_one_byte_a_unit(self) -> None:
        assert protocol.parse_input((2, "\x1b[M\xff", True)) == (2, b"\x1b[M\xff")

    @pytest.mark.parametrize(
        "args", [(), (1,), (1, 2), ("1", "x"), (-1, "x"), (1, "x", True, 4), (1, "\u0100", True),
                 (True, "x"), (1.5, "x"), (1, "x" * 16385)]
    )  # fmt: skip
    def test_anything_else_is_refused(self, args: tuple[object, ...]) -> None:
        with pytest.raises(ProtocolError):
            protocol.parse_input(args)


@given(st.lists(ANYTHING, max_size=4).map(tuple))
def test_arguments_of_any_kind_raise_nothing_but_a_protocol_error(args: tuple[object, ...]) -> None:
    for parse in (protocol.parse_input, protocol.parse_size, protocol.parse_ack):
        try:
            parse(args)
        except ProtocolError:
            continue


class TestColabMessage:
    def test_all_keys_may_come_at_once(self) -> None:
        message = parse_colab('{"data": "ls\\n", "cols": 100, "rows": 30, "ack": true, "x": 1}')
        assert message == ColabMessage(b"ls\n", WindowSize(cols=100, rows=30), ack=True)

    @pytest.mark.parametrize(
        "text", ["", "x", "[]", "1", "null", '"ls"', '{"data": 1}', '{"cols": 80}',
                 '{"cols": "a", "rows": 1}', "[" * 100_000, '{"data": "x"', b"\xff"]
    )  # fmt: skip
    def test_anything_else_is_refused(self, text: object) -> None:
        with pytest.raises(ProtocolError):
            parse_colab(text)

    @given(ANYTHING)
    def test_nothing_raises_anything_else(self, value: object) -> None:
        for text in (
            value,
            json.dumps(value),
            json.dumps({"data": value, "cols": value, "rows": value}),
        ):
            try:
                parse_colab(text)
            except ProtocolError:
                continue


class TestColabOutput:
    def test_a_character_is_never_cut(self) -> None:
        output = ColabOutput()
        data = "aé🦊".encode()
        texts = [output.encode(data[i : i + 1]) for i in range(len(data))]
        assert [json.loads(t)["data"] for t in texts if t] == ["a", "é", "🦊"]

    def test_bytes_that_are_no_text_are_replaced(self) -> None:
        assert json.loads(ColabOutput().encode(b"\xffx"))["data"] == "\ufffdx"

    def test_an_acknowledgement_is_asked_for_after_every_100_000_characters(self) -> None:
        output = ColabOutput()
        asked = [json.loads(output.encode(b"x" * 25_000)).get("ack") for _ in range(9)]
        assert asked == [None, None, None, True, None, None, None, True, None]

    def test_a_client_that_never_acknowledges_is_never_held(self) -> None:
        output = ColabOutput()
        for _ in range(50):
            output.encode(b"x" * 100_000)
        assert not output.is_held

    def test_one_that_does_is_held_above_five_and_let_go_below_two(self) -> None:
        output = ColabOutput()
        output.encode(b"x" * 100_000)
        output.ack()
        held = []
        for _ in range(6):
            output.encode(b"x" * 100_000)
            held.append(output.is_held)
        assert held == [False] * 5 + [True]
        for _ in range(4):
            output.ack()
            assert output.is_held
        output.ack()
        assert not output.is_held

    def test_spare_acknowledgements_do_not_switch_it_off(self) -> None:
        output = ColabOutput()
        for _ in range(1000):
            output.ack()
        for _ in range(6):
            output.encode(b"x" * 100_000)
        assert output.is_held

    def test_what_is_left_of_a_cut_character_comes_with_the_last_chunk(self) -> None:
        output = ColabOutput()
        assert output.encode(b"\xf0\x9f") == ""
        assert json.loads(output.encode(b"", final=True))["data"] == "\ufffd"
        assert ColabOutput().encode(b"", final=True) == ""

    def test_the_older_form_asks_a_client_that_never_acknowledges_at_most_64_times(self) -> None:
        output = ColabOutput(older=True)
        asked = []
        for _ in range(1000):
            assert output.text(b"x") == "x"
            asked.append(output.asks)
        assert asked == [True] * 64 + [False] * 936
        assert not output.is_held

    def test_the_older_form_waits_for_no_acknowledgement_that_was_not_asked_for(self) -> None:
        output = ColabOutput(older=True)
        for _ in range(100):
            output.text(b"x")
        for _ in range(64):
            output.ack()
        assert not output.is_held
        output.text(b"x")
        assert output.asks

    def test_a_text_that_is_empty_asks_for_nothing(self) -> None:
        output = ColabOutput(older=True)
        output.text(b"x")
        assert output.text(b"\xc3") == ""
        assert not output.asks

    def test_the_older_form_counts_every_message(self) -> None:
        output = ColabOutput(older=True)
        assert output.text(b"x") == "x"
        output.ack()
        for _ in range(20):
            output.text(b"x")
        assert not output.is_held
        output.text(b"x")
        assert output.is_held


def test_the_exit_message_begins_as_the_original_one() -> None:
    end = End(ExitStatus(code=3), EndReason.EXITED, "It ended.", restart=True)
    assert protocol.exit_message(end) == {
        "exitCode": 3, "signal": 0, "reason": "exited", "message": "It ended.", "restart": True,
    }  # fmt: skip
