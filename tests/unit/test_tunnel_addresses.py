"""What counts as an address that a tunnel gives."""

from typing import Any

import pytest

from ttybridge.errors import TunnelError
from ttybridge.tunnels.base import Endpoint, Kind, Local, checked

HTTP, TCP = Local(8080), Local(2222, Kind.TCP)


@pytest.mark.parametrize(
    "url", ["https://a.example", "http://a.example:8080", "https://a.example/", "http://[::1]:80"]
)
def test_addresses_of_the_web_are_taken(url: str) -> None:
    assert checked("mine", [Endpoint(url)], [HTTP]) == [Endpoint(url)]


@pytest.mark.parametrize(
    ("endpoints", "local"),
    [
        (None, HTTP),
        ([], HTTP),
        ([Endpoint("https://a.example")] * 2, HTTP),
        (["https://a.example"], HTTP),
        ([Endpoint("https://a b/path")], HTTP),
        ([Endpoint("https://a.example/path")], HTTP),
        ([Endpoint("tcp://a.example:1")], HTTP),
        ([Endpoint("tcp://a.example")], TCP),
        ([Endpoint("https://a.example")], TCP),
    ],
)
def test_what_is_no_address_names_the_tunnel(endpoints: Any, local: Local) -> None:
    with pytest.raises(TunnelError, match="The tunnel mine gave"):
        checked("mine", endpoints, [local])
