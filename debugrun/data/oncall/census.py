"""Look once at the processes of containers and at what each of their threads waits for; print it as one JSON object.

It reads /proc only: nobody is stopped, nothing is written. It runs in a sidecar (`containers` is then one id, and all
PIDs are the target's own) or on the engine's host. argv[1] is JSON:

    {"containers": {ID: main PID as we see it, 0 in a sidecar}, "interval": seconds, "calls": {number: name}}

A thread is [tid, state, cpu ticks, seconds since it last ran or null, wchan, wait]; a wait is {"call": name} with,
where it is known, "fds" (list of file descriptions), "futex", "child". Sources: proc(5), the kernel's
Documentation/filesystems/proc.rst, poll(2), futex(2).

The target is not trusted: a list has a limit, and a read of its memory, which it can make last for ever (a page that
lies in a file system of its own), is given up after a second.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import struct
import sys
import threading
import time

COMMAND_LINE = 4096  # bytes of it that are shown at most
THREADS = 4096  # of one process that are looked at
FDS = 4096  # of one process that are looked at when the other end of a pipe is sought
POLLED = 64  # file descriptors of one poll
SOCKETS = 200_000  # lines of a table of sockets
PATIENCE = 1.0  # seconds for a read of a target's memory
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CONTAINER = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
TCP_STATES = (
    "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
    "LAST_ACK", "LISTEN", "CLOSING",
)  # fmt: skip
# The first argument of these is a file descriptor.
BY_FD = frozenset(
    "read readv pread64 preadv write writev pwrite64 pwritev recvfrom recvmsg recvmmsg sendto sendmsg sendmmsg accept "
    "accept4 connect flock fcntl ioctl fsync fdatasync sendfile splice ftruncate getdents64 shutdown close".split()
)
BY_POLL = frozenset(("poll", "ppoll"))
BY_SELECT = frozenset(("select", "pselect6"))
BY_EPOLL = frozenset(("epoll_wait", "epoll_pwait", "epoll_pwait2"))
FUTEX_WAITERS = 0x80000000  # futex(2): FUTEX_WAITERS of a priority-inheritance lock; the rest is the owner's TID
LOCKED = 2  # glibc nptl/lowlevellock: a lock word that says locked, with waiters


def text(path: str, limit: int = 1 << 20) -> str:
    """A file's text; "" when it is gone or hidden."""
    try:
        with open(path, "rb") as file:
            return file.read(limit).decode(errors="surrogateescape")
    except OSError:
        return ""


def link(path: str) -> str:
    """Where a link leads; "" when it is gone or hidden."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def numbered(path: str) -> list[int]:
    """The entries of a folder that are numbers, in order; none when it is gone or hidden."""
    try:
        return sorted(int(name) for name in os.listdir(path) if name.isdigit())
    except OSError:
        return []


def bounded(function, *arguments):
    """What the function gives, or None when that takes longer than PATIENCE: its thread is left behind then."""
    result = []
    worker = threading.Thread(target=lambda: result.append(function(*arguments)), daemon=True)
    worker.start()
    worker.join(PATIENCE)
    return result[0] if result else None


class Memory:
    """The memory of a process, read without stopping it; b"" for what can't be read."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stuck = False

    def read(self, address: int, size: int) -> bytes:
        if self.stuck or not address:
            return b""
        data = bounded(self._read, address, size)
        self.stuck = data is None
        return data or b""

    def _read(self, address: int, size: int) -> bytes:
        try:
            fd = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.pread(fd, size, address)
        except (OSError, OverflowError):
            return b""
        finally:
            os.close(fd)


