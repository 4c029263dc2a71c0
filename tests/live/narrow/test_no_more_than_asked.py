"""What a tool does not ask for, it is not given: neither a place beside the process, nor the process' user."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from debugrun.core.grants import Verdict
from debugrun.engine.engine import Engine, connect
from tests.host import images
from tests.trials import GDB, NOBODY, TCPDUMP, Bench

pytestmark = pytest.mark.live

# What a service manager does for a server that listens on port 80: uid 1000 with one ambient capability.
AMBIENT = """
import ctypes, os, struct
libc = ctypes.CDLL(None)
libc.prctl(8, 1, 0, 0, 0)
os.setgroups([])
os.setresgid(1000, 1000, 1000)
os.setresuid(1000, 1000, 1000)
header, held = struct.pack("Ii", 0x20080522, 0), struct.pack("6I", 1 << 10, 1 << 10, 1 << 10, 0, 0, 0)
assert libc.capset(header, held) == 0
assert libc.prctl(47, 2, 10, 0, 0) == 0
os.execv("/usr/bin/python3", ["python3", "/opt/app/worker.py"])
"""


@pytest.fixture
def ambient(engine: docker.APIClient) -> Iterator[str]:
    """The id of a container whose process is uid 1000 and holds NET_BIND_SERVICE."""
    images.build(engine)
    made = str(engine.create_container("debugrun-test/full", ["python3", "-c", AMBIENT])["Id"])
    try:
        engine.start(made)
        yield made
    finally:
        engine.remove_container(made, force=True)


@pytest.fixture
def connection(toolbox: str) -> Iterator[Engine]:
    assert toolbox
    with connect() as engine:
        yield engine


@pytest.mark.parametrize("service", ["root", "u1000"])
def test_who_looks_at_packets_can_not_see_the_process(  # noqa: PLR0913, PLR0917 - fixtures
    service: str,
    connection: Engine,
    engine: docker.APIClient,
    target: Callable[[str], str],
    assert_harmless: Callable[[str], None],
    tmp_path: Path,
) -> None:
    """Its place has the target's network, nobody's uid and a PID namespace that holds no process but its own."""
    container = target(service)
    bench = Bench(connection, container, tmp_path)
    option = bench.decide(TCPDUMP)[1].option
    assert option is not None
    assert (option.user, option.pid_namespace, option.verdict) == (NOBODY, "own", Verdict.OPEN)
    with bench.placed(option, TCPDUMP) as place:
        assert not isinstance(place, str)
        made = engine.inspect_container(place.container)
        assert made["HostConfig"]["PidMode"] in {"", "private"}
        assert made["HostConfig"]["NetworkMode"] == f"container:{container}"
        seen = engine.exec_create(place.container, ["busybox", "sh", "-c", "cat /proc/[0-9]*/comm"])["Id"]
        assert set(engine.exec_start(seen).split()) <= {b"sh", b"cat"}
    assert_harmless(container)


def test_who_is_the_same_and_holds_the_same_may_attach(connection: Engine, ambient: str, tmp_path: Path) -> None:
    """Of a user with one capability the tool takes that one, and neither SYS_PTRACE nor root; without it, nothing."""
    bench = Bench(connection, ambient, tmp_path)
    wait_for_the_user(bench)
    decision = bench.decide(GDB)[1]
    option = decision.option
    assert option is not None
    assert (option.user, option.cap_add, option.file_capability) == ("1000:1000", ("NET_BIND_SERVICE",), True)
    less = dataclasses.replace(option, cap_add=(), file_capability=False, no_new_privileges=True)
    for each in (option, less):
        with bench.placed(each, GDB) as place:
            outcome = bench.outcome(GDB, each, place, each.cap_add)
            assert not outcome.wrong, outcome
            assert outcome.works is bool(each.cap_add), outcome


def wait_for_the_user(bench: Bench) -> None:
    """Until the process has become what it is to be: its last execve makes it dumpable again."""
    deadline = time.monotonic() + 60
    while not bench.decide(GDB)[1].facts.process.dumpable or bench.decide(GDB)[1].facts.process.uids[1] != 1000:
        assert time.monotonic() < deadline, bench.decide(GDB)[1].facts.process
        bench.decisions.clear()
        time.sleep(0.05)
