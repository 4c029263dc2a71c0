"""Who runs the target, and what then works: pure. On a real engine: live/test_runtimes.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from debugrun.core.decide.plan import plan
from debugrun.core.grants import Ceiling, Grant, Placement
from debugrun.core.know.facts import Facts
from debugrun.core.rules import emulation
from debugrun.core.say import report
from debugrun.toolbox import catalog
from tests import cases

NOBODYS = Path("/nonexistent")
ARM: Mapping[str, Mapping[str, object]] = {"container": {"architecture": "aarch64"}}


def facts(changes: Mapping[str, Mapping[str, object]]) -> Facts:
    return cases.vary(cases.PLAIN, changes)


@pytest.mark.parametrize(
    ("exe", "architecture", "expected"),
    [
        ("/usr/bin/qemu-aarch64-static", "aarch64", "qemu-aarch64"),
        ("/usr/bin/qemu-x86_64", "x86_64", "qemu-x86_64"),
        ("/usr/libexec/qemu-binfmt/qemu-arm", None, "qemu-arm"),
        ("/run/rosetta/rosetta", "x86_64", "Rosetta"),
        ("/app", "aarch64", "an emulator"),
        ("null", "aarch64", "an emulator"),
        ("/usr/bin/qemu-system-x86_64", "x86_64", None),
        ("/usr/bin/qemu-aarch64-static.py", "x86_64", None),
        ("/opt/rosetta/bin/app", "x86_64", None),
        ("/app", "x86_64", None),
        ("/app", "i686", None),
        ("/app", None, None),
    ],
)
def test_who_runs_it(exe: str, architecture: str | None, expected: str | None) -> None:
    found = emulation.emulator(facts({"container": {"architecture": architecture or "null"}, "process": {"exe": exe}}))
    assert (found.name if found else None) == expected


@pytest.mark.parametrize(
    ("engine", "theirs", "native"),
    [("aarch64", "armv7l", True), ("aarch64", "x86_64", False), ("x86_64", "i686", True), ("x86_64", "armv7l", False)],
)
def test_32_bits_are_run_by_the_kernel_itself(engine: str, theirs: str, *, native: bool) -> None:
    case = facts({"engine": {"architecture": engine}, "container": {"architecture": theirs}})
    assert (emulation.emulator(case) is None) is native


def test_on_docker_desktop_both_stubs_are_named() -> None:
    desktop = {"architecture": "aarch64", "operating_system": "Docker Desktop"}
    case = facts({"engine": desktop, "container": {"architecture": "x86_64"}})
    advice = emulation.advice(case)
    assert advice is not None
    assert {"ROSETTA_DEBUGSERVER_PORT=1234", "QEMU_GDB=1234"} <= set(advice.replace(")", " ").split())
    assert "--platform linux/arm64" in advice


def attaching() -> list[str]:
    """The tools that can look at a process that runs: there are some that only start one."""
    return [name for name in catalog.names(NOBODYS) if catalog.load(name, NOBODYS).default_mode]


@pytest.mark.parametrize("name", attaching())
def test_no_tool_is_let_loose_on_an_emulators_memory(name: str) -> None:
    """Whoever must read or write memory is refused on every rung, with what works; the others are told what is lost."""
    tool = catalog.load(name, NOBODYS)
    mode = tool.mode(None)
    decision = plan(tool, mode, facts(ARM), Ceiling(grant=Grant.PRIVILEGED))
    needs = {need.gate for need in mode.needs if not need.optional}
    if needs & {"proc-mem-read", "proc-mem-write", "memory-write"}:
        assert decision.option is None
        assert "--platform linux/amd64" in report.refusal(decision)[1]
    else:
        looks = any(need.gate.startswith(("ptrace-attach", "perf-")) for need in mode.needs)
        sidecars = [option for option in decision.options if option.placement is Placement.SIDECAR]
        assert all(any("emulator's" in each for each in option.lost) is looks for option in sidecars)
