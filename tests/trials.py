"""Tools that are really run under exactly given grants: what was judged, and what became of it.

Nothing here needs pytest: it is also run inside the test machine (tests/host/vm).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from debugrun.attach import apply, attach
from debugrun.attach.invocation import Invocation, Result, invocations
from debugrun.attach.place import Place
from debugrun.core.ask.request import Request
from debugrun.core.decide import judge
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.decide.widen_profile import profile_json
from debugrun.core.grants import Gate, Grant, Option, Placement, Verdict
from debugrun.core.know.facts import Facts, HostFacts
from debugrun.engine.engine import Engine
from debugrun.errors import DebugrunError
from debugrun.observe.target import look
from debugrun.toolbox.catalog import find_tool
from tests.cases import DOCKER_DEFAULT

PATIENCE = 20  # seconds for one tool on a quiet machine; the slowest takes half a one
SESSION = uuid.uuid4().hex[:12]
ROOT, NOBODY, OWN, OTHER_GROUP = "0:0", "65534:65534", "own", "other group"
# gdb must be able to signal its target, or it can't stop it again: one backtrace alone would not show that.
SIGNAL = "python import os; os.kill(gdb.selected_inferior().pid, 0); print('may signal')"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a tool is run with, how many seconds it is given, and what its output holds when it did its job.

    `memory`: it is asked on its standard input for the first four bytes of the target's memory. `tries`: how often in a
    row it must work where it is judged not to, for the verdict to be wrong. `whole`: with the commands that follow it.
    """

    tool: str
    args: tuple[str, ...] = ()
    mode: str | None = None
    seconds: float | None = None
    memory: bool = False
    tries: int = 1
    whole: bool = False
    shows: tuple[bytes, ...]


GDB = Work(tool="gdb", args=("-batch", "-ex", "bt", "-ex", SIGNAL), shows=(b"#0 ", b"may signal"))
STRACE = Work(tool="strace", seconds=0.25, shows=(b" attached", b"("))
PERF = Work(tool="perf", mode="stat", seconds=0.5, shows=(b"seconds time elapsed",))
# What it may not map, it can't name: a report all the same.
PERF_RECORD = Work(tool="perf", mode="record", seconds=0.5, whole=True, shows=())
# Refused its signals, it waits for ever, unless by chance all threads stop of the attaching before it looks.
GDBSERVER = Work(tool="gdbserver", seconds=0.4, memory=True, tries=4, shows=(b"Attached; pid = ", b"$7f454c46#"))
LTRACE = Work(tool="ltrace", seconds=0.3, shows=(b"(",))
PY_SPY = Work(tool="py-spy", shows=(b"Thread",))
# One packet, and it ends: started as root it changes its uid, and without KILL nothing of ours may signal it then.
TCPDUMP = Work(tool="tcpdump", args=("-n", "-i", "any", "-c", "1"), shows=(b"1 packet captured",))

TRACERS = (GDB, STRACE, GDBSERVER)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """One grant. `seccomp`: "default", "unconfined" or "opened": the default with perf_event_open on top.

    `apparmor` is the sidecar's label; None: the engine's default one. `apart` is in a PID namespace of its own.
    """

    user: str = ROOT
    caps: tuple[str, ...] = ()
    seccomp: str = "default"
    apparmor: str | None = None
    by_file: bool = False
    here: bool = False
    apart: bool = False

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
            apparmor=self.apparmor,
            file_capability=self.by_file,
            no_new_privileges=not self.by_file,
            network=network,
            pid_namespace="own" if self.apart else "target",
            image=facts.images.toolbox,
        )

    def __str__(self) -> str:
        caps = "Docker's" if self.caps == DOCKER_DEFAULT else "+".join(self.caps) or "none"
        flags = [self.seccomp, *([f"AppArmor {self.apparmor}"] if self.apparmor else [])]
        flags += [*(["by file"] if self.by_file else []), *(["here"] if self.here else [])]
        flags += ["apart"] if self.apart else []
        return f"{self.user} {caps} {' '.join(flags)}"


def identity(user: str, facts: Facts) -> str:
    """`OWN` is the target's user, or uid 1000 where that is root; `OTHER_GROUP` is the same uid in another group."""
    uid, gid = facts.process.uids[1], facts.process.gids[1]
    uid, gid = (uid, gid) if uid else (1000, 1000)
    return {OWN: f"{uid}:{gid}", OTHER_GROUP: f"{uid}:{gid + 1}"}.get(user, user)


class StuckError(Exception):
    """A tool that did not end."""


@contextlib.contextmanager
def limit(what: str, seconds: float) -> Iterator[None]:
    """Raises StuckError when it takes longer."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise StuckError(f"{what}: not over within {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What was judged and what became of it; `gates` are those that are not open."""

    what: str
    verdict: Verdict
    gates: tuple[Gate, ...]
    works: bool
    said: str

    @property
    def wrong(self) -> bool:
        return self.verdict is not (Verdict.OPEN if self.works else Verdict.CLOSED)

    def __str__(self) -> str:
        closed = "".join(f"\n    {gate.need}: {gate.fact}" for gate in self.gates)
        return f"{self.what}: judged {self.verdict.value}, works: {self.works}{closed}\n    {self.said}"


