"""Every system call number, under every capability set and profile that matters: our word, and what the kernel does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import docker
import pytest

from debugrun.core.decide import judge
from debugrun.core.rules.seccomp import (
    ArgMatch,
    Profile,
    SyscallNeed,
    evaluate,
    parse_profile,
)
from debugrun.core.rules.seccomp.calls import calls
from debugrun.toolbox import catalog
from tests import TESTS
from tests.seccomp import lab as labs
from tests.seccomp import probe, specs
from tests.seccomp.lab import Lab

pytestmark = pytest.mark.live

PERF = SyscallNeed("perf_event_open")
NO_RANDOMIZE = SyscallNeed("personality", (ArgMatch(0, "SCMP_CMP_EQ", 0x40000),))
CAP_SETS = ("none", "default", "SYS_PTRACE", "SYS_ADMIN", "SYSLOG", "SYS_NICE", "PERFMON", "BPF")
HERE = "the engine in reach"
BESIDE = ("docker-28.5", "podman-5.8")
OTHERS = ("docker-26.1", "podman-4.3", "podman-5.4", "podman-5.8-runc")
OPERATORS_OWN = (TESTS / "seccomp" / "operator.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def prober(engine: docker.APIClient) -> bytes:
    return probe.binary(engine)


@pytest.fixture(
    scope="module",
    params=[HERE, *BESIDE, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)],
)
def lab(engine: docker.APIClient, prober: bytes, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with ExitStack() as stack:
        client = engine if request.param == HERE else labs.beside(request.param, stack)
        yield labs.set_up(client, prober, stack)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Say how much was compared, whatever pytest captures."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text} ", end="")

    return say


@pytest.mark.parametrize("cap_set", CAP_SETS)
def test_the_default_profile_does_what_we_say(lab: Lab, cap_set: str, tell: Callable[[str], None]) -> None:
    """With SIGSYS in place of the default refusal, and each rule's own errno: a refusal of the kernel is none of it."""
    count, wrong = lab.wrong(probe.with_traps(lab.default), cap_set)
    tell(f"{lab.name}, {cap_set}: {count} verdicts held against the kernel, {len(wrong)} wrong")
    assert not wrong


@pytest.mark.parametrize("cap_set", ["none", "default"])
def test_an_operators_own_profile_does_what_we_say(lab: Lab, cap_set: str, tell: Callable[[str], None]) -> None:
    """Every comparison, on every argument that the prober sets, in a profile that nobody resolved."""
    own = parse_profile(OPERATORS_OWN)
    count, wrong = lab.wrong(own, cap_set)
    widened = lab.widened(own, [PERF, NO_RANDOMIZE, SyscallNeed("process_vm_readv")], lab.caps(cap_set))
    more, wrong_then = lab.wrong(widened, cap_set)
    tell(f"{lab.name}, {cap_set}: {count + more} verdicts held against the kernel, {len(wrong + wrong_then)} wrong")
    assert not wrong + wrong_then


def test_the_engines_own_profile_is_the_one_that_we_carry(lab: Lab) -> None:
    """Without a profile of ours: each refusal has the errno that we predict, the rest passes as without a filter."""
    for case, result in lab.seen("none", None).items():
        predicted = probe.predict(lab.default, case, frozenset(), lab.kernel, lab.runtime)
        assert predicted.certain
        if predicted.action == "errno":
            assert result == str(-(predicted.errno or 0)), (case, predicted)
        elif lab.unconfined[case].startswith("-"):
            assert result == lab.unconfined[case], (case, predicted)


def test_the_engine_writes_the_rules_that_we_carry(lab: Lab, tell: Callable[[str], None]) -> None:
    """The runtime spec of a started container, once for each capability that a rule names."""
    found = dict(specs.specs(lab.client, lab.image))
    name, version, kernel = specs.identify(lab.client)
    wrong = {cap: specs.differences(name, version, kernel, cap, real) for cap, real in found.items()}
    rules = sum(len(specs.described(real.rules)) for real in found.values())
    tell(f"{lab.name}: {rules} rules of {len(found)} runtime specs compared")
    assert not any(wrong.values()), wrong
    assert {"", "SYS_PTRACE", "SYS_ADMIN"} <= set(found)


