"""Workers to be hard on, which are not PID 1, and what may not have changed about one after a tool was there.

The kernel gives PID 1 of a namespace no signal that it does not handle: as a target it survives what kills others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.live.victims import remove

IMAGE = "debugrun-test/app"
PROGRAM = "/opt/app/crowd"
STARTS = 60.0  # seconds for two thousand threads on a busy machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What tests/targets/crowd.c is told, and whether its worker is stopped by SIGSTOP before a tool comes."""

    threads: int = 1
    does: str = ""  # "", busy, vfork, calls
    catches: bool = False
    stopped: bool = False

    def __str__(self) -> str:
        words = [f"{self.threads} threads", self.does or "sleeps"]
        return " ".join([*words, *(["catches"] if self.catches else []), *(["stopped"] if self.stopped else [])])

    @property
    def command(self) -> list[str]:
        return [str(self.threads), *([self.does] if self.does else []), *(["catches"] if self.catches else [])]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What /proc says of a worker: nothing of it may change."""

    alive: bool
    stopped: int = 0  # threads in state T or t
    waiting: int = 0  # threads in state D
    threads: int = 0
    traced: int = 0
    pending: tuple[int, ...] = ()  # bit masks, one of each thread with any, and the one that the threads share
    zombies: int = 0  # dead children of its PID 1
    said: str = ""  # by the worker of signals that it got, and by its parent of its end
    noticed: int = dataclasses.field(default=0, compare=False)  # stops and continuations that its parent was told of


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """A worker in a container. `pid` is its PID there, `host_pid` by the host."""

    client: docker.APIClient
    kind: Kind
    id: str
    name: str
    pid: int
    host_pid: int
    parent: int

    def look(self) -> Look:
        """How it is now."""
        lines = self.client.logs(self.id).decode().splitlines()
        said = " ".join(line for line in lines if line.startswith(("saw", "died")))
        noticed = sum(line.startswith(("stopped", "continued")) for line in lines)
        zombies = sum(fields(path).get("State", "")[:1] == "Z" for path in children(self.parent))
        seen = threads(self.host_pid)
        states = [each["State"][0] for each in seen]
        if not seen or states[0] in "ZX":
            return Look(alive=False, zombies=zombies, said=said)
        masks = {int(each["ShdPnd"], 16) for each in seen} | {int(each["SigPnd"], 16) for each in seen}
        return Look(
            alive=True,
            stopped=sum(state in "Tt" for state in states),
            waiting=sum(state == "D" for state in states) if self.kind.does == "vfork" else 0,
            threads=len(seen),
            traced=sum(each["TracerPid"] != "0" for each in seen),
            pending=tuple(sorted(masks - {0})),
            zombies=zombies,
            said=said,
            noticed=noticed,
        )

    def tracer(self) -> int:
        """The PID by the host of what traces its first thread; 0: nothing."""
        return int(fields(Path(f"/proc/{self.host_pid}/status")).get("TracerPid", "0"))

    def sidecars(self) -> list[str]:
        """Containers of ours that are there for it, in any state."""
        listed = self.client.containers(all=True, filters={"label": f"debugrun.target={self.id}"})
        return [each["Id"] for each in listed]

    def settled(self, before: Look, within: float) -> tuple[Look, list[str]]:
        """How it is, and what is left of ours, once nothing changes for the better any more or time is over."""
        deadline, pause = time.monotonic() + within, 0.05
        while time.monotonic() < deadline:
            if not self.tracer() and not self.sidecars() and self.look() == before:
                break
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)
        time.sleep(0.2)  # a breakpoint that was left is met by then, a signal has come
        return self.look(), self.sidecars()


@contextlib.contextmanager
def worker(
    client: docker.APIClient, kind: Kind, user: str = "1000:1000", image: str = IMAGE, program: str = PROGRAM
) -> Iterator[Worker]:
    """One that runs in a container of its own."""
    name = f"debugrun-crowd-{uuid.uuid4().hex[:8]}"
    host = client.create_host_config(network_mode="none")
    made = client.create_container(image, [program, *kind.command], name=name, user=user, host_config=host)["Id"]
    try:
        client.start(made)
        parent = client.inspect_container(made)["State"]["Pid"]
        until(lambda: b"ready" in client.logs(made), STARTS)
        (path,) = [path for path in children(parent) if fields(path)["Name"] == "worker"]
        told = fields(path)
        found = Worker(
            client=client, kind=kind, id=made, name=name, parent=parent,
            pid=int(told["NSpid"].split()[-1]), host_pid=int(told["Pid"]),
        )  # fmt: skip
        until(lambda: kind.does != "vfork" or found.look().waiting == 1)
        if kind.stopped:
            os.kill(found.host_pid, signal.SIGSTOP)
            until(lambda: b"stopped" in client.logs(made))
        yield found
    finally:
        remove(client, made)


def until(condition: Callable[[], object], within: float = 10.0) -> None:
    """Wait for it. Raises TimeoutError."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come")
        time.sleep(0.002)


def children(pid: int) -> list[Path]:
    """The status files of the children of a process by the host."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [Path(f"/proc/{word}/status") for word in words]
    return []


def threads(pid: int) -> list[dict[str, str]]:
    """The fields of /proc/PID/status of each thread, the first one first."""
    found = sorted(Path(f"/proc/{pid}/task").glob("*/status"), key=lambda path: int(path.parent.name))
    return [told for path in found if "State" in (told := fields(path))]


def fields(path: Path) -> dict[str, str]:
    """Those of a status file; none when it has gone."""
    with contextlib.suppress(OSError):
        pairs = (line.partition(":") for line in path.read_text().splitlines())
        return {key: value.strip() for key, _, value in pairs}
    return {}
