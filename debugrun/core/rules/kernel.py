"""The kernel's rules, as pure functions: an actor asks, every layer that has a say answers with a Gate.

Each rule cites where it is written. Seccomp is a question of its own: see `debugrun.core.rules.seccomp`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from debugrun.core.grants import Gate, Layer, Verdict
from debugrun.core.know.facts import Facts, ProcessFacts
from debugrun.core.rules import lsm
from debugrun.core.rules.actor import Actor
from debugrun.core.rules.lsm import Answer

OPEN, CLOSED, UNKNOWN = Verdict.OPEN, Verdict.CLOSED, Verdict.UNKNOWN
TRACING = "/sys/kernel/tracing"

# For each gate the capabilities that can open it: what the planner tries, narrow before wide.
CAPABILITIES: dict[str, tuple[str, ...]] = {
    "ptrace-attach": ("SYS_PTRACE",),
    "ptrace-read": ("SYS_PTRACE",),
    "ptrace-access": ("SYS_PTRACE",),
    "proc-mem-read": ("DAC_READ_SEARCH", "DAC_OVERRIDE"),
    "proc-mem-write": ("DAC_OVERRIDE",),
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
    "syscall": (),
}


def ask(gate: str, actor: Actor, facts: Facts, *, need: str) -> tuple[Gate, ...]:
    """What the layers below seccomp say to `gate`, in the order in which the kernel asks them."""
    return tuple(
        Gate(need=need, layer=layer, verdict=verdict, fact=fact, source=source)
        for layer, verdict, fact, source in _RULES[gate](actor, facts)
    )


def _ptrace_access(actor: Actor, process: ProcessFacts) -> list[Answer]:
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
        answers.append((Layer.PTRACE, CLOSED, f"PID {pid} is not dumpable", owner))
    missing = sorted(set(process.permitted) - actor.capabilities)
    source = f"/proc/{pid}/status CapPrm; security/commoncap.c cap_ptrace_access_check()"
    if missing:
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")  # noqa: PLR2004
        answers.append((Layer.PTRACE, CLOSED, f"PID {pid} has capabilities that the tool lacks: {some}", source))
    elif process.permitted:
        answers.append((Layer.PTRACE, OPEN, f"all of PID {pid}'s {len(process.permitted)} capabilities", source))
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


def _ptrace_child(actor: Actor, facts: Facts) -> list[Answer]:
    """A child that asks to be traced: security/yama/yama_lsm.c yama_ptrace_traceme(), and attaching to a descendant."""
    if facts.host.yama_ptrace_scope == 1:
        source = "/proc/sys/kernel/yama/ptrace_scope; Yama.rst"
        return [(Layer.YAMA, OPEN, "ptrace_scope 1 lets a process trace its children", source)]
    return _yama(actor, facts)


def _security_modules(actor: Actor, facts: Facts) -> list[Answer]:
    return lsm.apparmor(actor.label, facts) + lsm.selinux(actor.selinux, facts)


def _ptrace_attach(actor: Actor, facts: Facts) -> list[Answer]:
    return _ptrace_access(actor, facts.process) + _yama(actor, facts) + _security_modules(actor, facts)


def _ptrace_read(actor: Actor, facts: Facts) -> list[Answer]:
    """PTRACE_MODE_READ: Yama does not look at it (yama_ptrace_access_check: mode & PTRACE_MODE_ATTACH only)."""
    return _ptrace_access(actor, facts.process) + _security_modules(actor, facts)


def _ptrace_access_real(actor: Actor, facts: Facts) -> list[Answer]:
    """access(2) asks with the real uid, and with no capability unless that is root: fs/open.c access_override_creds().

    That is why a capability of a user's, by file or ambient, opens a link in /proc/PID and not the question about it.
    """
    if actor.uid != 0:
        actor = replace(actor, capabilities=frozenset(), privileged=False)
    return _ptrace_read(actor, facts)


def _proc_owner(process: ProcessFacts) -> int | None:
    """Owner uid of the files in /proc/PID: fs/proc/base.c task_dump_owner()."""
    if process.dumpable is None and process.uids[1] != 0:
        return None
    return process.uids[1] if process.dumpable else 0


def _proc_file(name: str, lifters: tuple[str, ...]) -> Callable[[Actor, Facts], list[Answer]]:
    """A file of mode 0600 or 0400 in /proc/PID: path_resolution(7), and capabilities(7) for what lifts it."""

    def rule(actor: Actor, facts: Facts) -> list[Answer]:
        path = f"/proc/{facts.process.pid}/{name}"
        source = f"owner of {path}; proc(5)"
        owner = _proc_owner(facts.process)
        for lifter in lifters:
            if actor.has(lifter):
                return [(Layer.DAC, OPEN, f"{lifter} opens {path}", source)]
        if owner is None:
            return [(Layer.DAC, UNKNOWN, f"the owner of {path} can't be read", source)]
        if owner == actor.uid:
            return [(Layer.DAC, OPEN, f"{path} is its own", source)]
        return [(Layer.DAC, CLOSED, f"{path} belongs to uid {owner}, the tool runs as {actor.uid}", source)]

    return rule


def _signal(actor: Actor, facts: Facts) -> list[Answer]:
    """kill(2): real or effective uid equals the target's real or saved uid, or CAP_KILL."""
    source = f"/proc/{facts.process.pid}/status Uid; kill(2)"
    if actor.has("KILL"):
        return [(Layer.DAC, OPEN, "KILL may signal any process", source)]
    if actor.uid in {facts.process.uids[0], facts.process.uids[2]}:
        return [(Layer.DAC, OPEN, "same uid", source)]
    fact = f"uid {actor.uid} may not signal a process of uid {facts.process.uids[0]}"
    return [(Layer.DAC, CLOSED, fact, source)]


