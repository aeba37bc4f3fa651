"""Makes a `Config` from the command line, `TTYBRIDGE_*` variables, a TOML file and defaults."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ttybridge.config import Config
from ttybridge.errors import ConfigError
from ttybridge.model import Secret
from ttybridge.options import Given, Kind, Option, options_of
from ttybridge.together import check_together
from ttybridge.tokens import (
    HOST_KEY_SECRET_VARIABLE,
    SECRET_VARIABLES,
    TOKEN_VARIABLE,
    read_token_file,
    token_problem,
)

OPTIONS = options_of(Config)
"""Every option, in the order of the help text."""

PREFIX = "TTYBRIDGE_"
"""Beginning of the names of our variables."""

ORIGINAL_CWD = Path("content")
"""Where the original starts its shells, below its own working directory."""

_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_TMUX_ONLY = ("session", "socket_name", "socket_path", "tmux", "exclusive", "container",
              "container_engine")  # fmt: skip

Raw = str | bool | int | tuple[str, ...]
"""A value as the command line gives it, not checked yet."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A configuration file that was found."""

    path: Path
    """Where it is."""
    text: str = ""
    """What it says."""
    problem: str = ""
    """Why it could not be read; empty when it could."""


def resolve(
    flags: Mapping[str, Raw],
    environ: Mapping[str, str],
    file: ConfigFile | None = None,
    *,
    problems: Iterable[str] = (),
    read_token: Callable[[Path], str] | None = None,
    is_directory: Callable[[Path], bool] = Path.is_dir,
) -> Config:
    """Merge the sources: flags, then variables, then the file, then defaults.

    Pure, but for the two callables at the end.

    Args:
        flags: Field names of `Config` with what the command line says.
        environ: The environment; names that begin with `TTYBRIDGE_` are looked at.
            An empty variable counts as not set.
        file: The configuration file, if there is one.
        problems: Problems found before, which are reported together with the others.
        read_token: Reads the token file; raises ValueError with a sentence.
        is_directory: Tells whether a path is a folder.

    Raises:
        ConfigError: Anything is wrong; has every problem.
    """
    found = list(problems)
    given = _merge(flags, environ, _read_toml(file, found), file, found)
    values = {}
    for option in OPTIONS:
        if option.name in given:
            try:
                values[option.name] = _value(option, given[option.name], environ.get("HOME", ""))
            except ValueError as error:
                shown = _shown(given[option.name].raw)
                found.append(f"{given[option.name].where} {shown}: {error}")
    if file is not None and not file.problem:
        values["config_file"] = file.path
    if "cwd" not in given:
        values["cwd"] = ORIGINAL_CWD if is_directory(ORIGINAL_CWD) else Path()
    _settle_conflicts(values, given, found)
    values["token"] = _token(values, given, environ, read_token or read_token_file, found)
    values["host_key_secret"] = _host_key_secret(environ, found)
    config = Config(**values)  # type: ignore[arg-type]
    found += check_together(config, given, is_directory)
    if found:
        raise ConfigError(found)
    return config


