"""`--via recreate` and `restore` as people type them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import docker
import pexpect
import pytest

pytestmark = pytest.mark.live

Run = Callable[..., subprocess.CompletedProcess[str]]
FULL, APP = "debugrun-test/full", "debugrun-test/app"
BATCH = ("--via", "recreate", "--yes", "--", "-batch", "-ex", "bt")


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal of the test's own."""
    folder = tmp_path / "recreated"
    monkeypatch.setenv("DEBUGRUN_STATE", str(folder))
    return folder


class Container:
    """A container by its name, whichever has it."""

    def __init__(self, client: docker.APIClient, name: str) -> None:
        self.client = client
        self.name = name
        self.id = self.inspect()["Id"]

    def inspect(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.client.inspect_container(self.name)
        return found

    def others(self) -> list[str]:
        listed = self.client.containers(all=True, filters={"name": self.name})
        return [each["Id"] for each in listed if each["Id"] != self.id]

    def assert_back(self) -> None:
        told = self.client.inspect_container(self.name)
        assert told["Id"] == self.id
        assert told["State"]["Running"]
        assert self.others() == []


@contextmanager
def container(
    client: docker.APIClient, image: str = FULL, command: list[str] | None = None, *, user: str = "", **host: object
) -> Iterator[Container]:
    """A running container without a network; `host` are keys of HostConfig."""
    name = f"debugrun-recreate-{uuid.uuid4().hex[:8]}"
    config = {
        "Image": image,
        "Cmd": command,
        "User": user,
        "StopTimeout": 0,
        "HostConfig": {"NetworkMode": "none", **host},
    }
    client.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
    try:
        client.start(name)
        yield Container(client, name)
    finally:
        for each in client.containers(all=True, filters={"name": name}):
            client.remove_container(each["Id"], force=True, v=True)


@pytest.fixture
def web(engine: docker.APIClient, targets: Mapping[str, str]) -> Iterator[Container]:
    """It holds gdb, and is traced by nobody without SYS_PTRACE."""
    assert targets
    with container(engine, FULL, ["/opt/app/worker", "undumpable"], CapDrop=["ALL"]) as made:
        yield made


def test_a_tool_of_the_containers_own_gets_what_it_needs_and_no_more(debugrun: Run, web: Container) -> None:
    debugrun("gdb", web.name, "--via", "here", "--", "-batch", "-ex", "bt", status=126)
    done = debugrun("gdb", web.name, *BATCH, status=0)
    assert "serve" in done.stdout
    assert re.search(r"^  \+ HostConfig.CapAdd: .*SYS_PTRACE", done.stderr, re.MULTILINE)
    assert "here as 0:0" in done.stderr
    there = web.client.inspect_container(web.name)
    assert there["HostConfig"]["CapAdd"] == ["SYS_PTRACE"]
    assert there["HostConfig"]["CapDrop"] == ["ALL"]

    (listed,) = json.loads(debugrun("restore", "--json", status=0).stdout)["recreated"]
    assert (listed["name"], listed["state"], listed["grant"]) == (web.name, "recreated", "SYS_PTRACE")
    for words in (["restore"], ["gc"], ["doctor", "--json"]):
        said = debugrun(*words)
        assert f"debugrun restore {web.name}" in said.stdout + said.stderr, words
    assert "already" in debugrun("gdb", web.name, *BATCH, status=125).stderr

    assert "is back; it was down for" in debugrun("restore", web.name, status=0).stderr
    web.assert_back()
    assert web.client.inspect_container(web.name)["HostConfig"]["CapAdd"] is None
    assert debugrun("restore", status=0).stdout == "nothing is recreated\n"
    assert "not recreated" in debugrun("restore", web.name, status=125).stderr


def test_a_container_without_the_tool_gets_a_sidecar_and_comes_back_by_itself(
    engine: docker.APIClient, debugrun: Run, toolbox: str, targets: Mapping[str, str]
) -> None:
    assert toolbox
    assert targets
    with container(engine, APP, user="1000:1000") as web:
        done = debugrun("gdb", web.name, "--auto-restore", *BATCH, status=0)
        assert "serve" in done.stdout
        assert "sidecar as 1000:1000" in done.stderr
        web.assert_back()


def test_a_tool_that_is_refused_leaves_the_original(debugrun: Run, web: Container) -> None:
    done = debugrun("gdb", web.name, "--name", "nobody", *BATCH)
    assert done.returncode == 125
    web.assert_back()
    done = debugrun("gdb", web.name, "--max-grant", "none", *BATCH, status=126)
    assert "--via recreate --max-grant caps" in done.stderr or "--max-grant caps" in done.stderr
    web.assert_back()


def test_nobody_is_restarted_unasked(debugrun: Run, web: Container) -> None:
    done = debugrun("gdb", web.name, "--via", "recreate", status=2)
    assert "try: --yes" in done.stderr
    child: pexpect.spawn[bytes] = pexpect.spawn(
        sys.executable, ["-m", "debugrun", "gdb", web.name, "--via", "recreate"], timeout=30
    )
    child.expect_exact(b"lost: the memory of its processes")
    child.expect_exact(b"[y/N]")
    child.sendline("n")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2
    web.assert_back()
    assert debugrun("gdb", web.name, "7", *BATCH, status=2).stderr


@pytest.mark.parametrize("apart", [False, True], ids=["one-machine", "two-machines"])
def test_two_at_once(apart: bool, web: Container, tmp_path: Path, debugrun: Run) -> None:  # noqa: FBT001 - a parameter
    """One wins, the other says so; on two machines (with a journal each) as on one."""
    words = [sys.executable, "-m", "debugrun", "gdb", web.name, *BATCH]
    pair = []
    for number in range(2):
        environment = {**os.environ, "DEBUGRUN_STATE": str(tmp_path / f"journal{number * apart}")}
        pair.append(subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=60)[1] for process in pair]
    assert sum("is recreated;" in each for each in said) == 1, said
    if any(process.returncode for process in pair):
        assert sorted(process.returncode for process in pair) == [0, 125], said
        loser = said[0] if pair[0].returncode else said[1]
        assert web.name in loser
        assert "try: " in loser
        assert "Traceback" not in loser  # else the second one came when the first had done it, and found what it needs
    assert web.client.inspect_container(web.name)["Id"] != web.id
    done = debugrun("restore", web.name, DEBUGRUN_STATE=str(tmp_path / "a-third"), status=125)
    assert "its proof is not of this machine's secret" in done.stderr
    winner = 0 if "is recreated;" in said[0] else 1
    debugrun("restore", web.name, DEBUGRUN_STATE=str(tmp_path / f"journal{winner * apart}"), status=0)
    web.assert_back()


