"""`debugrun profile` in a user's hands: what it prints is what `docker run --security-opt seccomp=FILE` takes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from debugrun.core.rules.seccomp import Outcome, evaluate, parse_profile

pytestmark = pytest.mark.live

Completed = subprocess.CompletedProcess[str]
KERNEL = (6, 1)
STAT = ["perf", "stat", "-e", "task-clock:u", "--", "/bin/sh", "-c", ":"]
OWN = json.dumps(
    {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["perf_event_open", "bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"},
        ],
    }
)


def verdict(text: str, call: str, *args: int) -> Outcome:
    return evaluate(parse_profile(text), call, args, caps=frozenset(), kernel=KERNEL)


@pytest.fixture
def docker_run(open_toolbox: str) -> Callable[..., Completed]:
    """`docker run` of a command in the toolbox, as nobody and without a capability, under a profile's file."""
    program = shutil.which("docker")
    if program is None:
        pytest.skip("needs docker's own client (apt install docker.io, or docker-cli)")

    def run(profile: Path | None, *command: str) -> Completed:
        words = [program, "run", "--rm", "--network", "none", "--user", "65534:65534", "--cap-drop", "ALL"]
        words += ["--security-opt", f"seccomp={profile}"] if profile else []
        return subprocess.run(
            [*words, open_toolbox, *command], capture_output=True, text=True, timeout=120, check=False
        )

    return run


@pytest.mark.parametrize("explain", [(), ("--explain",)])
def test_docker_run_takes_what_is_printed(
    debugrun: Callable[..., Completed],
    target: Callable[[str], str],
    docker_run: Callable[..., Completed],
    tmp_path: Path,
    explain: tuple[str, ...],
) -> None:
    path = tmp_path / "perf.json"
    said = debugrun("profile", "perf", target("u1000"), "--mode", "stat", "-o", str(path), *explain, status=0)
    assert said.stdout == ""
    assert "perf_event_open: count in the process" in said.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    comments = [rule["comment"] for rule in json.loads(path.read_text())["syscalls"] if "comment" in rule]
    assert comments == (["perf stat: count in the process"] if explain else [])
    assert docker_run(None, *STAT).returncode != 0
    done = docker_run(path, *STAT)
    assert done.returncode == 0, done.stderr


def test_without_a_container_it_is_for_the_engine(
    debugrun: Callable[..., Completed], docker_run: Callable[..., Completed], tmp_path: Path
) -> None:
    """gdb with ASLR off: the calls of the way to start a program, and one value of personality(2)."""
    text = debugrun("profile", "gdb", "--no-aslr", status=0).stdout
    assert [verdict(text, "personality", value).passes for value in (0, 0x40000, 0x40008)] == [True, True, False]
    path = tmp_path / "gdb.json"
    path.write_text(text)
    gdb = ["gdb", "-nx", "-batch", "-ex", "run", "--args", "/bin/sh", "-c", ":"]
    warning = "Error disabling address space randomization"
    assert warning in docker_run(None, *gdb).stderr
    done = docker_run(path, *gdb)
    assert "exited normally" in done.stdout
    assert warning not in done.stderr


def test_a_named_base_is_widened_and_nothing_else_of_it_changes(
    debugrun: Callable[..., Completed], tmp_path: Path
) -> None:
    base = tmp_path / "own.json"
    base.write_text(OWN)
    text = debugrun("profile", "perf", "--mode", "stat", "--base", str(base), status=0).stdout
    assert verdict(text, "perf_event_open").passes
    assert (verdict(text, "bpf").errno, verdict(text, "reboot").action) == (95, "kill")
    assert verdict(text, "kcmp").passes


@pytest.fixture
def filtered(engine: docker.APIClient, toolbox: str) -> Iterator[str]:
    """A container with a profile of its operator's."""
    config = engine.create_host_config(security_opt=[f"seccomp={OWN}"], network_mode="none")
    made = engine.create_container(toolbox, ["/bin/sh", "-c", "sleep 600"], host_config=config)["Id"]
    engine.start(made)
    yield made
    engine.remove_container(made, force=True)


def test_the_containers_own_profile_is_the_base(debugrun: Callable[..., Completed], filtered: str) -> None:
    said = debugrun("profile", "perf", filtered, "1", "--mode", "stat", status=0)
    assert "own profile, for a container with" in said.stderr
    assert verdict(said.stdout, "perf_event_open").passes
    assert verdict(said.stdout, "reboot").action == "kill"
    engines = debugrun("profile", "perf", filtered, "1", "--mode", "stat", "--base", "default", status=0).stdout
    assert verdict(engines, "perf_event_open").passes
    assert verdict(engines, "reboot").action == "errno"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"syscalls": [{"names": ["read"]}]}', '{"defaultAction": "NO"}'])
def test_garbage_is_named(debugrun: Callable[..., Completed], tmp_path: Path, text: str) -> None:
    base = tmp_path / "bad.json"
    base.write_text(text)
    said = debugrun("profile", "perf", "--base", str(base), status=2)
    assert said.stdout == ""
    assert said.stderr.startswith(f"debugrun: --base {base}: ")
    assert "Traceback" not in said.stderr


def test_what_is_not_blocked_needs_no_profile(debugrun: Callable[..., Completed], target: Callable[[str], str]) -> None:
    said = debugrun("profile", "gdb", target("u1000"), status=126)
    assert "blocks nothing that it needs" in said.stderr


def test_a_base_that_cannot_be_split_is_refused(debugrun: Callable[..., Completed], tmp_path: Path) -> None:
    """On 32-bit x86 what is left of the refusal and what is opened would be one condition: no engine would start it."""
    base = tmp_path / "narrow.json"
    masked = {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0x40000, "valueTwo": 0x40000}
    rule = {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [masked]}
    arches = [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}]
    base.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "archMap": arches, "syscalls": [rule]}))
    said = debugrun("profile", "gdb", "--no-aslr", "--base", str(base), status=126)
    assert "can't be widened: syscalls: refuses personality" in said.stderr
