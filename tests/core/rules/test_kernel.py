"""The kernel's rules: each against the cases that were measured, and what holds for all facts."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.core.decide.judge import combine
from debugrun.core.grants import Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.rules import kernel
from debugrun.core.rules.actor import Actor
from tests.cases import DOCKER_DEFAULT, PLAIN, vary

NAMES = sorted({*DOCKER_DEFAULT, "SYS_PTRACE", "PERFMON", "SYS_ADMIN", "NET_ADMIN", "DAC_READ_SEARCH"})
capability_sets = st.frozensets(st.sampled_from(NAMES))
ids = st.sampled_from([0, 1000, 65534])


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    uid, gid = draw(ids), draw(ids)
    process = dataclasses.replace(
        PLAIN.process,
        uids=(uid,) * 4,
        gids=(gid,) * 4,
        permitted=tuple(sorted(draw(capability_sets))),
        dumpable=draw(st.sampled_from([True, False, None])),
    )
    host = dataclasses.replace(
        PLAIN.host,
        yama_ptrace_scope=draw(st.sampled_from([None, 0, 1, 2, 3])),
        perf_event_paranoid=draw(st.sampled_from([None, -1, 0, 1, 2, 3, 4])),
        lockdown=draw(st.sampled_from([None, "none", "integrity", "confidentiality"])),
        proc_mem_override=draw(st.sampled_from([None, "always", "ptrace", "never"])),
        gpu_counters=draw(st.sampled_from([None, "everybody", "admin"])),
        gpu_driver=draw(st.sampled_from([None, "550.54", "565.57.01"])),
    )
    return dataclasses.replace(PLAIN, process=process, host=host)


actors = st.builds(Actor, uid=ids, gid=ids, capabilities=capability_sets, hidden=st.booleans())
gates = st.sampled_from(sorted(kernel.CAPABILITIES))


def verdict(gate: str, actor: Actor, about: Facts) -> Verdict:
    return combine(kernel.ask(gate, actor, about, need=gate))


RANK = {Verdict.CLOSED: 0, Verdict.UNKNOWN: 1, Verdict.OPEN: 2}


@given(gates, actors, capability_sets, facts())
def test_a_capability_more_never_closes_anything(gate: str, actor: Actor, more: frozenset[str], about: Facts) -> None:
    wider = dataclasses.replace(actor, capabilities=actor.capabilities | more)
    assert RANK[verdict(gate, wider, about)] >= RANK[verdict(gate, actor, about)]


@given(gates, actors, facts())
def test_only_the_named_capabilities_open_a_gate(gate: str, actor: Actor, about: Facts) -> None:
    """The planner searches these only: others must not matter, but as part of the target's own set."""
    about = dataclasses.replace(about, process=dataclasses.replace(about.process, permitted=()))
    relevant = set(kernel.CAPABILITIES[gate])
    fewer = dataclasses.replace(actor, capabilities=actor.capabilities & relevant)
    assert verdict(gate, fewer, about) is verdict(gate, actor, about)


@given(actors, facts())
def test_reading_never_asks_for_more_than_attaching(actor: Actor, about: Facts) -> None:
    assert RANK[verdict("ptrace-read", actor, about)] >= RANK[verdict("ptrace-attach", actor, about)]


@pytest.mark.parametrize("missing", DOCKER_DEFAULT)
def test_thirteen_of_fourteen_capabilities_are_not_enough(missing: str) -> None:
    fewer = Actor(uid=0, gid=0, capabilities=frozenset(DOCKER_DEFAULT) - {missing})
    assert verdict("ptrace-attach", fewer, PLAIN) is Verdict.CLOSED
    assert verdict("ptrace-attach", Actor(uid=0, gid=0, capabilities=frozenset(DOCKER_DEFAULT)), PLAIN) is Verdict.OPEN


UID_1000 = {"process": {"uids": [1000] * 4, "gids": [1000] * 4, "permitted": []}}


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"SYS_PTRACE"}, Verdict.CLOSED),
        ({"SYS_PTRACE", "DAC_READ_SEARCH"}, Verdict.CLOSED),
        ({"SYS_PTRACE", "DAC_OVERRIDE"}, Verdict.OPEN),
    ],
)
def test_root_with_sys_ptrace_alone_cannot_write_the_memory_of_uid_1000(
    capabilities: set[str], expected: Verdict
) -> None:
    root = Actor(uid=0, gid=0, capabilities=frozenset(capabilities))
    about = vary(PLAIN, UID_1000)
    assert verdict("ptrace-attach", root, about) is Verdict.OPEN
    assert verdict("proc-mem-write", root, about) is expected


