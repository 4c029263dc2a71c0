"""Every system call number, under every capability set and profile that matters: our word, and what the kernel does."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from debugrun import catalog, judge, tools
from debugrun.inspection import DOCKER_DEFAULT, PODMAN_DEFAULT
from debugrun.seccomp import (
    ArgMatch,
    Profile,
    Runtime,
    SyscallNeed,
    default_profile,
    dump_profile,
    evaluate,
    parse_profile,
    runtime_of,
    widen,
)
from debugrun.seccomp.calls import calls
from tests.host import engines
from tests.host.state import HostError
from tests.seccomp import probe, specs

pytestmark = pytest.mark.live

PERF = SyscallNeed("perf_event_open")
NO_RANDOMIZE = SyscallNeed("personality", (ArgMatch(0, "SCMP_CMP_EQ", 0x40000),))
SPECS = (*probe.EVERY_CALL, *probe.ARGUMENTS)
CAP_SETS = ("none", "default", "SYS_PTRACE", "SYS_ADMIN", "SYSLOG", "SYS_NICE", "PERFMON", "BPF")
BESIDE = ("docker-28.5", "podman-5.8")
OTHERS = ("docker-26.1", "podman-4.3", "podman-5.4", "podman-5.8-runc")
OPERATORS_OWN = (Path(__file__).parents[1] / "seccomp" / "operator.json").read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lab:
    """An engine, with what it does to a profile and what its kernel does without one.

    `put` gives a profile the form in which the engine takes it: the text, or a file's path.
    """

    client: docker.APIClient
    name: str
    image: str
    default: Profile
    default_caps: frozenset[str]
    kernel: tuple[int, int]
    runtime: Runtime
    unconfined: dict[probe.Case, str]
    put: Callable[[Profile], str]

    def widened(self, base: Profile, needs: Iterable[SyscallNeed], caps: frozenset[str]) -> Profile:
        """The profile that debugrun makes of `base`."""
        return widen(base, needs, caps=caps, arch="x86_64", kernel=self.kernel, runtime=self.runtime)

    def caps(self, cap_set: str) -> frozenset[str]:
        """The bounding set of a container with one of CAP_SETS."""
        return frozenset() if cap_set == "none" else self.default_caps | ({cap_set} - {"default"})

    def seen(self, cap_set: str, profile: Profile | str | None) -> dict[probe.Case, str]:
        """What became of every call; skips where the engine does not know the capability."""
        added = [] if cap_set in {"none", "default"} else [cap_set]
        given = self.put(profile) if isinstance(profile, Profile) else profile
        try:
            return probe.observe(self.client, self.image, SPECS, cap_add=added, drop=cap_set == "none", seccomp=given)
        except docker.errors.APIError as error:
            if "unknown capability" not in str(error):
                raise
            pytest.skip(f"this engine does not know {cap_set}: Docker 23.0 does")

    def wrong(self, profile: Profile, cap_set: str) -> tuple[int, list[str]]:
        """How many verdicts were held against the kernel under a profile, and those that were wrong."""
        seen = self.seen(cap_set, profile)
        return len(seen), probe.disagreements(
            profile, seen, self.unconfined, caps=self.caps(cap_set), kernel=self.kernel, runtime=self.runtime
        )


@pytest.fixture(scope="module")
def prober(engine: docker.APIClient) -> bytes:
    return probe.binary(engine)


@pytest.fixture(
    scope="module",
    params=["the engine in reach", *BESIDE, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)],
)
def lab(engine: docker.APIClient, prober: bytes, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with ExitStack() as stack:
        if request.param == "the engine in reach":
            client = engine
        else:
            try:
                host = engines.up(request.param)
            except HostError as error:
                if os.environ.get("CI") == "true":
                    pytest.fail(str(error), pytrace=False)
                pytest.skip(str(error))
            client = stack.enter_context(closing(docker.APIClient(base_url=host, version="auto", timeout=120)))
        yield set_up(client, prober, stack)


def set_up(client: docker.APIClient, prober: bytes, stack: ExitStack) -> Lab:
    name, version, kernel = specs.identify(client)
    default = default_profile(name, version)
    if default is None:
        pytest.skip(f"no profile is known for {name} {version}: derive one (tests/seccomp/derive.py)")
    image = probe.image(client, prober)
    stack.callback(client.remove_image, image, force=True)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="debugrun-")))
    numbers = itertools.count()

    def put(profile: Profile) -> str:
        text = dump_profile(profile)
        if name == "docker":
            return text
        path = folder / f"{next(numbers)}.json"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return Lab(
        client=client,
        name=f"{name} {'.'.join(map(str, version))}",
        image=image,
        default=default,
        default_caps=PODMAN_DEFAULT if name == "podman" else DOCKER_DEFAULT,
        kernel=kernel,
        runtime=runtime_of(name, version, client.info()["DefaultRuntime"]),
        unconfined=probe.observe(client, image, SPECS, cap_add=(), drop=True, seccomp="unconfined"),
        put=put,
    )


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
    for tool in (tools.load(name) for name in catalog.names()):
        for mode in tool.modes:
            asked = tuple(sorted({call for need in mode.needs for call in need.calls}))
            found.setdefault(tuple(map(judge.parse_call, asked)), []).append(f"{tool.name} {mode.name}")
    return {needs: ", ".join(names) for needs, names in found.items() if needs}


@pytest.mark.slow
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


def run(lab: Lab, image: str, command: list[str], needs: Iterable[SyscallNeed]) -> tuple[int, str]:
    """Status and output of a command in a container with no capability and the default profile widened by needs."""
    profile = lab.widened(lab.default, needs, frozenset())
    config = lab.client.create_host_config(
        cap_drop=["ALL"], security_opt=[f"seccomp={lab.put(profile)}"], network_mode="none"
    )
    made = lab.client.create_container(image, command, host_config=config)["Id"]
    try:
        lab.client.start(made)
        return lab.client.wait(made, timeout=60)["StatusCode"], lab.client.logs(made).decode()
    finally:
        lab.client.remove_container(made, force=True)
