"""The verdict of `judge` is what the kernel then does: tools on targets under many grants, every one of them run.

A grant is one sidecar (or one exec), in which the tools run one after the other. `unknown` counts as wrong: all facts
are readable here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import docker
import pytest

from debugrun import apply, attach, judge, session
from debugrun.engine import Engine, connect
from debugrun.errors import DebugrunError
from debugrun.facts import Facts
from debugrun.grants import Grant, Option, Placement, Verdict
from debugrun.place import Place
from debugrun.plan import Plan, plan
from debugrun.request import Request
from tests.cases import DOCKER_DEFAULT

pytestmark = pytest.mark.live

PATIENCE = 20  # seconds for one tool; the slowest takes half a one
SESSION = uuid.uuid4().hex[:12]
ROOT, NOBODY, OWN, OTHER_GROUP = "0:0", "65534:65534", "own", "other group"
# gdb must be able to signal its target, or it can't stop it again: one backtrace alone would not show that.
SIGNAL = "python import os; os.kill(gdb.selected_inferior().pid, 0); print('may signal')"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a tool is run with, how many seconds it is given, and what its output holds when it did its job.

    `memory`: it is asked on its standard input for the first four bytes of the target's memory.
    """

    tool: str
    args: tuple[str, ...] = ()
    mode: str | None = None
    seconds: float | None = None
    memory: bool = False
    shows: tuple[bytes, ...]


GDB = Work(tool="gdb", args=("-batch", "-ex", "bt", "-ex", SIGNAL), shows=(b"#0 ", b"may signal"))
STRACE = Work(tool="strace", seconds=0.25, shows=(b" attached", b"("))
PERF = Work(tool="perf", mode="stat", seconds=0.2, shows=(b"seconds time elapsed",))
GDBSERVER = Work(tool="gdbserver", seconds=0.4, memory=True, shows=(b"Attached; pid = ", b"$7f454c46#"))
LTRACE = Work(tool="ltrace", seconds=0.3, shows=(b"(",))
PY_SPY = Work(tool="py-spy", shows=(b"Thread",))
# One packet, and it ends: started as root it changes its uid, and without KILL nothing of ours may signal it then.
TCPDUMP = Work(tool="tcpdump", args=("-n", "-i", "any", "-c", "1"), shows=(b"1 packet captured",))

TRACERS = (GDB, STRACE, GDBSERVER)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """One grant. `seccomp`: "default", "unconfined" or "opened": the default with perf_event_open on top."""

    user: str = ROOT
    caps: tuple[str, ...] = ()
    seccomp: str = "default"
    by_file: bool = False
    here: bool = False

    def option(self, facts: Facts, network: str) -> Option:
        user = identity(self.user, facts)
        base = Option(placement=Placement.SIDECAR, grant=Grant.NONE, user=user, verdict=Verdict.UNKNOWN, gates=())
        if self.here:
            return dataclasses.replace(
                base, placement=Placement.HERE, cap_drop=(), seccomp="target", no_new_privileges=False, network="target"
            )
        return dataclasses.replace(
            base,
            cap_add=tuple(sorted(self.caps)),
            seccomp="unconfined" if self.seccomp == "unconfined" else "default",
            opened_calls=("perf_event_open",) if self.seccomp == "opened" else (),
            file_capability=self.by_file,
            no_new_privileges=not self.by_file,
            network=network,
            image=facts.images.toolbox,
        )

    def __str__(self) -> str:
        caps = "Docker's" if self.caps == DOCKER_DEFAULT else "+".join(self.caps) or "none"
        flags = [self.seccomp, *(["by file"] if self.by_file else []), *(["here"] if self.here else [])]
        return f"{self.user} {caps} {' '.join(flags)}"


