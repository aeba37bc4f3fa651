"""The subcommands: what each is called, takes and does, declared once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A subcommand, with the switches that only it has."""

    name: str
    """The word on the command line; empty for the bridge itself."""
    help: str
    """What it does."""
    switches: tuple[tuple[str, str], ...] = ()
    """Flags that only it has, each with its help."""
    options: tuple[str, ...] | None = None
    """Names of the options that it takes; `None`: all."""
    hidden: bool = False
    """Whether the help text leaves it out."""
    metavars: tuple[tuple[str, str], ...] = ()
    """Those of `switches` that take a value, each with the word for it."""
    words: tuple[tuple[str, str], ...] = ()
    """What has to follow the name, each word with its meaning."""
    more: str = ""
    """How words are written that may follow those, in brackets where that is another thing; `…`
    where the last word may have spaces."""
    rest: str = ""
    """What may follow those words; it is handed on untouched, whatever it looks like."""
    notes: tuple[str, ...] = ()
    """Lines at the end of its help text."""


_OF_TMUX = ("session", "socket_name", "socket_path", "tmux", "config_file")

BRIDGE = Subcommand("", "Puts a shared tmux session in the browser and prints the link to it.")
ENV = Subcommand(
    "env",
    "Lists the environment that the session gets from this shell.",
    (
        ("--values", "show the values too; those of secrets are hidden"),
        ("--show-secrets", "show the values of secrets, too"),
        ("--diff", "how new windows of the running session differ"),
        ("--json", "print JSON"),
    ),
    _OF_TMUX,
)
STATUS = Subcommand(
    "status",
    "Says which bridges of yours run on this machine, and how they are reached.",
    (("--json", "print JSON"),),
    ("label",),
)
LINK = Subcommand(
    "link",
    "Prints a new link to the bridge that runs, for one more browser.",
    (),
    ("link_life_s", "link_uses", "qr", "label"),
)
DOCTOR = Subcommand(
    "doctor",
    "Checks what the bridge needs, and says how to mend what is wrong.",
    (
        ("--public", "test the public address of the running bridge"),
        ("--json", "print JSON"),
    ),
)
REFERENCE = Subcommand(
    "options",
    "Prints the reference of all options.",
    (("--markdown", "print it as docs/options.md"),),
    (),
    hidden=True,
)
_URL = (("URL", "the link that the bridge printed, in quotes, or its address without token"),)
_IDENTITY = ("--identity", "private key; without it, a key made for this")
_REPLACE = ("--replace-host-key", "trust the machine, though its key has changed")

SSH = Subcommand(
    "ssh",
    "Logs in by SSH through the bridge's address: a shell, or a command.",
    (_IDENTITY, _REPLACE),
    ("token_file",),
    metavars=(("--identity", "FILE"),),
    words=_URL,
    rest="[SSH-OPTION…] [COMMAND…]",
    notes=(
        "What follows URL is handed to ssh, after the destination: options of ssh, then",
        "a command. The exit status is that of ssh.",
        "",
        "The token is taken from the link, --token-file or TTYBRIDGE_TOKEN, else it is",
        "that of the last login, else it is asked for.",
        "Examples:",
        "  ttybridge ssh 'https://box.example/?token=…'",
        "  ttybridge ssh https://box.example nvidia-smi -L",
        "  ttybridge ssh https://box.example -L 8888:localhost:8888",
    ),
)
PROXY = Subcommand(
    "proxy",
    "Carries one SSH connection on stdin and stdout: a ProxyCommand for ssh.",
    (_IDENTITY,),
    ("token_file",),
    metavars=(("--identity", "FILE"),),
    words=_URL,
)
SSH_CONFIG = Subcommand(
    "ssh-config",
    "Prints a Host block with which ssh, scp, rsync and editors log in by name.",
    (
        ("--name", "name of the host; else made from the address"),
        ("--write", "put it where ssh reads it: ~/.ssh"),
        _IDENTITY,
        _REPLACE,
    ),
    ("token_file",),
    metavars=(("--name", "NAME"), ("--identity", "FILE")),
    words=_URL,
    notes=(
        "With --write, it goes into ~/.ssh/ttybridge_config, and ~/.ssh/config gets one",
        "line at its beginning that includes it; the rest of it stays as it is.",
    ),
)
CONNECT = Subcommand(
    "connect",
    "Opens the session in this terminal, through the bridge's address.",
    (
        ("--name", "your name, as the others see it"),
        ("--no-escape", "hand on every key: no key sequence leaves"),
    ),
    ("token_file",),
    metavars=(("--name", "NAME"),),
    words=_URL,
    notes=(
        "The credential is found as for ttybridge ssh. No SSH and no key is needed; what",
        "you may do is up to the link. Enter ~. leaves, Enter ~? lists such keys.",
        "Example:",
        "  ttybridge connect 'https://box.example/?link=…'",
    ),
)

