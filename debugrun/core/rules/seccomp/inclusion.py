"""Whether a filter lets through what another one does not: what a neighbour under the first has beyond the second."""

from __future__ import annotations

from functools import lru_cache

from debugrun.core.rules.seccomp.calls import ARCHES, calls
from debugrun.core.rules.seccomp.evaluate import default_verdict, evaluate, resolve, rules_of
from debugrun.core.rules.seccomp.model import Profile, Rule, Runtime

Set = tuple[Profile, frozenset[str]]  # a profile, and the capabilities that it is resolved for


@lru_cache(maxsize=16)
def beyond(filtered: Set, other: Set, *, arch: str, kernel: tuple[int, int], runtime: Runtime) -> tuple[str, ...]:
    """The calls, sorted, that `filtered` may let through and `other` may refuse; an ABI that it lacks counts as one.

    Rules with conditions count as equal when they are the same: no more is asked of them.
    """
    native = ARCHES[arch].native
    ours, theirs = (resolve(profile, caps, native, kernel) for profile, caps in (filtered, other))
    found = set(ours.architectures) - set(theirs.architectures)
    same_default = default_verdict(filtered[0], runtime) == default_verdict(other[0], runtime)
    for name, call in calls().items():
        if arch not in call.numbers:
            continue
        mine = evaluate(filtered[0], name, caps=filtered[1], arch=arch, kernel=kernel, runtime=runtime)
        if mine.certain and not mine.passes:
            continue
        yours = evaluate(other[0], name, caps=other[1], arch=arch, kernel=kernel, runtime=runtime)
        if yours.certain and yours.passes:
            continue
        rules = (
            [rule for _, rule in rules_of(resolved, profile, name, runtime)]
            for resolved, profile in ((ours, filtered[0]), (theirs, other[0]))
        )
        if not same_default or not _equal(*rules):
            found.add(name)
    return tuple(sorted(found))


def _equal(ours: list[Rule], theirs: list[Rule]) -> bool:
    """Whether the conditions and what they lead to are the same, whoever wrote them in which order."""
    return {(each.action, each.errno, each.args) for each in ours} == {
        (each.action, each.errno, each.args) for each in theirs
    }
