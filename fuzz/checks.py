"""What the targets have in common: an input chooses one of several checks, and how text is cut."""

import contextlib
from collections.abc import Callable, Iterable, Sequence

Check = Callable[[bytes], None]
"""Takes any bytes; raises for a fault in the program."""

FIRST = ord("a")
"""The first byte of an input that means the first check, so that a corpus is readable."""


def dispatch(checks: Sequence[Check], data: bytes) -> None:
    """Run the check that the first byte names (`a`, `b`, …) on the rest.

    Args:
        checks: The checks of a target, 26 at most.
        data: An input.
    """
    if data:
        checks[(data[0] - FIRST) % len(checks)](data[1:])


def pieces(data: bytes) -> list[bytes]:
    r"""Cut bytes at places that the bytes themselves choose.

    >>> pieces(b"\x02abcdef")
    [b'ab', b'cd', b'ef']
    """
    step, rest = (data[0] % 16 or 1, data[1:]) if data else (1, b"")
    return [rest[at : at + step] for at in range(0, len(rest), step)]


def text_of(data: bytes) -> str:
    """Return bytes as text, as aiohttp reads headers: what is no UTF-8 becomes surrogates."""
    return data.decode("utf-8", "surrogateescape")


def same(name: str, one: object, other: object) -> None:
    """Fail where two things differ that must not."""
    if one != other:
        raise AssertionError(f"{name}: {one!r:.2000} and {other!r:.2000}")


def holds(condition: object, what: str) -> None:
    """Fail where something does not hold."""
    if not condition:
        raise AssertionError(what)


def only(errors: type[Exception] | tuple[type[Exception], ...], call: Callable[[], object]) -> None:
    """Call; let nothing but the errors pass that the called one documents."""
    with contextlib.suppress(*(errors if isinstance(errors, tuple) else (errors,))):
        call()


def names(checks: Iterable[Check]) -> list[str]:
    """Return what the checks are called, without the underscore."""
    return [check.__name__.removeprefix("_") for check in checks]
