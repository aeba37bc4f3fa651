"""Runs in .venv-bench: terminado as its documentation shows it, a terminal for each client.

python terminado_app.py PORT COMMAND [ARGUMENT…]
"""

import asyncio
import os
import sys

import terminado
import tornado.web


async def main() -> None:
    """Serve for ever."""
    port, *argv = sys.argv[1:]
    settings = {"type": os.environ["TERM"]}
    manager = terminado.UniqueTermManager(shell_command=argv, term_settings=settings)
    routes = [(r"/websocket", terminado.TermSocket, {"term_manager": manager})]
    tornado.web.Application(routes).listen(int(port), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
