"""What must hold for every profile, not only for those that we thought of."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from debugrun.core.rules.seccomp import (
    ArgMatch,
    Outcome,
    Profile,
    ProfileError,
    Rule,
    Runtime,
    SyscallNeed,
    dump_profile,
    evaluate,
    parse_profile,
    widen,
)
from debugrun.core.rules.seccomp.calls import calls
from debugrun.core.rules.seccomp.evaluate import compiles_exactly, resolve, rules_of
from debugrun.core.rules.seccomp.model import OPERATORS, Filter
from debugrun.core.rules.seccomp.region import cubes_of, intersect, matches_of, subtract
from tests.seccomp import oracle

KERNEL = (6, 1)
CURRENT = Runtime()
ABIS = ("x86_64", "x86", "x32")
CAPS = ("SYS_ADMIN", "SYS_PTRACE", "BPF")
CALLS = ("personality", "clone3", "perf_event_open", "socket", "read", "statmount")
EDGES = (0, 1, 2, 3, 8, 0x20000, 0x40000, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1)
SETTINGS = settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))

values = st.sampled_from(EDGES) | st.integers(0, 2**64 - 1)
runtimes = st.builds(Runtime, enosys_stub=st.booleans(), default_errno=st.booleans())
caps_sets = st.frozensets(st.sampled_from(CAPS))
arg_lists = st.lists(values, min_size=6, max_size=6).map(tuple)


def matches(indexes: st.SearchStrategy[int]) -> st.SearchStrategy[ArgMatch]:
    plain = st.builds(ArgMatch, indexes, st.sampled_from(OPERATORS[:-1]), values)
    return plain | st.builds(ArgMatch, indexes, st.just(OPERATORS[-1]), values, values)


equalities = matches(st.integers(0, 2)).filter(lambda match: match.op in ("SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"))
conditions = st.one_of(
    st.lists(matches(st.integers(0, 2)), max_size=1).map(tuple),
    # several other comparisons at once are what libseccomp gets wrong, or does not come back from
    st.lists(equalities, max_size=3, unique_by=lambda match: match.index).map(tuple),
)
filters = st.builds(
    Filter,
    caps=st.lists(st.sampled_from([f"CAP_{cap}" for cap in CAPS]), max_size=1).map(tuple),
    min_kernel=st.sampled_from([None, (4, 8), (99, 0)]),
)
actions = st.sampled_from(
    [
        *(("SCMP_ACT_ALLOW", None), ("SCMP_ACT_ERRNO", 13), ("SCMP_ACT_ERRNO", None), ("SCMP_ACT_LOG", None)),
        *(("SCMP_ACT_KILL_PROCESS", None), ("SCMP_ACT_TRAP", None)),
    ]
)
rules = st.builds(
    lambda names, action, args, includes, excludes: Rule(tuple(names), action[0], action[1], args, includes, excludes),
    st.lists(st.sampled_from(CALLS), min_size=1, max_size=3, unique=True),
    actions,
    conditions,
    filters,
    filters,
)
profiles = st.builds(
    lambda default, found: Profile(
        default[0], default[1], arch_map=(("SCMP_ARCH_X86_64", ("SCMP_ARCH_X86", "SCMP_ARCH_X32")),), rules=tuple(found)
    ),
    actions,
    st.lists(rules, max_size=6),
)
needs_lists = st.lists(st.builds(SyscallNeed, st.sampled_from(CALLS), conditions), min_size=1, max_size=3)


def verdict(  # noqa: PLR0913, PLR0917 - a call, and all that its verdict depends on
    profile: Profile,
    call: str,
    args: Iterable[int],
    caps: frozenset[str],
    arch: str = "x86_64",
    runtime: Runtime = CURRENT,
) -> Outcome:
    return evaluate(profile, call, tuple(args), caps=caps, arch=arch, kernel=KERNEL, runtime=runtime)


def open_up(
    profile: Profile, needs: Iterable[SyscallNeed], caps: frozenset[str], runtime: Runtime = CURRENT
) -> Profile:
    try:
        return widen(profile, needs, caps=caps, arch="x86_64", kernel=KERNEL, runtime=runtime)
    except ProfileError as error:
        if "taken apart" not in error.problem:
            raise
        reject()


def applied(profile: Profile, call: str, caps: frozenset[str]) -> list[Rule]:
    return [rule for _, rule in rules_of(resolve(profile, caps, "x86_64", KERNEL), profile, call)]


def wanted(need: SyscallNeed, args: tuple[int, ...]) -> bool:
    return all(match.matches(args[match.index]) for match in need.args)


def inside(need: SyscallNeed, args: tuple[int, ...]) -> tuple[int, ...] | None:
    """The given arguments, moved to where the need applies."""
    for cube in cubes_of(need.args):
        return tuple((arg & ~mask) | value for arg, (mask, value) in zip(args, cube, strict=True))
    return None


@SETTINGS
@given(profiles, needs_lists, caps_sets, runtimes, st.lists(arg_lists, min_size=1, max_size=4))
def test_every_need_is_open_afterwards(
    profile: Profile,
    needs: list[SyscallNeed],
    caps: frozenset[str],
    runtime: Runtime,
    samples: list[tuple[int, ...]],
) -> None:
    assume(all(compiles_exactly(applied(profile, need.call, caps)) for need in needs))
    widened = open_up(profile, needs, caps, runtime)
    for need in needs:
        for args in filter(None, (inside(need, args) for args in samples)):
            assert verdict(widened, need.call, args, caps, runtime=runtime).passes


@SETTINGS
@given(profiles, needs_lists, caps_sets, runtimes, st.sampled_from(CALLS), arg_lists)
def test_nothing_else_changes(  # noqa: PLR0913, PLR0917 - what hypothesis draws
    profile: Profile,
    needs: list[SyscallNeed],
    caps: frozenset[str],
    runtime: Runtime,
    call: str,
    args: tuple[int, ...],
) -> None:
    assume(not any(need.call == call and wanted(need, args) for need in needs))
    before = verdict(profile, call, args, caps, runtime=runtime)
    after = verdict(open_up(profile, needs, caps, runtime), call, args, caps, runtime=runtime)
    assert (after.action, after.errno, after.certain) == (before.action, before.errno, before.certain)


@settings(SETTINGS, max_examples=15)
@given(profiles, needs_lists, caps_sets, runtimes)
def test_every_other_call_keeps_its_verdict(
    profile: Profile, needs: list[SyscallNeed], caps: frozenset[str], runtime: Runtime
) -> None:
    widened = open_up(profile, needs, caps, runtime)
    for call in calls().keys() - {need.call for need in needs}:
        before, after = (verdict(each, call, (), caps, runtime=runtime) for each in (profile, widened))
        assert (after.action, after.errno, after.certain) == (before.action, before.errno, before.certain), call


@settings(SETTINGS, max_examples=40)
@given(profiles, needs_lists, caps_sets)
def test_widening_twice_or_in_another_order_is_the_same(
    profile: Profile, needs: list[SyscallNeed], caps: frozenset[str]
) -> None:
    assume(all(compiles_exactly(applied(profile, need.call, caps)) for need in needs))
    widened = open_up(profile, needs, caps)
    assert open_up(widened, needs, caps) == widened
    assert open_up(profile, reversed(needs), caps) == widened
    assert parse_profile(dump_profile(widened)) == widened


@SETTINGS
@given(profiles)
def test_dump_and_parse_are_inverse(profile: Profile) -> None:
    assert parse_profile(dump_profile(profile)) == profile


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@SETTINGS
@given(st.text() | json_values.map(json.dumps))
def test_garbage_is_refused_or_read(text: str) -> None:
    with contextlib.suppress(ProfileError):
        profile = parse_profile(text)
        assert parse_profile(dump_profile(profile)) == profile


@SETTINGS
@given(profiles, st.data())
def test_a_spoilt_profile_is_refused_or_read(profile: Profile, data: st.DataObject) -> None:
    document = json.loads(dump_profile(profile))
    spot = document
    while True:
        key = data.draw(st.sampled_from(sorted(spot) if isinstance(spot, dict) else range(len(spot))))
        if not (isinstance(spot[key], (dict, list)) and spot[key]) or data.draw(st.booleans()):
            break
        spot = spot[key]
    spot[key] = data.draw(json_values)
    with contextlib.suppress(ProfileError):
        parse_profile(json.dumps(document))


@SETTINGS
@given(conditions, conditions, arg_lists)
def test_regions_are_exact(one: tuple[ArgMatch, ...], other: tuple[ArgMatch, ...], args: tuple[int, ...]) -> None:
    def holds(cubes: Iterable[tuple[tuple[int, int], ...]]) -> int:
        return sum(all(arg & mask == value for arg, (mask, value) in zip(args, cube, strict=True)) for cube in cubes)

    first, second = cubes_of(one), cubes_of(other)
    in_one, in_other = (all(m.matches(args[m.index]) for m in matched) for matched in (one, other))
    assert holds(first) == in_one
    assert holds(cube for a in first for b in second if (cube := intersect(a, b))) == (in_one and in_other)
    left = first[:4]
    for cube in second[:4]:
        left = subtract(left, cube)
    assert holds(left) == (holds(first[:4]) and not holds(second[:4]))
    assert all(cubes_of(matches_of(cube)) == [cube] for cube in first)


@cache
def machine() -> oracle.Library | None:
    return oracle.library()


def accepted(profile: Profile, caps: frozenset[str]) -> bool:
    """Whether libseccomp takes the rules; what it does not is what no engine starts a container with."""
    lib = machine()
    if lib is None:
        pytest.skip("libseccomp.so.2 is not installed (apt install libseccomp2)")
    resolved = resolve(profile, caps, "x86_64", KERNEL)
    try:
        oracle.compile_filter(
            lib, (profile.default_action, profile.default_errno), [rule for _, rule in resolved.rules], ABIS
        )
    except oracle.RuleError:
        return False
    return True


@SETTINGS
@given(profiles, needs_lists, caps_sets)
def test_what_an_engine_takes_it_takes_widened(
    profile: Profile, needs: list[SyscallNeed], caps: frozenset[str]
) -> None:
    assume(accepted(profile, caps))
    assert accepted(open_up(profile, needs, caps), caps)


def held_against_libseccomp(profile: Profile, caps: frozenset[str], samples: list[tuple[int, ...]]) -> int:
    """Compare verdicts with the filter that libseccomp builds; how many were compared."""
    lib = machine()
    if lib is None:
        pytest.skip("libseccomp.so.2 is not installed (apt install libseccomp2)")
    resolved = resolve(profile, caps, "x86_64", KERNEL)
    exact = {call for call in CALLS if compiles_exactly(applied(profile, call, caps))}
    kept = [replace(rule, names=tuple(n for n in rule.names if n in exact)) for _, rule in resolved.rules]
    try:
        program = oracle.compile_filter(lib, (profile.default_action, profile.default_errno), kept, ABIS)
    except oracle.RuleError:
        return 0  # two actions for one condition: no engine starts a container with that
    compared = 0
    for call in exact - {"statmount"}:  # a name that an older library lacks
        for arch in ABIS:
            if arch == "x86" and call == "socket":
                continue  # socketcall: libseccomp rewrites the rule
            for args in samples:
                predicted = verdict(profile, call, args, caps, arch)
                if predicted.certain and not predicted.rule.startswith("the runtime"):
                    seen = oracle.run(program, arch, calls()[call].numbers[arch], args)
                    assert (predicted.action, predicted.errno) == (seen.action, seen.errno), (call, arch, args)
                    compared += 1
    return compared


@SETTINGS
@given(profiles, needs_lists, caps_sets, st.lists(arg_lists, min_size=2, max_size=6))
def test_verdicts_are_those_of_the_filter_that_libseccomp_builds(
    profile: Profile, needs: list[SyscallNeed], caps: frozenset[str], samples: list[tuple[int, ...]]
) -> None:
    held_against_libseccomp(profile, caps, samples)
    near = [args for need in needs for sample in samples[:2] if (args := inside(need, sample))]
    held_against_libseccomp(open_up(profile, needs, caps), caps, samples + near)