class Sockets:
    """The sockets of the network namespace that a process is in, by inode."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, dict]] = {}

    def find(self, pid: int, inode: str) -> dict:
        space = link(f"/proc/{pid}/ns/net") or str(pid)
        if space not in self._tables:
            self._tables[space] = self._read(pid)
        return self._tables[space].get(inode, {"kind": "socket"})

    def listening(self, pid: int) -> set[int]:
        """TCP ports that somebody listens on there."""
        space = link(f"/proc/{pid}/ns/net") or str(pid)
        table = self._tables.get(space, {})
        return {each["port"] for each in table.values() if each.get("state") == "LISTEN"}

    def _read(self, pid: int) -> dict[str, dict]:
        found: dict[str, dict] = {}
        for name in ("tcp", "tcp6", "udp", "udp6"):
            for line in lines(f"/proc/{pid}/net/{name}"):
                fields = line.split()
                if len(fields) > 9 and ":" in fields[1]:
                    found[fields[9]] = inet(name[:3], fields)
        for line in lines(f"/proc/{pid}/net/unix"):
            fields = line.split(None, 7)
            if len(fields) > 6 and fields[6].isdigit():
                path = fields[7].rstrip("\n") if len(fields) > 7 else ""
                found[fields[6]] = {"kind": "unix", "path": path}
        return found


def lines(path: str):
    """The lines of a table, without its head, up to a limit."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            next(file, None)
            for number, line in enumerate(file):
                if number >= SOCKETS:
                    return
                yield line
    except OSError:
        return


def inet(kind: str, fields: list[str]) -> dict:
    """A line of /proc/net/tcp or udp: addresses are words of the machine's byte order, in hexadecimal."""
    (local, port), (peer, peer_port) = (address(word) for word in fields[1:3])
    number = int(fields[3], 16)
    state = TCP_STATES[number] if kind == "tcp" and number < len(TCP_STATES) else ""
    sending, _, receiving = fields[4].partition(":")
    return {
        "kind": kind, "state": state, "local": local, "port": port, "peer": peer, "peer_port": peer_port,
        "unsent": int(sending, 16), "unread": int(receiving, 16),
    }  # fmt: skip


def address(word: str) -> tuple[str, int]:
    host, _, port = word.partition(":")
    raw = b"".join(struct.pack("=I", int(host[at : at + 8], 16)) for at in range(0, len(host), 8))
    found = ipaddress.ip_address(raw)
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found), int(port, 16)


