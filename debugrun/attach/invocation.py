"""What is started in the place, how its answers are read, and how it ended; as values, and made from a decision."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from debugrun.attach.output import Sink
from debugrun.core.ask.request import Request
from debugrun.core.decide import programs
from debugrun.core.decide.plan import Plan
from debugrun.core.grants import Option, Placement, Verdict
from debugrun.core.know import symbols
from debugrun.core.know.facts import Facts
from debugrun.core.know.tool_file import NUDGE, Failure
from debugrun.core.know.tool_output import Nothing
from debugrun.core.say.command import Filling, handover, tool_argv
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """What to run and how to tell that it was refused.

    `failures` are texts that refute the option. At a terminal (`tty`), `handover` lines are sent at the first
    `prompt`, and the terminal belongs to the user from the next one on. `hold_output` keeps output back until the
    option has stood its trial. After `duration` seconds the tool is interrupted. Without `input` the tool has none.
    What it writes to standard output goes to the `sink`, and is shown as well where it is `copied`.
    `remote_protocol`, `unsaid` and `nothing` are the tool's. `view` is where a stub has the files of the process `pid`,
    if it has.
    """

    argv: tuple[str, ...]
    tool: str
    tty: bool = False
    input: bool = True
    failures: tuple[Failure, ...] = ()
    prompt: str | None = None
    handover: tuple[str, ...] = ()
    hold_output: bool = False
    duration: float | None = None
    sink: Sink | None = None
    copied: bool = False
    detach_keys: str = "ctrl-p,ctrl-q"
    remote_protocol: bool = False
    view: str = ""
    pid: int = 0
    unsaid: tuple[str, ...] = ()
    nothing: tuple[Nothing, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How it ended. `status` is the tool's; `output_seen` says that the user has seen output of it.

    `refuted` is the failure text that came; with `output_seen` it may have come at any time, in answer to a command of
    the user's even. `left` says that the user left the tool or closed its output. A tool that was interrupted because
    its time was up has done what it was asked: its status is 0 when it ended by that signal. `nothing` is what it said
    that means that it has found nothing.
    """

    status: int
    refuted: Failure | None = None
    output_seen: bool = False
    left: bool = False
    nothing: Nothing | None = None


def invocations(
    request: Request, decision: Plan, option: Option, file: Callable[[], Sink] | None = None
) -> list[Invocation]:
    """What is started in the place, one after the other, and how the answers are read.

    `file` makes what takes in the file that the tool writes.
    """
    tool, mode = decision.tool, decision.mode
    words = mode.output.args if file is not None and mode.output is not None else ()
    filling = Filling(
        option=option, tool=tool, mode=mode, pid=decision.facts.process.pid, args=request.args, output=words
    )
    copied = mode.output is not None and mode.output.kind == "copy"
    batch = bool(set(mode.batch_flags) & set(request.args)) or (file is not None and not copied)
    nothing = tuple(each.of(filling.pid, decision.facts.container.name) for each in tool.nothing)
    tty = sys.stdin.isatty() and sys.stdout.isatty() and not batch and tool.stop_signal != NUDGE
    prompted = tty and mode.prompt is not None
    first = Invocation(
        argv=tool_argv(mode.interactive_command if prompted else mode.command, filling),
        tool=tool.name,
        tty=tty,
        input=not (is_null(0) or (batch and sys.stdin.isatty())),
        failures=tuple(replace(each, text=each.text.replace("{pid}", str(filling.pid))) for each in tool.failures),
        prompt=mode.prompt if prompted else None,
        handover=handover(mode, filling) if prompted else (),
        hold_output=option.verdict is not Verdict.OPEN,
        duration=request.duration or mode.duration,
        detach_keys=request.detach_keys,
        sink=file() if file is not None else None,
        copied=copied,
        remote_protocol=tool.remote_protocol,
        view=symbols.files_of(filling.pid) if tool.remote_protocol and option.placement is Placement.SIDECAR else "",
        pid=filling.pid,
        unsaid=tool.unsaid,
        nothing=nothing,
    )
    if file is not None and not copied:  # what follows shows the file
        return [first]
    then = (tool_argv(words, filling) for words in mode.then)
    return [first, *(Invocation(argv=argv, tool=tool.name, unsaid=tool.unsaid, nothing=nothing) for argv in then)]


def can_start_with(steps: Sequence[Invocation], option: Option, facts: Facts) -> bool:
    """Whether the sidecar may start with the tool: there is one, without input, and what its lease needs for that."""
    return len(steps) == 1 and not steps[0].input and programs.of_toolbox(option, facts)


def is_our_toolbox(option: Option, facts: Facts) -> bool:
    """Whether the tool's image is a toolbox that debugrun has built, so that it is known what else it holds."""
    ours = facts.images.toolbox if facts.images.toolbox_binaries else None
    return ours is not None and option.image == ours


def attached_to(decision: Plan) -> int | None:
    """The PID that the tool takes hold of by ptrace(2), if it does."""
    attaches = any(need.gate == "ptrace-attach" for need in decision.mode.needs)
    return decision.facts.process.pid if attaches else None


def is_null(fd: int) -> bool:
    """Whether that is /dev/null: null(4)."""
    return os.fstat(fd).st_rdev == os.makedev(1, 3)
