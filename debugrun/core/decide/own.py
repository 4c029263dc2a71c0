"""What a container's own program lacks for what it was refused: a call in its filter, a capability. Pure.

The tool is the program itself here (a crash handler, php-fpm's slow log, a sanitizer), so nothing is brought in: the
container has to be made with more, and what follows is the least that is more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from debugrun.core.decide import judge as judging
from debugrun.core.decide.why import Known
from debugrun.core.grants import BROAD_CAPABILITIES, Grant, Option, Placement, Verdict
from debugrun.core.know.facts import Facts

# Capabilities that open a blocked call in an engine's default profile, narrow before wide.
OPENERS = ("SYS_PTRACE", "PERFMON", "BPF", "SYSLOG", "SYS_NICE", "SYS_TIME", "SYS_ADMIN")


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
    calls = known.need.calls if known.need is not None else ()
    blocked = tuple(
        call for call in calls if profile is not None and judging.allows(profile, call, held, facts) is False
    )
    missing = known.caps if known.caps and not set(known.caps) & held else ()
    return Own(
        known=known,
        facts=facts,
        blocked=blocked,
        missing=missing,
        options=tuple(_options(option, blocked, missing, facts)),
        powerless=bool(missing) and facts.process.uids[1] != 0,
    )


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


def _options(option: Option, blocked: tuple[str, ...], missing: tuple[str, ...], facts: Facts) -> Iterator[Option]:
    """A capability that opens the calls and is asked for; else the calls alone, with what is asked for."""
    if not blocked and not missing:
        return
    here = replace(option, placement=Placement.HERE)
    _, profile = judging.base_profile(here, facts)
    held = judging.container_capabilities(here, facts)
    found: list[Option] = []
    for name in dict.fromkeys((*missing, *OPENERS)) if profile is not None else missing:
        opens = all(judging.allows(profile, call, held | {name}, facts) for call in blocked) if profile else True
        if opens and name not in held and (not missing or name in missing):
            found.append(replace(option, cap_add=(name,), grant=_grant(name)))
    if blocked:
        for name in missing or ("",):
            added = (name,) if name else ()
            grant = Grant.BROAD if set(added) & BROAD_CAPABILITIES else Grant.SECCOMP
            found.append(replace(option, cap_add=added, opened_calls=blocked, grant=grant))
    order = list(Grant)
    yield from sorted(found, key=lambda each: (order.index(each.grant), len(each.cap_add) + len(each.opened_calls)))


def _grant(name: str) -> Grant:
    return Grant.BROAD if name in BROAD_CAPABILITIES else Grant.CAPS
