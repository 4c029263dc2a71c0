"""What "harmless" means, as checks on a target and on what we leave behind."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

WITHIN = 15.0  # seconds for a dying sidecar to be gone


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """What may not change about a container while it is looked at."""

    started: str
    restarts: int
    running: bool
    changes: tuple[str, ...]  # files that differ from the image


def life(engine: docker.APIClient, container: str) -> Life:
    inspected = engine.inspect_container(container)
    return Life(
        started=inspected["State"]["StartedAt"],
        restarts=inspected["RestartCount"],
        running=inspected["State"]["Running"],
        changes=tuple(sorted(each["Path"] for each in engine.diff(container) or [])),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Thread:
    """One thread of a target, by /proc of the engine's host."""

    number: int
    name: str
    state: str  # one letter of proc_pid_stat(5): R, S, D, T, t, Z
    tracer: int


def threads(main: int) -> list[Thread]:
    """All threads of the processes in the PID namespace of `main`, and of their children: an orphan's may be one.

    `main` is the container's own process by the host; its cgroup says less, since rootless engines may make none.
    Empty: they cannot be seen from here.
    """
    own: dict[str, list[Thread]] = {}
    others: dict[str, list[Thread]] = {}
    namespace = pid_namespace(Path(f"/proc/{main}"))
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            statuses = [path.read_text() for path in process.glob("task/*/status")]
            if pid_namespace(process) == namespace:
                own[process.name] = [thread(text) for text in statuses]
            else:
                parent = re.search(r"^PPid:\s*(\d+)$", statuses[0], re.MULTILINE) if statuses else None
                others.setdefault(parent[1] if parent else "", []).extend(thread(text) for text in statuses)
    return [each for pid, mine in own.items() for each in [*mine, *others.get(pid, [])]]


def pid_namespace(process: Path) -> str:
    """Its name; "" of one that has ended: its parent tells whose it was."""
    try:
        return str((process / "ns/pid").readlink())
    except OSError:
        return ""


def thread(text: str) -> Thread:
    fields = dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE))
    return Thread(
        number=int(fields["Pid"]), name=fields["Name"], state=fields["State"][0], tracer=int(fields["TracerPid"])
    )


@pytest.fixture(scope="session")
def untouched(engine: docker.APIClient, targets: Mapping[str, str]) -> Mapping[str, Life]:
    """How each target was when it came up, by container id."""
    return {container: life(engine, container) for container in targets.values()}


@pytest.fixture
def assert_harmless(engine: docker.APIClient, untouched: Mapping[str, Life]) -> Callable[[str], None]:
    """The target runs on untraced, was never restarted nor written into, and nothing of ours is left beside it.

    What was dead before the test is somebody else's: lines that are typed without a reaper leave zombies.
    """
    dead = zombies()

    def check(container: str) -> None:
        deadline = time.monotonic() + WITHIN
        left = remains(engine, container, dead)
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = remains(engine, container, dead)
        assert left == []
        assert life(engine, container) == untouched[container]

    return check


def zombies() -> frozenset[int]:
    """The processes of this machine that have ended and were not reaped."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[0] == "Z":
                found.add(int(path.parent.name))
    return frozenset(found)


def remains(engine: docker.APIClient, container: str, dead: frozenset[int] = frozenset()) -> list[str]:
    """What still shows that the container was looked at: sidecars of ours, threads stopped, traced or dead."""
    ours = engine.containers(all=True, filters={"label": "debugrun.session"})
    sidecars = [str(each["Names"]) for each in ours if container in {target_of(each), pid_mode(engine, each["Id"])}]
    seen = threads(engine.inspect_container(container)["State"]["Pid"])
    assert seen, "the target's /proc is not readable from here: run the tests on the engine's own host, as root"
    hurt = [
        f"{each.name}: {each.state}, traced by {each.tracer}"
        for each in seen
        if each.tracer or (each.state in "TtZX" and each.number not in dead)
    ]
    return [*sidecars, *hurt]


def target_of(listed: Mapping[str, Mapping[str, str]]) -> str:
    return listed["Labels"].get("debugrun.target", "")


def pid_mode(engine: docker.APIClient, container: str) -> str:
    try:
        return str(engine.inspect_container(container)["HostConfig"]["PidMode"]).removeprefix("container:")
    except docker.errors.APIError as error:  # Podman says 500 of one that it is removing
        if "no such container" not in str(error).lower():
            raise
        return ""
