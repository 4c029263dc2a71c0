"""The tools that the toolbox leaves out, and those that only look: the chosen option works, no part of it is idle,
and the verdict on every other grant is what then happens.

The image with all of them is made for this test (tests/host/large.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import docker
import pytest

from debugrun.attach import attach
from debugrun.attach.invocation import Invocation, Result, invocations
from debugrun.attach.place import Place
from debugrun.core.ask.request import Request, ceiling
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Option, Placement, Verdict
from debugrun.core.know.facts import Facts
from debugrun.engine.engine import Engine, connect
from debugrun.errors import DebugrunError
from debugrun.observe.target import look
from debugrun.toolbox import catalog
from debugrun.toolbox.catalog import find_tool
from tests import trials
from tests.cases import DOCKER_DEFAULT
from tests.host import images, large
from tests.host.state import folder
from tests.trials import NOBODY, OTHER_GROUP, OWN, Given, Outcome

PATIENCE = 15  # seconds for one tool; bpftrace takes eight
# Seconds in which a target meets a breakpoint that was left in it: every thread is in the same few functions ten times
# a second.
SETTLES = 0.4
TRACEFS = Path("/sys/kernel/tracing")
pytestmark = [pytest.mark.live, pytest.mark.slow]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work(trials.Work):
    """`typed` is what the tool gets on its standard input, `statuses` are those with which it may end."""

    typed: bytes = b""
    statuses: tuple[int, ...] = (0,)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A target to be started."""

    image: str = "debugrun-test/app"
    user: str = "0:0"
    command: tuple[str, ...] = ()


UNDUMPABLE = ("/opt/app/worker", "undumpable")
NATIVE = {
    "root": Kind(),
    "u1000": Kind(user="1000:1000"),
    "undump": Kind(command=UNDUMPABLE),
    "undump1000": Kind(user="1000:1000", command=UNDUMPABLE),
    "static": Kind(image="debugrun-test/static", user="65532:65532"),
}
GO = {f"go-{name}": dataclasses.replace(kind, image=large.GO) for name, kind in NATIVE.items() if name != "static"}
BUSY = {
    "busy-root": Kind(command=("/opt/app/worker", "busy")),
    "busy-u1000": Kind(command=("/opt/app/worker", "busy"), user="1000:1000"),
}
JAVA = {
    "java-root": Kind(image=large.TOOLS, command=large.JAVA),
    "java-u1000": Kind(image=large.TOOLS, command=large.JAVA, user="1000:1000"),
}
KINDS = {**NATIVE, **GO, **JAVA, **BUSY}

# As of gdb: without the right to signal, the target can't be stopped again, now and then.
SIGNAL = "script import os; os.kill(1, 0); print('may signal')"
LLDB = Work(tool="lldb", args=("-b", "-o", "bt", "-o", SIGNAL), shows=(b"main(argc", b"may signal"))
# A breakpoint that is met: all other threads must be stopped by a signal then, or it waits for ever.
DELVE = Work(
    tool="delve",
    typed=b"break main.pause\ncontinue\nbt\nclearall\nexit\nn\n",
    shows=(b"Breakpoint 1", b"main.work", b"main.main"),
)
GCORE = Work(tool="gcore", shows=(b"\x7fELF", b"/worker\0"))
LSOF = Work(tool="lsof", shows=(b" cwd ", b" 1w "))
THREADS = Work(tool="jattach", shows=(b"Full thread dump",))
JCMD = Work(tool="jattach", mode="jcmd", shows=(b"JDK 21",))
# The default, by a clock of ten times its pace. A round of the busy worker takes 101 ms, as do ten ticks of 99 Hz: it
# can stay between the same two ticks for seconds, and nothing is counted (measured: 5 of 15 times in 6 s).
OFTEN = tuple(re.sub(r"\bhz:\d+", "hz:997", each) for each in catalog.load("bpftrace").mode("profile").default_args)
PROFILE = Work(tool="bpftrace", args=OFTEN, seconds=6, shows=(b"@[",))
TRACEPOINTS = Work(tool="bpftrace", mode="tracepoints", seconds=3, shows=(b"@[",))
SYSTEM = Work(tool="perf", mode="system", seconds=1.5, shows=(b"%",))
UNSHARE = Work(tool="unshare", shows=(b"uid=0(root)",))
OPEN = "debugrun-test/open-tools:latest"  # what its user cannot read may not write to its own /proc/self either

