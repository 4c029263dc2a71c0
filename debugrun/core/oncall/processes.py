"""The processes of containers as a look at them found them: plain values, decoded from what the look printed. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from debugrun.core.know.json_access import items, mapping, maps, text
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """One file descriptor that a thread waits for.

    `kind` is tcp, udp, unix, pipe, eventfd, file ... as the kernel names it; addresses are those of the container's
    network namespace. `unread` bytes have arrived and were not fetched.
    """

    fd: int
    kind: str
    path: str = ""
    inode: str = ""
    state: str = ""
    port: int = 0
    peer: str = ""
    peer_port: int = 0
    unread: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """The system call that a thread is in: what for. `holder` is the TID that looks like the owner of a lock."""

    call: str
    ends: tuple[End, ...] = ()
    futex: int = 0
    holder: int = 0
    child: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Thread:
    """One thread: `idle` is how many seconds ago it last ran. None: the kernel does not say, or not to us."""

    tid: int
    name: str
    state: str
    ticks: int
    idle: float | None
    kernel: str
    wait: Wait | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """One process. `pid` is the container's own number, `seen` the reader's; `cpu` is in percent of one processor.

    `parent` is the reader's. `command` is () for a kernel's or a dead one, None where reading it did not end.
    """

    container: str
    pid: int
    seen: int
    parent: int
    name: str
    state: str
    cpu: float
    age: float
    rss: int
    uid: int
    gid: int
    tracer: int
    count: int
    threads: tuple[Thread, ...]
    files: int | None
    files_limit: int | None
    command: tuple[str, ...] | None
    listening: frozenset[int]

    @property
    def main(self) -> Thread | None:
        """Its first thread."""
        return next((each for each in self.threads if each.tid == self.pid), next(iter(self.threads), None))


@dataclass(frozen=True, kw_only=True, slots=True)
class Census:
    """All that one look found. `pipes`: by inode, (reader's PID, fd, whether it can be written to) of each end."""

    processes: tuple[Process, ...]
    pipes: Mapping[str, tuple[tuple[int, int, bool], ...]]


def parse(printed: str) -> Census:
    """What data/oncall/census.py printed. Raises ValueError: it was cut off or is something else."""
    told = json.loads(printed)
    if not isinstance(told, dict) or told.get("schema") != 1:
        raise ValueError("not a census")
    pipes = {
        inode: tuple((int(pid), int(fd), bool(writes)) for pid, fd, writes in ends)
        for inode, ends in mapping(told, "pipes").items()
        if isinstance(ends, list)
    }
    return Census(processes=tuple(_process(each) for each in maps(told, "processes")), pipes=pipes)


def _process(told: Mapping[str, object]) -> Process:
    command = told.get("command")
    return Process(
        container=text(told, "container"),
        pid=_number(told, "inner"),
        seen=_number(told, "pid"),
        parent=_number(told, "parent"),
        name=text(told, "comm"),
        state=text(told, "state"),
        cpu=_real(told.get("cpu")) or 0.0,
        age=_real(told.get("age")) or 0.0,
        rss=_number(told, "rss"),
        uid=_number(told, "uid"),
        gid=_number(told, "gid"),
        tracer=_number(told, "tracer"),
        count=_number(told, "threads"),
        threads=tuple(_thread(each) for each in items(told, "seen") if isinstance(each, list)),
        files=None if told.get("files") is None else _number(told, "files"),
        files_limit=None if told.get("files_limit") is None else _number(told, "files_limit"),
        command=_words(command) if isinstance(command, str) else None,
        listening=frozenset(each for each in items(told, "listening") if isinstance(each, int)),
    )


def _words(command: str) -> tuple[str, ...]:
    """A command line as /proc has it: each word ends with a zero; a title may have lost them."""
    return tuple(command.rstrip("\0").split("\0")) if command else ()


def _thread(told: list[object]) -> Thread:
    tid, name, state, ticks, idle, kernel, wait = told
    return Thread(
        tid=int(str(tid)),
        name=str(name),
        state=str(state),
        ticks=int(str(ticks)),
        idle=_real(idle),
        kernel=str(kernel),
        wait=_wait(wait) if isinstance(wait, dict) else None,
    )


def _wait(told: Mapping[str, object]) -> Wait:
    futex = mapping(told, "futex")
    return Wait(
        call=text(told, "call"),
        ends=tuple(_end(each) for each in maps(told, "fds")),
        futex=_number(futex, "address"),
        holder=_number(futex, "holder"),
        child=_number(told, "child"),
    )


def _end(told: Mapping[str, object]) -> End:
    return End(
        fd=_number(told, "fd"),
        kind=text(told, "kind"),
        path=text(told, "path"),
        inode=text(told, "inode"),
        state=text(told, "state"),
        port=_number(told, "port"),
        peer=text(told, "peer"),
        peer_port=_number(told, "peer_port"),
        unread=_number(told, "unread"),
    )


def _number(told: Mapping[str, object], key: str) -> int:
    value = told.get(key)
    return value if isinstance(value, int) else 0


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
