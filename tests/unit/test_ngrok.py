"""ngrok's agent as text: configuration, options, log, and what its errors mean."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core.ngrok import (
    NgrokSettings,
    addresses,
    agent_settings,
    config_text,
    http_options,
    parse_line,
    parse_version,
    redact,
    tcp_options,
    token_of,
)
from ttybridge.core.ngrok_errors import CODES, code_of, explain, failure

OWN_V2 = {
    "version": "2",
    "authtoken": "own-token",
    "api_key": "own-key",
    "region": "eu",
    "server_addr": "tunnel.example.com:443",
    "root_cas": "host",
    "proxy_url": "http://proxy:3128",
    "dns_resolver_ips": ["1.1.1.1"],
    "web_addr": "0.0.0.0:4040",
    "web_allow_hosts": ["example.com"],
    "inspect_db_size": 1000,
    "log": "/var/log/ngrok.log",
    "log_level": "debug",
    "log_format": "json",
    "console_ui": True,
    "tunnels": {"mine": {"proto": "http", "addr": 80}},
}
OWN_V3 = {
    "version": 3,
    "agent": {
        "authtoken": "own-token",
        "connect_url": "tunnel.example.com:443",
        "connect_cas": "host",
        "connect_interface": "eth1",
        "web_addr": "0.0.0.0:4040",
        "log": "stderr",
    },
    "endpoints": [{"name": "mine", "url": "https://mine.ngrok.app"}],
}
OURS = {
    "authtoken": "t",
    "console_ui": False,
    "inspect_db_size": -1,
    "update_check": False,
    "web_addr": "127.0.0.1:5000",
}


def config(own: object, *, major: int = 3) -> dict[str, Any]:
    text = config_text(own, major=major, token="t", port=5000)
    return dict(json.loads(text))


@pytest.mark.parametrize("own", [None, "text", [], {}, {"agent": None}], ids=str)
def test_without_a_configuration_of_the_users_there_is_ours(own: object) -> None:
    assert config(own) == {"version": "2"} | OURS
    assert config(own, major=2) == {"version": "2", "update": False} | OURS


def test_of_the_users_configuration_the_way_to_ngrok_is_kept_and_nothing_else() -> None:
    kept = ("region", "server_addr", "root_cas", "proxy_url", "dns_resolver_ips")
    assert config(OWN_V2) == {"version": "2"} | {name: OWN_V2[name] for name in kept} | OURS


def test_a_configuration_of_version_3_stays_one_where_the_agent_knows_it() -> None:
    agent = {
        "connect_url": "tunnel.example.com:443",
        "connect_cas": "host",
        "connect_interface": "eth1",
    }
    assert config(OWN_V3) == {"version": "3", "agent": agent | OURS}
    old = config(OWN_V3, major=2)
    assert (old["version"], old["server_addr"], old["root_cas"]) == (
        "2",
        "tunnel.example.com:443",
        "host",
    )
    assert "agent" not in old


def test_the_token_of_the_environment_goes_before_that_of_the_configuration() -> None:
    assert token_of(OWN_V2, {"NGROK_AUTHTOKEN": " given\n"}) == "given"
    assert token_of(OWN_V2, {"NGROK_AUTHTOKEN": " "}) == "own-token"
    assert token_of(OWN_V3, {}) == "own-token"
    assert token_of({"agent": {"authtoken": None}}, {}) == ""
    assert token_of("no mapping", {}) == ""


def test_a_web_address_has_no_plain_twin_is_not_inspected_and_asks_who_comes() -> None:
    settings = NgrokSettings(
        domain="me.ngrok.app",
        oauth="google",
        allow=("you@example.com", "@example.org"),
        basic_auth=("a:password1", "b:pass:word2"),
    )
    assert http_options(80, settings, major=3) == {
        "proto": "http",
        "addr": "127.0.0.1:80",
        "inspect": False,
        "schemes": ["https"],
        "domain": "me.ngrok.app",
        "basic_auth": ["a:password1", "b:pass:word2"],
        "oauth": {
            "provider": "google",
            "allow_emails": ["you@example.com"],
            "allow_domains": ["example.org"],
        },
    }
    assert settings.secrets == ("password1", "pass:word2")
    assert "password1" not in repr(settings)
    plain = {"proto": "http", "addr": "127.0.0.1:80", "inspect": False, "schemes": ["https"]}
    assert http_options(80, NgrokSettings(), major=3) == plain
    assert tcp_options(22) == {"proto": "tcp", "addr": "127.0.0.1:22", "inspect": False}


def test_version_2_has_other_names_and_says_what_it_lacks() -> None:
    settings = NgrokSettings(domain="me.ngrok.io", basic_auth=("a:password1",))
    assert http_options(80, settings, major=2) == {
        "proto": "http",
        "addr": "127.0.0.1:80",
        "inspect": False,
        "bind_tls": True,
        "hostname": "me.ngrok.io",
        "auth": "a:password1",
    }
    with pytest.raises(ValueError, match="--ngrok-oauth needs version 3"):
        http_options(80, NgrokSettings(oauth="google"), major=2)
    with pytest.raises(ValueError, match="More than one line of --ngrok-basic-auth"):
        http_options(80, NgrokSettings(basic_auth=("a:password1", "b:password2")), major=2)


LINE = r't=2026-11-24T18:59:06+0000 lvl=eror msg="failed to reconnect session" err="a \"b\"\r\nERR"'


def test_a_line_of_the_log_tells_what_happened() -> None:
    line = parse_line(LINE)
    assert (line.level, line.message, line.error) == (
        "eror",
        "failed to reconnect session",
        'a "b"\r\nERR',
    )
    assert line.is_loss
    assert line.is_trouble
    back = parse_line('t=1 lvl=info msg="client session established" obj=csess err=nil')
    assert (back.is_return, back.is_loss, back.is_trouble, back.error) == (True, False, False, "")
    assert parse_line(LINE.replace("failed to reconnect session", "session closed, x")).is_loss
    assert parse_line("ERROR:  no such flag").is_trouble


@given(st.text())
def test_any_line_can_be_read(text: str) -> None:
    assert parse_line(text).text == text
    assert isinstance(parse_version(text), tuple | None)
    redact(text, [text])


def test_no_secret_is_left_in_a_text_longer_ones_first() -> None:
    text = "pass password1 Your authtoken: 2abc_DEF\\r\\n authtoken=2xyz http://u:p@proxy:1/"
    assert redact(text, ["pass", "password1", ""]) == (
        "*** *** Your authtoken: ***\\r\\n authtoken=*** http://***@proxy:1/"
    )


@pytest.mark.parametrize(
    "answer",
    [None, [], {}, {"tunnels": None}, {"tunnels": [None, {"name": "a"}, {"public_url": None}]}],
    ids=str,
)
def test_an_answer_without_addresses_has_none(answer: object) -> None:
    assert addresses(answer) == {}


def test_settings_of_the_agent_are_found_at_both_places() -> None:
    assert agent_settings({"authtoken": "a", "agent": {"authtoken": "b", "log": "x"}}) == {
        "authtoken": "b"
    }


SAYS = {
    105: ("malformed", "your-authtoken"),
    107: ("reset or revoked", "your-authtoken"),
    108: ("as many agents", "dashboard.ngrok.com/agents"),
    120: ("too old", "ngrok update"),
    123: ("e-mail address", "user/settings"),
    320: ("not this account's", "--ngrok-domain"),
    334: ("online already", "dashboard.ngrok.com/endpoints"),
    324: ("as many addresses", "--ngrok-tcp"),
    360: ("--ngrok-basic-auth", "at least 8"),
    365: ("--ngrok-oauth", "google"),
    4018: ("needs the authtoken", "NGROK_AUTHTOKEN"),
    725: ("in a month", "--cloudflared"),
    727: ("in a month", "--cloudflared"),
    8013: ("payment card", "--ngrok-tcp"),
    9009: ("proxy", "http_proxy"),
    15002: ("not this account's", "dashboard.ngrok.com/domains"),
}


def test_each_error_says_what_is_wrong_and_what_to_do() -> None:
    for code, (says, does) in SAYS.items():
        explained = explain(f"failed\r\n\r\nERR_NGROK_{code}\r\n")
        assert explained is not None
        assert says in explained[0]
        assert f"(ERR_NGROK_{code})." in explained[0]
        assert does in explained[1]
    for message, hint in CODES.values():
        assert message.endswith(".")
        assert hint.endswith((".", "?"))


def test_an_error_that_is_not_known_leads_to_its_page() -> None:
    assert explain("ERR_NGROK_99999") == (
        "ngrok refuses (ERR_NGROK_99999).",
        "See https://ngrok.com/docs/errors/err_ngrok_99999",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dial tcp: lookup connect.ngrok-agent.com on [::1]:53: no such host", "no name"),
        ("resolved tunnel.us.ngrok.com has no records", "no name"),
        ("x509: certificate signed by unknown authority", "does not trust"),
        ("dial tcp 3.15.55.144:443: i/o timeout", "cannot reach"),
        ("yaml: unmarshal errors", "its configuration"),
    ],
    ids=["host", "records", "certificate", "time-out", "configuration"],
)
def test_errors_without_a_code_are_known_by_their_words(text: str, says: str) -> None:
    explained = explain(f'lvl=eror msg="failed to reconnect session" err="{text}"')
    assert explained is not None
    assert says in explained[0]
    assert code_of(text) is None


def test_a_failure_tells_ngroks_reason_its_status_and_its_last_words() -> None:
    message, hint = failure("No start.", ["", "x\nERR_NGROK_108"], ["one", "two"], 1)
    assert message.startswith("ngrok runs as many agents")
    assert message.endswith("Its exit status is 1. Its last lines:\none\ntwo\n")
    assert "Stop another one" in hint
    # What is asked for first goes before what was in the log already.
    assert "(ERR_NGROK_320)" in failure("No.", ["ERR_NGROK_320", "ERR_NGROK_108"], [], None)[0]
    assert failure("No start.", ["nothing known"], [], None) == ("No start. It said nothing.", "")
