"""The targets are what their names say, and "harmless" notices harm: what every other live test stands on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from debugrun.core.know.procfs import CAPABILITIES
from tests.live.conftest import remains, threads

pytestmark = pytest.mark.live

SYS_PTRACE = "/usr/lib/debugrun/caps/sys_ptrace"


def status(host_pid: int) -> dict[str, str]:
    text = Path(f"/proc/{host_pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "uid", "capability"),
    [
        ("root", 0, "CHOWN"),
        ("u1000", 1000, None),
        ("hard", 1000, None),
        ("rootcap", 0, "NET_ADMIN"),
        ("rootnocaps", 0, None),
        ("static", 65532, None),
        ("python", 1000, None),
    ],
)
def test_users_and_capabilities(
    name: str, uid: int, capability: str | None, engine: docker.APIClient, target: Callable[[str], str]
) -> None:
    seen = status(engine.inspect_container(target(name))["State"]["Pid"])
    permitted = int(seen["CapPrm"], 16)
    assert seen["Uid"].split() == [str(uid)] * 4
    assert permitted >> CAPABILITIES.index(capability) & 1 if capability else permitted == 0


@pytest.mark.parametrize("name", ["undump", "undump1000"])
def test_undumpable_processes_belong_to_root(name: str, engine: docker.APIClient, target: Callable[[str], str]) -> None:
    """proc(5): the files of such a process are root's, whoever runs it."""
    pid = engine.inspect_container(target(name))["State"]["Pid"]
    assert Path(f"/proc/{pid}/mem").stat().st_uid == 0
    assert (status(pid)["Uid"].split()[0] == "0") == (name == "undump")


@pytest.mark.parametrize("name", ["root", "u1000", "hard", "static", "musl", "debuglink", "trap", "abslink"])
def test_no_shell_and_no_debugger_within(name: str, engine: docker.APIClient, target: Callable[[str], str]) -> None:
    root = Path(f"/proc/{engine.inspect_container(target(name))['State']['Pid']}/root")
    names = {path.name for folder in ("bin", "usr/bin", "opt/app", "") for path in (root / folder).glob("*")}
    assert not names & {"sh", "bash", "gdb", "busybox"}


def test_the_worker_has_its_threads_and_ticks(engine: docker.APIClient, target: Callable[[str], str]) -> None:
    container = target("root")
    assert sorted(thread.name for thread in threads(main(engine, container))) == ["alpha", "beta", "worker"]
    before = engine.logs(container, tail=1)
    time.sleep(0.5)
    assert engine.logs(container, tail=1) != before


def main(engine: docker.APIClient, container: str) -> int:
    return int(engine.inspect_container(container)["State"]["Pid"])


def test_several_processes(engine: docker.APIClient, target: Callable[[str], str]) -> None:
    def names(service: str) -> set[str]:
        return {thread.name for thread in threads(main(engine, target(service)))} - {"alpha", "beta"}

    assert names("many") == {"supervisor", "web", "queue", "cron"}
    assert names("init") == {"tini", "worker"}
    assert names("shinit") == {"sh", "worker"}
    assert names("multiuid") == {"supervisor", "worker"}


@pytest.fixture
def tracer(engine: docker.APIClient, toolbox: str, target: Callable[[str], str]) -> Iterator[str]:
    """Container id of a strace on the target `u1000`."""
    host = engine.create_host_config(cap_drop=["ALL"], cap_add=["SYS_PTRACE"], pid_mode=f"container:{target('u1000')}")
    command = [f"{SYS_PTRACE}/strace", "-f", "-p", "1"]
    made = engine.create_container(toolbox, command, user="1000:1000", host_config=host, network_disabled=True)
    engine.start(made["Id"])
    yield made["Id"]
    engine.remove_container(made["Id"], force=True)


def test_harm_is_noticed(
    engine: docker.APIClient,
    target: Callable[[str], str],
    tracer: str,
    assert_harmless: Callable[[str], None],
) -> None:
    container = target("u1000")
    deadline = time.monotonic() + 10
    while not remains(engine, container) and time.monotonic() < deadline:
        time.sleep(0.05)
    traced = [each for each in remains(engine, container) if "traced by" in each]
    assert len(traced) == 3
    engine.stop(tracer)
    assert_harmless(container)
