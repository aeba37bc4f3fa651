"""All rows of the table, in its order."""

from benchmarks.workload import Workload
from benchmarks.workloads.bulk import BULK, THIN
from benchmarks.workloads.echo import FLOODED, IDLE
from benchmarks.workloads.interrupt import INTERRUPT
from benchmarks.workloads.pageload import PAGE_LOAD
from benchmarks.workloads.polling import POLLING
from benchmarks.workloads.sessions import SESSIONS, START
from benchmarks.workloads.stall import STALL
from benchmarks.workloads.typing import TYPING
from benchmarks.workloads.viewers import VIEWERS

ALL: tuple[Workload, ...] = (
    *(IDLE, FLOODED, BULK, THIN, INTERRUPT, STALL, VIEWERS, SESSIONS, START, PAGE_LOAD),
    *(TYPING, POLLING),
)
