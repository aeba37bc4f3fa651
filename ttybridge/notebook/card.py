"""What a bridge looks like in a cell's output: HTML that needs nothing from elsewhere, and text.

Pure. All text from outside is escaped. Without scripts, as in a notebook of somebody else that is
not trusted, the card can be read all the same: copy buttons are shown by the script that they need.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from ttybridge.client.address import parse_address
from ttybridge.client.status import SshStatus, Status
from ttybridge.qr import qr_svg

OVER = "Run the cell again: what was here could be opened for a short time only."
"""Stands in an output whose links are of no use any more."""

STOPPED = "The bridge was stopped. Run the cell again to start it."
"""Stands in the outputs of a bridge that was stopped from its notebook."""


@dataclass(frozen=True, slots=True)
class Links:
    """The links of a card, one for each use: each lets one browser in."""

    page: str
    """For this browser."""
    qr: str = ""
    """For a phone; empty without a public address."""
    ssh: str = ""
    """For `ttybridge ssh`; empty where ssh itself gets through, and without SSH."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a card shows."""

    id: str
    """Names its element in the page: letters and digits."""
    status: Status
    """What the bridge says about itself."""
    links: Links
    """The links."""
    made_at: float
    """When the links were made, in seconds since 1970."""
    life_s: float
    """Seconds in which they can be opened."""
    title: str
    """What is shared, in words: `tmux session 0`."""
    stop_call: str = ""
    """JavaScript that stops the bridge; empty where a browser cannot, and text says how."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a card: something to copy, and what it is."""

    name: str
    text: str
    note: str = ""
    href: str = ""
    expires: bool = False


def as_text(card: Card) -> str:
    """Return the card for outputs that are text."""
    lines = [_headline(card)]
    for row in _rows(card):
        lines.append(f"{row.name}: {row.text}")
    lines += [*_notes(card), _validity(card), "%ttybridge stop ends it."]
    return "\n".join(line for line in lines if line)


def as_html(card: Card) -> str:
    """Return the card for a browser."""
    parts = [f"<div class=ttb-head><b>{escape(_headline(card))}</b>{_stop(card)}</div>"]
    rows = "".join(map(_row, _rows(card)))
    notes = "".join(f"<p>{escape(note)}</p>" for note in _notes(card))
    if _expires(card):
        notes += f"<p class=ttb-live>{escape(_validity(card))}</p>"
    qr = ""
    if card.links.qr:
        qr = (
            '<figure class="ttb-qr ttb-live" role=img aria-label="QR code of a link">'
            f"{qr_svg(card.links.qr)}</figure>"
        )
    parts.append(f"<div class=ttb-body><div class=ttb-rows>{rows}{notes}</div>{qr}</div>")
    ends_ms = int((card.made_at + card.life_s) * 1000) if _expires(card) else 0
    script = _SCRIPT.replace("ID", json.dumps(_element(card))).replace("ENDS", str(ends_ms))
    return (
        f"<div id={_element(card)} class=ttb><style>{_STYLE}</style>{''.join(parts)}"
        f"<p class=ttb-over hidden>{OVER}</p>"
        f"</div><script>{script.replace('STOP', card.stop_call or 'null')}</script>"
    )


def vs_code_link(ssh: SshStatus) -> str:
    """Return the address that opens VS Code on a machine whose SSH has a public port.

    >>> ssh = SshStatus("me", "h", 22, "", "", "", ("0.tcp.ngrok.io", 12345))
    >>> vs_code_link(ssh)
    'vscode://vscode-remote/ssh-remote+me@0.tcp.ngrok.io:12345/'
    """
    host, port = ssh.public or (ssh.host, ssh.port)
    return f"vscode://vscode-remote/ssh-remote+{quote(ssh.user)}@{quote(host)}:{port}/"


def _rows(card: Card) -> Sequence[_Row]:
    status, links = card.status, card.links
    rows = [_Row("Link", links.page, "", links.page, _expires(card))] if links.page else []
    ssh = status.ssh
    if ssh is None:
        return rows
    key = f"Host key {ssh.fingerprint}"
    if ssh.public is not None:
        host, port = ssh.public
        rows.append(_Row("SSH", f"ssh -p {port} {ssh.user}@{host}", key))
        rows.append(_Row("VS Code", vs_code_link(ssh), href=vs_code_link(ssh)))
    elif links.ssh:
        # In quotes of the shell: the link has a question mark, and nothing else that it expands.
        rows.append(_Row("SSH", f"ttybridge ssh '{links.ssh}'", key, expires=True))
        name = parse_address(links.ssh).name
        first = f"after ttybridge ssh-config --write {status.public_url}, which makes that name"
        href = f"vscode://vscode-remote/ssh-remote+{quote(name)}/"
        rows.append(_Row("VS Code", href, first, href))
    else:
        rows.append(_Row("SSH", ssh.command, key))
    return rows


def _headline(card: Card) -> str:
    tunnel = card.status.tunnel
    if tunnel is None:
        return f"ttybridge · {card.title} · on this machine"
    lost = "" if tunnel.state == "open" else ", whose address is lost: it is being opened again"
    return f"ttybridge · {card.title} · public through {tunnel.name}{lost}"