PTRACE = ("SYS_PTRACE",)
TRACING = (
    Given(),
    Given(caps=DOCKER_DEFAULT),
    Given(caps=PTRACE),
    Given(caps=(*PTRACE, "DAC_READ_SEARCH")),
    Given(caps=(*PTRACE, "DAC_OVERRIDE")),
    Given(caps=(*PTRACE, "DAC_READ_SEARCH", "KILL")),
    Given(caps=(*PTRACE, "DAC_OVERRIDE", "KILL")),
    Given(caps=("SYS_ADMIN",)),
    Given(caps=DOCKER_DEFAULT, seccomp="unconfined"),
    Given(user=OWN),
    Given(user=OWN, caps=PTRACE),
    Given(user=OTHER_GROUP),
    Given(user=NOBODY),
)
BECOMING = (
    *TRACING,
    Given(caps=("SETUID", "SETGID")),
    Given(caps=("SETUID", "SETGID", *PTRACE)),
    Given(caps=("SETUID", "SETGID", *PTRACE, "KILL")),
)
# Of these Docker 20.10 knows SYS_ADMIN only.
EVENTS = (
    Given(),
    Given(caps=("SYS_ADMIN",)),
    Given(caps=("BPF",)),
    Given(caps=("PERFMON",)),
    Given(caps=("BPF", "PERFMON")),
    Given(caps=("BPF", "PERFMON", "SYS_PTRACE")),
    Given(caps=("SYS_ADMIN", "SYS_PTRACE")),
    Given(caps=("PERFMON",), seccomp="unconfined"),
    Given(seccomp="unconfined"),
    Given(user=OWN),
    Given(user=OWN, caps=("PERFMON",), by_file=True),
)
NAMESPACES = (
    Given(),
    Given(seccomp="unconfined"),
    Given(caps=("SETFCAP",)),
    Given(caps=("SETFCAP",), seccomp="unconfined"),
    Given(caps=("SYS_ADMIN",)),
    Given(caps=("SYS_ADMIN", "SETFCAP")),
    Given(user=NOBODY),
    Given(user=NOBODY, seccomp="unconfined"),
)
ALL = (
    *((work, name, TRACING) for work in (LLDB, GCORE, LSOF) for name in NATIVE),
    *((DELVE, name, TRACING) for name in GO),
    *((work, name, BECOMING) for work in (THREADS, JCMD) for name in JAVA),
    *((work, name, EVENTS) for work in (PROFILE, TRACEPOINTS, SYSTEM) for name in ("busy-root", "busy-u1000")),
    *((UNSHARE, name, NAMESPACES) for name in ("root", "u1000")),
)
CASES = [pytest.param(*case, id=f"{case[0].tool}-{case[0].mode or 'default'}-{case[1]}") for case in ALL]


