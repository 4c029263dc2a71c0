"""What a profile makes of a system call: as the engine resolves it, libseccomp compiles it and the kernel runs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from functools import lru_cache

from debugrun.core.rules.seccomp.calls import ARCHES, X32_BIT, Arch, calls, identify
from debugrun.core.rules.seccomp.model import (
    ACTIONS,
    ENOSYS,
    EPERM,
    KILL_PROCESS,
    SEVERITY,
    ArgMatch,
    Filter,
    Outcome,
    Profile,
    ProfileError,
    Rule,
    Runtime,
)
from debugrun.values import dataclass

_CURRENT = Runtime()
#: Calls that the kernel puts into traced programs and lets pass any filter (kernel/seccomp.c), since that release.
_UNFILTERED = {"uretprobe": (6, 14), "uprobe": (6, 18)}
EQUALITIES = ("SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ")
_BELOW = ("SCMP_CMP_LT", "SCMP_CMP_LE")
#: Conditions of one call that mean what they say though their kind does not: those on `socket` of Podman's default
#: profile, up to 5.7 and from 5.8 on. Where two hold, the refusal decides. Measured on libseccomp 2.5.4 to 2.6.1.
_MEASURED = frozenset(
    {
        frozenset({"arg0 == 0x10 and arg2 == 0x9", "arg2 != 0x9", "arg0 != 0x10"}),
        frozenset({"arg0 == 0x28", "arg0 == 0x10 and arg2 == 0x9", "arg0 == 0x10 and arg2 != 0x9", "arg0 != 0x10"}),
    }
)
_ORDERINGS = (*_BELOW, "SCMP_CMP_GT", "SCMP_CMP_GE")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A profile for one engine and capability set: what the OCI runtime gets.

    `rules` keep their position in the profile; `architectures` are SCMP_ARCH_* names, the native one first.
    """

    rules: tuple[tuple[int, Rule], ...] = field(hash=False)  # as Profile's
    architectures: tuple[str, ...]


def evaluate(  # noqa: PLR0913 - a call, and all that its verdict depends on
    profile: Profile,
    call: str,
    args: tuple[int | None, ...] = (),
    *,
    caps: frozenset[str],
    arch: str = "x86_64",
    kernel: tuple[int, int],
    runtime: Runtime = _CURRENT,
) -> Outcome:
    """Say what happens to `call` with `args` (None or left out: any value) under a profile.

    `caps` are the names (SYS_PTRACE) of the container's bounding set: the engines resolve `includes` and `excludes`
    with that set when the container is created (moby profiles/seccomp/seccomp_linux.go), whatever the user. `arch` is
    the ABI of the caller (x86_64, x86, x32, aarch64, arm), `kernel` the release of the engine's kernel. `call` may be a
    number. The kernel's own ENOSYS for a call that it lacks is not predicted.
    """
    outcome = _evaluate(profile, call, args, caps, arch, kernel, runtime)
    if runtime.oldest_libseccomp >= runtime.libseccomp:
        return outcome
    older = replace(runtime, libseccomp=runtime.oldest_libseccomp)
    return _worst([outcome, _evaluate(profile, call, args, caps, arch, kernel, older)])


def _evaluate(  # noqa: PLR0913, PLR0917 - as evaluate
    profile: Profile,
    call: str,
    args: tuple[int | None, ...],
    caps: frozenset[str],
    arch: str,
    kernel: tuple[int, int],
    runtime: Runtime,
) -> Outcome:
    if arch not in ARCHES:
        raise ProfileError("arch", f"is {arch!r}, not one of {', '.join(ARCHES)}")
    name, number = identify(call, arch)
    if number is None:
        if name not in calls():
            raise ProfileError("call", f"{call!r} is not a system call that is known here")
        return Outcome("errno", ENOSYS, f"there is no {name} on {arch}")
    if arch == "x86_64" and name in _UNFILTERED and kernel >= _UNFILTERED[name]:
        return Outcome("allow", None, "the kernel itself makes this call and does not filter it")
    if profile.off:
        return Outcome("allow", None, "the profile is empty: there is no filter")
    abi = ARCHES[arch]
    resolved = resolve(profile, caps, abi.native, kernel)
    if abi.scmp not in resolved.architectures:
        return Outcome("kill", None, f"{abi.scmp} is not an architecture of the profile")
    if runtime.enosys_stub and ACTIONS[profile.default_action] not in ("allow", "log", "trace"):
        newest = newest_number(resolved, abi, runtime)
        if newest and number > newest:
            stub = Outcome("errno", ENOSYS, f"the runtime answers for calls above number {newest & ~X32_BIT}")
            # runc before 1.2 makes its answer for the architectures that are listed, later ones for their own as well.
            listed = profile.architectures or any(name == ARCHES[abi.native].scmp for name, _ in profile.arch_map)
            ruled = _decide(profile, rules_of(resolved, profile, name, runtime), args, abi, runtime)
            return stub if listed else _worst([stub, ruled])
    return _decide(profile, rules_of(resolved, profile, name, runtime), args, abi, runtime)


