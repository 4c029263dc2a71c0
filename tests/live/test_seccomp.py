"""Every system call number, under every capability set that matters: what we say, and what the kernel then does."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import docker
import pytest

from debugrun.seccomp import (
    ArgMatch,
    Profile,
    Runtime,
    SyscallNeed,
    default_profile,
    dump_profile,
    runtime_of,
    widen,
)
from tests.seccomp import probe

pytestmark = pytest.mark.live

PERF = SyscallNeed("perf_event_open")
NO_RANDOMIZE = SyscallNeed("personality", (ArgMatch(0, "SCMP_CMP_EQ", 0x40000),))
SPECS = (*probe.EVERY_CALL, *probe.ARGUMENTS)
CAP_SETS = ("none", "default", "SYS_PTRACE", "SYS_ADMIN", "SYSLOG", "SYS_NICE", "PERFMON", "BPF")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lab:
    """The engine in reach, with what it does to a profile and what its kernel does without one."""

    client: docker.APIClient
    default: Profile
    kernel: tuple[int, int]
    runtime: Runtime
    unconfined: dict[probe.Case, str]


@pytest.fixture(scope="module")
def lab(engine: docker.APIClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    version = engine.version()
    if any(part["Name"] == "Podman Engine" for part in version.get("Components") or ()):
        pytest.skip("takes profiles inline, which Podman does not: run it with DOCKER_HOST at a Docker engine")
    if not shutil.which("gcc"):
        pytest.skip("needs gcc and a static libc for the prober (apt install gcc libc6-dev)")
    release = tuple(map(int, re.findall(r"\d+", version["Version"])[:3]))
    default = default_profile("docker", release)
    if default is None:
        pytest.skip(f"no profile is known for Docker {release}: derive one (tests/seccomp/derive.py)")
    major, minor = map(int, version["KernelVersion"].split(".")[:2])
    probe.build(engine, tmp_path_factory.mktemp("prober"))
    unconfined = probe.observe(engine, SPECS, cap_add=(), drop=True, seccomp="unconfined")
    yield Lab(
        client=engine,
        default=default,
        kernel=(major, minor),
        runtime=runtime_of("docker", release),
        unconfined=unconfined,
    )
    engine.remove_image(probe.IMAGE, force=True)


def seen_with(lab: Lab, cap_set: str, seccomp: str | None) -> tuple[frozenset[str], dict[probe.Case, str]]:
    """The bounding set, and what became of every call."""
    added = [] if cap_set in {"none", "default"} else [cap_set]
    try:
        seen = probe.observe(lab.client, SPECS, cap_add=added, drop=cap_set == "none", seccomp=seccomp)
    except docker.errors.APIError as error:
        if "unknown capability" not in str(error):
            raise
        pytest.skip(f"this engine does not know {cap_set}: Docker 23.0 does")
    return frozenset() if cap_set == "none" else probe.DEFAULT_CAPS | set(added), seen


@pytest.mark.parametrize("cap_set", CAP_SETS)
def test_the_default_profile_does_what_we_say(lab: Lab, cap_set: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With SIGSYS in place of EPERM, so that a refusal of the filter cannot be taken for one of the kernel."""
    profile = probe.with_traps(lab.default)
    caps, seen = seen_with(lab, cap_set, dump_profile(profile))
    wrong = probe.disagreements(profile, seen, lab.unconfined, caps=caps, kernel=lab.kernel, runtime=lab.runtime)
    with capsys.disabled():
        print(f"\n{cap_set}: {len(seen)} verdicts held against the kernel, {len(wrong)} wrong ", end="")
    assert not wrong


def test_the_engines_own_profile_is_the_one_that_we_carry(lab: Lab) -> None:
    """Without a profile of ours: each refusal has the errno that we predict, the rest passes as without a filter."""
    caps, seen = seen_with(lab, "none", None)
    for case, result in seen.items():
        predicted = probe.predict(lab.default, case, caps, lab.kernel, lab.runtime)
        assert predicted.certain
        if predicted.action == "errno":
            assert result == str(-(predicted.errno or 0)), (case, predicted)
        elif lab.unconfined[case].startswith("-"):
            assert result == lab.unconfined[case], (case, predicted)


def test_a_widened_profile_opens_what_is_needed_and_nothing_else(lab: Lab) -> None:
    """The operator kills what the default refuses; only the needed calls of it get through."""
    needs = [PERF, NO_RANDOMIZE, SyscallNeed("kcmp"), SyscallNeed("clone3")]
    base = probe.with_traps(lab.default)
    widened = widen(base, needs, caps=frozenset(), arch="x86_64", kernel=lab.kernel)
    before, after = (seen_with(lab, "none", dump_profile(profile))[1] for profile in (base, widened))
    wrong = probe.disagreements(
        widened, after, lab.unconfined, caps=frozenset(), kernel=lab.kernel, runtime=lab.runtime
    )
    assert not wrong
    changed = {(case.abi, case.number, case.arg0) for case in before if kind(before[case]) != kind(after[case])}
    changed = {each for each in changed if each[0] != "x32"}  # few kernels run it
    everything = probe.UINT64_MAX
    opened = {"x86_64": (298, 312, 435), "x86": (336, 349, 435)}
    assert changed == {
        *((abi, number, everything) for abi, numbers in opened.items() for number in numbers),
        ("x86_64", 135, 0x40000),
        ("x86", 136, 0x40000),
    }


def kind(result: str) -> str:
    """Trapped, ENOSYS or anything else: addresses and process numbers differ from run to run."""
    return result if result in {"trap", "-38"} else "passed"


@pytest.mark.parametrize(
    ("needs", "works"), [((), False), ((NO_RANDOMIZE,), False), ((PERF,), True), ((PERF, NO_RANDOMIZE), True)]
)
def test_perf_counts_its_own_child_without_any_capability(
    lab: Lab, toolbox: str, needs: tuple[SyscallNeed, ...], *, works: bool
) -> None:
    command = ["perf", "stat", "-e", "cpu-clock", "--", "/bin/sh", "-c", ":"]
    status, output = run(lab, toolbox, command, needs)
    assert (status == 0, "cpu-clock" in output and "elapsed" in output) == (works, works), output


@pytest.mark.parametrize("needs", [(), (PERF,), (NO_RANDOMIZE,), (PERF, NO_RANDOMIZE)])
def test_gdb_turns_address_randomization_off(lab: Lab, toolbox: str, needs: tuple[SyscallNeed, ...]) -> None:
    command = ["gdb", "-nx", "-batch", "-ex", "run", "--args", "/bin/sh", "-c", ":"]
    _, output = run(lab, toolbox, command, needs)
    assert "exited normally" in output
    assert ("Error disabling address space randomization" in output) == (NO_RANDOMIZE not in needs)


def run(lab: Lab, image: str, command: list[str], needs: tuple[SyscallNeed, ...]) -> tuple[int, str]:
    """Status and output of a command in a container with no capability and the default profile widened by needs."""
    profile = widen(lab.default, needs, caps=frozenset(), arch="x86_64", kernel=lab.kernel)
    config = lab.client.create_host_config(
        cap_drop=["ALL"], security_opt=[f"seccomp={dump_profile(profile)}"], network_mode="none"
    )
    made = lab.client.create_container(image, command, host_config=config)["Id"]
    try:
        lab.client.start(made)
        return lab.client.wait(made, timeout=60)["StatusCode"], lab.client.logs(made).decode()
    finally:
        lab.client.remove_container(made, force=True)
