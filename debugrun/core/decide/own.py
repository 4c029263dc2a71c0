"""What a container's own program lacks for what it was refused: a call in its filter, a capability. Pure.

The tool is the program itself here (a crash handler, php-fpm's slow log, a sanitizer), so nothing is brought in: the
container has to be made with more, and what follows is the least that is more.
"""

from __future__ import annotations

from dataclasses import replace

from debugrun.core.decide import judge as judging
from debugrun.core.decide import order
from debugrun.core.decide.why import Known
from debugrun.core.grants import BROAD_CAPABILITIES, Grant, Layer, Option, Placement, Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.rules.seccomp.calls import calls
from debugrun.values import dataclass

# Beyond those of the calls that tools need: a program of its own may set the clock, or its priority.
OPENERS = (*order.CALL_OPENERS[:-1], "SYS_NICE", "SYS_TIME", order.CALL_OPENERS[-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Own:
    """What a text means for the container's own program.

    `blocked` are calls that its filter stops, `missing` capabilities of which the kernel asks for one and it has none;
    `options` are what would do, the narrowest first. `powerless` says that its user gets no capability by itself.
    """

    known: Known
    facts: Facts
    blocked: tuple[str, ...]
    missing: tuple[str, ...]
    options: tuple[Option, ...]
    powerless: bool


def lacks(known: Known, facts: Facts) -> Own:
    """What the container's own program lacks for what the text is about."""
    option = _base(facts)
    here = replace(option, placement=Placement.HERE)
    _, profile = judging.base_profile(here, facts)
    held = judging.container_capabilities(here, facts)
    wanted = known.need.calls if known.need is not None else known.own_calls
    blocked = tuple(
        call for call in wanted if profile is not None and judging.allows(profile, call, held, facts) is False
    )
    asked = tuple(each for each in known.caps or (known.else_caps if not blocked else ()) if _counts(each, facts))
    missing = () if any(set(each.split("+")) <= held for each in asked) else asked
    if _closed_for_good(known, facts):
        blocked = missing = ()
    return Own(
        known=known,
        facts=facts,
        blocked=blocked,
        missing=missing,
        options=tuple(_options(option, blocked, missing, facts)),
        powerless=bool(missing) and facts.process.uids[1] != 0,
    )


def _closed_for_good(known: Known, facts: Facts) -> bool:
    """Whether Yama lets nobody attach, whatever it is given: ptrace_scope 3 (Yama.rst)."""
    scope = facts.host.yama_ptrace_scope
    return Layer.YAMA in known.layers and scope is not None and scope >= 3  # noqa: PLR2004 - the scopes are 0 to 3


def _base(facts: Facts) -> Option:
    return Option(
        placement=Placement.RECREATE,
        grant=Grant.NONE,
        user=f"{facts.process.uids[1]}:{facts.process.gids[1]}",
        verdict=Verdict.OPEN,
        gates=(),
        cap_drop=(),
        no_new_privileges=facts.container.no_new_privileges,
    )


def _counts(name: str, facts: Facts) -> bool:
    """Whether the kernel takes the capability for an answer here: perf_event_paranoid 3 and more ask for SYS_ADMIN.

    What is about the whole machine it asks for in the initial user namespace: capable() and not ns_capable().
    """
    level = facts.host.perf_event_paranoid
    if name == "PERFMON" and level is not None and level >= 3:  # noqa: PLR2004 - Debian's and Ubuntu's own levels
        return False
    return not (facts.in_user_namespace and name in {"PERFMON", "BPF", "SYSLOG", "SYS_TIME"})


def _options(option: Option, blocked: tuple[str, ...], missing: tuple[str, ...], facts: Facts) -> list[Option]:
    """A capability that opens the calls and is asked for; the calls, with what is asked for. Narrow before wide."""
    if not blocked and not missing:
        return []
    here = replace(option, placement=Placement.HERE)
    _, profile = judging.base_profile(here, facts)
    held = judging.container_capabilities(here, facts)
    found: list[Option] = []
    for each in missing or (OPENERS if profile is not None else ()):
        added = frozenset(each.split("+")) - held
        opens = all(judging.allows(profile, call, held | added, facts) for call in blocked) if profile else not blocked
        if opens and added:
            found.append(_with(option, added, ()))
    if blocked:
        found += [
            _with(option, frozenset(each.split("+")) - held if each else frozenset(), blocked)
            for each in missing or ("",)
        ]
    return order.narrow_first(sorted(found, key=_cost), lambda each: powers(each, facts))


def _with(option: Option, added: frozenset[str], calls: tuple[str, ...]) -> Option:
    broad = Grant.BROAD if added & BROAD_CAPABILITIES else Grant.CAPS
    grant = Grant.SECCOMP if calls and broad is Grant.CAPS else broad
    return replace(option, cap_add=tuple(sorted(added)), opened_calls=calls, grant=grant)


def _cost(option: Option) -> tuple[int, int]:
    return option.grant.rank, len(option.cap_add) + len(option.opened_calls)


def powers(option: Option, facts: Facts) -> order.Powers:
    """What an option opens: the capabilities, the calls, and the calls that the profile gives with the capabilities."""
    here = replace(option, placement=Placement.HERE)
    _, profile = judging.base_profile(here, facts)
    held = judging.container_capabilities(here, facts)
    with_it = held | set(option.cap_add)
    given = {
        call
        for call in calls()
        if profile is not None
        and option.cap_add
        and judging.allows(profile, call, with_it, facts)
        and not judging.allows(profile, call, held, facts)
    }
    return frozenset({*option.cap_add, *option.opened_calls, *given})