@lru_cache(maxsize=64)
def resolve(profile: Profile, caps: frozenset[str], native: str, kernel: tuple[int, int]) -> Resolved:
    """Keep the rules whose `includes` and `excludes` hold, as the engine does when it creates a container."""
    abi = ARCHES[native]
    full = frozenset(f"CAP_{cap.upper().removeprefix('CAP_')}" for cap in caps)
    rules = tuple(
        (position, rule)
        for position, rule in enumerate(profile.rules)
        if _included(rule.includes, full, abi.go, kernel) and not _excluded(rule.excludes, full, abi.go, kernel)
    )
    listed = profile.architectures
    for name, subs in profile.arch_map:
        if name == abi.scmp:
            listed = (name, *subs)
            break
    # libseccomp's filter always has the architecture that it runs on (db_col_reset)
    return Resolved(rules, (abi.scmp, *(name for name in listed if name != abi.scmp)))


def _included(condition: Filter, caps: frozenset[str], go_arch: str, kernel: tuple[int, int]) -> bool:
    return (
        (not condition.arches or go_arch in condition.arches)
        and all(cap in caps for cap in condition.caps)
        and (condition.min_kernel is None or kernel >= condition.min_kernel)
    )


def _excluded(condition: Filter, caps: frozenset[str], go_arch: str, kernel: tuple[int, int]) -> bool:
    return (
        go_arch in condition.arches
        or any(cap in caps for cap in condition.caps)
        or (condition.min_kernel is not None and kernel >= condition.min_kernel)
    )


@lru_cache(maxsize=64)
def newest_number(resolved: Resolved, abi: Arch, runtime: Runtime) -> int:
    """The highest number among the profile's calls on one architecture; 0: it has none there."""
    table = calls()
    names = {name for _, rule in resolved.rules for name in rule.names}
    known = (table[name] for name in names if name in table)
    return max((call.numbers.get(abi.name, 0) for call in known if call.libseccomp <= runtime.libseccomp), default=0)


@lru_cache(maxsize=64)
def _by_call(resolved: Resolved) -> dict[str, tuple[tuple[int, Rule], ...]]:
    found: dict[str, list[tuple[int, Rule]]] = {}
    for position, rule in resolved.rules:
        for name in rule.names:
            found.setdefault(name, []).append((position, rule))
    return {name: tuple(rules) for name, rules in found.items()}


def rules_of(resolved: Resolved, profile: Profile, call: str, runtime: Runtime = _CURRENT) -> list[tuple[int, Rule]]:
    """The rules of a call that reach the filter: runc and libseccomp leave out those that repeat the default action.

    Killing a thread and killing its process are two actions there, though a call dies of either.
    """
    known = calls().get(call)
    if known is None or known.libseccomp > runtime.libseccomp:
        return []
    default = _filter_value(profile.default_action, default_verdict(profile, runtime))
    return [(at, rule) for at, rule in _by_call(resolved).get(call, ()) if filter_value(rule) != default]


def filter_value(rule: Rule) -> tuple[str, int | None]:
    """What the filter returns for a rule, finer than its verdict: two rules with one condition must agree in it."""
    return _filter_value(rule.action, verdict(rule))


def _filter_value(action: str, judged: tuple[str, int | None]) -> tuple[str, int | None]:
    return ("kill process", None) if action == KILL_PROCESS else judged


def verdict(rule: Rule) -> tuple[str, int | None]:
    """Action and errno of a rule: without errnoRet, errno and trace mean EPERM (runc, crun)."""
    return _verdict(rule.action, rule.errno)


def default_verdict(profile: Profile, runtime: Runtime = _CURRENT) -> tuple[str, int | None]:
    """Action and errno for what no rule matches."""
    return _verdict(profile.default_action, profile.default_errno if runtime.default_errno else None)


