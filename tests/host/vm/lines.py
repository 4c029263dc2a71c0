"""Lines that people type, run by the command line itself in the test machine, and what must come of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from tests.host.vm.matrix import LAST, LEVELS, SCOPES, Setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What is typed under a setting, its exit status, and texts of its output and of what debugrun itself says."""

    setting: Setting
    words: tuple[str, ...]
    status: int = 0
    shows: str = ""
    says: str


BACKTRACE = ("--", "-batch", "-ex", "bt")
LINES = (
    Line(
        setting=SCOPES[0],
        words=("gdb", "u1000", *BACKTRACE),
        shows="serve (name=",
        says="sidecar as 1000:1000, no capabilities, default seccomp",
    ),
    Line(
        setting=SCOPES[1],
        words=("gdb", "root", *BACKTRACE),
        shows="serve (name=",
        says="sidecar as 0:0, SYS_PTRACE, default seccomp - ptrace_scope is 1",
    ),
    Line(
        setting=SCOPES[1],
        words=("gdb", "u1000", *BACKTRACE),
        shows="serve (name=",
        says="sidecar as 1000:1000, SYS_PTRACE by file capability, default seccomp - ptrace_scope is 1",
    ),
    Line(
        setting=SCOPES[2],
        words=("strace", "u1000", "--duration", "{seconds}"),
        says="sidecar as 1000:1000, SYS_PTRACE by file capability, default seccomp - ptrace_scope is 2",
    ),
    Line(
        setting=SCOPES[1],
        words=("perf", "u1000", "--duration", "{seconds}"),
        shows="%",
        says="sidecar as 1000:1000, no capabilities, default seccomp + perf_event_open",
    ),
    Line(setting=LEVELS[3], words=("perf", "root"), status=126, says="--max-grant broad"),
    Line(
        setting=LEVELS[3],
        words=("perf", "root", "--duration", "{seconds}", "--max-grant", "broad"),
        shows="%",
        says="SYS_ADMIN",
    ),
    Line(setting=LAST, words=("gdb", "u1000"), status=126, says="until the host reboots"),
    Line(setting=LAST, words=("strace", "root", "--max-grant", "privileged"), status=126, says="no grant opens it"),
)


# A machine that was started with tests.host.vm.__main__.HARDENED. A root's gdb writes through /proc/PID/mem, which is
# closed to its breakpoints; a user's can't open its own, so it writes by ptrace.
BREAKPOINT = ("--", "-batch", "-ex", "break pause_100_ms", "-ex", "continue", "-ex", "bt 1")
HARDENED = (
    Line(
        setting=SCOPES[0],
        words=("gdb", "u1000", *BREAKPOINT),
        shows="Breakpoint 1, ",
        says="sidecar as 1000:1000, no capabilities, default seccomp",
    ),
    Line(setting=SCOPES[0], words=("gdb", "root", *BACKTRACE), shows="serve (name=", says="no breakpoints: "),
    Line(setting=SCOPES[0], words=("facts", "root", "--json"), shows='"lockdown": "confidentiality"', says=""),
    Line(setting=SCOPES[0], words=("facts", "root", "--json"), shows='"proc_mem_override": "never"', says=""),
    Line(
        setting=SCOPES[0],
        words=("perf", "u1000", "--duration", "{seconds}"),
        shows="%",
        says="sidecar as 1000:1000, no capabilities, default seccomp + perf_event_open",
    ),
    Line(setting=SCOPES[0], words=("strace", "u1000", "--duration", "{seconds}"), says="no capabilities"),
)


def wrong(line: Line) -> str | None:
    """Run it; what is not as it must be. A tool that is interrupted before it began gets more time."""
    for seconds in ("4", "40"):
        words = [word.replace("{seconds}", seconds) for word in line.words]
        done = subprocess.run(
            [sys.executable, "-m", "debugrun", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, timeout=500,
        )  # fmt: skip
        if done.returncode == line.status and line.shows in done.stdout and line.says in done.stderr:
            return None
    return f"status {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
