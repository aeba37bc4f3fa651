"""What the web server uses of its limits."""

import asyncio

from ttybridge.core.limits import Use
from ttybridge.core.meter import Meter
from ttybridge.core.throttle import MAX_WAITING, Throttle
from ttybridge.web.colab import ColabEntrance
from ttybridge.web.colab_ssh import ColabSshEntrance
from ttybridge.web.doorway import Doorway
from ttybridge.web.engine import Engine


class Measures:
    """Looks at the parts of the web server.

    Attributes:
        meter: What they count.
    """

    def __init__(
        self,
        engine: Engine,
        colab: ColabEntrance,
        ssh: ColabSshEntrance,
        doorway: Doorway,
        throttle: Throttle,
        meter: Meter,
    ) -> None:
        """Remember the parts."""
        self._engine, self._colab, self._ssh = engine, colab, ssh
        self._doorway, self._throttle, self.meter = doorway, throttle, meter

    def bytes(self) -> tuple[int, int]:
        """Return the bytes that clients have sent and got over the web address."""
        return self._doorway.bytes()

    def uses(self) -> list[Use]:
        """Return the limits of the web server, and what is used of them."""
        engine, doorway, meter = self._engine, self._doorway, self.meter
        bounds, largest, lines = engine.bounds, meter.largest_bytes, meter.most_lines
        now = asyncio.get_running_loop().time()
        joining = max(engine.joining(), self._colab.joining)
        return [
            Use("ssh_connections", "--max-ssh", self._ssh.limit, self._ssh.count),
            Use("handshakes_per_client", "--max-handshakes", bounds.handshakes, joining),
            Use("pending_connections", "--max-pending", bounds.pending, doorway.pending),
            Use("join_seconds", "--join-timeout", engine.join_timeout_s, engine.joining_s(now)),
            Use("head_seconds", "--head-timeout", bounds.head_timeout_s, doorway.head_s(now)),
            Use("body_seconds", "--body-timeout", bounds.body_timeout_s, meter.body_s(now)),
            Use("message_bytes", "--max-message", bounds.message_bytes, largest, is_peak=True),
            Use("attachments", "", 0, 0),
            Use("log_lines_per_connection", "--log-lines", bounds.log_lines, lines, is_peak=True),
            Use("waiting_wrong_tokens", "", MAX_WAITING, self._throttle.waiting),
        ]
