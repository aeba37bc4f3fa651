"""The web application: which path leads where."""

from aiohttp import web
from aiohttp.typedefs import Handler

from ttybridge.core.protocol import MAX_MESSAGE_BYTES
from ttybridge.web.assets import INDEX, Asset, Page
from ttybridge.web.colab import ColabEntrance
from ttybridge.web.colab_ssh import ColabSshEntrance
from ttybridge.web.events import Events
from ttybridge.web.proxy import Proxy
from ttybridge.web.security import Gate


def make_app(
    gate: Gate,
    page: Page,
    events: Events,
    colab: ColabEntrance,
    ssh: ColabSshEntrance,
    proxy: Proxy,
    *,
    base_path: str,
) -> web.Application:
    """Put the entrances behind the gate.

    Args:
        gate: Checks each request first.
        page: The built page.
        events: The entrance `tty/`.
        colab: The entrance `colab/tty`.
        ssh: The entrances `colab/ssh` and `ssh`.
        proxy: The entrance `proxy/PORT/`.
        base_path: Prefix of all paths; they are served without it, too, for proxies that strip it.
    """
    app = web.Application(client_max_size=MAX_MESSAGE_BYTES)
    gate.install(app)
    for base in dict.fromkeys(("", base_path)):
        app.router.add_get(f"{base}/", _serve(page.files[INDEX], keep=False))
        if base:
            app.router.add_get(base, _to_folder(base))
        for name in page.public:
            app.router.add_get(f"{base}/{name}", _serve(page.files[name], keep=True))
        for path in (f"{base}/tty", f"{base}/tty/"):
            app.router.add_get(path, events.engine.handle)
            app.router.add_post(path, events.engine.handle)
        app.router.add_get(f"{base}/colab/tty", colab.handle)
        app.router.add_get(f"{base}/colab/ssh", ssh.handle)
        app.router.add_get(f"{base}/ssh", ssh.info)
        app.router.add_route("*", f"{base}/proxy/{{rest:.*}}", proxy.handle)
    return app


def _serve(asset: Asset, *, keep: bool) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        return asset.respond(request, keep=keep)

    return serve


def _to_folder(base: str) -> Handler:
    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=308, headers={"Location": f"./{base.rpartition('/')[2]}/"})

    return redirect
