"""ngrok as a tunnel: its agent is driven by pyngrok, watched, and ended with everything of it.

pyngrok blocks, so it works in threads; it waits for a silent agent for ever, so the deadlines are
ours. The agent runs below a warden (`leash`), which pyngrok knows as `ngrok`: letting the leash go
ends the agent, wherever pyngrok's thread is at that moment, and so does our own end.
"""

import asyncio
import contextlib
import functools
import json
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

import aiohttp
from pyngrok import ngrok, process
from pyngrok.conf import PyngrokConfig
from pyngrok.exception import PyngrokError, PyngrokNgrokError, PyngrokNgrokHTTPError
from pyngrok.process import NgrokProcess

from ttybridge.core import ngrok as core
from ttybridge.core.ngrok import NgrokSettings
from ttybridge.core.ngrok_errors import HOW_TO_LOG_IN, UNKNOWN_ACCOUNT, failure
from ttybridge.errors import ConfigError, TunnelError
from ttybridge.tunnels.agent import KILL_S, LAST_LINES, LAST_WORDS_S, STOP_S, shown
from ttybridge.tunnels.base import Context, Endpoint, Kind, Local
from ttybridge.tunnels.leash import leash
from ttybridge.tunnels.ngrok_binary import find, install, version_of
from ttybridge.tunnels.ngrok_config import agent_environment, read_own
from ttybridge.tunnels.ngrok_files import free_port, reach_loopback_without_proxy, write_files
from ttybridge.tunnels.ngrok_start import Start

log = logging.getLogger(__name__)
# pyngrok logs what the agent prints and what it is asked for: tokens and passwords are in both.
logging.getLogger("pyngrok").setLevel(logging.CRITICAL + 1)

START_S = 30.0
"""Time for the agent to connect to ngrok's service, in seconds; it takes about one."""

CONNECT_S = 15.0
"""Time for one address, in seconds."""

RECONNECT_S = 60.0
"""Time for the agent to get its connection back by itself, in seconds."""

ASK_S = 5.0
"""Time for the agent's local API to answer, in seconds."""

T = TypeVar("T")


class NgrokTunnel:
    """Addresses at ngrok: one for HTTP, and one for TCP where that is asked for."""

    name = "ngrok"

    def __init__(self, context: Context, settings: NgrokSettings) -> None:
        """Start nothing yet."""
        self._context = context
        self._settings = settings
        self._agent: _Agent | None = None
        self._endpoints: dict[str, Endpoint] = {}

    async def open(self, locals: Sequence[Local]) -> Sequence[Endpoint]:
        """Start the agent and have it open an address for each port.

        Raises:
            TunnelError: There is no token, or ngrok refuses, or cannot be reached.
            MissingProgramError: There is no agent, and it cannot be downloaded.
            ConfigError: The agent is too old for an option.
        """
        await self.close()
        environ = self._context.environ
        own = await asyncio.to_thread(read_own, environ)
        token = core.token_of(own, environ)
        if not token:
            raise TunnelError(UNKNOWN_ACCOUNT, hint=HOW_TO_LOG_IN)
        agent = self._agent = _Agent(self._context, (token, *self._settings.secrets))
        try:
            binary = find(environ) or await install(self._context, agent.folder)
            major = (await version_of(binary, self._context))[0]
            tunnels = self._tunnels(locals, major)
            port = free_port()
            text = core.config_text(own, major=major, token=token, port=port)
            await agent.start(binary, text)
            for name, options in tunnels.items():
                url = await agent.connect({"name": name, **options})
                self._endpoints[name] = Endpoint(url, core.note_of(url))
        except BaseException:
            await self.close()
            raise
        return tuple(self._endpoints.values())

    async def health(self) -> Sequence[Endpoint]:
        """Return the addresses that the agent serves now, as its local API has them.

        While the agent gets its connection back by itself, they are taken to be the last ones.

        Raises:
            TunnelError: The agent has ended, or is without connection for too long, or serves one
                of the addresses no more.
        """
        if self._agent is None or not self._endpoints:
            message = "The tunnel to ngrok is not open."
            raise TunnelError(message)
        urls = await self._agent.urls()
        if urls is not None:
            if not self._endpoints.keys() <= urls.keys():
                raise self._agent.error("ngrok's agent serves an address no more.")
            for name, endpoint in self._endpoints.items():
                if endpoint.url != urls[name]:
                    self._endpoints[name] = Endpoint(urls[name], core.note_of(urls[name]))
        return tuple(self._endpoints.values())

    async def close(self) -> None:
        """End the agent, and with it the addresses."""
        agent, self._agent = self._agent, None
        self._endpoints.clear()
        if agent is not None:
            await agent.stop()

    def _tunnels(self, locals: Sequence[Local], major: int) -> dict[str, dict[str, object]]:
        """Return the options of each address by its name."""
        found = {}
        for number, local in enumerate(locals):
            try:
                options = (
                    core.http_options(local.port, self._settings, major=major)
                    if local.kind is Kind.HTTP
                    else core.tcp_options(local.port)
                )
            except ValueError as error:
                raise ConfigError([str(error)]) from None
            found[f"ttybridge-{local.kind.value}-{number}"] = options
        return found


