"""A stand-in for cloudflared and Cloudflare: a name, its little web server, a port for the public.

Started as `cloudflared.py FOLDER tunnel …`. `FOLDER/behaviour.json` says how it misbehaves, and is
read anew whenever it matters; `FOLDER/state-LOCALPORT.json` says how it was started, and which
loopback port stands for its public name. What comes there goes on to the local port as Cloudflare
sends it: with the public name as Host, and the headers that say where it came from.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

HEADERS = (
    "X-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.7\r\nCf-Connecting-Ip: 203.0.113.7"
)

FAILURES = {
    "429": 'ERR Error unmarshaling QuickTunnel response: error code: 1015 error="invalid character '
    '\'e\' looking for beginning of value" status_code="429 Too Many Requests"\n'
    "failed to unmarshal quick Tunnel: invalid character 'e' looking for beginning of value",
    "offline": 'failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": dial '
    "tcp: lookup api.trycloudflare.com on 127.0.0.53:53: no such host",
    "odd": "panic: \x1b[31mno idea\x1b[0m\x07",
}


def say(text: str) -> None:
    for line in text.split("\n"):
        os.write(2, f"2026-11-24T12:00:00Z {line}\n".encode())


class Fake:
    """One run of it."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.local_port = int(options.url.rpartition(":")[2])
        self.metrics_port = int(options.metrics.rpartition(":")[2])
        self.name = ""

    @property
    def behaviour(self) -> dict[str, object]:
        file = self.folder / "behaviour.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    async def run(self) -> int:
        self.note(port=0)
        how = self.behaviour
        say("INF Requesting new quick Tunnel on trycloudflare.com...")
        if how.get("silent"):
            await asyncio.sleep(3600)
        await asyncio.sleep(float(str(how.get("late_s", 0))))
        if "fails" in how:
            say(FAILURES[str(how["fails"])])
            return 1
        taken = int(str(how.get("metrics_taken", 0)))
        if taken:
            self.change(metrics_taken=taken - 1)
            say('ERR Error opening metrics server listener error="listen tcp: address in use"')
            return 1
        public = await asyncio.start_server(self.on_public, "127.0.0.1", 0)
        self.note(port=public.sockets[0].getsockname()[1])
        self.rename()
        async with (
            public,
            await asyncio.start_server(self.on_metrics, "127.0.0.1", self.metrics_port),
        ):
            if "dies_s" in how:
                await asyncio.sleep(float(str(how["dies_s"])))
                say("ERR Initiating shutdown")
                return 1
            await asyncio.sleep(3600)
        return 0

    def rename(self) -> None:
        """Take the name that is wanted, and say so as cloudflared does."""
        wanted = str(self.behaviour.get("hostname", f"fake-{self.local_port}.trycloudflare.com"))
        if wanted != self.name:
            self.name = wanted
            self.note(hostname=wanted)
            line = "+" + "-" * 60 + "+"
            say(f"INF {line}\nINF |  Your quick Tunnel has been created! |")
            say(f"INF |  https://{wanted}  |\nINF {line}")

    def note(self, **more: object) -> None:
        file = self.folder / f"state-{self.local_port}.json"
        state = dict(json.loads(file.read_text())) if file.exists() else {"starts": 0}
        if "hostname" not in more and not more.get("port"):
            tunnel = {n: v for n, v in os.environ.items() if n.startswith("TUNNEL_")}
            state = {"starts": state["starts"] + 1, "pid": os.getpid()}
            state |= {"argv": sys.argv[2:], "environ": tunnel}
        write(file, state | more)

    def change(self, **more: object) -> None:
        write(self.folder / "behaviour.json", self.behaviour | more)

    async def on_metrics(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.rename()
        status, body = 200, ""
        if head.startswith(b"GET /quicktunnel "):
            body = json.dumps({"hostname": self.behaviour.get("lies", self.name)})
        elif head.startswith(b"GET /ready "):
            status = int(str(self.behaviour.get("ready", 200)))
        answer = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((answer + body).encode())
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async def on_public(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send one request on, and then the bytes of both sides."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip("\r\n").split("\r\n")
            is_upgrade = "\r\nupgrade:" in head.lower()
            dropped = ("host:",) if is_upgrade else ("host:", "connection:")
            lines = [line for line in lines if not line.lower().startswith(dropped)]
            lines += [f"Host: {self.name}", HEADERS] + ([] if is_upgrade else ["Connection: close"])
            there, back = await asyncio.open_connection("127.0.0.1", self.local_port)
            back.write("\r\n".join([first, *lines, "", ""]).encode("latin-1"))
            await asyncio.gather(pump(reader, back), pump(there, writer))
            back.close()
        writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def write(file: Path, value: object) -> None:
    new = file.with_name(f"{file.name}.{os.getpid()}")
    new.write_text(json.dumps(value))
    new.replace(file)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("command", choices=["tunnel"])
    parser.add_argument("--no-autoupdate", action="store_true", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--metrics", required=True)
    parser.add_argument("--grace-period")
    parser.add_argument("--url", required=True)
    options = parser.parse_args()
    if Path(options.config).read_bytes() == b"":
        say(f"ERR Configuration file {options.config} was empty")
    return asyncio.run(Fake(options.folder, options).run())


if __name__ == "__main__":
    sys.exit(main())
