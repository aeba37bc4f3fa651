"""Tunnels of other packages, found by their entry points."""

from importlib.metadata import EntryPoint, entry_points
from typing import cast

from ttybridge.errors import TunnelError
from ttybridge.tunnels.base import GROUP, Factory


def names() -> tuple[str, ...]:
    """Return the names of the tunnels that other packages bring, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


def third_party(name: str) -> Factory | None:
    """Return the tunnel of another package by its name; `None` when no package has one.

    Raises:
        TunnelError: It cannot be loaded, or two packages have one of this name.
    """
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        return None
    if len(found) > 1:
        packages = " and ".join(sorted(_package(entry) for entry in found))
        message = f"More than one package brings a tunnel called {name!r}: {packages}."
        raise TunnelError(message, hint="Uninstall all but one of them.")
    return _load(found[0])


def _load(entry: EntryPoint) -> Factory:
    package = _package(entry)
    try:
        factory = entry.load()
    except Exception as error:  # what is imported is another's: it may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise _broken(entry, package, reason) from error
    if not callable(factory):
        raise _broken(entry, package, f"{entry.value} cannot be called")
    return cast(Factory, factory)


def _broken(entry: EntryPoint, package: str, reason: str) -> TunnelError:
    return TunnelError(
        f"The tunnel {entry.name!r} of the package {package} cannot be loaded: {reason}.",
        hint="Update that package, or choose another tunnel.",
    )


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown one"
