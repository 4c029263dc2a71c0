"""Which profile is widened, what a tool's profile opens, and what is said about it."""

from __future__ import annotations

import json

import pytest

from debugrun.core.decide import judge, widen_profile
from debugrun.core.decide.widen_profile import Base
from debugrun.core.grants import Layer, Verdict
from debugrun.core.know.facts import EngineFacts
from debugrun.core.know.tool_file import Need
from debugrun.core.rules.seccomp import Profile, default_profile, evaluate, parse_profile, runtime_of
from debugrun.errors import RefusedError
from debugrun.toolbox import catalog
from tests import cases

NO_CAPS: frozenset[str] = frozenset()
OWN = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]}'
PERF = Need(gate="perf-user", calls=("perf_event_open",), why="count")
KCMP = Need(gate="syscall", calls=("kcmp",), why="compare", optional=True)


def engine(**fields: object) -> EngineFacts:
    return cases.vary(cases.PLAIN, {"engine": fields}).engine


@pytest.mark.parametrize(
    ("fields", "name", "known"),
    [
        ({}, "the default profile of docker 28.5.2", True),
        ({"version": "17.12.1"}, "the default profile of docker 17.12.1", False),
        ({"seccomp": "unconfined"}, "off", False),
        ({"seccomp": "null"}, "off", False),
        ({"seccomp": "/etc/docker/own.json"}, "the daemon's own profile /etc/docker/own.json", False),
        ({"seccomp": "/own.json", "seccomp_profile": OWN}, "the daemon's own profile /own.json", True),
        ({"seccomp": "/own.json", "seccomp_profile": "{"}, "the daemon's own profile /own.json", False),
        ({"name": "podman", "version": "4.2.0"}, "the default profile of podman 4.2.0", False),
        ({"name": "podman", "version": "4.9.4"}, "the default profile of podman 4.9.4", True),
        ({"name": "podman", "version": "5.8.6"}, "the default profile of podman 5.8.6", True),
        ({"name": "podman", "version": "5.9.0"}, "the default profile of podman 5.9.0", False),
        ({"name": "podman", "version": "5.9.0", "seccomp_profile": OWN}, "the default profile of podman 5.9.0", True),
    ],
)
def test_the_engines_profile(fields: dict[str, object], name: str, known: bool) -> None:  # noqa: FBT001 - of the table
    found, profile = judge.engine_profile(engine(**fields))
    assert (found, profile is not None) == (name, known)


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"seccomp": "/own.json"}, Verdict.UNKNOWN),
        ({"seccomp": "/own.json", "seccomp_profile": OWN}, Verdict.CLOSED),
        ({"seccomp": "unconfined"}, Verdict.OPEN),
    ],
)
def test_a_daemons_own_profile_decides_where_it_is_known(fields: dict[str, object], verdict: Verdict) -> None:
    decision = cases.decide({"tool": "gdb", "facts": {"engine": fields}})
    gates = {gate.verdict for gate in decision.options[0].gates if gate.layer is Layer.SECCOMP}
    assert verdict in gates
    assert gates <= {verdict, Verdict.OPEN}


def test_a_file_that_was_read_goes_before_the_table() -> None:
    read = engine(name="podman", version="5.8.6", seccomp_profile=OWN)
    profile = judge.engine_profile(read)[1]
    assert profile == parse_profile(OWN)
    assert judge.engine_profile(engine(name="podman", version="5.8.6"))[1] != profile


#: release, capabilities, call, first argument -> verdict, as containers of the real engines have it.
PODMAN = [
    ("4.3.1", "", "perf_event_open", None, "errno 1"),
    ("4.3.1", "SYS_ADMIN", "perf_event_open", None, "allow"),
    ("4.3.1", "PERFMON", "perf_event_open", None, "errno 1"),
    ("5.8.6", "PERFMON", "perf_event_open", None, "errno 1"),
    ("5.8.6", "SYS_ADMIN", "perf_event_open", None, "errno 38"),
    ("5.8.6", "PERFMON SYS_ADMIN", "perf_event_open", None, "allow"),
    ("5.8.6", "BPF", "bpf", None, "allow"),
    ("4.3.1", "BPF", "bpf", None, "errno 1"),
    ("5.8.6", "", "personality", 0x40000, "errno 38"),
    ("5.8.6", "", "statmount", None, "errno 38"),
    ("5.8.6", "", "cachestat", None, "errno 1"),
    ("4.3.1", "", "cachestat", None, "errno 38"),
    ("5.8.6", "", "process_vm_readv", None, "allow"),
    ("5.8.6", "", "setns", None, "allow"),
    ("5.8.6", "", "kcmp", None, "errno 1"),
    ("5.8.6", "", "socket", 40, "errno 1"),
    ("5.4.2", "", "socket", 40, "allow"),
    ("5.8.6", "AUDIT_WRITE", "socket", 16, "allow"),
]