class Bench(trials.Bench):
    """With the image that holds every tool."""

    def decide(self, work: trials.Work) -> tuple[Request, Plan]:
        if work not in self.decisions:
            request = Request(
                tool=work.tool,
                container=self.container,
                mode=work.mode,
                args=work.args,
                image=OPEN if work is UNSHARE else large.TOOLS,
                ceiling=ceiling("broad", None),
            )
            tool, mode = find_tool(request, Path("/nonexistent"))
            facts = look(self.connection, request, tool)
            self.decisions[work] = request, plan(tool, mode, facts, request.ceiling)
        return self.decisions[work]

    def run(self, place: Place, work: trials.Work, option: Option, what: str) -> tuple[bool, str]:
        request, decision = self.decide(work)
        process = decision.facts.process.host_pid
        assert process is not None
        works, said = True, ""
        for at, step in enumerate(invocations(request, decision, option)):
            seconds = work.seconds if at == 0 else None  # `perf report` takes what it takes
            step = dataclasses.replace(step, duration=seconds or step.duration, input=True)  # noqa: PLW2901
            typed = work.typed if isinstance(work, Work) else b""
            result, text = self.follow(place, step, typed, what)
            said += f"{result}, {text[-1000:]!r}\n"
            statuses = work.statuses if isinstance(work, Work) else (0,)
            works = result.refuted is None and result.status in statuses
            if not works:
                break
        stopped = trials.is_stopped(process)
        if stopped:
            os.kill(process, signal.SIGCONT)
        return works and all(each in text for each in work.shows) and not stopped, said

    def follow(self, place: Place, step: Invocation, typed: bytes, what: str) -> tuple[Result, bytes]:
        """Run a tool as people do: how it ended, and its output."""
        said, keys = self.folder / "said", self.folder / "typed"
        keys.write_bytes(typed)
        with said.open("wb") as output, keys.open("rb") as source, trials.limit(what, PATIENCE):
            result = attach.run(place, step, stdin=source.fileno(), stdout=output.fileno(), stderr=output.fileno())
        return result, said.read_bytes()


def end_sidecars(client: docker.APIClient) -> None:
    """Last resort after a tool that did not end."""
    for each in client.containers(filters={"label": f"debugrun.session={trials.SESSION}"}):
        with contextlib.suppress(docker.errors.APIError):
            client.kill(each["Id"])


@pytest.fixture(autouse=True)
def no_sidecar_left(engine: docker.APIClient) -> Iterator[None]:
    yield
    end_sidecars(engine)


