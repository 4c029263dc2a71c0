"""Who may watch: perf_event_open(2), bpf(2), tracefs and the kernel's symbols. Pure.

Each rule cites where it is written.
"""

from __future__ import annotations

from collections.abc import Callable

from debugrun.core.grants import Layer, Verdict
from debugrun.core.know import versions
from debugrun.core.know.facts import Facts
from debugrun.core.rules import ptrace
from debugrun.core.rules.actor import Actor
from debugrun.core.rules.lsm import Answer

OPEN, CLOSED, UNKNOWN = Verdict.OPEN, Verdict.CLOSED, Verdict.UNKNOWN
TRACING = "/sys/kernel/tracing"


def perf(highest: int, what: str) -> Callable[[Actor, Facts], list[Answer]]:
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


def perf_process(highest: int, what: str) -> Callable[[Actor, Facts], list[Answer]]:
    """Events on a process need PTRACE_MODE_READ_REALCREDS on it as well, or PERFMON (perf_check_permission())."""
    allowed = perf(highest, what)

    def rule(actor: Actor, facts: Facts) -> list[Answer]:
        if (actor.has("PERFMON") or actor.has("SYS_ADMIN")) and not facts.in_user_namespace:
            return allowed(actor, facts)
        return allowed(actor, facts) + ptrace.access(actor, facts.process)

    return rule


def kernel_symbols(actor: Actor, facts: Facts) -> list[Answer]:
    """Without it all addresses are 0. kernel/ksyms_common.c kallsyms_show_value(), which asks capable(SYSLOG)."""
    restrict, paranoid = facts.host.kptr_restrict, facts.host.perf_event_paranoid
    source = "/proc/sys/kernel/kptr_restrict; kallsyms_show_value()"
    if restrict is None:
        return [(Layer.DAC, UNKNOWN, "kptr_restrict can't be read", source)]
    lifted = actor.has("SYSLOG") and not facts.in_user_namespace
    if (restrict == 0 and paranoid is not None and paranoid <= 1) or (restrict <= 1 and lifted):
        return [(Layer.DAC, OPEN, f"kptr_restrict {restrict} shows the kernel's addresses", source)]
    return [(Layer.DAC, CLOSED, f"kptr_restrict is {restrict}: the kernel's addresses need SYSLOG", source)]


def bpf(actor: Actor, facts: Facts) -> list[Answer]:
    """Tracing programs need CAP_BPF and CAP_PERFMON, or SYS_ADMIN, in the initial user namespace.

    capabilities(7) CAP_BPF, CAP_PERFMON; kernel/bpf/syscall.c bpf_prog_load(). Before 5.8 SYS_ADMIN only.
    """
    source = "capabilities(7) CAP_BPF; bpf(2)"
    old = versions.two(facts.engine.kernel) < (5, 8)
    held = "SYS_ADMIN" if actor.has("SYS_ADMIN") else "BPF and PERFMON"
    if not actor.has("SYS_ADMIN") and (old or not (actor.has("BPF") and actor.has("PERFMON"))):
        wanted = f"SYS_ADMIN: kernel {facts.engine.kernel} has no BPF" if old else "BPF and PERFMON, or SYS_ADMIN"
        return [(Layer.PERF, CLOSED, f"loading a program that traces needs {wanted}", source)]
    if facts.in_user_namespace:
        return [(Layer.PERF, CLOSED, f"{held}: for nothing in the engine's user namespace", source)]
    return [(Layer.PERF, OPEN, f"{held} may load programs that trace", source), *lockdown(facts, "bpf(2)")]


def lockdown(facts: Facts, what: str) -> list[Answer]:
    """Whether lockdown leaves `what` open, which reads the kernel's memory: not at "confidentiality", whoever asks.

    security/lockdown/lockdown.c, since Linux 5.4: LOCKDOWN_BPF_READ_KERNEL, LOCKDOWN_KPROBES and LOCKDOWN_TRACEFS are
    above "integrity"; perf_event_open(2) is asked for registers at interrupts only (LOCKDOWN_PERF).
    """
    source = "/sys/kernel/security/lockdown; kernel_lockdown(7)"
    if versions.two(facts.engine.kernel) < (5, 4):
        return []
    match facts.host.lockdown:
        case "confidentiality":
            return [(Layer.LSM, CLOSED, f"lockdown is at confidentiality: {what} is closed until a reboot", source)]
        case None:
            return [(Layer.LSM, UNKNOWN, f"whether lockdown closes {what} can't be read", source)]
        case level:
            return [(Layer.LSM, OPEN, f"lockdown {level} leaves {what} open", source)]


def gpu_counters(actor: Actor, facts: Facts) -> list[Answer]:
    """RmProfilingAdminOnly of the NVIDIA driver: the counters are for SYS_ADMIN, since its release 565 for PERFMON too.

    NVIDIA, "ERR_NVGPUCTRPERM: Permission issue with Performance Counters"; the driver asks capable().
    """
    host = facts.host
    source = "/proc/driver/nvidia/params RmProfilingAdminOnly; NVIDIA's ERR_NVGPUCTRPERM"
    if host.gpu_counters is None:
        return [(Layer.PERF, UNKNOWN, "whose the GPU's performance counters are can't be read", source)]
    if host.gpu_counters == "everybody":
        return [(Layer.PERF, OPEN, "the GPU's performance counters are everybody's", source)]
    if facts.in_user_namespace:
        return [(Layer.PERF, CLOSED, "no capability opens the GPU's counters in the engine's user namespace", source)]
    return [_gpu_capability(actor, host.gpu_driver, source)]


def _gpu_capability(actor: Actor, driver: str | None, source: str) -> Answer:
    release = versions.two(driver or "")
    if actor.has("SYS_ADMIN"):
        return (Layer.PERF, OPEN, "SYS_ADMIN may read the GPU's performance counters", source)
    if actor.has("PERFMON") and driver is None:
        return (Layer.PERF, UNKNOWN, "whether the driver knows PERFMON can't be read: release 565 does", source)
    if actor.has("PERFMON") and release >= (565,):
        return (Layer.PERF, OPEN, f"PERFMON may read the GPU's counters with driver {driver}", source)
    lifters = "PERFMON or SYS_ADMIN" if driver is None or release >= (565,) else "SYS_ADMIN"
    return (Layer.PERF, CLOSED, f"the GPU's performance counters are the administrator's: needs {lifters}", source)


def tracefs(actor: Actor, facts: Facts) -> list[Answer]:
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
    return [(Layer.ENGINE, OPEN, f"the host's {TRACING} is mounted", source), *lockdown(facts, "tracefs")]
