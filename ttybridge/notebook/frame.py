"""The terminal in a cell's output: a frame whose address is made in the browser.

Only the page around the output knows where the notebook's server is, and whether it hands on ports:
the kernel may run on another machine, and the extension that does it belongs to the server.
"""

import json
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

from ttybridge.notebook.card import OVER

HEIGHT = 420
"""Pixels in height: 24 rows in the page's font with its bar, and the card stays in sight."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame needs."""

    id: str
    """Names its element in the page: letters and digits."""
    port: int
    """The bridge's local port."""
    path: str
    """What follows the port: the path, and the query with a link for frames."""
    made_at: float
    """When the link was made, in seconds since 1970."""
    life_s: float
    """Seconds in which it can be opened."""
    public: str = ""
    """Address with a link for frames that works from everywhere; empty when there is none."""


def path_of(address: str, query: str) -> str:
    """Return what follows the port in an address, with a query.

    >>> path_of("http://127.0.0.1:8080/tty/", "?link=x")
    '/tty/?link=x'
    """
    return (urlsplit(address).path or "/") + query


def as_html(frame: Frame) -> str:
    """Return the frame for a browser; a sentence stands in its place where no script runs."""
    facts = {
        "id": f"ttybridge-{frame.id}",
        "port": frame.port,
        "path": frame.path,
        "ends": int((frame.made_at + frame.life_s) * 1000),
        "public": frame.public,
        "height": HEIGHT,
        "over": OVER,
        "none": NO_PROXY,
    }
    # No text in it may end the script.
    made = json.dumps(facts).replace("<", "\\u003c")
    return (
        f"<div id={facts['id']}><p>{escape(NOT_SHOWN)}</p></div>"
        f"<script>({_SCRIPT.strip()})({made});</script>"
    )


NOT_SHOWN = (
    "The terminal is not shown: scripts do not run in this output. Run the cell again, or open the "
    "link above."
)
"""Stands where the frame should be, until the script has made it."""

NO_PROXY = (
    "The terminal cannot be shown here: this notebook's server hands on no ports. Install "
    "jupyter-server-proxy beside it, add a tunnel (--cloudflared, --ngrok), or open the link above "
    "on the machine that the kernel runs on."
)
"""Stands in the output where there is no way from the browser to the port."""

_SCRIPT = """
async (facts) => {
  const root = document.getElementById(facts.id);
  if (!root) return;
  const say = (text) => { root.querySelector("p").textContent = text; };
  const used = `used ${facts.id}`;
  const wasUsed = () => { try { return sessionStorage.getItem(used); } catch { return null; } };
  // The link opens once: after a reload of the page it is of no use, however young it is.
  if (Date.now() > facts.ends || wasUsed()) { say(facts.over); return; }
  const show = (address) => {
    try { sessionStorage.setItem(used, "1"); } catch { /* it is said in the frame, then */ }
    const frame = document.createElement("iframe");
    frame.src = address;
    frame.title = "Terminal";
    frame.allow = "clipboard-read; clipboard-write; fullscreen";
    frame.style.cssText = `display:block;width:100%;height:${facts.height}px;border:0`;
    root.replaceChildren(frame);
  };
  const config = document.getElementById("jupyter-config-data");
  let base = document.body.dataset.baseUrl;
  try { base = JSON.parse(config.textContent).baseUrl; } catch { /* not JupyterLab */ }
  if (base) {
    try {
      const asked = `${base}server-proxy/servers-info`;
      const answer = await fetch(asked, { credentials: "same-origin" });
      if (answer.ok) { show(`${base}proxy/${facts.port}${facts.path}`); return; }
    } catch { /* there is no such extension */ }
  }
  if (facts.public) { show(facts.public); return; }
  say(facts.none);
}
"""
