"""The help text and docs/options.md, made from the declared options."""

import textwrap
from collections.abc import Iterator

from ttybridge.arguments import groups, takes
from ttybridge.options import Kind, Option
from ttybridge.settings import OPTIONS
from ttybridge.subcommands import BRIDGE, CLIENTS, PLAY, PURPOSES, SUBCOMMANDS, Subcommand

EXIT_STATUS = (
    ("0", "stopped by Ctrl-C or SIGTERM"),
    ("1", "something failed"),
    ("2", "wrong options"),
    ("3", "a program that is needed is missing"),
    ("4", "the terminal or tmux failed"),
    ("5", "the port is taken"),
    ("6", "with --ssh: no key may log in, or sshd failed"),
    ("7", "the tunnel could not be opened"),
    ("N", "with -- COMMAND: its own exit status, or 128 + n when signal n ended it"),
)
"""What the exit status of the command means."""

_EXAMPLES = ("ttybridge -- htop", "ttybridge --ngrok --ssh", "ttybridge share")

_OF_OTHERS = {"label": "which bridge is meant, where several run"}
"""What options mean for subcommands that ask a bridge that runs."""

_FLAGS_WIDTH = 28


def help_text(subcommand: Subcommand) -> str:
    """Return what `--help` prints: at most 45 lines of 80 columns."""
    return "\n".join(_bridge_help() if subcommand is BRIDGE else _subcommand_help(subcommand))


def _bridge_help() -> Iterator[str]:
    yield "Usage: ttybridge [OPTIONS] [-- COMMAND…]"
    yield "       ttybridge SUBCOMMAND …"
    yield BRIDGE.help
    yield "Subcommands, each with a --help of its own:"
    for purpose, subs in PURPOSES:
        yield f"  {purpose}: {' '.join(each.name for each in subs)}"
    for group, members in groups().items():
        common = [o for o in members if not o.rare and o.kind is not Kind.COMMAND]
        rare = " ".join(o.flag for o in members if o.rare)
        if common:
            yield from _wrapped(f"{group.value} (also {rare}):" if rare else f"{group.value}:")
        else:
            yield from _wrapped(f"{group.value}: {rare}")
        yield from (_line(flags(o), o.help) for o in common)
    yield _line("-h, --help · --version", "print this help · the version")
    yield "  * can be given several times. All options and their variables: docs/options.md"
    yield "Exit status: 0 stopped, 1 failure, 2 wrong options, more there; or COMMAND's."
    yield f"Examples: {'  ·  '.join(_EXAMPLES)}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 80, subsequent_indent="  ", break_on_hyphens=False)


def _subcommand_help(subcommand: Subcommand) -> Iterator[str]:
    yield f"Usage: ttybridge {' '.join(_usage(subcommand))}"
    yield subcommand.help
    yield ""
    for word, meaning in subcommand.words:
        yield f"{word}: {meaning}"
    yield "Options:"
    yield from (_line(f"    {flag}", text) for flag, text in _own_flags(subcommand))
    for members in groups().values():
        yield from (_line(flags(o), _help(subcommand, o)) for o in members if takes(subcommand, o))
    yield _line("-h, --help", "print this help")
    if subcommand.notes:
        yield from ("", *subcommand.notes)


def _usage(subcommand: Subcommand) -> Iterator[str]:
    yield subcommand.name
    yield "[OPTIONS]"
    yield from (word for word, _ in subcommand.words)
    if subcommand.more.startswith("["):
        yield subcommand.more
    if subcommand.rest:
        yield subcommand.rest


def _help(subcommand: Subcommand, option: Option) -> str:
    asks = subcommand is not BRIDGE and subcommand.options is not None
    return _OF_OTHERS.get(option.name, option.help) if asks else option.help


def _own_flags(subcommand: Subcommand) -> Iterator[tuple[str, str]]:
    """Yield the flags that only a subcommand has, each with its help: `--name NAME`."""
    metavars = dict(subcommand.metavars)
    for flag, text in subcommand.switches:
        yield f"{flag} {metavars.get(flag, '')}".rstrip(), text


