"""What a container's own program lacks: the narrowest first, and nothing that it has already."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import pytest

from debugrun.core.decide import judge, own, why
from debugrun.core.grants import Placement
from debugrun.core.say import own as say
from tests import cases

UID_1000 = {"uids": [1000] * 4, "gids": [1000] * 4, "permitted": [], "effective": []}
OLD = {"engine": {"version": "20.10.24"}}
NOTHING: Mapping[str, object] = {"container": {"capabilities": []}, "process": {"bounding": []}}
NEVER: Mapping[str, object] = {"host": {"yama_ptrace_scope": 3}}
SLOW = "ERROR: failed to ptrace(ATTACH) child 12: Operation not permitted (1)"


def lacks(error: str, facts: Mapping[str, object]) -> own.Own:
    known = why.recognise(error, None)
    assert known is not None
    return own.lacks(known, cases.decide({"tool": "gdb", "facts": facts}).facts)


@pytest.mark.parametrize(
    ("error", "facts", "first"),
    [
        (SLOW, {}, "SYS_PTRACE"),
        ("ThreadSanitizer: unexpected memory mapping 0x5b1b", {}, "personality(0x40000) opened"),
        (
            "io_uring_queue_init: Operation not permitted",
            {},
            "io_uring_setup opened + io_uring_enter opened + io_uring_register opened",
        ),
        ("io_uring_queue_init: Operation not permitted", OLD, None),
        ("mbind: Operation not permitted", {}, "SYS_NICE"),
        ("ping: socket: Operation not permitted", {}, None),
        (
            "ping: socket: Operation not permitted",
            NOTHING,
            "NET_RAW",
        ),
        ("RTNETLINK answers: Operation not permitted", {}, "NET_ADMIN"),
        ("fanotify_init: Operation not permitted", {}, "SYS_ADMIN"),
        ("kcmp: Operation not permitted", {}, "kcmp opened"),
        ("[createdump] ptrace(ATTACH, 1) FAILED Operation not permitted", {}, "SYS_PTRACE"),
        ("[createdump] ptrace(ATTACH, 1) FAILED Operation not permitted", NEVER, None),
        ("ptrace: Operation not permitted.", {"engine": {"kernel": "4.4.0", "version": "19.03.8"}}, "ptrace opened"),
        ("perf: perf_event_open failed with error: Permission denied", {}, "PERFMON"),
        (
            "perf: perf_event_open failed with error: Permission denied",
            {"host": {"perf_event_paranoid": 3}},
            "SYS_ADMIN",
        ),
        ("setgroups: Operation not permitted", NOTHING, "SETGID + SETUID"),
        ("userfaultfd: Operation not permitted", {}, "SYS_PTRACE|userfaultfd opened"),
    ],
)
def test_the_narrowest_comes_first(error: str, facts: Mapping[str, object], first: str | None) -> None:
    found = lacks(error, facts)
    if first is None:
        assert found.options == ()
        assert "lacks nothing" in say.as_text(found)
        return
    option = found.options[0]
    words = " + ".join((*option.cap_add, *(f"{call} opened" for call in option.opened_calls)))
    assert words in first.split("|")


@pytest.mark.parametrize("error", [SLOW, "mbind: EPERM", "userfaultfd: EPERM", "kcmp: EPERM", "clone3: EPERM"])
def test_every_option_opens_what_is_blocked(error: str) -> None:
    for facts in ({}, OLD, {"process": UID_1000}):
        found = lacks(error, facts)
        for option in found.options:
            plain = dataclasses.replace(option, placement=Placement.HERE, cap_add=(), opened_calls=())
            profile = judge.base_profile(plain, found.facts)[1]
            held = judge.container_capabilities(plain, found.facts) | set(option.cap_add)
            for call in set(found.blocked) - set(option.opened_calls):
                assert profile is not None
                assert judge.allows(profile, call, held, found.facts)


def test_the_answer_is_a_docker_a_compose_and_a_recreate_line() -> None:
    text = say.as_text(lacks(SLOW, {}))
    assert "docker run --cap-add SYS_PTRACE ..." in text
    assert "cap_add: [SYS_PTRACE]" in text
    assert "debugrun recreate web --cap-add SYS_PTRACE" in text
    told = json.loads(say.as_json(lacks(SLOW, {})))
    assert told["options"][0]["cap_add"] == ["SYS_PTRACE"]
    assert told["missing"] == ["SYS_PTRACE"]


def test_a_user_that_is_not_root_is_told_that_a_capability_alone_does_nothing() -> None:
    assert "setcap(8)" in say.as_text(lacks(SLOW, {"process": UID_1000}))


@pytest.mark.parametrize("facts", [{}, OLD, NOTHING, {"process": UID_1000}, {"host": {"perf_event_paranoid": 3}}])
def test_no_way_stands_before_one_that_opens_less(facts: Mapping[str, object]) -> None:
    for known in why.known_errors():
        found = own.lacks(known, cases.decide({"tool": "gdb", "facts": facts}).facts)
        opened = [own.powers(option, found.facts) for option in found.options]
        for at, wide in enumerate(opened):
            assert not [each for each in opened[at + 1 :] if wide and each and each < wide], (known.says, opened)
