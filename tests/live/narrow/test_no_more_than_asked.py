"""What a tool does not ask for, it is not given: neither a place beside the process, nor the process' user."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest

from debugrun.core.decide.judge import combine
from debugrun.core.grants import Verdict
from debugrun.core.know import procfs
from debugrun.core.rules import kernel
from debugrun.core.rules.actor import Actor
from debugrun.engine.engine import Engine, connect
from tests.cases import PLAIN
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


HOLDERS_NEED = [
    "SETUID",
    "SETGID",
    "SETFCAP",
    "SETPCAP",
    "CHOWN",
    "NET_RAW",
    "NET_BIND_SERVICE",
    "SYS_PTRACE",
    "KILL",
    "DAC_OVERRIDE",
]


@pytest.mark.slow
def test_exactly_what_the_target_holds_is_enough_whatever_it_is(engine: docker.APIClient) -> None:
    """Several capabilities, by ambient set or by file, more permitted than effective: each caller as the rules say."""
    images.build(engine)
    config = engine.create_host_config(cap_drop=["ALL"], cap_add=HOLDERS_NEED, network_mode="none")
    script = Path(__file__).with_name("holders.py").read_text()
    made = engine.create_container("debugrun-test/full", ["python3", "-c", script], host_config=config)["Id"]
    try:
        engine.start(made)
        status = engine.wait(made, timeout=120)["StatusCode"]
        lines = engine.logs(made, stderr=False).decode().splitlines()
        assert status == 0, engine.logs(made).decode()
    finally:
        engine.remove_container(made, force=True)
    counted = 0
    for line in lines:
        seen = json.loads(line)
        told = procfs.parse_status(seen["status"])
        process = dataclasses.replace(
            PLAIN.process,
            uids=told.uids,
            gids=told.gids,
            permitted=procfs.names(told.permitted),
            effective=procfs.names(told.effective),
            dumpable=seen["owner"] == told.uids[1],
        )
        about = dataclasses.replace(PLAIN, process=process)
        for answer in seen["answers"]:
            who = Actor(uid=1000, gid=1000, capabilities=frozenset(answer["holds"]))
            for gate in ("ptrace-attach", "ptrace-read"):
                counted += 1
                said = combine(kernel.ask(gate, who, about, need=gate)) is Verdict.OPEN
                assert answer[gate] is said, (seen["kind"], process.permitted, answer)
    assert counted == 12 * 8 * 2


# What a set-user-ID copy of gdb would be: uid 1000 whose effective uid is 0, with SYS_PTRACE alone.
EFFECTIVE_ROOT = """
import ctypes, os
libc = ctypes.CDLL(None)
for number in set(range(41)) - {19}:
    libc.prctl(24, number, 0, 0, 0)
assert libc.setresgid(1000, 0, 0) == 0 and libc.setresuid(1000, 0, 0) == 0
os.execvp("gdb", ["gdb", "-nx", "-batch", "-iex", "set sysroot /proc/1/root", "-p", "1", "-ex", "bt",
    "-ex", "python import os; os.kill(1, 0); print('may signal', flush=True)", "-ex", "shell sleep 600"])
"""
NAMES = dataclasses.replace(GDB, shows=(b"serve (name=", b"may signal"))


@pytest.mark.slow
def test_the_debugger_of_an_undumpable_process_is_out_of_its_reach(
    connection: Engine, engine: docker.APIClient, toolbox: str, tmp_path: Path
) -> None:
    """A user with SYS_PTRACE gets no names, since auxv is root's; root is taken, with KILL, and may not be signalled.

    A real uid of 1000 with root's effective one would do with SYS_PTRACE alone, but the target could kill it: and with
    it, its own breakpoints still in, the target.
    """
    images.build(engine)
    command = ["/opt/app/worker", "undumpable"]
    target = engine.create_container("debugrun-test/app", command, user="1000:1000")["Id"]
    made = [target]
    try:
        engine.start(target)
        bench = Bench(connection, target, tmp_path)
        plan = bench.decide(NAMES)[1]
        assert plan.option is not None
        assert (plan.option.user, plan.option.cap_add) == ("0:0", ("KILL", "SYS_PTRACE"))
        by_file = next(each for each in plan.options if each.file_capability)
        assert [gate.fact for gate in by_file.closed_gates] == ["/proc/1/auxv belongs to uid 0, the tool runs as 1000"]
        for option in (by_file, plan.option):
            with bench.placed(option, NAMES) as place:
                outcome = bench.outcome(NAMES, option, place, option.cap_add)
                assert not outcome.wrong, outcome
                assert not isinstance(place, str)
                if option is plan.option:
                    assert not reached(engine, toolbox, target, engine.inspect_container(place.container))
        config = engine.create_host_config(
            pid_mode=f"container:{target}", network_mode="none", cap_drop=["ALL"],
            cap_add=["SYS_PTRACE", "SETUID", "SETGID", "SETPCAP"],
        )  # fmt: skip
        made.append(
            engine.create_container(
                "debugrun-test/full", ["python3", "-c", EFFECTIVE_ROOT], user="0:0", host_config=config
            )["Id"]
        )
        engine.start(made[-1])
        deadline = time.monotonic() + 60
        while b"may signal" not in (said := engine.logs(made[-1])):
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        assert b"serve (name=" in said
        assert reached(engine, toolbox, target, engine.inspect_container(made[-1]))
    finally:
        for each in reversed(made):
            engine.remove_container(each, force=True)


def reached(engine: docker.APIClient, toolbox: str, target: str, sidecar: Mapping[str, Any]) -> bool:
    """Whether a process of the target's user, beside it, may signal the sidecar's main process."""
    main = Path(f"/proc/{sidecar['State']['Pid']}/status").read_text()
    inner = procfs.parse_status(main).ns_pids[-1]
    config = engine.create_host_config(pid_mode=f"container:{target}", network_mode="none", cap_drop=["ALL"])
    command = ["busybox", "sh", "-c", f"kill -0 {inner}"]
    made = engine.create_container(toolbox, command, user="1000:1000", host_config=config)["Id"]
    try:
        engine.start(made)
        return bool(engine.wait(made, timeout=60)["StatusCode"] == 0)
    finally:
        engine.remove_container(made, force=True)
