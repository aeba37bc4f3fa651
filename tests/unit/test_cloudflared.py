"""cloudflared: what it is started with, what its answers and its last lines mean."""

import pytest

from ttybridge.core import cloudflared

DEBIAN = 'failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": '
TOO_MANY = (
    "ERR Error unmarshaling QuickTunnel response: error code: 1015 "
    'error="invalid character \'e\' looking" status_code="429 Too Many Requests"'
)
UNREADABLE = "failed to unmarshal quick Tunnel: invalid character 'e' looking for beginning"


def test_nothing_of_the_users_configuration_makes_another_tunnel_of_it() -> None:
    argv = cloudflared.argv("/bin/cloudflared", 8080, 40001)
    assert argv[:5] == ["/bin/cloudflared", "tunnel", "--no-autoupdate", "--config", "/dev/null"]
    assert argv[argv.index("--metrics") + 1] == "127.0.0.1:40001"
    assert argv[argv.index("--url") + 1] == "http://127.0.0.1:8080"
    environ = {"HOME": "/root", "TUNNEL_NAME": "a", "TUNNEL_TOKEN": "b", "TUNNEL_LOGLEVEL": "fatal"}
    ways = {"TUNNEL_EDGE_IP_VERSION": "4", "TUNNEL_TRANSPORT_PROTOCOL": "http2"}
    assert cloudflared.environment(environ | ways) == {"HOME": "/root"} | ways


@pytest.mark.parametrize(
    ("answer", "url"),
    [
        ('{"hostname":"a-b.trycloudflare.com"}', "https://a-b.trycloudflare.com"),
        ('{"hostname":"https://A-b.trycloudflare.com/"}', "https://a-b.trycloudflare.com"),
        ('{"hostname":""}', None),
        ('{"hostname":"a b.example"}', None),
        ('{"hostname":"a.example/path"}', None),
        ('{"hostname":"user@a.example"}', None),
        ('{"hostname":"alone"}', None),
        ('{"hostname":7}', None),
        ("[]", None),
        ("<html>", None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_an_address_is_a_host_name_and_nothing_else(answer: str, url: str | None) -> None:
    assert cloudflared.address(answer) == url


@pytest.mark.parametrize(
    ("lines", "message", "hint"),
    [
        # What follows it says nothing.
        ([TOO_MANY, UNREADABLE], "refuses more quick tunnels", "--ngrok"),
        (["ERR quick tunnel provisioning failed with status 429"], "refuses more", "--ngrok"),
        ([UNREADABLE], "did not give one", "later"),
        (["failed to parse quick Tunnel ID: invalid UUID length: 0"], "did not give one", "later"),
        ([f"{DEBIAN}dial tcp: lookup: no such host"], "cannot reach", "HTTPS_PROXY"),
        ([f"{DEBIAN}context deadline exceeded"], "cannot reach", "HTTPS_PROXY"),
        (["Incorrect Usage: flag provided but not defined: -x"], "does not know", "newer"),
    ],
    ids=["429", "429 in 2026", "unreadable", "no id", "no name", "no answer", "old"],
)
def test_known_failures_have_sentences(lines: list[str], message: str, hint: str) -> None:
    found = cloudflared.explain(["INF Requesting new quick Tunnel", *lines])
    assert found is not None
    assert message in found[0]
    assert hint in found[1]


def test_an_unknown_failure_shows_the_lines_but_not_our_empty_configuration() -> None:
    lines = ["ERR Configuration file /dev/null was empty", "ERR oh"]
    assert cloudflared.explain(lines) is None
    assert cloudflared.said(lines) == " Its last lines:\nERR oh"
    assert cloudflared.said(lines[:1]) == " It said nothing."


def test_an_address_without_a_connection_names_the_port_that_must_be_open() -> None:
    message, hint = cloudflared.unconnected("https://a.example")
    assert "https://a.example" in message
    assert "7844" in hint
