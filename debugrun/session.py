"""The program on one screen: Request -> needs -> observe -> Facts -> plan -> place -> attach -> status."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from debugrun import timing
from debugrun.attach import apply, attach, output, planned
from debugrun.attach.invocation import Invocation, Result, can_start_with, invocations
from debugrun.attach.place import Place
from debugrun.core.ask.pod_reference import is_pod_reference
from debugrun.core.ask.request import Request
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Layer, Option, Placement
from debugrun.core.know.facts import ContainerFacts, Facts
from debugrun.core.know.tool_file import Tool
from debugrun.core.know.tool_output import misled
from debugrun.core.say import report
from debugrun.engine import engine
from debugrun.errors import EXIT_REFUSED, DebugrunError, RefusedError, TargetError, UsageError
from debugrun.observe import kernel_log
from debugrun.observe.target import look
from debugrun.toolbox.catalog import find_tool

EXIT_NOTHING = 1  # as of grep: the tool worked, and there was nothing to see
Make = Callable[[], output.Sink]


def run(request: Request, folder: Path) -> int:
    """Put the tool on the process. Returns the tool's exit status; raises DebugrunError."""
    with reach(request) as backend:
        return debug(backend, request, folder)


@contextmanager
def reach(request: Request) -> Iterator[Backend]:
    """The kind of engine that holds the target: a cluster for KIND/NAME, else the engine. Raises DebugrunError."""
    if is_pod_reference(request.container):
        from debugrun.kubernetes import backend  # noqa: PLC0415 - not on the way to a container

        with backend.connect(request) as pods:
            yield pods
        return
    with engine.connect() as connection:
        yield Containers(connection)


class Backend(Protocol):
    """A kind of engine: what it tells of a target, what it alone can say to a plan, and a place for tools there."""

    def look(self, request: Request, tool: Tool | None) -> Facts:
        """Observe the process that is meant."""

    def decide(self, decision: Plan, *, everything: bool = False) -> Plan:
        """The plan, with what only the engine itself can say to the option that is taken, or to `everything`."""

    def place(self, decision: Plan, option: Option, steps: Sequence[Invocation]) -> AbstractContextManager[Place]:
        """Where the steps run, one after the other; nothing of it stays behind."""

    def planned(
        self,
        decision: Plan,
        option: Option,
        *,
        only: Sequence[str] = (),
        lets_go: bool = False,
        helpers: Sequence[str] = (),
    ) -> AbstractContextManager[Place]:
        """The same for programs of ours in place of the tool: see `attach.planned.place`."""

    def beside(
        self, option: Option, target: ContainerFacts, *, tool: str, only: Sequence[str] = ()
    ) -> AbstractContextManager[Place]:
        """Where a program of ours runs that no plan was made for; `only` may be the only one."""


class Containers:
    """The containers of a Docker engine, or of one that speaks its API."""

    def __init__(self, connection: engine.Engine) -> None:
        self.connection = connection

    def look(self, request: Request, tool: Tool | None) -> Facts:
        """Observe the process that is meant."""
        return look(self.connection, request, tool)

    def decide(self, decision: Plan, *, everything: bool = False) -> Plan:  # noqa: ARG002 - as Backend has it
        """The plan as it is: all rules of such an engine are known."""
        return decision

    def place(self, decision: Plan, option: Option, steps: Sequence[Invocation]) -> AbstractContextManager[Place]:
        """A sidecar, or the container itself."""
        only = steps[0].argv if can_start_with(steps, option, decision.facts) else ()
        return planned.place(self.connection, decision, option, only=only)

    def planned(
        self,
        decision: Plan,
        option: Option,
        *,
        only: Sequence[str] = (),
        lets_go: bool = False,
        helpers: Sequence[str] = (),
    ) -> AbstractContextManager[Place]:
        """A sidecar."""
        return planned.place(self.connection, decision, option, only=only, lets_go=lets_go, helpers=helpers)

    def beside(
        self, option: Option, target: ContainerFacts, *, tool: str, only: Sequence[str] = ()
    ) -> AbstractContextManager[Place]:
        """A sidecar of the toolbox."""
        return apply.place(
            self.connection,
            option,
            target,
            session=os.urandom(6).hex(),
            tool=tool,
            breakpoints=False,
            only=only,
            toolbox=True,
        )


