"""Open exactly the calls that a tool needs in a profile, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from debugrun.core.rules.seccomp.calls import ARCHES, MULTIPLEXED, calls
from debugrun.core.rules.seccomp.evaluate import (
    Resolved,
    compiles_exactly,
    default_verdict,
    filter_value,
    newest_number,
    resolve,
    rules_of,
    verdict,
)
from debugrun.core.rules.seccomp.model import (
    ALLOW,
    ENOSYS,
    ERRNO,
    ArgMatch,
    Profile,
    ProfileError,
    Rule,
    Runtime,
    SyscallNeed,
)
from debugrun.core.rules.seccomp.region import EVERYTHING, Cube, cubes_of, intersect, matches_of, subtract

_PASSES = ("allow", "log")
_CURRENT = Runtime()
_LOW = 2**32 - 1
_OPPOSITES = (("EQ", "NE"), ("LT", "GE"), ("GT", "LE"))
_INVERSE = {f"SCMP_CMP_{a}": f"SCMP_CMP_{b}" for pair in _OPPOSITES for a, b in (pair, pair[::-1])}


def widen(  # noqa: PLR0913 - a profile, needs, and all that the verdict on a call depends on
    profile: Profile,
    needs: Iterable[SyscallNeed],
    *,
    caps: frozenset[str],
    arch: str,
    kernel: tuple[int, int],
    runtime: Runtime = _CURRENT,
) -> Profile:
    """The same profile with the needed calls open for a container with these capabilities, and no other.

    What is open already stays as it is, so the result for an open set of needs is the profile itself. A rule that
    refuses more than what is needed goes on refusing the rest with its own action and errno. `arch` is the engine's
    (x86_64 or aarch64); calls are opened by name, hence for its 32-bit programs too where the profile covers them.
    Raises ProfileError for a call that is not known here, and for a condition that is too complex to be taken apart
    (region.cubes_of). `runtime` will run the result: where it answers ENOSYS to new calls, naming one must not change
    what it says to the others.
    """
    asked = set(needs)
    unknown = next((need.call for need in asked if need.call not in calls()), None)
    if unknown is not None:
        raise ProfileError("call", f"{unknown!r} is not a system call that is known here")
    native = ARCHES[arch].native
    before = resolve(profile, caps, native, kernel)
    widened = profile
    for need in sorted(asked, key=lambda need: (need.call, len(need.args), str(need))):
        if runtime.enosys_stub and not rules_of(resolve(widened, caps, native, kernel), widened, need.call, runtime):
            widened = _with_enosys(widened, need, before, native, runtime)
        resolved = resolve(widened, caps, native, kernel)
        exact = compiles_exactly([rule for _, rule in rules_of(resolved, widened, need.call, runtime)])
        widened = _open(widened, need, resolved, runtime)
        if exact:
            widened = _as_cubes(widened, need.call, resolve(widened, caps, native, kernel), runtime)
        _check_narrow(widened, need.call, resolve(widened, caps, native, kernel), runtime)
    if widened == profile or not runtime.enosys_stub:
        return widened
    return _keep_enosys(widened, before, resolve(widened, caps, native, kernel), native, runtime)


def _open(profile: Profile, need: SyscallNeed, resolved: Resolved, runtime: Runtime) -> Profile:
    wanted = cubes_of(need.args)
    ruled = rules_of(resolved, profile, need.call, runtime)
    if _is_open(profile, [rule for _, rule in ruled], wanted, runtime):
        return profile
    # the first rule without a condition hides all others: they must not come to life when it gets one
    ruling = next(([at] for at, rule in ruled if _everywhere(rule)), [at for at, _ in ruled])
    hidden = {at for at, _ in ruled} - set(ruling)
    refusing = {at for at, rule in ruled if verdict(rule)[0] not in _PASSES and _overlap(rule, wanted)} - hidden
    rules: list[Rule] = []
    for at, rule in enumerate(profile.rules):
        if at in hidden:
            rules += _others(rule, need.call)
        else:
            rules += _without(rule, need, wanted) if at in refusing else [rule]
    if default_verdict(profile, runtime)[0] not in _PASSES:
        rules += [Rule(names=(need.call,), action=ALLOW, args=args) for args in _exact(need.args)]
    return replace(profile, rules=tuple(rules))


def _is_open(profile: Profile, rules: list[Rule], wanted: list[Cube], runtime: Runtime) -> bool:
    """Whether the wanted arguments pass; rules decide in their order, those without a condition first."""
    left = wanted
    for rule in sorted(rules, key=lambda rule: not _everywhere(rule)):
        for cube in region_of(rule):
            if verdict(rule)[0] not in _PASSES and any(intersect(piece, cube) is not None for piece in left):
                return False
            left = subtract(left, cube)
    return not left or default_verdict(profile, runtime)[0] in _PASSES


def _as_cubes(profile: Profile, call: str, resolved: Resolved, runtime: Runtime) -> Profile:
    """Spell the call's conditions as masked equalities if libseccomp would no longer build what they say together."""
    ruled = rules_of(resolved, profile, call, runtime)
    if compiles_exactly([rule for _, rule in ruled]):
        return profile
    conditional = {at for at, rule in ruled if rule.args}
    rules: list[Rule] = []
    for at, rule in enumerate(profile.rules):
        rules += _spelled_out(rule, call) if at in conditional else [rule]
    return replace(profile, rules=tuple(rules))