def _perf(highest: int, what: str) -> Callable[[Actor, Facts], list[Answer]]:
    """perf_event_paranoid up to `highest` lets anybody do `what`.

    Documentation/admin-guide/sysctl/kernel.rst perf_event_paranoid; kernel/events/core.c perf_event_open();
    3 and 4 are Debian's and Ubuntu's own: everything needs SYS_ADMIN, PERFMON is not looked at (measured).
    Both capabilities count in the initial user namespace only: perfmon_capable() is capable().
    """

    def rule(actor: Actor, facts: Facts) -> list[Answer]:
        level = facts.host.perf_event_paranoid
        source = "/proc/sys/kernel/perf_event_paranoid; perf_event_open(2)"
        if level is None:
            return [(Layer.PERF, UNKNOWN, "perf_event_paranoid can't be read", source)]
        if level <= highest:
            return [(Layer.PERF, OPEN, f"perf_event_paranoid {level} allows {what}", source)]
        lifters = ("SYS_ADMIN",) if level >= 3 else ("PERFMON", "SYS_ADMIN")  # noqa: PLR2004 - see docstring
        for lifter in lifters:
            if not actor.has(lifter):
                continue
            if facts.in_user_namespace:
                return [(Layer.PERF, CLOSED, f"{lifter} counts for nothing in the engine's user namespace", source)]
            return [(Layer.PERF, OPEN, f"{lifter} allows {what}", source)]
        return [(Layer.PERF, CLOSED, f"perf_event_paranoid is {level}: {what} needs {' or '.join(lifters)}", source)]

    return rule


def _perf_process(highest: int, what: str) -> Callable[[Actor, Facts], list[Answer]]:
    """Events on a process need PTRACE_MODE_READ_REALCREDS on it as well, or PERFMON (perf_check_permission())."""
    allowed = _perf(highest, what)

    def rule(actor: Actor, facts: Facts) -> list[Answer]:
        if (actor.has("PERFMON") or actor.has("SYS_ADMIN")) and not facts.in_user_namespace:
            return allowed(actor, facts)
        return allowed(actor, facts) + _ptrace_access(actor, facts.process)

    return rule


def _kernel_symbols(actor: Actor, facts: Facts) -> list[Answer]:
    """Without it all addresses are 0. kernel/ksyms_common.c kallsyms_show_value(), which asks capable(SYSLOG)."""
    restrict, paranoid = facts.host.kptr_restrict, facts.host.perf_event_paranoid
    source = "/proc/sys/kernel/kptr_restrict; kallsyms_show_value()"
    if restrict is None:
        return [(Layer.DAC, UNKNOWN, "kptr_restrict can't be read", source)]
    lifted = actor.has("SYSLOG") and not facts.in_user_namespace
    if (restrict == 0 and paranoid is not None and paranoid <= 1) or (restrict <= 1 and lifted):
        return [(Layer.DAC, OPEN, f"kptr_restrict {restrict} shows the kernel's addresses", source)]
    return [(Layer.DAC, CLOSED, f"kptr_restrict is {restrict}: the kernel's addresses need SYSLOG", source)]


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


def _bpf(actor: Actor, facts: Facts) -> list[Answer]:
    """Tracing programs need CAP_BPF and CAP_PERFMON, or SYS_ADMIN, in the initial user namespace.

    capabilities(7) CAP_BPF, CAP_PERFMON; kernel/bpf/syscall.c bpf_prog_load(). Before 5.8 SYS_ADMIN only.
    """
    source = "capabilities(7) CAP_BPF; bpf(2)"
    old = _version(facts.engine.kernel) < (5, 8)
    held = "SYS_ADMIN" if actor.has("SYS_ADMIN") else "BPF and PERFMON"
    if not actor.has("SYS_ADMIN") and (old or not (actor.has("BPF") and actor.has("PERFMON"))):
        wanted = f"SYS_ADMIN: kernel {facts.engine.kernel} has no BPF" if old else "BPF and PERFMON, or SYS_ADMIN"
        return [(Layer.PERF, CLOSED, f"loading a program that traces needs {wanted}", source)]
    if facts.in_user_namespace:
        return [(Layer.PERF, CLOSED, f"{held}: for nothing in the engine's user namespace", source)]
    return [(Layer.PERF, OPEN, f"{held} may load programs that trace", source)]


