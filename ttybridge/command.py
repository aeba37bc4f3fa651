"""Starts what the arguments ask for: the bridge, or a subcommand.

Each imports what it needs when it is asked for: the command starts fast.
"""

import contextlib
import gc
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ttybridge import __version__, arguments, logs, settings, subcommands
from ttybridge.config import Config
from ttybridge.errors import ConfigError
from ttybridge.output import write
from ttybridge.tokens import NGROK_VARIABLE

if TYPE_CHECKING:
    from ttybridge.started import Started


def title(argv: Sequence[str]) -> str:
    """Return what the command is called that the arguments ask for: `ttybridge env`."""
    return f"ttybridge {arguments.parse(argv).subcommand.name}".strip()


def run(argv: Sequence[str], environ: Mapping[str, str], snapshot: Mapping[bytes, bytes]) -> int:
    """Do what the arguments ask for, and return the exit status.

    Args:
        argv: The arguments after the program's name.
        environ: The environment, with our secrets.
        snapshot: The environment for the session, without them.

    Raises:
        TtyBridgeError: It could not be done.
    """
    given = arguments.parse(argv)
    if given.help:
        from ttybridge import manual

        sys.stdout.write(manual.help_text(given.subcommand) + "\n")
        return 0
    if given.version:
        sys.stdout.write(f"ttybridge {__version__}\n")
        return 0
    if given.subcommand is subcommands.REFERENCE and not given.problems:
        from ttybridge import manual

        sys.stdout.write(manual.markdown())
        return 0
    if given.subcommand is subcommands.DOCTOR and not given.problems:
        return _doctor(given, environ, snapshot)
    if given.subcommand is subcommands.PLAY:
        from ttybridge import play

        return play.run(given, sys.stdout)
    if given.subcommand in subcommands.CLIENTS:
        from ttybridge.client import commands

        return commands.run(given, environ, snapshot, sys.stdout)
    file = settings.find_config_file(given.flags, environ)
    config = settings.resolve(given.flags, environ, file, problems=given.problems)
    logs.configure(verbosity=config.verbose, quiet=config.quiet)
    if config.token is not None:
        logs.hide(config.token)
    if config.host_key_secret is not None:
        logs.hide(config.host_key_secret)
    if given.subcommand is subcommands.ENV:
        from ttybridge import env_command

        return env_command.run(config, snapshot, given.switches, out=sys.stdout, err=sys.stderr)
    if given.subcommand is not subcommands.BRIDGE:
        return _about_running(given, config, snapshot)
    return _bridge(config, environ, snapshot)


def _about_running(
    given: arguments.Arguments, config: Config, snapshot: Mapping[bytes, bytes]
) -> int:
    """Run a command about bridges that run."""
    match given.subcommand:
        case subcommands.STATUS:
            from ttybridge import running

            return running.status(config, snapshot, given.switches, sys.stdout)
        case subcommands.LINK:
            from ttybridge import running

            return running.link(config, snapshot, given.flags.keys(), sys.stdout)
        case subcommands.RECORD:
            from ttybridge import record_commands

            return record_commands.record(given, config, snapshot, sys.stdout)
        case subcommands.AUDIT:
            from ttybridge import record_commands

            return record_commands.audit(given, config, snapshot, sys.stdout)
        case _:
            from ttybridge import people_commands

            return people_commands.run(given, config, snapshot, sys.stdout, sys.stderr)


def _doctor(
    given: arguments.Arguments, environ: Mapping[str, str], snapshot: Mapping[bytes, bytes]
) -> int:
    """Run the doctor, for whom a wrong configuration is a finding like others."""
    from ttybridge import doctor

    problems: Sequence[str] = ()
    try:
        file = settings.find_config_file(given.flags, environ)
        config = settings.resolve(given.flags, environ, file)
    except ConfigError as error:
        config, problems = Config(), error.problems
    as_json = "--json" in given.switches
    is_public = "--public" in given.switches
    return doctor.run(
        config, snapshot, problems, as_json=as_json, out=sys.stdout, is_public=is_public
    )


def _bridge(config: Config, environ: Mapping[str, str], snapshot: Mapping[bytes, bytes]) -> int:
    # Imported here, so that --help does not wait for the web server's modules. Nothing of what is
    # imported is garbage; looking for it takes a tenth of the time, and 15 ms later on.
    gc.disable()
    from ttybridge import bridge
    from ttybridge.announce import Announcer

    if config.tunnel_name == "ngrok":
        environ = _with_ngrok_token(environ)
    with contextlib.ExitStack() as cleanup:
        announcer = Announcer(config, cleanup)

        def started(what: "Started") -> None:
            gc.freeze()
            gc.enable()
            announcer.started(what)

        listener = bridge.Listener(started, announcer.changed, announcer.say)
        finished = bridge.run(config, snapshot, listener, environ)
    if finished.message and not config.quiet:
        write(sys.stderr, finished.message + "\n")
    return finished.status


def _with_ngrok_token(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with a token for ngrok, asked for where there is none yet."""
    from ttybridge.tunnels.ngrok_config import has_token

    if token := environ.get(NGROK_VARIABLE):
        logs.hide(token)
        return environ
    if has_token(environ) or not (sys.stdin and sys.stdin.isatty()):
        return environ
    import getpass

    write(
        sys.stderr,
        "ngrok needs the token of your account: https://dashboard.ngrok.com/get-started\n",
    )
    try:
        token = getpass.getpass("Token (not shown): ").strip()
    except EOFError:
        return environ
    if token:
        logs.hide(token)
    return {**environ, NGROK_VARIABLE: token} if token else environ