def debug(backend: Backend, request: Request, folder: Path) -> int:
    """Put the tool on the process of a container that is there. Raises DebugrunError."""
    tool, mode = find_tool(request, folder)
    request = output.settled(request, mode)
    with timing.span("observe"):
        facts = backend.look(request, tool)
    with timing.span("decide"):
        decision = backend.decide(plan(tool, mode, facts, request.ceiling))
    if (option := decision.option) is None:
        raise RefusedError("refused", *report.refusal(decision))
    wrong = misled(request.args, mode.misleading) if option.placement is Placement.SIDECAR else None
    says = f"{tool.name} {wrong.options[0]}: {wrong.says}" if wrong is not None else ""
    if decision.harm and not request.may_kill:
        message, hint = report.danger(decision)
        raise RefusedError("may-kill", "; ".join(filter(None, (message, says))), hint)
    if wrong is not None:
        if not decision.harm:
            raise UsageError("misleading", says, wrong.instead)
        print(f"debugrun: note: {says}: {wrong.instead}", file=sys.stderr)
    with output.opened(request, mode) as file:
        return _climb(backend, request, decision, file)


def _climb(backend: Backend, request: Request, decision: Plan, file: Make | None) -> int:
    """One option after the other until one works. Raises RefusedError when none is left."""
    while (option := decision.option) is not None:
        print(report.announce(decision), file=sys.stderr)
        began = time.monotonic()
        result = attempt(backend, request, decision, option, file)
        if result.refuted is not None and result.refuted.layer is Layer.PTRACE:
            tell_of_tracer(backend, request, decision)
        if result.refuted is None or result.output_seen:
            return settled(result)
        print(f"debugrun: refused: {result.refuted.text}", file=sys.stderr)
        if result.refuted.layer is Layer.LSM and decision.facts.engine.local:
            print(
                "".join(f"debugrun: the kernel: {line}\n" for line in kernel_log.denials(began)),
                end="",
                file=sys.stderr,
            )
        decision = backend.decide(decision.refute(result.refuted.layer, result.refuted.text))
    raise RefusedError("refused", *report.refusal(decision))


def tell_of_tracer(backend: Backend, request: Request, decision: Plan) -> None:
    """Raise TargetError where another tracer was faster: then no grant helps. The kernel says EPERM either way."""
    same = replace(request, pid=decision.facts.process.pid, host_pid=None, comm=None)
    try:
        backend.look(same, decision.tool)
    except TargetError as error:
        if error.code == "traced":
            raise
    except DebugrunError:
        return  # what was refused is told all the same


def settled(result: Result) -> int:
    """The exit status of a try that the user has seen.

    A failure text in it is no reason to take more, since a command of the user's may have brought it; but where a tool
    says no and ends with 0 (gdb does), a script must not go on.
    """
    if result.nothing is not None and result.refuted is None:
        print(f"debugrun: {result.nothing.says}", file=sys.stderr)
        print(f"debugrun: try: {result.nothing.instead}", file=sys.stderr)
        return result.status or EXIT_NOTHING
    if result.refuted is None or result.status != 0 or sys.stdout.isatty():
        return result.status
    print(f"debugrun: the tool was refused: {result.refuted.text}", file=sys.stderr)
    return EXIT_REFUSED


def attempt(backend: Backend, request: Request, decision: Plan, option: Option, file: Make | None = None) -> Result:
    """One option, for real: the tool's own output is the probe. `file` makes what takes in the tool's file."""
    steps = invocations(request, decision, option, file)
    with timing.span("the place, from its creation to its end"), backend.place(decision, option, steps) as place:
        result = attach.run(place, steps[0])
        for step in steps[1:]:
            if result.refuted is not None or result.left:
                break
            result = attach.run(place, step)
        return result
