"""Would exactly this work? Every need of a mode, asked of every layer, for one exact option. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from debugrun.core.decide import programs
from debugrun.core.grants import Gate, Layer, Option, Placement, Verdict
from debugrun.core.know import versions
from debugrun.core.know.facts import ContainerFacts, EngineFacts, Facts
from debugrun.core.know.tool_file import Mode, Need
from debugrun.core.rules import emulation, kernel, lsm, sandbox, seccomp
from debugrun.core.rules.actor import Actor

# Docker's own list of capabilities ended at AUDIT_READ up to 20.10 (moby oci/caps/utils.go); later ones refuse
# only what the kernel does not know.
_AFTER_AUDIT_READ = frozenset({"PERFMON", "BPF", "CHECKPOINT_RESTORE"})
_CALL = re.compile(r"([a-z_][a-z0-9_]*)(?:\((0x[0-9a-f]+|[0-9]+)\))?")


Judgement = tuple[Verdict, tuple[Gate, ...], tuple[Need, ...]]


def judge(option: Option, mode: Mode, facts: Facts) -> Judgement:
    """The verdict on `option`, the gates of all required needs, and the optional needs that stay closed."""
    gates = [*_engine(option, facts), *sandbox.gates(option, mode, facts), *emulation.gates(option, mode, facts)]
    refused = []
    for need in mode.needs:
        answers = ask(need, option, facts)
        if not need.optional:
            gates.extend(answers)
        elif any(gate.verdict is Verdict.CLOSED for gate in answers):
            refused.append(need)
    return combine(gates), tuple(dict.fromkeys(gates)), tuple(refused)


def combine(gates: Iterable[Gate]) -> Verdict:
    """Closed when any gate is closed, else unknown when any is unknown, else open."""
    verdicts = {gate.verdict for gate in gates}
    for verdict in (Verdict.CLOSED, Verdict.UNKNOWN):
        if verdict in verdicts:
            return verdict
    return Verdict.OPEN


def ask(need: Need, option: Option, facts: Facts) -> tuple[Gate, ...]:
    """What every layer says to one need, in the order met: seccomp sees a call before the kernel acts on it."""
    return (
        *(_seccomp(call, need, option, facts) for call in need.calls),
        *(gate for call in need.calls for gate in kernel.call(call, facts, need=need.gate)),
        *kernel.ask(need.gate, actor(option, facts), facts, need=need.gate),
    )


def actor(option: Option, facts: Facts) -> Actor:
    """The tool's process under `option`.

    Docker gives a non-root process no effective capability (it sets no ambient ones) unless the binary carries
    them; Podman sets ambient ones (both measured). `docker exec` as root has the container's set.
    """
    uid, gid = (int(number) for number in option.user.split(":"))
    if option.placement is Placement.HERE:
        held = frozenset(facts.container.capabilities or facts.process.bounding)
        gets = uid == 0 and sandbox.exec_has_capabilities(facts.container)
        capabilities = held if gets else frozenset[str]()
    elif uid == 0 or option.file_capability or facts.engine.name == "podman":
        capabilities = frozenset(option.cap_add)
    else:
        capabilities = frozenset()
    return Actor(
        uid=uid,
        gid=gid,
        capabilities=capabilities,
        privileged=option.privileged and uid == 0,
        label=_label(option, facts),
        selinux=lsm.selinux_of(option, facts),
        mounts=option.mounts,
        hidden=programs.hidden(option, facts),
    )


def _label(option: Option, facts: Facts) -> str | None:
    """The AppArmor label of the tool; an exec has the container's, a privileged one too (moby daemon/exec_linux.go)."""
    if not facts.engine.apparmor:
        return None
    if option.placement is Placement.HERE:
        return facts.container.apparmor or "docker-default"
    return "unconfined" if option.privileged else option.apparmor or "docker-default"


def container_capabilities(option: Option, facts: Facts) -> frozenset[str]:
    """The capability set that the engine resolved the seccomp profile for: the container's, at creation."""
    if option.placement is Placement.HERE:
        return frozenset(facts.container.capabilities or facts.process.bounding)
    return frozenset(option.cap_add)


