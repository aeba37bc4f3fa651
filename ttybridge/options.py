"""What an option is: how it is declared, and what its names are.

Every option is declared once, as metadata of a field of `ttybridge.config.Config`. The reader
of the command line, of `TTYBRIDGE_*` variables and of the configuration file, the help text
and docs/options.md are all made from these declarations.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")


class Group(Enum):
    """Headings of the help text, in order."""

    NETWORK = "Network"
    ACCESS = "Access"
    SESSION = "Session"
    SSH = "SSH"
    PUBLIC = "Public address"
    RECORDING = "Recording"
    LIMITS = "Limits"
    OUTPUT = "Output"


class Kind(Enum):
    """How an option is written."""

    VALUE = "value"
    """One value: `--port 9000`."""
    LIST = "list"
    """May be given several times, or with commas (keys: one a line)."""
    SWITCH = "switch"
    """Yes or no: `--exclusive`, `--no-exclusive`, `TTYBRIDGE_EXCLUSIVE=1`."""
    COUNT = "count"
    """Counted: `-vv`, `TTYBRIDGE_VERBOSE=2`."""
    COMMAND = "command"
    """Everything after `--`."""


@dataclass(frozen=True, slots=True)
class Option:
    """One declared option."""

    name: str
    """Name of the field of `Config`."""
    flag: str
    """Long flag, the form that the help text shows; of a switch that is on, the `--no-` form."""
    short: str
    """Short flag such as `-p`, or empty."""
    metavar: str
    """Word for the value in the help text."""
    help: str
    """What it does, in a few words; fits the line of the help text."""
    group: Group
    """Heading that it stands under."""
    kind: Kind
    """How it is written."""
    parse: Callable[[str], object]
    """Makes the value from text; raises ValueError with a sentence on what is allowed."""
    default: object
    """Value when nothing is given."""
    default_text: str
    """The default in words, for the documentation."""
    in_file: bool
    """Whether the configuration file may have it."""
    rare: bool
    """Whether the help text only names it."""
    separator: str
    """What stands between the values of a list that are given at once."""

    @property
    def on_flag(self) -> str:
        """The flag that turns a switch on; for other kinds, the flag.

        The switch `clipboard` is shown as `--no-clipboard` and turned on by `--clipboard`.
        """
        if self.kind is Kind.SWITCH and self.default is True:
            return "--" + self.flag.removeprefix("--no-")
        return self.flag

    @property
    def off_flag(self) -> str:
        """The flag that turns a switch off; empty for other kinds."""
        if self.kind is not Kind.SWITCH:
            return ""
        if self.default is True:
            return self.flag
        stem = self.flag.removeprefix("--")
        return "--" + (stem.removeprefix("no-") if stem.startswith("no-") else "no-" + stem)

    @property
    def variable(self) -> str:
        """The environment variable, such as `TTYBRIDGE_PORT`; empty for a command."""
        stem = self.on_flag.removeprefix("--").replace("-", "_").upper()
        return f"TTYBRIDGE_{stem}" if self.kind is not Kind.COMMAND else ""

    @property
    def key(self) -> str:
        """The key in the configuration file, such as `port`; empty when it has none."""
        return self.on_flag.removeprefix("--").replace("-", "_") if self.in_file else ""


@dataclass(frozen=True, slots=True)
class Given:
    """A value with the place where it was given."""

    raw: object
    """The value as it was given, not checked yet."""
    source: str
    """`flag`, `variable` or `file`."""
    where: str
    """The place in words: `--port`, `TTYBRIDGE_PORT`, `port in FILE`."""


def option(
    default: T,
    flag: str,
    metavar: str,
    help: str,
    *,
    group: Group,
    parse: Callable[[str], object] = str,
    kind: Kind = Kind.VALUE,
    short: str = "",
    default_text: str = "",
    in_file: bool = True,
    rare: bool = False,
    separator: str = ",",
) -> T:
    """Declare an option as the default of a dataclass field; parameters as in `Option`."""
    metadata: dict[str, object] = {
        "flag": flag,
        "short": short,
        "metavar": metavar,
        "help": help,
        "group": group,
        "kind": kind,
        "parse": parse,
        "default": default,
        "default_text": default_text,
        "in_file": in_file,
        "rare": rare,
        "separator": separator,
    }
    return dataclasses.field(default=default, metadata=metadata)


def options_of(config: type[Any]) -> tuple[Option, ...]:
    """Return the options that a dataclass declares, in the order of its fields."""
    return tuple(
        Option(name=field.name, **field.metadata)
        for field in dataclasses.fields(config)
        if field.metadata
    )
