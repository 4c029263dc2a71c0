"""The verdict of `judge` is what the kernel then does: tools on targets under many grants, every one of them run.

A grant is one sidecar (or one exec), in which the tools run one after the other. `unknown` counts as wrong: all facts
are readable here.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from debugrun.engine.engine import Engine, connect
from tests import trials
from tests.cases import DOCKER_DEFAULT
from tests.trials import (
    GDB,
    GDBSERVER,
    LTRACE,
    NOBODY,
    OTHER_GROUP,
    OWN,
    PERF,
    PERF_RECORD,
    PY_SPY,
    ROOT,
    STRACE,
    TCPDUMP,
    Bench,
    Given,
    Outcome,
    Work,
)

pytestmark = pytest.mark.live

PTRACE = ("SYS_PTRACE",)
THIRTEEN = tuple(name for name in DOCKER_DEFAULT if name != "AUDIT_WRITE")
# What bears on tracing, under the engine's own filter.
TRACING = (
    Given(),
    Given(caps=DOCKER_DEFAULT),
    Given(caps=THIRTEEN),
    Given(caps=PTRACE),
    Given(caps=(*PTRACE, "DAC_READ_SEARCH")),
    Given(caps=(*PTRACE, "DAC_OVERRIDE")),
    Given(caps=(*PTRACE, "DAC_OVERRIDE", "KILL")),
    Given(caps=("SYS_ADMIN",)),
    Given(user=OWN),
    Given(user=OWN, caps=PTRACE),
    Given(user=OWN, caps=PTRACE, by_file=True),
    Given(user=OTHER_GROUP),
    Given(user=NOBODY),
    Given(user=NOBODY, caps=PTRACE, by_file=True),
)
# What bears on counting events.
COUNTING = (
    Given(seccomp="opened"),
    Given(caps=DOCKER_DEFAULT, seccomp="opened"),
    Given(caps=PTRACE, seccomp="opened"),
    Given(caps=PTRACE, seccomp="unconfined"),
    Given(user=OWN, seccomp="opened"),
    Given(user=OWN, seccomp="unconfined"),
    Given(user=NOBODY, caps=PTRACE, seccomp="opened", by_file=True),
)
# Whose memory map may be read: since Linux 6.15 PERFMON and SYS_ADMIN may, whatever their uid.
MAPPING = (
    Given(caps=("PERFMON",)),
    Given(caps=("SYS_ADMIN",)),
    Given(user=NOBODY, caps=("PERFMON",), by_file=True),
    Given(caps=("PERFMON", "SYS_PTRACE")),
    Given(caps=PTRACE, seccomp="opened"),
    Given(seccomp="opened"),
)
CAPTURING = (
    Given(),
    Given(caps=DOCKER_DEFAULT),
    Given(caps=("NET_RAW",)),
    Given(caps=("NET_RAW", "SETUID")),
    Given(caps=("NET_RAW", "SETGID")),
    Given(caps=("NET_RAW", "SETUID", "SETGID")),
    Given(caps=("NET_RAW", "SETUID", "SETGID"), seccomp="unconfined"),
    Given(caps=("SETUID", "SETGID"), seccomp="unconfined"),
    Given(user=OWN, caps=("NET_RAW",)),
    Given(user=OWN, caps=("NET_RAW",), by_file=True),
    Given(user=NOBODY, caps=("NET_RAW",), by_file=True),
    Given(user=NOBODY, caps=("NET_RAW",), by_file=True, apart=True),
    Given(user=NOBODY, apart=True),
)
# What this engine or its daemon may refuse to give at all.
SCARCE = (Given(caps=("PERFMON",)), Given(caps=("SYS_RESOURCE",)), Given(caps=("BPF",)))
IN_PLACE = tuple(Given(user=user, here=True) for user in (ROOT, OWN, NOBODY, OTHER_GROUP, "0:1000"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """Tools that are run one after the other in the place of one grant."""

    given: Given
    works: tuple[Work, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A process of a target, and what is tried on it."""

    service: str
    trials: tuple[Trial, ...]
    comm: str | None = None


def every(grants: tuple[Given, ...], *works: Work, part: int | None = None) -> tuple[Trial, ...]:
    """Each grant with all of the tools; `part` 0, 1 or 2 takes every third grant."""
    return tuple(Trial(given=given, works=works) for given in (grants if part is None else grants[part::3]))


def native(*, part: int | None = None) -> tuple[Trial, ...]:
    """What is tried on a program in machine code."""
    return (
        *every(TRACING, GDB, STRACE, GDBSERVER, part=part),
        *every(COUNTING, PERF, part=part),
        *every((Given(caps=("SYS_ADMIN",)), Given(caps=DOCKER_DEFAULT)), PERF, part=part),
    )


