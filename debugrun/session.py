"""The program on one screen: Request -> needs -> observe -> Facts -> plan -> place -> attach -> status."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from debugrun.attach import apply, attach
from debugrun.core.ask.request import Request
from debugrun.core.ask.selection import Row, Wanted
from debugrun.core.decide import judge, widen_profile
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Layer, Option, Placement, Verdict
from debugrun.core.know import tool_file
from debugrun.core.know.facts import Facts
from debugrun.core.know.tool_file import Mode, Tool
from debugrun.core.rules import seccomp
from debugrun.core.say import report
from debugrun.core.say.command import Filling, tool_argv
from debugrun.engine import engine
from debugrun.errors import EXIT_REFUSED, EngineError, RefusedError
from debugrun.observe import kernel_log, observe

TOOLBOX = "debugrun-toolbox:latest"


def run(request: Request, folder: Path) -> int:
    """Put the tool on the process. Returns the tool's exit status; raises DebugrunError."""
    if request.ceiling.via is Placement.RECREATE:
        from debugrun.recreate import flow, restart_under  # noqa: PLC0415 - rarely asked for

        by = restart_under.run if request.recreation.restart_under else flow.run
        return by(request, folder)
    with engine.connect() as connection:
        return debug(connection, request, folder)


def debug(connection: engine.Engine, request: Request, folder: Path) -> int:
    """Put the tool on the process of a container that is there. Raises DebugrunError."""
    tool, mode = find_tool(request, folder)
    facts = look(connection, request, tool)
    decision = plan(tool, mode, facts, request.ceiling, lines=False)
    if decision.harm and not request.may_kill and decision.option is not None:
        raise RefusedError("may-kill", *report.danger(decision))
    while (option := decision.option) is not None:
        print(report.announce(decision), file=sys.stderr)
        began = time.monotonic()
        result = attempt(connection, request, decision, option)
        if result.refuted is None or result.output_seen:
            return settled(result)
        print(f"debugrun: refused: {result.refuted.text}", file=sys.stderr)
        if result.refuted.layer is Layer.LSM and facts.engine.local:
            print(
                "".join(f"debugrun: the kernel: {line}\n" for line in kernel_log.denials(began)),
                end="",
                file=sys.stderr,
            )
        decision = decision.refute(result.refuted.layer, result.refuted.text)
    raise RefusedError("refused", *report.refusal(decision))


def settled(result: attach.Result) -> int:
    """The exit status of a try that the user has seen.

    A failure text in it is no reason to take more, since a command of the user's may have brought it; but where a tool
    says no and ends with 0 (gdb does), a script must not go on.
    """
    if result.refuted is None or result.status != 0 or sys.stdout.isatty():
        return result.status
    print(f"debugrun: the tool was refused: {result.refuted.text}", file=sys.stderr)
    return EXIT_REFUSED


def find_tool(request: Request, folder: Path) -> tuple[Tool, Mode]:
    """The tool and the mode that were asked for. Raises ToolError."""
    tool = tool_file.load_file(request.tool_file) if request.tool_file else tool_file.load(request.tool, folder)
    return tool, tool.mode(request.mode)


def look(connection: engine.Engine, request: Request, tool: Tool | None) -> Facts:
    """Observe the target, and ask which process is meant when that is not clear and a person is there to say."""
    wanted = Wanted(pid=request.pid, host_pid=request.host_pid, comm=request.comm)
    binaries = (tool.binary,) if tool else ()
    image = request.image or TOOLBOX
    try:
        facts = observe.observe(connection, request.container, wanted, binaries=binaries, toolbox_ref=image)
    except observe.AmbiguousError as error:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        wanted = Wanted(pid=pick(error.rows))
        facts = observe.observe(connection, request.container, wanted, binaries=binaries, toolbox_ref=image)
    if request.image and facts.images.toolbox is None:
        raise EngineError("no-image", f"the engine has no image {request.image}", f"docker pull {request.image}")
    return facts


def attempt(connection: engine.Engine, request: Request, decision: Plan, option: Option) -> attach.Result:
    """One option, for real: the tool's own output is the probe."""
    tool = decision.tool
    steps = invocations(request, decision, option)
    with apply.place(
        connection,
        option,
        decision.facts.container,
        session=os.urandom(6).hex(),
        tool=tool.name,
        breakpoints=tool.breakpoints,
        stop_signal=tool.stop_signal,
        profile_json=profile_json(option, decision.facts),
        only=steps[0].argv if can_start_with(steps, option, decision.facts) else (),
    ) as place:
        result = attach.run(place, steps[0])
        for step in steps[1:]:
            if result.refuted is not None or result.left:
                break
            result = attach.run(place, step)
        return result


def can_start_with(steps: Sequence[attach.Invocation], option: Option, facts: Facts) -> bool:
    """Whether the sidecar may start with the tool: there is one, without input, and what its lease needs for that."""
    ours = facts.images.toolbox if facts.images.toolbox_binaries else None  # a toolbox that debugrun has built
    alone = len(steps) == 1 and not steps[0].input
    return alone and option.placement is Placement.SIDECAR and ours is not None and option.image == ours


def profile_json(option: Option, facts: Facts) -> str | None:
    """The profile to send inline: the one in force with the option's calls opened; None: the engine's own."""
    _, base = judge.base_profile(option, facts)
    if not option.opened_calls or base is None:
        return None
    caps = judge.container_capabilities(option, facts)
    widened = widen_profile.widened(base, option.opened_calls, caps=caps, facts=facts)
    return seccomp.dump_profile(widened)


def invocations(request: Request, decision: Plan, option: Option) -> list[attach.Invocation]:
    """What is started in the place, one after the other, and how the answers are read."""
    tool, mode = decision.tool, decision.mode
    filling = Filling(option=option, tool=tool, mode=mode, pid=decision.facts.process.pid, args=request.args)
    batch = bool(set(mode.batch_flags) & set(request.args))
    tty = sys.stdin.isatty() and sys.stdout.isatty() and not batch
    prompted = tty and mode.prompt is not None
    first = attach.Invocation(
        argv=tool_argv(mode.interactive_command if prompted else mode.command, filling),
        tool=tool.name,
        tty=tty,
        input=not (is_null(0) or (batch and sys.stdin.isatty())),
        failures=tuple(replace(each, text=each.text.replace("{pid}", str(filling.pid))) for each in tool.failures),
        prompt=mode.prompt if prompted else None,
        handover=tuple(line.replace("{pid}", str(filling.pid)) for line in mode.handover) if prompted else (),
        hold_output=option.verdict is not Verdict.OPEN,
        duration=request.duration or mode.duration,
        detach_keys=request.detach_keys,
    )
    then = (tool_argv(words, filling) for words in mode.then)
    return [first, *(attach.Invocation(argv=argv, tool=tool.name) for argv in then)]


def is_null(fd: int) -> bool:
    """Whether that is /dev/null: null(4)."""
    return os.fstat(fd).st_rdev == os.makedev(1, 3)


def pick(rows: Sequence[Row]) -> int:
    """Let a person choose a process; its PID."""
    import typer  # noqa: PLC0415 - loaded already unless the command line was a plain one

    for number, row in enumerate(rows, start=1):
        print(f"  {number}) {row.line()}", file=sys.stderr)
    while True:
        number = int(typer.prompt("which process", type=int, err=True))
        if 1 <= number <= len(rows):
            return rows[number - 1].pid
