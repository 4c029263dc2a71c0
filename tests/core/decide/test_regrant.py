"""What a container is recreated with: nothing where that is enough, else the least, and never what it has already."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from debugrun.core.decide import regrant
from debugrun.core.decide.plan import plan
from debugrun.core.grants import Ceiling, Grant, Option, Placement
from debugrun.core.know.facts import Facts
from debugrun.toolbox import catalog
from tests.cases import DOCKER_DEFAULT, NOBODYS_FOLDER, PLAIN, vary

HOLDS = {tool: {"tools": [[tool, f"/usr/bin/{tool}"]]} for tool in ("gdb", "perf", "strace")}
U1000 = {"uids": [1000] * 4, "gids": [1000] * 4, "permitted": [], "effective": []}
CEILING = Ceiling(via=Placement.RECREATE, grant=Grant.PRIVILEGED)


def decided(tool: str, changes: Mapping[str, object], ceiling: Ceiling = CEILING) -> Option | None:
    loaded = catalog.load(tool, NOBODYS_FOLDER)
    varied = vary(PLAIN, {part: fields for part, fields in changes.items() if isinstance(fields, Mapping)})
    return plan(loaded, loaded.mode(None), varied, ceiling).option


@pytest.mark.parametrize(
    ("tool", "changes", "user", "grant", "added", "opened"),
    [
        ("gdb", {"container": HOLDS["gdb"]}, "0:0", Grant.NONE, (), ()),
        ("gdb", {"container": HOLDS["gdb"], "process": {"dumpable": False}}, "0:0", Grant.CAPS, ("SYS_PTRACE",), ()),
        ("strace", {"container": HOLDS["strace"], "process": U1000}, "1000:1000", Grant.NONE, (), ()),
        (
            "strace",
            {"container": HOLDS["strace"], "process": U1000, "host": {"yama_ptrace_scope": 1}},
            "0:0",
            Grant.CAPS,
            ("SYS_PTRACE",),
            (),
        ),
        (
            "perf",
            {"container": HOLDS["perf"], "process": U1000},
            "1000:1000",
            Grant.SECCOMP,
            (),
            ("perf_event_open",),
        ),
    ],
)
def test_the_least_that_lets_the_tool_work_in_the_container(  # noqa: PLR0913, PLR0917 - a row of a table
    tool: str,
    changes: Mapping[str, Mapping[str, object]],
    user: str,
    grant: Grant,
    added: tuple[str, ...],
    opened: tuple[str, ...],
) -> None:
    option = decided(tool, changes)
    assert option is not None
    assert (option.placement, option.user, option.grant) == (Placement.RECREATE, user, grant)
    assert (option.cap_add, option.opened_calls) == (added, opened)


def test_a_container_that_does_not_hold_the_tool_is_given_nothing() -> None:
    option = decided("gdb", {"process": {"dumpable": False}})
    assert option is not None
    assert (option.grant, option.cap_add) == (Grant.NONE, ())
    assert "sidecar" in option.gates[0].fact


def test_it_is_never_taken_unless_named() -> None:
    loaded = catalog.load("gdb", NOBODYS_FOLDER)
    for via in (None, Placement.SIDECAR, Placement.HERE):
        found = plan(loaded, loaded.mode(None), vary(PLAIN, {"container": HOLDS["gdb"]}), Ceiling(via=via))
        assert Placement.RECREATE not in {option.placement for option in found.options}


def test_the_ceiling_holds() -> None:
    changes = {"container": HOLDS["gdb"], "process": {"dumpable": False}}
    assert decided("gdb", changes, Ceiling(via=Placement.RECREATE, grant=Grant.NONE)) is None


def test_what_the_container_has_is_not_added_again() -> None:
    has = sorted([*DOCKER_DEFAULT, "SYS_PTRACE"])
    container: Mapping[str, object] = {**HOLDS["gdb"], "capabilities": has}
    process: Mapping[str, object] = {"dumpable": False, "permitted": has, "effective": has, "bounding": has}
    option = decided("gdb", {"container": container, "process": process})
    assert option is not None
    assert (option.grant, option.cap_add) == (Grant.NONE, ())


def facts(**container: object) -> Facts:
    return vary(PLAIN, {"container": {**HOLDS["perf"], **container}, "process": U1000})


def test_the_profile_is_the_containers_own_with_the_calls_opened() -> None:
    own = json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]})
    there = facts(seccomp="custom", seccomp_profile=own)
    loaded = catalog.load("perf", NOBODYS_FOLDER)
    option = plan(loaded, loaded.mode(None), there, CEILING).option
    assert option is not None
    text = regrant.profile_json(option, there)
    assert text is not None
    allowed = {name for rule in json.loads(text)["syscalls"] for name in rule["names"]}
    assert {"read", "perf_event_open"} <= allowed
    assert "write" not in allowed


def test_no_profile_is_sent_where_none_is_widened() -> None:
    option = decided("gdb", {"container": HOLDS["gdb"]})
    assert option is not None
    assert regrant.profile_json(option, PLAIN) is None
