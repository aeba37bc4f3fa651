"""ngrok's agent as text: its configuration, its tunnels' options, its log, its version.

Written to ngrok.com/docs (agent configuration v2 and v3, agent API) and to what agent 2.3.41 does.
What its errors mean stands in `ngrok_errors`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

KEPT = frozenset(
    {
        *("authtoken", "connect_cas", "connect_interface", "connect_timeout"),
        *("connect_url", "crl_noverify", "dns_resolver_ips", "heartbeat_interval"),
        *("heartbeat_tolerance", "http_proxy", "metadata", "proxy_url", "region"),
        *("remote_management", "root_cas", "server_addr", "socks5_proxy", "update"),
        *("update_channel", "update_check"),
    }
)
"""What is taken over from the user's own configuration: how the agent gets to ngrok's service, and
as whom. Its tunnels, its log and its local API are not."""

OLD_NAMES = {"connect_cas": "root_cas", "connect_url": "server_addr"}
"""Names in configurations of version 3, and those of the versions before."""

_PAIR = re.compile(r'([A-Za-z0-9_.]+)=("(?:[^"\\]|\\.)*"|\S*)')
_SHOWN_TOKEN = re.compile(r"(?i)(authtoken:\s*|authtoken=)[^\s\\\"]+")
_SHOWN_USER = re.compile(r"(://)[^\s/@\"]+@")


@dataclass(frozen=True, slots=True)
class NgrokSettings:
    """What is asked of ngrok besides a public address."""

    domain: str | None = None
    """Domain of the web address; None for one that ngrok chooses."""
    oauth: str | None = None
    """Provider of the login that ngrok asks for (`google`); None for no login there."""
    allow: tuple[str, ...] = ()
    """Who passes that login: `you@example.com` or `@example.com`; empty for anyone with an account
    at the provider."""
    basic_auth: tuple[str, ...] = field(default=(), repr=False)
    """`user:password` lines, each of which ngrok lets in."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be seen in logs."""
        return tuple(line.partition(":")[2] for line in self.basic_auth)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that the agent printed."""

    text: str
    """The line."""
    level: str = ""
    """`info`, `warn`, `eror`, `crit`; empty when it is no log line."""
    message: str = ""
    """What happened: `tunnel session started`."""
    error: str = ""
    """What went wrong; `nil` is none."""

    @property
    def is_trouble(self) -> bool:
        """Whether it may say why something does not work."""
        return self.level not in ("info", "dbug")

    @property
    def is_loss(self) -> bool:
        """Whether the connection to ngrok's service is lost, or could not be made again."""
        return self.message.startswith(("session closed", "failed to reconnect session"))

    @property
    def is_return(self) -> bool:
        """Whether the connection stands."""
        return self.message == "client session established"


def parse_line(text: str) -> LogLine:
    r"""Read a line of the agent's log (logfmt, Go's quotes).

    >>> parse_line(r'lvl=eror msg="failed" err="No.\r\n\r\nERR_NGROK_108\r\n"').error
    'No.\r\n\r\nERR_NGROK_108\r\n'
    >>> parse_line("ERROR:  unknown flag").level
    ''
    """
    pairs = {name: _unquote(value) for name, value in _PAIR.findall(text)}
    if "lvl" not in pairs:
        return LogLine(text)
    error = pairs.get("err", "")
    return LogLine(
        text,
        level=pairs["lvl"],
        message=pairs.get("msg", ""),
        error="" if error in ("nil", "<nil>") else error,
    )


def _unquote(value: str) -> str:
    """Take Go's quotes away; escapes that JSON does not know stay as they are."""
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value[1:-1]


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return text without secrets; ngrok's own errors quote the token that they refuse.

    >>> redact("Your authtoken: 2abc and 'hunter2' at http://me:pw@proxy", ["hunter2"])
    "Your authtoken: *** and '***' at http://***@proxy"
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _SHOWN_USER.sub(r"\1***@", _SHOWN_TOKEN.sub(r"\1***", text))


