"""However a session ends, its target runs on untraced, and nothing is left: no container, no zombie of its PID 1.

The tools are caught at the worst moment: breakpoints are in the target's memory, and it runs.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import docker
import pexpect
import pytest

from debugrun.attach.leftovers import collect, leftovers
from debugrun.core.know import kinds
from debugrun.engine import ownership
from tests.live.victims import Victim, client_of, released, victims

pytestmark = pytest.mark.live

SLEPT = 12 + 3 + 13  # seconds: the lease's silence, one beat, and the tool's end
GDB = ["-ex", "break work", "-ex", "ignore 1 1000000", "-ex", "continue"]
BATCH = {
    "gdb": ["gdb", "{}", "--", *GDB],
    "strace": ["strace", "{}", "--", "-f", "-o", "/dev/null"],
    "ltrace": ["ltrace", "{}", "--may-kill", "--", "-f", "-o", "/dev/null"],
    "perf": ["perf", "{}", "--mode", "record", "--duration", "60"],
}


@pytest.fixture
def victim(engine: docker.APIClient, toolbox: str, request: pytest.FixtureRequest) -> Iterator[Victim]:
    assert toolbox
    with victims(engine, user=getattr(request, "param", "1000:1000")) as made:
        yield made


def debugrun(*args: str) -> list[str]:
    return [sys.executable, "-m", "debugrun", *args]


@contextlib.contextmanager
def caught(tool: str, victim: Victim, stdin: int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    """A tool at work on the victim, without a terminal; its input stays open, or there is none."""
    words = [word.format(victim.name) for word in BATCH[tool]]
    with subprocess.Popen(debugrun(*words), stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        victim.await_work(process, traced=tool != "perf")
        yield process
        process.kill()


@contextlib.contextmanager
def at_prompt(victim: Victim) -> Iterator[pexpect.spawn[bytes]]:
    """gdb at a terminal, a breakpoint in the running victim."""
    child: pexpect.spawn[bytes] = pexpect.spawn(sys.executable, ["-m", "debugrun", "gdb", victim.name], timeout=30)
    child.expect_exact(b"(gdb) ")
    for line in ("set pagination off", "break work", "ignore 1 1000000"):
        child.sendline(line)
        child.expect_exact(b"(gdb) ")
    child.sendline("continue")
    child.expect_exact(b"Continuing.")
    time.sleep(0.5)
    assert victim.tracer() != 0
    yield child
    child.close(force=True)


@pytest.mark.parametrize("victim", ["0:0", "1000:1000"], indirect=True, ids=["root", "uid-1000"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_gdb_at_a_terminal(victim: Victim, number: signal.Signals) -> None:
    with at_prompt(victim) as child:
        child.kill(number)
        released(victim)


# Without input a tool starts with its sidecar, and then the same lease holds it in another way.
inputs = pytest.mark.parametrize("stdin", [subprocess.PIPE, subprocess.DEVNULL], ids=["input", "no-input"])


@inputs
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
@pytest.mark.parametrize("tool", [tool for tool in BATCH if tool != "ltrace"])
def test_a_tool_without_a_terminal(tool: str, victim: Victim, number: signal.Signals, stdin: int) -> None:
    with caught(tool, victim, stdin) as process:
        process.send_signal(number)
        released(victim)
        assert process.wait(10) == (-number if number == signal.SIGKILL else 128 + number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda each: each.name)
def test_ltrace_of_one_thread(engine: docker.APIClient, toolbox: str, number: signal.Signals) -> None:
    assert toolbox
    with victims(engine, command=["/opt/app/worker", "lone"]) as lone, caught("ltrace", lone) as process:
        process.send_signal(number)
        released(lone)


@pytest.mark.parametrize("stdin", [subprocess.PIPE, pytest.param(subprocess.DEVNULL, marks=pytest.mark.slow)])
def test_a_client_that_sleeps(victim: Victim, stdin: int) -> None:
    with caught("gdb", victim, stdin) as process:
        process.send_signal(signal.SIGSTOP)
        released(victim, within=SLEPT)
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 125
    assert victim.name.encode() in said.splitlines()[-2]


@inputs
@pytest.mark.parametrize("how", ["stop", "TERM"])
def test_somebody_stops_the_sidecar(engine: docker.APIClient, victim: Victim, how: str, stdin: int) -> None:
    with caught("gdb", victim, stdin) as process:
        (sidecar,) = victim.sidecars()
        if how == "stop":
            engine.stop(sidecar)
        else:
            engine.kill(sidecar, signal=how)
        released(victim)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 125
    assert b"stopped the sidecar" in said


def test_gc_ends_what_is_in_use_only_when_told(victim: Victim) -> None:
    with caught("gdb", victim) as process, client_of() as engine:
        (sidecar,) = victim.sidecars()
        (found,) = [each for each in leftovers(engine) if each.id == sidecar]
        assert (found.tool, found.target, found.state, found.abandoned) == ("gdb", victim.id, "running", False)
        assert sidecar not in {each.id for each in collect(engine)}
        assert victim.tracer() != 0
        assert [each.id for each in collect(engine, only=[found.name])] == [sidecar]
        released(victim)
        assert process.wait(10) == 125


def test_gc_removes_what_never_started(engine: docker.APIClient, victim: Victim) -> None:
    name = f"debugrun-gdb-{uuid.uuid4().hex[:10]}"
    labels = ownership.marked(kinds.SIDECAR, name, {kinds.LABEL_TARGET: victim.id})
    host = engine.create_host_config(auto_remove=True, read_only=True, pid_mode=f"container:{victim.id}")
    made = engine.create_container(victim.image, name=name, labels=labels, host_config=host)["Id"]
    with client_of() as connection:
        (found,) = [each for each in leftovers(connection) if each.id == made]
        assert not found.abandoned
        collect(connection, only=[made[:12]])
        assert made not in {each.id for each in leftovers(connection)}


@inputs
def test_the_connection_to_the_engine_breaks(victim: Victim, tmp_path: Path, stdin: int) -> None:
    with Proxy(tmp_path / "s") as proxy:
        environment = {**os.environ, "DOCKER_HOST": f"unix://{proxy.path}"}
        words = debugrun("gdb", victim.name, "--", *GDB)
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=stdin, stdout=pipe, stderr=pipe, env=environment) as process:
            victim.await_work(process, traced=True)
            proxy.cut()
            released(victim)
            _, said = process.communicate(timeout=20)
    assert process.returncode == 125
    assert b"broke the connection to gdb" in said


@pytest.mark.parametrize("end", ["client", "gdb", "both"])
def test_gdbserver_with_a_gdb_that_goes(victim: Victim, tmp_path: Path, end: str) -> None:
    """It ignores its input while the target runs, and TERM would kill it with its breakpoints in place."""
    if not Path("/usr/bin/gdb").exists():
        pytest.skip("no gdb on this machine to connect with: apt-get install gdb")
    script = tmp_path / "run"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -m debugrun gdbserver {victim.name}\n")
    script.chmod(0o755)
    settings = [
        "set confirm off",
        "set pagination off",
        "set sysroot /nonexistent",
        "set remotetimeout 30",
        "set breakpoint always-inserted on",
    ]
    args = [word for line in settings for word in ("-iex", line)]
    gdb: pexpect.spawn[bytes] = pexpect.spawn("gdb", ["-nx", "-q", *args, f"/proc/{victim.pid}/exe"], timeout=30)
    gdb.expect_exact(b"(gdb) ")
    for line in (f"target remote | exec {script}", "break main"):  # never hit again: the target does nothing for us
        gdb.sendline(line)
        gdb.expect_exact(b"(gdb) ")
    gdb.sendline("continue")
    gdb.expect_exact(b"Continuing.")
    time.sleep(0.5)
    client = int(subprocess.run(["pgrep", "-f", f"debugrun gdbserver {victim.name}$"], capture_output=True, check=True, text=True).stdout)  # fmt: skip  # noqa: E501
    if end != "gdb":
        os.kill(client, signal.SIGKILL)
    if end != "client":
        gdb.kill(signal.SIGKILL)
    released(victim)
    gdb.close(force=True)


class Proxy:
    """A unix socket before the engine's, to be cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self.listener.accept()
                theirs = socket.socket(socket.AF_UNIX)
                theirs.connect(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
                self.pairs.append((ours, theirs))
                threading.Thread(target=self.relay, args=(ours, theirs), daemon=True).start()

    @staticmethod
    def relay(one: socket.socket, other: socket.socket) -> None:
        to: dict[socket.socket, Callable[[bytes], None]] = {one: other.sendall, other: one.sendall}
        with contextlib.suppress(OSError, ValueError):
            while to:
                for ready in select.select(list(to), [], [])[0]:
                    if data := ready.recv(65536):
                        to[ready](data)
                    else:
                        (other if ready is one else one).shutdown(socket.SHUT_WR)
                        del to[ready]

    def cut(self) -> None:
        self.listener.close()
        for each in (end for pair in self.pairs for end in pair):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.path.unlink(missing_ok=True)
