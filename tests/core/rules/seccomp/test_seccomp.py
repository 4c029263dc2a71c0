from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from itertools import pairwise

import pytest

from debugrun.core.rules.seccomp import (
    ArgMatch,
    Outcome,
    Profile,
    ProfileError,
    Rule,
    Runtime,
    SyscallNeed,
    default_profile,
    dump_profile,
    evaluate,
    parse_profile,
    refusal,
    runtime_of,
    widen,
)
from debugrun.core.rules.seccomp.calls import ARCHES, calls
from debugrun.core.rules.seccomp.evaluate import resolve
from tests import TESTS

DATA = TESTS.parent / "debugrun" / "data"
KERNEL = (6, 1)
NO_CAPS: frozenset[str] = frozenset()
MINUS_ONE = 2**64 - 1
ARCH_MAP = (("SCMP_ARCH_X86_64", ("SCMP_ARCH_X86", "SCMP_ARCH_X32")),)
NO_RANDOMIZE = SyscallNeed("personality", (ArgMatch(0, "SCMP_CMP_EQ", 0x40000),))

#: release, capability, call, first argument -> verdict, as Docker's documentation, kernel and containers have it.
DOCKER = [
    ("18.09.9", "", "ptrace", None, "errno 1"),
    ("18.09.9", "SYS_PTRACE", "ptrace", None, "allow"),
    ("19.03.15", "", "ptrace", None, "allow"),
    ("20.10.24", "", "process_vm_readv", None, "errno 1"),
    ("20.10.24", "SYS_PTRACE", "process_vm_readv", None, "allow"),
    ("20.10.24", "PERFMON", "perf_event_open", None, "errno 1"),
    ("20.10.24", "", "io_uring_setup", None, "allow"),
    ("20.10.24", "", "clone3", None, "errno 38"),
    ("20.10.24", "", "futex_wake", None, "errno 38"),
    ("20.10.24", "", "clone", 0x10000000, "errno 1"),
    ("20.10.24", "SYS_ADMIN", "clone", 0x10000000, "allow"),
    ("20.10.24", "", "clone", 0x11, "allow"),
    ("20.10.24", "", "clone", None, "errno 1?"),
    ("20.10.24", "", "socket", 40, "allow"),
    ("23.0.6", "", "socket", 40, "errno 1"),
    ("23.0.6", "", "process_vm_readv", None, "allow"),
    ("23.0.6", "PERFMON", "perf_event_open", None, "allow"),
    ("23.0.6", "", "perf_event_open", None, "errno 1"),
    ("25.0.6", "", "io_uring_setup", None, "errno 1"),
    ("26.1.5", "", "futex_wake", None, "allow"),
    ("26.1.5", "", "statmount", None, "errno 38"),
    ("28.5.2", "BPF", "bpf", None, "allow"),
    ("28.5.2", "", "mseal", None, "allow"),
    ("28.5.2", "", "socket", 38, "allow"),
    ("29.7.2", "", "socket", 38, "errno 1"),
    ("29.7.2", "", "socket", 39, "allow"),
    ("29.7.2", "", "socket", 41, "allow"),
    *(
        (release, cap, "personality", value, verdict)
        for release in ("18.09.9", "20.10.24", "26.1.5", "28.5.2")
        for cap in ("", "SYS_ADMIN")
        for value, verdict in [
            (0, "allow"),
            (8, "allow"),
            (0x20008, "allow"),
            (0xFFFFFFFF, "allow"),
            (0x40000, "errno 1"),
            (MINUS_ONE, "errno 1"),
        ]
    ),
]


def brief(outcome: Outcome) -> str:
    number = "" if outcome.errno is None else f" {outcome.errno}"
    return f"{outcome.action}{number}{'' if outcome.certain else '?'}"


def carried(engine: str, release: str) -> Profile:
    profile = default_profile(engine, tuple(map(int, release.split("."))))
    assert profile is not None
    return profile


def docker(release: str) -> Profile:
    return carried("docker", release)


@pytest.mark.parametrize(("release", "cap", "call", "argument", "expected"), DOCKER)
def test_default_profile_of_docker(release: str, cap: str, call: str, argument: int | None, expected: str) -> None:
    caps = frozenset({cap} - {""})
    assert brief(evaluate(docker(release), call, (argument,), caps=caps, kernel=KERNEL)) == expected


def test_no_default_profile_where_none_is_known() -> None:
    assert default_profile("docker", (17, 12)) is None
    assert default_profile("cri-o", (1, 30)) is None
    assert default_profile("docker", (99,)) == default_profile("docker", (29, 7, 2))


