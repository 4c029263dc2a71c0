"""Runtimes that keep a container's processes out of the host's sight: what can't be done there, and what can. Pure.

gVisor has a kernel of its own, with a Yama of its own at 1: pkg/sentry/kernel. What it does was measured with runsc
20221219 (Debian); virtual machines are told by the runtime's name and go by rule.
"""

from __future__ import annotations

import re
from dataclasses import replace

from debugrun.core.ask.selection import Wanted
from debugrun.core.grants import Gate, Layer, Option, Placement, Verdict
from debugrun.core.know.facts import ContainerFacts, Facts, HostFacts, ProcessFacts
from debugrun.core.know.tool_file import Mode
from debugrun.errors import TargetError
from debugrun.values import dataclass

_ROOT = frozenset({"", "0", "root", "0:0", "root:root", "root:0", "0:root"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """A kind of runtime. `yama` is its own kernel's ptrace_scope; `seccomp` is false where it applies no profile.

    `missing` are system calls that it does not have, of those that tools use.
    """

    name: str
    names: re.Pattern[str]  # of the runtimes, as the engine is configured
    what: str
    yama: int | None = None
    seccomp: bool = True
    missing: frozenset[str] = frozenset()


SANDBOXES = (
    Sandbox(
        name="gVisor",
        names=re.compile(r"runsc|gvisor"),
        what="a kernel of its own",
        yama=1,
        seccomp=False,
        missing=frozenset({"perf_event_open", "bpf", "kcmp", "userfaultfd", "process_vm_readv", "process_vm_writev"}),
    ),
    Sandbox(
        name="a virtual machine",
        names=re.compile(r"kata|firecracker|krun|crun-vm"),
        what="a virtual machine of its own",
    ),
)
# Not a sandbox: its containers are in a user namespace each, and share their PID namespace with no other container.
_SYSBOX = re.compile(r"sysbox")


def of(container: ContainerFacts) -> Sandbox | None:
    """The sandbox that a container runs in."""
    return next((each for each in SANDBOXES if each.names.search(container.runtime)), None)


def host_facts(sandbox: Sandbox) -> HostFacts:
    """The settings of the kernel that the container's processes see."""
    return HostFacts(yama_ptrace_scope=sandbox.yama)


def container_facts(sandbox: Sandbox, container: ContainerFacts) -> ContainerFacts:
    """The container with what the runtime makes of its configuration."""
    return container if sandbox.seccomp else replace(container, seccomp="unconfined", seccomp_profile=None)


def process_facts(container: ContainerFacts, program: str, wanted: Wanted) -> ProcessFacts:
    """A process by configuration, since nothing can be read of it: it has the container's user and capabilities.

    Raises TargetError: what only its /proc or /etc/passwd would tell was asked for.
    """
    if wanted.host_pid is not None or wanted.comm is not None:
        message = f"{container.name} runs under {container.runtime}: which processes it has is seen from inside only"
        raise TargetError("hidden", message, f"docker exec {container.name} ps, then give the PID")
    parts = ["0" if part in {"", "root"} else part for part in container.user.split(":")]
    if not all(part.isdigit() for part in parts):
        message = f"{container.name} runs as {container.user}, and only its /etc/passwd knows that number"
        raise TargetError("hidden-user", message, "start it with --user UID:GID")
    uid, gid = int(parts[0]), int(parts[-1]) if len(parts) > 1 else 0
    held = container.capabilities or ()
    pid = wanted.pid or 1
    return ProcessFacts(
        pid=pid,
        comm=program.rpartition("/")[2][:15] if pid == 1 else "?",
        tgid=pid,
        uids=(uid,) * 4,
        gids=(gid,) * 4,
        permitted=held if uid == 0 else (),
        effective=held if uid == 0 else (),
        bounding=held,
    )


def gates(option: Option, mode: Mode, facts: Facts) -> list[Gate]:
    """What stands in the way because of the runtime."""
    runtime, name = facts.container.runtime, facts.container.name
    sandbox = of(facts.container)
    if sandbox is None:
        if _SYSBOX.search(runtime) and option.placement is Placement.SIDECAR:
            fact = f"{runtime} has {name} in a user namespace of its own: whether a sidecar may look in is not known"
            return [_gate(Verdict.UNKNOWN, fact)]
        return []
    found = []
    if option.placement is Placement.SIDECAR:
        fact = f"{runtime} runs {name} in {sandbox.what}: a sidecar sees the host's processes instead"
        found.append(_gate(Verdict.CLOSED, fact))
    calls = {call.partition("(")[0] for need in mode.needs if not need.optional for call in need.calls}
    found += [_gate(Verdict.CLOSED, f"{sandbox.name} has no {call}") for call in sorted(calls & sandbox.missing)]
    return found


def _gate(verdict: Verdict, fact: str) -> Gate:
    return Gate(need="container", layer=Layer.ENGINE, verdict=verdict, fact=fact, source="HostConfig.Runtime")


def exec_has_capabilities(container: ContainerFacts) -> bool:
    """Whether an exec as root has the container's capabilities although its configured user is another.

    Linux gives them at execve(2), from the bounding set: capabilities(7). gVisor starts it with what it was told.
    """
    sandbox = of(container)
    return sandbox is None or sandbox.name != "gVisor" or container.user in _ROOT


def kind(runtime: str) -> str | None:
    """What a runtime is called, when its containers are no ordinary ones."""
    found = next((each.name for each in SANDBOXES if each.names.search(runtime)), None)
    return found or ("a user namespace each" if _SYSBOX.search(runtime) else None)


def advice(facts: Facts) -> str | None:
    """What to do where nothing else works."""
    sandbox = of(facts.container)
    if sandbox is None:
        return None
    name = facts.container.name
    return f"start {name} with --cap-add SYS_PTRACE, as root, from an image that holds the tool; or with --runtime runc"
