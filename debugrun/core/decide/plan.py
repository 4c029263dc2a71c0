"""Facts in, plan out: every way to run the tool in order of cost, each with its gates, and the one that is taken.

The order is (grant, placement, capabilities beyond the target's own, root for a non-root target). The ladder
orders what can't be compared; where everything that option A opens is opened by option B too, A goes first
whatever the rungs. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from debugrun.core.decide import judge as judging
from debugrun.core.decide import neighbour, order, regrant
from debugrun.core.grants import BROAD_CAPABILITIES, Ceiling, Grant, Layer, Option, Placement, Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.know.tool_file import Mode, Tool
from debugrun.core.rules import emulation, lsm
from debugrun.values import dataclass

NOBODY = "65534:65534"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The decision: `options` in order of cost; `chosen` indexes into them, None when nothing works."""

    tool: Tool
    mode: Mode
    facts: Facts
    ceiling: Ceiling
    options: tuple[Option, ...]
    chosen: int | None

    @property
    def option(self) -> Option | None:
        """The option that is taken."""
        return None if self.chosen is None else self.options[self.chosen]

    @property
    def harm(self) -> str:
        """What the tool may do to this process by itself, whatever it is granted; "": nothing that is known."""
        known = (self.tool.harms, self.tool.harms_threads if self.facts.process.threads > 1 else "")
        return "; ".join(each for each in known if each)

    def narrower(self) -> tuple[Option, ...]:
        """What was rejected on the way: the explanation, and the proof obligation."""
        return self.options if self.chosen is None else self.options[: self.chosen]

    def beyond(self) -> Option | None:
        """The first option above the ceiling that would work."""
        for option in self.options:
            if option.verdict is not Verdict.CLOSED and not within(option, self.ceiling):
                return option
        return None

    def with_answers(self, options: tuple[Option, ...]) -> Plan:
        """The plan after somebody who had to be asked has answered to its options."""
        return replace(self, options=options, chosen=_choose(options, self.ceiling))

    def refute(self, layer: Layer, text: str) -> Plan:
        """The plan after trying the chosen option: it failed with `text`, the next one is chosen."""
        option = self.option
        if option is None:
            return self
        gate = judging.tried(layer, text)
        refuted = replace(option, verdict=Verdict.CLOSED, gates=(*option.gates, gate))
        options = tuple(refuted if each is option else each for each in self.options)
        return replace(self, options=options, chosen=_choose(options, self.ceiling))


def plan(tool: Tool, mode: Mode, facts: Facts, ceiling: Ceiling) -> Plan:
    """The plan for one tool, mode and target. Wider options than the chosen one show what they would cost."""
    found = list(dict.fromkeys(itertools.chain(_sidecars(tool, mode, facts), _here(tool, mode, facts))))
    options = tuple(_by_cost(found, facts))
    if ceiling.via is Placement.RECREATE:
        options = (*_by_cost(list(regrant.options(tool, mode, facts)), facts), *options)
    return Plan(tool=tool, mode=mode, facts=facts, ceiling=ceiling, options=options, chosen=_choose(options, ceiling))


def within(option: Option, ceiling: Ceiling) -> bool:
    """Whether a person allowed this option."""
    named = not option.by_name or ceiling.via is option.placement is Placement.HERE
    return named and option.grant.rank <= ceiling.grant.rank and ceiling.via in {None, option.placement}


def _choose(options: tuple[Option, ...], ceiling: Ceiling) -> int | None:
    return order.first_within(options, lambda option: within(option, ceiling))


def _judged(option: Option, mode: Mode, facts: Facts) -> Option:
    """The option with its verdict, grant and losses filled in."""
    done = order.answered(option, judging.judge(option, mode, facts), grant_of(option, facts))
    return replace(
        done,
        gates=(*done.gates, *neighbour.gates(done, facts)),
        by_name=neighbour.by_name(done, facts),
        lost=(*done.lost, *neighbour.said(done, facts)),
    )


def grant_of(option: Option, facts: Facts) -> Grant:
    """The rung of the ladder that an option stands on."""
    rung = order.rung(option, _beyond(option, facts))
    if rung.rank < Grant.UNCONFINED.rank and lsm.widens(option, facts):
        return Grant.UNCONFINED
    if rung.rank < Grant.SECCOMP.rank and neighbour.wider_calls(option, facts):
        return Grant.SECCOMP
    if rung is Grant.NONE and (_escalates(option, facts) or option.mounts):
        return Grant.CAPS
    return rung


