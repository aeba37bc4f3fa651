"""Reads the command line against the declared options, and reports every problem at once.

argparse stops at the first problem, so the reading is done here. Values are not checked:
that is done in `ttybridge.settings`, for all sources alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ttybridge.options import Group, Kind, Option
from ttybridge.settings import OPTIONS, Raw, did_you_mean, nearest
from ttybridge.subcommands import BRIDGE, DOCTOR, SUBCOMMANDS, Subcommand

_BY_NAME = {sub.name: sub for sub in SUBCOMMANDS if sub.name}

_NO_SUCH_FLAG = {
    "--token": "everyone on this machine can read the arguments of a program. Set the variable "
    "TTYBRIDGE_TOKEN, or write the token to a file and give --token-file FILE.",
}
_NO_SUCH_FLAG["--password"] = _NO_SUCH_FLAG["--token"]


@dataclass(slots=True)
class Arguments:
    """What a command line says."""

    subcommand: Subcommand = BRIDGE
    """What to do."""
    flags: dict[str, Raw] = field(default_factory=dict)
    """Field names of `Config` with their values, not checked."""
    switches: set[str] = field(default_factory=set)
    """The subcommand's own flags that are given, with their dashes."""
    values: dict[str, str] = field(default_factory=dict)
    """Values of the subcommand's own flags that take one."""
    words: tuple[str, ...] = ()
    """The words that the subcommand needs."""
    more: tuple[str, ...] = ()
    """Words after those, where it takes some."""
    rest: tuple[str, ...] = ()
    """What follows them, untouched."""
    help: bool = False
    """Whether `--help` is given."""
    version: bool = False
    """Whether `--version` is given."""
    problems: list[str] = field(default_factory=list)
    """A sentence for each thing that is wrong."""


def takes(subcommand: Subcommand, option: Option) -> bool:
    """Tell whether a subcommand takes an option."""
    if option.kind is Kind.COMMAND:
        return subcommand in (BRIDGE, DOCTOR)
    return subcommand.options is None or option.name in subcommand.options


def parse(argv: Sequence[str]) -> Arguments:
    """Read the arguments after the program's name; never raises."""
    return _Reader(argv).read()


