"""Who says no: one true cause, in the order met, decided by the facts whatever the text blames."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from debugrun.core.decide import judge_attempt, why
from debugrun.core.grants import Layer
from debugrun.core.know.gates import GATES
from debugrun.core.say import diagnosis
from debugrun.toolbox import catalog
from tests import cases

UID_1000 = {"uids": [1000] * 4, "gids": [1000] * 4, "permitted": [], "effective": []}
SHELL = {"user": "1000:1000", "tools": [["gdb", "/usr/bin/gdb"]]}
# The texts that the tools print, as they were seen.
GDB_EPERM = "ptrace: Operation not permitted."
GDB_YAMA = (
    "Could not attach to process.  If your uid matches the uid of the target\n"
    "process, check the setting of /proc/sys/kernel/yama/ptrace_scope, or try\n"
    "again as the root user.  For more details, see /etc/sysctl.d/10-ptrace.conf\n"
    "ptrace: Operation not permitted."
)
STRACE = "strace: attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted"


def diagnose(tool: str, facts: Mapping[str, object], error: str | None = None) -> why.Diagnosis:
    decision = cases.decide({"tool": tool, "facts": facts})
    typed = judge_attempt.plain(decision.tool, decision.facts, decision.mode)
    return why.diagnose(typed, decision, error)


@pytest.mark.parametrize(
    ("tool", "facts", "layers"),
    [
        ("gdb", {}, []),
        ("gdb", {"process": UID_1000}, ["ptrace"]),
        ("gdb", {"process": UID_1000, "host": {"yama_ptrace_scope": 1}}, ["ptrace", "yama"]),
        ("gdb", {"host": {"yama_ptrace_scope": 1}}, ["yama"]),
        ("gdb", {"process": {"dumpable": False}}, ["ptrace"]),
        ("gdb", {"process": {"permitted": [*cases.DOCKER_DEFAULT, "NET_ADMIN"]}}, ["ptrace"]),
        ("gdb", {"process": UID_1000, "container": SHELL}, []),
        ("strace", {"engine": {"apparmor": True}, "container": {"apparmor": "unconfined"}}, ["lsm"]),
        ("perf", {}, ["seccomp"]),
        ("perf", {"host": {"perf_event_paranoid": 3}}, ["seccomp", "perf"]),
        ("perf", {"host": {"perf_event_paranoid": 3}, "process": UID_1000}, ["seccomp", "perf", "ptrace"]),
        ("tcpdump", {}, []),
    ],
)
def test_who_stops_what_people_type_first(tool: str, facts: Mapping[str, object], layers: list[str]) -> None:
    assert list(dict.fromkeys(gate.layer.value for gate in diagnose(tool, facts).refusals)) == layers


def test_yama_is_acquitted_where_it_is_off_and_blamed_where_it_is_not() -> None:
    for error in (None, GDB_YAMA):
        innocent = diagnose("gdb", {"process": UID_1000}, error)
        assert innocent.cause is not None
        assert innocent.cause.layer is Layer.PTRACE
        assert innocent.not_it == ("not Yama: Yama off [/proc/sys/kernel/yama/ptrace_scope; Yama.rst]",)
        guilty = diagnose("gdb", {"host": {"yama_ptrace_scope": 1}}, error)
        assert guilty.cause is not None
        assert guilty.cause.layer is Layer.YAMA
        assert guilty.not_it == ()


MEMORY = "warning: opening /proc/PID/mem file for lwp 1.1 failed: Permission denied (13)"
ASLR = "warning: Error disabling address space randomization: Operation not permitted"
PERF_SECCOMP = "Error:\nNo permission to enable cpu-clock event."
PERF_PARANOID = (
    "Access to performance monitoring and observability operations is limited.\nperf_event_paranoid setting is 3:"
)
APPARMOR = {"engine": {"apparmor": True}, "container": {"apparmor": "unconfined"}}
NO_SUCH_CAP = 'docker: Error response from daemon: invalid CapAdd: unknown capability: "CAP_PERFMON".'
NO_CAPS = (
    "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: unable to apply caps: operation not permitted: unknown"
)
OLD = {"engine": {"version": "20.10.24", "capabilities": ["SYS_PTRACE", "SYS_ADMIN"]}}


@pytest.mark.parametrize(
    ("tool", "facts", "error", "cause"),
    [
        ("gdb", {"process": UID_1000}, GDB_EPERM, "ptrace: uid:gid 0:0 is not PID 1's 1000:1000"),
        ("gdb", {"process": UID_1000, "host": {"yama_ptrace_scope": 1}}, GDB_YAMA, "ptrace: uid:gid"),
        ("strace", {"process": {"dumpable": False}}, STRACE, "ptrace: PID 1 is not dumpable"),
        ("strace", {"host": {"yama_ptrace_scope": 2}}, STRACE, "yama: ptrace_scope is 2"),
        ("strace", APPARMOR, STRACE.replace("Operation not permitted", "Permission denied"), "lsm: AppArmor: docker-d"),
        ("gdb", APPARMOR, "ptrace: Permission denied.", "lsm: AppArmor: docker-default may not trace unconfined"),
        ("gdb", {}, ASLR, "seccomp: the default profile of docker 28.5.2 blocks personality(0x40000)"),
        ("gdb", {}, "error: 'A' packet returned an error: 8", "seccomp: the default profile of docker 28.5.2 blocks"),
        ("gdbserver", {"process": UID_1000}, "Cannot attach to process 1: Operation not permitted (1)", "ptrace: uid"),
        ("ltrace", {"process": UID_1000}, "Cannot attach to pid 1: Operation not permitted", "ptrace: uid"),
        ("py-spy", {"process": UID_1000}, "Error: Permission Denied", "ptrace: uid"),
        ("perf", {}, PERF_SECCOMP, "seccomp: the default profile of docker 28.5.2 blocks perf_event_open"),
        ("perf", {"host": {"perf_event_paranoid": 3}}, PERF_PARANOID, "perf: perf_event_paranoid is 3"),
        ("perf", {"engine": {"version": "20.10.24"}}, NO_SUCH_CAP, "engine: Docker 20.10.24 does not know PERFMON"),
        ("delve", {"process": UID_1000}, "could not attach to pid 1: operation not permitted", "ptrace: uid"),
        ("delve", {"process": UID_1000}, "Could not attach to pid 1: current user does not own the process", "ptrace"),
        ("lldb", {"process": UID_1000}, "error: attach failed: lost connection", "ptrace: uid"),
        ("lsof", {"process": {"dumpable": False}}, "(readlink: Permission denied)", "ptrace: PID 1 is not"),
        ("rr", {}, "errno: EPERM) Failed to initialize counter", "seccomp: the default profile"),
        ("bpftrace", {}, "ERROR: failed to load program: Operation not permitted", "seccomp: the default"),
        (
            "tcpdump",
            {"process": UID_1000, "container": {"tools": [["tcpdump", "/t"]], "user": "1000:1000"}},
            "tcpdump: any: You don't have permission to perform this capture on that device",
            "dac: needs NET_RAW",
        ),
        ("unshare", {}, "unshare: unshare failed: Operation not permitted", "seccomp: the default"),
        ("gdb", {}, 'exec failed: exec: "gdb": executable file not found in $PATH', "engine: web holds no gdb"),
        ("gdb", OLD, NO_CAPS, "engine: the daemon lacks SYS_RESOURCE, and Docker 20.10.24 asks for all"),
    ],
)
def test_a_pasted_error_is_decided_by_the_facts(tool: str, facts: Mapping[str, object], error: str, cause: str) -> None:
    found = diagnose(tool, facts, error)
    assert found.cause is not None
    assert f"{found.cause.layer.value}: {found.cause.fact}".startswith(cause)


@pytest.mark.parametrize(
    ("error", "instead"),
    [
        ("500 Server Error: Decoding seccomp profile failed: invalid character '/'", "docker run --security-opt"),
        ("Decoding seccomp profile failed: invalid character 'b' looking for", "leave seccomp=builtin"),
        ("opening seccomp profile failed: open {: no such file", "give its path"),
    ],
)
def test_what_an_engine_says_to_a_profile_has_an_answer_of_its_own(error: str, instead: str) -> None:
    assert instead in diagnosis.as_text(diagnose("gdb", {}, error))


def test_a_text_that_the_facts_contradict_is_not_believed() -> None:
    eacces = STRACE.replace("Operation not permitted", "Permission denied")
    found = diagnose("strace", {"process": {"dumpable": False}}, eacces)
    assert found.cause is None
    assert "another line was typed" in diagnosis.as_text(found)


def test_the_text_that_perf_blames_paranoid_with_is_seccomps() -> None:
    found = diagnose("perf", {}, PERF_SECCOMP)
    assert found.not_it[0].startswith("not perf_event_paranoid: perf_event_paranoid 2 allows")


def test_the_fix_is_the_plans_own_choice_as_a_line_to_paste() -> None:
    lines = diagnosis.as_text(diagnose("gdb", {"process": UID_1000})).splitlines()
    assert lines[0] == "docker run --rm -it --pid container:web IMAGE gdb -p 1"
    assert "  debugrun gdb web 1" in lines
    assert lines[-1].startswith("  docker run --rm -it --pid container:web --network none --user 1000:1000 --cap-drop")
    assert "narrowest fix" not in diagnosis.as_text(diagnose("gdb", {}))


def test_json() -> None:
    envelope = json.loads(diagnosis.as_json(diagnose("perf", {"process": UID_1000}, PERF_SECCOMP)))
    assert set(envelope) == {
        "schema", "tool", "mode", "target", "attempt", "refusals", "unknown", "not", "says", "instead", "fix",
    }  # fmt: skip
    assert envelope["attempt"]["verdict"] == "closed"
    assert envelope["refusals"][0]["layer"] == "seccomp"
    assert envelope["fix"]["grant"] == "seccomp"


def test_the_known_errors_use_the_words_of_the_rest() -> None:
    for known in why.known_errors():
        assert known.says
        assert set(known.tools) <= set(catalog.names())
        assert known.need is None or known.need.gate in GATES


def test_every_text_of_a_tool_file_is_recognised() -> None:
    for name in catalog.names():
        tool = catalog.load(name)
        for failure in tool.failures:
            assert why.recognise(failure.text, tool) is not None


EXAMPLES = [(known, example) for known in why.known_errors() for example in known.examples]


@pytest.mark.parametrize(("known", "example"), EXAMPLES, ids=[example[:40] for _, example in EXAMPLES])
def test_a_real_text_is_known_by_its_own_entry(known: why.Known, example: str) -> None:
    tool = catalog.load(known.tools[0]) if known.tools else None
    assert why.recognise(example, tool) is known
    assert known.layers
    assert known.instead or known.need or known.caps or known.tools


def test_enough_real_texts_are_known() -> None:
    assert len(EXAMPLES) >= 60


@pytest.mark.parametrize(
    ("error", "call"),
    [
        ("mseal: Operation not permitted", "mseal"),
        ("quotactl() failed: Function not implemented", "quotactl"),
        ("myprogram: open_tree failed with EPERM", "open_tree"),
        ("perf_event_open is fine\nbut acct: Operation not permitted", "acct"),
    ],
)
def test_a_calls_name_is_read_out_of_a_text_that_nobody_knows(error: str, call: str) -> None:
    known = why.recognise(error, None)
    assert known is not None
    assert known.need is not None
    assert known.need.calls == (call,)


@pytest.mark.parametrize("error", ["cannot open file: Operation not permitted", "read: EPERM"])
def test_a_word_of_english_is_no_call(error: str) -> None:
    known = why.recognise(error, None)
    assert known is not None
    assert known.rest


SAID = tomllib.loads(Path(__file__).with_name("texts.toml").read_text())["said"]


@pytest.mark.parametrize("said", SAID, ids=[f"{each['source']} {each['text'][:20]}" for each in SAID])
def test_what_people_pasted_is_known_for_what_it_is(said: Mapping[str, str]) -> None:
    known = why.recognise(said["text"], None)
    if not said["about"]:
        assert known is None or known.rest
        return
    assert known is not None
    assert not known.rest
    need = (known.need.gate, *known.need.calls) if known.need else ()
    caps = (*known.caps, *known.else_caps)
    assert said["about"] in {*need, *known.own_calls, *caps, *(layer.value for layer in known.layers)}, known


def test_there_are_sixty_real_texts() -> None:
    assert len({each["text"] for each in SAID}) >= 60
    assert all("#" in each["source"] for each in SAID)