def identity(user: str, facts: Facts) -> str:
    """`OWN` is the target's user, or uid 1000 where that is root; `OTHER_GROUP` is the same uid in another group."""
    uid, gid = facts.process.uids[1], facts.process.gids[1]
    uid, gid = (uid, gid) if uid else (1000, 1000)
    return {OWN: f"{uid}:{gid}", OTHER_GROUP: f"{uid}:{gid + 1}"}.get(user, user)


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
)
# What this engine or its daemon may refuse to give at all.
SCARCE = (Given(caps=("PERFMON",)), Given(caps=("SYS_RESOURCE",)), Given(caps=("BPF",)))
IN_PLACE = tuple(Given(user=user, here=True) for user in (ROOT, OWN, NOBODY, OTHER_GROUP, "0:1000"))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """Tools that are run one after the other in the place of one grant."""

    given: Given
    works: tuple[Work, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A process of a target, and what is tried on it."""

    service: str
    trials: tuple[Trial, ...]
    comm: str | None = None


def every(grants: tuple[Given, ...], *works: Work, part: int | None = None) -> tuple[Trial, ...]:
    """Each grant with all of the tools; `part` 0, 1 or 2 takes every third grant."""
    return tuple(Trial(given=given, works=works) for given in (grants if part is None else grants[part::3]))


def native(*tracers: Work, part: int | None = None) -> tuple[Trial, ...]:
    """What is tried on a program in machine code."""
    return (
        *every(TRACING, GDB, STRACE, GDBSERVER, *tracers, part=part),
        *every(COUNTING, PERF, part=part),
        *every((Given(caps=("SYS_ADMIN",)), Given(caps=DOCKER_DEFAULT)), PERF, part=part),
    )


# All grants on the three kinds of target that differ most; on the others every third.
CASES = {
    "root": Case(service="root", trials=(*native(LTRACE), *every(SCARCE, GDB, PERF), *every(CAPTURING, TCPDUMP))),
    "u1000": Case(service="u1000", trials=(*native(LTRACE), *every(CAPTURING, TCPDUMP, part=0))),
    "undump1000": Case(service="undump1000", trials=native(LTRACE)),
    "hard": Case(service="hard", trials=(*native(LTRACE, part=0), *every(CAPTURING, TCPDUMP, part=1))),
    "rootcap": Case(service="rootcap", trials=native(LTRACE, part=1)),
    "rootnocaps": Case(service="rootnocaps", trials=native(LTRACE, part=2)),
    "undump": Case(service="undump", trials=native(LTRACE, part=0)),
    "static": Case(service="static", trials=native(part=1)),
    "musl": Case(service="musl", trials=native(part=2)),
    "owngdb": Case(service="owngdb", trials=(*native(part=0), *every(IN_PLACE, GDB, STRACE))),
    "owngdb1000": Case(service="owngdb1000", trials=(*native(part=1), *every(IN_PLACE, GDB, STRACE))),
    "multiuid": Case(service="multiuid", trials=native(part=2), comm="supervisor"),
    "multiuid-child": Case(service="multiuid", trials=native(part=0), comm="worker"),
    "python": Case(service="python", trials=every(TRACING, PY_SPY)),
}


def test_there_are_enough_of_them() -> None:
    assert sum(len(trial.works) for case in CASES.values() for trial in case.trials) >= 300


@contextlib.contextmanager
def limit(what: str) -> Iterator[None]:
    """Fails when it takes longer than PATIENCE."""

    def end(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"{what}: not over within {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What was judged and what became of it."""

    what: str
    verdict: Verdict
    gates: tuple[str, ...]
    works: bool
    said: str

    @property
    def wrong(self) -> bool:
        return self.verdict is not (Verdict.OPEN if self.works else Verdict.CLOSED)

    def __str__(self) -> str:
        closed = "".join(f"\n    {gate}" for gate in self.gates)
        return f"{self.what}: judged {self.verdict.value}, works: {self.works}{closed}\n    {self.said}"


class Bench:
    """Runs tools on one process of one target."""

    def __init__(self, connection: Engine, container: str, case: Case, folder: Path) -> None:
        self.connection = connection
        self.container = container
        self.case = case
        self.folder = folder
        self.decisions: dict[Work, tuple[Request, Plan]] = {}

    def decide(self, work: Work) -> tuple[Request, Plan]:
        if work not in self.decisions:
            comm = self.case.comm
            request = Request(tool=work.tool, container=self.container, comm=comm, mode=work.mode, args=work.args)
            tool, mode = session.find_tool(request, Path("/nonexistent"))
            facts = session.look(self.connection, request, tool)
            self.decisions[work] = request, plan(tool, mode, facts, request.ceiling)
        return self.decisions[work]

    def outcomes(self, trial: Trial) -> Iterator[Outcome]:
        """The tools of a trial, one after the other in one place; an engine that makes none refuses them all."""
        decision = self.decide(trial.works[0])[1]
        option = trial.given.option(decision.facts, decision.mode.network)
        with contextlib.ExitStack() as stack:
            place: Place | None = None
            refusal = ""
            try:
                place = stack.enter_context(
                    apply.place(
                        self.connection,
                        option,
                        decision.facts.container,
                        session=SESSION,
                        tool="judge",
                        breakpoints=True,
                        profile_json=session.profile_json(option, decision.facts),
                    )
                )
            except DebugrunError as error:
                refusal = str(error)
            for work in trial.works:
                verdict, gates, _ = judge.judge(option, self.decide(work)[1].mode, self.decide(work)[1].facts)
                what = f"{work.tool} on {self.case.comm or self.case.service}, given {trial.given}"
                works, said = (False, refusal) if place is None else self.run(place, work, option, what)
                closed = tuple(f"{gate.need}: {gate.fact}" for gate in gates if gate.verdict is not Verdict.OPEN)
                yield Outcome(what=what, verdict=verdict, gates=closed, works=works, said=said)

    def run(self, place: Place, work: Work, option: Option, what: str) -> tuple[bool, str]:
        """Whether the tool does its job and leaves a running target behind, and the end of what it said."""
        request, decision = self.decide(work)
        process = decision.facts.process.host_pid
        assert process is not None
        step = dataclasses.replace(session.invocations(request, decision, option)[0], duration=work.seconds)
        said, typed = self.folder / "said", self.folder / "typed"
        typed.write_bytes(ask_for_memory(process) if work.memory else b"")
        with said.open("wb") as output, typed.open("rb") as source, limit(what):
            result = attach.run(place, step, stdin=source.fileno(), stdout=output.fileno(), stderr=output.fileno())
        text = said.read_bytes()
        done = result.refuted is None and result.status == 0 and all(each in text for each in work.shows)
        stopped = is_stopped(process)
        if stopped:
            os.kill(process, signal.SIGCONT)
        return done and not stopped, f"{result}, stopped: {stopped}, {text[-1000:]!r}"


def ask_for_memory(process: int) -> bytes:
    """Packets of GDB's remote protocol that ask for the ELF magic at the start of the program (or of a library)."""
    start = Path(f"/proc/{process}/maps").read_text().split("-", 1)[0]
    packets = [b"?", b"Hg0", f"m{start},4".encode()]
    return b"+" + b"".join(b"$%b#%02x+" % (packet, sum(packet) % 256) for packet in packets)


def is_stopped(process: int) -> bool:
    """Whether a thread was left stopped: a tracer that may not signal can do that."""
    states = (path.read_text().rpartition(") ")[2][0] for path in Path(f"/proc/{process}/task").glob("*/stat"))
    return any(state in "Tt" for state in states)


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


@pytest.fixture(scope="module")
def connection(toolbox: str) -> Iterator[Engine]:
    assert toolbox
    with connect() as engine:
        yield engine


@pytest.fixture
def no_sidecar_left(engine: docker.APIClient) -> Iterator[None]:
    """Last resort after a tool that did not end."""
    yield
    for each in engine.containers(filters={"label": f"debugrun.session={SESSION}"}):
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
    bench = Bench(connection, container, case, tmp_path)
    captures = any(TCPDUMP in trial.works for trial in case.trials)
    with packets(bench.decide(TCPDUMP)[1].facts.process.host_pid) if captures else contextlib.nullcontext():
        seen = [outcome for trial in case.trials for outcome in bench.outcomes(trial)]
    wrong = [outcome for outcome in seen if outcome.wrong]
    working = sum(outcome.works for outcome in seen)
    with capsys.disabled():
        print(f"\n{name}: {len(seen)} verdicts held against the kernel, {working} open, {len(wrong)} wrong ", end="")
    assert not wrong, "\n".join(map(str, wrong))
    assert_harmless(container)
