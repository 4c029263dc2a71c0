"""What an export makes where it is used: the tool works in it, and nothing more is granted than was planned."""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.conftest import Completed
from tests.host import compose
from tests.host.state import folder

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("docker") is None, reason="no docker client here: install docker-cli"),
]
Run = Callable[..., Completed]
# What differs between any two containers.
OWN = frozenset({"ContainerIDFile", "Cgroup", "CgroupParent"})


def host_config(engine: docker.APIClient, container: str) -> dict[str, Any]:
    found = engine.inspect_container(container)["HostConfig"]
    return {key: value for key, value in found.items() if key not in OWN}


def docker_cli(*words: str, stdin: str = "", timeout: float = 120) -> Completed:
    return subprocess.run(
        words, input=stdin, capture_output=True, text=True, errors="replace", check=False, timeout=timeout
    )


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What `other` has otherwise; empty and null are the same to the engine."""
    return {key: other.get(key) for key in {*one, *other} if (one.get(key) or None) != (other.get(key) or None)}


@pytest.fixture
def plain(engine: docker.APIClient, toolbox: str) -> Iterator[dict[str, Any]]:
    """The HostConfig of `docker create` without an option."""
    container = docker_cli("docker", "create", toolbox, "true").stdout.strip()
    yield host_config(engine, container)
    engine.remove_container(container)


def as_created(line: str) -> list[str]:
    """The words of a `docker run` line that makes the same container and does not start it."""
    words = shlex.split(line)
    assert words[:3] == ["docker", "run", "--rm"]
    return ["docker", "create", *(word for word in words[3:] if word not in {"-it", "-i"})]


@pytest.mark.parametrize(
    ("tool", "service"), [("gdb", "root"), ("strace", "u1000"), ("perf", "u1000"), ("gdb", "undump")]
)
def test_a_docker_run_line_makes_what_was_planned(  # noqa: PLR0913, PLR0917 - a tool on a target, by two clients
    engine: docker.APIClient,
    debugrun: Run,
    target: Callable[[str], str],
    plain: dict[str, Any],
    tmp_path: Path,
    tool: str,
    service: str,
) -> None:
    container, file = target(service), tmp_path / "line.sh"
    plan = json.loads(debugrun("plan", tool, container, "--via", "sidecar", "--json", status=0).stdout)
    option = plan["options"][plan["chosen"]]
    debugrun("export", tool, container, "--to", "docker-run", "-o", str(file), status=0)
    words = as_created(file.read_text())
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    made = done.stdout.strip()
    try:
        changed = difference(plain, host_config(engine, made))
        inspected = engine.inspect_container(made)["Config"]
    finally:
        engine.remove_container(made)
    planned: dict[str, Any] = {"PidMode": f"container:{container}", "ReadonlyRootfs": True, "NetworkMode": "none"}
    planned["Tmpfs"] = {"/tmp": "mode=1777"}  # noqa: S108 - of the container
    if set(option["cap_add"]) != set(DOCKER_DEFAULT):
        planned |= {"CapDrop": ["ALL"], "CapAdd": [f"CAP_{name}" for name in option["cap_add"]]}
    assert {each.split("=")[0] for each in changed.pop("SecurityOpt", None) or ()} == {
        each.split("=")[0] for each in option["security_opt"]
    }
    assert inspected["User"] == option["user"]
    assert {key: value for key, value in changed.items() if value} == {k: v for k, v in planned.items() if v}


DOCKER_DEFAULT = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip


@pytest.mark.parametrize("service", ["root", "u1000", "undump"])
def test_gdb_works_in_what_a_docker_run_line_starts(
    debugrun: Run,
    target: Callable[[str], str],
    assert_harmless: Callable[[str], None],
    service: str,
) -> None:
    line = debugrun("export", "gdb", target(service), "--to", "docker-run", status=0).stdout
    words = [word if word != "-it" else "-i" for word in shlex.split(line)]
    done = docker_cli(*words, stdin="bt\ndetach\nquit\n")
    assert "#0 " in done.stdout, done.stderr
    assert_harmless(target(service))


COMPOSE = """\
services:
  app:
    image: debugrun-test/app
    network_mode: none
    pull_policy: never
    stop_grace_period: 0s
    user: "1000:1000"