def _beyond(option: Option, facts: Facts) -> tuple[str, ...]:
    """Capabilities that the option gives and the target does not have."""
    same = facts.process.uids[1] in {0, option.uid}
    own = set(facts.process.permitted) if same else set[str]()
    return tuple(name for name in option.cap_add if name not in own)


def _escalates(option: Option, facts: Facts) -> bool:
    """Root for a target that is not."""
    return option.uid == 0 and facts.process.uids[1] != 0


def _target_user(facts: Facts) -> str:
    return f"{facts.process.uids[1]}:{facts.process.gids[1]}"


def _sidecars(tool: Tool, mode: Mode, facts: Facts) -> Iterator[Option]:
    """Sidecar options: for each user and each filter the least capabilities that open every need.

    Where nothing opens them, the empty set and the target's own stand for the attempt, with their closed gates.
    """
    apparmor, selinux = lsm.own(facts)
    base = Option(
        placement=Placement.SIDECAR,
        grant=Grant.NONE,
        user=_target_user(facts),
        verdict=Verdict.UNKNOWN,
        gates=(),
        apparmor=apparmor,
        selinux=selinux,
        network=mode.network,
        pid_namespace="target" if mode.about_process else "own",
        mounts=mode.mounts,
        image=_image(facts, tool),
        lost=emulation.lost(mode, facts),
    )
    blocked = _blocked_calls(base, mode, facts)
    filters = [base]
    if blocked:
        filters.append(replace(base, opened_calls=blocked))
    if blocked or judging.base_profile(base, facts)[1] is None:
        # Where the filter in force blocks nothing, taking it away opens nothing: not an option.
        filters.append(replace(base, seccomp="unconfined"))
    filters += [replace(each, apparmor=a, selinux=s) for a, s in lsm.others(facts) for each in filters]
    for filtered in filters:
        for user in _users(base, mode):
            for option in _least(replace(filtered, user=user), tool, mode, facts):
                if option.seccomp != "unconfined" or option.verdict is not Verdict.CLOSED:
                    yield option
    everything = replace(
        base, user="0:0", privileged=True, cap_drop=(), no_new_privileges=False, apparmor=None, selinux=None
    )
    yield _judged(everything, mode, facts)


def _users(base: Option, mode: Mode) -> tuple[str, ...]:
    """Whom the tool may run as: the target's user, root; nobody first, where no need is about the process."""
    nobody = () if mode.about_process else (NOBODY,)
    return tuple(dict.fromkeys((*nobody, base.user, "0:0")))


def _image(facts: Facts, tool: Tool) -> str | None:
    """The toolbox; the target's own image where it holds the tool and the toolbox does not."""
    images = facts.images
    if images.toolbox and (not images.toolbox_binaries or tool.binary in images.toolbox_binaries):
        return images.toolbox
    return facts.container.image_id if images.target_holds_tool else None


def _blocked_calls(option: Option, mode: Mode, facts: Facts) -> tuple[str, ...]:
    """The required calls that the filter in force blocks when no capability is given; () where it is not known."""
    name, profile = judging.base_profile(option, facts)
    return () if name == "off" or profile is None else order.blocked(profile, mode, frozenset(), facts)


def _universe(option: Option, mode: Mode, facts: Facts) -> tuple[str, ...]:
    """Every capability that may open a required need, narrow before wide."""
    _, profile = judging.base_profile(option, facts)
    return order.openers(
        mode,
        more=[
            name
            for call in _blocked_calls(option, mode, facts)
            for name in order.CALL_OPENERS
            if profile is not None and judging.allows(profile, call, frozenset({name}), facts)
        ],
    )


def _least(base: Option, tool: Tool, mode: Mode, facts: Facts) -> Iterator[Option]:
    """The least capability sets under one user and filter: one without broad capabilities, one with."""
    own = facts.process.permitted if base.uid == facts.process.uids[1] else ()
    universe = _universe(base, mode, facts)
    narrow = tuple(name for name in universe if name not in BROAD_CAPABILITIES)
    if not _escalates(base, facts):
        own_first = _opening(base, tuple(name for name in universe if name in own), tool, mode, facts)
        if any(_works(option) for option in own_first):
            yield from own_first
            return
        for capabilities in dict.fromkeys([(), tuple(sorted(own))]):
            if capabilities and not _carried(base, capabilities, tool, facts):
                continue
            option = _judged(_given(base, capabilities, facts), mode, facts)
            yield option
            if _works(option):
                return
    for names in dict.fromkeys((narrow, universe)):
        yield from _opening(base, names, tool, mode, facts)


