"""Makes the bridge public: chooses the tunnel's provider, and keeps what others know up to date."""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ttybridge.config import Config
from ttybridge.config_reach import OWN_TUNNELS
from ttybridge.core.ssh_tunnel import SshTunnelSettings
from ttybridge.errors import ConfigError, TtyBridgeError
from ttybridge.tokens import read_lines
from ttybridge.tunnels.base import Context, Endpoint, Kind, Local, Tunnel, fault
from ttybridge.tunnels.registry import names, third_party
from ttybridge.tunnels.supervisor import Supervisor
from ttybridge.web.serving import Serving

if TYPE_CHECKING:
    from ttybridge.core.ngrok import NgrokSettings

log = logging.getLogger(__name__)

ADDS_CLIENT_ADDRESS = ("ngrok", "cloudflared")
"""Providers that end X-Forwarded-For with the client's address; behind the others the client itself
may have written all of it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the bridge is reached from outside."""

    url: str
    """The page's public address, without slash and path: `https://name`."""
    ssh: tuple[str, int] | None
    """Public host and port of sshd; None when it has none of its own."""
    notes: tuple[str, ...]
    """Sentences about what the user may not expect."""


class Public:
    """A bridge that is public; use `public`."""

    def __init__(
        self, config: Config, serving: Serving, changed: Callable[[Address], None]
    ) -> None:
        """Remember whom to tell.

        Args:
            config: The options.
            serving: The web server.
            changed: Called when the address has changed, or is back after it was lost.
        """
        self._config, self._serving, self._changed = config, serving, changed
        self._served: set[str] = set()
        self._started = False
        self.address = Address("", None, ())
        self.state = "open"

    @property
    def urls(self) -> tuple[str, ...]:
        """The public addresses."""
        ssh = self.address.ssh
        return (self.address.url, *([f"tcp://{ssh[0]}:{ssh[1]}"] if ssh else []))

    def on_open(self, endpoints: Sequence[Endpoint]) -> None:
        """Take in the addresses: at the start, when they have changed, and when they are back."""
        before, after = self.address, _address(endpoints)
        url = after.url
        by_agent = self._config.tunnel_name in ADDS_CLIENT_ADDRESS
        self._serving.add_public(url, adds_client_address=by_agent)
        self.address, self.state = after, "open"
        # The old name may belong to somebody else from now on.
        for old in self._served - {url}:
            self._serving.remove_public(old)
        self._served = {url}
        if not self._started:
            self._started = True
            return
        try:
            self._changed(self.address)
        except Exception:  # the tunnel is good, whatever becomes of the news
            log.exception("the new address could not be told")
        if before.url == url:
            self._serving.tell_pages("The public address works again.")
        else:
            self._serving.tell_pages(f"The public address is now {url}{self._config.base_path}/")

    def on_lost(self, reason: str) -> None:
        """Say that the addresses are lost; those who are on this machine's network stay in."""
        self.state = "reopening"
        log.warning("the tunnel is lost, and opened again: %s", reason)
        self._serving.tell_pages(
            "The public address is lost; the bridge is opening it again.", is_warning=True
        )


@contextlib.asynccontextmanager
async def public(
    config: Config,
    serving: Serving,
    context: Context,
    locals: Sequence[Local],
    changed: Callable[[Address], None],
) -> AsyncIterator[Public]:
    """Open the tunnel and keep it open; close it on leaving.

    Args:
        config: The options.
        serving: The web server, which serves the tunnel's name.
        context: What the provider gets.
        locals: The page's port, and sshd's when it is to have an address of its own.
        changed: Called when the address changes later on.

    Raises:
        TunnelError: It cannot be opened.
        MissingProgramError: The provider's program is not installed.
        ConfigError: There is no such provider, or an option of it is wrong.
    """
    found = Public(config, serving, changed)
    tunnel = make_tunnel(config, context)
    async with Supervisor(tunnel, locals, on_open=found.on_open, on_lost=found.on_lost):
        yield found


def make_tunnel(config: Config, context: Context) -> Tunnel:
    """Return the provider that the options name; nothing is started yet.

    Raises:
        ConfigError: There is none of that name, or an option of it is wrong.
        TunnelError: It is another package's, which cannot be loaded.
    """
    # Each is imported when it is asked for: pyngrok alone takes a tenth of a second.
    match config.tunnel_name:
        case "ngrok":
            from ttybridge.tunnels.ngrok import NgrokTunnel

            return NgrokTunnel(context, _ngrok_settings(config))
        case "cloudflared":
            from ttybridge.tunnels.cloudflared import CloudflaredTunnel

            return CloudflaredTunnel(context)
        case "ssh":
            from ttybridge.tunnels.ssh_remote import SshTunnel

            settings = SshTunnelSettings(config.tunnel_url, config.tunnel_host_key)
            return SshTunnel(context, settings)
        case name:
            factory = third_party(name)
            if factory is None:
                known = ", ".join((*OWN_TUNNELS, *names()))
                raise ConfigError([f"There is no tunnel {name!r}. Known here: {known}."])
            try:
                return factory(context)
            except TtyBridgeError:
                raise
            except Exception as error:  # another package's
                raise fault(name, error) from error


def locals_of(config: Config, port: int, ssh_port: int | None) -> tuple[Local, ...]:
    """Return what is to be made public: the page, and with --ngrok-tcp sshd, too."""
    page = Local(port, Kind.HTTP)
    if config.ngrok_tcp and ssh_port is not None:
        return (page, Local(ssh_port, Kind.TCP))
    return (page,)


def context_of(
    config: Config, environ: Mapping[str, str], folder: Path, say: Callable[[str], None]
) -> Context:
    """Return what the provider gets."""
    own = folder / "tunnel"
    own.mkdir(mode=0o700)
    return Context(config.tunnel_argument, environ, own, say)


def _ngrok_settings(config: Config) -> "NgrokSettings":
    from ttybridge.core.ngrok import NgrokSettings

    basic_auth: tuple[str, ...] = ()
    if config.ngrok_basic_auth is not None:
        try:
            basic_auth = read_lines(config.ngrok_basic_auth)
        except ValueError as error:
            message = f"--ngrok-basic-auth {str(config.ngrok_basic_auth)!r}: {error}"
            raise ConfigError([message]) from None
        if not all(":" in line for line in basic_auth) or not basic_auth:
            raise ConfigError(
                [f"--ngrok-basic-auth {str(config.ngrok_basic_auth)!r}: give lines USER:PASSWORD."]
            )
    return NgrokSettings(
        domain=config.ngrok_domain,
        oauth=config.ngrok_oauth,
        allow=config.ngrok_allow,
        basic_auth=basic_auth,
    )


def _address(endpoints: Sequence[Endpoint]) -> Address:
    page, *others = endpoints
    ssh = None
    for endpoint in others:
        host, _, port = endpoint.url.removeprefix("tcp://").rpartition(":")
        ssh = (host.strip("[]"), int(port))
    notes = tuple(dict.fromkeys(endpoint.note for endpoint in endpoints if endpoint.note))
    return Address(page.url.rstrip("/"), ssh, notes)