def parse_version(text: str) -> tuple[int, ...] | None:
    """Read what `ngrok version` prints.

    >>> parse_version("ngrok version 3.39.0-rc1")
    (3, 39, 0)
    >>> parse_version("Usage: ngrok")
    """
    match = re.search(r"\bversion v?([0-9]{1,9}(?:\.[0-9]{1,9})*)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else None


def agent_settings(own: object) -> dict[str, object]:
    """Return what a configuration says about the agent, whatever its version.

    Args:
        own: The configuration as it was parsed.
    """
    if not isinstance(own, Mapping):
        return {}
    agent = own.get("agent")
    values = dict(own) | (dict(agent) if isinstance(agent, Mapping) else {})
    return {str(name): value for name, value in values.items() if name in KEPT}


def token_of(own: object, environ: Mapping[str, str]) -> str:
    """Return the authtoken: that of the environment, else that of a configuration, or nothing."""
    return environ.get("NGROK_AUTHTOKEN", "").strip() or str(
        agent_settings(own).get("authtoken") or ""
    )


def config_text(own: object, *, major: int, token: str, port: int) -> str:
    """Return the agent's configuration: the user's own for the agent, and ours on top.

    It is JSON, which is YAML, too. A file of version 3 stays one: what it says may have no name in
    version 2. All others are of version 2, which every agent takes: 3.0 to 3.15 know nothing newer,
    and 2.3 does not look at it.

    Args:
        own: The user's configuration as it was parsed; anything that is no mapping is empty.
        major: The agent's major version.
        token: The authtoken.
        port: Port on 127.0.0.1 for the agent's local API.
    """
    ours = {
        "authtoken": token,
        "console_ui": False,
        # The local API has no password: whoever may use this machine could read each request.
        "inspect_db_size": -1,
        "update_check": False,
        "web_addr": f"127.0.0.1:{port}",
    }
    values = agent_settings(own) | ours
    is_version_3 = isinstance(own, Mapping) and str(own.get("version")) == "3"
    if is_version_3 and major >= 3:
        return json.dumps({"version": "3", "agent": values}, indent=1, default=str)
    old = {OLD_NAMES.get(name, name): value for name, value in values.items()}
    if major < 3:
        old["update"] = False
    return json.dumps({"version": "2", **old}, indent=1, default=str)


def http_options(port: int, settings: NgrokSettings, *, major: int) -> dict[str, object]:
    """Return the options of a web address: https alone, seen by nobody on this machine.

    Raises:
        ValueError: The agent is too old for what is asked; a sentence.
    """
    options: dict[str, object] = {
        "proto": "http",
        "addr": f"127.0.0.1:{port}",
        "inspect": False,
    }
    if major < 3:
        return options | _options_of_v2(settings)
    options["schemes"] = ["https"]
    if settings.domain:
        options["domain"] = settings.domain
    if settings.basic_auth:
        options["basic_auth"] = list(settings.basic_auth)
    if settings.oauth:
        options["oauth"] = {
            "provider": settings.oauth,
            "allow_emails": [who for who in settings.allow if not who.startswith("@")],
            "allow_domains": [who[1:] for who in settings.allow if who.startswith("@")],
        }
    return options


def _options_of_v2(settings: NgrokSettings) -> dict[str, object]:
    if settings.oauth:
        reason = "--ngrok-oauth needs version 3 of the ngrok agent."
        raise ValueError(reason)
    if len(settings.basic_auth) > 1:
        reason = "More than one line of --ngrok-basic-auth needs version 3 of the ngrok agent."
        raise ValueError(reason)
    options: dict[str, object] = {"bind_tls": True}
    if settings.domain:
        options["hostname"] = settings.domain
    if settings.basic_auth:
        options["auth"] = settings.basic_auth[0]
    return options


def tcp_options(port: int) -> dict[str, object]:
    """Return the options of a TCP address."""
    return {"proto": "tcp", "addr": f"127.0.0.1:{port}", "inspect": False}


def note_of(url: str) -> str:
    """Return what the user may not expect of an address.

    >>> note_of("https://a-b.ngrok-free.app")
    'ngrok shows each browser a warning page at its first visit.'
    >>> note_of("tcp://0.tcp.ngrok.io:12345")
    ''
    """
    name = url.partition("://")[2].partition(":")[0]
    if url.startswith("https:") and name.endswith((".ngrok-free.app", ".ngrok-free.dev")):
        return "ngrok shows each browser a warning page at its first visit."
    return ""


def addresses(answer: object) -> dict[str, str]:
    """Return the public address of each tunnel by its name, from the agent's `/api/tunnels`.

    >>> addresses({"tunnels": [{"name": "a", "public_url": "https://x/"}]})
    {'a': 'https://x'}
    """
    listed = answer.get("tunnels") if isinstance(answer, Mapping) else None
    found = {}
    for tunnel in listed if isinstance(listed, list) else []:
        if isinstance(tunnel, Mapping) and tunnel.get("public_url"):
            found[str(tunnel.get("name"))] = str(tunnel["public_url"]).rstrip("/")
    return found
