"""What a tunnel is: it makes local ports of this machine reachable from outside.

A provider is chosen by name (`--tunnel NAME` or `--tunnel NAME:ARGUMENT`). Those of the package are
built in `ttybridge.public`; any other package can add one by an entry point in the group
`ttybridge.tunnels`, whose name is NAME and whose object is a `Factory`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from ttybridge.errors import TunnelError

GROUP = "ttybridge.tunnels"
"""Entry point group of providers outside the package."""


class Kind(Enum):
    """What is spoken on a local port."""

    HTTP = "http"
    """HTTP with WebSockets: the page, its proxied apps, SSH over the web address."""
    TCP = "tcp"
    """Bytes: sshd."""


@dataclass(frozen=True, slots=True)
class Local:
    """A local port that is to be made public."""

    port: int
    """The port, on 127.0.0.1."""
    kind: Kind = Kind.HTTP
    """What is spoken there."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A public address that leads to a local port."""

    url: str
    """`https://name`, `http://name:port` or `tcp://name:port`; no slash at the end."""
    note: str = ""
    """A sentence about what the user may not expect of this address."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a provider gets from the bridge."""

    argument: str
    """What follows `NAME:` on the command line; may be empty."""
    environ: Mapping[str, str]
    """The environment that the bridge was started with; for programs that are started, too."""
    folder: Path
    """A private folder (0700) that is removed when the bridge stops: configuration, logs, pipes."""
    say: Callable[[str], None]
    """Tells the user a sentence while the tunnel is being opened, such as a download's progress."""


class Tunnel(Protocol):
    """One provider's way to the outside."""

    name: str
    """The provider's name in messages: `ngrok`."""

    async def open(self, locals: Sequence[Local]) -> Sequence[Endpoint]:
        """Make local ports public; called again after `close` when the tunnel was lost.

        Has a deadline of its own. When it fails or is cancelled, nothing of it is left running.

        Returns:
            The public addresses, in the order of `locals`.

        Raises:
            TunnelError: It cannot be opened; says what to do, with the agent's last lines.
            MissingProgramError: The provider's program is not installed.
            ConfigError: An option of the provider is wrong.
        """
        ...

    async def health(self) -> Sequence[Endpoint]:
        """Return the addresses as they are now: a provider may have changed them by itself.

        Cheap: it is called every few seconds, and asks nothing of the provider's service.

        Raises:
            TunnelError: The addresses are lost; `close` and `open` may bring new ones.
        """
        ...

    async def close(self) -> None:
        """Take the addresses down and end all that `open` started; does nothing when closed."""
        ...


Factory = Callable[[Context], Tunnel]
"""Makes a provider; must not block, and starts nothing yet."""

FAULT_HINT = "This is a fault of the tunnel's program."
"""What can be said to the user about a provider that does not keep to this module."""

_SCHEMES = {Kind.HTTP: r"https?", Kind.TCP: r"tcp"}
_NAME = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])"


def checked(
    name: str, endpoints: Sequence[Endpoint], locals: Sequence[Local]
) -> Sequence[Endpoint]:
    """Return the addresses that a provider gave, if they are what it promised.

    Args:
        name: The provider's.
        endpoints: What it gave.
        locals: What it was given.

    Raises:
        TunnelError: They are something else.
    """
    found = endpoints if isinstance(endpoints, list | tuple) else ()
    if len(found) != len(locals) or not all(isinstance(each, Endpoint) for each in found):
        raise TunnelError(
            f"The tunnel {name} gave no address for each of {len(locals)} port(s): "
            f"{str(endpoints)[:100]}.",
            hint=FAULT_HINT,
        )
    for endpoint, local in zip(found, locals, strict=True):
        port = r"(?::\d{1,5})?" if local.kind is Kind.HTTP else r":\d{1,5}"
        if not re.fullmatch(f"{_SCHEMES[local.kind]}://{_NAME}{port}/?", endpoint.url):
            raise TunnelError(
                f"The tunnel {name} gave {endpoint.url[:100]!r}, which is no public address for "
                f"{local.kind.value}.",
                hint=FAULT_HINT,
            )
    return found


def fault(name: str, error: Exception) -> TunnelError:
    """Return the error for a provider that raises what it should not."""
    message = f"The tunnel {name} failed: {type(error).__name__}: {error}."
    return TunnelError(message, hint=FAULT_HINT)
