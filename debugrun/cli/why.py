"""`debugrun why`: who says no, and what would do."""

from __future__ import annotations

from typing import Annotated

import typer

from debugrun.cli import question
from debugrun.cli.options import (
    Comm,
    FactsFile,
    HostPid,
    Json,
    MaxGrant,
    ModeName,
    OptionalContainer,
    OptionalTool,
    Pid,
    ToolFile,
    interruptible,
)
from debugrun.cli.question import Question
from debugrun.core.ask.request import Request, ceiling
from debugrun.core.decide import judge_attempt
from debugrun.core.decide.plan import plan
from debugrun.core.decide.why import diagnose
from debugrun.core.say import diagnosis
from debugrun.core.say.command import with_lines
from debugrun.errors import EXIT_REFUSED
from debugrun.toolbox import catalog


@interruptible
def why(  # noqa: PLR0913 - each is an option of the command line
    *,
    ctx: typer.Context,
    tool: OptionalTool = "",
    container: OptionalContainer = "",
    pid: Pid = None,
    from_error: Annotated[str | None, typer.Option("--from-error", metavar="TEXT", help="what it printed")] = None,
    host_pid: HostPid = None,
    name: Comm = None,
    mode: ModeName = None,
    max_grant: MaxGrant = "seccomp",
    tool_file: ToolFile = None,
    facts: FactsFile = None,
    as_json: Json = False,
) -> None:
    """Name the layer that says no to what people type first, with the fact, and the narrowest fix.

    Asked about is `docker exec CONTAINER TOOL` where the container holds the tool, else `docker run --pid
    container:CONTAINER IMAGE TOOL`, or the docker line after `--`. Nothing is started.

    Exit status: 0; 126 when nothing within --max-grant works.
    """
    asked = Question(
        request=Request(
            tool=tool,
            container=container,
            pid=pid,
            host_pid=host_pid,
            comm=name,
            mode=mode,
            tool_file=tool_file,
            ceiling=ceiling(max_grant, None),
        ),
        folder=catalog.user_directory(),
        facts_file=facts,
        pasted=ctx.obj or (),
    )
    raise typer.Exit(explain(asked, error=from_error, as_json=as_json))


def explain(asked: Question, *, error: str | None, as_json: bool) -> int:
    """Print who says no and what would do. 0, or 126 when nothing within the ceiling works."""
    tool, mode, facts, typed = question.look(asked)
    decision = with_lines(plan(tool, mode, facts, asked.request.ceiling))
    found = diagnose(typed or judge_attempt.plain(tool, facts, mode), decision, error)
    print(diagnosis.as_json(found) if as_json else diagnosis.as_text(found))
    return EXIT_REFUSED if decision.option is None else 0