class _Reader:
    def __init__(self, argv: Sequence[str]) -> None:
        self._rest = list(argv)
        self._command: tuple[str, ...] | None = None
        self._result = Arguments()
        self._words: list[str] = []
        self._seen: dict[str, tuple[Option, bool]] = {}
        self._unknown: list[str] = []
        self._by_flag = {option.on_flag: (option, True) for option in OPTIONS}
        self._by_flag |= {option.off_flag: (option, False) for option in OPTIONS}
        self._by_flag |= {option.short: (option, True) for option in OPTIONS}
        for nothing in ("", "--", "--no"):
            self._by_flag.pop(nothing, None)
        self._switches = {flag for sub in SUBCOMMANDS for flag, _ in sub.switches}
        self._metavars = {flag: word for sub in SUBCOMMANDS for flag, word in sub.metavars}

    def read(self) -> Arguments:
        while self._rest:
            word = self._rest.pop(0)
            if word == "--":
                self._command = tuple(self._rest)
                break
            if word.startswith("--"):
                self._long(word)
            elif word.startswith("-") and len(word) > 1:
                self._short(word)
            else:
                self._words.append(word)
                if self._hands_on():
                    self._result.rest = tuple(self._rest)
                    break
        self._choose_subcommand()
        self._check_flags()
        return self._result

    def _hands_on(self) -> bool:
        """Tell whether all that follows is for another program."""
        sub = _BY_NAME.get(self._words[0])
        return sub is not None and bool(sub.rest) and len(self._words) > len(sub.words)

    def _long(self, word: str) -> None:
        flag, equals, value = word.partition("=")
        if flag in _NO_SUCH_FLAG:
            self._result.problems.append(f"{flag} does not exist: {_NO_SUCH_FLAG[flag]}")
            if not equals:
                self._skip_value()
        elif flag == "--help":
            self._result.help = True
        elif flag == "--version":
            self._result.version = True
        elif flag in self._by_flag:
            self._option(flag, value if equals else None)
        elif flag in self._switches:
            self._switch(flag, value if equals else None)
        else:
            self._unknown.append(flag)
            meant = nearest(flag, [*self._by_flag, *self._switches])
            if not equals and meant and self._takes_value(meant):
                self._skip_value()

    def _takes_value(self, flag: str) -> bool:
        if flag in self._switches:
            return flag in self._metavars
        return self._by_flag[flag][0].kind in (Kind.VALUE, Kind.LIST)

    def _switch(self, flag: str, value: str | None) -> None:
        """Read a flag that only subcommands have."""
        self._result.switches.add(flag)
        if flag in self._metavars:
            value = self._value(flag, value, self._metavars[flag])
            if value is not None:
                self._result.values[flag] = value
        elif value is not None:
            self._result.problems.append(f"{flag} takes no value.")

    def _value(self, flag: str, value: str | None, metavar: str) -> str | None:
        """Return the value after the equals sign, else the next word; None when there is none."""
        if value is None and self._rest and not self._is_flag(self._rest[0]):
            return self._rest.pop(0)
        if value is None:
            self._result.problems.append(f"{flag} needs a value: {flag} {metavar}.")
        return value

    def _skip_value(self) -> None:
        """Leave out the value of a flag that does not exist, so that it is not taken for a word."""
        if self._rest and not self._rest[0].startswith("-"):
            del self._rest[0]

    def _short(self, word: str) -> None:
        """Read `-q`, `-vv`, `-qo`, `-p9000` or `-p 9000`."""
        for at in range(1, len(word)):
            flag, rest = f"-{word[at]}", word[at + 1 :]
            if flag == "-h":
                self._result.help = True
            elif flag not in self._by_flag:
                self._unknown.append(flag)
                return
            elif self._takes_value(flag):
                self._option(flag, rest.removeprefix("=") if rest else None)
                return
            else:
                self._option(flag, None)

    def _option(self, flag: str, value: str | None) -> None:
        option, turns_on = self._by_flag[flag]
        self._seen[flag] = (option, turns_on)
        flags = self._result.flags
        if option.kind in (Kind.SWITCH, Kind.COUNT):
            if value is not None:
                self._result.problems.append(f"{flag} takes no value.")
            elif option.kind is Kind.SWITCH:
                flags[option.name] = turns_on
            else:
                flags[option.name] = min(int(str(flags.get(option.name, 0))) + 1, 2)
            return
        value = self._value(flag, value, option.metavar)
        if value is None:
            return
        if option.kind is Kind.LIST:
            before = flags.get(option.name, ())
            flags[option.name] = (*(before if isinstance(before, tuple) else ()), value)
        else:
            flags[option.name] = value

    def _is_flag(self, word: str) -> bool:
        name = word.partition("=")[0]
        return name in self._by_flag or name in self._switches or name in ("-h", "--help", "--")

    def _choose_subcommand(self) -> None:
        result = self._result
        if self._words and self._words[0] in _BY_NAME:
            result.subcommand = _BY_NAME[self._words.pop(0)]
        needed = result.subcommand.words
        result.words = tuple(self._words[: len(needed)])
        del self._words[: len(needed)]
        for word, meaning in needed[len(result.words) :]:
            result.problems.append(f"ttybridge {result.subcommand.name} needs {word}: {meaning}.")
        if self._words and result.subcommand.more:
            result.more = tuple(self._words)
        elif self._words:
            words = " ".join(self._words)
            shown = words if len(words) <= 60 else words[:57] + "…"
            hint = did_you_mean(self._words[0], _BY_NAME)
            if not hint and not result.subcommand.name:
                hint = f" To share a command, write: ttybridge -- {shown}"
            result.problems.append(f"There is nothing called {shown!r} here.{hint}")
        if self._command is not None:
            if result.subcommand not in (BRIDGE, DOCTOR):
                result.problems.append(f"ttybridge {result.subcommand.name} takes no command.")
            elif not self._command:
                result.problems.append("After -- a command is needed: ttybridge -- htop.")
            else:
                result.flags["command"] = self._command

    def _check_flags(self) -> None:
        """Report flags that are unknown, or that the subcommand does not take."""
        result, sub = self._result, self._result.subcommand
        own = {flag for flag, _ in sub.switches}
        title = f"ttybridge {sub.name}".strip()
        for flag, (option, _) in self._seen.items():
            if not takes(sub, option):
                result.problems.append(f"{flag} is not an option of {title}.")
        for flag in sorted(result.switches - own):
            owners = [s.name for s in SUBCOMMANDS if flag in dict(s.switches) and not s.hidden]
            more = ", …" if len(owners) > 3 else "."
            titles = ", ".join(f"ttybridge {owner}" for owner in owners[:3])
            where = f" It belongs to: {titles}{more}" if owners else ""
            result.problems.append(f"{flag} is not an option of {title}.{where}")
        known = [flag for flag, (option, _) in self._by_flag.items() if takes(sub, option)]
        for flag in self._unknown:
            near = did_you_mean(flag, [*known, *own, "--help", "--version"])
            result.problems.append(f"There is no option {flag}.{near}")


def groups() -> dict[Group, list[Option]]:
    """Return the options under their headings."""
    return {group: [o for o in OPTIONS if o.group is group] for group in Group}
