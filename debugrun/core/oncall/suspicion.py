"""Which process to look at first, and why: a score and a reason for each, from what a look has found. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from debugrun.core.oncall.processes import Process, Thread, Wait
from debugrun.core.oncall.waits import MANY, WRITES, Words, cycle, describe, outward, telling
from debugrun.values import dataclass

PATIENCE = 1.0  # seconds that an answer may take before it is worth a line
BUSY = 80.0  # percent of a processor
NEARLY = 0.9  # of a limit
# What PostgreSQL writes into its title (backend_status.c, ps_status.c): said by the process of itself.
_WAITS = re.compile(r"^postgres: .* waiting$")
_HOLDS = re.compile(r"^postgres: .* idle in transaction( \(aborted\))?$")


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How much a process looks like the cause, 0 (not at all) to 100, and what says so."""

    score: int = 0
    reason: str = ""


def suspect(process: Process, words: Words) -> Suspicion:
    """The strongest suspicion about a process."""
    found = [*_of_state(process), *_of_title(process), *_of_threads(process, words)]
    return max(found, key=lambda each: each.score, default=Suspicion())


def _of_state(process: Process) -> Iterable[Suspicion]:
    if process.state == "T":
        yield Suspicion(80, "stopped by a signal: it goes on at SIGCONT")
    if process.tracer or process.state == "t":
        yield Suspicion(75, f"traced by PID {process.tracer}" if process.tracer else "stopped by its tracer")
    if process.state == "Z":
        yield Suspicion(30, "dead, and its parent has not reaped it")
    if process.files is not None and process.files_limit and process.files >= NEARLY * process.files_limit:
        yield Suspicion(70, f"{process.files} of {process.files_limit} file descriptors are open")
    if process.cpu >= BUSY:
        yield Suspicion(55, f"busy: {process.cpu:.0f} % of a processor")


def _of_title(process: Process) -> Iterable[Suspicion]:
    title = process.command[0] if process.command else ""
    if _HOLDS.match(title):
        yield Suspicion(85, "holds a transaction open, and its locks, while its client does nothing")
    if _WAITS.match(title):
        yield Suspicion(65, "waits for a lock, as PostgreSQL says")


def _of_threads(process: Process, words: Words) -> Iterable[Suspicion]:
    if ring := cycle(process):
        yield Suspicion(95, f"deadlock: threads {', '.join(map(str, ring))} wait for each other")
    for thread in process.threads:
        found = _of_thread(thread, process, words)
        if found.score:
            yield found


def _of_thread(thread: Thread, process: Process, words: Words) -> Suspicion:
    said = describe(thread, process, words)
    if thread.state == "D":
        return Suspicion(60, f"cannot be interrupted: {said} (a disk, a network file system?)")
    if thread.wait is None or thread.state != "S" or (thread.idle is not None and thread.idle < PATIENCE):
        return Suspicion()
    return _of_wait(thread, thread.wait, process, said)


def _of_wait(thread: Thread, wait: Wait, process: Process, said: str) -> Suspicion:
    """A thread that waits for longer than a moment."""
    longer = min(9, int(thread.idle or 0.0) // 10)
    end = telling(wait.ends, process)
    if said.startswith("futex held"):
        return Suspicion(40 + longer, said)
    if wait.call in {"flock", "fcntl"}:
        return Suspicion(60, f"waits for a file lock: {said}")
    if end is not None and outward(end, process):
        one_of_many = wait.call in MANY and len(wait.ends) > 1
        return Suspicion((20 if one_of_many else 45) + longer, f"waits for an answer: {said}")
    if end is not None and wait.call in WRITES:
        return Suspicion(40 + longer, f"nobody takes what it writes: {said}")
    if end is not None and end.kind == "pipe" and wait.call not in MANY:
        return Suspicion(10 + longer, said)
    return Suspicion()
