"""Profiles that nobody thought of, on real engines with the libseccomp that is theirs: our word, and the kernel's.

Each run draws new ones; its seed is printed, and DEBUGRUN_TEST_SEED repeats it.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import docker
import pytest

from debugrun.core.rules.seccomp import ArgMatch, Outcome, Profile, Rule, refusal
from debugrun.core.rules.seccomp.calls import calls
from debugrun.core.rules.seccomp.evaluate import EQUALITIES
from tests.seccomp import lab as labs
from tests.seccomp import probe
from tests.seccomp.lab import Lab
from tests.seccomp.readings import observed, predicted

pytestmark = [pytest.mark.live, pytest.mark.slow]

ENGINES = ("the engine in reach", "docker-28.5", "podman-5.8")
PROFILES = 48  # of each engine; each is asked about all CALLS, on both ABIs, with DRAWS lists of arguments
DRAWS = 3
ABIS = ("x86_64", "x86")
#: Calls that harm nobody whatever their arguments are, made by a process without capabilities.
CALLS = (
    *("personality", "getpriority", "kcmp", "perf_event_open", "process_vm_readv", "userfaultfd", "io_uring_setup"),
    *("bpf", "sched_getaffinity", "cachestat", "statmount", "mseal"),
)
EDGES = (0, 1, 2, 3, 8, 0x20000, 0x40000, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1)
ACTIONS = ("ALLOW", "ERRNO", "LOG", "KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP", "TRACE")
ARCH_MAP = (("SCMP_ARCH_X86_64", ("SCMP_ARCH_X86", "SCMP_ARCH_X32")),)


@pytest.fixture(scope="module")
def prober(engine: docker.APIClient) -> bytes:
    return probe.binary(engine)


@pytest.fixture(params=ENGINES)
def lab(engine: docker.APIClient, prober: bytes, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with ExitStack() as stack:
        client = engine if request.param == ENGINES[0] else labs.beside(request.param, stack)
        yield labs.set_up(client, prober, stack)


class Drawn:
    """Random profiles: conditions come back in other rules, so that rules meet."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a test's
        self.conditions: list[tuple[ArgMatch, ...]] = [()]

    def match(self) -> ArgMatch:
        index = self.random.randrange(3)
        operator = self.random.choice(("NE", "LT", "LE", "EQ", "EQ", "GE", "GT", "MASKED_EQ", "MASKED_EQ", "MASKED_EQ"))
        if operator == "MASKED_EQ":
            mask = self.random.choice((0, 0, 1, 0xFF, 2**32 - 1, 2**32, 2**64 - 1, 2**64 - 2**32))
            return ArgMatch(index, "SCMP_CMP_MASKED_EQ", mask, self.random.choice(EDGES[:4]))
        return ArgMatch(index, f"SCMP_CMP_{operator}", self.random.choice(EDGES))

    def rule(self) -> Rule:
        if self.random.random() < 0.5:
            self.conditions.append(tuple(self.match() for _ in range(self.random.choice((0, 1, 1, 2, 2, 3)))))
        action = self.random.choice(ACTIONS)
        errno = self.random.choice((None, 1, 2)) if action == "ERRNO" else None
        return Rule(
            names=tuple(self.random.sample(CALLS, self.random.randint(1, 4))),
            action=f"SCMP_ACT_{action}",
            errno=None if errno is None else probe.MARK + errno,
            args=self.random.choice(self.conditions[-4:]),
        )

    def profile(self) -> Profile:
        """One that decides about CALLS only: the prober itself must live."""
        others = tuple(sorted(calls().keys() - set(CALLS)))
        rules = tuple(self.rule() for _ in range(self.random.randint(2, 10)))
        action = self.random.choice(ACTIONS)
        errno = self.random.choice((None, probe.MARK + 3)) if action == "ERRNO" else None
        return Profile(
            default_action=f"SCMP_ACT_{action}",
            default_errno=errno,
            arch_map=ARCH_MAP,
            rules=(Rule(names=others, action="SCMP_ACT_ALLOW"), *rules),
        )

    def specs(self) -> list[str]:
        """Calls as the prober takes them."""
        words = []
        for call, abi in product(CALLS, ABIS):
            for _ in range(DRAWS):
                args = ",".join(f"{self.random.choice(EDGES):x}" for _ in range(3))
                words.append(f"{abi}:{calls()[call].numbers[abi]}:{args}")
        return list(dict.fromkeys(words))