def test_old_kernel_needs_a_capability_for_ptrace() -> None:
    assert not evaluate(docker("28.5.2"), "ptrace", caps=NO_CAPS, kernel=(4, 4)).passes
    assert evaluate(docker("28.5.2"), "ptrace", caps=frozenset({"CAP_SYS_PTRACE"}), kernel=(4, 4)).passes


def test_arm64_has_its_own_rules() -> None:
    profile = docker("28.5.2")
    assert brief(evaluate(profile, "arch_prctl", caps=NO_CAPS, arch="x86_64", kernel=KERNEL)) == "allow"
    assert brief(evaluate(profile, "arch_prctl", caps=NO_CAPS, arch="aarch64", kernel=KERNEL)) == "errno 38"
    assert brief(evaluate(profile, "cacheflush", caps=NO_CAPS, arch="arm", kernel=KERNEL)) == "allow"
    assert brief(evaluate(profile, "perf_event_open", caps=NO_CAPS, arch="aarch64", kernel=KERNEL)) == "errno 1"


def only(*rules: Rule, default: str = "SCMP_ACT_ERRNO") -> Profile:
    return Profile(default, architectures=("SCMP_ARCH_X86_64",), rules=rules)


def ask(profile: Profile, *args: int | None, arch: str = "x86_64", runtime: Runtime | None = None) -> str:
    outcome = evaluate(
        profile, "personality", args, caps=NO_CAPS, arch=arch, kernel=KERNEL, runtime=runtime or Runtime()
    )
    return brief(outcome)


def rule(action: str, *args: ArgMatch, errno: int | None = None) -> Rule:
    return Rule(("personality",), f"SCMP_ACT_{action}", errno, args)


def arg(index: int, op: str, value: int, value_two: int = 0) -> ArgMatch:
    return ArgMatch(index, f"SCMP_CMP_{op}", value, value_two)


@pytest.mark.parametrize(
    ("op", "value", "value_two", "yes", "no"),
    [
        ("EQ", 5, 0, 5, 2**32 + 5),
        ("NE", 5, 0, 2**32 + 5, 5),
        ("LT", 5, 0, 4, 2**63),
        ("LE", 5, 0, 5, 6),
        ("GT", 5, 0, MINUS_ONE, 5),
        ("GE", 2**32, 0, 2**32, 2**32 - 1),
        ("MASKED_EQ", 0xF0, 0x10, 0x1F, 0x2F),
        ("MASKED_EQ", 0xF0, 0x1F, 0x1F, 0x2F),  # bits of the datum outside of the mask do not count
    ],
)
def test_every_operator(op: str, value: int, value_two: int, yes: int, no: int) -> None:
    profile = only(rule("ALLOW", arg(0, op, value, value_two)))
    assert (ask(profile, yes), ask(profile, no)) == ("allow", "errno 1")


@pytest.mark.parametrize(
    ("action", "errno", "expected"),
    [
        ("KILL", None, "kill"),
        ("KILL_THREAD", None, "kill"),
        ("KILL_PROCESS", None, "kill"),
        ("TRAP", None, "trap"),
        ("ERRNO", 13, "errno 13"),
        ("TRACE", 7, "trace 7"),
        ("LOG", None, "log"),
        ("NOTIFY", None, "notify"),
    ],
)
def test_every_action(action: str, errno: int | None, expected: str) -> None:
    assert ask(only(rule(action, errno=errno), default="SCMP_ACT_ALLOW")) == expected


def test_all_comparisons_of_a_rule_must_hold() -> None:
    profile = only(rule("ALLOW", arg(0, "EQ", 1), arg(1, "EQ", 2)))
    assert [ask(profile, 1, 2), ask(profile, 1, 3)] == ["allow", "errno 1"]
    assert [ask(profile, 1), ask(profile, 2)] == ["errno 1?", "errno 1"]


def test_two_comparisons_of_one_argument_are_alternatives() -> None:
    profile = only(rule("ALLOW", arg(0, "EQ", 1), arg(0, "EQ", 2)))
    assert [ask(profile, 1), ask(profile, 2), ask(profile, 3)] == ["allow", "allow", "errno 1"]


def test_an_unconditional_rule_wins_wherever_it_stands() -> None:
    refused, allowed = rule("ERRNO", arg(0, "EQ", 1), errno=13), rule("ALLOW")
    assert ask(only(refused, allowed), 1) == ask(only(allowed, refused), 1) == "allow"
    assert ask(only(rule("LOG"), allowed)) == "log"