def parse_call(call: str) -> seccomp.SyscallNeed:
    """`name` or `name(first argument)`, as tool files write it."""
    match = _CALL.fullmatch(call)
    if match is None:
        raise ValueError(call)
    name, value = match.groups()
    if value is None:
        return seccomp.SyscallNeed(call=name)
    equal = seccomp.ArgMatch(index=0, op="SCMP_CMP_EQ", value=int(value, 0))
    return seccomp.SyscallNeed(call=name, args=(equal,))


def kernel_version(facts: Facts) -> tuple[int, int]:
    """(major, minor) of the engine's kernel; (0, 0) where it does not say."""
    return versions.two(facts.engine.kernel)


@functools.lru_cache(maxsize=8)
def engine_default(name: str, version: str) -> seccomp.Profile | None:
    """The default profile of that engine version; None where it is not known."""
    return seccomp.default_profile(name, versions.numbers(version))


@functools.lru_cache(maxsize=8)
def _parsed(profile: str, engine: str) -> seccomp.Profile | None:
    try:
        return seccomp.parse_profile(profile, engine)
    except seccomp.ProfileError:
        return None


def refusal(profile: str, capabilities: frozenset[str], facts: Facts) -> str | None:
    """Why the engine starts no container with these capabilities under this profile; None: it does, as far as known."""
    try:
        return seccomp.refusal(
            seccomp.parse_profile(profile, facts.engine.name),
            caps=capabilities,
            arch=facts.engine.architecture,
            kernel=kernel_version(facts),
            runtime=runtime(facts),
        )
    except (seccomp.ProfileError, KeyError) as error:
        return str(error) if isinstance(error, seccomp.ProfileError) else None


def base_profile(option: Option, facts: Facts) -> tuple[str, seccomp.Profile | None]:
    """The profile that `option` starts from: ("off" | name of the profile, the profile or None if not known)."""
    if facts.engine.seccomp is None or option.seccomp == "unconfined":
        return "off", None
    if option.placement is Placement.HERE:
        # `exec --privileged` leaves the container's filter as it was (measured).
        return _inherited(facts.container, facts.engine.name) or engine_profile(facts.engine)
    if option.profile is not None and (not option.privileged or _filters_privileged(facts)):
        return "the given profile", _parsed(option.profile, facts.engine.name)
    if option.seccomp == "custom" and not option.privileged and facts.in_pod:
        return "a profile of the node's", None
    return ("off", None) if option.privileged else engine_profile(facts.engine)


def _inherited(container: ContainerFacts, engine: str) -> tuple[str, seccomp.Profile | None] | None:
    """The filter that a container was created with, None where it is the engine's."""
    if container.seccomp == "unconfined":
        return "off", None
    if container.seccomp == "custom" or container.seccomp_profile is not None:
        return "the container's own profile", own_profile(container, engine)
    return None


def own_profile(container: ContainerFacts, engine: str) -> seccomp.Profile | None:
    """The profile that a container was given; None where there is none or it can't be read."""
    return None if container.seccomp_profile is None else _parsed(container.seccomp_profile, engine)


def engine_profile(engine: EngineFacts) -> tuple[str, seccomp.Profile | None]:
    """The profile of a container for which none is named, as `base_profile` has it.

    A file that could be read goes before the table of releases: whoever packs Podman may change it.
    """
    if engine.seccomp in {None, "unconfined"}:
        return "off", None
    own = engine.seccomp not in {"default", "builtin"}
    default = f"the default profile of {engine.name} {engine.version}"
    name = f"the daemon's own profile {engine.seccomp}" if own else default
    if engine.seccomp_profile is not None:
        return name, _parsed(engine.seccomp_profile, engine.name)
    return name, None if own else engine_default(engine.name, engine.version)


def _filters_privileged(facts: Facts) -> bool:
    """Whether a profile that is named counts for a privileged container too (moby daemon/seccomp_linux.go, from 27)."""
    return facts.engine.name == "podman" or versions.numbers(facts.engine.version) >= (27,)


