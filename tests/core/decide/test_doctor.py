"""The page about an engine and its host: what it says of each kind, and what every tool would need there."""

from __future__ import annotations

import dataclasses
import json

import pytest

from debugrun.core.decide import doctor
from debugrun.core.decide.doctor import Findings
from debugrun.core.grants import Ceiling, Grant
from debugrun.core.know.procfs import CAPABILITIES
from debugrun.observe import engine_host
from debugrun.toolbox import catalog
from tests.cases import NOBODYS_FOLDER, PLAIN

GOOD = Findings(
    endpoint="unix:///run/docker.sock",
    engine=dataclasses.replace(PLAIN.engine, capabilities=CAPABILITIES),
    host=PLAIN.host,
    config=dict.fromkeys(doctor.KERNEL_OPTIONS, "y"),
    emulators=(),
    counters=True,
    toolbox="debugrun-toolbox:latest",
    processors=4,
)
TOOLS = [catalog.load(name, NOBODYS_FOLDER) for name in catalog.names()]


def said(found: Findings) -> dict[str, doctor.Check]:
    return {each.name: each for each in doctor.checks(found)}


def engine(**changes: object) -> Findings:
    return dataclasses.replace(GOOD, engine=dataclasses.replace(GOOD.engine, **changes))  # type: ignore[arg-type]


def test_nothing_is_to_be_said_of_a_good_host() -> None:
    assert {each.name: each.value for each in said(GOOD).values() if each.state != "ok"} == {}


@pytest.mark.parametrize(
    ("found", "name", "says", "state"),
    [
        (engine(version="20.10.24"), "capabilities", "does not know PERFMON, BPF, CHECKPOINT_RESTORE", "note"),
        (
            engine(version="20.10.24", capabilities=tuple(n for n in CAPABILITIES if n != "SYS_RESOURCE")),
            "bounding set",
            "the daemon itself lacks SYS_RESOURCE, and --privileged fails",
            "note",
        ),
        (engine(capabilities=None), "bounding set", "can't be read", "unknown"),
        (engine(seccomp=None), "seccomp", "off", "note"),
        (engine(seccomp="/etc/docker/own.json"), "seccomp", "profile /etc/docker/own.json: not known", "note"),
        (engine(seccomp="unconfined"), "seccomp", "unconfined by default", "note"),
        (engine(rootless=True), "daemon", "rootless", "note"),
        (dataclasses.replace(GOOD, host=dataclasses.replace(GOOD.host, yama_ptrace_scope=1)),
         "Yama ptrace_scope", "1: attaching needs SYS_PTRACE", "note"),
        (dataclasses.replace(GOOD, host=dataclasses.replace(GOOD.host, perf_event_paranoid=None)),
         "perf_event_paranoid", "can't be read", "unknown"),
        (dataclasses.replace(GOOD, config={"CONFIG_SECCOMP_FILTER": "y"}), "kernel options", "CONFIG_KPROBES", "note"),
        (dataclasses.replace(GOOD, config=None), "kernel options", "not readable", "unknown"),
        (dataclasses.replace(GOOD, emulators=("qemu-aarch64",)), "emulation", "qemu-aarch64", "note"),
        (dataclasses.replace(GOOD, counters=False), "hardware counters", "rr can't record", "note"),
        (GOOD, "sidecar's limit", "3 of 4 processors", "ok"),
        (dataclasses.replace(GOOD, processors=0), "sidecar's limit", "this engine can't set one", "note"),
        (dataclasses.replace(GOOD, leftovers=("debugrun-gdb-1",)), "left over", "debugrun-gdb-1", "note"),
        (dataclasses.replace(GOOD, recreated=("web runs with SYS_PTRACE",)), "recreated", "web runs with", "note"),
        (dataclasses.replace(GOOD, toolbox=None), "toolbox", "debugrun toolbox build", "note"),
    ],
)  # fmt: skip
def test_what_is_out_of_the_ordinary_is_said(found: Findings, name: str, says: str, state: str) -> None:
    check = said(found)[name]
    assert says in check.value
    assert check.state == state


def cells(found: Findings, ceiling: Ceiling | None = None) -> dict[str, list[str]]:
    rows = doctor.matrix(found, TOOLS, ceiling or Ceiling())
    return {tool: [doctor.cell(decision) for decision in row.values()] for tool, row in rows.items()}


def test_every_tool_has_a_way_on_a_good_host() -> None:
    rows = doctor.matrix(GOOD, TOOLS, Ceiling())
    assert doctor.everything_works(rows)
    assert set(rows) == set(catalog.names()) - {"valgrind"}  # it looks at no target
    found = cells(GOOD)
    assert found["gdb"] == ["nothing", "nothing", "SYS_PTRACE"]
    assert found["tcpdump"] == ["nothing", "NET_RAW by file", "nothing"]
    assert found["bpftrace"][0] == "BPF PERFMON SYS_PTRACE"


def test_what_a_host_closes_is_named_with_what_would_open_it() -> None:
    strict = dataclasses.replace(GOOD, host=dataclasses.replace(GOOD.host, perf_event_paranoid=3, yama_ptrace_scope=1))
    found = cells(strict)
    assert found["gdb"] == ["SYS_PTRACE", "SYS_PTRACE by file", "SYS_PTRACE"]
    assert found["perf"][0].startswith("no: broad, SYS_ADMIN")
    assert not doctor.everything_works(doctor.matrix(strict, TOOLS, Ceiling()))
    assert doctor.everything_works(doctor.matrix(strict, TOOLS, Ceiling(grant=Grant.BROAD)))
    never = dataclasses.replace(GOOD, host=dataclasses.replace(GOOD.host, yama_ptrace_scope=3))
    assert cells(never)["gdb"] == ["no: nothing opens it"] * 3


def test_json() -> None:
    envelope = json.loads(doctor.as_json(GOOD, doctor.matrix(GOOD, TOOLS, Ceiling())))
    assert set(envelope) == {"schema", "checks", "tools", "works"}
    assert envelope["works"] is True
    assert envelope["tools"]["gdb"]["uid 1000"]["cap_add"] == []


def test_the_kernels_configuration_is_read_for_what_matters() -> None:
    found = engine_host.parse_config(
        "CONFIG_KPROBES=y\n# CONFIG_UPROBES is not set\nCONFIG_OTHER=y\nCONFIG_USER_NS=m\n"
    )
    assert (found["CONFIG_KPROBES"], found["CONFIG_UPROBES"], found["CONFIG_USER_NS"]) == ("y", "n", "m")
    assert set(found) == set(doctor.KERNEL_OPTIONS)
