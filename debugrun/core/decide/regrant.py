"""What a container would have to be recreated with, so that a tool of its own works in it. Pure.

The same rules as for an exec in the container (`judge`), asked about the container as it would be.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from debugrun.core.decide import judge as judging
from debugrun.core.decide import order
from debugrun.core.grants import Gate, Grant, Layer, Option, Placement, Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.know.procfs import CAPABILITIES
from debugrun.core.know.tool_file import Mode, Tool
from debugrun.core.rules import seccomp


def options(tool: Tool, mode: Mode, facts: Facts) -> Iterator[Option]:
    """For each filter the least that opens every need, after what is too little; then privileged.

    A container that does not hold the tool is given nothing: a sidecar brings tool and grant.
    """
    base = Option(
        placement=Placement.RECREATE,
        grant=Grant.NONE,
        user=f"{facts.process.uids[1]}:{facts.process.gids[1]}",
        verdict=Verdict.OPEN,
        gates=(),
        cap_drop=(),
        no_new_privileges=facts.container.no_new_privileges,
        network="target",
    )
    if tool.binary not in dict(facts.container.tools):
        fact = f"{facts.container.name} does not hold {tool.binary}: it is given nothing, the tool runs in a sidecar"
        gate = Gate(need="container", layer=Layer.ENGINE, verdict=Verdict.OPEN, fact=fact, source="its file system")
        yield replace(base, gates=(gate,))
        return
    blocked = _blocked(base, mode, facts)
    filters = [base, *([replace(base, opened_calls=blocked)] if blocked else [])]
    if blocked or judging.base_profile(replace(base, placement=Placement.HERE), facts)[1] is None:
        filters.append(replace(base, seccomp="unconfined"))
    for filtered in filters:
        yield from _least(filtered, mode, facts)
    yield _judged(replace(base, user="0:0", privileged=True, seccomp="unconfined"), mode, facts)


def granted(option: Option, facts: Facts) -> Facts:
    """The facts of a container that was recreated with the option, as far as they follow from it."""
    own = facts.container.capabilities or facts.process.bounding
    added = CAPABILITIES if option.privileged else option.cap_add
    capabilities = tuple(sorted({*own, *added}))
    container = replace(
        facts.container,
        capabilities=capabilities,
        seccomp="unconfined" if option.seccomp == "unconfined" else facts.container.seccomp,
    )
    process = facts.process
    if process.uids[1] == 0:
        process = replace(
            process,
            permitted=tuple(sorted({*process.permitted, *added})),
            effective=tuple(sorted({*process.effective, *added})),
        )
    return replace(facts, container=container, process=process)


def profile_json(option: Option, facts: Facts) -> str | None:
    """The profile to recreate the container with: its own with the option's calls opened; None: as it was."""
    there = granted(option, facts)
    here = replace(option, placement=Placement.HERE)
    _, base = judging.base_profile(here, there)
    if not option.opened_calls or base is None:
        return None
    widened = seccomp.widen(
        base,
        [judging.parse_call(call) for call in option.opened_calls],
        caps=judging.container_capabilities(here, there),
        arch=facts.engine.architecture,
        kernel=judging.kernel_version(facts),
        runtime=judging.runtime(facts),
    )
    return seccomp.dump_profile(widened)


def _judged(option: Option, mode: Mode, facts: Facts) -> Option:
    """The option with verdict, gates, rung and losses: judged as the exec that the tool will be."""
    here = replace(option, placement=Placement.HERE)
    judgement = judging.judge(here, mode, granted(option, facts))
    return order.answered(option, judgement, order.rung(option, option.cap_add))  # it had none of it, so all counts


def _least(base: Option, mode: Mode, facts: Facts) -> Iterator[Option]:
    """Nothing added first; then the fewest capabilities that open everything, after the first that might.

    They are for root, who has them without asking: an exec as another user gets no effective ones.
    """
    users = tuple(dict.fromkeys((base.user, "0:0")))
    universe = _universe(base, mode, facts)
    unsure = False
    for size in range(len(universe) + 1):
        for names in itertools.combinations(universe, size):
            for user in (
                users if not names else ("0:0",)
            ):  # only root has them without asking: exec sets no ambient ones
                option = _judged(replace(base, user=user, cap_add=tuple(sorted(names))), mode, facts)
                wanted = option.verdict is Verdict.UNKNOWN and not unsure
                if wanted or option.verdict is Verdict.OPEN or not names:
                    yield option
                unsure = unsure or wanted
                if option.verdict is Verdict.OPEN:
                    return


def _universe(base: Option, mode: Mode, facts: Facts) -> tuple[str, ...]:
    """Capabilities that the container lacks and that may open a required need, narrow before wide."""
    own = set(facts.container.capabilities or facts.process.bounding)
    return order.openers(mode, order.CALL_OPENERS if _blocked(base, mode, facts) else (), own)


def _blocked(option: Option, mode: Mode, facts: Facts) -> tuple[str, ...]:
    """The required calls that the container's filter blocks; () where it is not known."""
    here = replace(option, placement=Placement.HERE)
    name, profile = judging.base_profile(here, facts)
    if name == "off" or profile is None:
        return ()
    return order.blocked(profile, mode, judging.container_capabilities(here, facts), facts)