def agrees(predicted: Outcome, seen: str, unfiltered: str) -> bool:
    """Whether it became what was predicted; no kernel returns the errors that rules here return."""
    match predicted.action:
        case "kill":
            return seen == "died:31"
        case "trap":
            return seen == "trap"
        case "errno":
            return seen == str(-(predicted.errno or 0))
        case "trace":
            return seen == "-38"  # nobody traces it
        case _:
            number = int(seen) if seen.lstrip("-").isdigit() else 0
            marked = -probe.MARK - 10 < number <= -probe.MARK
            return not marked and seen not in {"trap", "died:31"} and (seen != "-38" or unfiltered == "-38")


def held(lab: Lab, drawn: Drawn, unfiltered: Mapping[tuple[str, int], str], counted: Counter[str]) -> Iterator[str]:
    """What is wrong about one profile, in words."""
    profile = drawn.profile()
    specs = drawn.specs()
    refused = refusal(profile, caps=frozenset(), kernel=lab.kernel, runtime=lab.runtime)
    try:
        seen = probe.observe(lab.client, lab.image, specs, cap_add=(), drop=True, seccomp=lab.put(profile))
    except docker.errors.APIError as error:
        counted["refused"] += 1
        # What libseccomp makes of orderings side by side is not said; of equalities it is.
        equalities = all(match.op in EQUALITIES for rule in profile.rules for match in rule.args)
        if refused is None and equalities:
            yield f"{profile}: refused by the engine, which was not said: {error}"
        return
    if refused is not None:
        yield f"{profile}: said to be refused: {refused}"
    for case, result in seen.items():
        predicted = probe.predict(profile, case, frozenset(), lab.kernel, lab.runtime)
        counted["certain" if predicted.certain else "not certain"] += 1
        if predicted.certain and not agrees(predicted, result, unfiltered[case.abi, case.number]):
            yield f"{profile.default_action}: {case}: predicted {predicted}, saw {result} under {_about(profile, case)}"


def _about(profile: Profile, case: probe.Case) -> list[str]:
    name = next(name for name in CALLS if calls()[name].numbers[case.abi] == case.number)
    return [
        f"{rule.action} {rule.errno} {' and '.join(map(str, rule.args))}"
        for rule in profile.rules
        if name in rule.names
    ]


def test_what_an_engine_makes_of_any_profile(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("DEBUGRUN_TEST_SEED") or random.SystemRandom().randrange(2**32))
    drawn = Drawn(seed)
    bare = [f"{abi}:{calls()[call].numbers[abi]}:0" for call, abi in product(CALLS, ABIS)]
    plain = probe.observe(lab.client, lab.image, bare, cap_add=(), drop=True, seccomp="unconfined")
    unfiltered = {(case.abi, case.number): result for case, result in plain.items()}
    counted: Counter[str] = Counter()
    wrong = [each for _ in range(PROFILES) for each in held(lab, drawn, unfiltered, counted)]
    with capsys.disabled():
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(counted.items()))
        print(f"\n{lab.name}, DEBUGRUN_TEST_SEED={seed}: {PROFILES} profiles, {told}, {len(wrong)} wrong ", end="")
    assert not wrong, "\n".join(wrong[:20])
    assert counted["certain"] > PROFILES * len(CALLS) * len(ABIS)


def test_an_engine_still_reads_documents_as_it_did(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of readings.json, of which tests of the evaluator take the engine's word."""
    engine = lab.name.partition(" ")[0]
    wrong = []
    seen = list(observed(lab.client, lab.image, tmp_path, engine))
    for reading, became in seen:
        said = predicted(reading.document, engine, lab.kernel, lab.runtime)
        if became != said:
            wrong.append(f"{reading.what}: said {said}, the engine: {became}")
    with capsys.disabled():
        print(f"\n{lab.name}: {len(seen)} documents read, {len(wrong)} otherwise than said ", end="")
    assert not wrong, "\n".join(wrong)
