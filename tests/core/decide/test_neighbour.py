"""What a sidecar beside a target that is not trusted is given: never unsaid, never where the target could take it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from debugrun.core.decide import programs
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Ceiling, Grant, Option, Placement, Verdict
from debugrun.core.know import facts as f
from debugrun.core.rules import seccomp
from debugrun.core.say import report
from debugrun.toolbox import catalog
from tests.cases import DOCKER_DEFAULT, NOBODYS_FOLDER, PLAIN

BINARIES = ("gdb", "perf", "strace")
OURS = dataclasses.replace(PLAIN, images=f.ImageFacts(toolbox="debugrun-toolbox:latest", toolbox_binaries=BINARIES))
FOREIGN = dataclasses.replace(OURS, images=dataclasses.replace(OURS.images, target_holds_tool=True))
UNDUMPABLE = {"dumpable": False}


def decide(tool: str, facts: f.Facts, *, grant: Grant = Grant.SECCOMP, via: Placement | None = None) -> Plan:
    found = catalog.load(tool, NOBODYS_FOLDER)
    return plan(found, found.mode(None), facts, Ceiling(grant=grant, via=via))


def chosen(decision: Plan) -> Option:
    assert decision.option is not None
    return decision.option


def process(facts: f.Facts, **changes: object) -> f.Facts:
    return dataclasses.replace(facts, process=dataclasses.replace(facts.process, **changes))  # type: ignore[arg-type]


def container(facts: f.Facts, **changes: object) -> f.Facts:
    return dataclasses.replace(facts, container=dataclasses.replace(facts.container, **changes))  # type: ignore[arg-type]


def test_an_image_that_is_not_ours_gets_no_more_than_the_target_has() -> None:
    """lldb is in no toolbox: the program would be the target's own, with SYS_PTRACE as root."""
    free = decide("lldb", FOREIGN)
    assert chosen(free).grant is Grant.NONE
    assert FOREIGN.container.image in report.announce(free)
    refused = decide("lldb", process(FOREIGN, **UNDUMPABLE))
    assert refused.option is None
    assert any(each.by_name and each.verdict is Verdict.OPEN for each in refused.options)
    assert "--image" in report.refusal(refused)[1]


def test_an_image_that_is_named_is_trusted() -> None:
    images = f.ImageFacts(toolbox="tools:1")
    decision = decide("lldb", process(dataclasses.replace(OURS, images=images), **UNDUMPABLE))
    assert chosen(decision).image == "tools:1"
    assert chosen(decision).grant is Grant.CAPS


def test_the_targets_own_program_in_place_is_root_by_name_only() -> None:
    user = process(OURS, uids=(1000,) * 4, gids=(1000,) * 4, permitted=(), effective=(), dumpable=False)
    inside = dataclasses.replace(
        container(user, tools=(("lldb", "/usr/bin/lldb"),), capabilities=(*DOCKER_DEFAULT, "SYS_PTRACE")),
        images=f.ImageFacts(),
    )
    assert decide("lldb", inside).option is None
    named = chosen(decide("lldb", inside, via=Placement.HERE))
    assert (named.placement, named.user) == (Placement.HERE, "0:0")


NARROW = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": ["read", "write", "ptrace", "execve"], "action": "SCMP_ACT_ALLOW"}],
}


@pytest.mark.parametrize("profile", [json.dumps(NARROW), None], ids=["narrow", "not readable"])
def test_a_filter_that_is_wider_than_the_targets_own_is_no_grant_of_nothing(profile: str | None) -> None:
    facts = container(OURS, seccomp="custom", seccomp_profile=profile)
    option = chosen(decide("gdb", facts))
    assert option.grant is Grant.SECCOMP
    assert "a filter of its own" in report.announce(decide("gdb", facts))
    assert decide("gdb", facts, grant=Grant.NONE).option is None


def test_a_filter_that_lets_no_more_through_is_nothing() -> None:
    """The engine's own default under another name, and one that allows everything."""
    own = seccomp.default_profile("docker", (28, 5, 2))
    assert own is not None
    everything = json.dumps(
        {"defaultAction": "SCMP_ACT_ALLOW", "archMap": json.loads(seccomp.dump_profile(own))["archMap"]}
    )
    for profile in (seccomp.dump_profile(own), everything):
        assert chosen(decide("gdb", container(OURS, seccomp="custom", seccomp_profile=profile))).grant is Grant.NONE


def test_root_that_reads_all_files_changes_its_group_or_has_more_than_the_target() -> None:
    """Or else the target's root could trace the shell of a sidecar that may call perf_event_open."""
    old = dataclasses.replace(OURS, engine=dataclasses.replace(OURS.engine, version="20.10.24", api_version="1.41"))
    option = chosen(decide("perf", old))
    assert option.opened_calls == ("perf_event_open",)
    assert programs.READ_ALL & set(option.cap_add)
    assert not option.no_new_privileges
    forced = dataclasses.replace(old, engine=dataclasses.replace(old.engine, no_new_privileges=True))
    instead = chosen(decide("perf", forced))
    assert instead.opened_calls == ("perf_event_open",)
    assert not programs.READ_ALL & set(instead.cap_add) or not set(instead.cap_add) <= set(DOCKER_DEFAULT)


def test_a_target_with_sys_ptrace_is_said_to_get_in() -> None:
    held = (*DOCKER_DEFAULT, "SYS_PTRACE")
    old = dataclasses.replace(OURS, engine=dataclasses.replace(OURS.engine, version="20.10.24", api_version="1.41"))
    facts = process(container(old, capabilities=held), permitted=held, effective=held, bounding=held)
    assert "holds SYS_PTRACE" in report.announce(decide("perf", facts))


def test_what_the_target_told_is_said_where_it_takes_more() -> None:
    facts = process(OURS, dumpable=False, by_target=("dumpable",))
    assert "by its own word not dumpable" in report.announce(decide("gdb", facts))