def test_the_files_of_an_undumpable_process_belong_to_root() -> None:
    about = vary(PLAIN, {"process": {**UID_1000["process"], "dumpable": False}})
    assert verdict("proc-mem-write", Actor(uid=0, gid=0, capabilities=frozenset()), about) is Verdict.OPEN
    assert verdict("proc-mem-write", Actor(uid=1000, gid=1000, capabilities=frozenset()), about) is Verdict.CLOSED


@pytest.mark.parametrize(
    ("scope", "without", "with_ptrace"),
    [(0, Verdict.OPEN, Verdict.OPEN), (1, Verdict.CLOSED, Verdict.OPEN), (2, Verdict.CLOSED, Verdict.OPEN),
     (3, Verdict.CLOSED, Verdict.CLOSED)],
)  # fmt: skip
def test_yama(scope: int, without: Verdict, with_ptrace: Verdict) -> None:
    about = vary(PLAIN, {**UID_1000, "host": {"yama_ptrace_scope": scope}})
    same = Actor(uid=1000, gid=1000, capabilities=frozenset())
    holding = Actor(uid=1000, gid=1000, capabilities=frozenset({"SYS_PTRACE"}))
    assert verdict("ptrace-attach", same, about) is without
    assert verdict("ptrace-attach", holding, about) is with_ptrace
    assert verdict("ptrace-read", same, about) is Verdict.OPEN


@pytest.mark.parametrize("capability", ["PERFMON", "SYS_ADMIN"])
@pytest.mark.parametrize(
    ("release", "expected"),
    [("6.12.117+deb13-cloud-amd64", Verdict.CLOSED), ("6.15.0", Verdict.OPEN), ("6.18.44", Verdict.OPEN)],
)
def test_who_may_look_at_performance_may_read_maps_since_6_15(capability: str, release: str, expected: Verdict) -> None:
    """The links and the memory itself stay closed, and so does everything in a user namespace of the engine's."""
    about = vary(PLAIN, {"engine": {"kernel": release}, "process": {**UID_1000["process"], "dumpable": False}})
    who = Actor(uid=1001, gid=1001, capabilities=frozenset({capability}))
    assert verdict("proc-maps-read", who, about) is expected
    assert verdict("ptrace-read", who, about) is Verdict.CLOSED
    assert verdict("ptrace-attach", who, about) is Verdict.CLOSED
    assert verdict("proc-maps-read", who, vary(about, {"engine": {"rootless": True}})) is Verdict.CLOSED


def test_maps_are_read_past_a_security_module_since_6_15() -> None:
    about = vary(PLAIN, {"engine": {"kernel": "6.18.0", "apparmor": True}, "container": {"apparmor": "unconfined"}})
    who = Actor(uid=0, gid=0, capabilities=frozenset({"SYS_PTRACE"}), label="docker-default")
    assert verdict("proc-maps-read", who, about) is Verdict.CLOSED
    more = dataclasses.replace(who, capabilities=frozenset({"SYS_PTRACE", "PERFMON"}))
    assert verdict("proc-maps-read", more, about) is Verdict.OPEN


@pytest.mark.parametrize(
    ("level", "capabilities", "user", "kernel_side", "system"),
    [
        (2, set(), Verdict.OPEN, Verdict.CLOSED, Verdict.CLOSED),
        (1, set(), Verdict.OPEN, Verdict.OPEN, Verdict.CLOSED),
        (-1, set(), Verdict.OPEN, Verdict.OPEN, Verdict.OPEN),
        (2, {"PERFMON"}, Verdict.OPEN, Verdict.OPEN, Verdict.OPEN),
        (3, {"PERFMON"}, Verdict.CLOSED, Verdict.CLOSED, Verdict.CLOSED),
        (4, {"SYS_ADMIN"}, Verdict.OPEN, Verdict.OPEN, Verdict.OPEN),
    ],
)
def test_perf(level: int, capabilities: set[str], user: Verdict, kernel_side: Verdict, system: Verdict) -> None:
    about = vary(PLAIN, {**UID_1000, "host": {"perf_event_paranoid": level}})
    who = Actor(uid=1000, gid=1000, capabilities=frozenset(capabilities))
    found = [verdict(gate, who, about) for gate in ("perf-user", "perf-kernel", "perf-system")]
    assert found == [user, kernel_side, system]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("docker-default", "docker-default", Verdict.OPEN),
        ("docker-default", "unconfined", Verdict.CLOSED),
        ("unconfined", "docker-default", Verdict.OPEN),
        ("unconfined", "unconfined", Verdict.OPEN),
        ("custom", "docker-default", Verdict.UNKNOWN),
        ("custom", "custom", Verdict.UNKNOWN),  # it may not have a rule for itself (measured)
        ("unconfined", "custom", Verdict.OPEN),
        ("containers-default-0.62.2", "containers-default-0.62.2", Verdict.OPEN),
        ("docker-default", "containers-default-0.62.2", Verdict.CLOSED),
    ],
)
def test_apparmor(ours: str, theirs: str, expected: Verdict) -> None:
    about = vary(PLAIN, {"engine": {"apparmor": True}, "container": {"apparmor": theirs}})
    who = Actor(uid=0, gid=0, capabilities=frozenset({"SYS_PTRACE"}), label=ours)
    assert verdict("ptrace-attach", who, about) is expected


