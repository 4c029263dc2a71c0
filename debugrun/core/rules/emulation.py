"""Targets that an emulator runs: what a debugger would see of them, and what works instead. Pure.

Measured with qemu-user 7.2: a native tool beside it attaches, as to any process. Calls are those that the program
makes; memory, registers and frames are the emulator's. A debugger of the emulated architecture has no ptrace: ENOSYS
(linux-user/syscall.c), under Rosetta EIO when it reads registers (docker/for-mac#5191, #6921).
"""

from __future__ import annotations

import re

from debugrun.core.grants import Gate, Layer, Option, Placement, Verdict
from debugrun.core.know.facts import EngineFacts, Facts
from debugrun.core.know.tool_file import Mode
from debugrun.values import dataclass

_QEMU = re.compile(r"(?:.*/)?(qemu-\w+?)(?:-static)?")
_ROSETTA = re.compile(r".*/rosetta[^/]*")
# Programs of an architecture that the kernel of another runs itself.
_NATIVE = {"x86_64": {"i686"}, "aarch64": {"armv7l"}}
_GO = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
DESKTOP = "Docker Desktop"  # GET /info OperatingSystem
_MEMORY = frozenset({"proc-mem-read", "proc-mem-write", "memory-write", "proc-auxv-read"})
_TRACING = frozenset({"ptrace-attach", "ptrace-child", *_MEMORY})


@dataclass(frozen=True, kw_only=True, slots=True)
class Emulator:
    """Who runs the target's programs, why that is known, and how a debugger reaches it by a stub of the emulator's."""

    name: str
    fact: str
    source: str
    stub: str


_QEMU_STUB = "QEMU_GDB=1234 in its environment, then gdb-multiarch: target remote :1234"
_ROSETTA_STUB = "ROSETTA_DEBUGSERVER_PORT=1234 in its environment, then gdb: target remote :1234"


def emulator(facts: Facts) -> Emulator | None:
    """The emulator of the target process; None: the kernel runs it."""
    exe, engine, theirs = facts.process.exe or "", facts.engine, facts.container.architecture
    pid, name = facts.process.pid, facts.container.name
    source = f"/proc/{pid}/exe"
    if match := _QEMU.fullmatch(exe):
        fact = f"PID {pid} of {name} is {match[1]}, which runs the program"
        return Emulator(name=match[1], fact=fact, source=source, stub=_QEMU_STUB)
    if _ROSETTA.fullmatch(exe):
        fact = f"PID {pid} of {name} is Rosetta, which runs the program"
        return Emulator(name="Rosetta", fact=fact, source=source, stub=_ROSETTA_STUB)
    if theirs is None or runs_natively(theirs, engine):
        return None
    fact = f"{name} is an {theirs} image on an {engine.architecture} engine: emulated"
    source = "GET /images/NAME/json Architecture; GET /info"
    if engine.operating_system == DESKTOP and (theirs, engine.architecture) == ("x86_64", "aarch64"):
        stub = f"{_ROSETTA_STUB} (by QEMU: QEMU_GDB=1234)"
        return Emulator(name="Rosetta or QEMU", fact=fact, source=source, stub=stub)
    return Emulator(name="an emulator", fact=fact, source=source, stub=_QEMU_STUB)


def runs_natively(theirs: str, engine: EngineFacts) -> bool:
    """Whether the engine's kernel runs those programs itself: its own, and the 32-bit ones of x86 and arm."""
    return theirs == engine.architecture or theirs in _NATIVE.get(engine.architecture, set())


def gates(option: Option, mode: Mode, facts: Facts) -> list[Gate]:
    """What can't be had of an emulated target, for required needs."""
    needs = {need.gate for need in mode.needs if not need.optional}
    found = emulator(facts)
    if found is None or not needs & _TRACING:
        return []
    if option.placement is Placement.HERE:
        fact = f"{found.fact}; a tool in there is emulated too, and {found.name} has no ptrace"
    elif needs & _MEMORY:
        fact = f"{found.fact}; memory, registers and frames would be those of {found.name}"
    else:
        return []
    return [Gate(need="target", layer=Layer.ENGINE, verdict=Verdict.CLOSED, fact=fact, source=found.source)]


def lost(mode: Mode, facts: Facts) -> tuple[str, ...]:
    """What is less than of a target that the kernel runs, for a tool that is beside it and looks into it."""
    found = emulator(facts)
    if found is None or not any(need.gate in _TRACING or need.gate.startswith("perf-") for need in mode.needs):
        return ()
    return (f"{found.name} runs the target: calls are its own, stacks and samples are the emulator's",)


def advice(facts: Facts) -> str | None:
    """What works instead."""
    found = emulator(facts)
    if found is None:
        return None
    native = f"an image for {facts.engine.architecture} (--platform linux/{_GO.get(facts.engine.architecture, '...')})"
    return f"run it from {native}; or with {found.stub}"
