"""Which process is meant: the container's PID, a host PID, a name, or the container's own main process. Pure."""

from __future__ import annotations

import fnmatch
import functools
import tomllib
from collections.abc import Iterable, Sequence

from debugrun.core import package_data
from debugrun.core.know.printable import printable
from debugrun.errors import TargetError
from debugrun.values import dataclass

SHELLS = frozenset({"sh", "ash", "bash", "busybox", "dash", "ksh", "zsh"})
COLUMNS = ("PID", "PARENT", "HOST PID", "CPU", "STATE", "THREADS", "UID", "COMMAND")
_COMMAND = 100  # characters of a command line in a table
_COMM_LENGTH = 15  # proc_pid_comm(5): TASK_COMM_LEN is 16 with its NUL


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One process as a person picks it. `pid` and `ppid` (0: outside) are the container's, `uid` is effective.

    `host_pid` is None where it can't be seen. `command` is its command line without secrets, fit for a terminal, ""
    where it has none or that was not looked at; `cpu` the seconds that it has used. `shell_command` says that it is a
    shell run as `sh -c ...`. `own` is False for a process of another container in the same PID namespace.
    """

    pid: int
    comm: str
    command: str = ""
    cpu: float | None = None
    ppid: int = 0
    state: str = "S"
    uid: int = 0
    threads: int = 1
    host_pid: int | None = None
    shell_command: bool = False
    own: bool = True

    def cells(self) -> tuple[str, ...]:
        """The row as text, one for each of COLUMNS; "?" for what is not known."""
        host = "?" if self.host_pid is None else str(self.host_pid)
        cpu = "?" if self.cpu is None else f"{int(self.cpu // 60)}:{self.cpu % 60:05.2f}"
        return (
            *(str(number) for number in (self.pid, self.ppid)), host, cpu, self.state, str(self.threads),
            str(self.uid), self.command or f"[{printable(self.comm)}]",
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Ambiguous:
    """Several processes may be meant: `rows`, by PID, and why in a few words."""

    rows: tuple[Row, ...]
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What was asked: at most one of them; none: the main process, or what its init started."""

    pid: int | None = None
    host_pid: int | None = None
    comm: str | None = None


def table(rows: Iterable[Row]) -> list[str]:
    """The rows as lines for a person, headed, no column empty."""
    cells = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(each[at]) for each in cells) for at in range(len(COLUMNS) - 1)]
    return [
        "  ".join([*(cell.rjust(width) for cell, width in zip(each, widths, strict=False)), each[-1][:_COMMAND]])
        for each in cells
    ]


@functools.cache
def known(kind: str) -> tuple[str, ...]:
    """The names of one kind in data/supervisors.toml: `inits` or `supervisors`."""
    return tuple(str(tomllib.loads(package_data.text("supervisors.toml"))[kind]).split())


def is_init(row: Row) -> bool:
    """Whether a main process only starts another one: a known init, or `sh -c ...`."""
    return row.comm in known("inits") or row.shell_command


def is_supervisor(comm: str) -> bool:
    """Whether the work of such a program is done in its children."""
    return any(fnmatch.fnmatchcase(comm, name) for name in known("supervisors"))


def workers(rows: Sequence[Row], pid: int) -> tuple[Row, ...]:
    """The children of a supervisor that run, the busiest first; () for another program."""
    row = next((each for each in rows if each.pid == pid), None)
    if row is None or not is_supervisor(row.comm):
        return ()
    children = [each for each in rows if each.ppid == pid and each.own and each.state not in "ZX"]
    return tuple(sorted(children, key=lambda each: (-(each.cpu or 0), each.pid)))


def select(rows: Sequence[Row], wanted: Wanted, *, main: int, container: str) -> Row | Ambiguous:
    """The process that is meant. `main` is the PID of the container's main process.

    Raises TargetError when there is none: no such PID or name, or the process is a zombie.
    """
    if wanted.pid is not None:
        return _alive(_by_pid(rows, wanted.pid, container), container)
    if wanted.host_pid is not None:
        return _alive(_by_host_pid(rows, wanted.host_pid, container), container)
    if wanted.comm is not None:
        return _by_name(rows, wanted.comm, container)
    return _default(rows, _by_pid(rows, main, container), container)


def _by_pid(rows: Iterable[Row], pid: int, container: str) -> Row:
    rows = list(rows)
    for row in rows:
        if row.pid == pid:
            return row
    same = next((row for row in rows if row.host_pid == pid), None)
    if same is not None:
        message = f"{container} has no PID {pid}: that is the host's number of its PID {same.pid} {same.comm!r}"
        raise TargetError("host-pid-given", message, f"use {same.pid}, or --host-pid {pid}")
    raise TargetError("no-such-pid", f"{container} has no PID {pid}", f"docker top {container}")


def _by_host_pid(rows: Iterable[Row], host_pid: int, container: str) -> Row:
    rows = list(rows)
    for row in rows:
        if row.host_pid == host_pid:
            return row
    if all(row.host_pid is None for row in rows):
        message = f"the host PIDs of {container} can't be seen from here"
        raise TargetError("host-pid-unseen", message, "give the PID that the container itself has, or --name")
    message = f"the host's PID {host_pid} is not a process of {container}"
    raise TargetError("not-in-container", message, f"docker top {container}")


def _by_name(rows: Sequence[Row], comm: str, container: str) -> Row | Ambiguous:
    """The exact name first, then names that begin with it, then command lines that hold it.

    A dead process counts only where no other has the name.
    """
    typed = comm.encode(errors="surrogateescape")
    named = typed[:_COMM_LENGTH].decode(errors="replace" if len(typed) <= _COMM_LENGTH else "ignore")
    for matches in (
        [r for r in rows if r.comm == named],
        [r for r in rows if r.comm.startswith(named)],
        [r for r in rows if comm in r.command],
    ):
        own = [row for row in matches if row.own] or matches
        alive = [row for row in own if row.state not in "ZX"] or own[:1]
        if len(alive) == 1:
            return _alive(alive[0], container)
        if alive:
            return Ambiguous(rows=_sorted(alive), why=f"{len(alive)} processes are called {comm!r}")
    import difflib  # noqa: PLC0415 - only to help

    names = list(dict.fromkeys(row.comm for row in rows if row.own))
    near = difflib.get_close_matches(comm, names, n=1)
    seen = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")  # noqa: PLR2004 - what fits on one line
    hint = f"--name {near[0]}" if near else f"its processes: {seen}"
    raise TargetError("no-such-name", f"no process of {container} is called {comm!r}", hint)


def _default(rows: Sequence[Row], main: Row, container: str) -> Row | Ambiguous:
    """The main process, or what it started when it is an init: down through inits that started inits."""
    found: dict[int, Row] = {}
    seen: set[int] = set()
    front = [main]
    while front:
        row = front.pop()
        seen.add(row.pid)
        children = [r for r in rows if r.ppid == row.pid and r.own and r.state not in "ZX" and r.pid not in seen]
        if is_init(row) and children:
            front.extend(children)
        else:
            found[row.pid] = row
    if len(found) == 1:
        return _alive(next(iter(found.values())), container)
    return Ambiguous(rows=_sorted(found.values()), why=f"PID {main.pid} is {main.comm!r}, which started {len(found)}")


def _alive(row: Row, container: str) -> Row:
    if row.state in "ZX":
        message = (
            f"PID {row.pid} {row.comm!r} of {container} is a zombie: it has exited, and its parent has not reaped it"
        )
        raise TargetError("zombie", message, f"its parent is PID {row.ppid}" if row.ppid else "")
    return row


def _sorted(rows: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=lambda row: row.pid))
