"""The program that copies stacks, on children of ours: it takes nothing from them, however it ends, whatever they do.

It runs in gdb's Python elsewhere; what needs no gdb runs in any.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

GDB = files("debugrun") / "data" / "gdb"
FUTURE = "from __future__ import annotations\n"
TEXT = "\n".join((GDB / name).read_text("utf-8").replace(FUTURE, "") for name in ("prelude.py", "stacks.py"))
# Holds, says so, and waits for its end.
HOLDS = (
    TEXT
    + """
import sys
copy = Copy(int(sys.argv[1]))
copy.prepare()
copy.hold()
copy.wait(Limit())
print("held", flush=True)
time.sleep(60)
"""
)
TICKS = """
import sys, threading, time
for _ in range({threads}):
    threading.Thread(target=lambda: time.sleep(1e6), daemon=True).start()
print("ready", flush=True)
while True:
    print("tick", flush=True)
    time.sleep(0.01)
"""
CHURN = """
import threading
print("ready", flush=True)
while True:
    each = [threading.Thread(target=lambda: None) for _ in range(8)]
    [one.start() for one in each]
    [one.join() for one in each]
    print("tick", flush=True)
"""
MAPS = """
import ctypes, mmap, time
libc = ctypes.CDLL(None)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
area = mmap.mmap(-1, 40000 * 4096)
start = ctypes.addressof(ctypes.c_char.from_buffer(area))
for page in range(0, 40000, 2):
    libc.mprotect(start + page * 4096, 4096, 1)
open("/proc/self/comm", "w").write("\\x1b[2J")
print("ready", flush=True)
while True:
    print("tick", flush=True)
    time.sleep(0.01)
"""
# Counts the signals that it gets, each queued by itself.
COUNTER = """
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
static volatile sig_atomic_t count;
static void handle(int number) { count++; (void)number; }
int main(void) {
    struct sigaction action = {.sa_handler = handle};
    sigaction(SIGRTMIN, &action, NULL);
    puts("ready");
    fflush(stdout);
    for (;;) {
        pause();
        printf("%d\\n", (int)count);
        fflush(stdout);
    }
}
"""


@pytest.fixture
def program() -> Iterator[dict[str, Any]]:
    """The program's names. It leaves a timer that would end the process which it runs in: here that is the tests'."""
    space: dict[str, Any] = {"__name__": "debugrun"}
    exec(compile(TEXT, "stacks.py", "exec"), space)  # noqa: S102 - as gdb does
    yield space
    signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a program and wait until it is ready."""
    with contextlib.ExitStack() as stack:

        def start(*argv: str) -> subprocess.Popen[str]:
            started = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
            stack.callback(started.kill)
            assert started.stdout is not None
            assert started.stdout.readline() == "ready\n"
            return started

        yield start


def python(text: str) -> tuple[str, str, str]:
    return sys.executable, "-c", text


def states(pid: int) -> set[tuple[str, str]]:
    """(state, tracer) of all threads."""
    found = set()
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)
            found.add((fields["State"][0], fields["TracerPid"]))
    return found


def assert_runs_on(target: subprocess.Popen[str]) -> None:
    assert target.poll() is None
    assert target.stdout is not None
    deadline = time.monotonic() + 20
    while {tracer for _, tracer in states(target.pid)} != {"0"} or {state for state, _ in states(target.pid)} & {
        "t",
        "T",
    }:
        assert time.monotonic() < deadline, states(target.pid)
    for _ in range(64):  # more than the pipe may have held
        target.stdout.readline()


def test_a_copy_that_is_killed_while_it_holds_lets_everything_go_on(
    child: Callable[..., subprocess.Popen[str]],
) -> None:
    target = child(*python(TICKS.format(threads=20)))
    for end in (signal.SIGKILL, signal.SIGTERM):
        with subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(target.pid)], stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            assert states(target.pid) == {("t", str(holder.pid))}
            holder.send_signal(end)
        assert_runs_on(target)


def test_two_thousand_threads_are_copied_and_go_on(
    child: Callable[..., subprocess.Popen[str]], program: dict[str, Any], tmp_path: Path
) -> None:
    target = child(*python(TICKS.format(threads=2000)))
    copy = program["Copy"](target.pid)
    copy.prepare()
    program["take"]([copy])
    assert len(copy.registers) == 2001
    assert copy.late == []
    assert_runs_on(target)
    copy.save(tmp_path / "core")
    assert (tmp_path / "core").stat().st_size < 100 << 20


@pytest.mark.parametrize("text", [CHURN, MAPS], ids=["threads that come and go", "forty thousand mappings"])
def test_a_target_that_makes_it_hard_is_copied_and_goes_on(
    text: str, child: Callable[..., subprocess.Popen[str]], program: dict[str, Any], tmp_path: Path
) -> None:
    target = child(*python(text))
    for _ in range(10):
        copy = program["Copy"](target.pid)
        copy.prepare()
        program["take"]([copy])
        assert target.pid in copy.registers
        copy.save(tmp_path / "core")
    assert len(copy.mappings) <= program["MAPPINGS"]
    assert_runs_on(target)


def test_no_signal_is_lost_or_made_up(
    child: Callable[..., subprocess.Popen[str]], program: dict[str, Any], tmp_path: Path
) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler makes the target that counts its signals: apt-get install gcc")
    (tmp_path / "counter.c").write_text(COUNTER)
    subprocess.run([compiler, "-o", tmp_path / "counter", tmp_path / "counter.c"], check=True)
    target = child(str(tmp_path / "counter"))
    sent = 0
    for _ in range(20):
        for _ in range(20):
            os.kill(target.pid, signal.SIGRTMIN)
            sent += 1
        program["take"]([program["Copy"](target.pid)])
    assert target.stdout is not None
    seen, deadline = 0, time.monotonic() + 20
    while seen < sent and time.monotonic() < deadline:
        seen = int(target.stdout.readline())
    assert seen == sent
    assert target.poll() is None


def test_a_stopped_target_stays_stopped(child: Callable[..., subprocess.Popen[str]], program: dict[str, Any]) -> None:
    target = child(*python(TICKS.format(threads=2)))
    target.send_signal(signal.SIGSTOP)
    while {state for state, _ in states(target.pid)} != {"T"}:
        pass
    copy = program["Copy"](target.pid)
    program["take"]([copy])
    assert len(copy.registers) == 3
    deadline = time.monotonic() + 10
    while states(target.pid) != {("T", "0")}:
        assert time.monotonic() < deadline, states(target.pid)
    target.send_signal(signal.SIGCONT)
    assert_runs_on(target)
