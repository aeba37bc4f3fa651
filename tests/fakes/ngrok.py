"""A stand-in for the `ngrok` agent that really proxies on loopback, and misbehaves when told to.

Install it with `tests.ngrok.install_fake_ngrok(folder, **behaviour)`. Behaviour is read at each
start from `fake.json` beside this file, and then from the variable FAKE_NGROK (JSON), which a
bridge does not hand on to its agent:

plain (bool)          public web addresses are `http://127.0.0.1:PORT`; otherwise they are
                      `https://NAME.ngrok-free.app`, served on the port that `state["ports"]` has
version (str)         what `ngrok version` says ("3.39.0"); one of "2…" takes the options of v2
silent (bool)         `start` prints nothing and serves nothing
late_s (float)        the session is there after so many seconds
start_error (int)     `start` fails with that ERR_NGROK code, whose text has the token in it for 105
                      (malformed token) and 107 (revoked); 108: one session at a time
offline (bool)        ngrok's service is never reached; the agent tries on and on
refuse ({kind: code}) tunnels of a kind ("http", "tcp") are refused with that code: 8013 (TCP needs
                      a card), 320 (another account's domain), 334 (address in use)
hang (bool)           the local API never answers a request for a tunnel
bad_gateway (bool)    every request to a public web address is answered with 502, ERR_NGROK_8012
interstitial (bool)   a browser's first visit gets ngrok's warning page (ERR_NGROK_6024): a GET by
                      Mozilla that takes HTML, without `ngrok-skip-browser-warning` or the cookie
ignores_sigterm (bool) SIGTERM does nothing
dies_after_s (float)  it ends with status 1, so many seconds after its first tunnel
moves_after_s (float) it reconnects with new addresses, so many seconds after its first tunnel

While it runs, `POST /fake/ACTION` on its local API does at once: `die`, `move` (new addresses),
`lose` (the session; its public addresses answer no more), `return` (after `lose`; the same
addresses), `drop` (all tunnels are gone), `stall` (the local API answers no more).

The state is a JSON file: `starts`, a list of {pid, argv, environment (names), config (text),
config_mode, api, tunnels ({name: {url, port, options}})}, oldest first; `ports` {host name: port};
`requests`, a list of [method, path] that came in through public web addresses; `commands`, the
arguments of all runs; `unanswered`, paths of requests to the local API that it keeps waiting.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import secrets
import signal
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

HERE = Path(sys.argv[0]).resolve().parent
STATE = HERE / "state.json"
TEXTS = {
    105: "The authtoken you specified does not look like a proper token. Your authtoken: {token}",
    107: "The authtoken you specified is properly formed, but invalid. Your authtoken: {token}",
    108: "Your account is limited to 1 simultaneous ngrok agent session.",
    320: "This domain is reserved for another account.",
    334: "The endpoint is already online.",
    4018: "This session is not authenticated.",
    8012: "The agent cannot reach the upstream web service.",
    8013: "You must add a credit or debit card before you can use TCP endpoints.",
}
WARNING = b"<!doctype html><title>ngrok</title>You are about to visit a site. ERR_NGROK_6024"
Json = dict[str, Any]


def behaviour() -> Json:
    """Return what it has been told to do."""
    file = HERE / "fake.json"
    told: Json = json.loads(file.read_text()) if file.exists() else {}
    told |= json.loads(os.environ.get("FAKE_NGROK", "{}"))
    return told


TOLD = behaviour()


def change_state(change: Callable[[Json], None]) -> None:
    """Change the state file; other agents may do so at the same time."""
    with (HERE / "state.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = json.loads(STATE.read_text()) if STATE.exists() else {}
        change(state)
        new = STATE.with_suffix(".new")
        new.write_text(json.dumps(state, indent=1))
        new.replace(STATE)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def log(level: str, msg: str, **more: object) -> None:
    """Print a line as the agent does."""
    words = {"t": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "lvl": level, "msg": msg, **more}
    shown = []
    for name, value in words.items():
        text = str(value)
        bare = re.fullmatch(r'[^\s"=\\]+', text)
        shown.append(f"{name}={text if bare else json.dumps(text)}")
    say(" ".join(shown))


def error_text(code: int, token: str = "") -> str:
    """Return an error as ngrok's service words it."""
    text = TEXTS.get(code, "Something is wrong.").format(token=token)
    return f"{text}\r\n\r\nERR_NGROK_{code}\r\n"


