"""`debugrun ps` on real containers: what it says of waits is so, seen from the host and from a sidecar."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from debugrun import backends
from debugrun.core.oncall.processes import Census
from debugrun.engine.engine import connect
from debugrun.oncall import look
from tests.host import images
from tests.live import hanging

pytestmark = pytest.mark.live

Completed = subprocess.CompletedProcess[str]
# A process that forges what is shown of it, and waits for its child by a pipe; the child for nobody, by a socket.
FORGER = """\
import os, socket, sys, threading, time
open("/proc/self/comm", "w").write("\\x1b[2Jroot")
server = socket.create_server(("127.0.0.1", 8000))
read, write = os.pipe()
if os.fork() == 0:
    os.close(read)
    socket.create_connection(("127.0.0.1", 8000)).recv(1)
first, second = threading.Lock(), threading.Lock()
os.close(write)
print("ready", flush=True)
os.read(read, 1)
"""


@pytest.fixture
def started(engine: docker.APIClient, targets: object) -> Iterator[Callable[..., str]]:
    """Start a container of the image with Python and more, by name; `said` is what it says once it is ready."""
    assert targets is not None
    names: list[str] = []

    def start(*command: str, said: str = "", **options: Any) -> str:  # noqa: ANN401 - the engine's JSON
        name = f"debugrun-ps-{uuid.uuid4().hex[:8]}"
        host = engine.create_host_config(network_mode="none", **options)
        engine.create_container("debugrun-test/full", list(command), name=name, host_config=host)
        names.append(name)
        engine.start(name)
        deadline = time.monotonic() + 60
        while said.encode() not in engine.logs(name):
            assert time.monotonic() < deadline, engine.logs(name)
            time.sleep(0.05)
        return name

    yield start
    for name in names:
        engine.remove_container(name, force=True)


def shown(debugrun: Callable[..., Completed], *args: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(debugrun("ps", *args, "--json", status=0).stdout)["containers"]
    return found


def test_a_process_that_forges_its_name_is_shown_as_it_waits(
    started: Callable[..., str], debugrun: Callable[..., Completed]
) -> None:
    name = started("python3", "-c", FORGER, "--token", "hunter2", "\x1b[31m\nPID 1 fine", said="ready")
    (found,) = shown(debugrun, name)
    parent, child = sorted(found["processes"], key=lambda each: int(each["pid"]))
    assert parent["threads"][0]["waits_for"] == f"read <- pipe of \\x1b[2Jroot/{child['pid']}"
    assert child["threads"][0]["waits_for"] == "recvfrom <- tcp localhost:8000"
    page = debugrun("ps", name, status=0, COLUMNS="300").stdout
    assert "\x1b" not in page
    assert "hunter2" not in page
    assert len(page.splitlines()[2:4]) == 2, page
    assert all(
        len(line) <= 40 for line in debugrun("ps", name, COLUMNS="40").stdout.splitlines() if "debugrun" not in line
    )


def test_a_sidecar_sees_what_the_host_sees(
    started: Callable[..., str], toolbox: str, assert_harmless: Callable[[str], None], target: Callable[[str], str]
) -> None:
    assert toolbox
    forger = started("python3", "-c", FORGER, said="ready")
    with connect() as engine:
        for ref in (forger, target("u1000"), target("multiuid")):
            chosen = look.choose(engine, [ref], None, everything=False)
            facts = look.facts_of(engine, chosen.inspected[0])
            there = look.sent(backends.Containers(engine), facts, "x86_64")
            here = look.here(chosen.containers, "x86_64")
            assert waits(there) == waits(here)
            # What other tests left dead in a target that they share waits for nothing.
            living = [
                calls for (_, calls), each in zip(waits(there), there.processes, strict=True) if each.state != "Z"
            ]
            assert living
            assert all(call for calls in living for call in calls), waits(there)
    assert_harmless(target("multiuid"))


def waits(found: Census) -> list[tuple[int, list[str]]]:
    return [(each.pid, [t.wait.call if t.wait else "" for t in each.threads]) for each in found.processes]


def test_containers_that_ended_say_how(started: Callable[..., str], debugrun: Callable[..., Completed]) -> None:
    failed = started("sh", "-c", "echo DB_PASSWORD=hunter2; printf '\\033[31mred\\n'; exit 3", said="red")
    hungry = started("python3", "-c", "print('go', flush=True); x = bytearray(1 << 30)", said="go", mem_limit="30m")
    deadline = time.monotonic() + 30
    while True:
        page = debugrun("ps", failed, hungry, status=0).stdout
        if page.count("exited") == 2:
            break
        assert time.monotonic() < deadline, page
        time.sleep(0.2)
    assert f"{failed}: exited, ended with status 3" in page
    assert f"{hungry}: exited, killed by the kernel: out of memory" in page
    assert "| DB_PASSWORD=***" in page
    assert "| \\x1b[31mred" in page
    assert f"try: docker start {failed}" in page


@pytest.mark.slow  # its image takes two minutes once
def test_the_first_page_of_a_hanging_project_names_the_chain_and_its_cause(
    engine: docker.APIClient, debugrun: Callable[..., Completed], toolbox: str
) -> None:
    assert toolbox
    with hanging.project(engine, images.services(engine)) as project:
        deadline = time.monotonic() + 60
        while True:
            page = debugrun("ps", "--project", project.name, status=0).stdout
            if page.count("waits for an answer") == 3 or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        for chain in ("recvfrom <- tcp web:8080", "recvfrom <- tcp worker:8000", "poll <- tcp db:5432"):
            assert chain in page, page
        first = page[page.index("look first at:") :].splitlines()[1]
        assert "holds a transaction open" in first, page
        assert "hunter2" not in page
        stacks = debugrun("stacks", "--project", project.name, status=0, timeout=300).stdout
        for function in ("settle_the_account (", "application (web.py:", "PostmasterMain"):
            assert function in stacks, stacks