@pytest.mark.parametrize(
    ("ours", "expected"),
    [("own", Verdict.UNKNOWN), ("container", Verdict.CLOSED), ("unconfined", Verdict.OPEN), (None, Verdict.OPEN)],
)
def test_selinux(ours: str | None, expected: Verdict) -> None:
    who = Actor(uid=0, gid=0, capabilities=frozenset({"SYS_PTRACE"}), selinux=ours)
    assert verdict("ptrace-attach", who, PLAIN) is expected


@pytest.mark.parametrize(
    ("capabilities", "engine", "expected"),
    [
        (set(), {}, Verdict.CLOSED),
        ({"BPF"}, {}, Verdict.CLOSED),
        ({"PERFMON"}, {}, Verdict.CLOSED),
        ({"BPF", "PERFMON"}, {}, Verdict.OPEN),
        ({"SYS_ADMIN"}, {}, Verdict.OPEN),
        ({"BPF", "PERFMON"}, {"kernel": "5.4.0-200"}, Verdict.CLOSED),
        ({"SYS_ADMIN"}, {"kernel": "5.4.0-200"}, Verdict.OPEN),
        ({"SYS_ADMIN"}, {"rootless": True}, Verdict.CLOSED),
    ],
)
def test_bpf(capabilities: set[str], engine: dict[str, object], expected: Verdict) -> None:
    who = Actor(uid=0, gid=0, capabilities=frozenset(capabilities))
    assert verdict("bpf", who, vary(PLAIN, {"engine": engine})) is expected


@pytest.mark.parametrize(
    ("uid", "capabilities", "expected"),
    [
        (1000, set(), Verdict.OPEN),
        (0, set(), Verdict.CLOSED),
        (0, {"SETUID"}, Verdict.CLOSED),
        (0, {"SETUID", "SETGID"}, Verdict.OPEN),
    ],
)
def test_a_jvm_answers_its_own_uid_only(uid: int, capabilities: set[str], expected: Verdict) -> None:
    who = Actor(uid=uid, gid=uid, capabilities=frozenset(capabilities))
    assert verdict("same-uid", who, vary(PLAIN, UID_1000)) is expected


def test_no_grant_mounts_tracefs() -> None:
    everything = Actor(uid=0, gid=0, capabilities=frozenset(), privileged=True)
    assert verdict("tracefs", everything, PLAIN) is Verdict.CLOSED


def test_access_is_asked_by_the_real_uid_with_no_capability_unless_that_is_root() -> None:
    """access(2): measured with ltrace, whose user had SYS_PTRACE as an ambient capability."""
    process = dataclasses.replace(PLAIN.process, dumpable=False, uids=(1000,) * 4, gids=(1000,) * 4, permitted=())
    target = dataclasses.replace(PLAIN, process=process)
    user = Actor(uid=1000, gid=1000, capabilities=frozenset({"SYS_PTRACE"}))
    root = dataclasses.replace(user, uid=0, gid=0)
    said = [combine(kernel.ask("ptrace-access", actor, target, need="x")) for actor in (user, root)]
    assert said == [Verdict.CLOSED, Verdict.OPEN]


def test_a_hidden_gdb_writes_memory_by_ptrace_and_lacks_the_auxiliary_vector() -> None:
    """SYS_PTRACE by file, the target not dumpable: measured: gdb 16 takes the program for its loader."""
    about = vary(PLAIN, {"process": {**UID_1000["process"], "dumpable": False}})
    plain = Actor(uid=1000, gid=1000, capabilities=frozenset({"SYS_PTRACE"}))
    hidden = dataclasses.replace(plain, hidden=True)
    assert [verdict("memory-write", who, about) for who in (plain, hidden)] == [Verdict.CLOSED, Verdict.OPEN]
    assert verdict("proc-auxv-read", hidden, about) is Verdict.CLOSED
    root = Actor(uid=0, gid=0, capabilities=frozenset({"SYS_PTRACE"}))
    assert verdict("proc-auxv-read", root, about) is Verdict.OPEN
    assert verdict("memory-write", root, vary(about, {"process": {"dumpable": True}})) is Verdict.CLOSED