def _seccomp(call: str, need: Need, option: Option, facts: Facts) -> Gate:
    name, profile = base_profile(option, facts)
    gate = functools.partial(Gate, need=need.gate, layer=Layer.SECCOMP)
    if name == "off":
        return gate(verdict=Verdict.OPEN, fact="no seccomp filter", source="SecurityOpt; docker info")
    source = f"{name}; seccomp(2)"
    if call in option.opened_calls:
        return gate(verdict=Verdict.OPEN, fact=f"{call} opened on top of {name}", source=source)
    if profile is None:
        return gate(verdict=Verdict.UNKNOWN, fact=f"whether {name} allows {call} is not known", source=source)
    allowed = allows(profile, call, container_capabilities(option, facts), facts)
    if allowed is None:
        return gate(verdict=Verdict.UNKNOWN, fact=f"whether {name} allows {call} can't be told", source=source)
    if allowed:
        return gate(verdict=Verdict.OPEN, fact=f"{call} allowed", source=source)
    return gate(verdict=Verdict.CLOSED, fact=f"{name} blocks {call}", source=source)


def allows(profile: seccomp.Profile, call: str, capabilities: frozenset[str], facts: Facts) -> bool | None:
    """Whether `profile`, resolved for `capabilities`, lets `call` through; None where that can't be told."""
    return _allows(profile, call, capabilities, facts.engine.architecture, kernel_version(facts), runtime(facts))


def runtime(facts: Facts) -> seccomp.Runtime:
    """What the engine's OCI runtime makes of a profile."""
    engine = facts.engine
    return seccomp.runtime_of(engine.name, versions.numbers(engine.version), engine.default_runtime)


@functools.lru_cache(maxsize=4096)
def _allows(  # noqa: PLR0913, PLR0917 - the key of the cache
    profile: seccomp.Profile,
    call: str,
    capabilities: frozenset[str],
    arch: str,
    kernel_version: tuple[int, int],
    oci: seccomp.Runtime,
) -> bool | None:
    wanted = parse_call(call)
    args = tuple(match.value for match in wanted.args)
    try:
        outcome = seccomp.evaluate(
            profile, wanted.call, args, caps=capabilities, arch=arch, kernel=kernel_version, runtime=oci
        )
    except seccomp.ProfileError:  # a call or an architecture that the tables do not know
        return None
    return outcome.passes if outcome.certain else None


def _engine(option: Option, facts: Facts) -> list[Gate]:
    """What the engine itself would refuse at creation."""
    gate = functools.partial(Gate, need="container", layer=Layer.ENGINE, verdict=Verdict.CLOSED)
    engine, gates = facts.engine, []
    docker = engine.name == "docker"
    version = versions.numbers(engine.version)
    if option.placement is Placement.SIDECAR and option.image is None:
        gates.append(gate(fact="no image at hand holds the tool", source="GET /images/NAME/json"))
    if option.placement is Placement.SIDECAR and facts.images.missing and option.image == facts.images.toolbox:
        fact = f"{option.image} holds no {' and no '.join(facts.images.missing)}"
        gates.append(gate(fact=fact, source="the PATH of its file system"))
    for name in option.cap_add if not option.privileged else ():
        if docker and version < (23,) and name in _AFTER_AUDIT_READ:
            gates.append(gate(fact=f"Docker {engine.version} does not know {name}", source="moby oci/caps/utils.go"))
        elif engine.capabilities is not None and name not in engine.capabilities:
            fact = f"the daemon itself lacks {name}: it can't give it"
            gates.append(gate(fact=fact, source="CapBnd of the daemon"))
    if option.privileged and engine.userns_remap:
        gates.append(gate(fact="privileged is refused with user namespaces", source="docker info; dockerd(8)"))
    if option.privileged and docker and version < (23,) and engine.capabilities is not None:
        missing = _beyond(engine.capabilities)
        if missing:
            fact = f"the daemon lacks {missing}, and Docker {engine.version} asks for all"
            gates.append(gate(fact=fact, source="CapBnd of the daemon"))
    if option.file_capability and engine.no_new_privileges:
        fact = "the daemon forces no-new-privileges: file capabilities are void"
        gates.append(gate(fact=fact, source="docker info; capabilities(7)"))
    return gates


def _beyond(held: tuple[str, ...]) -> str | None:
    """A capability up to AUDIT_READ that is not held, for the message."""
    return "SYS_RESOURCE" if "SYS_RESOURCE" not in held else None


def tried(layer: Layer, text: str) -> Gate:
    """The gate of an option that was tried and refused: theory said otherwise, or did not know."""
    return Gate(need="attempt", layer=layer, verdict=Verdict.CLOSED, fact=f"tried: {text}", source="the tool's output")