@pytest.fixture
def tracefs(work: Work, name: str, containers: Mapping[str, str], engine: docker.APIClient) -> Iterator[None]:
    """A tracefs where the engine sees it, for a tool that needs one: few machines without systemd mount it.

    Mounted for as long as the test takes, and only in a mount namespace that the tests made for an engine of theirs.
    """
    if work.mode != "tracepoints":
        yield
        return
    target = Path("/proc", str(engine.inspect_container(containers[name])["State"]["Pid"]), "stat")
    parent = target.read_text().rpartition(")")[2].split()[1]  # sees the engine's mounts
    if f" {TRACEFS} " in Path(f"/proc/{parent}/mountinfo").read_text():
        yield
        return
    ours = Path(os.environ.get("DOCKER_HOST", "").removeprefix("unix://")).is_relative_to(folder())
    if not ours or Path(f"/proc/{parent}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink():
        pytest.skip(f"the engine's host has no tracefs; run it after: mount -t tracefs nodev {TRACEFS}")
    with Path(f"/proc/{parent}/ns/mnt").open() as namespace:  # held: the target may be started anew, and that one end
        inside = ["nsenter", f"--mount=/proc/{os.getpid()}/fd/{namespace.fileno()}"]
        subprocess.run([*inside, "mount", "-t", "tracefs", "nodev", TRACEFS], check=True)
        try:
            yield
        finally:
            subprocess.run([*inside, "umount", "--lazy", TRACEFS], check=True)


@pytest.fixture(scope="module")
def connection(engine: docker.APIClient, targets: Mapping[str, str]) -> Iterator[Engine]:
    assert targets  # their images are there
    large.have_tools(engine)
    large.have_go(engine)
    images.opened(engine, large.have_beside_gdb(engine, UNSHARE.tool), OPEN)
    with connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def containers(engine: docker.APIClient, connection: Engine) -> Iterator[Mapping[str, str]]:
    """The targets by name."""
    assert connection is not None
    made = {}
    try:
        for name, kind in KINDS.items():
            made[name] = engine.create_container(
                kind.image,
                list(kind.command) or None,
                user=kind.user,
                name=f"debugrun-large-{name}-{uuid.uuid4().hex[:6]}",
                host_config=engine.create_host_config(network_mode="none"),
            )["Id"]
            engine.start(made[name])
        yield made
    finally:
        for each in made.values():
            engine.remove_container(each, force=True)


def without(option: Option, facts: Facts, *, about_process: bool) -> Iterator[tuple[str, Option]]:
    """The option with one part of its grant taken away, each in turn; of the target's own fourteen, three."""
    for name in option.cap_add[:: 6 if len(option.cap_add) == len(DOCKER_DEFAULT) else 1]:
        rest = tuple(each for each in option.cap_add if each != name)
        yield f"the chosen option without {name}", dataclasses.replace(option, cap_add=rest)
    for call in option.opened_calls:
        rest = tuple(each for each in option.opened_calls if each != call)
        yield f"the chosen option without {call}", dataclasses.replace(option, opened_calls=rest)
    for path in option.mounts:
        rest = tuple(each for each in option.mounts if each != path)
        yield f"the chosen option without {path}", dataclasses.replace(option, mounts=rest)
    if facts.process.uids[1] != 0 and option.uid == facts.process.uids[1] and about_process:
        yield "the chosen option as another user", dataclasses.replace(option, user="4242:4242")


def harm(bench: Bench, work: Work) -> str:
    """What a tool that has gone did to the target; empty: nothing.

    A debugger that could not let go leaves breakpoints in it, and it dies of them later.
    """
    decision = bench.decide(work)[1]
    if decision.tool.breakpoints:
        time.sleep(SETTLES)
    state = bench.connection.client.inspect_container(bench.container)["State"]
    if not state["Running"]:
        return f"the target then ended with status {state['ExitCode']}"
    process = decision.facts.process.host_pid
    assert process is not None
    return "the target was left stopped" if trials.is_stopped(process) else ""


def tried(bench: Bench, work: Work, option: Option, given: object) -> Outcome:
    """One outcome. A tool that waits for ever, or harms its target, has failed; the target is started anew."""
    try:
        with bench.placed(option, work) as place:
            outcome = bench.outcome(work, option, place, given)
        harmed = harm(bench, work)
    except (trials.StuckError, DebugrunError) as error:
        verdict, gates = bench.verdict(work, option)
        outcome = Outcome(what=f"{work.tool}, given {given}", verdict=verdict, gates=gates, works=False, said="")
        harmed = str(error)
    if harmed:
        end_sidecars(bench.connection.client)
        bench.connection.client.restart(bench.container, timeout=0)
        bench.decisions.clear()
        outcome = dataclasses.replace(outcome, works=False, said=f"{outcome.said}{harmed}")
    return outcome


@pytest.mark.usefixtures("tracefs")
@pytest.mark.parametrize(("work", "name", "grants"), CASES)
def test_the_chosen_option_is_minimal_and_every_verdict_true(  # noqa: PLR0913, PLR0917 - fixtures
    work: Work,
    name: str,
    grants: tuple[Given, ...],
    connection: Engine,
    containers: Mapping[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    container = containers[name]
    bench = Bench(connection, container, tmp_path)
    decision = bench.decide(work)[1]
    option = decision.option
    assert option is not None, decision
    assert option.placement is Placement.SIDECAR
    seen = [tried(bench, work, option, "the chosen option")]
    assert seen[0].works, seen[0]
    about = any(need.gate in {"ptrace-attach", "ptrace-read", "same-uid"} for need in decision.mode.needs)
    narrower = [tried(bench, work, each, part) for part, each in without(option, decision.facts, about_process=about)]
    assert not [outcome for outcome in narrower if outcome.works], narrower
    mode = decision.mode
    options = [
        (given, dataclasses.replace(given.option(decision.facts, mode.network), mounts=mode.mounts)) for given in grants
    ]
    seen += narrower + [tried(bench, work, each, given) for given, each in options]
    wrong = [outcome for outcome in seen if outcome.wrong]
    with capsys.disabled():
        works = sum(outcome.verdict is Verdict.OPEN for outcome in seen)
        print(f"\n{work.tool} on {name}: {len(seen)} verdicts, {works} open, {len(wrong)} wrong ", end="")
    assert not wrong, "\n".join(map(str, wrong))
