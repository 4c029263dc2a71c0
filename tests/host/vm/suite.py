"""Runs inside the test machine: every trial of the matrix, and some lines that people type.

A line of its output that starts with "record " holds one JSON object for `tests.host.vm`; the others are for people.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
from docker.errors import DockerException
from docker.types import LogConfig

from debugrun.attach import attach, lease
from debugrun.attach.invocation import Invocation, Result
from debugrun.attach.place import Place
from debugrun.core.decide import judge
from debugrun.core.decide.plan import Plan, within
from debugrun.core.grants import Option, Verdict
from debugrun.core.know import facts as shapes
from debugrun.core.say import record, report
from debugrun.engine.engine import Engine, connect
from debugrun.errors import DebugrunError
from debugrun.observe import hostproc
from tests import trials
from tests.host.vm import closed, lines, matrix
from tests.host.vm.agent import Agent
from tests.trials import Bench, Outcome, StuckError, Work

SLOWNESS = 6.0  # of an emulated machine, in waits; what ends by itself does not wait
ANSWERS_WITHIN = 240.0  # seconds for dockerd to start


def main() -> None:
    """Try everything, or what matters most."""
    everything = "--everything" in sys.argv
    targets = [name for name in matrix.TARGETS if name in sys.argv] or list(matrix.TARGETS)
    targets = ["root", "u1000"] if "--hardened" in sys.argv else targets
    trials.PATIENCE = 30
    lease.SILENCE = 600  # an emulated machine may stand still for a while
    subprocess.run(["apparmor_parser", "-r"], input=matrix.PROFILES, text=True, check=True)
    with _client() as client, connect() as connection, tempfile.TemporaryDirectory() as scratch:
        _say(
            "begins", kernel=Path("/proc/sys/kernel/osrelease").read_text().strip(), engine=client.version()["Version"]
        )
        with ThreadPoolExecutor(3) as pool:  # two processors, and some waiting
            list(pool.map(lambda name: _start(client, name, matrix.TARGETS[name]), targets))
        if "--hardened" in sys.argv:
            _hardened()
            _say("ends")
            return
        with contextlib.ExitStack() as stack:
            machine = Machine(connection, Path(scratch), stack, targets=targets, everything=everything)
            for setting in matrix.EVERY_SETTING if everything else matrix.SETTINGS:
                _set(setting)
                machine.try_all(setting)
                for line in lines.LINES:
                    if line.setting == setting and line.words[1] in targets:
                        _say("line", words=" ".join(line.words), wrong=lines.wrong(line))
    _say("ends")


def _hardened() -> None:
    """What a start with proc_mem.force_override and lockdown changes, asked of the kernel and typed."""
    _set(lines.HARDENED[0].setting)
    for line in lines.HARDENED:
        _say("line", words=" ".join(line.words), wrong=lines.wrong(line))
    for what, opened in (("a tracefs", closed.tracefs), ("BPF that reads the kernel", closed.reading_program)):
        _say("line", words=f"(root of the machine opens {what})", wrong="it may" if opened() else None)


@contextlib.contextmanager
def _client() -> Iterator[docker.APIClient]:
    deadline = time.monotonic() + ANSWERS_WITHIN
    while True:
        with contextlib.suppress(DockerException):
            client = docker.APIClient(base_url="unix:///run/docker.sock", version="auto", timeout=120)
            break
        if time.monotonic() > deadline:
            sys.exit(Path("/tmp/dockerd.log").read_text()[-2000:])  # noqa: S108 - a machine of its own
        time.sleep(0.2)
    with contextlib.closing(client):
        yield client


def _start(client: docker.APIClient, name: str, target: matrix.Target) -> None:
    worker = Path("tests/targets/worker.py").read_text()
    options = [f"apparmor={target.apparmor}"] if target.apparmor else []
    made = client.create_container(
        target.image,
        [word.replace("{worker.py}", worker) for word in target.command] or None,
        name=name,
        user=target.user,
        host_config=client.create_host_config(
            network_mode="none", cap_add=list(target.cap_add), security_opt=options, log_config=LogConfig(type="none")
        ),
    )
    client.start(made["Id"])


def _set(setting: matrix.Setting) -> None:
    for name, value in (("yama/ptrace_scope", setting.scope), ("perf_event_paranoid", setting.paranoid)):
        path = Path("/proc/sys/kernel", name)
        if path.read_text().strip() != str(value):
            path.write_text(f"{value}\n")
    _say("setting", scope=setting.scope, paranoid=setting.paranoid)


class Quick(Bench):
    """A bench whose tools are run by an agent in each place."""

    def __init__(self, connection: Engine, container: str, folder: Path) -> None:
        super().__init__(connection, container, folder, slowness=SLOWNESS)
        self.agents: dict[int, Agent] = {}

    def execute(self, place: Place, work: Work, step: Invocation, typed: bytes, what: str) -> tuple[Result, bytes]:
        if id(place) not in self.agents:  # places live as long as the machine
            self.agents[id(place)] = Agent(self.connection, place)
        for longer in (1, 4, 16):  # a tool that is interrupted before it began says nothing: it gets more time
            seconds = None if step.duration is None else step.duration * longer
            try:
                status, text = self.agents[id(place)].run(
                    step.argv, typed=typed, seconds=seconds, limit=trials.PATIENCE * self.slowness
                )
            except DebugrunError as error:
                raise DebugrunError(error.code, f"{what}: {error.message}", error.hint) from error
            search = attach.Search(step.failures)
            search.feed(1, text)
            result = Result(status=status, refuted=search.found, output_seen=True)
            if seconds is None or status != 0 or all(each in text for each in work.shows) or result.refuted:
                break
        return result, text


class Machine:
    """Benches and places are kept: only settings change between two uses of the same one."""

    def __init__(
        self,
        connection: Engine,
        scratch: Path,
        stack: contextlib.ExitStack,
        *,
        targets: Iterable[str],
        everything: bool,
    ) -> None:
        self.connection = connection
        self.stack = stack
        self.everything = everything
        self.places: dict[tuple[str, str], Place | str] = {}
        self.benches = {name: Quick(connection, name, scratch) for name in targets}
        self.told: set[str] = set()

    def try_all(self, setting: matrix.Setting) -> None:
        """Every row of every target."""
        host = hostproc.host_facts()
        for name, bench in self.benches.items():
            bench.settle(host)
            for row in matrix.rows(setting, name, everything=self.everything):
                self._try(setting, name, bench, row)

    def _try(self, setting: matrix.Setting, name: str, bench: Bench, row: matrix.Row) -> None:
        decision = bench.decide(row.work)[1]
        self._tell_facts(name, decision.facts)
        offered = [each for each in decision.options if row.offered and self._matters(name, each)]
        given = [_with_arguments(each.option(decision.facts, decision.mode.network), decision) for each in row.given]
        # The plan's own come with arguments.
        options = {record.written(option): option for option in (*given, *offered)}
        tried = {}
        for key, option in options.items():
            began = time.monotonic()
            tried[key] = outcome = self._outcome(bench, row.work, option, key)
            _say(
                "trial", target=name, scope=setting.scope, paranoid=setting.paranoid, tool=row.work.tool,
                mode=decision.mode.name, option=json.loads(key), verdict=outcome.verdict.value, works=outcome.works,
                took=round(time.monotonic() - began, 1),
                wrong=str(outcome) if outcome.wrong and not _may_be_unsure(name, outcome) else None,
            )  # fmt: skip
        if row.offered:
            chosen = decision.option
            said = report.what(chosen, decision.facts.process.permitted) if chosen else None
            works = [tried[record.written(option)].works for option in offered]
            index = None if chosen is None else offered.index(chosen)
            narrower = [
                did for did, option in zip(works[:index], offered, strict=False) if within(option, decision.ceiling)
            ]
            _say(
                "decision", target=name, scope=setting.scope, paranoid=setting.paranoid, tool=row.work.tool,
                mode=decision.mode.name, chosen=said, works=index is None or works[index], narrower=sum(narrower),
            )  # fmt: skip

    def _matters(self, target: str, option: Option) -> bool:
        """What is privileged works or not whatever the target is: on two of them it is seen."""
        return self.everything or not option.privileged or target in {"root", "u1000"}

    def _outcome(self, bench: Bench, work: Work, option: Option, key: str) -> Outcome:
        place = self._place(bench, work, option, key)
        what = report.what(option)
        try:
            with _packets(bench, work):
                return bench.outcome(work, option, place, what)
        except (StuckError, DebugrunError) as error:
            self.places.pop((bench.container, key), None)
            return Outcome(
                what=f"{work.tool} on {bench.container}, given {what}",
                verdict=bench.verdict(work, option)[0],
                gates=(),
                works=False,
                said=f"{type(error).__name__}: {error}",
            )

    def _place(self, bench: Bench, work: Work, option: Option, key: str) -> Place | str:
        name = (bench.container, key)
        if name not in self.places:
            self.places[name] = self.stack.enter_context(bench.placed(option, work))
        return self.places[name]

    def _tell_facts(self, name: str, facts: shapes.Facts) -> None:
        if name not in self.told:
            self.told.add(name)
            _say("facts", target=name, facts=json.loads(shapes.dump(facts)))


def _with_arguments(option: Option, decision: Plan) -> Option:
    """With the arguments that the planner gives a tool which is refused a part of its needs."""
    _, _, refused = judge.judge(option, decision.mode, decision.facts)
    return dataclasses.replace(option, tool_args=next((need.workaround for need in refused if need.workaround), ()))


def _may_be_unsure(target: str, outcome: Outcome) -> bool:
    """What a profile of one's own says cannot be read."""
    return outcome.verdict is Verdict.UNKNOWN and target in matrix.UNSURE


@contextlib.contextmanager
def _packets(bench: Bench, work: Work) -> Iterator[None]:
    """Something for tcpdump to see."""
    if work != trials.TCPDUMP:
        yield
        return
    sender = "import socket, time\ns = socket.socket(type=socket.SOCK_DGRAM)\nwhile True:\n"
    sender += (
        "    try:\n        s.sendto(b'.', ('127.0.0.1', 9))\n    except OSError:\n        pass\n    time.sleep(0.1)\n"
    )
    process = bench.decide(work)[1].facts.process.host_pid
    with subprocess.Popen(["nsenter", f"--net=/proc/{process}/ns/net", sys.executable, "-c", sender]) as sending:
        try:
            yield
        finally:
            sending.kill()


def _say(kind: str, **fields: object) -> None:
    print("record " + json.dumps({"kind": kind, **fields}, default=dataclasses.asdict), flush=True)


if __name__ == "__main__":
    main()
