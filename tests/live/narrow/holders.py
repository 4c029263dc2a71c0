"""Runs in a container, as root: who may trace whom, by what each holds. One JSON object for each target.

Targets and callers are processes of uid 1000. A caller asks twice: PTRACE_ATTACH, and readlink of /proc/PID/exe.
"""

# ruff: noqa: PTH115, PTH116, PTH123, S108, S606 - a machine of its own, and as few lines as will do
from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import struct
import sys
import time
from collections.abc import Iterator

LIBC = ctypes.CDLL(None, use_errno=True)
HELD = {"CHOWN": 0, "NET_BIND_SERVICE": 10, "NET_RAW": 13}
UID = 1000
PROGRAM = "import ctypes, time; ctypes.CDLL(None).prctl(4, 1, 0, 0, 0); time.sleep(600)"


def become(permitted: tuple[str, ...], effective: tuple[str, ...], *, inherit: bool = False) -> None:
    """Uid 1000 with these capabilities, dumpable."""
    LIBC.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    all_of, some = (sum(1 << HELD[name] for name in names) for names in (permitted, effective))
    header = struct.pack("Ii", 0x20080522, 0)
    assert LIBC.capset(header, struct.pack("6I", some, all_of, all_of if inherit else 0, 0, 0, 0)) == 0
    for name in permitted if inherit else ():
        assert LIBC.prctl(47, 2, HELD[name], 0, 0) == 0  # PR_CAP_AMBIENT_RAISE
    LIBC.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE


def started(kind: str, permitted: tuple[str, ...], effective: tuple[str, ...]) -> int:
    """The PID of a target."""
    path = f"/tmp/python-{kind}-{'-'.join(permitted)}"
    if kind.startswith("file"):
        shutil.copy(os.path.realpath(sys.executable), path)
        mask = sum(1 << HELD[name] for name in permitted)
        os.setxattr(path, "security.capability", struct.pack("<5I", 0x02000001, mask, 0, 0, 0))
    pid = os.fork()
    if pid:
        return pid
    if kind == "set":
        become(permitted, effective)
        time.sleep(600)
    elif kind == "ambient":
        become(permitted, effective, inherit=True)
        os.execv(sys.executable, ["python3", "-c", PROGRAM])
    become((), ())
    os.execv(path, ["python3", "-c", PROGRAM if kind == "file" else "import time; time.sleep(600)"])
    raise AssertionError


def ready(pid: int) -> None:
    """Until it sleeps for good: it has become what it is to be."""
    for _ in range(600):
        with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
            asleep = file.read().split(" ")[0] == "230"  # clock_nanosleep
        if asleep:
            return
        time.sleep(0.05)
    raise AssertionError(pid)


def asked(pid: int, names: tuple[str, ...]) -> dict[str, bool]:
    """What a caller that holds these may do to it."""
    read, write = os.pipe()
    caller = os.fork()
    if caller == 0:
        become(names, names)
        attached = LIBC.ptrace(16, pid, 0, 0) == 0
        if attached:
            os.waitpid(pid, 0x40000000)
            LIBC.ptrace(17, pid, 0, 0)
        try:
            linked = bool(os.readlink(f"/proc/{pid}/exe"))
        except OSError:
            linked = False
        os.write(write, json.dumps({"ptrace-attach": attached, "ptrace-read": linked}).encode())
        os._exit(0)
    os.waitpid(caller, 0)
    os.close(write)
    with os.fdopen(read) as told:
        answer: dict[str, bool] = json.load(told)
    return answer


def targets() -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Kind, permitted and effective set of each."""
    for size in range(3):
        for names in itertools.combinations(HELD, size):
            yield "set", names, names
    yield "set", ("CHOWN", "NET_RAW"), ("CHOWN",)
    yield "set", ("CHOWN", "NET_RAW"), ()
    yield "ambient", ("NET_BIND_SERVICE", "NET_RAW"), ("NET_BIND_SERVICE", "NET_RAW")
    yield "file", ("NET_BIND_SERVICE", "NET_RAW"), ("NET_BIND_SERVICE", "NET_RAW")
    yield "file as it is", ("NET_RAW",), ("NET_RAW",)


def main() -> None:
    """All of them, by all callers."""
    callers = [names for size in range(len(HELD) + 1) for names in itertools.combinations(HELD, size)]
    for kind, permitted, effective in targets():
        pid = started(kind, permitted, effective)
        ready(pid)
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            status = file.read()
        owner = os.stat(f"/proc/{pid}/status").st_uid  # the folder itself always has the user's
        answers = [{"holds": names, **asked(pid, names)} for names in callers]
        print(json.dumps({"kind": kind, "status": status, "owner": owner, "answers": answers}), flush=True)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


main()
