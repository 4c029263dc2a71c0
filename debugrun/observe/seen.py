"""The processes of a container as they were seen, by whatever means, and the one of them that is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from debugrun.core.ask.selection import Ambiguous, Row, Wanted, select, table, workers
from debugrun.core.know import procfs
from debugrun.core.know.facts import ContainerFacts, HostFacts, ProcessFacts
from debugrun.core.know.json_access import Json
from debugrun.core.know.masked import command_line
from debugrun.core.know.procfs import Reading
from debugrun.errors import DebugrunError, TargetError
from debugrun.observe import hostproc
from debugrun.values import dataclass

if TYPE_CHECKING:
    from debugrun.observe.scout import Identity, Survey


class Describing(Protocol):
    """Who can say what a container of that name or id is called."""

    def inspect_container(self, ref: str) -> Json:
        """Its description. Raises DebugrunError."""


class AmbiguousError(TargetError):
    """Several processes may be meant: `rows`, for a picker."""

    def __init__(self, choice: Ambiguous, container: str) -> None:
        self.rows = choice.rows
        listed = tuple(f"  {line}" for line in table(choice.rows))
        hint = "give its PID, or a part of its command line: --name TEXT"
        super().__init__("several-processes", f"which process of {container}? {choice.why}", hint, lines=listed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What was seen of the container's processes: `depth` PID namespaces below the reader's.

    `main` is the container's own main process, `main_known` says whether surely; `dumpable` and `thread_of` look
    closer.
    """

    readings: Sequence[Reading]
    main: Reading
    main_known: bool
    depth: int
    host: HostFacts
    local: bool
    dumpable: Callable[[Reading], bool | None]
    thread_of: Callable[[int], Reading | None]
    by_target: Callable[[Reading], tuple[str, ...]] = lambda _: ()  # the kernel's word, all of it


def by_survey(survey: Survey, peer: Identity | None, container: ContainerFacts, wanted: Wanted) -> Seen:
    """What scouts, one of them as `peer`, have seen of a container. Raises TargetError: its main process is missing."""
    from debugrun.observe import scout  # noqa: PLC0415 - for engines elsewhere

    shared = container.pid_mode != ""
    by_pid = {reading.status.pid: reading for reading in survey.readings}
    main = by_pid.get(1)
    if shared:
        # Of the container's processes the one that was started first: PIDs are given in ascending order.
        own = [r for r in survey.readings if procfs.names_container(r.cgroup, container.id)]
        main = by_pid.get(container.pid) if container.pid_mode == "host" else next(iter(own), None)
    main_known = main is not None
    if shared and main is None:
        main = by_pid.get(wanted.pid or 0)
        if main is None:
            message = f"{container.name} shares its PID namespace, and no cgroup tells which processes are its own"
            raise TargetError("main-unknown", message, f"give the PID: docker top {container.name}")
    if main is None:
        raise TargetError("gone", f"{container.name} has just ended", f"docker logs --tail 20 {container.name}")
    return Seen(
        readings=[reading for reading in survey.readings if reading.status.tgid == reading.status.pid],
        main=main,
        main_known=main_known,
        depth=0,
        host=survey.host,
        local=False,
        dumpable=lambda reading: scout.dumpable(survey, reading, peer),
        by_target=lambda reading: scout.by_target(survey, reading, peer),
        thread_of=lambda tid: by_pid.get(by_pid[tid].status.tgid, by_pid[tid]) if tid in by_pid else None,
    )


def observed_process(engine: Describing, container: ContainerFacts, wanted: Wanted, seen: Seen) -> ProcessFacts:
    """The process that is meant. Raises TargetError: none, a thread, a zombie, traced already."""
    rows = [_row(reading, container, seen) for reading in seen.readings]
    main = seen.main.status.ns_pids[seen.depth]
    try:
        chosen = select(rows, wanted, main=main, container=container.name)
    except TargetError as error:
        if error.code == "no-such-pid" and wanted.pid is not None:
            _refuse_thread(wanted.pid, container, seen)
        raise
    if isinstance(chosen, Ambiguous):
        raise AmbiguousError(chosen, container.name)
    reading = next(r for r in seen.readings if r.status.ns_pids[seen.depth] == chosen.pid)
    facts = procfs.process_facts(
        reading,
        depth=seen.depth,
        ppid=chosen.ppid,
        dumpable=seen.dumpable(reading),
        host_pid=_host_pid(reading, seen, container),
        by_target=seen.by_target(reading),
    )
    if facts.tracer:
        raise _traced(engine, facts, container, seen)
    return facts


