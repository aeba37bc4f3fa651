"""The web application: which path leads where."""

from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

from ttybridge.web.api import Api
from ttybridge.web.assets import Asset, Page
from ttybridge.web.colab import ColabEntrance
from ttybridge.web.colab_ssh import ColabSshEntrance
from ttybridge.web.events import Events
from ttybridge.web.metrics import MetricsEntrance
from ttybridge.web.proxy import Proxy
from ttybridge.web.recordings import RecordingsEntrance, allow_wasm
from ttybridge.web.security import Gate


@dataclass(frozen=True, slots=True)
class Entrances:
    """What is behind the gate."""

    events: Events
    """`tty/`."""
    colab: ColabEntrance
    """`colab/tty`."""
    ssh: ColabSshEntrance
    """`colab/ssh` and `ssh`."""
    proxy: Proxy
    """`proxy/PORT/`."""
    api: Api
    """`api/`."""
    recordings: RecordingsEntrance
    """`recordings/` and `replay`."""
    metrics: MetricsEntrance
    """`metrics`."""


def make_app(gate: Gate, page: Page, entrances: Entrances, *, base_path: str) -> web.Application:
    """Put the entrances behind the gate.

    Args:
        gate: Checks each request first.
        page: The built page.
        entrances: What is behind the gate.
        base_path: Prefix of all paths; they are served without it, too, for proxies that strip it.
    """
    app = web.Application(client_max_size=entrances.events.engine.bounds.message_bytes)
    gate.install(app)
    app.on_response_prepare.append(allow_wasm)  # after the gate, whose header it changes
    bases = tuple(dict.fromkeys(("", base_path)))
    for base in bases:
        app.router.add_get(f"{base}/", page.serve)
        if base:
            app.router.add_get(base, _to_folder(base))
        for name in page.public:
            app.router.add_get(f"{base}/{name}", _serve(page.files[name]))
        for path in (f"{base}/tty", f"{base}/tty/"):
            app.router.add_get(path, entrances.events.engine.handle)
            app.router.add_post(path, entrances.events.engine.handle)
        app.router.add_get(f"{base}/colab/tty", entrances.colab.handle)
        app.router.add_get(f"{base}/colab/ssh", entrances.ssh.handle)
        app.router.add_get(f"{base}/ssh", entrances.ssh.info)
        entrances.api.install(app.router, base)
        entrances.recordings.install(app.router, base)
        entrances.metrics.install(app.router, base)
        app.router.add_route("*", f"{base}/proxy/{{rest:.*}}", entrances.proxy.handle)
    return app


def _serve(asset: Asset) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        return asset.respond(request, keep=True)

    return serve


def _to_folder(base: str) -> Handler:
    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=308, headers={"Location": f"./{base.rpartition('/')[2]}/"})

    return redirect
