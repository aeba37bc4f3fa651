"""All servers that are compared, in the order of the tables."""

from benchmarks.peer import Peer
from benchmarks.peers.bare import Pty
from benchmarks.peers.ttybridge import Ttybridge
from benchmarks.peers.ttyd import Ttyd

ALL: tuple[Peer, ...] = (Ttybridge(), Ttyd(), Pty())
