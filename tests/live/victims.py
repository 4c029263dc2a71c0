"""Targets of their own for tests that might kill them, and what must be true of them afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker

from debugrun.engine.engine import Engine, connect

IMAGE = "debugrun-test/app"
WITHIN = 10.0  # seconds for a target to be free after the client's end


@dataclass(frozen=True, kw_only=True, slots=True)
class Victim:
    """A container to be hard on. `pid` is its PID 1 by the host."""

    client: docker.APIClient
    id: str
    name: str
    pid: int
    image: str = IMAGE

    def tracer(self) -> int:
        """The tracer of any of its threads; 0: none."""
        tracers = [field(path, "TracerPid") for path in Path(f"/proc/{self.pid}/task").glob("*/status")]
        return next((int(each) for each in tracers if each not in {"", "0"}), 0)

    def sidecars(self) -> list[str]:
        """Containers of ours that are there for it, in any state."""
        listed = self.client.containers(all=True, filters={"label": f"debugrun.target={self.id}"})
        return [each["Id"] for each in listed]

    def zombies(self) -> list[str]:
        """Dead processes that its PID 1 was given and does not reap, by name."""
        paths = Path("/proc").glob("[0-9]*/status")
        ours = (path for path in paths if field(path, "PPid") == str(self.pid))
        return [field(path, "Name") for path in ours if field(path, "State").startswith("Z")]

    def state(self) -> str:
        """One letter of proc_pid_stat(5)."""
        return field(Path(f"/proc/{self.pid}/status"), "State")[:1]

    def await_work(self, process: subprocess.Popen[bytes], *, traced: bool) -> None:
        """Wait until a tool is at work on it, and then so long that its breakpoints are in."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not (self.tracer() if traced else self.sidecars()):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(2.0)
        assert process.poll() is None, process.communicate()
        assert not traced or self.tracer() != 0


@contextlib.contextmanager
def victims(
    client: docker.APIClient, *, user: str = "1000:1000", image: str = IMAGE, command: list[str] | None = None
) -> Iterator[Victim]:
    name = f"debugrun-victim-{uuid.uuid4().hex[:8]}"
    host = client.create_host_config(network_mode="none")
    made = client.create_container(image, command, name=name, user=user, host_config=host)
    try:
        client.start(made["Id"])
        pid = client.inspect_container(made["Id"])["State"]["Pid"]
        yield Victim(client=client, id=made["Id"], name=name, pid=pid, image=image)
    finally:
        remove(client, made["Id"])


def remove(client: docker.APIClient, container: str) -> None:
    """Remove a target; Podman does not while a sidecar that it is still removing has joined it.

    Killed first: Podman's removal would wait ten seconds for a main process that ignores TERM.
    """
    deadline = time.monotonic() + WITHIN
    with contextlib.suppress(docker.errors.APIError):
        client.kill(container)
    while True:
        try:
            client.remove_container(container, force=True)
        except docker.errors.APIError as error:
            if "dependent containers" not in str(error) or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(0.2)


def mapped(client: docker.APIClient, container: str) -> bool:
    """Whether its processes are in another user namespace than ours: the engine is rootless, or remaps.

    Whether one of root there is dumpable can't be told from here: its files belong to root of that namespace either
    way, and a look from outside takes SYS_PTRACE, which lifts that (kernel/ptrace.c, security/commoncap.c).
    """
    pid = client.inspect_container(container)["State"]["Pid"]
    return Path(f"/proc/{pid}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()


def without_cgroups(client: docker.APIClient) -> bool:
    """Whether its containers get no cgroups, and so no limits: a rootless engine may not write to those of v1."""
    info = client.info()
    return "name=rootless" in info["SecurityOptions"] and info["CgroupVersion"] == "1"


def spares_execs(client: docker.APIClient) -> bool:
    """Whether a container that is killed goes on, and is said to, for as long as something runs in it by exec.

    Docker finds what else to kill in the cgroup. Podman looks for nothing, but says that the container has ended.
    """
    podman = "Podman Engine" in {each["Name"] for each in client.version().get("Components", [])}
    return without_cgroups(client) and not podman


@contextlib.contextmanager
def interrupting() -> Iterator[list[int]]:
    """Press Ctrl-C twice on the tool that we run, once it has said something: the list takes the file of its output.

    Where the tool has ended already, nobody takes it: it must not end the tests.
    """
    said: list[int] = []
    over = threading.Event()

    def interrupt() -> None:
        while not over.wait(0.1) and not (said and os.fstat(said[0]).st_size):
            pass
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            over.wait(1.0)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield said
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def client_of() -> Iterator[Engine]:
    with connect() as engine:
        yield engine


def released(victim: Victim, *, within: float = WITHIN, reaped: bool = True) -> float:
    """Assert that the victim is free and alone within that time; how long it took, in seconds.

    Not `reaped`: the sidecar was killed with everything in it, and nobody was left to reap what tini had.
    """
    began = time.monotonic()
    while time.monotonic() - began < within and (victim.tracer() or victim.sidecars()):
        time.sleep(0.05)
    took = time.monotonic() - began
    state = victim.client.inspect_container(victim.id)["State"]
    assert state["Running"], f"the target ended with {state['ExitCode']}"
    assert victim.tracer() == 0
    assert victim.sidecars() == []
    dead = victim.zombies() if reaped else []
    assert dead == [], f"left to the target's PID 1: {dead}"
    time.sleep(0.3)  # a breakpoint that stayed would be hit by now
    assert victim.client.inspect_container(victim.id)["State"]["Running"]
    assert victim.state() in "SR"
    return took


def field(path: Path, name: str) -> str:
    """A field of /proc/PID/status; "" when the process has gone."""
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return line.partition(":")[2].strip()
    return ""
