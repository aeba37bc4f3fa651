"""Has pyngrok start an agent, and hears out one that ends at once.

pyngrok 9.1 stops reading as soon as it sees that the agent has ended, though the line with the
reason may be in its buffer still (`_start_process`).
"""

import contextlib
import threading
from collections.abc import Callable
from typing import IO

from pyngrok import process
from pyngrok.conf import PyngrokConfig
from pyngrok.exception import PyngrokError
from pyngrok.log import NgrokLog
from pyngrok.process import NgrokProcess

from ttybridge.tunnels.agent import LAST_WORDS_S

_STARTING = threading.Lock()
"""pyngrok starts one agent at a time; who waits for another tunnel's is not late yet."""


class Start:
    """One start, in a thread of its own.

    Attributes:
        is_over: Whether nobody wants it any more.
    """

    def __init__(
        self, settings: PyngrokConfig, take: Callable[[str], None], read: Callable[[IO[str]], None]
    ) -> None:
        """Remember whom to tell.

        Args:
            settings: The agent's.
            take: Gets each line that it prints until it is connected, or has ended.
            read: Reads what it prints until its end.
        """
        self.is_over = False
        self._settings, self._take, self._read = settings, take, read
        self._started: NgrokProcess | None = None
        settings.log_event_callback = self._on_log

    def run(self, begin: Callable[[], object]) -> NgrokProcess:
        """Start the agent and wait until it is connected.

        Args:
            begin: Called when it is this one's turn.

        Raises:
            PyngrokError: It is not; all that it said has been taken.
            OSError: It cannot be started.
            TimeoutError: Nobody wants it any more.
        """
        while not _STARTING.acquire(timeout=0.2):
            if self.is_over:
                raise TimeoutError
        try:
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                begin()
            return process.get_process(self._settings)
        except PyngrokError:
            self._hear_out()
            raise
        finally:
            _STARTING.release()

    def _on_log(self, line: NgrokLog) -> None:
        # Nothing public leads to it before it is connected. Without it, we know what pyngrok does.
        known: dict[str, NgrokProcess] = getattr(process, "_current_processes", {})
        self._started = known.get(self._settings.ngrok_path, self._started)
        self._take(line.line)

    def _hear_out(self) -> None:
        """Take in what an agent has said that has ended."""
        program = None if self._started is None else self._started.proc
        if program is None or program.stdout is None or program.poll() is None:
            return
        # A child of it may hold its output open for longer.
        reader = threading.Thread(target=self._read, args=(program.stdout,), daemon=True)
        reader.start()
        reader.join(LAST_WORDS_S)
        if not reader.is_alive():
            program.stdout.close()
