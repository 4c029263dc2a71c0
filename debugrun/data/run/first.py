"""The first process of a container whose program is started under a tool: what Docker expects of PID 1.

The tool knows neither the part nor the program's place in it. So this starts the tool, passes signals on to the program
below it, reaps orphans, and ends as the tool did. Runs by the toolbox's Python, without its site packages.

Arguments: BELOW, then groups of words, each with its length in front: the tool's own environment as NAME=VALUE, the
tool, and commands that follow it. BELOW is how many generations below the tool the program is.
"""

from __future__ import annotations

import os
import signal
import sys

# asm-generic/siginfo.h: sent by the kernel itself. On a terminal the whole foreground group gets those, the program
# too.
SI_KERNEL = 0x80
# What a fault of our own would raise: never blocked.
FAULTS = {signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
NOT_FOUND, NOT_EXECUTABLE = 127, 126


def groups(words: list[str]) -> list[list[str]]:
    """The groups of words that `words` is made of."""
    found = []
    while words:
        size = int(words[0])
        found.append(words[1 : size + 1])
        words = words[size + 1 :]
    return found


def children(parents: list[int]) -> list[int]:
    """The processes whose parent is one of these; proc_pid_stat(5)."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue  # it has just ended
            if int(fields[1]) in parents:
                found.append(int(name))
    return found


def program(tool: int, below: int) -> list[int]:
    """The program's process, or the tool's while there is none."""
    pids = [tool]
    for _ in range(below):
        pids = children(pids)
    return pids or [tool]


def start(words: list[str], environment: list[str]) -> int:
    """Start a command with signals as they should be; its PID."""
    pid = os.fork()
    if pid:
        return pid
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python's start ignores them
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execvpe(words[0], words, {**os.environ, **dict(each.split("=", 1) for each in environment)})
    except OSError as error:
        os.write(2, f"debugrun: {words[0]}: {error.strerror}\n".encode())
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)


def wait(tool: int, below: int, taken: set[signal.Signals]) -> int:
    """Serve as PID 1 until the tool ends; its status as a shell has it."""
    while True:
        info = signal.sigwaitinfo(taken)
        if info.si_signo == signal.SIGCHLD:
            for pid, status in iter(reap, (0, 0)):
                if pid == tool:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
        elif info.si_code != SI_KERNEL:
            for pid in program(tool, below):
                try:
                    os.kill(pid, info.si_signo)
                except OSError:
                    pass  # it has just ended, or belongs to another user


def reap() -> tuple[int, int]:
    """The next child that has ended, and how; (0, 0) when there is none."""
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0, 0


def main() -> None:
    """Run the tool, then what follows it; end as the tool did."""
    below = int(sys.argv[1])
    environment, tool, *then = groups(sys.argv[2:])
    taken = signal.valid_signals() - FAULTS - {signal.SIGKILL, signal.SIGSTOP}
    signal.pthread_sigmask(signal.SIG_BLOCK, taken)  # before the first child: none of its signals is lost
    status = wait(start(tool, environment), below, taken)
    for words in then:
        wait(start(words, environment), 0, taken)
    os._exit(status)


main()
