"""Who may look into a process: ptrace(2)'s access check, Yama, the files of /proc/PID, kill(2). Pure.

Each rule cites where it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from debugrun.core.grants import Layer, Verdict
from debugrun.core.know import versions
from debugrun.core.know.facts import Facts, ProcessFacts
from debugrun.core.rules import lsm
from debugrun.core.rules.actor import Actor
from debugrun.core.rules.lsm import Answer

CROSS_MEMORY = frozenset({"process_vm_readv", "process_vm_writev"})
OPEN, CLOSED, UNKNOWN = Verdict.OPEN, Verdict.CLOSED, Verdict.UNKNOWN


def access(actor: Actor, process: ProcessFacts) -> list[Answer]:
    """ptrace(2) "Ptrace access mode checking"; kernel/ptrace.c __ptrace_may_access()."""
    pid = process.pid
    if actor.has("SYS_PTRACE"):
        return [(Layer.PTRACE, OPEN, "SYS_PTRACE lifts the uid, dumpable and capability checks", "capabilities(7)")]
    answers: list[Answer] = []
    status = f"/proc/{pid}/status Uid, Gid; ptrace(2)"
    if set(process.uids[:3]) != {actor.uid} or set(process.gids[:3]) != {actor.gid}:
        theirs = f"{process.uids[1]}:{process.gids[1]}"
        fact = f"uid:gid {actor.uid}:{actor.gid} is not PID {pid}'s {theirs}"
        answers.append((Layer.PTRACE, CLOSED, fact, status))
    else:
        answers.append((Layer.PTRACE, OPEN, f"same uid as PID {pid}", status))
    owner = f"owner of /proc/{pid}; prctl(2) PR_SET_DUMPABLE"
    if process.dumpable is None:
        answers.append((Layer.PTRACE, UNKNOWN, f"whether PID {pid} is dumpable can't be read", owner))
    elif process.dumpable:
        answers.append((Layer.PTRACE, OPEN, "dumpable", owner))
    else:
        word = "by its own word not" if "dumpable" in process.by_target else "not"
        answers.append((Layer.PTRACE, CLOSED, f"PID {pid} is {word} dumpable", owner))
    missing = sorted(set(process.permitted) - actor.capabilities)
    source = f"/proc/{pid}/status CapPrm; security/commoncap.c cap_ptrace_access_check()"
    if missing:
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")  # noqa: PLR2004
        answers.append((Layer.PTRACE, CLOSED, f"PID {pid} has capabilities that the tool lacks: {some}", source))
    elif process.permitted:
        count = f"{len(process.permitted)} capabilities" if len(process.permitted) > 1 else "one capability"
        answers.append((Layer.PTRACE, OPEN, f"all of PID {pid}'s {count}", source))
    return answers


def _yama(actor: Actor, facts: Facts) -> list[Answer]:
    """Documentation/admin-guide/LSM/Yama.rst; security/yama/yama_lsm.c yama_ptrace_access_check()."""
    scope = facts.host.yama_ptrace_scope
    source = "/proc/sys/kernel/yama/ptrace_scope; Yama.rst"
    if scope is None:
        return [(Layer.YAMA, UNKNOWN, "ptrace_scope can't be read", source)]
    if scope == 0:
        return [(Layer.YAMA, OPEN, "Yama off", source)]
    if scope >= 3:  # noqa: PLR2004 - the scopes are 0 to 3
        return [(Layer.YAMA, CLOSED, "ptrace_scope is 3: no process may attach, until the host reboots", source)]
    if actor.has("SYS_PTRACE"):
        return [(Layer.YAMA, OPEN, f"ptrace_scope {scope} lets SYS_PTRACE attach", source)]
    return [(Layer.YAMA, CLOSED, f"ptrace_scope is {scope}: attaching needs SYS_PTRACE", source)]


def child(actor: Actor, facts: Facts) -> list[Answer]:
    """A child that asks to be traced: security/yama/yama_lsm.c yama_ptrace_traceme(), and attaching to a descendant."""
    if facts.host.yama_ptrace_scope == 1:
        source = "/proc/sys/kernel/yama/ptrace_scope; Yama.rst"
        return [(Layer.YAMA, OPEN, "ptrace_scope 1 lets a process trace its children", source)]
    return _yama(actor, facts)


def _security_modules(actor: Actor, facts: Facts) -> list[Answer]:
    return lsm.apparmor(actor.label, facts) + lsm.selinux(actor.selinux, facts)


def attach(actor: Actor, facts: Facts) -> list[Answer]:
    """PTRACE_MODE_ATTACH: the check of the kernel itself, then Yama and the security modules."""
    return access(actor, facts.process) + _yama(actor, facts) + _security_modules(actor, facts)


def read_links(actor: Actor, facts: Facts) -> list[Answer]:
    """PTRACE_MODE_READ on its links: Yama does not look at it (yama_ptrace_access_check: PTRACE_MODE_ATTACH only)."""
    return access(actor, facts.process) + _security_modules(actor, facts)


def read_maps(actor: Actor, facts: Facts) -> list[Answer]:
    """What a process has mapped, its environment and its auxiliary vector; its links and its memory are not meant.

    kernel/fork.c may_access_mm(): since Linux 6.15 PERFMON and SYS_ADMIN of the initial user namespace will do,
    whatever else says no, a security module included. Before, as for any reading.
    """
    allowed = read_links(actor, facts)
    lifter = next((name for name in ("PERFMON", "SYS_ADMIN") if actor.has(name)), None)
    if lifter is None or facts.in_user_namespace or all(verdict is OPEN for _, verdict, _, _ in allowed):
        return allowed
    source = "kernel/fork.c may_access_mm(); uname -r"
    if versions.two(facts.engine.kernel) >= (6, 15):
        fact = f"kernel {facts.engine.kernel} lets {lifter} read /proc/{facts.process.pid}/maps"
        return [(Layer.PTRACE, OPEN, fact, source)]
    return allowed


def access_links(actor: Actor, facts: Facts) -> list[Answer]:
    """access(2) asks with the real uid, and with no capability unless that is root: fs/open.c access_override_creds().

    That is why a capability of a user's, by file or ambient, opens a link in /proc/PID and not the question about it.
    """
    if actor.uid != 0:
        actor = replace(actor, capabilities=frozenset(), privileged=False)
    return read_links(actor, facts)


def _owner(process: ProcessFacts) -> int | None:
    """Owner uid of the files in /proc/PID: fs/proc/base.c task_dump_owner()."""
    if process.dumpable is None and process.uids[1] != 0:
        return None
    return process.uids[1] if process.dumpable else 0


def proc_file(name: str, lifters: tuple[str, ...]) -> Callable[[Actor, Facts], list[Answer]]:
    """A file of mode 0600 or 0400 in /proc/PID: path_resolution(7), and capabilities(7) for what lifts it."""

    def rule(actor: Actor, facts: Facts) -> list[Answer]:
        path = f"/proc/{facts.process.pid}/{name}"
        source = f"owner of {path}; proc(5)"
        owner = _owner(facts.process)
        for lifter in lifters:
            if actor.has(lifter):
                return [(Layer.DAC, OPEN, f"{lifter} opens {path}", source)]
        if owner is None:
            return [(Layer.DAC, UNKNOWN, f"the owner of {path} can't be read", source)]
        if owner == actor.uid:
            return [(Layer.DAC, OPEN, f"{path} is its own", source)]
        return [(Layer.DAC, CLOSED, f"{path} belongs to uid {owner}, the tool runs as {actor.uid}", source)]

    return rule


def memory_write(actor: Actor, facts: Facts) -> list[Answer]:
    """As gdb does it: /proc/PID/mem, and ptrace only where gdb may not write its own memory through /proc/self/mem.

    gdb/linux-nat.c proc_mem_file_is_writable(), linux_nat_target::xfer_partial(); measured with gdb 16. So a gdb whose
    program is hidden reads and writes word by word, and one that is not has no memory where it may not open the file.
    """
    answers = proc_file("mem", ("DAC_OVERRIDE",))(actor, facts)
    if actor.hidden and any(verdict is not OPEN for _, verdict, _, _ in answers):
        fact = "memory goes word by word through ptrace: the tool can't open its own /proc/self/mem"
        return [(Layer.PTRACE, OPEN, fact, "gdb/linux-nat.c proc_mem_file_is_writable()")]
    return answers


def text_write(actor: Actor, facts: Facts) -> list[Answer]:
    """Write through /proc/PID/mem what the process itself may only read: its code, for a breakpoint.

    fs/proc/base.c proc_mem_foll_force(), since Linux 6.12: "ptrace" leaves that to the process' tracer, "never" to
    nobody. PTRACE_POKEDATA, which a hidden tool uses, is not asked (mm/memory.c, kernel/ptrace.c ptrace_access_vm()).
    """
    override = facts.host.proc_mem_override
    source = "proc_mem.force_override in /proc/cmdline; fs/proc/base.c proc_mem_foll_force()"
    if actor.hidden or versions.two(facts.engine.kernel) < (6, 12) or override in {"always", "ptrace"}:
        return [(Layer.DAC, OPEN, "a tracer may write read-only pages", source)]
    if override is None:
        return [(Layer.DAC, UNKNOWN, "proc_mem.force_override can't be read", source)]
    fact = "proc_mem.force_override=never: nobody writes read-only pages through /proc/PID/mem"
    return [(Layer.DAC, CLOSED, fact, source)]


def cross_memory(facts: Facts) -> list[Answer]:
    """mm/process_vm_access.c is built with CONFIG_CROSS_MEMORY_ATTACH only; without it the calls say ENOSYS."""
    source = "process_vm_readv(2); CONFIG_CROSS_MEMORY_ATTACH"
    match facts.host.cross_memory_attach:
        case True:
            return []
        case False:
            return [(Layer.PTRACE, CLOSED, "this kernel was built without it", source)]
        case _:
            return [(Layer.PTRACE, UNKNOWN, "whether this kernel was built with it can't be read", source)]


def signal(actor: Actor, facts: Facts) -> list[Answer]:
    """kill(2): real or effective uid equals the target's real or saved uid, or CAP_KILL."""
    source = f"/proc/{facts.process.pid}/status Uid; kill(2)"
    if actor.has("KILL"):
        return [(Layer.DAC, OPEN, "KILL may signal any process", source)]
    if actor.uid in {facts.process.uids[0], facts.process.uids[2]}:
        return [(Layer.DAC, OPEN, "same uid", source)]
    fact = f"uid {actor.uid} may not signal a process of uid {facts.process.uids[0]}"
    return [(Layer.DAC, CLOSED, fact, source)]
