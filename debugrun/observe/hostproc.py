"""The processes of a local engine's container, read in our own /proc: no round trip and no container.

Nothing goes through /proc/PID/root/proc: the target is not trusted, and may have mounted anything there. What an
ordinary user may not read (exe, namespaces) stays unknown.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from debugrun.core.ask.selection import SHELLS
from debugrun.core.know import procfs
from debugrun.core.know.facts import HostFacts
from debugrun.core.know.procfs import Reading

PROC = "/proc"
_SYS_PTRACE = 1 << procfs.CAPABILITIES.index("SYS_PTRACE")
_VERSION_3 = 0x20080522  # capget(2): _LINUX_CAPABILITY_VERSION_3, two words for each set


def is_local(pid: int, container_id: str, kernel: str) -> bool:
    """Whether the engine's processes are those of our own /proc, proven: PID is one of that very container.

    A cgroup that names the container's 64 hex digits can't be met by chance; where containers have no cgroup of
    their own, the files that the engine mounts for each (mountinfo) name it. The kernel must be the same as well.
    """
    if pid <= 0 or (kernel and os.uname().release != kernel):
        return False
    return procfs.names_container(text_of(f"{pid}/cgroup"), container_id) or has_mounts_of(pid, container_id)


def has_mounts_of(pid: int, container_id: str) -> bool:
    """Whether a process sees the files that the engine mounts for that container: no other one's process does."""
    return procfs.names_container(text_of(f"{pid}/mountinfo"), container_id)


def sysctl(name: str) -> int | None:
    """A kernel setting as a number; None when it can't be read."""
    return number(text_of(f"sys/{name}"))


def yama_ptrace_scope() -> int | None:
    """kernel.yama.ptrace_scope; 0 where there is none: no Yama, or not among the LSMs in use (Yama.rst)."""
    scope = sysctl("kernel/yama/ptrace_scope")
    absent = not os.path.lexists(f"{PROC}/sys/kernel/yama") and bool(text_of("sys/kernel/osrelease"))
    return 0 if scope is None and absent else scope


def host_facts(engine: int = 0) -> HostFacts:
    """The kernel settings of this machine; `engine`: PID of a process that sees the engine's mounts, 0: none."""
    mounts = text_of(f"{engine}/mountinfo")
    return HostFacts(
        yama_ptrace_scope=yama_ptrace_scope(),
        perf_event_paranoid=sysctl("kernel/perf_event_paranoid"),
        kptr_restrict=sysctl("kernel/kptr_restrict"),
        lockdown=_lockdown(),
        proc_mem_override=_proc_mem_override(),
        cross_memory_attach=_cross_memory_attach(),
        gpu_counters=procfs.gpu_counters(text_of("driver/nvidia/params")),
        gpu_driver=procfs.gpu_driver(text_of("driver/nvidia/version")),
        tracefs=bool(re.search(r"(?m) /sys/kernel/tracing .* - tracefs ", mounts)) if mounts else None,
    )


def _lockdown() -> str | None:
    """The level of kernel_lockdown(7); "none" where the module is not among those in use."""
    level = procfs.lockdown(text_of("/sys/kernel/security/lockdown"))
    modules = text_of("/sys/kernel/security/lsm").strip()
    return "none" if level is None and modules and "lockdown" not in modules.split(",") else level