class Bench:
    """Runs tools on one process of one target. `slowness`: how often this machine takes the time of an ordinary one."""

    def __init__(
        self, connection: Engine, container: str, folder: Path, *, comm: str | None = None, slowness: float = 1.0
    ) -> None:
        self.connection = connection
        self.container = container
        self.folder = folder
        self.comm = comm
        self.slowness = slowness
        self.decisions: dict[Work, tuple[Request, Plan]] = {}

    def decide(self, work: Work) -> tuple[Request, Plan]:
        """The request of a tool, and the plan of the facts as they were when it was asked for first."""
        if work not in self.decisions:
            request = Request(tool=work.tool, container=self.container, comm=self.comm, mode=work.mode, args=work.args)
            tool, mode = find_tool(request, Path("/nonexistent"))
            facts = with_what_is_hidden(look(self.connection, request, tool))
            self.decisions[work] = request, plan(tool, mode, facts, request.ceiling)
        return self.decisions[work]

    def settle(self, host: HostFacts) -> None:
        """Decide anew: the host's settings are others now."""
        for work, (request, old) in self.decisions.items():
            facts = dataclasses.replace(old.facts, host=host)
            self.decisions[work] = request, plan(old.tool, old.mode, facts, old.ceiling)

    @contextlib.contextmanager
    def placed(self, option: Option, work: Work) -> Iterator[Place | str]:
        """The place of an option for this tool and others; what the engine said where it makes none."""
        facts = self.decide(work)[1].facts
        profile = profile_json(option, facts)
        with contextlib.ExitStack() as stack:
            made: Place | str
            try:
                made = stack.enter_context(
                    apply.place(
                        self.connection,
                        option,
                        facts.container,
                        session=SESSION,
                        tool="judge",
                        breakpoints=True,
                        profile_json=profile,
                    )
                )
            except DebugrunError as error:
                made = str(error)
            yield made

    def outcome(self, work: Work, option: Option, place: Place | str, given: object) -> Outcome:
        """What is judged of a tool under `option`, and what becomes of it."""
        decision = self.decide(work)[1]
        verdict, gates = self.verdict(work, option)
        what = f"{work.tool} on {self.comm or decision.facts.container.name}, given {given}"
        works, said = (False, place) if isinstance(place, str) else self.run(place, work, option, what)
        for _ in range(1, work.tries):
            if works and verdict is Verdict.CLOSED and not isinstance(place, str):
                works, said = self.run(place, work, option, what)
        return Outcome(what=what, verdict=verdict, gates=gates, works=works, said=said)

    def verdict(self, work: Work, option: Option) -> tuple[Verdict, tuple[Gate, ...]]:
        """What is judged, and the gates that are not open."""
        decision = self.decide(work)[1]
        verdict, gates, _ = judge.judge(option, decision.mode, decision.facts)
        return verdict, tuple(gate for gate in gates if gate.verdict is not Verdict.OPEN)

    def run(self, place: Place, work: Work, option: Option, what: str) -> tuple[bool, str]:
        """Whether the tool does its job and leaves a running target behind, and the end of what it said."""
        request, decision = self.decide(work)
        process = decision.facts.process.host_pid
        assert process is not None
        seconds = None if work.seconds is None else work.seconds * self.slowness
        first, *then = invocations(request, decision, option)
        step = dataclasses.replace(first, duration=seconds, input=True)
        typed = ask_for_memory(process) if work.memory else b""
        if is_stopped(process):  # late, by the one before
            os.kill(process, signal.SIGCONT)
        result, text = self.execute(place, work, step, typed, what)
        for each in then if work.whole and result.refuted is None and result.status == 0 else ():
            result, text = self.execute(place, work, each, b"", what)
        done = result.refuted is None and result.status == 0 and all(each in text for each in work.shows)
        stopped = is_stopped(process)
        if stopped:
            os.kill(process, signal.SIGCONT)
        return done and not stopped, f"{result}, stopped: {stopped}, {text[-1000:]!r}"

    def execute(self, place: Place, work: Work, step: Invocation, typed: bytes, what: str) -> tuple[Result, bytes]:
        """Run a tool as people do, with `typed` on its standard input: how it ended, and its output."""
        del work  # for who runs it otherwise
        said, keys = self.folder / "said", self.folder / "typed"
        keys.write_bytes(typed)
        with said.open("wb") as output, keys.open("rb") as source, limit(what, PATIENCE * self.slowness):
            result = attach.run(place, step, stdin=source.fileno(), stdout=output.fileno(), stderr=output.fileno())
        return result, said.read_bytes()


def with_what_is_hidden(facts: Facts) -> Facts:
    """With what an engine in a user namespace hides of a root target and that one knows: whether it is dumpable.

    A person gets the verdict "unknown" there, and the program tries; here the rules are held against the kernel.
    """
    process = facts.process
    if process.dumpable is not None or process.uids[1] != 0 or process.host_pid is None:
        return facts
    told = Path(f"/proc/{process.host_pid}/cmdline").read_bytes().split(b"\0")
    return dataclasses.replace(facts, process=dataclasses.replace(process, dumpable=b"undumpable" not in told))


def ask_for_memory(process: int) -> bytes:
    """Packets of GDB's remote protocol that ask for the ELF magic at the start of the program (or of a library)."""
    start = Path(f"/proc/{process}/maps").read_text().split("-", 1)[0]
    packets = [b"?", b"Hg0", f"m{start},4".encode()]
    return b"+" + b"".join(b"$%b#%02x+" % (packet, sum(packet) % 256) for packet in packets)


def is_stopped(process: int) -> bool:
    """Whether a thread was left stopped: a tracer that may not signal can do that."""
    states = (path.read_text().rpartition(") ")[2][0] for path in Path(f"/proc/{process}/task").glob("*/stat"))
    return any(state in "Tt" for state in states)
