"""What the running bridge uses of its limits, and all of its numbers for `/metrics`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ttybridge import __version__
from ttybridge.config import Config
from ttybridge.core.limits import Use
from ttybridge.core.metrics import Family, Sample, by_label, counter, gauge
from ttybridge.core.permissions import Entrance
from ttybridge.model import Role
from ttybridge.recordings import Recordings
from ttybridge.sessions.door import MAX_WAITING
from ttybridge.sessions.hub import Hub
from ttybridge.web.serving import Serving

if TYPE_CHECKING:  # one is only there with an option
    from ttybridge.adapters.process import Lag
    from ttybridge.public import Public
    from ttybridge.ssh.companion import Companion

WAYS = (Entrance.PAGE, Entrance.CONNECT, Entrance.COLAB, Entrance.SSH)
"""How clients of the session come in."""


class Usage:
    """Looks at the parts of the running bridge, all of which are there."""

    def __init__(
        self,
        config: Config,
        hub: Hub,
        serving: Serving,
        recordings: Recordings,
        sshd: "Companion | None",
        public: "Callable[[], Public | None]",
    ) -> None:
        """Remember the parts.

        Args:
            config: The options.
            hub: The session.
            serving: The web server.
            recordings: The recordings.
            sshd: The companion sshd; None without --ssh.
            public: Returns the tunnel; None without one, or before it is open.
        """
        self._config, self._hub, self._serving = config, hub, serving
        self._recordings, self._sshd, self._public = recordings, sshd, public

    def uses(self) -> list[Use]:
        """Return every limit, and what is used of it."""
        config, hub = self._config, self._hub
        here = hub.attachments
        viewers = sum(each.role is Role.VIEWER and each.follows for each in here)
        state = self._recordings.state()
        written = state["bytes"] if state else 0
        total = self._recordings.total_bytes
        return [
            Use("clients", "--max-clients", config.max_clients, len(here) - viewers),
            Use("viewers", "--max-viewers", config.max_viewers, viewers),
            Use("waiting_people", "", MAX_WAITING, len(hub.people.door.rows)),
            *self._serving.measures.uses(),
            Use(
                "recording_bytes",
                "--record-limit",
                config.record_limit_bytes,
                written if isinstance(written, int) else 0,
            ),
            Use("recordings_bytes", "--record-total", config.record_total_bytes, total),
        ]

    def status(self) -> dict[str, object]:
        """Return the part of docs/control.md's `status` that is about limits."""
        meter = self._serving.measures.meter
        return {
            "limits": [
                {
                    "name": use.name,
                    "option": use.option,
                    "limit": _short(use.limit),
                    "inUse": _short(use.in_use),
                    "isPeak": use.is_peak,
                }
                for use in self.uses()
            ],
            "refused": dict(meter.refused),
            "notLogged": meter.not_logged,
        }

    def families(self, lag: "Lag") -> list[Family]:
        """Return the numbers for `/metrics`. No name, address or secret is among them."""
        uses, measures = self.uses(), self._serving.measures
        received, sent = measures.bytes()
        state = self._recordings.state()
        limits = {use.name: use.limit for use in uses}
        in_use = {use.name: use.in_use for use in uses}
        return [
            by_label("gauge", "ttybridge_info", "The program.", "version", {__version__: 1}),
            by_label("gauge", "ttybridge_limit", "How much there may be.", "name", limits),
            by_label(
                "gauge",
                "ttybridge_in_use",
                "How much of it there is; of messages and log lines, the most so far.",
                "name",
                in_use,
            ),
            by_label(
                "counter",
                "ttybridge_refused_total",
                "What was refused, by reason: docs/security.md lists them.",
                "reason",
                measures.meter.refused,
            ),
            counter(
                "ttybridge_log_lines_left_out_total",
                "Log lines about bad connections that had been worth enough of them.",
                measures.meter.not_logged,
            ),
            counter(
                "ttybridge_received_bytes_total",
                "Bytes that came over TCP connections to the web address.",
                received,
            ),
            counter(
                "ttybridge_sent_bytes_total",
                "Bytes that clients of the web address have got.",
                sent,
            ),
            self._clients(),
            gauge("ttybridge_recording", "Whether the session is recorded.", state is not None),
            *self._ways_in(),
            *_process(lag),
        ]

    def _clients(self) -> Family:
        here = [(each.role, each.person.entrance) for each in self._hub.attachments]
        samples = tuple(
            Sample(here.count((role, way)), {"role": role.value, "entrance": way.value})
            for role in Role
            for way in WAYS
        )
        return Family("ttybridge_clients", "gauge", "Clients of the session.", samples)

    def _ways_in(self) -> list[Family]:
        found = []
        if self._config.is_public:
            public = self._public()
            is_open = public is not None and public.state == "open"
            found.append(gauge("ttybridge_tunnel_up", "Whether the tunnel is open.", is_open))
        if self._sshd is not None:
            is_up = self._sshd.daemon.is_up
            found.append(gauge("ttybridge_sshd_up", "Whether sshd listens.", is_up))
        return found


def _process(lag: "Lag") -> list[Family]:
    from ttybridge.adapters.process import look

    process = look()
    longest_s = lag.longest_s()
    return [
        Family(
            "ttybridge_event_loop_lag_seconds",
            "histogram",
            "How late the event loop was, looked at four times a second.",
            lag.delays.samples(),
        ),
        gauge(
            "ttybridge_event_loop_lag_max_seconds",
            "The longest of those since the last scrape.",
            longest_s,
        ),
        gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes),
        counter("process_cpu_seconds_total", "Processor time.", process.cpu_s),
        gauge("process_open_fds", "Open descriptors.", process.descriptors),
        gauge("process_max_fds", "Descriptors that may be open.", process.max_descriptors),
        gauge("process_threads", "Threads.", process.threads),
    ]


def _short(value: float) -> float:
    """Return a whole number as an integer, others with milliseconds."""
    return int(value) if value == int(value) else round(value, 3)