class _Agent:
    """One run of the agent.

    Attributes:
        folder: Its private folder, which is gone after `stop`.
    """

    def __init__(self, context: Context, secrets: Sequence[str]) -> None:
        self._context = context
        self._secrets = [secret for secret in secrets if len(secret) > 3]
        self.folder = Path(tempfile.mkdtemp(prefix="ngrok-", dir=context.folder))
        self._held = contextlib.ExitStack()
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._lost_at: float | None = None
        self._troubles: deque[str] = deque(maxlen=LAST_LINES)
        self._silent_at: float | None = None
        self._start: Start | None = None
        self._launch: asyncio.Future[NgrokProcess] | None = None
        self._process: NgrokProcess | None = None
        self._reader: threading.Thread | None = None

    async def start(self, binary: Path, config: str) -> None:
        """Start it and wait until it is connected to ngrok's service.

        Raises:
            TunnelError: It is not, within `START_S`; says why.
        """
        reach_loopback_without_proxy()
        settings = self._prepare(binary, config)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as deadline:

                def begin() -> None:
                    if self._launch is not None and not self._launch.done():
                        deadline.reschedule(loop.time() + START_S)

                self._start = Start(settings, self._take, self._read)
                turn = functools.partial(loop.call_soon_threadsafe, begin)
                work = functools.partial(self._start.run, turn)
                self._launch = _in_thread(work)
                self._process = await asyncio.shield(self._launch)
        except TimeoutError:
            raise self.error(f"ngrok's agent did not connect within {START_S:.0f} s.") from None
        except PermissionError:
            raise TunnelError(
                f"No program may be run in {self.folder}.",
                hint="Name a folder where that is allowed with TMPDIR.",
            ) from None
        except (PyngrokError, OSError, ValueError) as error:
            why = error.ngrok_error if isinstance(error, PyngrokNgrokError) else str(error)
            raise self.error("ngrok's agent did not start.", why or "") from None
        output = self._process.proc.stdout
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    async def connect(self, options: Mapping[str, object]) -> str:
        """Open one address and return it.

        Raises:
            TunnelError: ngrok refuses, or does not answer in time.
        """
        assert self._process is not None  # noqa: S101  it is started
        what = "ngrok did not open an address."
        # `ngrok.connect` would wait for other tunnels' agents, too, and rename options.
        work = functools.partial(
            ngrok.api_request,
            f"{self._process.api_url}/api/tunnels",
            method="POST",
            data=dict(options),
            timeout=CONNECT_S,
        )
        try:
            async with asyncio.timeout(CONNECT_S):
                answer = await asyncio.shield(_in_thread(work))
        except TimeoutError:
            raise self.error(f"ngrok did not open an address within {CONNECT_S:.0f} s.") from None
        except PyngrokNgrokHTTPError as error:
            raise self.error(what, error.body) from None
        except (PyngrokError, OSError, ValueError) as error:
            raise self.error(what, str(error)) from None
        url = core.addresses({"tunnels": [answer]}).get(str(options["name"]))
        if url is None:
            raise self.error(what)
        return url

    async def urls(self) -> Mapping[str, str] | None:
        """Return the address of each tunnel; None while that is not known.

        Raises:
            TunnelError: It has ended, or is without connection for too long.
        """
        try:
            answer = await self._ask("/api/tunnels")
            self._silent_at = None
        except (aiohttp.ClientError, OSError, ValueError):
            answer = None
            self._silent_at = self._silent_at or time.monotonic()
        if self._ended() is not None:
            raise self.error("ngrok's agent has ended.")
        now = time.monotonic()
        if self._silent_at is not None and now - self._silent_at > RECONNECT_S:
            raise self.error(f"ngrok's agent has not answered for {RECONNECT_S:.0f} s.")
        # Taken once: the thread that reads the log may change it at any time.
        lost_at = self._lost_at
        if lost_at is None:
            return None if answer is None else core.addresses(answer)
        if now - lost_at > RECONNECT_S:
            what = f"ngrok's agent has been without connection for {RECONNECT_S:.0f} s."
            raise self.error(what)
        return None

    def error(self, what: str, why: str = "") -> TunnelError:
        """Return an error that says what to do, with the last lines of the agent.

        Args:
            what: What went wrong; its own words follow where they are known.
            why: What ngrok says; looked for in the log when it says nothing.
        """
        troubles = (why, "\n".join(self._troubles))
        message, hint = failure(what, troubles, list(self._lines), self._ended())
        return TunnelError(message, hint=hint)

    async def stop(self) -> None:
        """End it, within seconds; safe at any time. When cancelled, it ends all the same."""
        if self._start is not None:
            self._start.is_over = True
        self._held.close()  # from here on, its warden ends it
        try:
            launch = self._launch
            if launch is not None:
                await asyncio.wait([launch], timeout=STOP_S)
                if launch.done() and not launch.cancelled() and launch.exception() is None:
                    self._process = launch.result()
            if self._process is not None:
                await _in_thread(functools.partial(self._finish, self._process))
        finally:
            if self._process is not None and self._ended() is None:
                _kill(self._process.proc)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _prepare(self, binary: Path, config: str) -> PyngrokConfig:
        """Write the files and return what pyngrok needs to know."""
        held = self._held.enter_context(leash(self.folder))
        environ = agent_environment(self._context.environ)
        files = write_files(self.folder, config, held.argv(str(binary)), environ)
        settings = PyngrokConfig(
            ngrok_path=str(files.program),
            config_path=str(files.config),
            monitor_thread=False,
            startup_timeout=round(START_S + STOP_S),
            start_new_session=True,
            # The API that all agents have: that of "3" came with agent 3.16.
            config_version="2",
        )
        # Taken from our environment, they would be arguments of the agent.
        settings.auth_token = settings.api_key = None
        return settings

    def _read(self, output: IO[str]) -> None:
        """In a thread: take in what it prints, until its end."""
        try:
            for text in output:
                self._take(text)
        except UnicodeDecodeError:  # a text stream cannot go on after that, and it must be read
            for data in output.buffer:  # type: ignore[attr-defined]
                self._take(data.decode(errors="replace"))

    def _take(self, text: str) -> None:
        """Take in one line."""
        line = core.parse_line(text)
        text = shown(core.redact(text, self._secrets))
        if not text or line.message in ("start", "end"):  # each question of ours to its API
            return
        self._lines.append(text)
        log.debug("ngrok: %s", text)
        if line.is_trouble:
            self._troubles.append(line.text)
        if line.is_loss:
            self._lost_at = self._lost_at or time.monotonic()
        elif line.is_return:
            self._lost_at = None
            self._troubles.clear()

    def _ended(self) -> int | None:
        """Return the exit status; None while it runs, or when it was not started."""
        return None if self._process is None else self._process.proc.poll()

    async def _ask(self, path: str) -> object:
        assert self._process is not None  # noqa: S101  it is started
        timeout = aiohttp.ClientTimeout(total=ASK_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{self._process.api_url}{path}", raise_for_status=True) as answer,
        ):
            return json.loads(await answer.read())

    def _finish(self, started: NgrokProcess) -> None:
        """In a thread: wait for its end, kill what is left, and have pyngrok forget it."""
        program, reader = started.proc, self._reader
        _wait(program, STOP_S)
        if reader is not None:
            reader.join(LAST_WORDS_S)
        if self._ended() is None or (reader is not None and reader.is_alive()):
            _kill(program)
            _wait(program, KILL_S)
            if reader is not None:
                reader.join(LAST_WORDS_S)
        if program.stdout is not None and (reader is None or not reader.is_alive()):
            program.stdout.close()
        process.is_process_running(started.pyngrok_config.ngrok_path)


def _kill(program: "subprocess.Popen[str]") -> None:
    """Kill the warden, the agent, and what that has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, signal.SIGKILL)


def _in_thread(work: Callable[[], T]) -> "asyncio.Future[T]":
    """Do something in a thread; what becomes of it need not be asked for."""
    future = asyncio.ensure_future(asyncio.to_thread(work))
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def _wait(started: "subprocess.Popen[str]", within_s: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        started.wait(within_s)
