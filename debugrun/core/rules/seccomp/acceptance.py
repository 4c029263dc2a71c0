"""What a runtime does not start a container with, though its engine reads the profile. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from debugrun.core.rules.seccomp.calls import ARCHES, Arch, calls
from debugrun.core.rules.seccomp.evaluate import EQUALITIES, Resolved, filter_value, is_void, parts, resolve, rules_of
from debugrun.core.rules.seccomp.model import ACTIONS, NOTIFY, ArgMatch, Profile, Runtime

_CURRENT = Runtime()
_NUMBERED = ("errno", "trace")
#: runc libcontainer/seccomp/config.go, without those of the other byte order: libseccomp refuses them beside ours.
#: The last two came with later releases.
_ARCHITECTURES = frozenset(
    f"SCMP_ARCH_{name}"
    for name in "X86 X86_64 X32 ARM AARCH64 MIPSEL MIPSEL64 MIPSEL64N32 PPC64LE RISCV64 LOONGARCH64".split()  # noqa: SIM905 - words read better
)


def refusal(
    profile: Profile,
    *,
    caps: frozenset[str],
    arch: str = "x86_64",
    kernel: tuple[int, int],
    runtime: Runtime = _CURRENT,
) -> str | None:
    """Why no container with these capabilities starts under a profile, in words; None: nothing that is known.

    `arch` is the engine's. Two results are told for conditions of (masked) equality only: of others libseccomp makes a
    tree in which the same condition need not stand in the same place.
    """
    if profile.off:
        return None
    resolved = resolve(profile, caps, ARCHES[arch].native, kernel)
    unknown = next((name for name in resolved.architectures if not _known(name, runtime)), None)
    if unknown is not None:
        return f"{unknown!r} is not an architecture that its runtime knows beside this machine's"
    if runtime.crun:
        given = (
            (profile.default_action, profile.default_errno),
            *((rule.action, rule.errno) for _, rule in resolved.rules),
        )
        idle = next((action for action, errno in given if errno is not None and ACTIONS[action] not in _NUMBERED), None)
        if idle is not None:
            return f"crun takes no errno for {idle}"
    elif any(rule.action == NOTIFY for _, rule in resolved.rules) and not profile.listener_path:
        return f"{NOTIFY} needs a listenerPath"
    return next(iter(_conflicts(resolved, profile, runtime)), None)


def _known(name: str, runtime: Runtime) -> bool:
    """To crun also without its SCMP_ARCH_ (measured with 1.28)."""
    return name in _ARCHITECTURES or (runtime.crun and f"SCMP_ARCH_{name.upper()}" in _ARCHITECTURES)


def _conflicts(resolved: Resolved, profile: Profile, runtime: Runtime) -> Iterable[str]:
    """The calls for which one condition has two results: libseccomp takes the first and refuses the second (EEXIST)."""
    names = dict.fromkeys(name for _, rule in resolved.rules for name in rule.names)
    for abi in (abi for abi in ARCHES.values() if abi.scmp in resolved.architectures):
        for name in names:
            if (
                name in calls()
                and abi.name in calls()[name].numbers
                and _conflicting(resolved, profile, name, abi, runtime)
            ):
                yield f"{name} has two results under one condition on {abi.name}"


def _conflicting(resolved: Resolved, profile: Profile, name: str, abi: Arch, runtime: Runtime) -> bool:
    seen: dict[frozenset[ArgMatch], tuple[str, int | None]] = {}
    rules = rules_of(resolved, profile, name, runtime)
    if any(match.op not in EQUALITIES for _, rule in rules for match in rule.args):
        return False
    for _, rule in rules:
        for part in parts(rule):
            condition = frozenset(_narrowed(match, abi) for match in part.args if not is_void(match, abi))
            if not condition:
                return False  # without a condition: what comes after is left out
            if seen.setdefault(condition, filter_value(rule)) != filter_value(rule):
                return True
    return False


def _narrowed(match: ArgMatch, abi: Arch) -> ArgMatch:
    """The comparison as a filter for that ABI makes it."""
    mask = 2**abi.bits - 1
    value = match.value & mask
    if match.op != "SCMP_CMP_MASKED_EQ":
        return ArgMatch(match.index, match.op, value)
    datum = match.value_two & value
    return (
        ArgMatch(match.index, "SCMP_CMP_EQ", datum) if value == mask else ArgMatch(match.index, match.op, value, datum)
    )