def _verdict(action: str, number: int | None) -> tuple[str, int | None]:
    name = ACTIONS[action]
    return name, (EPERM if number is None else number) if name in ("errno", "trace") else None


def _decide(
    profile: Profile, rules: list[tuple[int, Rule]], args: tuple[int | None, ...], abi: Arch, runtime: Runtime
) -> Outcome:
    """The verdict of a call's rules.

    As measured on libseccomp 2.5.4 to 2.6.1: the first rule without a condition beats all others, wherever it stands;
    among rules with conditions the order does not count, and where several with different actions match, the shape of
    the compiled tree decides: that is reported as not certain, like an open argument.
    """
    outcomes = [
        (part, Outcome(*verdict(rule), _label(position, rule))) for position, rule in rules for part in parts(rule)
    ]
    for rule, outcome in outcomes:
        if all(is_void(match, abi) for match in rule.args):
            return outcome
    default = Outcome(*default_verdict(profile, runtime), "the profile's default action")
    if not compiles_exactly([rule for rule, _ in outcomes]):
        return replace(_worst([default, *(outcome for _, outcome in outcomes)]), certain=False)
    held = [(_matches(rule, args, abi), outcome) for rule, outcome in outcomes]
    refused = [outcome for holds, outcome in held if holds and not outcome.passes]
    if refused and _is_measured([rule for rule, _ in outcomes]):
        return _worst(refused)
    possible = [outcome for holds, outcome in held if holds is not False]
    return _worst(possible if any(holds is True for holds, _ in held) else [*possible, default])


def parts(rule: Rule) -> list[Rule]:
    """Two comparisons of one argument are alternatives, each a rule of its own (runc libcontainer/seccomp)."""
    return [replace(rule, args=(match,)) for match in rule.args] if _alternatives(rule) else [rule]


def compiles_exactly(rules: list[Rule]) -> bool:
    """Whether libseccomp's tree of these conditional rules means what they say.

    Measured: comparisons for (masked) equality always do; other ones when they stand alone, or when each rule has one
    and no LT or LE meets an ordering with another upper half. Outside of that libseccomp up to 2.6.1 drops or adds
    matches (for example ``arg0 < 1`` beside ``arg0 < 0x100000001`` refuses 5).
    """
    matches = [match for rule in rules for match in rule.args]
    if all(match.op in EQUALITIES for match in matches) or _is_measured(rules):
        return True
    if any(len(rule.args) > 1 and not _alternatives(rule) for rule in rules):
        return len(rules) == 1
    for index in {match.index for match in matches if match.op in _BELOW}:
        ordered = [match for match in matches if match.index == index and match.op in _ORDERINGS]
        if len({match.value >> 32 for match in ordered}) > 1:
            return False
    return True


def _is_measured(rules: Iterable[Rule]) -> bool:
    return frozenset(" and ".join(map(str, rule.args)) for rule in rules) in _MEASURED


def _worst(possible: Iterable[Outcome]) -> Outcome:
    ranked = sorted(possible, key=lambda outcome: SEVERITY.index(outcome.action))
    certain = len({(outcome.action, outcome.errno) for outcome in ranked}) == 1 and all(each.certain for each in ranked)
    return replace(ranked[0], certain=certain)


def _label(position: int, rule: Rule) -> str:
    condition = f" if {' and '.join(map(str, rule.args))}" if rule.args else ""
    return f"syscalls[{position}] {rule.action}{condition}"


def _matches(rule: Rule, args: tuple[int | None, ...], abi: Arch) -> bool | None:
    """Whether all of a rule's comparisons hold, None when an open argument decides."""
    results = [_compare(match, args[match.index] if match.index < len(args) else None, abi) for match in rule.args]
    if False in results:
        return False
    return None if None in results else True


def _alternatives(rule: Rule) -> bool:
    return len({match.index for match in rule.args}) < len(rule.args)


def is_void(match: ArgMatch, abi: Arch) -> bool:
    """A comparison under a mask of zero is left out of the filter, on 32-bit ABIs one of the upper half too."""
    return match.op == "SCMP_CMP_MASKED_EQ" and match.value & (2**abi.bits - 1) == 0


def _compare(match: ArgMatch, argument: int | None, abi: Arch) -> bool | None:
    if is_void(match, abi):
        return True
    if argument is None:
        return None
    mask = 2**abi.bits - 1
    narrow = ArgMatch(match.index, match.op, match.value & mask, match.value_two & mask)
    return narrow.matches(argument & mask)
