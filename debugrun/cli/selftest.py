"""`debugrun doctor --report FILE`: predictions and outcomes on two targets of our own, for a bug report.

Each way within the ceiling is tried, also those that are predicted to fail: a wrong verdict is wrong either way.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from debugrun.attach import attach, planned
from debugrun.attach.invocation import invocations
from debugrun.core.ask.request import TOOLBOX, Request
from debugrun.core.decide.plan import Plan, plan, within
from debugrun.core.grants import Ceiling, Option, Placement
from debugrun.core.know import kinds
from debugrun.core.know.facts import Facts
from debugrun.core.say import record
from debugrun.core.say.record import Record, Trial
from debugrun.engine import engine, ownership
from debugrun.errors import DebugrunError, EngineError
from debugrun.observe.target import look
from debugrun.toolbox.catalog import find_tool
from debugrun.values import dataclass

TARGETS = {"root": "0:0", "uid 1000": "1000:1000"}
COMMAND = ("busybox", "tail", "-f", "/etc/passwd")  # looks at the file once a second
_SIGNAL = "python import os; os.kill(gdb.selected_inferior().pid, 0); print('may signal')"


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a tool is run with, for how many seconds at most, and what its output holds when it did its job."""

    mode: str
    args: tuple[str, ...] = ()
    seconds: float | None = None
    shows: tuple[bytes, ...]


WORKS: Mapping[str, Work] = {
    "gdb": Work(mode="attach", args=("-batch", "-ex", "bt", "-ex", _SIGNAL), shows=(b"#0 ", b"may signal")),
    "strace": Work(mode="attach", seconds=2, shows=(b" attached",)),
    "perf": Work(mode="stat", seconds=1, shows=(b"seconds time elapsed",)),
}


def run(path: Path, ceiling: Ceiling, folder: Path) -> int:
    """Write the report. 0 when all became what was predicted, else 1. Raises DebugrunError."""
    with engine.connect() as connection:
        made = test(connection, ceiling, folder)
    path.touch(mode=0o600)
    path.write_text(record.dump(made), encoding="utf-8")
    wrong = [trial for trial in made.trials if not trial.agrees]
    print(f"{len(made.trials)} predictions tried, {len(wrong)} wrong; written to {path}")
    for trial in wrong:
        did = "worked" if trial.works else "did not work"
        print(f"  {trial.tool} {trial.mode} on {trial.target} as {trial.option.user}: {trial.verdict.value}, and {did}")
    print("no name, id, path, label or profile of yours is in it: attach it to a bug report")
    return 1 if wrong else 0


def test(connection: engine.Engine, ceiling: Ceiling, folder: Path) -> Record:
    """Try every tool of WORKS on every target. Raises EngineError: no toolbox, or it can't be started."""
    facts: dict[str, Facts] = {}
    trials: list[Trial] = []
    for kind, user in TARGETS.items():
        with _target(connection, user) as container:
            for name, work in WORKS.items():
                print(f"debugrun: trying {name} on a target as {kind}", file=sys.stderr, flush=True)
                request = Request(tool=name, container=container, mode=work.mode, args=work.args)
                tool, mode = find_tool(request, folder)
                decision = plan(tool, mode, look(connection, request, tool), ceiling)
                facts[kind] = replace(decision.facts, images=replace(decision.facts.images, target_holds_tool=False))
                trials += [
                    _trial(connection, kind, request, decision, option)
                    for option in decision.options
                    if within(option, ceiling) and option.placement is Placement.SIDECAR
                ]
    return Record(facts=facts, trials=tuple(trials))


@contextlib.contextmanager
def _target(connection: engine.Engine, user: str) -> Iterator[str]:
    """The id of a container that runs meanwhile."""
    client = connection.client
    name = f"debugrun-selftest-{os.urandom(4).hex()}"
    labels = ownership.marked(kinds.SELFTEST, name)
    asking = connection.asking("start a target for the self-test", TOOLBOX)
    with ownership.creating(connection, name, labels), asking:
        made = client.create_container(
            TOOLBOX,
            list(COMMAND),
            user=user,
            name=name,
            labels=labels,
            network_disabled=True,
            host_config=client.create_host_config(auto_remove=True),
        )
    container = connection.created(made)
    try:
        with connection.asking("start a target for the self-test", container):
            client.start(container)
        yield container
    finally:
        with contextlib.suppress(DebugrunError):
            connection.remove(container, force=True)


def _trial(connection: engine.Engine, kind: str, request: Request, decision: Plan, option: Option) -> Trial:
    return Trial(
        target=kind,
        tool=decision.tool.name,
        mode=decision.mode.name,
        option=option,
        verdict=option.verdict,
        works=_works(connection, request, decision, option),
    )


def _works(connection: engine.Engine, request: Request, decision: Plan, option: Option) -> bool:
    """Whether the tool does its job; an engine that refuses to make its place is a no as well."""
    work = WORKS[decision.tool.name]
    step = replace(
        invocations(request, decision, option)[0],
        duration=work.seconds,
        tty=False,
        input=False,
        hold_output=False,
    )
    with tempfile.TemporaryFile() as said, Path(os.devnull).open("rb") as nothing:
        try:
            with planned.place(connection, decision, option) as place:
                output = said.fileno()
                result = attach.run(place, step, stdin=nothing.fileno(), stdout=output, stderr=output)
        except EngineError:
            return False
        said.seek(0)
        text = said.read()
    return result.refuted is None and result.status == 0 and all(each in text for each in work.shows)