def find_config_file(flags: Mapping[str, Raw], environ: Mapping[str, str]) -> ConfigFile | None:
    """Return the configuration file that is named, or the one at the usual place.

    Never raises: what is wrong with the file is in its `problem`.
    """
    named = flags.get("config_file") or environ.get("TTYBRIDGE_CONFIG")
    if named:
        path = Path(str(named))
    else:
        base = environ.get("XDG_CONFIG_HOME", "")
        if not base.startswith("/"):
            base = environ.get("HOME", "") + "/.config"
        path = Path(base, "ttybridge", "config.toml")
    try:
        return ConfigFile(path, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ConfigFile(path, problem=f"{path} does not exist.") if named else None
    except NotADirectoryError:
        return ConfigFile(path, problem=f"{path} does not exist.") if named else None
    except UnicodeDecodeError:
        return ConfigFile(path, problem=f"{path} is not UTF-8 text.")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return ConfigFile(path, problem=f"{path} cannot be read: {reason}.")


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return ` Did you mean …?`, or nothing when no word is near.

    >>> did_you_mean("--prot", ["--port", "--host"])
    ' Did you mean --port?'
    """
    near = nearest(word, words)
    return f" Did you mean {near}?" if near else ""


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the word that looks most like `word`, or nothing when none is near."""
    import difflib  # when something is wrong

    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return near[0] if near else ""


def _shown(raw: object) -> str:
    """Show a value that was wrong, on one line and not longer than a line."""
    text = repr(raw) if "PRIVATE KEY" not in str(raw) else "(a private key)"
    return text if len(text) <= 60 else text[:57] + "…"


def _read_toml(file: ConfigFile | None, problems: list[str]) -> dict[str, object]:
    """Return the settings in the file, reporting what is unknown."""
    if file is None:
        return {}
    if file.problem:
        problems.append(file.problem)
        return {}
    import tomllib  # where there is a file

    try:
        settings: dict[str, object] = tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{file.path} is not valid TOML: {error}.")
        return {}
    known = {option.key for option in OPTIONS if option.key}
    for key in settings.keys() - known:
        if key == "token":
            hint = " A token does not belong into this file: use token_file, or TTYBRIDGE_TOKEN."
        else:
            hint = did_you_mean(key, known)
        problems.append(f"{file.path}: there is no setting {_shown(key)}.{hint}")
    return settings


def _merge(
    flags: Mapping[str, Raw],
    environ: Mapping[str, str],
    settings: Mapping[str, object],
    file: ConfigFile | None,
    problems: list[str],
) -> dict[str, Given]:
    """Return for each option the value of the first source that has it."""
    known = {option.variable for option in OPTIONS if option.variable} | set(SECRET_VARIABLES)
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known and not _is_mark(name):
            problems.append(f"There is no variable {name}.{did_you_mean(name, known)}")
    given = {}
    for option in OPTIONS:
        if option.name in flags:
            given[option.name] = Given(flags[option.name], "flag", option.flag)
        elif environ.get(option.variable):
            given[option.name] = Given(environ[option.variable], "variable", option.variable)
        elif option.key and option.key in settings and file is not None:
            where = f"{option.key} in {file.path}:"
            given[option.name] = Given(settings[option.key], "file", where)
    return given


def _is_mark(name: str) -> bool:
    """Tell whether it is what a shell has in a container that we share: our client's mark."""
    from ttybridge.core.container import MARK

    return name == MARK


def _value(option: Option, given: Given, home: str) -> object:
    """Check one value; raises ValueError with a sentence."""
    raw = given.raw
    match option.kind:
        case Kind.SWITCH:
            if isinstance(raw, str) and raw.lower() in _YES + _NO:
                return raw.lower() in _YES
            if not isinstance(raw, bool):
                reason = "give true or false." if given.source == "file" else "give 1 or 0."
                raise ValueError(reason)
            return raw
        case Kind.LIST:
            items = raw if isinstance(raw, tuple | list) else (raw,)
            texts = [_text(item) for item in items]
            parts = [part.strip() for text in texts for part in text.split(option.separator)]
            return tuple(dict.fromkeys(option.parse(part) for part in parts if part))
        case Kind.COMMAND:
            return raw
        case Kind.VALUE | Kind.COUNT:
            text = _text(raw)
            if given.source != "flag" and text.startswith("~/") and home:
                text = home + text[1:]
            return option.parse(text)


def _text(raw: object) -> str:
    """Return a value from TOML as the text that a flag would have."""
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        reason = "this is not a text or a number."
        raise ValueError(reason)
    return str(raw)


def _settle_conflicts(
    values: dict[str, object], given: Mapping[str, Given], problems: list[str]
) -> None:
    """Report options that exclude each other; drop the one whose source is weaker."""
    order = ("flag", "variable", "file")
    if "socket_name" in given and "socket_path" in given:
        name, path = given["socket_name"], given["socket_path"]
        if name.source == path.source:
            problems.append(f"{name.where} and {path.where} exclude each other: give one of them.")
        else:
            weaker = max((name, path), key=lambda item: order.index(item.source))
            values.pop("socket_name" if weaker is name else "socket_path", None)
    if "command" in given:
        for option in _TMUX_ONLY:
            if option in given and given[option].source == "flag":
                problems.append(
                    f"{given[option].where} is about tmux, and a command after -- runs without "
                    "it: leave one of them out."
                )
            values.pop(option, None)


def _token(
    values: Mapping[str, object],
    given: Mapping[str, Given],
    environ: Mapping[str, str],
    read_token: Callable[[Path], str],
    problems: list[str],
) -> Secret | None:
    """Return the token that was given, if any; its text never gets into a problem."""
    file = values.get("token_file")
    source = given["token_file"].source if isinstance(file, Path) else "none"
    if TOKEN_VARIABLE in environ and source == "variable":
        problems.append(f"{TOKEN_VARIABLE} and TTYBRIDGE_TOKEN_FILE exclude each other: unset one.")
        return None
    if TOKEN_VARIABLE in environ and source != "flag":
        where, token = TOKEN_VARIABLE, environ[TOKEN_VARIABLE]
    elif isinstance(file, Path):
        where = f"{given['token_file'].where} {_shown(str(file))}"
        try:
            token = read_token(file)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            return None
    else:
        return None
    problem = token_problem(token)
    if problem:
        problems.append(f"{where}: {problem}")
        return None
    return Secret(token)


def _host_key_secret(environ: Mapping[str, str], problems: list[str]) -> Secret | None:
    """Return the secret that the host key is made from, if any; never shown in a problem."""
    secret = environ.get(HOST_KEY_SECRET_VARIABLE)
    if not secret:
        return None
    from ttybridge.core.ssh_keys import secret_problem

    problem = secret_problem(secret)
    if problem:
        problems.append(f"{HOST_KEY_SECRET_VARIABLE}: {problem}")
        return None
    return Secret(secret)