def test_a_rule_that_repeats_the_default_does_not_count() -> None:
    assert ask(only(rule("ERRNO", errno=1), rule("ALLOW"))) == "allow"


def test_conflicting_conditions_are_not_certain() -> None:
    assert ask(only(rule("ALLOW", arg(0, "GE", 0)), rule("ERRNO", arg(0, "GE", 3), errno=13)), 5) == "errno 13?"


def test_orderings_that_libseccomp_builds_wrongly_are_not_certain() -> None:
    assert ask(only(rule("ALLOW", arg(0, "LT", 1)), rule("ALLOW", arg(0, "LT", 2**32 + 1))), 5) == "errno 1?"


def test_an_architecture_that_the_profile_lacks_is_killed() -> None:
    assert ask(only(rule("ALLOW")), arch="x86") == "kill"


def test_default_errno_is_unknown_to_old_engines() -> None:
    profile = Profile("SCMP_ACT_ERRNO", default_errno=95)
    assert ask(profile, runtime=runtime_of("docker", (20, 10, 24), "runc")) == "errno 1"
    assert ask(profile, runtime=runtime_of("docker", (23, 0), "runc")) == "errno 95"


def test_a_name_that_libseccomp_lacks_is_left_out() -> None:
    profile = only(Rule(("futex_wake", "mseal"), "SCMP_ACT_ALLOW"))
    old = Runtime(libseccomp=(2, 5, 5))
    outcomes = [
        brief(evaluate(profile, call, caps=NO_CAPS, kernel=KERNEL, runtime=old)) for call in ("futex_wake", "mseal")
    ]
    assert outcomes == ["allow", "errno 38"]


def test_uprobe_calls_are_never_filtered() -> None:
    assert brief(evaluate(docker("20.10.24"), "uretprobe", caps=NO_CAPS, kernel=(6, 18))) == "allow"
    assert brief(evaluate(docker("20.10.24"), "uretprobe", caps=NO_CAPS, kernel=(6, 1))) == "errno 1"


def test_an_unknown_call_is_refused_by_name() -> None:
    with pytest.raises(ProfileError, match="'frobnicate' is not a system call"):
        evaluate(docker("28.5.2"), "frobnicate", caps=NO_CAPS, kernel=KERNEL)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "profile"),
        ("[]", "profile"),
        ('{"defaultAction": NaN}', "profile"),
        ("[" * 100_000, "profile"),
        ('{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}', "defaultAction"),
        ('{"defaultAction": "ALLOW"}', "defaultAction"),
        ('{"defaultAction": "SCMP_ACT_NOTIFY"}', "defaultAction"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}', "syscalls"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [1]}', "syscalls[0]"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"]}]}', "syscalls[0].action"),
        ('{"syscalls": [{"names": [7], "action": "SCMP_ACT_LOG"}]}', "syscalls[0].names[0]"),
        ('{"syscalls": [{"names": [""], "action": "SCMP_ACT_LOG"}]}', "syscalls[0].names[0]"),
        ('{"syscalls": [{"names": ["a"], "name": "b", "action": "SCMP_ACT_LOG"}]}', "syscalls[0].name"),
        ('{"syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}', "syscalls[0].action"),
        ('{"syscalls": [{"action": "SCMP_ACT_LOG", "args": [{"op": "=="}]}]}', "syscalls[0].args[0].op"),
        ('{"syscalls": [{"action": "SCMP_ACT_LOG", "args": [{"index": 6}]}]}', "syscalls[0].args[0].index"),
        (
            '{"syscalls": [{"action": "SCMP_ACT_LOG", "args": [{"op": "SCMP_CMP_EQ", "value": -1}]}]}',
            "syscalls[0].args[0].value",
        ),
        (
            '{"syscalls": [{"action": "SCMP_ACT_LOG", "includes": {"minKernel": "new"}}]}',
            "syscalls[0].includes.minKernel",
        ),
        ('{"syscalls": [{"action": "SCMP_ACT_ERRNO", "errno": "EWHAT"}]}', "syscalls[0].errno"),
        ('{"syscalls": [{"action": "SCMP_ACT_ERRNO", "errnoRet": true}]}', "syscalls[0].errnoRet"),
        ('{"architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "a"}]}', "architectures"),
        ('{"linux": {"seccomp": 5}}', "linux.seccomp"),
    ],
)
def test_a_bad_profile_names_its_bad_key(text: str, where: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text)
    assert caught.value.where == where


