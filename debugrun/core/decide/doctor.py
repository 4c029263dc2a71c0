"""What an engine and its host allow: checks, each with where it was read, and what every tool would need here. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from debugrun.core.ask.attempt import Attempt
from debugrun.core.decide import judge
from debugrun.core.decide.judge_attempt import capabilities
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Ceiling, Option, Placement
from debugrun.core.know import versions
from debugrun.core.know.facts import ContainerFacts, EngineFacts, Facts, HostFacts, ImageFacts, ProcessFacts
from debugrun.core.know.procfs import CAPABILITIES
from debugrun.core.know.tool_file import Tool
from debugrun.core.rules import sandbox, share
from debugrun.values import dataclass

# Kernel options, and what does not work without each.
KERNEL_OPTIONS = {
    "CONFIG_SECCOMP_FILTER": "seccomp profiles",
    "CONFIG_PERF_EVENTS": "perf",
    "CONFIG_BPF_SYSCALL": "bpftrace",
    "CONFIG_UPROBES": "bpftrace's and perf's probes in programs",
    "CONFIG_KPROBES": "bpftrace's and perf's probes in the kernel",
    "CONFIG_CROSS_MEMORY_ATTACH": "process_vm_readv: py-spy and strace are slower without",
    "CONFIG_USER_NS": "user namespaces: unshare",
}
_EXAMPLE_ID = "0" * 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What was read: facts, and what only a visit shows. None is unknown.

    `config` holds the KERNEL_OPTIONS ("y", "m", "n"), `emulators` the foreign architectures that the host runs by
    emulation, `counters` tells whether the processor counts events, `leftovers` are names of containers of ours,
    `recreated` says of each recreated container what it still runs with, `toolbox` is the reference of the toolbox
    image on the engine, `processors` how many the host has, 0 where a container's time on them can't be limited.
    """

    endpoint: str
    engine: EngineFacts
    host: HostFacts
    daemon: str | None = None
    config: Mapping[str, str] | None = None
    lsms: tuple[str, ...] | None = None
    emulators: tuple[str, ...] | None = None
    counters: bool | None = None
    leftovers: tuple[str, ...] = ()
    recreated: tuple[str, ...] = ()
    toolbox: str | None = None
    processors: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line: what was looked at, what it is, where that was read; `state` is ok, note or unknown."""

    name: str
    value: str
    source: str
    state: str = "ok"


def checks(found: Findings) -> Iterator[Check]:
    """The page above the matrix."""
    yield from _engine_checks(found)
    yield from _capability_checks(found)
    yield from _host_checks(found)
    left = ", ".join(found.leftovers)
    yield Check(
        name="left over",
        value=f"{left}: `debugrun gc` removes what is dead" if left else "nothing",
        source="containers with a proof of this machine's",
        state="note" if left else "ok",
    )
    recreated = "; ".join(found.recreated)
    yield Check(
        name="recreated",
        value=recreated or "nothing",
        source="the same, and the journal",
        state="note" if recreated else "ok",
    )
    yield Check(
        name="toolbox",
        value=found.toolbox or "no image yet: `debugrun toolbox build`",
        source="GET /images/NAME/json",
        state="ok" if found.toolbox else "note",
    )


def _engine_checks(found: Findings) -> Iterator[Check]:
    engine = found.engine
    system = f" on {engine.operating_system}" if engine.operating_system else ""
    value = f"{engine.name} {engine.version}{system}, kernel {engine.kernel}, {engine.architecture}"
    yield Check(name="engine", value=value, source=f"GET /version, GET /info of {found.endpoint}")
    name, default = judge.engine_profile(engine)
    known = default is not None
    profile = name.removeprefix("the ") if known else f"profile {engine.seccomp}: not known"
    words_for = {None: "off: nothing is filtered", "unconfined": "on, but containers are unconfined by default"}
    value = words_for.get(engine.seccomp, f"on, {profile}")
    yield Check(name="seccomp", value=value, source="GET /info SecurityOptions", state="ok" if known else "note")
    words = [("rootless", engine.rootless), ("userns-remap", engine.userns_remap)]
    words += [("no-new-privileges on every container", engine.no_new_privileges)]
    said = ", ".join(word for word, on in words if on)
    yield Check(
        name="daemon",
        value=said or "rootful, ids as on the host",
        source="GET /info SecurityOptions",
        state="note" if said else "ok",
    )
    limit = share.processors(found.processors)
    value = f"{limit:g} of {found.processors} processors" if limit else "on processor time none: there is one processor"
    if not found.processors:
        value = "on processor time none: this engine can't set one (cgroups without the cpu controller)"
    state = "ok" if found.processors else "note"
    yield Check(name="sidecar's limit", value=value, source="GET /info NCPU, CpuCfsQuota", state=state)
    modules = [name for name, on in (("AppArmor", engine.apparmor), ("SELinux", engine.selinux)) if on]
    in_use = f"; the kernel's: {', '.join(found.lsms)}" if found.lsms else ""
    value = f"containers: {' and '.join(modules) or 'none'}{in_use}"
    yield Check(name="security modules", value=value, source="GET /info SecurityOptions; /sys/kernel/security/lsm")
    special = {name: what for name in engine.runtimes if (what := sandbox.kind(name))}
    value = ", ".join(f"{name} ({special[name]})" if name in special else name for name in engine.runtimes)
    value = f"{value or engine.default_runtime}; {engine.default_runtime} unless another is named"
    yield Check(name="runtimes", value=value, source="GET /info Runtimes", state="note" if special else "ok")


def _capability_checks(found: Findings) -> Iterator[Check]:
    engine = found.engine
    everything = Attempt(placement=Placement.SIDECAR, cap_add=("ALL",))
    named = capabilities(everything, replace(engine, capabilities=None))
    unknown = [name for name in CAPABILITIES if name not in named]
    if unknown:
        value = f"{engine.name} {engine.version} does not know {', '.join(unknown)}"
        yield Check(name="capabilities", value=value, source="moby oci/caps/utils.go", state="note")
    if engine.capabilities is None:
        value = "what the daemon holds itself can't be read"
        yield Check(name="bounding set", value=value, source="CapBnd of the daemon", state="unknown")
        return
    missing = [name for name in named if name not in engine.capabilities]
    value = f"the daemon itself lacks {', '.join(missing)}" if missing else "the daemon holds all"
    if missing and engine.name == "docker" and versions.numbers(engine.version) < (23,):
        value += ", and --privileged fails"
    who = f"CapBnd of {found.daemon}" if found.daemon else "CapBnd of the daemon"
    yield Check(name="bounding set", value=value, source=who, state="note" if missing else "ok")


def _host_checks(found: Findings) -> Iterator[Check]:
    host = found.host
    scope = {0: "0: off", 1: "1: attaching needs SYS_PTRACE", 2: "2: all tracing needs SYS_PTRACE"}
    yield _setting("Yama ptrace_scope", host.yama_ptrace_scope, 0, scope, "/proc/sys/kernel/yama/ptrace_scope")
    paranoid = {
        2: "2: user space for everybody, the kernel's side with PERFMON",
        3: "3: nothing without SYS_ADMIN, PERFMON is not looked at",
        4: "4: nothing without SYS_ADMIN, PERFMON is not looked at",
    }
    path = "/proc/sys/kernel/perf_event_paranoid"
    yield _setting("perf_event_paranoid", host.perf_event_paranoid, 2, paranoid, path)
    yield from _machine_checks(found)


def _machine_checks(found: Findings) -> Iterator[Check]:
    config = found.config
    if config is None:
        yield Check(name="kernel options", value="not readable", source="/proc/config.gz, /boot", state="unknown")
    else:
        absent = [f"{key} ({why})" for key, why in KERNEL_OPTIONS.items() if config.get(key, "n") == "n"]
        value = f"without {', '.join(absent)}" if absent else "all that the tools use"
        yield Check(name="kernel options", value=value, source="kernel configuration", state="note" if absent else "ok")
    if found.counters is not None:
        value = "there" if found.counters else "none: rr can't record, perf counts by the clock"
        state = "ok" if found.counters else "note"
        yield Check(name="hardware counters", value=value, source="/sys/bus/event_source/devices", state=state)
    if found.emulators is not None:
        foreign = ", ".join(found.emulators)
        value = f"{foreign}: containers of these have no ptrace" if foreign else "none registered"
        state = "note" if foreign else "ok"
        yield Check(name="emulation", value=value, source="/proc/sys/fs/binfmt_misc", state=state)


def _setting(name: str, value: int | None, fine: int, words: Mapping[int, str], source: str) -> Check:
    if value is None:
        return Check(name=name, value="can't be read", source=source, state="unknown")
    return Check(name=name, value=words.get(value, str(value)), source=source, state="ok" if value <= fine else "note")


def targets(found: Findings) -> Mapping[str, Facts]:
    """An example of each kind of target on this engine and host, by name."""
    engine = found.engine
    default = capabilities(Attempt(placement=Placement.SIDECAR), engine)
    label = "docker-default" if engine.apparmor else None
    root = ProcessFacts(
        pid=1, comm="example", permitted=default, effective=default, bounding=default, dumpable=True, label=label
    )
    kinds = {
        "root": root,
        "uid 1000": replace(root, uids=(1000,) * 4, gids=(1000,) * 4, permitted=(), effective=()),
        "root, not dumpable": replace(root, dumpable=False),
    }
    container = ContainerFacts(
        id=_EXAMPLE_ID,
        name="CONTAINER",
        image="",
        image_id="",
        state="running",
        capabilities=default,
        apparmor=label,
        no_new_privileges=engine.no_new_privileges,
    )
    images = ImageFacts(toolbox=found.toolbox or "IMAGE")
    return {
        kind: Facts(engine=engine, host=found.host, container=container, process=process, images=images)
        for kind, process in kinds.items()
    }


def matrix(found: Findings, tools: Iterable[Tool], ceiling: Ceiling) -> Mapping[str, Mapping[str, Plan]]:
    """The plan of each tool's default mode for each kind of target: {tool: {kind: plan}}."""
    kinds = targets(found)
    return {
        tool.name: {kind: plan(tool, tool.mode(None), facts, ceiling) for kind, facts in kinds.items()}
        for tool in sorted(tools, key=lambda tool: tool.name)
        if tool.modes  # the others look at no target: they start programs
    }


