"""What a sidecar and a container of the user's own are given: nothing that lies about for a hostile process."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from debugrun.core.rules import share
from tests.conftest import Completed
from tests.live.victims import Victim, released, remove, victims

pytestmark = pytest.mark.live

HOLDS_PYTHON = "debugrun-test/full"
COPIES = "usr/lib/debugrun/caps"
OWN_FILTER = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64"}, {"architecture": "SCMP_ARCH_AARCH64"}],
    "syscalls": [{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO"}],
}
OWN_PROGRAM = """\
schema = 1
name = "own"
summary = "a program that no toolbox holds, and the target's image does"
binary = "python3"
toolbox = false
default_mode = "attach"

[modes.attach]
summary = "attach"
command = ["python3", "-c", "print(open('/proc/self/status').read())"]

[[modes.attach.needs]]
gate = "ptrace-attach"
why = "a test"
"""


@contextlib.contextmanager
def at_work(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        [sys.executable, "-m", "debugrun", *words], stdin=quiet, stdout=quiet, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def until(found: Callable[[], str], process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while not (answer := found()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


def test_one_copy_and_a_part_of_the_processors(engine: docker.APIClient, toolbox: str) -> None:
    """Of the programs that carry capabilities a sidecar reaches the one that it is for; and a limit holds for it."""
    assert toolbox
    with victims(engine, command=["/opt/app/worker", "undumpable"]) as victim:
        with at_work("strace", victim.name, "--duration", "5") as process:
            until(lambda: str(victim.tracer() or ""), process)
            (sidecar,) = victim.sidecars()
            told = engine.inspect_container(sidecar)
            root = Path(f"/proc/{told['State']['Pid']}/root", COPIES)
            copies = {str(path.relative_to(root)): path.stat() for path in root.glob("*/*")}
            host, info = told["HostConfig"], engine.info()
        if "Podman Engine" not in {each["Name"] for each in engine.version().get("Components", [])}:
            # By file, which Docker needs for a user; with Podman the whole sidecar holds the capability.
            reached = [name for name, each in copies.items() if stat.S_ISREG(each.st_mode)]
            assert reached == ["sys_ptrace/strace"], copies
        assert len(copies) > 1
        limit = share.processors(info["NCPU"] if info.get("CpuCfsQuota", True) else 0)
        assert (host["CpuQuota"] or 0) == share.quota(limit)
        released(victim)


def test_no_copy_with_capabilities_is_mounted_into_the_users_own_container(
    engine: docker.APIClient, toolbox: str
) -> None:
    assert toolbox
    name = f"debugrun-own-{uuid.uuid4().hex[:8]}"
    with at_work("run", "strace", "debugrun-test/app", "--name", name) as process:

        def found() -> str:
            with contextlib.suppress(docker.errors.NotFound):
                return str(engine.inspect_container(name)["State"]["Pid"] or "")
            return ""

        pid = until(found, process)
        mounts = [each["Destination"] for each in engine.inspect_container(name)["Mounts"]]
        held = []
        for mount in mounts:
            top = Path(f"/proc/{pid}/root{mount}")
            files = [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]
            assert any(path.name == "strace" for path in files)
            held += [str(path) for path in files if "security.capability" in os.listxattr(path)]
            held += [str(path) for path in files if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
        assert mounts
        assert held == []
    with contextlib.suppress(docker.errors.NotFound):
        engine.remove_container(name, force=True)


@pytest.fixture
def filtered(engine: docker.APIClient) -> Iterator[Victim]:
    """A target with a filter of its own, which refuses one call that the engine's default allows."""
    if "Podman Engine" in {each["Name"] for each in engine.version().get("Components", [])}:
        pytest.skip("Podman's API takes a profile as a file of its own machine: Docker's engines run this")
    name = f"debugrun-victim-{uuid.uuid4().hex[:8]}"
    host = engine.create_host_config(network_mode="none", security_opt=[f"seccomp={json.dumps(OWN_FILTER)}"])
    made = engine.create_container("debugrun-test/app", name=name, user="1000:1000", host_config=host)["Id"]
    try:
        engine.start(made)
        pid = engine.inspect_container(made)["State"]["Pid"]
        yield Victim(client=engine, id=made, name=name, pid=pid)
    finally:
        remove(engine, made)


def test_a_filter_of_the_targets_own_is_not_left_for_nothing(
    engine: docker.APIClient, toolbox: str, filtered: Victim, debugrun: Callable[..., Completed]
) -> None:
    assert engine.base_url
    assert toolbox
    words = ("gdb", filtered.name)
    batch = ("--", "-batch", "-ex", "bt")
    refused = debugrun(*words, "--max-grant", "none", *batch, status=126)
    done = debugrun(*words, *batch, status=0)
    assert "#0" in done.stdout
    assert "#0" not in refused.stdout
    # What the engine tells of a profile is its text or nothing: either way the wider filter is no `none`.
    assert "a filter of its own" in done.stderr, done.stderr
    released(filtered)


def test_a_program_of_the_targets_own_image_has_what_the_target_has(
    engine: docker.APIClient, toolbox: str, debugrun: Callable[..., Completed], tmp_path: Path
) -> None:
    assert toolbox
    (tmp_path / "own.toml").write_text(OWN_PROGRAM)
    words = ("--tool-file", str(tmp_path / "own.toml"))
    with victims(engine, image=HOLDS_PYTHON) as victim:
        done = debugrun("own", victim.name, *words, status=0)
        assert HOLDS_PYTHON in done.stderr
        told = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)
        assert int(told["CapEff"], 16) == int(told["CapPrm"], 16) == 0
        assert told["Uid"].split() == ["1000"] * 4
        released(victim)
    with victims(engine, image=HOLDS_PYTHON, command=["/opt/app/worker", "undumpable"]) as victim:
        done = debugrun("own", victim.name, *words, status=126)
        assert "--image" in done.stderr
        assert "CapEff" not in done.stdout
        released(victim)
