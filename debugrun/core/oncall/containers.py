"""Which containers are meant, and what the engine says of each: how it runs or ended, and its limits. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping

from debugrun.core.know import pod as knowledge
from debugrun.core.know.json_access import Json, items, mapping, text
from debugrun.values import dataclass

PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
GIB_WITHOUT_LIMIT = 1 << 60  # bytes: more than that is the kernel's word for no limit
SIGNALS = {
    129: "HUP", 130: "INT", 131: "QUIT", 132: "ILL", 133: "TRAP", 134: "ABRT", 135: "BUS", 136: "FPE", 137: "KILL",
    139: "SEGV", 141: "PIPE", 143: "TERM", 159: "SYS",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """One container, as the engine describes it."""

    id: str
    name: str
    service: str
    project: str
    state: str
    pid: int
    exit_code: int
    oom_killed: bool
    error: str
    restarts: int
    restart_policy: str
    started: str
    finished: str
    health: str
    addresses: tuple[str, ...]

    @property
    def short(self) -> str:
        """What people call it: the compose service, else its name."""
        return self.service or self.name

    @property
    def running(self) -> bool:
        """Whether its processes can be looked at."""
        return self.state in {"running", "paused"} and self.pid > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """What a container uses of its limits; 0 as a limit: none. `throttled` and `periods` are of its CPU quota."""

    memory: int = 0
    memory_limit: int = 0
    pids: int = 0
    pids_limit: int = 0
    throttled: int = 0
    periods: int = 0


def container(inspected: Json) -> Container:
    """From GET /containers/ID/json."""
    state, config = mapping(inspected, "State"), mapping(inspected, "Config")
    labels = mapping(config, "Labels")
    policy = mapping(mapping(inspected, "HostConfig"), "RestartPolicy")
    networks = mapping(mapping(inspected, "NetworkSettings"), "Networks")
    found = [
        text(each, key)
        for each in networks.values()
        if isinstance(each, Mapping)
        for key in ("IPAddress", "GlobalIPv6Address")
    ]
    return Container(
        id=text(inspected, "Id"),
        name=text(inspected, "Name").removeprefix("/"),
        service=text(labels, SERVICE),
        project=text(labels, PROJECT),
        state=text(state, "Status"),
        pid=_number(state, "Pid"),
        exit_code=_number(state, "ExitCode"),
        oom_killed=state.get("OOMKilled") is True,
        error=text(state, "Error"),
        restarts=_number(inspected, "RestartCount"),
        restart_policy=text(policy, "Name"),
        started=text(state, "StartedAt"),
        finished=text(state, "FinishedAt"),
        health=text(mapping(state, "Health"), "Status"),
        addresses=tuple(address for address in found if address),
    )


def of_pod(pod: Json, name: str) -> Container:
    """From a pod: the container of that name, which runs. Its PID is its own: the API tells no other."""
    status = knowledge.status_of(pod, name)
    running = mapping(mapping(status, "state"), "running")
    return Container(
        id=text(status, "containerID").partition("://")[2],
        name=f"pod/{knowledge.name(pod)}/{name}",
        service="",
        project="",
        state="running",
        pid=1,
        exit_code=0,
        oom_killed=False,
        error="",
        restarts=_number(status, "restartCount"),
        restart_policy=text(mapping(pod, "spec"), "restartPolicy"),
        started=text(running, "startedAt"),
        finished="",
        health="" if status.get("ready") is not False else "not ready",
        addresses=(),
    )


def hosts(listed: Iterable[Json], project: str) -> dict[str, str]:
    """What containers are called by their addresses, from GET /containers/json: a service of `project`, else a name."""
    found = {}
    for each in listed:
        labels = mapping(each, "Labels")
        service = text(labels, SERVICE) if project and text(labels, PROJECT) == project else ""
        name = service or str((items(each, "Names") or [""])[0]).removeprefix("/")
        for network in mapping(mapping(each, "NetworkSettings"), "Networks").values():
            if isinstance(network, Mapping):
                for key in ("IPAddress", "GlobalIPv6Address"):
                    if address := text(network, key):
                        found[address] = name
    return found


def use(stats: Json) -> Use:
    """From GET /containers/ID/stats; what `docker stats` leaves out of memory (files that can be dropped) is out."""
    memory, pids = mapping(stats, "memory_stats"), mapping(stats, "pids_stats")
    details = mapping(memory, "stats")
    cached = _number(details, "total_inactive_file") or _number(details, "inactive_file")
    throttling = mapping(mapping(stats, "cpu_stats"), "throttling_data")
    limit = _number(memory, "limit")
    pids_limit = _number(pids, "limit")
    return Use(
        memory=max(0, _number(memory, "usage") - cached),
        memory_limit=limit if limit < GIB_WITHOUT_LIMIT else 0,
        pids=_number(pids, "current"),
        pids_limit=pids_limit if pids_limit < 1 << 31 else 0,
        throttled=_number(throttling, "throttled_periods"),
        periods=_number(throttling, "periods"),
    )


def age(stamp: str, now: float) -> float | None:
    """Seconds since a time of the engine's (RFC 3339); None for one that never was."""
    matched = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)$", stamp)
    if matched is None or stamp.startswith("0001"):
        return None
    told = dt.datetime.fromisoformat(matched[1] + matched[2].replace("Z", "+00:00"))
    return max(0.0, now - told.timestamp())


def ending(found: Container) -> str:
    """How a container that does not run has ended, in words."""
    if found.error:
        return f"could not start: {found.error}"
    if found.oom_killed:
        return "killed by the kernel: out of memory (its limit, or the machine's)"
    if found.exit_code in SIGNALS:
        return f"ended by signal {SIGNALS[found.exit_code]} (status {found.exit_code})"
    if found.state == "created":
        return "never started"
    return f"ended with status {found.exit_code}"


def helps(found: Container) -> str:
    """The command that helps with a container that does not run."""
    if found.oom_killed:
        return f"docker update --memory MORE --memory-swap MORE {found.name}"
    if found.state == "paused":
        return f"docker unpause {found.name}"
    if found.state == "restarting":
        return f"docker logs --tail 50 {found.name}"
    if found.exit_code in {126, 127}:
        return f"docker inspect --format '{{{{.Path}}}} {{{{.Args}}}}' {found.name}  # is that program in its image?"
    if found.state in {"exited", "dead", "created"}:
        return f"docker start {found.name}"
    return ""


def project_members(listed: Iterable[Json], project: str) -> list[str]:
    """Ids of a compose project's containers."""
    return [text(each, "Id") for each in listed if text(mapping(each, "Labels"), PROJECT) == project]


def interesting(listed: Iterable[Json]) -> list[str]:
    """Ids of the containers that run or try to."""
    return [text(each, "Id") for each in listed if text(each, "State") not in {"exited", "created"}]


def _number(data: Json, key: str) -> int:
    value = data.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