@pytest.mark.parametrize(
    ("release", "override", "hidden", "expected"),
    [
        ("6.1.0", None, False, Verdict.OPEN),
        ("6.12.0", None, False, Verdict.UNKNOWN),
        ("6.12.0", "always", False, Verdict.OPEN),
        ("6.12.0", "ptrace", False, Verdict.OPEN),
        ("6.12.0", "never", False, Verdict.CLOSED),
        ("6.12.0", "never", True, Verdict.OPEN),
        ("6.12.0", None, True, Verdict.OPEN),
    ],
)
def test_read_only_pages_by_proc_mem_since_6_12(
    release: str, override: str | None, *, hidden: bool, expected: Verdict
) -> None:
    about = vary(PLAIN, {"engine": {"kernel": release}, "host": {"proc_mem_override": override or "null"}})
    who = Actor(uid=1000, gid=1000, capabilities=frozenset(), hidden=hidden)
    assert verdict("text-write", who, about) is expected


@pytest.mark.parametrize(
    ("release", "level", "expected"),
    [
        ("6.12.0", "none", Verdict.OPEN),
        ("6.12.0", "integrity", Verdict.OPEN),
        ("6.12.0", "confidentiality", Verdict.CLOSED),
        ("6.12.0", None, Verdict.UNKNOWN),
        ("5.3.0", None, Verdict.CLOSED),  # has no BPF to give, and no lockdown either
    ],
)
def test_lockdown_closes_what_reads_the_kernel(release: str, level: str | None, expected: Verdict) -> None:
    about = vary(PLAIN, {"engine": {"kernel": release}, "host": {"lockdown": level or "null", "tracefs": True}})
    who = Actor(uid=0, gid=0, capabilities=frozenset({"BPF", "PERFMON"}), mounts=("/sys/kernel/tracing",))
    assert verdict("bpf", who, about) is expected
    assert verdict("tracefs", who, about) is (Verdict.OPEN if release == "5.3.0" else expected)
    for gate in ("ptrace-attach", "perf-user", "perf-kernel", "proc-mem-write"):
        unlocked = vary(about, {"host": {"lockdown": "none"}})
        assert verdict(gate, who, about) is verdict(gate, who, unlocked)


@pytest.mark.parametrize(("built", "expected"), [(True, []), (False, ["closed"]), (None, ["unknown"])])
def test_a_kernel_may_lack_the_calls_that_read_memory_across_processes(
    built: bool | None,  # noqa: FBT001 - a parameter of the test
    expected: list[str],
) -> None:
    about = vary(PLAIN, {"host": {"cross_memory_attach": "null" if built is None else built}})
    for name in ("process_vm_readv", "process_vm_writev"):
        assert [gate.verdict.value for gate in kernel.call(name, about, need="syscall")] == expected
    assert kernel.call("ptrace", about, need="ptrace-attach") == ()


@pytest.mark.parametrize(
    ("whose", "driver", "capabilities", "expected"),
    [
        (None, None, {"SYS_ADMIN"}, Verdict.UNKNOWN),
        ("everybody", None, set(), Verdict.OPEN),
        ("admin", "550.54.14", set(), Verdict.CLOSED),
        ("admin", "550.54.14", {"PERFMON"}, Verdict.CLOSED),
        ("admin", "565.57.01", {"PERFMON"}, Verdict.OPEN),
        ("admin", None, {"PERFMON"}, Verdict.UNKNOWN),
        ("admin", None, {"SYS_ADMIN"}, Verdict.OPEN),
    ],
)
def test_the_counters_of_a_gpu(
    whose: str | None, driver: str | None, capabilities: set[str], expected: Verdict
) -> None:
    about = vary(PLAIN, {"host": {"gpu_counters": whose or "null", "gpu_driver": driver or "null"}})
    who = Actor(uid=0, gid=0, capabilities=frozenset(capabilities))
    assert verdict("gpu-counters", who, about) is expected
    if whose == "admin" and capabilities:
        assert verdict("gpu-counters", who, vary(about, {"engine": {"rootless": True}})) is Verdict.CLOSED


@given(ids, ids, capability_sets, st.booleans())
def test_who_is_the_same_and_holds_exactly_the_permitted_set_attaches(
    uid: int,
    gid: int,
    permitted: frozenset[str],
    less: bool,  # noqa: FBT001 - drawn
) -> None:
    """Whatever that set is, and however little of it is effective in the target: cap_ptrace_access_check()."""
    effective = sorted(permitted)[: len(permitted) // 2] if less else sorted(permitted)
    ids_of = {"uids": [uid] * 4, "gids": [gid] * 4}
    about = vary(PLAIN, {"process": {**ids_of, "permitted": sorted(permitted), "effective": effective}})
    same = Actor(uid=uid, gid=gid, capabilities=permitted)
    assert verdict("ptrace-attach", same, about) is Verdict.OPEN
    for name in permitted - {"SYS_PTRACE"}:
        fewer = dataclasses.replace(same, capabilities=permitted - {name})
        opened = "SYS_PTRACE" in fewer.capabilities
        assert verdict("ptrace-attach", fewer, about) is (Verdict.OPEN if opened else Verdict.CLOSED)