"""


@pytest.fixture
def project(targets: Mapping[str, str], tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A Compose project that runs: (its folder, the first words of its command line)."""
    assert targets
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    words = [*compose.command(), "-p", f"debugrun-export-{uuid.uuid4().hex[:8]}"]
    subprocess.run([*words, "up", "--detach"], cwd=tmp_path, check=True, capture_output=True)
    yield tmp_path, words
    files = [
        "-f",
        "compose.yaml",
        *(["-f", "compose.debug.yaml"] if (tmp_path / "compose.debug.yaml").exists() else []),
    ]
    subprocess.run(
        [*words, *files, "--profile", "debug", "down", "-t", "0"], cwd=tmp_path, check=False, capture_output=True
    )


@pytest.mark.parametrize("tool", ["gdb", "perf"])
def test_a_compose_override_is_taken_and_its_service_works(
    engine: docker.APIClient, debugrun: Run, project: tuple[Path, list[str]], tool: str
) -> None:
    place, words = project
    container = subprocess.run(
        [*words, "ps", "-q", "app"], cwd=place, check=True, capture_output=True, text=True
    ).stdout
    debugrun("export", tool, container.strip(), "--to", "compose", "-o", str(place / "compose.debug.yaml"), status=0)
    both = [*words, "-f", "compose.yaml", "-f", "compose.debug.yaml", "--profile", "debug"]
    config = json.loads(
        subprocess.run(
            [*both, "config", "--format", "json"], cwd=place, check=True, capture_output=True, text=True
        ).stdout
    )
    service = config["services"][f"app-{tool}"]
    assert service["pid"] == "service:app"
    assert service["user"] == "1000:1000"
    check = {
        "gdb": ("-batch", "-p", "1", "-ex", "bt"),
        "perf": ("stat", "-e", "task-clock", "-p", "1", "--timeout", "100"),
    }
    done = subprocess.run(
        [*both, "run", "--rm", "-T", f"app-{tool}", service["command"][0], *check[tool]],
        cwd=place, check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert {"gdb": "#0 ", "perf": "msec task-clock"}[tool] in done.stdout + done.stderr
    assert engine.inspect_container(container.strip())["State"]["Running"]


@pytest.fixture
def swarm(engine: Any) -> Iterator[Any]:  # noqa: ANN401 - docker-py says no types of a swarm
    """The tests' own engine as a swarm of one; nobody else's is made one."""
    if str(folder()) not in os.environ.get("DOCKER_HOST", ""):
        pytest.skip("the engine in reach is not the tests' own: a private one (make engine) can be made a swarm")
    engine.init_swarm(advertise_addr="127.0.0.1", listen_addr="127.0.0.1:2377")
    try:
        yield engine
    finally:
        engine.leave_swarm(force=True)


def task_container(engine: Any, service: str, *, other_than: str = "") -> str:  # noqa: ANN401 - the same
    """The running container of a service's only task; a new one, where the old is named."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for task in engine.tasks(filters={"service": service, "desired-state": "running"}):
            container = task["Status"].get("ContainerStatus", {}).get("ContainerID", "")
            if task["Status"]["State"] == "running" and container not in {"", other_than}:
                return str(container)
        time.sleep(0.3)
    raise AssertionError(engine.tasks(filters={"service": service}))


@pytest.mark.slow
def test_a_swarm_service_gets_the_profile_and_nothing_else(
    swarm: Any,  # noqa: ANN401 - the same
    debugrun: Run,
    targets: Mapping[str, str],
) -> None:
    assert targets
    spec = {"Image": "debugrun-test/app", "User": "1000:1000"}
    service = swarm.create_service({"ContainerSpec": spec}, name="debugrun-export-test")["ID"]
    try:
        first = task_container(swarm, service)
        line = ("export", "perf", first, "--to", "swarm", "--service", "debugrun-export-test")
        if tuple(map(int, swarm.version()["ApiVersion"].split("."))) < (1, 46):
            assert "ignores a service's seccomp" in debugrun(*line, status=126).stderr
            return
        done = debugrun(*line, status=0)
        body = json.loads(done.stdout)["TaskTemplate"]["ContainerSpec"]
        found = swarm.inspect_service(service)
        whole = found["Spec"]
        whole["TaskTemplate"]["ContainerSpec"] |= body
        answer = swarm.post(
            f"{swarm.base_url}/services/{service}/update", params={"version": found["Version"]["Index"]}, json=whole
        )
        answer.raise_for_status()
        second = task_container(swarm, service, other_than=first)
        changed = difference(host_config(swarm, first), host_config(swarm, second))
        (option,) = changed.pop("SecurityOpt")
        assert changed == {}
        assert json.loads(option.removeprefix("seccomp=")) == json.loads(
            base64.b64decode(body["Privileges"]["Seccomp"]["Profile"])
        )
    finally:
        swarm.remove_service(service)