@pytest.mark.parametrize(("release", "caps", "call", "argument", "expected"), PODMAN)
def test_default_profile_of_podman(release: str, caps: str, call: str, argument: int | None, expected: str) -> None:
    version = tuple(map(int, release.split(".")))
    profile = default_profile("podman", version)
    assert profile is not None
    outcome = evaluate(
        profile,
        call,
        (argument,),
        caps=frozenset(caps.split()),
        kernel=(6, 1),
        runtime=runtime_of("podman", version, "crun"),
    )
    number = "" if outcome.errno is None else f" {outcome.errno}"
    assert f"{outcome.action}{number}" == expected
    assert outcome.certain


def test_crun_has_no_answer_of_its_own_to_new_calls() -> None:
    """The same profile under both: measured on Podman 4.3 and 5.8."""
    profile = default_profile("docker", (20, 10, 24))
    assert profile is not None
    answers = [
        evaluate(profile, "statmount", caps=NO_CAPS, kernel=(6, 18), runtime=runtime_of("podman", (5, 8, 6), runtime))
        for runtime in ("crun", "runc")
    ]
    assert [answer.errno for answer in answers] == [1, 38]


def base(text: str | None = None) -> Base:
    profile = judge.engine_profile(cases.PLAIN.engine)[1] if text is None else parse_profile(text)
    assert profile is not None
    return Base(name="what is in force", profile=profile, caps=NO_CAPS)


def opens(profile: Profile, call: str) -> bool:
    return evaluate(profile, call, caps=NO_CAPS, kernel=(6, 12)).passes


def test_what_stops_a_tool_is_opened_before_what_it_can_do_without() -> None:
    made = widen_profile.opened(base(), [KCMP, PERF], cases.PLAIN)
    assert made is not None
    assert (opens(made.profile, "perf_event_open"), opens(made.profile, "kcmp")) == (True, False)
    made = widen_profile.opened(base(), [KCMP], cases.PLAIN)
    assert made is not None
    assert opens(made.profile, "kcmp")
    assert widen_profile.opened(base('{"defaultAction": "SCMP_ACT_ALLOW"}'), [KCMP, PERF], cases.PLAIN) is None


def test_an_explained_profile_is_the_same_one() -> None:
    made = widen_profile.opened(base(), [PERF], cases.PLAIN)
    assert made is not None
    text = widen_profile.explained(made, "perf stat")
    assert parse_profile(text) == made.profile
    commented = [rule for rule in json.loads(text)["syscalls"] if "comment" in rule]
    assert commented == [{"names": ["perf_event_open"], "action": "SCMP_ACT_ALLOW", "comment": "perf stat: count"}]
    assert widen_profile.header(made, "perf stat").splitlines() == [
        "what is in force, for a container with no capability, and for perf stat:",
        "  perf_event_open: count",
    ]


def test_what_is_left_of_a_refusal_is_said_to_be_so() -> None:
    made = widen_profile.opened(
        base('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["perf_event_open", "bpf"], '
             '"action": "SCMP_ACT_ERRNO"}]}'),
        [PERF],
        cases.PLAIN,
    )  # fmt: skip
    assert made is not None
    comments = [rule.get("comment") for rule in json.loads(widen_profile.explained(made, "perf"))["syscalls"]]
    assert comments == ["as it was for all that is not needed"]


def test_a_profile_that_cannot_be_split_is_refused_in_one_line() -> None:
    masked = '{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 262144, "valueTwo": 262144}'
    narrow = base(
        '{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": '
        f'[{{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [{masked}]}}]}}'
    )
    need = Need(gate="syscall", calls=("personality(0x40000)",), why="no ASLR")
    with pytest.raises(RefusedError, match="can't be widened: syscalls: refuses personality"):
        widen_profile.opened(narrow, [need], cases.PLAIN)


def test_every_tools_calls_are_known_by_name() -> None:
    """A call that no table knows would be answered with "unknown" for ever."""
    for name in catalog.names():
        for mode in catalog.load(name).modes:
            for call in {call for need in mode.needs for call in need.calls}:
                assert judge.allows(base().profile, call, NO_CAPS, cases.PLAIN) is not None, (name, call)
