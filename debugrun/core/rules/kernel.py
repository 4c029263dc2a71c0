"""The kernel's rules, as pure functions: an actor asks, every layer that has a say answers with a Gate.

Each rule cites where it is written. Seccomp is a question of its own: see `debugrun.core.rules.seccomp`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from debugrun.core.grants import Gate, Layer, Verdict
from debugrun.core.know import versions
from debugrun.core.know.facts import Facts
from debugrun.core.rules import events, ptrace
from debugrun.core.rules.actor import Actor
from debugrun.core.rules.lsm import Answer

OPEN, CLOSED = Verdict.OPEN, Verdict.CLOSED

# For each gate the capabilities that can open it: what the planner tries, narrow before wide.
CAPABILITIES: dict[str, tuple[str, ...]] = {
    "ptrace-attach": ("SYS_PTRACE",),
    "ptrace-read": ("SYS_PTRACE",),
    "proc-maps-read": ("SYS_PTRACE", "PERFMON", "SYS_ADMIN"),
    "ptrace-access": ("SYS_PTRACE",),
    "proc-mem-read": ("DAC_READ_SEARCH", "DAC_OVERRIDE"),
    "proc-mem-write": ("DAC_OVERRIDE",),
    "memory-write": ("DAC_OVERRIDE",),
    "text-write": (),
    "proc-auxv-read": ("DAC_READ_SEARCH", "DAC_OVERRIDE"),
    "signal": ("KILL",),
    "perf-user": ("SYS_PTRACE", "PERFMON", "SYS_ADMIN"),
    "perf-kernel": ("SYS_PTRACE", "PERFMON", "SYS_ADMIN"),
    "perf-system": ("PERFMON", "SYS_ADMIN"),
    "kernel-symbols": ("SYSLOG",),
    "packet-socket": ("NET_RAW",),
    "set-ids": ("SETUID", "SETGID"),
    "proc-fd-read": ("DAC_READ_SEARCH", "DAC_OVERRIDE"),
    "perf-own": ("PERFMON", "SYS_ADMIN"),
    "perf-own-kernel": ("PERFMON", "SYS_ADMIN"),
    "ptrace-child": ("SYS_PTRACE",),
    "bpf": ("BPF", "PERFMON", "SYS_ADMIN"),
    "tracefs": (),
    "same-uid": ("SYS_PTRACE", "SETUID", "SETGID"),
    "own-userns": ("SETFCAP",),
    "root": (),
    "gpu-counters": ("PERFMON", "SYS_ADMIN"),
    "syscall": (),
}


def ask(gate: str, actor: Actor, facts: Facts, *, need: str) -> tuple[Gate, ...]:
    """What the layers below seccomp say to `gate`, in the order in which the kernel asks them."""
    return tuple(
        Gate(need=need, layer=layer, verdict=verdict, fact=fact, source=source)
        for layer, verdict, fact, source in _RULES[gate](actor, facts)
    )


def call(name: str, facts: Facts, *, need: str) -> tuple[Gate, ...]:
    """What the kernel itself says to a call that seccomp lets through: whether it has it at all."""
    answers = ptrace.cross_memory(facts) if name in ptrace.CROSS_MEMORY else []
    return tuple(
        Gate(need=need, layer=layer, verdict=verdict, fact=f"{name}: {fact}", source=source)
        for layer, verdict, fact, source in answers
    )


def _set_ids(actor: Actor, facts: Facts) -> list[Answer]:
    """setuid(2), setgid(2): a tool that gives up root asks for them only when it is root."""
    if actor.uid != 0:
        return [(Layer.DAC, OPEN, "not root: there is nothing to give up", "setuid(2)")]
    return _capable("SETUID", "SETGID")(actor, facts)


def _capable(*capabilities: str) -> Callable[[Actor, Facts], list[Answer]]:
    def rule(actor: Actor, facts: Facts) -> list[Answer]:  # noqa: ARG001 - rules have one shape
        answers: list[Answer] = []
        for name in capabilities:
            verdict, fact = (OPEN, f"{name} is effective") if actor.has(name) else (CLOSED, f"needs {name}")
            answers.append((Layer.DAC, verdict, fact, "capabilities(7)"))
        return answers

    return rule


def _same_uid(actor: Actor, facts: Facts) -> list[Answer]:
    """A socket whose other end compares uids: setresuid(2), setresgid(2) to become the target's.

    Then it is found below /proc/PID/root, with what is left: to leave uid 0 is to lose capabilities (capabilities(7)).
    """
    process = facts.process
    left = actor.capabilities if process.uids[1] == 0 or actor.uid == process.uids[1] else frozenset[str]()
    become = replace(actor, uid=process.uids[1], gid=process.gids[1], capabilities=left)
    theirs = f"{process.uids[1]}:{process.gids[1]}"
    source = f"/proc/{process.pid}/status Uid, Gid; setresuid(2)"
    if (actor.uid, actor.gid) == (process.uids[1], process.gids[1]):
        return [(Layer.DAC, OPEN, f"same uid and gid as PID {process.pid}", source), *ptrace.read_links(become, facts)]
    if actor.has("SETUID") and actor.has("SETGID"):
        became = f"SETUID and SETGID let it become {theirs}"
        return [(Layer.DAC, OPEN, became, source), *ptrace.read_links(become, facts)]
    fact = f"{actor.uid}:{actor.gid} is not {theirs}, and becoming so needs SETUID and SETGID"
    return [(Layer.DAC, CLOSED, fact, source)]


def _own_userns(actor: Actor, facts: Facts) -> list[Answer]:
    """One's own uid may always be mapped, but uid 0 only by who had SETFCAP when the namespace was made.

    user_namespaces(7), since Linux 5.12; kernel/user_namespace.c verify_root_map().
    """
    source = "user_namespaces(7); kernel/user_namespace.c verify_root_map()"
    if actor.uid != 0 or actor.has("SETFCAP") or versions.two(facts.engine.kernel) < (5, 12):
        return [(Layer.DAC, OPEN, f"uid {actor.uid} may be mapped into a user namespace of its own", source)]
    return [(Layer.DAC, CLOSED, "mapping uid 0 into a new user namespace needs SETFCAP", source)]


def _root(actor: Actor, facts: Facts) -> list[Answer]:  # noqa: ARG001 - rules have one shape
    if actor.uid == 0:
        return [(Layer.DAC, OPEN, "uid 0, as the tool itself asks", "the tool's own check of geteuid(2)")]
    return [(Layer.DAC, CLOSED, f"the tool itself asks for uid 0, not {actor.uid}", "its own check of geteuid(2)")]


def _nothing(actor: Actor, facts: Facts) -> list[Answer]:  # noqa: ARG001 - rules have one shape
    return []


_RULES: dict[str, Callable[[Actor, Facts], list[Answer]]] = {
    "ptrace-attach": ptrace.attach,
    "ptrace-read": ptrace.read_links,
    "proc-maps-read": ptrace.read_maps,
    "ptrace-access": ptrace.access_links,
    "proc-mem-read": ptrace.proc_file("mem", ("DAC_READ_SEARCH", "DAC_OVERRIDE")),
    "proc-mem-write": ptrace.proc_file("mem", ("DAC_OVERRIDE",)),
    "memory-write": ptrace.memory_write,
    "text-write": ptrace.text_write,
    "proc-auxv-read": ptrace.proc_file("auxv", ("DAC_READ_SEARCH", "DAC_OVERRIDE")),
    "signal": ptrace.signal,
    "perf-user": events.perf_process(2, "counting in user space"),
    "perf-kernel": events.perf_process(1, "sampling the kernel's side"),
    "perf-system": events.perf(0, "counting on whole CPUs"),
    "kernel-symbols": events.kernel_symbols,
    "packet-socket": _capable("NET_RAW"),
    "set-ids": _set_ids,
    "proc-fd-read": ptrace.proc_file("fd", ("DAC_READ_SEARCH", "DAC_OVERRIDE")),
    "perf-own": events.perf(2, "counting in a program of its own"),
    "perf-own-kernel": events.perf(1, "sampling the kernel's side"),
    "ptrace-child": ptrace.child,
    "bpf": events.bpf,
    "tracefs": events.tracefs,
    "same-uid": _same_uid,
    "own-userns": _own_userns,
    "root": _root,
    "gpu-counters": events.gpu_counters,
    "syscall": _nothing,
}
