"""The calls that a container without a filter has and one with the default profile does not. Pure."""

from __future__ import annotations

from debugrun.core.decide import judge
from debugrun.core.know.facts import Facts
from debugrun.core.rules.seccomp.calls import calls

# Calls that the profile lets through with some arguments only: the narrow values that debug tools use stand first.
_WITH_ARGUMENTS = ("personality(0x40000)",)


def blocked(facts: Facts, caps: frozenset[str]) -> list[str]:
    """What the engine's default profile blocks for a container with these capabilities; [] where it is not known."""
    profile = judge.engine_profile(facts.engine)[1]
    if profile is None:
        return []
    names = [*sorted(calls()), *_WITH_ARGUMENTS]
    return [name for name in names if judge.allows(profile, name, caps, facts) is not True and _is_there(name, facts)]


def _is_there(name: str, facts: Facts) -> bool:
    """Whether the architecture has the call at all."""
    call = calls().get(name.partition("(")[0])
    return call is not None and facts.engine.architecture in call.numbers
