"""A target that ends, and whose PID is another process's, between the look at it and the tool: it gets no tool."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from debugrun.backends import Containers
from debugrun.core.ask.request import Request
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Ceiling, Placement
from debugrun.errors import TargetError
from debugrun.observe.target import look
from debugrun.session import attempt
from debugrun.toolbox.catalog import find_tool
from tests.live.victims import Victim, client_of, released, victims

pytestmark = pytest.mark.live

HOLDS_TOOLS = "debugrun-test/full"
SLEEP = ["python3", "-c", "import time; print('ready', flush=True); time.sleep(600)"]
# The same PID again, whoever had it before: ns_last_pid of proc_sys_kernel(5), for the PID namespace of the writer.
AGAIN = """
import os, sys
with open("/proc/sys/kernel/ns_last_pid", "w") as file:
    file.write(str(int(sys.argv[1]) - 1))
child = os.fork()
if child == 0:
    os.setgid(1000), os.setuid(1000)
    print(os.getpid(), flush=True)
    os.execvp("sleep", ["sleep", "600"])
os.waitpid(child, 0)
"""


@pytest.fixture
def victim(engine: docker.APIClient, toolbox: str) -> Iterator[Victim]:
    assert toolbox
    with victims(engine, image=HOLDS_TOOLS) as made:
        yield made


def one_more(victim: Victim) -> tuple[int, int]:
    """A process beside PID 1: its PID by the host, and by the container."""
    with client_of() as engine:
        made = engine.exec_create(victim.id, SLEEP, user="1000:1000")
        stream = engine.exec_start(made)
        assert stream.wait(60)
        pid = int(str(engine.exec_inspect(made)["Pid"]))
        stream.close()
    status = Path(f"/proc/{pid}/status").read_text()
    return pid, int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])


@contextlib.contextmanager
def replaced(victim: Victim, pid: int, number: int) -> Iterator[None]:
    """That process has ended, and another one has its PID."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    words = ["nsenter", f"--target={victim.pid}", "--pid", sys.executable, "-c", AGAIN, str(number)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{number}\n"
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def decided(containers: Containers, request: Request) -> Plan:
    tool, mode = find_tool(request, Path("none"))
    return plan(tool, mode, containers.look(request, tool), request.ceiling)


@pytest.mark.parametrize(
    ("tool", "via", "stdin"),
    [
        ("gdb", Placement.SIDECAR, "null"),
        ("gdb", Placement.SIDECAR, "pipe"),
        pytest.param("strace", Placement.SIDECAR, "null", marks=pytest.mark.slow),
        pytest.param("gdb", Placement.HERE, "null", marks=pytest.mark.slow),
    ],
)
def test_a_tool_is_for_the_process_that_was_looked_at(victim: Victim, tool: str, via: Placement, stdin: str) -> None:
    """With its sidecar, which it starts with where it takes no input, by exec, and in the container itself."""
    pid, number = one_more(victim)
    args = ("-batch", "-ex", "bt") if tool == "gdb" else ("-o", "/dev/null")
    request = Request(tool=tool, container=victim.name, pid=number, args=args, duration=2, ceiling=Ceiling(via=via))
    read, write = os.pipe()
    with client_of() as engine, contextlib.ExitStack() as stack:
        stack.callback(os.close, write)
        stack.callback(os.close, read)
        before = os.dup(0)
        stack.callback(os.close, before)
        stack.callback(os.dup2, before, 0)
        if stdin == "pipe":
            os.dup2(read, 0)
        else:
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
        containers = Containers(engine)
        decision = decided(containers, request)
        assert decision.option is not None
        assert decision.option.placement is via
        assert decision.facts.process.start_time is not None
        ended = pytest.raises(TargetError, match=f"PID {number} of {victim.name} has ended")
        with replaced(victim, pid, number), ended:
            attempt(containers, request, decision, decision.option)
        released(victim)


def test_a_scout_tells_the_start_too(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    from debugrun.observe import hostproc  # noqa: PLC0415 - to be told that the engine is elsewhere

    _, number = one_more(victim)
    with client_of() as engine:
        request = Request(tool="gdb", container=victim.name, pid=number)
        tool, _ = find_tool(request, Path("none"))
        here = look(engine, request, tool)
        monkeypatch.setattr(hostproc, "is_local", lambda *_: False)
        there = look(engine, request, tool)
    assert here.process.identity == there.process.identity != ""