def _check_narrow(profile: Profile, call: str, resolved: Resolved, runtime: Runtime) -> None:
    """Raise ProfileError where two verdicts get the same condition on a 32-bit ABI: libseccomp takes one of them only.

    There the comparison of an argument's upper half is dropped, which what is left of a refusal may consist in; on x86
    that of the first argument as well for a call that goes through another one, unless that one is ruled as a whole.
    """
    if not any(abi.bits == 32 and abi.scmp in resolved.architectures for abi in ARCHES.values()):  # noqa: PLR2004
        return
    through = rules_of(resolved, profile, MULTIPLEXED.get(call, ""), runtime)
    multiplexed = call in MULTIPLEXED and ARCHES["x86"].scmp in resolved.architectures
    first = 0 if multiplexed and all(rule.args for _, rule in through) else _LOW
    seen: dict[Cube, tuple[str, int | None]] = {}
    for _, rule in rules_of(resolved, profile, call, runtime):
        for (mask, value), *others in region_of(rule) if rule.args or not first else ():
            narrow = ((mask & first, value & first), *((mask & _LOW, value & _LOW) for mask, value in others))
            if seen.setdefault(narrow, filter_value(rule)) != filter_value(rule):
                problem = f"refuses {call} with conditions that cannot be taken apart for its 32-bit architectures"
                raise ProfileError("syscalls", problem)


def _spelled_out(rule: Rule, call: str) -> list[Rule]:
    return _others(rule, call) + [replace(rule, names=(call,), args=matches_of(cube)) for cube in region_of(rule)]


def region_of(rule: Rule) -> list[Cube]:
    """Where a rule applies; two comparisons of one argument are alternatives (runc libcontainer/seccomp)."""
    if len({match.index for match in rule.args}) == len(rule.args):
        return cubes_of(rule.args)
    return [cube for match in rule.args for cube in cubes_of([match])]


def _everywhere(rule: Rule) -> bool:
    return all(match.op == "SCMP_CMP_MASKED_EQ" and not match.value for match in rule.args)


def _overlap(rule: Rule, wanted: list[Cube]) -> bool:
    return any(intersect(cube, piece) is not None for cube in region_of(rule) for piece in wanted)


def _without(rule: Rule, need: SyscallNeed, wanted: list[Cube]) -> list[Rule]:
    """A refusing rule in several parts: for its other calls as it was, for this call without the wanted arguments."""
    rest = [replace(rule, names=(need.call,), args=args) for args in _remainder(rule, need, wanted)]
    return _others(rule, need.call) + rest


def _others(rule: Rule, call: str) -> list[Rule]:
    """The rule for its other calls, if it has any."""
    names = tuple(name for name in rule.names if name != call)
    return [replace(rule, names=names)] if names else []


def _remainder(rule: Rule, need: SyscallNeed, wanted: list[Cube]) -> list[tuple[ArgMatch, ...]]:
    if not rule.args and len(need.args) == 1 and need.args[0].op in _INVERSE:
        return [(replace(need.args[0], op=_INVERSE[need.args[0].op]),)]
    left = region_of(rule)
    for cube in wanted:
        left = subtract(left, cube)
    return [matches_of(cube) for cube in left]


def _exact(args: tuple[ArgMatch, ...]) -> list[tuple[ArgMatch, ...]]:
    """The conditions of the rules that allow just this: two comparisons of one argument cannot stand in one rule."""
    if len({match.index for match in args}) == len(args):
        return [args]
    return [matches_of(cube) for cube in cubes_of(args) if cube != EVERYTHING]


def _with_enosys(profile: Profile, need: SyscallNeed, before: Resolved, native: str, runtime: Runtime) -> Profile:
    """A call above the line is named now: what is not needed of it gets the ENOSYS that it had."""
    low, number = newest_number(before, ARCHES[native], runtime), calls()[need.call].numbers.get(native, 0)
    if not 0 < low < number or not need.args or default_verdict(profile, runtime)[0] in (*_PASSES, "trace"):
        return profile
    return replace(profile, rules=(*profile.rules, Rule(names=(need.call,), action=ERRNO, errno=ENOSYS)))


def _keep_enosys(profile: Profile, before: Resolved, after: Resolved, native: str, runtime: Runtime) -> Profile:
    """A newly named call may move the line above which runc answers ENOSYS: keep every other call on its side of it.

    Calls that were above the old line get an ENOSYS of their own. Where there was no line (no call, or only number 0,
    in the profile) the calls above the new one are named with the default action, which lifts the line above them.
    Rules go by name, lines by ABI: the native one is kept exactly, 32-bit programs may get the default for ENOSYS.
    """
    low, high = (newest_number(resolved, ARCHES[native], runtime) for resolved in (before, after))
    if low == high or default_verdict(profile, runtime)[0] in (*_PASSES, "trace"):
        return profile
    named = {name for _, rule in after.rules for name in rule.names}
    numbers = {call.name: call.numbers[native] for call in calls().values() if native in call.numbers}
    unnamed = sorted((name, number) for name, number in numbers.items() if name not in named)
    if low:
        names = tuple(name for name, number in unnamed if low < number < high)
        added = Rule(names=names, action=ERRNO, errno=ENOSYS)
    else:
        names = tuple(name for name, number in unnamed if number > high)
        errno = profile.default_errno if runtime.default_errno else None
        added = Rule(names=names, action=profile.default_action, errno=errno)
    return replace(profile, rules=(*profile.rules, added)) if names else profile