def test_the_three_forms_say_the_same() -> None:
    engine = """{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [{"name": "read", "action": "SCMP_ACT_ALLOW", "args": null},
                     {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
                     {"names": ["kcmp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                      "excludes": {"caps": ["CAP_BPF"]}}]}"""
    podman = engine.replace('"defaultErrnoRet": 38', '"defaultErrno": "ENOSYS"').replace(
        '"errnoRet": 1', '"errno": "EPERM"'
    )
    runtime_spec = """{"ociVersion": "1.0.2", "linux": {"seccomp": {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["read", "bpf"], "action": "SCMP_ACT_ALLOW"}]}}}"""
    caps = frozenset({"BPF"})
    profiles = [parse_profile(text) for text in (engine, podman, runtime_spec)]
    assert profiles[0] == profiles[1]
    for call in ("read", "bpf", "kcmp", "write"):
        for arch in ("x86_64", "x86", "x32"):
            assert len({brief(evaluate(p, call, caps=caps, arch=arch, kernel=KERNEL)) for p in profiles}) == 1


def test_an_empty_profile_filters_nothing() -> None:
    assert ask(parse_profile("{}")) == "allow"


@pytest.mark.parametrize("release", ["18.09.9", "20.10.24", "29.7.2"])
def test_a_dumped_profile_reads_back(release: str) -> None:
    assert parse_profile(dump_profile(docker(release))) == docker(release)


def test_widening_adds_one_short_rule() -> None:
    base = docker("20.10.24")
    widened = widen(base, [NO_RANDOMIZE], caps=NO_CAPS, arch="x86_64", kernel=KERNEL)
    assert widened.rules == (*base.rules, Rule(("personality",), "SCMP_ACT_ALLOW", None, NO_RANDOMIZE.args))
    assert len(dump_profile(widened)) < 8200


def test_widening_keeps_an_operators_refusal_of_everything_else() -> None:
    operator = only(Rule(("personality", "ptrace"), "SCMP_ACT_KILL_PROCESS"), default="SCMP_ACT_ALLOW")
    widened = widen(operator, [NO_RANDOMIZE], caps=NO_CAPS, arch="x86_64", kernel=KERNEL)
    assert [ask(widened, 0x40000), ask(widened, 0), ask(widened, MINUS_ONE)] == ["allow", "kill", "kill"]
    assert brief(evaluate(widened, "ptrace", caps=NO_CAPS, kernel=KERNEL)) == "kill"


def test_widening_opens_a_call_that_has_a_rule_of_its_own() -> None:
    base = docker("20.10.24")
    widened = widen(base, [SyscallNeed("clone3")], caps=NO_CAPS, arch="x86_64", kernel=KERNEL)
    assert brief(evaluate(widened, "clone3", caps=NO_CAPS, kernel=KERNEL)) == "allow"


def test_widening_by_a_new_call_keeps_enosys_for_those_before_it() -> None:
    base = docker("20.10.24")
    widened = widen(base, [SyscallNeed("statmount")], caps=NO_CAPS, arch="x86_64", kernel=KERNEL)
    changed = {
        (arch, call)
        for arch in ("x86_64", "x86")  # x32 has old calls above all new ones, hence no such line
        for call in calls()
        if brief(evaluate(base, call, caps=NO_CAPS, arch=arch, kernel=KERNEL))
        != brief(evaluate(widened, call, caps=NO_CAPS, arch=arch, kernel=KERNEL))
    }
    assert changed == {("x86_64", "statmount"), ("x86", "statmount")}


def test_number_table() -> None:
    table = calls()
    assert len(table) > 480
    for arch, bound in (("x86_64", 384), ("aarch64", 326), ("x86", 460), ("x32", 373), ("arm", 420)):
        numbers = [call.numbers[arch] for call in table.values() if arch in call.numbers]
        assert len(numbers) == len(set(numbers)) >= bound
    assert table["read"].numbers == {"x86_64": 0, "x86": 3, "x32": 0x40000000, "aarch64": 63, "arm": 3}