def _opening(base: Option, names: tuple[str, ...], tool: Tool, mode: Mode, facts: Facts) -> list[Option]:
    """The option with the fewest of these capabilities that opens everything, after one that might.

    Where there is neither, the one that comes nearest stands for the attempt.
    """
    nearest: Option | None = None
    unsure: list[Option] = []
    for size in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, size):
            if not _carried(base, chosen, tool, facts):
                continue
            option = _judged(_given(base, tuple(sorted(chosen)), facts), mode, facts)
            if _works(option):
                return [*unsure, option]
            if option.verdict is Verdict.UNKNOWN and not unsure:
                unsure.append(option)
            if nearest is None or len(option.closed_gates) < len(nearest.closed_gates):
                nearest = option
    return unsure or ([nearest] if nearest else [])


def _works(option: Option) -> bool:
    """Whether nothing wider needs to be looked at."""
    return option.verdict is Verdict.OPEN and not option.by_name


def _carried(base: Option, names: tuple[str, ...], tool: Tool, facts: Facts) -> bool:
    """Whether a process of that user would have these capabilities: a non-root one only by a copy that holds them."""
    if base.uid == 0 or facts.engine.name == "podman":
        return True
    images = facts.images
    held = (
        images.toolbox is not None
        and not images.named
        and (not images.toolbox_binaries or tool.binary in images.toolbox_binaries)
    )
    return held and tuple(sorted(names)) in tool.file_capabilities


def _given(base: Option, capabilities: tuple[str, ...], facts: Facts) -> Option:
    """`base` with these capabilities: for a non-root user they come with the toolbox's copy of the tool."""
    by_file = bool(capabilities) and base.uid != 0 and facts.engine.name != "podman"
    given = replace(
        base,
        cap_add=capabilities,
        file_capability=by_file,
        image=facts.images.toolbox if by_file else base.image,
    )
    return replace(given, no_new_privileges=not by_file and not neighbour.changes_group(given, facts))


def _here(tool: Tool, mode: Mode, facts: Facts) -> Iterator[Option]:
    """Exec in the container, when the tool is in it: as the process' own user, then as root."""
    if tool.binary not in dict(facts.container.tools):
        return
    base = Option(
        placement=Placement.HERE,
        grant=Grant.NONE,
        user=_target_user(facts),
        verdict=Verdict.UNKNOWN,
        gates=(),
        cap_drop=(),
        seccomp="target",
        no_new_privileges=facts.container.no_new_privileges,
        network="target",
        lost=_memory_warning(facts),
    )
    for user in dict.fromkeys((base.user, "0:0")):
        yield _judged(replace(base, user=user), mode, facts)
    yield _judged(replace(base, user="0:0", privileged=True), mode, facts)


def _memory_warning(facts: Facts) -> tuple[str, ...]:
    """A tool in place is charged to the target's memory limit: loading symbols may get the target OOM-killed."""
    limit, used = facts.container.memory_limit, facts.container.memory_used
    if not limit or (used is not None and limit - used > 512 << 20):
        return ()
    return (f"in place the tool is charged to the container's memory limit of {limit >> 20} MiB",)


def _by_cost(options: list[Option], facts: Facts) -> list[Option]:
    """In order of cost; then an option goes before any whose powers include all of its own."""

    def key(option: Option) -> tuple[int, int, int, bool, bool]:
        beyond = len(_beyond(option, facts))
        rank, place = option.grant.rank, option.placement.rank
        return (rank, place, beyond, _escalates(option, facts), option.user != NOBODY)

    ordered = order.narrow_first(sorted(options, key=key), lambda option: powers(option, facts))
    return [option for index, option in enumerate(ordered) if not _redundant(option, ordered[:index], facts)]


def _redundant(option: Option, before: list[Option], facts: Facts) -> bool:
    """Whether an option that works goes before it in the same place, opens no more, and stands on the same rung."""
    mine = powers(option, facts)
    if mine is None:
        return False
    working = [other for other in before if _works(other) and other.placement is option.placement]
    return any(
        theirs is not None and theirs <= mine and (other.grant is option.grant or theirs == mine)
        for other, theirs in ((other, powers(other, facts)) for other in working)
    )


def powers(option: Option, facts: Facts) -> order.Powers:
    """What an option opens, as a set that can be compared; None where everything is open."""
    if option.grant.rank >= Grant.UNCONFINED.rank or option.placement is Placement.HERE:
        return None
    _, profile = judging.base_profile(option, facts)
    calls = set(option.opened_calls)
    for name in option.cap_add:
        calls |= {
            c for c in ("perf_event_open", "bpf") if profile and judging.allows(profile, c, frozenset({name}), facts)
        }
    root = {"uid 0"} if _escalates(option, facts) else set()
    return frozenset(_beyond(option, facts)) | calls | root