def fail(code: int, token: str = "") -> None:
    """End as the agent does when it is not let in."""
    err = error_text(code, token)
    log("eror", "session closing", obj="tunnels.session", err=err)
    log("crit", "command failed", err=err)
    sys.exit(f"ERROR:  {err}")


def read_head(head: bytes) -> tuple[str, list[tuple[str, str]]]:
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return first, [(name.strip(), value.strip()) for name, _, value in pairs]


async def carry(reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def join(
    one: tuple[StreamReader, StreamWriter], other: tuple[StreamReader, StreamWriter]
) -> None:
    try:
        await asyncio.gather(carry(one[0], other[1]), carry(other[0], one[1]))
    finally:
        one[1].close()
        other[1].close()


class Tunnel:
    """One public address."""

    def __init__(self, options: Json) -> None:
        self.options = options
        self.is_http = options["proto"] != "tcp"
        address = str(options["addr"]).rpartition("://")[2]
        self.local = int(address.rpartition(":")[2])
        self.is_lost = False
        self.connections: set[StreamWriter] = set()

    async def open(self) -> None:
        self.server = await asyncio.start_server(self.on_visitor, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.host = self.options.get("domain") or self.options.get("hostname")
        self.host = self.host or f"calm-otter-{secrets.token_hex(4)}.ngrok-free.app"
        self.url = f"https://{self.host}"
        if not self.is_http:
            self.host, self.url = "127.0.0.1", f"tcp://127.0.0.1:{self.port}"
        elif TOLD.get("plain"):
            self.host, self.url = f"127.0.0.1:{self.port}", f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.server.close()
        self.cut()

    def cut(self) -> None:
        for writer in list(self.connections):
            writer.transport.abort()

    async def on_visitor(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.connections.add(writer)
        try:
            if self.is_lost:
                return
            if self.is_http:
                await self.on_request(reader, writer)
            else:
                await join((reader, writer), await self.to_local())
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.connections.discard(writer)
            writer.close()

    async def to_local(self) -> tuple[StreamReader, StreamWriter]:
        local = await asyncio.open_connection("127.0.0.1", self.local)
        self.connections.add(local[1])
        return local

    async def on_request(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Pass one request, one to a connection, with what the edge adds."""
        first, headers = read_head(await reader.readuntil(b"\r\n\r\n"))
        change_state(lambda state: state.setdefault("requests", []).append(first.split()[:2]))
        given = {name.lower(): value for name, value in headers}
        if TOLD.get("interstitial") and self.is_warned(first, given):
            cookie = f"Set-Cookie: abuse_interstitial={self.host}; Path=/; Max-Age=604800".encode()
            lines = (b"HTTP/1.1 200 OK", b"Content-Type: text/html", cookie, b"Connection: close")
            writer.write(b"\r\n".join((*lines, b"", WARNING)))
            return
        try:
            if TOLD.get("bad_gateway"):
                raise ConnectionRefusedError
            local = await self.to_local()
        except OSError:
            body = error_text(8012)
            writer.write(
                f"HTTP/1.1 502 Bad Gateway\r\nngrok-error-code: ERR_NGROK_8012\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
            )
            return
        local[1].write(self.head(first, headers, given).encode("latin-1"))
        await join((reader, writer), local)

    def is_warned(self, first: str, given: dict[str, str]) -> bool:
        return (
            first.startswith("GET ")
            and given.get("user-agent", "").startswith("Mozilla/")
            and "text/html" in given.get("accept", "")
            and "ngrok-skip-browser-warning" not in given
            and "abuse_interstitial=" not in given.get("cookie", "")
        )

    def head(self, first: str, headers: list[tuple[str, str]], given: dict[str, str]) -> str:
        """Return a head with X-Forwarded-*: For is added to, the others are replaced."""
        dropped = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
        if "upgrade" not in given:
            dropped.add("connection")
        lines = [first, *(f"{n}: {v}" for n, v in headers if n.lower() not in dropped)]
        before = [given["x-forwarded-for"]] if "x-forwarded-for" in given else []
        lines.append("X-Forwarded-For: " + ", ".join([*before, "203.0.113.7"]))
        lines.append(f"X-Forwarded-Host: {given.get('host', '')}")
        lines.append(f"X-Forwarded-Proto: {self.url.partition(':')[0]}")
        if "upgrade" not in given:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""])

    def shown(self, name: str, path: str) -> Json:
        """Return it as the local API does."""
        return {
            "name": name,
            "uri": f"{path}/{name}",
            "public_url": self.url,
            "proto": self.url.partition(":")[0],
            "config": {"addr": self.options["addr"], "inspect": self.options.get("inspect", True)},
        }


class Agent:
    """`ngrok start`."""

    def __init__(self, config: Json) -> None:
        self.config = config
        self.tunnels: dict[str, Tunnel] = {}
        self.is_stalled = False

    async def run(self) -> None:
        host, _, port = self.config.get("web_addr", "127.0.0.1:4040").rpartition(":")
        server = await asyncio.start_server(self.on_api, host, int(port))
        log("info", "starting web service", obj="web", addr=f"{host}:{port}")
        self.over = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            ignored = TOLD.get("ignores_sigterm") and number == signal.SIGTERM
            loop.add_signal_handler(number, (lambda: None) if ignored else self.over.set)
        session = asyncio.create_task(self.connect())
        await self.over.wait()
        log("info", "received stop request", obj="app", stopReq="{err:<nil> restart:false}")
        session.cancel()
        for tunnel in self.tunnels.values():
            tunnel.close()
        server.close()

    async def connect(self) -> None:
        err = "dial tcp: lookup connect.ngrok-agent.com: no such host"
        while TOLD.get("offline"):
            log("eror", "failed to reconnect session", obj="csess", err=err)
            await asyncio.sleep(0.3)
        await asyncio.sleep(TOLD.get("late_s", 0))
        self.connected()

    def connected(self) -> None:
        log("info", "tunnel session started", obj="tunnels.session")
        log("info", "client session established", obj="csess", id="f4ke")

    async def on_api(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first, headers = read_head(await reader.readuntil(b"\r\n\r\n"))
            given = {name.lower(): value for name, value in headers}
            body = await reader.readexactly(int(given.get("content-length", 0)))
            method, path, _ = first.split()
            if self.is_stalled or (TOLD.get("hang") and method == "POST" and "fake" not in path):
                change_state(lambda state: state.setdefault("unanswered", []).append(path))
                await asyncio.Event().wait()
            status, answer = await self.answer(method, path, body)
            text = json.dumps(answer) if answer is not None else ""
            writer.write(
                f"HTTP/1.1 {status} Here\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
            )
            await writer.drain()
        writer.close()

    async def answer(self, method: str, path: str, body: bytes) -> tuple[int, Json | None]:
        match = re.fullmatch(r"(/api/(tunnels|endpoints))(?:/(.+))?", path)
        if path.startswith("/fake/") and method == "POST":
            await getattr(self, "do_" + path.removeprefix("/fake/"))()
            return 204, None
        if path == "/api/status":
            return 200, {"status": "online", "agent_version": TOLD.get("version", "3.39.0")}
        if match is None or (match[3] and match[3] not in self.tunnels):
            return 404, {"error_code": 100, "status_code": 404, "msg": "not found"}
        if method == "POST":
            return await self.add(match[1], json.loads(body))
        if method == "DELETE":
            self.tunnels.pop(match[3]).close()
            self.record()
            return 204, None
        shown = [tunnel.shown(name, match[1]) for name, tunnel in self.tunnels.items()]
        if match[3]:
            return 200, self.tunnels[match[3]].shown(match[3], match[1])
        return 200, {match[2]: shown, "uri": match[1]}

    async def add(self, path: str, options: Json) -> tuple[int, Json]:
        if "upstream" in options:  # an endpoint, as of agent 3.1x
            options |= {"addr": options["upstream"]["url"]}
            options |= {"proto": "tcp" if options.get("url", "").startswith("tcp") else "http"}
        kind = "tcp" if options["proto"] == "tcp" else "http"
        if kind in TOLD.get("refuse", {}):
            err = "failed to start tunnel: " + error_text(TOLD["refuse"][kind])
            log("warn", "failed to start tunnel", pg=path, err=err)
            details = {"err": err}
            msg = "failed to start tunnel"
            return 502, {"error_code": 103, "status_code": 502, "msg": msg, "details": details}
        tunnel = Tunnel(options)
        await tunnel.open()
        is_first = not self.tunnels
        name = options["name"]
        self.tunnels[name] = tunnel
        is_v2 = str(TOLD.get("version", "3")).startswith("2")
        is_secure = (
            options.get("bind_tls") is True if is_v2 else options.get("schemes") == ["https"]
        )
        if kind == "http" and not is_secure:  # the plain twin that nobody asked for
            self.tunnels[f"{name} (http)"] = twin = Tunnel(options)
            await twin.open()
            twin.url = twin.url.replace("https:", "http:")
        log(
            "info", "started tunnel", obj="tunnels", name=name, addr=options["addr"], url=tunnel.url
        )
        self.record()
        if is_first:
            loop = asyncio.get_running_loop()
            for when, do in (("dies_after_s", self.do_die), ("moves_after_s", self.do_move)):
                if when in TOLD:
                    loop.call_later(TOLD[when], self.later, do)
        return 201, tunnel.shown(name, path)

    def later(self, do: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.doing = asyncio.ensure_future(do())

    def record(self) -> None:
        """Write down what is open."""
        tunnels = {
            name: {"url": t.url, "port": t.port, "options": t.options}
            for name, t in self.tunnels.items()
        }
        ports = {t.host: t.port for t in self.tunnels.values() if t.is_http}

        def change(state: Json) -> None:
            mine = next(s for s in state["starts"] if s["pid"] == os.getpid())
            mine["tunnels"] = tunnels
            state["ports"] = state.get("ports", {}) | ports

        change_state(change)

    async def do_die(self) -> None:
        log("crit", "command failed", err="something broke")
        os._exit(1)

    async def do_lose(self) -> None:
        err = "read EOF from remote peer"
        log("eror", "session closed, starting reconnect loop", obj="csess", err=err)
        for tunnel in self.tunnels.values():
            tunnel.is_lost = True
            tunnel.cut()

    async def do_return(self) -> None:
        for tunnel in self.tunnels.values():
            tunnel.is_lost = False
        self.connected()

    async def do_move(self) -> None:
        await self.do_lose()
        for name, old in list(self.tunnels.items()):
            self.tunnels[name] = tunnel = Tunnel(old.options)
            await tunnel.open()  # while the old one still has its port
            old.close()
        self.record()
        self.connected()

    async def do_drop(self) -> None:
        for tunnel in self.tunnels.values():
            tunnel.close()
        self.tunnels.clear()
        self.record()

    async def do_stall(self) -> None:
        self.is_stalled = True


def read_config(text: str) -> Json:
    """Read a configuration that is JSON, or lines of `name: value`."""
    try:
        config: Json = json.loads(text)
    except ValueError:
        pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
        config = {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
    config |= config.get("agent", {})
    return config


def start(argv: list[str]) -> None:
    file = Path(argv[argv.index("--config") + 1])
    text = file.read_text()
    config = read_config(text)
    started: Json = {
        "pid": os.getpid(),
        "argv": argv,
        "environment": sorted(os.environ),
        "config": text,
        "config_mode": file.stat().st_mode & 0o777,
        "api": config.get("web_addr"),
        "tunnels": {},
    }
    change_state(lambda state: state.setdefault("starts", []).append(started))
    token = config.get("authtoken") or os.environ.get("NGROK_AUTHTOKEN", "")
    if "--authtoken" in argv:
        token = argv[argv.index("--authtoken") + 1]
    if TOLD.get("silent"):
        if TOLD.get("ignores_sigterm"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
    log("info", "open config file", path=str(file), err="nil")
    code = TOLD.get("start_error") or (0 if token else 4018)
    if code:
        fail(code, token)
    asyncio.run(Agent(config).run())


def main(argv: list[str]) -> None:
    """Do what the command line says."""
    change_state(lambda state: state.setdefault("commands", []).append(argv))
    match argv:
        case ["version"] | ["--version"]:
            say(f"ngrok version {TOLD.get('version', '3.39.0')}")
        case ["config", "add-authtoken", token, *_]:
            file = Path.home() / ".config" / "ngrok" / "ngrok.yml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f'version: "3"\nagent:\n    authtoken: {token}\n')
            say(f"Authtoken saved to configuration file: {file}")
        case ["start", "--none", *_]:
            start(argv)
        case _:
            sys.exit(f"ERROR:  unknown command {argv}")


if __name__ == "__main__":
    main(sys.argv[1:])