@pytest.mark.slow
def test_a_stand_in_that_was_removed_by_hand(engine: docker.APIClient, debugrun: Run, web: Container) -> None:
    debugrun("gdb", web.name, *BATCH, status=0)
    engine.remove_container(web.name, force=True)
    assert web.name in debugrun("restore", status=0).stdout
    debugrun("restore", web.name, status=0)
    web.assert_back()


@pytest.mark.slow
def test_staying_with_the_stand_in(engine: docker.APIClient, debugrun: Run, web: Container) -> None:
    debugrun("gdb", web.name, *BATCH, status=0)
    debugrun("restore", web.name, "--keep-new", status=0)
    (left,) = engine.containers(all=True, filters={"name": web.name})
    assert left["State"] == "running"
    assert left["Id"] != web.id
    assert "its original was removed" in debugrun("restore", status=0).stdout
    assert "nothing to go back to" in debugrun("restore", web.name, status=125).stderr


@pytest.mark.slow
def test_what_the_stand_in_wrote_to_its_own_layer_is_not_lost(
    engine: docker.APIClient, debugrun: Run, targets: Mapping[str, str], request: pytest.FixtureRequest
) -> None:
    assert targets
    script = "echo 1 > /tmp/pid; echo $$-$(busybox date +%s.%N) >> /tmp/starts; exec /opt/app/worker"
    with container(engine, FULL, ["sh", "-c", script]) as web:
        debugrun("gdb", web.name, *BATCH, status=0)
        # gdb may have come and gone before the stand-in's shell wrote anything.
        deadline = time.monotonic() + 30
        while starts(engine, web.name) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        said = debugrun("restore", web.name, status=0).stderr
        web.assert_back()
    assert "/tmp/starts" in said  # noqa: S108 - a container's own
    assert "/tmp/pid" not in said  # noqa: S108 - the same: both wrote the same there
    (image,) = [word.rstrip(":") for word in said.split() if word.startswith("debugrun-kept:")]
    request.addfinalizer(lambda: engine.remove_image(image))
    made = engine.create_container(image, ["cat", "/tmp/starts"])["Id"]  # noqa: S108 - the same
    request.addfinalizer(lambda: engine.remove_container(made))
    assert starts(engine, made) >= 2


def starts(engine: docker.APIClient, container: str) -> int:
    """How often the container's program says that it was started."""
    chunks, _ = engine.get_archive(container, "/tmp/starts")  # noqa: S108 - a container's own
    return b"".join(chunks).count(b"\n")


def test_its_own_program_starts_under_the_tool_and_the_original_comes_back(
    engine: docker.APIClient, debugrun: Run, toolbox: str, targets: Mapping[str, str]
) -> None:
    """The container holds no tool; what it does first is seen, and its restart policy starts nothing in between."""
    assert toolbox
    assert targets
    policy = {"Name": "always", "MaximumRetryCount": 0}
    script = ("-batch", "-ex", "break pause_100_ms", "-ex", "run", "-ex", "bt", "-ex", "kill")
    with container(engine, APP, user="1000:1000", RestartPolicy=policy) as web:
        done = debugrun("gdb", web.name, "--via", "recreate", "--restart-under", "--yes", "--", *script, timeout=120)
        assert "hit Breakpoint 1, pause_100_ms ()" in done.stdout, done
        assert "the original" in done.stderr
        web.assert_back()
        assert engine.inspect_container(web.id)["HostConfig"]["RestartPolicy"] == policy


def test_what_is_not_recreated(
    engine: docker.APIClient, debugrun: Run, target: Callable[[str], str], web: Container
) -> None:
    composed = debugrun("gdb", target("owngdb"), *BATCH, status=125)
    assert "services:" in composed.stdout
    assert "--force-compose" in composed.stderr
    with container(engine, NetworkMode=f"container:{web.name}") as other:
        refused = debugrun("gdb", web.name, *BATCH, status=125).stderr
        assert f"{other.name} (network)" in refused
        assert f"docker stop {other.name}" in refused
    with container(engine, AutoRemove=True) as brief:
        assert "--rm" in debugrun("gdb", brief.name, *BATCH, status=125).stderr
        brief.assert_back()
    web.assert_back()
