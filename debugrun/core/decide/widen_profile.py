"""The profile of `debugrun profile`: the one in force with a mode's calls opened, and which rule is there for what.

Pure: facts and a profile in, a profile and its words out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from debugrun.core.decide import judge
from debugrun.core.grants import Option
from debugrun.core.know.facts import Facts
from debugrun.core.know.tool_file import Need
from debugrun.core.rules import seccomp
from debugrun.core.rules.seccomp import Profile
from debugrun.errors import RefusedError
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """What is widened: whose profile it is, the profile, and the capabilities that it is resolved for."""

    name: str
    profile: Profile
    caps: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A widened profile; `calls` are those that the base blocks, each with what it is for."""

    base: Base
    profile: Profile
    calls: tuple[tuple[str, str], ...]


def widened(base: Profile, calls: Iterable[str], *, caps: frozenset[str], facts: Facts) -> Profile:
    """The profile with these calls open for a container of the engine with these capabilities.

    Raises RefusedError: a refusal in it that no profile can say without them.
    """
    try:
        return seccomp.widen(
            base,
            [judge.parse_call(call) for call in calls],
            caps=caps,
            arch=facts.engine.architecture,
            kernel=judge.kernel_version(facts),
            runtime=judge.runtime(facts),
        )
    except seccomp.ProfileError as error:
        message = f"the seccomp profile in force can't be widened: {error}"
        raise RefusedError("profile-not-widened", message, "--base default widens the engine's own instead") from error


def opened(base: Base, needs: Sequence[Need], facts: Facts) -> Opened | None:
    """What the needs take: the calls that stop the tool, else those without which it does less; None: nothing."""
    for optional in (False, True):
        found = {
            call: need.why
            for need in needs
            if need.optional is optional
            for call in need.calls
            if judge.allows(base.profile, call, base.caps, facts) is False
        }
        if found:
            profile = widened(base.profile, found, caps=base.caps, facts=facts)
            return Opened(base=base, profile=profile, calls=tuple(found.items()))
    return None


def header(made: Opened, tool: str) -> str:
    """Which rule was added for what, in lines."""
    caps = ", ".join(sorted(made.base.caps)) or "no capability"
    lines = [f"{made.base.name}, for a container with {caps}, and for {tool}:"]
    return "\n".join([*lines, *(f"  {call}: {why}" for call, why in made.calls)])


def explained(made: Opened, tool: str) -> str:
    """The profile for reading: each rule that the base does not have says why in `comment`, which engines skip."""
    why = {judge.parse_call(call).call: f"{tool}: {why}" for call, why in made.calls}
    document = json.loads(seccomp.dump_profile(made.profile))
    for rule, entry in zip(made.profile.rules, document["syscalls"], strict=True):
        if rule not in made.base.profile.rules:
            reason = why.get(rule.names[0], "") if len(rule.names) == 1 and rule.action == "SCMP_ACT_ALLOW" else ""
            entry["comment"] = reason or "as it was for all that is not needed"
    return json.dumps(document, indent=1)


def profile_json(option: Option, facts: Facts) -> str | None:
    """The profile to send inline: the one in force with the option's calls opened; None: the engine's own."""
    _, base = judge.base_profile(option, facts)
    if not option.opened_calls or base is None:
        return None
    caps = judge.container_capabilities(option, facts)
    made = widened(base, option.opened_calls, caps=caps, facts=facts)
    return seccomp.dump_profile(made)
