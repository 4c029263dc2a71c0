"""`debugrun plan`: the decision without doing it."""

from __future__ import annotations

from pathlib import Path

import typer

from debugrun.cli.options import (
    Comm,
    FactsFile,
    HostPid,
    Image,
    Json,
    MaxGrant,
    ModeName,
    OptionalContainer,
    Pid,
    ToolFile,
    ToolName,
    Via,
    interruptible,
)
from debugrun.cli.saved_facts import read_facts
from debugrun.core.ask.request import Request, ceiling
from debugrun.core.decide.plan import plan as decide
from debugrun.core.say import report
from debugrun.core.say.command import with_lines
from debugrun.engine import engine
from debugrun.errors import EXIT_REFUSED, UsageError
from debugrun.observe.target import look
from debugrun.toolbox import catalog
from debugrun.toolbox.catalog import find_tool


@interruptible
def plan(  # noqa: PLR0913 - each is an option of the command line
    *,
    ctx: typer.Context,
    tool: ToolName,
    container: OptionalContainer = "",
    pid: Pid = None,
    host_pid: HostPid = None,
    name: Comm = None,
    mode: ModeName = None,
    max_grant: MaxGrant = "seccomp",
    via: Via = None,
    image: Image = None,
    tool_file: ToolFile = None,
    facts: FactsFile = None,
    as_json: Json = False,
) -> None:
    """Show the decision without doing it: what would be taken, what was too narrow and why, the docker line."""
    request = Request(
        tool=tool,
        container=container,
        mode=mode,
        pid=pid,
        host_pid=host_pid,
        comm=name,
        args=ctx.obj or (),
        ceiling=ceiling(max_grant, via, recreate=True),
        image=image,
        tool_file=tool_file,
    )
    raise typer.Exit(show_plan(request, catalog.user_directory(), facts_file=facts, as_json=as_json))


def show_plan(request: Request, folder: Path, *, facts_file: Path | None, as_json: bool) -> int:
    """Print the decision; 126 when nothing within the ceiling works."""
    tool, mode = find_tool(request, folder)
    if facts_file is not None:
        facts = read_facts(facts_file)
    elif request.container:
        with engine.connect() as connection:
            facts = look(connection, request, tool)
    else:
        raise UsageError("no-target", "a container or --facts FILE is missing", f"debugrun plan {tool.name} CONTAINER")
    decision = with_lines(decide(tool, mode, facts, request.ceiling))
    print(report.plan_json(decision) if as_json else report.plan_text(decision))
    return EXIT_REFUSED if decision.option is None else 0