def _proc_mem_override() -> str | None:
    """Who may write read-only pages through /proc/PID/mem: tried on a byte of our own, which is written as it is.

    Refused, it is "ptrace" or "never": what the kernel was started with says which, what it was built with is not read.
    """
    with suppress(OSError, StopIteration, ValueError):
        first = next(line for line in text_of("self/maps").splitlines() if " r--p " in line)
        address = int(first.split("-")[0], 16)
        memory = os.open(f"{PROC}/self/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            byte = os.pread(memory, 1, address)
            with suppress(OSError):
                os.pwrite(memory, byte, address)
                return "always"
        finally:
            os.close(memory)
    return procfs.proc_mem_override(text_of("cmdline"))


def _cross_memory_attach() -> bool | None:
    """Whether the kernel has process_vm_readv(2): asked for no byte of our own. A filter of ours may hide it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "process_vm_readv"):
        return None
    if libc.process_vm_readv(os.getpid(), None, 0, None, 0, 0) == 0:
        return True
    filtered = re.search(r"(?m)^Seccomp:\s+0$", text_of("self/status")) is None
    return False if ctypes.get_errno() == errno.ENOSYS and not filtered else None


def number(text: str) -> int | None:
    """The number that a file holds, if it does."""
    return int(text) if re.fullmatch(r"\s*-?\d+\s*", text) else None


def read(pid: int, *, closely: bool = False) -> Reading | None:
    """What may be read of one process; None when it is gone or hidden (proc(5) hidepid).

    `closely`: with its command line and its processor time, by which a person tells it from others.
    """
    stat = text_of(f"{pid}/stat")
    start = procfs.start_time(stat)  # first: a later process must not be taken for this one
    try:
        status = procfs.parse_status(text_of(f"{pid}/status"))
        owner = os.stat(f"{PROC}/{pid}/status")  # noqa: PTH116 - a hot path
    except (OSError, ValueError):
        return None
    uid_map, gid_map = (_id_map(pid, name) for name in ("uid_map", "gid_map"))
    return Reading(
        status=status,
        owner=(owner.st_uid, owner.st_gid),
        cgroup=text_of(f"{pid}/cgroup"),
        label=text_of(f"{pid}/attr/current").strip("\0\n") or None,
        exe=link_of(f"{pid}/exe"),
        uid_map=uid_map,
        gid_map=gid_map,
        shell_command=status.comm in SHELLS and _is_shell_command(pid),
        start_time=None if _has_clock_of_its_own() else start,
        words=_words(pid) if closely else (),
        cpu=procfs.cpu_seconds(stat) if closely else None,
    )


@functools.cache
def _has_clock_of_its_own() -> bool:
    """Whether we are in a time namespace: start times are others there (time_namespaces(7))."""
    offset = re.search(r"(?m)^boottime(.*)$", text_of("self/timens_offsets"))
    return offset is not None and offset[1].split() != ["0", "0"]


def _id_map(pid: int, name: str) -> procfs.IdMap:
    """Empty in our own user namespace: there the second column would speak of the parent's ids."""
    text = text_of(f"{pid}/{name}")
    return () if text == text_of(f"self/{name}") else procfs.parse_id_map(text)


def _words(pid: int) -> tuple[str, ...]:
    """The command line's beginning, as the process shows it."""
    return tuple(_bytes(f"{pid}/cmdline", limit=512).decode(errors="replace").rstrip("\0 ").split("\0"))


def _is_shell_command(pid: int) -> bool:
    """Whether a shell was started with -c: its second argument, and nothing else of its command line, is looked at."""
    words = _bytes(f"{pid}/cmdline", limit=256).split(b"\0")
    return len(words) > 1 and re.fullmatch(rb"-[a-z]*c", words[1]) is not None


def members(main: Reading, container_id: str) -> list[Reading]:
    """All processes that the container of `main` can see: those of its PID namespace and of the ones below.

    They share its namespace link; where that may not be read, or in a namespace below, their cgroup names it.
    """
    depth, namespace = len(main.status.ns_pids), link_of(f"{main.status.pid}/ns/pid")
    ours = link_of("self/ns/pid")
    found = []
    for entry in os.listdir(PROC):  # noqa: PTH208 - a hot path
        if not entry.isdigit():
            continue
        link = namespace and link_of(f"{entry}/ns/pid")
        same = link is not None and link == namespace
        if not same and link is not None and link == ours:
            continue  # most of the host's processes: not worth a look at their cgroups
        if same or procfs.names_container(text_of(f"{entry}/cgroup"), container_id):
            reading = read(int(entry), closely=True)
            if reading is not None and len(reading.status.ns_pids) >= depth:
                found.append(reading)
    return found


def process_of_thread(members: Iterable[Reading], tid: int, depth: int) -> Reading | None:
    """The process that has a thread `tid`, as the container counts, that is not its main one."""
    for member in members:
        pid = member.status.pid
        with suppress(OSError):
            for thread in os.listdir(f"{PROC}/{pid}/task"):  # noqa: PTH208 - a hot path
                with suppress(ValueError):
                    if procfs.parse_status(text_of(f"{pid}/task/{thread}/status")).ns_pids[depth:][:1] == (tid,):
                        return member
    return None


def dumpable(reading: Reading) -> bool | None:
    """Whether the process is dumpable: by the owner of its files, else by asking as one who lacks SYS_PTRACE only.

    A security module that refuses the question would do so with SYS_PTRACE as well: then no answer.
    """
    by_owner = procfs.dumpable_by_owner(reading)
    if by_owner is not None or reading.exe is None:
        return by_owner
    with _without_sys_ptrace() as effective:
        if effective is None:
            return None
        readable = link_of(f"{reading.status.pid}/exe") is not None
    return procfs.dumpable_by_access(reading, readable=readable, ids=(os.geteuid(), os.getegid()), effective=effective)


@contextmanager
def _without_sys_ptrace() -> Iterator[int | None]:
    """Take SYS_PTRACE out of this thread's effective set meanwhile; gives the set then in force, None: can't.

    capset(2) is per thread and the permitted set stays, so it can always be put back.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then their upper halves
    if libc.capget(header, held) != 0:
        yield None
        return
    less = (ctypes.c_uint32 * 6)(held[0] & ~_SYS_PTRACE, *held[1:])
    if libc.capset(header, less) != 0:
        yield None
        return
    try:
        yield less[0] | less[3] << 32
    finally:
        if libc.capset(header, held) != 0:
            raise OSError(ctypes.get_errno(), "capset: this thread's capabilities could not be put back")


def bounding_of_engine(reading: Reading) -> tuple[str, ...] | None:
    """The bounding set of the engine: that of the shim (or conmon) which started the container's main process."""
    parent = read(reading.status.ppid) if reading.status.ppid else None
    return None if parent is None else procfs.names(parent.status.bounding)


def memory_used(cgroup: str) -> int | None:
    """Bytes charged to a cgroup less what the kernel can drop at once (inactive page cache), as docker stats says."""
    paths = procfs.cgroup_paths(cgroup)
    for folder, current, cached in (
        (f"/sys/fs/cgroup/memory{paths.get('memory', '')}", "memory.usage_in_bytes", "total_inactive_file"),
        (f"/sys/fs/cgroup{paths.get('', '')}", "memory.current", "inactive_file"),
    ):
        used = number(text_of(f"{folder}/{current}"))
        if used is not None:
            match = re.search(rf"(?m)^{cached} (\d+)$", text_of(f"{folder}/memory.stat"))
            return max(0, used - int(match[1])) if match else used
    return None


def link_of(path: str) -> str | None:
    """Where a link below /proc leads; None when it can't be read."""
    try:
        return os.readlink(f"{PROC}/{path}")  # noqa: PTH115 - a hot path
    except OSError:
        return None


def text_of(path: str) -> str:
    """A file below /proc as text, "" when it can't be read."""
    return _bytes(path).decode(errors="replace")


def _bytes(path: str, limit: int = -1) -> bytes:
    """A file of the kernel's, or its start; empty when it can't be read. A leading slash overrides /proc."""
    try:
        with open(os.path.join(PROC, path), "rb", buffering=0) as file:  # noqa: PTH118, PTH123 - a hot path
            return file.read(limit) or b""
    except OSError:
        return b""