def test_a_widened_profile_opens_what_is_needed_and_nothing_else(lab: Lab) -> None:
    """The operator kills what the default refuses; only the needed calls of it get through."""
    needs = [PERF, NO_RANDOMIZE, SyscallNeed("kcmp"), SyscallNeed("clone3")]
    base = probe.with_traps(lab.default)
    widened = lab.widened(base, needs, frozenset())
    before, after = (lab.seen("none", profile) for profile in (base, widened))
    wrong = probe.disagreements(
        widened, after, lab.unconfined, caps=frozenset(), kernel=lab.kernel, runtime=lab.runtime
    )
    assert not wrong
    changed = {(case.abi, case.number, case.args[0]) for case in before if kind(before[case]) != kind(after[case])}
    changed = {each for each in changed if each[0] != "x32"}  # few kernels run it
    open_before = {need.call for need in needs if not need.args and _passes(lab, base, need.call)}
    opened = {
        (arch, calls()[call].numbers[arch], probe.UINT64_MAX)
        for arch, call in itertools.product(("x86_64", "x86"), {"perf_event_open", "kcmp", "clone3"} - open_before)
    }
    assert changed == {*opened, ("x86_64", 135, 0x40000), ("x86", 136, 0x40000)}


def _passes(lab: Lab, profile: Profile, call: str) -> bool:
    return evaluate(profile, call, caps=frozenset(), kernel=lab.kernel, runtime=lab.runtime).passes


def kind(result: str) -> str:
    """Refused by the filter or not, and ENOSYS: addresses and process numbers differ from run to run."""
    return result if result in {"trap", "-38"} or int_of(result) <= -probe.MARK else "passed"


def int_of(result: str) -> int:
    return int(result) if result.lstrip("-").isdigit() and int(result) > -4096 else 0


def tool_needs() -> dict[tuple[SyscallNeed, ...], str]:
    """The calls of every shipped tool's modes that a default profile may block, and who needs them."""
    found: dict[tuple[SyscallNeed, ...], list[str]] = {}
    for tool in (catalog.load(name) for name in catalog.names()):
        for mode in tool.modes:
            asked = tuple(sorted({call for need in mode.needs for call in need.calls}))
            found.setdefault(tuple(map(judge.parse_call, asked)), []).append(f"{tool.name} {mode.name}")
    return {needs: ", ".join(names) for needs, names in found.items() if needs}


@pytest.mark.slow
@pytest.mark.parametrize("lab", [HERE, *BESIDE], indirect=True)
@pytest.mark.parametrize("cap_set", CAP_SETS)
def test_the_profile_of_every_tool_does_what_we_say(lab: Lab, cap_set: str, tell: Callable[[str], None]) -> None:
    """Default and operator's own, widened for each tool; the profiles that stay as they are were held above."""
    count, wrong = 0, []
    done: set[Profile] = {probe.with_traps(lab.default)}
    for base, (needs, who) in itertools.product(
        (probe.with_traps(lab.default), parse_profile(OPERATORS_OWN)), tool_needs().items()
    ):
        widened = lab.widened(base, needs, lab.caps(cap_set))
        if widened not in done:
            done.add(widened)
            more, found = lab.wrong(widened, cap_set)
            count += more
            wrong += [f"for {who}: {each}" for each in found]
    tell(
        f"{lab.name}, {cap_set}: {len(done) - 1} profiles, {count} verdicts held against the kernel, {len(wrong)} wrong"
    )
    assert not wrong


@pytest.mark.parametrize("cap_set", ["none", "SYS_ADMIN"])
def test_unconfined_refuses_nothing(lab: Lab, cap_set: str) -> None:
    seen = lab.seen(cap_set, "unconfined")
    assert not [case for case, result in seen.items() if result == "trap" or int_of(result) <= -probe.MARK]
    assert not [case for case, result in seen.items() if result == "-38" and lab.unconfined[case] != "-38"]
