"""What a thread waits for, in words: `poll <- tcp db:5432`, `read <- pipe of worker/8`, `futex held by 12`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from debugrun.core.know.printable import printable
from debugrun.core.oncall.processes import Census, End, Process, Thread, Wait
from debugrun.values import dataclass

READS = frozenset(
    "read readv pread64 preadv recvfrom recvmsg recvmmsg accept accept4 poll ppoll select pselect6 epoll_wait "  # noqa: SIM905 - words read better
    "epoll_pwait epoll_pwait2 getdents64".split()
)
WRITES = frozenset(
    "write writev pwrite64 pwritev sendto sendmsg sendmmsg connect sendfile splice".split()  # noqa: SIM905 - the same
)
MANY = frozenset("poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2".split())  # noqa: SIM905 - the same
SLEEPS = {"nanosleep": "sleep", "clock_nanosleep": "sleep", "pause": "pause", "rt_sigsuspend": "sigsuspend"}
CHILDREN = frozenset(("wait4", "waitid"))
LOCAL = frozenset(("127.0.0.1", "::1"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """How ends are named: `hosts` are containers by their address, `census` knows who holds a pipe."""

    census: Census
    hosts: Mapping[str, str]


def outward(end: End, process: Process) -> bool:
    """Whether a connection was opened by this side: nobody listens here on its port."""
    return end.kind == "tcp" and end.state in {"ESTABLISHED", "SYN_SENT"} and end.port not in process.listening


def telling(ends: tuple[End, ...], process: Process) -> End | None:
    """The end that says most about a wait for several: an answer from elsewhere, then a client, then a door."""
    ranks = {"ESTABLISHED": 1, "CLOSE_WAIT": 1, "LISTEN": 3}

    def rank(end: End) -> int:
        if outward(end, process):
            return 0
        if end.kind == "pipe":
            return 2
        return ranks.get(end.state, 4)

    return min(ends, key=rank, default=None)


def describe(thread: Thread, process: Process, words: Words) -> str:
    """What the thread does or waits for; "?" where the kernel tells us nothing."""
    if thread.state in "RZXTt":
        named = {"R": "runs", "Z": "dead, its parent has not reaped it", "X": "dead", "T": "stopped by a signal"}
        return named.get(thread.state, "stopped by its tracer")
    if thread.wait is None:
        return printable(thread.kernel) or "?"
    if thread.wait.call == "futex":
        return f"futex held by thread {thread.wait.holder}" if _held(thread, process) else "futex"
    return _called(thread.wait, process, words)


def _called(wait: Wait, process: Process, words: Words) -> str:
    call, end = wait.call, telling(wait.ends, process)
    if call in CHILDREN:
        return f"{call} <- child {wait.child}" if wait.child > 0 else f"{call} <- any child"
    if end is None or end.kind == "unknown":
        return SLEEPS.get(call, call)
    arrow = "->" if call in WRITES else "<-" if call in READS else "on"
    others = len(wait.ends) - 1
    more = f" +{others}" if others > 0 and call in MANY else ""
    return f"{call} {arrow} {_end(end, process, words, writing=call in WRITES)}{more}"


def _held(thread: Thread, process: Process) -> bool:
    """Whether the futex is held by another thread that there is: what lies in memory there may be anything."""
    assert thread.wait is not None  # noqa: S101 - as the caller has seen
    holder = thread.wait.holder
    return holder != thread.tid and any(each.tid == holder for each in process.threads)


def _end(end: End, process: Process, words: Words, *, writing: bool) -> str:
    if end.kind in {"tcp", "udp"}:
        return _inet(end, process, words)
    if end.kind == "pipe":
        return f"pipe{_others(end, process, words, writing=writing)}"
    if end.kind == "unix":
        return f"unix {printable(end.path)}" if end.path else "unix socket"
    if end.kind == "file":
        return printable(end.path)
    return printable(end.kind)


def _inet(end: End, process: Process, words: Words) -> str:
    if end.state == "LISTEN" or not end.peer_port:
        return f"{end.kind} :{end.port}"
    host = "localhost" if end.peer in LOCAL else words.hosts.get(end.peer, end.peer)
    host = f"[{host}]" if ":" in host else host
    if end.kind == "tcp" and not outward(end, process):
        return f"tcp client {host}" + (", which has closed it" if end.state == "CLOSE_WAIT" else "")
    return f"{end.kind} {host}:{end.peer_port}"


def _others(end: End, process: Process, words: Words, *, writing: bool) -> str:
    """The processes at the other end of a pipe; nothing where nobody is seen there."""
    own = (each for each in words.census.processes if each.container == process.container)
    by_seen = {each.seen: each for each in own}  # PIDs of two sidecars may be equal
    pids = dict.fromkeys(
        pid for pid, _, writes in words.census.pipes.get(end.inode, ()) if writes != writing and pid != process.seen
    )
    named = [f"{printable(by_seen[pid].name)}/{by_seen[pid].pid}" for pid in pids if pid in by_seen]
    if not named:
        return ""
    return f" of {named[0]}" + (f" +{len(named) - 1}" if len(named) > 1 else "")


def cycle(process: Process) -> tuple[int, ...]:
    """TIDs that wait for each other in a ring, the first that is found, from its lowest member on; () without one."""
    held = {each.tid: each.wait.holder for each in process.threads if each.wait is not None and each.wait.holder}
    for start in held:
        seen: list[int] = []
        at = start
        while at in held and at not in seen:
            seen.append(at)
            at = held[at]
        if at in seen and held[at] != at:
            ring = seen[seen.index(at) :]
            lowest = ring.index(min(ring))
            return tuple(ring[lowest:] + ring[:lowest])
    return ()
