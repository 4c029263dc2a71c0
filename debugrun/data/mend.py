"""Takes back what PTRACE_ATTACH left in a process whose tracer was killed, unseen by its program.

    python3 -c THIS PID             the process goes on, and its handler of SIGCONT does not run
    python3 -c THIS PID stopped     it stays stopped, without the second SIGSTOP that PTRACE_ATTACH sent it

ptrace(2): PTRACE_SEIZE stops nothing and sends nothing, each signal passes by us before it is delivered, and when we
end all threads go on as they were; those of a group stop stay in it (kernel/ptrace.c, __ptrace_unlink). Status 1: it
may not trace the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

SEIZE, INTERRUPT, CONT = 0x4206, 0x4207, 7
EVENT_STOP = 128
ALL = 0x40000000  # __WALL
LIMIT = 5.0  # seconds; a thread that waits in the kernel takes no signal before it comes back

ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
ptrace.restype = ctypes.c_long


def pending(pid: int, thread: int) -> bool:
    """Whether a SIGSTOP is on its way to the thread."""
    with Path(f"/proc/{pid}/task/{thread}/status").open(encoding="ascii", errors="replace") as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith("SigPnd:"))
    return bool(mask >> signal.SIGSTOP - 1 & 1)


def seized(pid: int) -> list[int]:
    """All threads, ours from now on; none when we may not."""
    threads = [int(each.name) for each in Path(f"/proc/{pid}/task").iterdir()]
    return [thread for thread in threads if ptrace(SEIZE, thread, None, None) == 0]


def swallow(number: int, wanted: set[int], *, hold: bool) -> None:
    """Let the threads run until `number` has come to each of `wanted` (0: to any one), and to nobody's handler.

    `hold`: one that has had it does not run on.
    """
    deadline = time.monotonic() + LIMIT
    while wanted and time.monotonic() < deadline:
        thread, status = os.waitpid(-1, ALL | os.WNOHANG)
        if thread == 0:
            time.sleep(0.001)
            continue
        if not os.WIFSTOPPED(status):
            wanted.discard(thread)
            continue
        came = os.WSTOPSIG(status)
        if status >> 16 == EVENT_STOP:
            if not hold or thread in wanted:
                ptrace(CONT, thread, None, None)
        elif came in {number, signal.SIGSTOP}:
            if hold:
                ptrace(INTERRUPT, thread, None, None)
            wanted -= {thread, 0}
            ptrace(CONT, thread, None, None)
        else:
            ptrace(CONT, thread, None, came)


def main() -> int:
    """The process of our arguments; the exit status."""
    pid = int(sys.argv[1])
    threads = seized(pid)
    if not threads:
        return 1
    with contextlib.suppress(ChildProcessError):  # it has ended
        if sys.argv[2:]:
            swallow(signal.SIGSTOP, {thread for thread in threads if pending(pid, thread)}, hold=True)
        else:
            os.kill(pid, signal.SIGCONT)
            swallow(signal.SIGCONT, {0}, hold=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
