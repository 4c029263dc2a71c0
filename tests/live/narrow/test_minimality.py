"""Every seccomp grant is minimal: with it a tool has its function, and without any one rule it loses just that."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import docker
import pytest

from debugrun.core.decide import judge
from debugrun.core.decide.launch import ASLR_OFF
from debugrun.core.know.inspection import engine_facts
from debugrun.core.know.tool_file import Tool
from debugrun.core.rules.seccomp import Profile, SyscallNeed, dump_profile, evaluate, widen
from debugrun.toolbox import catalog

pytestmark = pytest.mark.live

# Each function of a tool that a call is there for, as a test in shell: run as nobody, without any capability.
TRIALS = {
    "personality(0x40000)": """
        sp() { gdb -nx -batch -ex "set disable-randomization on" -ex starti -ex "p/x \\$sp" -ex kill /bin/busybox; }
        first=$(sp 2>&1 | grep "^.1 = 0x") && [ "$first" = "$(sp 2>&1 | grep "^.1 = 0x")" ]""",
    "perf_event_open": """
        perf stat -e task-clock:u -- /bin/sh -c : && perf record -q -o /tmp/data -e cpu-clock:u -- /bin/sh -c :""",
    "process_vm_readv": """
        strace -o /tmp/outer -e trace=process_vm_readv strace -o /tmp/inner -e trace=execve /bin/sh -c : &&
        grep -q "/bin/sh" /tmp/inner && grep -q "= [1-9]" /tmp/outer""",
    "unshare(0x10000000)": """
        [ "$(/bin/busybox unshare -U -r /bin/busybox id -u)" = 0 ]""",
}
# What the toolbox holds no tool for, or this machine no hardware.
ELSEWHERE = {
    "bpf": "bpftrace, which needs BPF and PERFMON as well",
    "personality(0x240000)": "rr, which needs a processor's counters",
    "process_vm_writev": "rr, which needs a processor's counters",
}


def blockable() -> Iterator[tuple[Tool, str]]:
    """Every call that a shipped tool needs."""
    for tool in (catalog.load(name) for name in catalog.names()):
        modes = (*tool.modes, *(launch.mode for launch in tool.launches))
        for call in {call for mode in modes for need in mode.needs for call in need.calls}:
            yield tool, call
        if tool.launches:
            yield from ((tool, call) for call in ASLR_OFF.calls)


@pytest.fixture(scope="module")
def default(engine: docker.APIClient) -> Profile:
    facts = engine_facts(engine.version(), engine.info())
    _, profile = judge.engine_profile(facts)
    if profile is None:
        pytest.skip(f"the default profile of {facts.name} {facts.version} is not known")
    return profile


def kernel(engine: docker.APIClient) -> tuple[int, int]:
    major, minor = map(int, engine.version()["KernelVersion"].split(".")[:2])
    return major, minor


def needs(engine: docker.APIClient, profile: Profile) -> dict[str, SyscallNeed]:
    """The calls of TRIALS that the profile blocks for a container without capabilities."""
    wanted = {call: judge.parse_call(call) for call in TRIALS}
    return {call: need for call, need in wanted.items() if not passes(engine, profile, need)}


def passes(engine: docker.APIClient, profile: Profile, need: SyscallNeed) -> bool:
    args = tuple(match.value for match in need.args)
    return evaluate(profile, need.call, args, caps=frozenset(), kernel=kernel(engine)).passes


def test_every_blocked_call_of_a_tool_has_a_trial(engine: docker.APIClient, default: Profile) -> None:
    blocked = {call for _, call in blockable() if not passes(engine, default, judge.parse_call(call))}
    assert blocked <= {*TRIALS, *ELSEWHERE}
    assert {"personality(0x40000)", "perf_event_open"} <= blocked


def test_each_rule_is_there_for_its_function_alone(
    engine: docker.APIClient, open_toolbox: str, default: Profile, capsys: pytest.CaptureFixture[str]
) -> None:
    found = needs(engine, default)
    everything = set(TRIALS)
    assert works(engine, open_toolbox, default, found.values()) == everything
    for call in found:
        others = [need for name, need in found.items() if name != call]
        assert works(engine, open_toolbox, default, others) == everything - {call}, call
    assert works(engine, open_toolbox, default, []) == everything - set(found)
    with capsys.disabled():
        print(f"\n{len(TRIALS) * (len(found) + 2)} trials of {len(found)} rules ", end="")


def works(engine: docker.APIClient, image: str, base: Profile, opened: Collection[SyscallNeed]) -> set[str]:
    """The trials that succeed in a container of nobody's with these calls opened."""
    profile = widen(base, opened, caps=frozenset(), arch="x86_64", kernel=kernel(engine))
    lines = [f'if (\n{text}\n) >/dev/null 2>&1; then echo "{call}"; fi' for call, text in TRIALS.items()]
    config = engine.create_host_config(
        cap_drop=["ALL"], security_opt=[f"seccomp={dump_profile(profile)}"], network_mode="none"
    )
    made = engine.create_container(image, ["/bin/sh", "-c", "\n".join(lines)], host_config=config, user="1000:1000")[
        "Id"
    ]
    try:
        engine.start(made)
        assert engine.wait(made, timeout=120)["StatusCode"] in {0, 1}
        return set(engine.logs(made, stderr=False).decode().split("\n")) & set(TRIALS)
    finally:
        engine.remove_container(made, force=True)
