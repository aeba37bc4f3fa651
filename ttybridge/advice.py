"""What to know about settings that are allowed, and probably not meant."""

import ipaddress

from ttybridge.config import Config
from ttybridge.core.authority import parse_origin


def advice(config: Config) -> tuple[str, ...]:
    """Return sentences about settings that are allowed and probably not meant."""
    notes = []
    if not is_loopback(config.host):
        notes.append(
            f"The bridge listens on {config.host} without encryption: what is typed, and the "
            "token, can be read on the way. Put a proxy with https in front, or use 127.0.0.1."
        )
        if config.host in ("0.0.0.0", "::") and not config.allow_host:  # noqa: S104
            notes.append(
                "Only the names 127.0.0.1 and localhost are answered so far: name the one that "
                "people type with --allow-host."
            )
    if config.ssh and config.container:
        notes.append(
            "SSH logins with a terminal land in the container's session; commands, files and "
            "forwarding over SSH are on this machine."
        )
    if config.no_auth:
        notes.append("There is no token: everyone who has an account here can use this shell.")
    if not config.no_auth and not config.trusted_proxy and (far := _other_sites(config)):
        notes.append(
            f"In a frame of {', '.join(far)} the login is lost: over plain http browsers keep the "
            "cookie from pages of another site. Use the same host name in both addresses, or https."
        )
    return tuple(notes)


def _other_sites(config: Config) -> tuple[str, ...]:
    """Return the frame origins that are another site than the bridge's plain http addresses."""
    names = {name.rpartition("://")[2] for name in (config.host, *config.allow_host)}
    own = {parsed[1].host for name in names if (parsed := parse_origin(f"http://{name}"))}
    own |= {"127.0.0.1", "localhost"}
    parsed_origins = ((text, parse_origin(text)) for text in config.allow_frame)
    return tuple(
        text
        for text, origin in parsed_origins
        if origin and not (origin[0] == "http" and origin[1].host in own)
    )


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
