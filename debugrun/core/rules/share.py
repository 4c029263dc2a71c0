"""How much of a host a sidecar may take. Pure.

A hostile target can make a debugger compute without end. But a tool that waits for processor time may hold its target
meanwhile, so the limit is wide: it leaves a quarter of the host to everybody else, and bites nothing that works.
"""

from __future__ import annotations

SHARE = 0.75  # of the host's processors
LEAST = 1.0  # processors
PERIOD = 100_000  # microseconds: the kernel's own, Documentation/scheduler/sched-bwc.rst


def processors(count: int) -> float:
    """Of a host with so many processors; 0.0: no limit, which can't be set (`count` is 0) or would be all of one."""
    share = max(LEAST, SHARE * count)
    return share if share < count else 0.0


def quota(share: float) -> int:
    """Microseconds of processor time in each PERIOD; 0: no limit."""
    return int(share * PERIOD)
