"""The program on one screen: Request -> needs -> observe -> Facts -> plan -> place -> attach -> status."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from debugrun import backends, timing
from debugrun.attach import attach, output
from debugrun.attach.invocation import Result, invocations
from debugrun.backends import Backend
from debugrun.core.ask.request import Request
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Layer, Option, Placement
from debugrun.core.know.tool_output import misled
from debugrun.core.say import report
from debugrun.errors import EXIT_REFUSED, DebugrunError, RefusedError, TargetError, UsageError
from debugrun.observe import kernel_log
from debugrun.toolbox.catalog import find_tool

EXIT_NOTHING = 1  # as of grep: the tool worked, and there was nothing to see
Make = Callable[[], output.Sink]


def run(request: Request, folder: Path) -> int:
    """Put the tool on the process. Returns the tool's exit status; raises DebugrunError."""
    with backends.reach(request) as backend:
        return debug(backend, request, folder)


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
