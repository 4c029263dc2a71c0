"""What all planners share: what opens a call, the rung an option stands on, and the order options are tried in. Pure.

The order is by cost, and never one option before another that opens less and would do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from debugrun.core.decide import judge as judging
from debugrun.core.grants import BROAD_CAPABILITIES, Grant, Option, Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.know.tool_file import Mode
from debugrun.core.rules import kernel, seccomp

#: What an option opens, as names that can be compared; None: everything, or what can't be compared.
Powers = frozenset[str] | None

#: Capabilities that open a blocked call in an engine's default profile, narrow before wide.
CALL_OPENERS = ("SYS_PTRACE", "PERFMON", "BPF", "SYSLOG", "SYS_ADMIN")


def narrow_first(options: Iterable[Option], powers: Callable[[Option], Powers]) -> list[Option]:
    """`options`, which are in order of cost, with each before the first that opens all that it does and more.

    A closed option opens nothing: it moves none and is moved by none. Each is held against all that stand before it,
    so the result is a fixpoint: what includes another one's powers stands behind it, whatever stands between them.
    """
    ordered: list[tuple[Option, Powers]] = []
    for option in options:
        mine = powers(option)
        wider = (at for at, (other, theirs) in enumerate(ordered) if _goes_before(option, mine, other, theirs))
        ordered.insert(next(wider, len(ordered)), (option, mine))
    return [option for option, _ in ordered]


def _goes_before(option: Option, mine: Powers, other: Option, theirs: Powers) -> bool:
    """Whether both may work, in the same place, and the other opens more than this one, all of it included."""
    if Verdict.CLOSED in {option.verdict, other.verdict} or option.placement is not other.placement:
        return False
    return mine is not None and theirs is not None and mine < theirs


def first_within(options: Iterable[Option], allowed: Callable[[Option], bool]) -> int | None:
    """The index of the first option that may work and that a person allowed."""
    return next((at for at, each in enumerate(options) if each.verdict is not Verdict.CLOSED and allowed(each)), None)


def rung(option: Option, beyond: Collection[str]) -> Grant:
    """The rung of the ladder; `beyond` are the capabilities that the option gives and that are not there already."""
    if option.privileged:
        return Grant.PRIVILEGED
    if option.seccomp == "unconfined":
        return Grant.UNCONFINED
    if BROAD_CAPABILITIES & set(beyond):
        return Grant.BROAD
    if option.opened_calls:
        return Grant.SECCOMP
    return Grant.CAPS if beyond else Grant.NONE


def answered(option: Option, judgement: judging.Judgement, grant: Grant) -> Option:
    """The option with what the rules said to it, and the rung that it stands on."""
    verdict, gates, refused = judgement
    return replace(
        option,
        grant=grant,
        verdict=verdict,
        gates=gates,
        lost=(*option.lost, *(need.lost for need in refused)),
        tool_args=next((need.workaround for need in refused if need.workaround), ()),
    )


def blocked(profile: seccomp.Profile, mode: Mode, held: frozenset[str], facts: Facts) -> tuple[str, ...]:
    """The calls that the mode cannot do without and that the profile blocks for who holds these capabilities."""
    calls = dict.fromkeys(call for need in mode.needs if not need.optional for call in need.calls)
    return tuple(call for call in calls if judging.allows(profile, call, held, facts) is False)


def openers(mode: Mode, more: Iterable[str] = (), held: Collection[str] = ()) -> tuple[str, ...]:
    """The capabilities that may open a need the mode cannot do without, and `more`; none that is `held`.

    Narrow before wide.
    """
    names = [name for need in mode.needs if not need.optional for name in kernel.CAPABILITIES[need.gate]]
    missing = (name for name in dict.fromkeys((*names, *more)) if name not in held)
    return tuple(sorted(missing, key=lambda name: name in BROAD_CAPABILITIES))
