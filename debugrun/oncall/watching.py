"""A watcher of ours beside a container, data/gdb/catch.py: how it is placed, and the lines that it says.

The plan is that of gdb's mode `stacks`: the same calls, the same memory.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from debugrun.attach import apply, attach, planned
from debugrun.attach.invocation import Invocation
from debugrun.attach.place import Place
from debugrun.core.ask.request import Request
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Ceiling, Option
from debugrun.core.know import symbols
from debugrun.core.know.facts import ContainerFacts, Facts
from debugrun.core.know.json_access import Json
from debugrun.core.say import report
from debugrun.core.say.command import copies
from debugrun.engine.engine import Engine
from debugrun.errors import RefusedError
from debugrun.observe.target import look
from debugrun.toolbox.catalog import find_tool
from debugrun.values import dataclass

LONGEST = 64 << 20  # bytes of one line that the sidecar may say


@dataclass(frozen=True, kw_only=True, slots=True)
class Chance:
    """How a container is watched: by a decision, or, before it has processes, by an option that holds nothing new."""

    option: Option
    target: ContainerFacts
    decision: Plan | None = None


class Lines(threading.Thread):
    """Reads what the watcher says into `sink`, line by line; one without sense becomes `error`, and is the last."""

    def __init__(self, hear: Callable[[Json], None]) -> None:
        source, self.sink = os.pipe()
        super().__init__(name="watching", daemon=True)
        self._source = os.fdopen(source, "rb")
        self._hear = hear
        self.error = ""

    def run(self) -> None:
        """Until the end."""
        with self._source:
            while line := self._source.readline(LONGEST):
                if self.error:
                    continue  # so that nobody waits for us
                try:
                    told = json.loads(line)
                    if not isinstance(told, dict):
                        raise ValueError("no object")  # noqa: TRY004, TRY301 - as what no JSON is
                    self._hear(told)
                except (ValueError, OSError) as error:
                    self.error = str(error)


def decided(
    connection: Engine, container: str, pid: int | None, ceiling: Ceiling, folder: Path
) -> tuple[Chance, Facts]:
    """The narrowest way, as for any other tool. Raises DebugrunError."""
    request = Request(tool="gdb", container=container, mode="stacks", pid=pid, ceiling=ceiling)
    tool, mode = find_tool(request, folder)
    facts = look(connection, request, tool)
    decision = plan(tool, mode, facts, request.ceiling)
    if decision.option is None:
        raise RefusedError("refused", *report.refusal(decision))
    print(report.announce(decision), file=sys.stderr)
    # It is put beside the container, whatever that runs in this life and the next: not beside one process.
    anyone = replace(facts, process=replace(facts.process, start_time=None))
    return Chance(option=decision.option, target=facts.container, decision=replace(decision, facts=anyone)), facts


def attend(
    connection: Engine, chance: Chance, question: Mapping[str, object], lines: Lines, seconds: int | None
) -> None:
    """Watch until the watcher ends, or for so long; all lines have been heard then. Raises DebugrunError."""
    option = chance.option
    where = copies(option)
    argv = (f"{where}gdb", *symbols.catch_arguments(question, gdb=f"{where}gdb", py_spy=f"{where}py-spy"))
    placed: AbstractContextManager[Place]
    if chance.decision is None:
        placed = apply.place(
            connection, option, chance.target, session=os.urandom(6).hex(), tool="gdb", breakpoints=False, only=argv,
            toolbox=True,
        )  # fmt: skip
    else:
        placed = planned.place(connection, chance.decision, option, only=argv, lets_go=True, helpers=("py-spy",))
    lines.start()
    try:
        with (
            open(os.devnull, "wb") as nowhere,  # noqa: PTH123 - for its descriptor
            placed as place,
        ):
            invocation = Invocation(argv=argv, tool="gdb", input=False, duration=seconds)
            attach.run(place, invocation, stdout=lines.sink, stderr=nowhere.fileno())
    finally:
        os.close(lines.sink)
        lines.join()


def refusal(name: str, refused: Mapping[int, str]) -> tuple[str, str]:
    """That nobody could be watched, and what to type next."""
    listed = ", ".join(f"PID {pid}: {error}" for pid, error in sorted(refused.items())[:4])
    return f"no process of {name} could be watched ({listed})", f"debugrun why gdb {name}"


def overhead(over: Json) -> None:
    """Say what watching has cost."""
    stops, handled, passed = (over.get(key) for key in ("stops", "handled", "passed"))
    if isinstance(stops, int) and isinstance(handled, int | float) and stops:
        print(f"debugrun: {stops} stops, {1000 * handled:.1f} ms of all threads together", file=sys.stderr)
    if isinstance(passed, int) and passed:
        print(f"debugrun: {passed} more passed while others were looked at", file=sys.stderr)