def everything_works(rows: Mapping[str, Mapping[str, Plan]]) -> bool:
    """Whether every tool of the toolbox has a way within the ceiling, for every kind of target."""
    decisions = (decision for row in rows.values() for decision in row.values())
    return all(decision.option is not None for decision in decisions if decision.tool.toolbox)


def cell(decision: Plan) -> str:
    """What a tool takes, in a few words; what it would take where that is more than is allowed."""
    option = decision.option
    if option is not None:
        return taken(option, decision.facts)
    wider = decision.beyond()
    return f"no: {wider.grant.value}, {taken(wider, decision.facts)}" if wider else "no: nothing opens it"


def taken(option: Option, facts: Facts) -> str:
    """What an option takes beyond what the target has."""
    if option.privileged:
        return "privileged"
    own = set(facts.process.permitted) if facts.process.uids[1] == 0 else set()
    beyond = [name for name in option.cap_add if name not in own]
    parts = ["root"] * (option.uid == 0 and facts.process.uids[1] != 0)
    parts += beyond + ["by file"] * (option.file_capability and bool(beyond))
    parts += [f"+{call}" for call in option.opened_calls]
    parts += ["no filter"] * (option.seccomp == "unconfined")
    return " ".join(parts) or "nothing"


def as_json(found: Findings, rows: Mapping[str, Mapping[str, Plan]]) -> str:
    """The page as one JSON object."""
    envelope = {
        "schema": 1,
        "checks": [
            {"name": each.name, "value": each.value, "source": each.source, "state": each.state}
            for each in checks(found)
        ],
        "tools": {tool: {kind: _cell_json(decision) for kind, decision in row.items()} for tool, row in rows.items()},
        "works": everything_works(rows),
    }
    return json.dumps(envelope, indent=2)


def _cell_json(decision: Plan) -> Mapping[str, object]:
    option = decision.option
    if option is None:
        wider = decision.beyond()
        return {"grant": None, "beyond": wider.grant.value if wider else None, "takes": cell(decision)}
    return {
        "grant": option.grant.value,
        "user": option.user,
        "cap_add": list(option.cap_add),
        "opened_calls": list(option.opened_calls),
        "takes": cell(decision),
        "lost": list(option.lost),
    }
