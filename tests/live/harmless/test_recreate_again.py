"""Recreating what is recreated, what crashes and what has random ports; journals that are out of date."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from debugrun.core.know import kinds
from debugrun.core.rebuild import transaction
from debugrun.engine import ownership
from tests.core.rebuild.test_transaction import RECORD

pytestmark = pytest.mark.live

Run = Callable[..., subprocess.CompletedProcess[str]]
FULL = "debugrun-test/full"
WORKER = ["/opt/app/worker", "undumpable"]
BATCH = ("--via", "recreate", "--yes", "--", "-batch", "-ex", "bt")


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "recreated"
    monkeypatch.setenv("DEBUGRUN_STATE", str(folder))
    return folder


@contextmanager
def container(client: docker.APIClient, command: list[str], **host: object) -> Iterator[str]:
    """Its name; whatever has a name that begins so is removed."""
    name = f"debugrun-again-{uuid.uuid4().hex[:8]}"
    config = {"Image": FULL, "Cmd": command, "StopTimeout": 0, "HostConfig": {"NetworkMode": "none", **host}}
    if host.get("PortBindings"):
        config["ExposedPorts"] = {"80/tcp": {}}
    client.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
    try:
        client.start(name)
        yield name
    finally:
        for each in client.containers(all=True, filters={"name": name}):
            client.remove_container(each["Id"], force=True, v=True)


@pytest.fixture
def web(engine: docker.APIClient, toolbox: str, targets: object) -> Iterator[str]:
    assert toolbox
    assert targets
    with container(engine, WORKER) as name:
        yield name


def stand_in(record: str) -> dict[str, str]:
    """The labels of a stand-in of ours."""
    return ownership.marked(kinds.STAND_IN, facts={kinds.LABEL_RECORD: record})


def test_a_stale_record_hides_no_live_one_and_is_forgotten(
    engine: docker.APIClient, debugrun: Run, web: str, journal: Path
) -> None:
    first = engine.inspect_container(web)["Id"]
    debugrun("gdb", web, *BATCH, status=0)
    engine.remove_container(f"{web}.debugrun-original", force=True)
    engine.remove_container(web, force=True)
    assert (journal / f"{first}.json").exists()
    config = {"Image": FULL, "Cmd": WORKER, "StopTimeout": 0, "HostConfig": {"NetworkMode": "none"}}
    second = engine.create_container_from_config(config, web)["Id"]  # type: ignore[no-untyped-call]
    engine.start(web)
    debugrun("gdb", web, *BATCH, status=0)
    (listed,) = json.loads(debugrun("restore", "--json", status=0).stdout)["recreated"]
    assert (listed["original"], listed["state"]) == (second, "recreated")
    assert not (journal / f"{first}.json").exists()
    debugrun("restore", web, status=0)
    assert engine.inspect_container(web)["Id"] == second


def test_the_live_one_is_meant_where_the_original_of_another_is_gone(
    engine: docker.APIClient, debugrun: Run, web: str
) -> None:
    """A stand-in of an older recreate, kept under another name, has the same name in its record."""
    old = transaction.Record(
        original="0" * 64, name=web, running=True, restart=RECORD.restart, tool="gdb", grant="x", since=1.0, session="s"
    )
    kept = engine.create_container(FULL, WORKER, name=f"{web}-kept", labels=stand_in(transaction.dump(old)))["Id"]
    original = engine.inspect_container(web)["Id"]
    debugrun("gdb", web, *BATCH, status=0)
    done = debugrun("restore", web, status=0)
    assert "is back" in done.stderr
    assert engine.inspect_container(web)["Id"] == original
    assert engine.inspect_container(kept)["Name"] == f"/{web}-kept"


@pytest.mark.parametrize("words", [(), ("--keep-new",)])
def test_one_that_was_renamed_is_told_by_its_new_name(
    engine: docker.APIClient, debugrun: Run, web: str, words: tuple[str, ...]
) -> None:
    original = engine.inspect_container(web)["Id"]
    debugrun("gdb", web, *BATCH, status=0)
    new = f"{web}-new"
    engine.rename(web, new)
    listed = debugrun("restore", status=0).stdout
    assert f"{new} runs with SYS_PTRACE, recreated for gdb" in listed
    assert f"as {web} and renamed since: `debugrun restore {new}`" in listed
    (told,) = json.loads(debugrun("restore", "--json", status=0).stdout)["recreated"]
    assert (told["state"], told["name"], told["container_name"]) == ("recreated", web, new)
    done = debugrun("restore", new, *words, status=0)
    if words:
        assert f"{new} stays as it is" in done.stderr
        assert [each["Names"] for each in engine.containers(all=True, filters={"name": web})] == [[f"/{new}"]]
    else:
        assert f"the original {web} is back" in done.stderr
        assert [each["Id"] for each in engine.containers(all=True, filters={"name": web})] == [original]


def test_no_hint_proposes_to_remove_what_may_be_all_that_is_left(
    engine: docker.APIClient, debugrun: Run, web: str
) -> None:
    debugrun("gdb", web, *BATCH, status=0)
    engine.remove_container(f"{web}.debugrun-original", force=True)
    done = debugrun("restore", web, status=125)
    assert "was removed" in done.stderr
    assert "rm" not in done.stderr.split()


def test_a_second_recreate_is_refused_before_anything_is_made(
    engine: docker.APIClient, debugrun: Run, web: str
) -> None:
    debugrun("gdb", web, *BATCH, status=0)
    before = {each["Id"] for each in engine.containers(all=True)}
    done = debugrun("gdb", web, *BATCH, status=125)
    assert f"{web} is recreated already, with SYS_PTRACE" in done.stderr
    assert f"try: debugrun restore {web}" in done.stderr
    assert "409" not in done.stderr
    assert {each["Id"] for each in engine.containers(all=True)} == before


def test_a_random_port_that_changes_is_told(engine: docker.APIClient, debugrun: Run, targets: object) -> None:
    assert targets
    ports = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    with container(engine, WORKER, NetworkMode="bridge", PortBindings=ports) as name:
        (before,) = engine.inspect_container(name)["NetworkSettings"]["Ports"]["80/tcp"]
        done = debugrun("gdb", name, *BATCH, status=0)
        assert (
            f"new random port when it comes back, instead of: 80/tcp at 127.0.0.1:{before['HostPort']}" in done.stderr
        )
        (meanwhile,) = engine.inspect_container(name)["NetworkSettings"]["Ports"]["80/tcp"]
        assert meanwhile == before
        done = debugrun("restore", name, status=0)
        (after,) = engine.inspect_container(name)["NetworkSettings"]["Ports"]["80/tcp"]
        told = f"its 80/tcp is published at 127.0.0.1:{after['HostPort']} now, before at 127.0.0.1:{before['HostPort']}"
        assert (told in done.stderr) == (after != before)


def test_a_port_that_somebody_has_taken_is_named(engine: docker.APIClient, debugrun: Run, targets: object) -> None:
    assert targets
    ports = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "28091"}]}
    with (
        container(engine, WORKER, NetworkMode="bridge", PortBindings=ports) as name,
        container(engine, WORKER, NetworkMode="bridge") as other,
    ):
        debugrun("gdb", name, *BATCH, status=0)
        engine.stop(name)
        engine.remove_container(other, force=True)
        config = {"Image": FULL, "Cmd": WORKER, "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PortBindings": ports}}
        engine.create_container_from_config(config, other)  # type: ignore[no-untyped-call]
        engine.start(other)
        done = debugrun("restore", name, status=125)
        assert f"port 28091 is taken, by container {other}" in done.stderr
        assert f"try: docker stop {other}" in done.stderr
        engine.remove_container(other, force=True)
        debugrun("restore", name, status=0)


def test_a_half_made_stand_in_is_not_to_be_started(engine: docker.APIClient, debugrun: Run, web: str) -> None:
    record = transaction.Record(
        original=engine.inspect_container(web)["Id"], name=web, running=True, restart=RECORD.restart,
        tool="gdb", grant="x", since=time.time(), session="s",
    )  # fmt: skip
    engine.create_container(FULL, WORKER, name=record.lock, labels=stand_in(transaction.dump(record)))
    engine.rename(web, record.parked)
    for name in (record.lock, web):
        done = debugrun("gdb", name, "--", "-batch", status=125)
        assert "docker start" not in done.stderr
        assert f"`debugrun restore {web}`" in done.stderr
    debugrun("restore", web, status=0)


def test_a_container_that_crashes_in_a_loop_is_restarted_under_the_tool(
    engine: docker.APIClient, debugrun: Run, toolbox: str, targets: object
) -> None:
    assert toolbox
    assert targets
    crash = ["python3", "-c", "import ctypes; ctypes.string_at(1)"]
    with container(engine, crash, RestartPolicy={"Name": "always"}) as name:
        deadline = time.monotonic() + 60
        while engine.inspect_container(name)["RestartCount"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        original = engine.inspect_container(name)["Id"]
        done = debugrun("gdb", name, "--via", "recreate", "--restart-under", "--yes", timeout=120)
        assert "SIGSEGV" in done.stdout, done.stderr
        assert done.returncode == 139
        there = engine.inspect_container(name)
        assert (there["Id"], there["HostConfig"]["RestartPolicy"]["Name"]) == (original, "always")


def test_one_that_crashed_is_looked_at_in_another_like_it(
    engine: docker.APIClient, debugrun: Run, toolbox: str, targets: object
) -> None:
    assert toolbox
    assert targets
    crash = ["python3", "-c", "import ctypes, os; print(os.environ['WHO'], flush=True); ctypes.string_at(1)"]
    config = {"Image": FULL, "Cmd": crash, "Env": ["WHO=me"], "HostConfig": {"NetworkMode": "none"}}
    name = f"debugrun-like-{uuid.uuid4().hex[:8]}"
    engine.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
    try:
        engine.start(name)
        engine.wait(name)
        told = debugrun("gdb", name, status=125)
        assert f"{name} does not run: it ended of SIGSEGV (exit status 139)" in told.stderr
        assert f"try: debugrun run --like {name} gdb" in told.stderr
        before = engine.inspect_container(name)
        done = debugrun("run", "--like", name, "gdb", status=139)
        assert "SIGSEGV" in done.stdout
        assert "me\n" in done.stdout
        assert engine.inspect_container(name) == before
        assert engine.containers(all=True, filters={"label": "debugrun.tool=gdb", "status": "exited"}) == []
    finally:
        engine.remove_container(name, force=True)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("-batch -ex run -ex bt", 139),
        ("-batch -ex 'break main' -ex 'info breakpoints'", 0),
        ("-batch -ex run -ex 'quit 5'", 5),
    ],
)
def test_a_batch_of_ones_own_ends_as_the_program_did(
    debugrun: Run, toolbox: str, targets: object, words: str, status: int
) -> None:
    assert toolbox
    assert targets
    crash = ["python3", "-c", "import ctypes; ctypes.string_at(1)"]
    debugrun("run", "gdb", FULL, "--tool-args", words, "--", *crash, status=status)


def test_a_program_gets_what_it_was_found_to_lack_and_no_more(
    engine: docker.APIClient, debugrun: Run, toolbox: str, targets: object
) -> None:
    """personality(0x40000) by the program itself: refused before, allowed in the container that `why` proposes."""
    assert toolbox
    assert targets
    tries = (
        "import ctypes, time\nprint('ok' if ctypes.CDLL(None).personality(0x40000) != -1 else 'refused', flush=True)\n"
    )
    tries += "while True: time.sleep(0.1)"
    with container(engine, ["python3", "-c", tries]) as name:
        text = "ThreadSanitizer: unexpected memory mapping 0x5b1b4a3a8000-0x5b1b4a3ae000"
        told = json.loads(debugrun("why", name, "--from-error", text, "--json", status=0).stdout)
        assert told["blocked"] == ["personality(0x40000)"]
        line = told["options"][0]["recreate"]
        assert line == f"debugrun recreate {name} --open 'personality(0x40000)'"
        assert logged(engine, name) == "refused"
        debugrun("recreate", name, "--open", "personality(0x40000)", "--yes", status=0)
        assert logged(engine, name) == "ok"
        assert engine.inspect_container(name)["HostConfig"]["CapAdd"] is None
        debugrun("restore", name, status=0)


def logged(engine: docker.APIClient, name: str) -> str:
    deadline = time.monotonic() + 30
    while not (found := engine.logs(name)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return str(found.decode().splitlines()[-1])
