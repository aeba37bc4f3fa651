"""Finds options that are right alone and wrong together."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ttybridge.advice import is_loopback
from ttybridge.config import Config
from ttybridge.options import Given, Group, Option, options_of
from ttybridge.tokens import HOST_KEY_SECRET_VARIABLE

OPTIONS = options_of(Config)
"""Every option."""


def check_together(
    config: Config, given: Mapping[str, Given], is_directory: Callable[[Path], bool]
) -> list[str]:
    """Return a sentence for each thing that is wrong.

    Args:
        config: The values.
        given: Where those came from that are not defaults, by the option's name.
        is_directory: Tells whether a path is a folder.
    """
    return [
        *_access(config, given),
        *_ssh(config, given),
        *_public(config, given),
        *_ngrok(config, given),
        *_directory(config, given, is_directory),
    ]


def _access(config: Config, given: Mapping[str, Given]) -> Iterator[str]:
    if config.no_auth and not is_loopback(config.host):
        yield (
            f"--no-auth with --host {config.host} would give a shell to everyone who reaches "
            "this machine: leave one of them out."
        )
    if config.no_auth and config.is_public:
        yield (
            "--no-auth with a tunnel would give a shell to everyone on the internet: leave one "
            "of them out."
        )
    if config.no_auth and (config.token is not None or "token_file" in given):
        yield "--no-auth and a token exclude each other: leave one of them out."
    if config.no_auth and config.approve and given["approve"].source == "flag":
        yield "--approve has no effect with --no-auth: whoever comes is an owner."
    if "wait" in given and given["wait"].source == "flag" and not config.command:
        yield "--wait needs a command: ttybridge --wait -- COMMAND."


def _ssh(config: Config, given: Mapping[str, Given]) -> Iterator[str]:
    if not config.ssh:
        yield from _without_effect(Group.SSH, given, "without --ssh: add it", but=("ssh",))
    if config.state_dir is not None and config.host_key_secret is not None:
        yield (
            f"--state-dir and {HOST_KEY_SECRET_VARIABLE} both say where the host key comes from: "
            "give one of them."
        )


def _public(config: Config, given: Mapping[str, Given]) -> Iterator[str]:
    named = [f"--{name}" for name in ("ngrok", "cloudflared") if getattr(config, name)]
    if "tunnel" in given and config.tunnel != "none":
        named.append(f"--tunnel {config.tunnel}")
    if len(named) > 1:
        yield f"{' and '.join(named)} exclude each other: give one of them."
    if config.is_public and not is_loopback(config.host):
        yield (
            f"A tunnel leads to 127.0.0.1, and --host {config.host} opens the port to others, "
            "too: leave --host out."
        )
    if config.tunnel_name != "ssh":
        needed = "without --tunnel ssh:USER@HOST: add it"
        yield from _without_effect(
            Group.PUBLIC, given, needed, only=("tunnel_url", "tunnel_host_key")
        )


def _ngrok(config: Config, given: Mapping[str, Given]) -> Iterator[str]:
    if config.tunnel_name != "ngrok":
        only = tuple(o.name for o in OPTIONS if o.name.startswith("ngrok_"))
        yield from _without_effect(Group.PUBLIC, given, "without --ngrok: add it", only=only)
        return
    if config.ngrok_tcp and not config.ssh:
        yield "--ngrok-tcp is for SSH: add --ssh."
    if not config.ngrok_oauth:
        needed = "without --ngrok-oauth: add --ngrok-oauth google"
        yield from _without_effect(Group.PUBLIC, given, needed, only=("ngrok_allow",))


def _directory(
    config: Config, given: Mapping[str, Given], is_directory: Callable[[Path], bool]
) -> Iterator[str]:
    if "cwd" not in given:
        return
    if config.container:
        if given["cwd"].source == "flag":
            yield "--cwd has no effect with --container: shells start in its /content."
    elif config.cwd is not None and not is_directory(config.cwd):
        shown = repr(str(config.cwd))
        shown = shown if len(shown) <= 60 else shown[:57] + "…"
        yield f"{given['cwd'].where} {shown}: there is no such folder."


def _without_effect(
    group: Group,
    given: Mapping[str, Given],
    needed: str,
    *,
    only: tuple[str, ...] = (),
    but: tuple[str, ...] = (),
) -> Iterator[str]:
    """Say which flags of a group have no effect; a variable or a file may have them for later."""

    def is_meant(option: Option) -> bool:
        return option.group is group and option.name not in but and option.name in (only or given)

    for option in OPTIONS:
        if is_meant(option) and option.name in given and given[option.name].source == "flag":
            yield f"{option.flag} has no effect {needed}."