# All grants on the three kinds of target that differ most; on the others every third.
CASES = {
    "root": Case(service="root", trials=(*native(), *every(SCARCE, GDB, PERF), *every(CAPTURING, TCPDUMP))),
    "u1000": Case(service="u1000", trials=(*native(), *every(CAPTURING, TCPDUMP, part=0))),
    "undump1000": Case(service="undump1000", trials=(*native(), *every(MAPPING, PERF_RECORD))),
    "hard": Case(service="hard", trials=(*native(part=0), *every(CAPTURING, TCPDUMP, part=1))),
    "rootcap": Case(service="rootcap", trials=native(part=1)),
    "rootnocaps": Case(service="rootnocaps", trials=native(part=2)),
    "undump": Case(service="undump", trials=(*native(part=0), *every(MAPPING, PERF_RECORD))),
    "static": Case(service="static", trials=native(part=1)),
    "musl": Case(service="musl", trials=native(part=2)),
    "owngdb": Case(service="owngdb", trials=(*native(part=0), *every(IN_PLACE, GDB, STRACE))),
    "owngdb1000": Case(service="owngdb1000", trials=(*native(part=1), *every(IN_PLACE, GDB, STRACE))),
    "multiuid": Case(service="multiuid", trials=native(part=2), comm="supervisor"),
    "multiuid-child": Case(service="multiuid", trials=native(part=0), comm="worker"),
    "lone": Case(service="lone", trials=every(TRACING, LTRACE)),
    "lone1000": Case(service="lone1000", trials=every(TRACING, LTRACE)),
    "loneundump1000": Case(service="loneundump1000", trials=every(TRACING, LTRACE)),
    "lonehard": Case(service="lonehard", trials=every(TRACING, LTRACE, part=0)),
    "lonerootcap": Case(service="lonerootcap", trials=every(TRACING, LTRACE, part=1)),
    "python": Case(service="python", trials=every(TRACING, PY_SPY)),
}


def test_there_are_enough_of_them() -> None:
    assert sum(len(trial.works) for case in CASES.values() for trial in case.trials) >= 300


@contextlib.contextmanager
def packets(process: int | None) -> Iterator[None]:
    """Something to capture on the loopback interface of a process' network namespace."""
    sender = "import socket, time\ns = socket.socket(type=socket.SOCK_DGRAM)\nwhile True:\n"
    sender += "    s.sendto(b'.', ('127.0.0.1', 9))\n    time.sleep(0.02)\n"
    command = ["nsenter", f"--net=/proc/{process}/ns/net", sys.executable, "-c", sender]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as sending:  # the port is closed: the second one fails
        try:
            yield
        finally:
            sending.kill()


def outcomes(bench: Bench, trial: Trial) -> Iterator[Outcome]:
    """The tools of a trial, one after the other in one place; an engine that makes none refuses them all."""
    decision = bench.decide(trial.works[0])[1]
    option = trial.given.option(decision.facts, decision.mode.network)
    with bench.placed(option, trial.works[0]) as place:
        for work in trial.works:
            yield bench.outcome(work, option, place, trial.given)


@pytest.fixture(scope="module")
def connection(toolbox: str) -> Iterator[Engine]:
    assert toolbox
    with connect() as engine:
        yield engine


@pytest.fixture
def no_sidecar_left(engine: docker.APIClient) -> Iterator[None]:
    """Last resort after a tool that did not end."""
    yield
    for each in engine.containers(filters={"label": f"debugrun.session={trials.SESSION}"}):
        with contextlib.suppress(docker.errors.APIError):
            engine.kill(each["Id"])


@pytest.mark.usefixtures("no_sidecar_left")
@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_what_the_kernel_does(  # noqa: PLR0913, PLR0917 - fixtures
    name: str,
    connection: Engine,
    target: Callable[[str], str],
    assert_harmless: Callable[[str], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = CASES[name]
    container = target(case.service)
    bench = Bench(connection, container, tmp_path, comm=case.comm)
    captures = any(TCPDUMP in trial.works for trial in case.trials)
    with packets(bench.decide(TCPDUMP)[1].facts.process.host_pid) if captures else contextlib.nullcontext():
        seen = [outcome for trial in case.trials for outcome in outcomes(bench, trial)]
    wrong = [outcome for outcome in seen if outcome.wrong]
    working = sum(outcome.works for outcome in seen)
    with capsys.disabled():
        print(f"\n{name}: {len(seen)} verdicts held against the kernel, {working} open, {len(wrong)} wrong ", end="")
    assert not wrong, "\n".join(map(str, wrong))
    assert_harmless(container)
