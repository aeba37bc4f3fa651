"""What the processes of a server cost, without the program that they show."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer import Running
from benchmarks.processes import Cost, cost_of

NOTHING = Cost(0.0, 0, 0)


@dataclass(frozen=True, slots=True)
class Expense:
    """What a server and its tmux have cost so far."""

    server: Cost
    clients: Cost
    """Of tmux clients, and of processes that the server has for its sessions."""
    tmux: Cost

    @classmethod
    def of(cls, running: Running, mode: str) -> "Expense":
        """Look at all processes of a server."""
        pids = running.pids()
        clients = pids.get("clients", [])
        if mode == "direct":
            clients = [pid for pid in clients if not has_terminal(pid)]
        return cls(cost_of(pids.get("server", [])), cost_of(clients), cost_of(pids.get("tmux", [])))

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all."""
        return self.server.cpu_s + self.clients.cpu_s + self.tmux.cpu_s

    @property
    def has_server(self) -> bool:
        """Whether there is a server at all."""
        return self.server.count > 0


def has_terminal(pid: int) -> bool:
    """Tell whether a process is one that runs in a terminal, not one of the server's own."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[4] != "0"