def _line(left: str, right: str) -> str:
    return f"  {left:<{_FLAGS_WIDTH}} {right}"


def flags(option: Option) -> str:
    """Return how an option is written: `-p, --port PORT`."""
    short = f"{option.short}, " if option.short else "    "
    return f"{short}{option.flag} {option.metavar}".rstrip()


def markdown() -> str:
    """Return docs/options.md."""
    return "\n".join(_markdown_lines()) + "\n"


def _markdown_lines() -> Iterator[str]:
    yield "# Options"
    yield ""
    yield "<!-- Made by `ttybridge options --markdown`; a test compares the two. -->"
    yield ""
    yield "A flag wins over its variable, the variable over the configuration file, the file over"
    yield "the default. An empty variable counts as not set. The file is TOML: the one that"
    yield "`--config` names, else `$XDG_CONFIG_HOME/ttybridge/config.toml` (`~/.config` when the"
    yield "variable is not set), if it exists."
    yield ""
    yield "```toml"
    yield 'session = "work"'
    yield "port = 9000"
    yield 'allow_host = ["box.example"]'
    yield "```"
    for group, members in groups().items():
        yield from ("", f"## {group.value}", "")
        yield "| flag | variable | key | default | meaning |"
        yield "|---|---|---|---|---|"
        yield from (_row(option) for option in members)
    yield from _notes()
    yield from ("", "## Subcommands", "")
    yield "| command | does |"
    yield "|---|---|"
    for sub in SUBCOMMANDS:
        if sub.name and not sub.hidden:
            words = " ".join(word for word in _usage(sub) if word != "[OPTIONS]")
            words = words.replace("|", "\\|")  # else it would end the cell
            yield f"| `ttybridge {words}` | {sub.help} |"
            yield from (
                f"| `ttybridge {sub.name} {flag}` | {text} |" for flag, text in _own_flags(sub)
            )
            for option in OPTIONS if sub in (*CLIENTS, PLAY) else ():
                if takes(sub, option):
                    yield f"| `ttybridge {sub.name} {flags(option).strip()}` | {option.help} |"
    yield from ("", "## Exit status", "")
    yield "| status | meaning |"
    yield "|---|---|"
    yield from (f"| {status} | {meaning} |" for status, meaning in EXIT_STATUS)


def _row(option: Option) -> str:
    left = ", ".join(f"`{part}`" for part in flags(option).strip().split(", "))
    if option.off_flag:
        opposite = option.off_flag if option.default is False else option.on_flag
        left += f", `{opposite}`"
    default = option.default_text or _default(option)
    cells = (left, _code(option.variable), _code(option.key), default, option.help.rstrip(" *"))
    return f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    return f"`{text}`" if text else "–"


def _default(option: Option) -> str:
    if option.default in ((), None):
        return "none"
    if isinstance(option.default, bool):
        return "yes" if option.default else "no"
    return f"`{option.default}`"


def _notes() -> Iterator[str]:
    yield ""
    yield "Lists (`--allow-host`, `--trusted-proxy`, `--allow-frame`) are given by repeating the"
    yield "flag, with commas, or as a TOML array. Switches take `1` or `0` as a variable, `true` or"
    yield "`false` in the file. Times take `s`, `m`, `h` and `d`; sizes take `K`, `M` and `G`:"
    yield "powers of 1024."
    yield ""
    yield "## The token"
    yield ""
    yield "Without a token of yours the bridge makes a random one for each run. To keep one, set"
    yield "the variable `TTYBRIDGE_TOKEN`, or write it to a file that only you can read and give"
    yield "`--token-file`. There is no flag for the token itself: everyone on a machine can read"
    yield "the arguments of its programs. A token has 16 to 256 characters: letters, digits and"
    yield "`. _ ~ -`. Neither the terminal nor any other program gets the variable."