def _notes(card: Card) -> Sequence[str]:
    return card.status.tunnel.notes if card.status.tunnel else ()


def _expires(card: Card) -> bool:
    return "link=" in card.links.page


def _validity(card: Card) -> str:
    if not _expires(card):
        return ""
    count = "Each link lets" if card.links.qr or card.links.ssh else "The link lets"
    who = f"{count} one browser in, within {_minutes(card.life_s)}; whoever has it can type."
    return f"{who} %ttybridge link makes another."


def _minutes(time_s: float) -> str:
    return f"{time_s:.0f} seconds" if time_s < 120 else f"{time_s / 60:.0f} minutes"


def _element(card: Card) -> str:
    return f"ttybridge-{card.id}"


def _row(row: _Row) -> str:
    text = f"<span class=ttb-code>{escape(row.text)}</span>"
    if row.href:
        target = (
            "" if row.href.startswith("vscode:") else ' target=_blank rel="noopener noreferrer"'
        )
        shown = row.text if target else f"Open in {row.name}"
        text = f'<a href="{escape(row.href)}"{target}>{escape(shown)}</a>'
    note = f"<small>{escape(row.note)}</small>" if row.note else ""
    live = " ttb-live" if row.expires else ""
    return (
        f'<div class="ttb-row{live}"><span>{escape(row.name)}</span><div>{text}{note}</div>'
        f'<button type=button hidden data-copy="{escape(row.text)}" '
        f'aria-label="Copy {escape(row.name)}">Copy</button></div>'
    )


def _stop(card: Card) -> str:
    if card.stop_call:
        return "<button type=button hidden data-stop>Stop</button>"
    return "<small><code>%ttybridge stop</code> ends it</small>"


_STYLE = """
.ttb{border:1px solid rgba(128,128,128,.45);border-radius:8px;padding:12px 14px;margin:4px 0;
max-width:60em;font:14px/1.45 system-ui,sans-serif;color:inherit;box-sizing:border-box}
.ttb *{box-sizing:border-box}
.ttb .ttb-head{display:flex;flex-wrap:wrap;gap:4px 12px;justify-content:space-between;
align-items:center;margin-bottom:6px}
.ttb .ttb-body{display:flex;flex-wrap:wrap;gap:12px 20px;align-items:flex-start}
.ttb .ttb-rows{flex:1 1 20em;min-width:0}
.ttb .ttb-row{display:flex;gap:4px 10px;align-items:baseline;flex-wrap:wrap;padding:4px 0}
.ttb .ttb-row>span{flex:0 0 4.5em;opacity:.75}
.ttb .ttb-row>div{flex:1 1 12em;min-width:0;overflow-wrap:anywhere}
.ttb .ttb-code{font:13px/1.45 ui-monospace,monospace;white-space:pre-wrap}
.ttb code{font:12px/1.45 ui-monospace,monospace}
.ttb a{color:inherit;text-decoration:underline}
.ttb small{display:block;font-size:12px;opacity:.8;overflow-wrap:anywhere}
.ttb p{margin:6px 0 0;font-size:13px;opacity:.85}
.ttb button{font:inherit;font-size:13px;color:inherit;background:rgba(128,128,128,.14);
border:1px solid rgba(128,128,128,.6);border-radius:6px;padding:3px 10px;min-height:28px;
cursor:pointer}
.ttb button[hidden],.ttb [hidden]{display:none}
.ttb button:focus-visible,.ttb a:focus-visible{outline:2px solid currentColor;outline-offset:2px}
.ttb .ttb-qr{flex:0 0 auto;width:172px;margin:0;background:#fff;border-radius:6px;overflow:hidden}
.ttb .ttb-qr svg{display:block;width:172px;height:172px}
.ttb .ttb-over{font-size:14px;opacity:1}
@media (pointer:coarse){.ttb button{min-height:40px;padding:6px 14px}}
""".replace("\n", "")

_SCRIPT = """
(() => {
  const root = document.getElementById(ID);
  if (!root) return;
  const ends = ENDS, stop = STOP;
  const over = () => {
    for (const part of root.querySelectorAll(".ttb-live")) part.remove();
    root.querySelector(".ttb-over").hidden = false;
  };
  const left = ends - Date.now();
  if (ends && left <= 0) over();
  const timer = ends && left > 0 ? setTimeout(over, Math.min(left, 2 ** 31 - 1)) : 0;
  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { /* this frame may not: try it the old way */ }
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    root.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };
  for (const button of root.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    const name = button.ariaLabel;
    const say = (text, label) => { button.textContent = text; button.ariaLabel = label; };
    button.onclick = async () => {
      const text = (await copied(button.dataset.copy)) ? "Copied" : "Select and copy it";
      say(text, text);
      setTimeout(() => say("Copy", name), 2000);
    };
  }
  const button = root.querySelector("button[data-stop]");
  if (button && stop) {
    button.hidden = false;
    button.onclick = async () => {
      button.disabled = true;
      button.textContent = "Stopping…";
      try { await stop(); } catch (error) {
        button.disabled = false; button.textContent = "Stop"; return;
      }
      clearTimeout(timer);
      root.querySelector(".ttb-body").remove();
      button.textContent = "Stopped";
    };
  }
})();
"""