class Look:
    """One look at all processes of interest."""

    def __init__(self, config: dict) -> None:
        self.containers = config["containers"]
        self.interval = config["interval"]
        self.calls = {int(number): name for number, name in config["calls"].items()}
        self.sockets = Sockets()
        self.pipes: set[str] = set()
        self.now = 0.0

    def members(self) -> dict[int, str]:
        """Container id by PID, of the processes that are of a container asked about."""
        ours = own_tree()
        spaces = {link(f"/proc/{pid}/ns/pid"): name for name, pid in self.containers.items() if pid}
        inside = next(iter(self.containers)) if 0 in self.containers.values() else None
        host = link("/proc/self/ns/pid")
        found = {}
        for pid in numbered("/proc"):
            named = CONTAINER.findall(text(f"/proc/{pid}/cgroup"))
            known = next((name for name in named if name in self.containers), None)
            if known is None and not named:
                space = link(f"/proc/{pid}/ns/pid")
                known = inside or (spaces.get(space) if space and space != host else None)
            if known is not None and pid not in ours:
                found[pid] = known
        return found

    def run(self) -> dict:
        members = self.members()
        before = {pid: ticks(pid) for pid in members}
        began = time.monotonic()
        time.sleep(self.interval)
        passed = time.monotonic() - began
        self.now = last_ran("/proc/self/sched") or 0.0
        uptime = float(text("/proc/uptime").split()[0])
        processes = []
        for pid, container in members.items():
            seen = self.process(pid, uptime)
            if seen is not None:
                used = max(0, seen.pop("ticks") - before[pid])
                processes.append({**seen, "container": container, "cpu": 100 * used / TICKS / passed})
        return {"schema": 1, "processes": processes, "pipes": self.pipe_ends(members)}

    def process(self, pid: int, uptime: float) -> dict | None:
        stat, status = stat_of(f"/proc/{pid}/stat"), status_of(pid)
        if stat is None or "Uid" not in status:
            return None
        memory = Memory(pid)
        command = bounded(text, f"/proc/{pid}/cmdline", COMMAND_LINE)
        memory.stuck = command is None
        threads = numbered(f"/proc/{pid}/task")
        listed = [self.thread(pid, tid, memory) for tid in threads[:THREADS]]
        inner = status.get("NSpid", str(pid)).split()
        files = numbered(f"/proc/{pid}/fd")
        limit = re.search(r"Max open files +(\d+)", text(f"/proc/{pid}/limits"))
        return {
            "pid": pid,
            "inner": int(inner[-1]),
            "parent": int(status.get("PPid", "0")),
            "comm": stat[0],
            "state": stat[1][0],
            "ticks": int(stat[1][11]) + int(stat[1][12]),
            "age": max(0.0, uptime - int(stat[1][19]) / TICKS),
            "rss": int((text(f"/proc/{pid}/statm").split() or [0, 0])[1]) * PAGE,
            "uid": inside(int(status["Uid"].split()[1]), pid),
            "gid": int(status["Gid"].split()[1]),
            "tracer": int(status.get("TracerPid", "0")),
            "threads": len(threads),
            "seen": [each for each in listed if each],
            "files": len(files) if os.access(f"/proc/{pid}/fd", os.R_OK) else None,
            "files_limit": int(limit[1]) if limit else None,
            "command": command,
            "listening": sorted(self.sockets.listening(pid)),
        }

    def thread(self, pid: int, tid: int, memory: Memory) -> list | None:
        place = f"/proc/{pid}/task/{tid}"
        stat = stat_of(f"{place}/stat")
        if stat is None:
            return None
        ran = last_ran(f"{place}/sched")
        idle = max(0.0, (self.now - ran) / 1000) if ran is not None and self.now else None
        used = int(stat[1][11]) + int(stat[1][12])
        kernel = text(f"{place}/wchan")
        inner = status_field(f"{place}/status", "NSpid") or str(tid)
        wait = self.wait(pid, text(f"{place}/syscall").split(), memory)
        return [int(inner.split()[-1]), stat[0], stat[1][0], used, idle, "" if kernel == "0" else kernel, wait]

    def wait(self, pid: int, words: list[str], memory: Memory) -> dict | None:
        """What /proc/PID/syscall says, decoded; None: it runs, or that is hidden."""
        if not words or words[0] in {"running", "-1"}:
            return None
        number, arguments = int(words[0]), [int(word, 16) for word in words[1:7]]
        if len(arguments) < 6:
            return None
        name = self.calls.get(number, str(number))
        if name == "futex":
            return {"call": name, "futex": self.futex(arguments, memory)}
        if name in {"wait4", "waitid"}:
            return {"call": name, "child": signed(arguments[name == "waitid"])}
        fds = self.waited_for(pid, name, arguments, memory)
        return {"call": name, "fds": [self.describe(pid, fd) for fd in fds]}

    def waited_for(self, pid: int, name: str, arguments: list[int], memory: Memory) -> list[int]:
        if name in BY_FD:
            return [signed(arguments[0])]
        if name in BY_POLL:
            data = memory.read(arguments[0], 8 * min(arguments[1], POLLED))
            whole = data[: len(data) & ~7]
            return [fd for fd, _, _ in struct.iter_unpack("=ihh", whole) if fd >= 0]
        if name in BY_SELECT:
            bits = b"".join(memory.read(at, (min(arguments[0], 1024) + 7) // 8) for at in arguments[1:3] if at)
            return [at for at in range(8 * len(bits)) if bits[at // 8] >> at % 8 & 1][:POLLED]
        if name in BY_EPOLL:
            info = text(f"/proc/{pid}/fdinfo/{signed(arguments[0])}", 64 * POLLED)
            return [int(fd) for fd in re.findall(r"(?m)^tfd: +(\d+) ", info)][:POLLED]
        return []

    @staticmethod
    def futex(arguments: list[int], memory: Memory) -> dict:
        """Where, and the TID that holds it if it looks like a lock of glibc's (struct __pthread_mutex_s)."""
        data = memory.read(arguments[0], 12)
        if len(data) < 12:
            return {"address": arguments[0]}
        word, _, owner = struct.unpack("=IIi", data)
        holder = owner if word == LOCKED else word & 0x3FFFFFFF if word & FUTEX_WAITERS else 0
        return {"address": arguments[0], "holder": holder} if holder > 0 else {"address": arguments[0]}

    def describe(self, pid: int, fd: int) -> dict:
        path = link(f"/proc/{pid}/fd/{fd}")
        kind, _, inode = path.partition(":[")
        inode = inode.rstrip("]")
        if kind == "socket" and inode:
            return {"fd": fd, "inode": inode, **self.sockets.find(pid, inode)}
        if kind == "pipe" and inode:
            self.pipes.add(inode)
            return {"fd": fd, "kind": "pipe", "inode": inode}
        if path.startswith("anon_inode:"):
            return {"fd": fd, "kind": path.removeprefix("anon_inode:").strip("[]")}
        return {"fd": fd, "kind": "file" if path else "unknown", "path": path}

    def pipe_ends(self, members: dict[int, str]) -> dict[str, list]:
        """[PID, fd, whether it can be written to] of the ends of each pipe that somebody waits for."""
        ends: dict[str, list] = {inode: [] for inode in self.pipes}
        for pid in members if self.pipes else ():
            for fd in numbered(f"/proc/{pid}/fd")[:FDS]:
                path = link(f"/proc/{pid}/fd/{fd}")
                inode = path.removeprefix("pipe:[").rstrip("]")
                if path.startswith("pipe:[") and inode in ends:
                    mode = os.lstat(f"/proc/{pid}/fd/{fd}").st_mode
                    ends[inode].append([pid, fd, bool(mode & 0o200)])
        return ends


def signed(word: int) -> int:
    """An argument of 64 bits as the int that it is."""
    return (word & 0xFFFFFFFF) - ((word & 0x80000000) << 1)


def own_tree() -> set[int]:
    """Ourselves and all that was started with us in this PID namespace, when that is a sidecar's: nobody's target."""
    top, parents = os.getpid(), {}
    for pid in numbered("/proc"):
        stat = stat_of(f"/proc/{pid}/stat")
        if stat is not None:
            parents[pid] = int(stat[1][1])
    while parents.get(top, 0) > 1:
        top = parents[top]
    if top == 1 or parents.get(top) == 1:
        return {os.getpid()}
    ours, grown = {top}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in ours and pid not in ours}
        ours, grown = ours | more, bool(more)
    return ours


def stat_of(path: str) -> tuple[str, list[str]] | None:
    """(name, fields from the state on): the name may hold anything, so the fields are counted after its last ")"."""
    data = text(path)
    head, bracket, rest = data.rpartition(")")
    return (head.partition("(")[2], rest.split()) if bracket and len(rest.split()) > 20 else None


def status_of(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text(f"/proc/{pid}/status").splitlines() if ":\t" in line)


def status_field(path: str, name: str) -> str:
    found = re.search(rf"(?m)^{name}:\t(.*)$", text(path))
    return found[1] if found else ""


def ticks(pid: int) -> int:
    stat = stat_of(f"/proc/{pid}/stat")
    return int(stat[1][11]) + int(stat[1][12]) if stat else 0


def last_ran(path: str) -> float | None:
    """Milliseconds on the scheduler's clock at which a thread last ran; None where the kernel does not say."""
    found = re.search(r"(?m)^se\.exec_start +: +([\d.]+)", text(path))
    return float(found[1]) if found else None


def inside(uid: int, pid: int) -> int:
    """An id of ours as the process's user namespace has it: user_namespaces(7)."""
    ranges = text(f"/proc/{pid}/uid_map")
    if ranges == text("/proc/self/uid_map"):
        return uid
    for line in ranges.splitlines():
        first, outside, length = (int(word) for word in line.split())
        if outside <= uid < outside + length:
            return first + uid - outside
    return uid


if __name__ == "__main__":
    json.dump(Look(json.loads(sys.argv[1])).run(), sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # a thread that waits for a stuck read would keep us