def _version(release: str) -> tuple[int, ...]:
    """Major and minor number of a kernel release; (0, 0) where there is none."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _tracefs(actor: Actor, facts: Facts) -> list[Answer]:
    """Engines mount none into a container, a privileged one's /sys included. Root's, mode 0700: fs/tracefs/inode.c."""
    source = "moby oci/defaults.go; Documentation/trace/ftrace.rst"
    if TRACING not in actor.mounts:
        fact = f"no tracefs in a container: the host's {TRACING} is not mounted there"
        return [(Layer.ENGINE, CLOSED, fact, source)]
    source = "mountinfo of the engine; Documentation/trace/ftrace.rst"
    if facts.host.tracefs is None:
        return [(Layer.ENGINE, UNKNOWN, f"whether the host has a tracefs at {TRACING} can't be read", source)]
    if not facts.host.tracefs:
        return [(Layer.ENGINE, CLOSED, f"the host has no tracefs: mount -t tracefs nodev {TRACING}", source)]
    if actor.uid != 0 and not (actor.has("DAC_READ_SEARCH") or actor.has("DAC_OVERRIDE")):
        return [(Layer.DAC, CLOSED, f"{TRACING} is root's, the tool runs as {actor.uid}", source)]
    return [(Layer.ENGINE, OPEN, f"the host's {TRACING} is mounted", source)]


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
        return [(Layer.DAC, OPEN, f"same uid and gid as PID {process.pid}", source), *_ptrace_read(become, facts)]
    if actor.has("SETUID") and actor.has("SETGID"):
        became = f"SETUID and SETGID let it become {theirs}"
        return [(Layer.DAC, OPEN, became, source), *_ptrace_read(become, facts)]
    fact = f"{actor.uid}:{actor.gid} is not {theirs}, and becoming so needs SETUID and SETGID"
    return [(Layer.DAC, CLOSED, fact, source)]


def _own_userns(actor: Actor, facts: Facts) -> list[Answer]:
    """One's own uid may always be mapped, but uid 0 only by who had SETFCAP when the namespace was made.

    user_namespaces(7), since Linux 5.12; kernel/user_namespace.c verify_root_map().
    """
    source = "user_namespaces(7); kernel/user_namespace.c verify_root_map()"
    if actor.uid != 0 or actor.has("SETFCAP") or _version(facts.engine.kernel) < (5, 12):
        return [(Layer.DAC, OPEN, f"uid {actor.uid} may be mapped into a user namespace of its own", source)]
    return [(Layer.DAC, CLOSED, "mapping uid 0 into a new user namespace needs SETFCAP", source)]


def _root(actor: Actor, facts: Facts) -> list[Answer]:  # noqa: ARG001 - rules have one shape
    if actor.uid == 0:
        return [(Layer.DAC, OPEN, "uid 0, as the tool itself asks", "the tool's own check of geteuid(2)")]
    return [(Layer.DAC, CLOSED, f"the tool itself asks for uid 0, not {actor.uid}", "its own check of geteuid(2)")]


def _nothing(actor: Actor, facts: Facts) -> list[Answer]:  # noqa: ARG001 - rules have one shape
    return []


_RULES: dict[str, Callable[[Actor, Facts], list[Answer]]] = {
    "ptrace-attach": _ptrace_attach,
    "ptrace-read": _ptrace_read,
    "ptrace-access": _ptrace_access_real,
    "proc-mem-read": _proc_file("mem", ("DAC_READ_SEARCH", "DAC_OVERRIDE")),
    "proc-mem-write": _proc_file("mem", ("DAC_OVERRIDE",)),
    "signal": _signal,
    "perf-user": _perf_process(2, "counting in user space"),
    "perf-kernel": _perf_process(1, "sampling the kernel's side"),
    "perf-system": _perf(0, "counting on whole CPUs"),
    "kernel-symbols": _kernel_symbols,
    "packet-socket": _capable("NET_RAW"),
    "set-ids": _set_ids,
    "proc-fd-read": _proc_file("fd", ("DAC_READ_SEARCH", "DAC_OVERRIDE")),
    "perf-own": _perf(2, "counting in a program of its own"),
    "perf-own-kernel": _perf(1, "sampling the kernel's side"),
    "ptrace-child": _ptrace_child,
    "bpf": _bpf,
    "tracefs": _tracefs,
    "same-uid": _same_uid,
    "own-userns": _own_userns,
    "root": _root,
    "syscall": _nothing,
}