_LABEL = ("label",)
_WHO = (("WHO", "an id such as c7, or a name that only one person has: ttybridge who"),)

WHO = Subcommand(
    "who",
    "Lists the people in the session, and those who wait to be let in.",
    (("--json", "print JSON"),),
    _LABEL,
)
SHARE = Subcommand(
    "share",
    "Prints a link for somebody else, who may watch, or type.",
    (
        ("--role", "viewer (watches; default), editor (types), owner"),
        ("--name", "what to call whoever opens it"),
        ("--life", "how long the access lasts; else 24h, at most 30d"),
        ("--uses", "browsers it lets in: viewers any number, others 1"),
    ),
    ("qr", "label"),
    metavars=(("--role", "ROLE"), ("--name", "NAME"), ("--life", "TIME"), ("--uses", "N")),
    notes=(
        "It is printed on stdout, and ends with the bridge or by: ttybridge revoke LINK.",
        "With ttybridge connect it opens the session in a terminal in place of a browser.",
        "Examples:",
        "  ttybridge share",
        "  ttybridge share --role editor --name Ada --life 1h",
    ),
)
LINKS = Subcommand(
    "links",
    "Lists the links that were made with ttybridge share.",
    (("--json", "print JSON"),),
    _LABEL,
)
GRANT = Subcommand(
    "grant",
    "Gives somebody the keyboard.",
    (("--role", "editor, owner or viewer; else editor"),),
    _LABEL,
    metavars=(("--role", "ROLE"),),
    words=_WHO,
    more="…",
)
REVOKE = Subcommand(
    "revoke",
    "Takes the keyboard back from somebody, or ends a link.",
    (),
    _LABEL,
    words=(("WHO", "as for ttybridge grant, or a link's id such as l3: ttybridge links"),),
    more="…",
    notes=("A link ends with everybody who came by it, wherever they are.",),
)
KICK = Subcommand(
    "kick",
    "Removes somebody from the session, and ends what they came in with.",
    (),
    _LABEL,
    words=_WHO,
    more="…",
)
ADMIT = Subcommand("admit", "Lets in somebody who waits.", (), _LABEL, words=_WHO, more="…")
REFUSE = Subcommand("refuse", "Turns away somebody who waits.", (), _LABEL, words=_WHO, more="…")
LOCK = Subcommand(
    "lock", "Lets nobody new in, whatever link they have; who is here may come back.", (), _LABEL
)
UNLOCK = Subcommand("unlock", "Lets people in again.", (), _LABEL)
APPROVE = Subcommand(
    "approve",
    "Has newcomers wait until somebody lets them in: ttybridge admit.",
    (("--off", "let them in at once again; who waits comes in"),),
    _LABEL,
)
RECORD = Subcommand(
    "record",
    "Starts or stops the recording of the session, or marks a place in it.",
    (
        ("--format", "v2 or v3; else as the bridge was told"),
        ("--input", "record what is typed, too: passwords as well"),
        ("--json", "print JSON (status)"),
    ),
    _LABEL,
    metavars=(("--format", "WHICH"),),
    words=(("ACTION", "start, stop, status or marker"),),
    more="[FILE|LABEL…]",
    notes=(
        "  ttybridge record start           to the folder of recordings",
        "  ttybridge record start FILE      to a file that does not exist yet",
        "  ttybridge record marker LABEL    set a mark that players can jump to",
        "  ttybridge record status          what is being recorded, and what was",
        "  ttybridge record stop",
    ),
)
PLAY = Subcommand(
    "play",
    "Plays a recording in this terminal, or serves it to a browser.",
    (
        ("--speed", "how many times as fast; else 1"),
        ("--idle-limit", "longest pause that is shown"),
        ("--serve", "show it in a browser, at a local address"),
    ),
    ("port",),
    metavars=(("--speed", "N"), ("--idle-limit", "TIME")),
    words=(("FILE", "a recording (asciicast v2 or v3)"),),
)
AUDIT = Subcommand(
    "audit",
    "Prints the last joins, leaves and changes of rights.",
    (("--json", "print JSON"),),
    _LABEL,
)

CLIENTS = (SSH, PROXY, SSH_CONFIG, CONNECT)
"""Subcommands for the machine that logs in; they share nothing with the bridge's settings."""

PEOPLE = (WHO, SHARE, LINKS, GRANT, REVOKE, KICK, ADMIT, REFUSE, LOCK, UNLOCK, APPROVE)
"""Subcommands about the people of a bridge that runs."""

PURPOSES = (
    ("this machine", (STATUS, LINK, ENV, DOCTOR)),
    ("people", PEOPLE),
    ("recordings", (RECORD, PLAY, AUDIT)),
    ("from elsewhere", CLIENTS),
)
"""The subcommands by what they are for, in the order of the help text."""

SUBCOMMANDS = (BRIDGE, *(sub for _, subs in PURPOSES for sub in subs), REFERENCE)
"""The bridge itself, then the subcommands."""