def test_default_tables_are_sound() -> None:
    """The checker of data/seccomp: known names, known capabilities, and ranges that can hold for some release."""
    capabilities = tomllib.loads((DATA / "capabilities.toml").read_text(encoding="utf-8"))
    for path in sorted((DATA / "seccomp").glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["rule"]:
            names = entry["calls"].split()
            assert names == sorted(set(names)), entry
            assert set(names) <= set(calls()) | NOT_HERE, entry
            assert {*entry.get("caps", ()), *entry.get("without_caps", ())} <= set(capabilities), entry
            ends = [tuple(map(int, entry[key].split("."))) for key in ("since", "until") if key in entry]
            assert all(start < end for start, end in pairwise(ends)), entry


#: Names in the tables that no architecture of ours has.
NOT_HERE = {
    *("bdflush", "pciconfig_iobase", "pciconfig_read", "pciconfig_write", "riscv_hwprobe", "swapcontext"),
    *("sync_file_range2", "syscall", "timerfd"),
}


def test_capabilities_are_numbered_without_a_gap() -> None:
    capabilities = tomllib.loads((DATA / "capabilities.toml").read_text(encoding="utf-8"))
    assert [entry["number"] for entry in capabilities.values()] == list(range(41))
    assert {name for name, entry in capabilities.items() if "docker" in entry} == {
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    }


def test_golden_resolved_defaults() -> None:
    """Which calls open with which capability, as real engines wrote it into their runtime specs."""
    golden = json.loads((TESTS / "seccomp" / "resolved.json").read_text(encoding="utf-8"))
    for recorded, by_cap in golden.items():
        name, _, release = recorded.rpartition(" ")
        plain: set[str] = set()
        for cap, expected in by_cap.items():
            resolved = resolve(
                carried(name or "docker", release), frozenset({cap} - {"none"}), ARCHES["x86_64"].native, KERNEL
            )
            described = {
                f"{call} {rule.action} {rule.errno} {list(map(str, rule.args))}"
                for _, rule in resolved.rules
                for call in rule.names
            }
            if cap == "none":
                plain = described
                assert len(plain) == expected["rules"]
            else:
                assert sorted(described - plain) == expected["added"]
                assert sorted(plain - described) == expected["removed"]


def test_widening_does_not_wake_a_rule_that_was_hidden() -> None:
    operator = only(rule("ERRNO", errno=13), rule("ALLOW"), rule("ERRNO", arg(0, "EQ", 7), errno=14))
    widened = widen(operator, [NO_RANDOMIZE], caps=NO_CAPS, arch="x86_64", kernel=KERNEL)
    assert [ask(widened, 0x40000), ask(widened, 0), ask(widened, 7)] == ["allow", "errno 13", "errno 13"]


@pytest.mark.parametrize(("default", "first"), [("KILL_PROCESS", "KILL_THREAD"), ("KILL", "KILL_PROCESS")])
def test_killing_a_thread_and_killing_its_process_are_two_actions(default: str, first: str) -> None:
    """A rule that repeats the default is left out, and one after it counts; these two do not repeat each other."""
    assert ask(only(rule(first), rule("ALLOW"), default=f"SCMP_ACT_{default}")) == "kill"
    assert ask(only(rule(default), rule("ALLOW"), default=f"SCMP_ACT_{default}")) == "allow"


def test_a_void_comparison_beside_another_of_its_argument_is_a_rule_without_a_condition() -> None:
    void = rule("ALLOW", arg(0, "MASKED_EQ", 0, 1), arg(0, "EQ", 7))
    assert ask(only(rule("ERRNO", arg(0, "EQ", 5), errno=13), void), 5) == "allow"


def test_what_hangs_on_a_release_is_not_certain() -> None:
    """libseccomp 2.5.4 has no name for mseal; runc before 1.2 answers for listed architectures only."""
    sealed = Profile("SCMP_ACT_ERRNO", arch_map=ARCH_MAP, rules=(Rule(("mseal", "read"), "SCMP_ACT_ALLOW"),))
    old, new = runtime_of("docker", (20, 10, 24), "runc"), runtime_of("docker", (28, 5, 2), "runc")
    assert not evaluate(sealed, "mseal", caps=NO_CAPS, kernel=KERNEL, runtime=old).certain
    assert evaluate(sealed, "mseal", caps=NO_CAPS, kernel=KERNEL, runtime=new).passes
    for profile, certain in ((sealed, True), (replace(sealed, arch_map=()), False)):
        assert evaluate(profile, "470", caps=NO_CAPS, kernel=KERNEL, runtime=new).certain is certain


def test_an_engine_refuses_two_results_under_one_condition() -> None:
    twice = only(rule("ERRNO", arg(0, "EQ", 5), errno=13), rule("ERRNO", arg(0, "EQ", 5), errno=14))
    assert "two results" in str(refusal(twice, caps=NO_CAPS, kernel=KERNEL))
    assert refusal(only(rule("ERRNO", errno=13), rule("ERRNO", errno=14)), caps=NO_CAPS, kernel=KERNEL) is None