def tell_of_workers(
    container: ContainerFacts, seen: Seen, pid: int, note: Callable[[Row, tuple[Row, ...]], None]
) -> None:
    """Tell `note` of the process, where it is a supervisor, and of those whose work it oversees."""
    rows = [_row(reading, container, seen) for reading in seen.readings]
    if found := workers(rows, pid):
        note(next(row for row in rows if row.pid == pid), found)


def _host_pid(reading: Reading, seen: Seen, container: ContainerFacts) -> int | None:
    """A scout sees none: of the main process the engine says it."""
    if seen.local:
        return reading.status.pid
    return container.pid if seen.main_known and reading is seen.main else None


def _row(reading: Reading, container: ContainerFacts, seen: Seen) -> Row:
    status = reading.status
    return Row(
        pid=status.ns_pids[seen.depth],
        ppid=_parent(reading, seen),
        comm=status.comm,
        command=command_line(reading.words),
        cpu=reading.cpu,
        state=status.state,
        uid=procfs.inside(status.uids[1], reading.uid_map),
        threads=status.threads,
        host_pid=_host_pid(reading, seen, container),
        shell_command=reading.shell_command,
        own=_is_own(reading, container, seen),
    )


def _is_own(reading: Reading, container: ContainerFacts, seen: Seen) -> bool:
    """Whether a process is of the container itself: not a sidecar's, nor of one whose PID namespace it shares.

    Rootless engines may give containers no cgroup of their own: then the mounts tell, on this machine. What can't be
    told apart counts as own.
    """
    if procfs.names_container(seen.main.cgroup, container.id):
        return procfs.names_container(reading.cgroup, container.id)
    if seen.local and hostproc.has_mounts_of(seen.main.status.pid, container.id):
        return hostproc.has_mounts_of(reading.status.pid, container.id)
    return procfs.container_of(reading.cgroup) is None


def _parent(reading: Reading, seen: Seen) -> int:
    """The parent's PID as the container has it; 0 when the parent is outside."""
    ppid = reading.status.ppid
    if seen.depth == 0 or ppid == 0:
        return ppid
    parent = next((r for r in seen.readings if r.status.pid == ppid), None)
    return parent.status.ns_pids[seen.depth] if parent is not None else 0


def _refuse_thread(tid: int, container: ContainerFacts, seen: Seen) -> None:
    """Raise the better error when that PID is one of a thread."""
    process = seen.thread_of(tid)
    if process is not None:
        pid = process.status.ns_pids[seen.depth]
        message = f"{tid} is a thread of PID {pid} {process.status.comm!r} of {container.name}"
        raise TargetError("thread", message, f"give the process: {pid}")


def _traced(engine: Describing, process: ProcessFacts, container: ContainerFacts, seen: Seen) -> TargetError:
    """One tracer at a time (ptrace(2)): who it is, as far as can be seen."""
    tracer = hostproc.read(process.tracer) if seen.local else None
    if tracer is None:
        tracer = next((r for r in seen.readings if r.status.pid == process.tracer), None)
    comm = repr(tracer.status.comm) if tracer is not None else "a process"
    id_ = procfs.container_of(tracer.cgroup) if tracer is not None else None
    where = ""
    if id_ is not None:
        where = f" in container {_name_of(engine, id_)}"
    elif seen.local and tracer is not None:
        where = " on the host"
    message = f"PID {process.pid} of {container.name} is traced already, by {comm} (PID {process.tracer}){where}"
    return TargetError("traced", message, "end that one first: a process has one tracer at a time")


def _name_of(engine: Describing, container_id: str) -> str:
    try:
        return str(engine.inspect_container(container_id).get("Name", container_id)).removeprefix("/")
    except DebugrunError:
        return container_id[:12]


def cross_checked(container: ContainerFacts, seen: Seen) -> ContainerFacts:
    """The configuration against the main process: what the kernel says wins where both can't be true.

    A process may give capabilities up, never gain them: more in its bounding set than was computed means that this
    engine's defaults are others. Nor can it take a seccomp filter off: none in force means that none was set.
    """
    if seen.local and container.memory_limit and procfs.names_container(seen.main.cgroup, container.id):
        container = replace(container, memory_used=hostproc.memory_used(seen.main.cgroup))
    status = seen.main.status
    real = procfs.names(status.bounding)
    if container.capabilities is None or set(real) - set(container.capabilities):
        container = replace(container, capabilities=real)
    if status.seccomp == 0 and container.seccomp != "unconfined":
        container = replace(container, seccomp="unconfined", seccomp_profile=None)
    return container
