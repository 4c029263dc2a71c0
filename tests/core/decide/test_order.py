"""Whatever is known and whatever is asked: nothing stands before what opens less and would do as well."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debugrun.core.decide import launch, order
from debugrun.core.decide import plan as planning
from debugrun.core.grants import Ceiling, Grant, Option, Placement, Verdict
from debugrun.core.know.facts import Facts
from debugrun.toolbox import catalog
from tests.cases import DOCKER_DEFAULT, PLAIN, vary

ENGINES = (
    ("docker", "20.10.24"),
    ("docker", "26.1.5"),
    ("docker", "28.5.2"),
    ("podman", "4.3.1"),
    ("podman", "5.8.6"),
)
TOOLS = {name: catalog.load(name) for name in catalog.names()}
MODES = tuple((tool, mode) for tool in TOOLS.values() for mode in tool.modes)
LAUNCHES = tuple((tool, start) for tool in TOOLS.values() for start in tool.launches)
SETS = (DOCKER_DEFAULT, DOCKER_DEFAULT, (), ("NET_BIND_SERVICE",), (*DOCKER_DEFAULT, "SYS_PTRACE"))
# What a user's process may hold, by ambient sets and by files: the last one more than any copy of ours carries.
USER_SETS = ((), (), ("NET_BIND_SERVICE",), ("SYS_PTRACE",), ("NET_ADMIN",), ("NET_BIND_SERVICE", "NET_RAW"))
SETTINGS = settings(deadline=None, max_examples=10, suppress_health_check=list(HealthCheck))


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    name, version = draw(st.sampled_from(ENGINES))
    uid = draw(st.sampled_from([0, 1000]))
    permitted = draw(st.sampled_from(SETS if uid == 0 else USER_SETS))
    held = draw(st.booleans())
    return vary(
        PLAIN,
        {
            "engine": {
                "name": name,
                "version": version,
                "kernel": draw(st.sampled_from(["5.4.0", "6.12.1", "6.18.44"])),
                "apparmor": draw(st.sampled_from([False, False, True])),
                "no_new_privileges": draw(st.sampled_from([False, False, True])),
                "rootless": draw(st.sampled_from([False, False, True])),
            },
            "host": {
                "yama_ptrace_scope": draw(st.sampled_from([0, 0, 1, 3])),
                "perf_event_paranoid": draw(st.sampled_from(["null", -1, 1, 2, 3])),
                "kptr_restrict": draw(st.sampled_from([0, 1])),
                "tracefs": draw(st.booleans()),
                "lockdown": draw(st.sampled_from(["none", "confidentiality", "null"])),
                "proc_mem_override": draw(st.sampled_from(["always", "never", "null"])),
            },
            "container": {"tools": [[each, f"/usr/bin/{each}"] for each in TOOLS] if held else [], "shell": "/bin/sh"},
            "process": {
                "uids": [uid] * 4,
                "gids": [uid] * 4,
                "permitted": list(permitted),
                "effective": list(permitted[: draw(st.integers(0, len(permitted)))]),
                "dumpable": draw(st.sampled_from([True, True, False, "null"])),
            },
        },
    )


def out_of_order(options: tuple[Option, ...], powers: Callable[[Option], order.Powers]) -> list[str]:
    """Pairs of options that may both work of which the later one opens less."""
    may = [(option, powers(option)) for option in options if option.verdict is not Verdict.CLOSED]
    return [
        f"{sorted(wide)} stands before {sorted(narrow)}"
        for at, (first, wide) in enumerate(may)
        for second, narrow in may[at + 1 :]
        if wide is not None and narrow is not None and narrow < wide and first.placement is second.placement
    ]


@SETTINGS
@given(facts(), st.sampled_from([None, Placement.RECREATE]))
def test_no_option_stands_before_one_that_opens_less(about: Facts, via: Placement | None) -> None:
    for each, mode in MODES:
        made = planning.plan(each, mode, about, Ceiling(grant=Grant.PRIVILEGED, via=via))
        assert out_of_order(made.options, lambda option: planning.powers(option, about)) == []


@SETTINGS
@given(facts())
def test_no_way_to_start_a_program_stands_before_one_that_opens_less(about: Facts) -> None:
    base = Option(
        placement=Placement.RUN,
        grant=Grant.NONE,
        user=f"{about.process.uids[1]}:{about.process.gids[1]}",
        verdict=Verdict.UNKNOWN,
        gates=(),
        cap_add=about.process.permitted,
        image="program",
    )
    for each, start in LAUNCHES:
        made = launch.decide(each, launch.wanted(start, aslr=False), about, Ceiling(grant=Grant.PRIVILEGED), base)
        assert out_of_order(made.options, lambda option: launch.powers(option, base, about)) == []


def option(*capabilities: str, verdict: Verdict = Verdict.OPEN) -> Option:
    return Option(
        placement=Placement.SIDECAR, grant=Grant.CAPS, user="0:0", verdict=verdict, gates=(), cap_add=capabilities
    )


@given(st.permutations([(), ("A",), ("B",), ("A", "B"), ("A", "B", "C")]), st.integers(0, 4))
def test_whatever_stands_between_them(sets: list[tuple[str, ...]], closed: int) -> None:
    given_ = [
        dataclasses.replace(option(*each), verdict=Verdict.CLOSED if at == closed else Verdict.OPEN)
        for at, each in enumerate(sets)
    ]
    found = order.narrow_first(given_, lambda each: frozenset(each.cap_add))
    assert sorted(each.cap_add for each in found) == sorted(sets)
    assert out_of_order(tuple(found), lambda each: frozenset(each.cap_add)) == []


def test_a_closed_option_between_two_does_not_hide_the_narrower() -> None:
    wide, closed, narrow = option("A", "B"), option("C", verdict=Verdict.CLOSED), option("A")
    found = order.narrow_first([wide, closed, narrow], lambda each: frozenset(each.cap_add))
    assert found == [narrow, wide, closed]


@pytest.mark.parametrize("version", ["26.1.5", "27.5.1", "28.5.2"])
def test_perf_of_a_root_target_takes_the_call_and_no_capability(version: str) -> None:
    """PERFMON, which those engines know, opens the whole machine to `perf record -a`; the call alone does not."""
    about = vary(PLAIN, {"engine": {"version": version}})
    made = planning.plan(TOOLS["perf"], TOOLS["perf"].mode("record"), about, Ceiling())
    assert made.option is not None
    assert (made.option.opened_calls, set(made.option.cap_add)) == (("perf_event_open",), set(DOCKER_DEFAULT))
