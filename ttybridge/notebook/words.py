"""Sentences of the magics."""

from ttybridge.client.status import Status
from ttybridge.core.banner import what
from ttybridge.model import Mode
from ttybridge.notebook.sync import EnvironmentSync

HELP = """\
%ttybridge [OPTION…]    start a bridge, or show the one that runs
%ttybridge stop         stop it; the tmux session lives on
%ttybridge status       what runs, and who is connected
%ttybridge link         another link, for one more browser
%ttybridge env [on|off] what of os.environ was sent to the session; switch it
%%tty [NAME]            run the cell's text in the shared terminal; NAME gets .output and .status

The options are those of the command:
"""

NGROK_NEEDS = (
    "ngrok needs an authtoken: set NGROK_AUTHTOKEN in os.environ, or among the secrets of Colab or "
    "Kaggle under that name. It is free at https://dashboard.ngrok.com. Without an account: "
    "%ttybridge --cloudflared."
)

_MAX_NAMES = 20


def ended(status: int) -> str:
    """Say how a text in the shared pane ended."""
    how = "Interrupted: " if status == 130 else ""
    return f"{how}exit status {status}."


def status(found: Status, now: float, ssh_command: str) -> str:
    """Say what runs."""
    clients = f"{found.clients} client{'' if found.clients == 1 else 's'}"
    lines = [
        f"ttybridge {found.version} · {what(Mode(found.mode), found.session)} · "
        f"{_age(now - found.started_at)} · {clients} · process {found.pid}",
        f"Local: {found.address}",
    ]
    if found.tunnel is not None:
        urls = ", ".join(found.tunnel.urls) or "no address at the moment"
        lines.append(f"Public: {urls} ({found.tunnel.name}, {found.tunnel.state})")
        lines += found.tunnel.notes
    if found.ssh is not None:
        lines += [f"SSH: {ssh_command}", f"Host key: {found.ssh.fingerprint}"]
        if found.public_url and found.ssh.public is None:
            lines.append("SSH from anywhere: ttybridge ssh 'LINK', with what %ttybridge link gives")
    if found.proxy:
        lines.append(f"Apps below /proxy/: {', '.join(map(str, found.proxy))}")
    return "\n".join(lines)


def sync(state: EnvironmentSync) -> str:
    """Say in a word whether the environment is sent."""
    if not state.is_on:
        return "not sent (%ttybridge env on)"
    if state.report.problem:
        return f"the last changes did not arrive: {state.report.problem}"
    return "sent after each cell (%ttybridge env shows what)"


def sync_report(state: EnvironmentSync) -> str:
    """Say what was sent last; names only, as values may be secret."""
    report = state.report
    lines = [f"os.environ: {sync(state)}"]
    for title, names in (
        ("Set last", report.set),
        ("Removed last", report.unset),
        ("Left alone", report.skipped),
    ):
        if names:
            more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
            lines.append(f"{title}: {', '.join(names[:_MAX_NAMES])}{more}")
    if len(lines) == 1 and not report.problem:
        lines.append("Nothing has changed so far.")
    lines.append("New windows and new SSH logins get it; programs that run keep what they have.")
    return "\n".join(lines)


def _age(age_s: float) -> str:
    minutes = int(max(age_s, 0) // 60)
    if minutes < 1:
        return "up for less than a minute"
    if minutes < 60:
        return f"up for {minutes} min"
    return f"up for {minutes // 60} h {minutes % 60} min"
