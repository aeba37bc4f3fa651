"""What the user has of ngrok: a configuration with an authtoken, and variables for the agent."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml  # type: ignore[import-untyped]  # comes with pyngrok, without types

from ttybridge.core.ngrok import token_of
from ttybridge.errors import TunnelError

PASSED = frozenset(
    {
        *("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER"),
        *("SSL_CERT_DIR", "SSL_CERT_FILE"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    }
)
"""Variables that the agent gets. It is a program from elsewhere: nobody's keys are for it, and its
own token is in its configuration."""


def agent_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for the agent."""
    return {name: value for name, value in environ.items() if name in PASSED}


def config_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder where ngrok has its configuration, and pyngrok the program."""
    base = environ.get("XDG_CONFIG_HOME") or str(_home(environ) / ".config")
    return Path(base) / "ngrok"


def read_own(environ: Mapping[str, str]) -> object:
    """Return the user's own configuration as it was parsed; None when there is none.

    Of two, as the agent's versions 3 and 2 had them in different places, it is the one that has a
    token.

    Raises:
        TunnelError: It cannot be read, or is no YAML.
    """
    found: list[object] = []
    for file in _files(environ):
        try:
            found.append(yaml.safe_load(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, yaml.YAMLError) as error:
            # What YAML says has lines of the file, and the token may be in them.
            reason = error.strerror if isinstance(error, OSError) else "it is no YAML"
            raise TunnelError(
                f"ngrok's configuration {file} cannot be read: {reason}.",
                hint="`ngrok config check` looks at it.",
            ) from None
    return next((own for own in found if token_of(own, {})), found[0] if found else None)


def has_token(environ: Mapping[str, str]) -> bool:
    """Tell whether an authtoken is known: from NGROK_AUTHTOKEN, or ngrok's own configuration.

    Raises:
        TunnelError: The configuration cannot be read.
    """
    return bool(environ.get("NGROK_AUTHTOKEN", "").strip()) or bool(
        token_of(read_own(environ), environ)
    )


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    yield config_folder(environ) / "ngrok.yml"
    yield _home(environ) / ".ngrok2" / "ngrok.yml"


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or "~").expanduser()
