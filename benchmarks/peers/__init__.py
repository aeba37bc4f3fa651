"""All servers that are compared, in the order of the tables."""

from benchmarks.peer import Peer
from benchmarks.peers.bare import Pty
from benchmarks.peers.node import Original, Wetty
from benchmarks.peers.ssh import Ssh
from benchmarks.peers.terminado import Terminado
from benchmarks.peers.ttybridge import Ttybridge
from benchmarks.peers.ttyd import Ttyd

ALL: tuple[Peer, ...] = (*(Ttybridge(), Ttyd(), Original(), Terminado(), Wetty(), Ssh(), Pty()),)
