"""`debugrun plan`: the decision without doing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from debugrun import pages, session
from debugrun.attach import prove as proving
from debugrun.attach.apply import ending
from debugrun.cli.options import (
    Comm,
    FactsFile,
    HostPid,
    Image,
    Json,
    KubernetesContext,
    MaxGrant,
    ModeName,
    Namespace,
    OptionalContainer,
    Pid,
    ToolFile,
    ToolName,
    Via,
    interruptible,
)
from debugrun.cli.saved_facts import read_facts
from debugrun.core.ask.request import Request, ceiling
from debugrun.core.decide import admitted
from debugrun.core.decide.plan import plan as decide
from debugrun.core.know.printable import printable
from debugrun.core.say import report
from debugrun.core.say.command import with_lines
from debugrun.engine import engine
from debugrun.errors import EXIT_REFUSED, RefusedError, UsageError
from debugrun.observe.target import look
from debugrun.toolbox import catalog
from debugrun.toolbox.catalog import find_tool

NOT_NEEDED = 1  # the exit status of --prove where something can be left out

Prove = Annotated[bool, typer.Option("--prove", help="run the tool with the grant, and without each part of it")]


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
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
    facts: FactsFile = None,
    prove: Prove = False,
    as_json: Json = False,
) -> None:
    """Show the decision without doing it: what would be taken, what was too narrow and why, the docker line.

    With --prove the tool is put on the process as planned, and then once more without each part of the grant.

    Exit status: 0; 126 when nothing within --max-grant works; 1 with --prove where a part is not needed.
    """
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
        namespace=namespace,
        kubernetes_context=kubernetes_context,
    )
    if prove:
        if facts is not None or not container:
            raise UsageError(
                "no-target", "--prove needs a running container", f"debugrun plan {tool} CONTAINER --prove"
            )
        raise typer.Exit(show_proof(request, catalog.user_directory(), as_json=as_json))
    raise typer.Exit(show_plan(request, catalog.user_directory(), facts_file=facts, as_json=as_json))


def show_proof(request: Request, folder: Path, *, as_json: bool) -> int:
    """Run the chosen option whole and without each part, and print what failed; 1 where a part is not needed."""
    tool, mode = find_tool(request, folder)
    with engine.connect() as connection, ending():
        decision = decide(tool, mode, look(connection, request, tool), request.ceiling)
        option = decision.option
        if option is None:
            raise RefusedError("refused", *report.refusal(decision))
        if decision.harm:
            raise RefusedError("may-kill", *report.danger(decision))
        print(report.announce(decision), file=sys.stderr)
        proofs = list(proving.prove(connection, request, decision, option))
    whole, rest = proofs[0], proofs[1:]
    if as_json:
        rows = [{"without": each.part, "works": each.works, "needed": each.needed, "said": each.said} for each in rest]
        print(json.dumps({"schema": 1, "works": whole.works, "parts": rows}, indent=2))
    else:
        _print_proof(whole, rest)
    return EXIT_REFUSED if not whole.works else NOT_NEEDED if not all(each.needed for each in rest) else 0


def _print_proof(whole: proving.Proof, rest: Sequence[proving.Proof]) -> None:
    print("as planned: it works" if whole.works else f"as planned: it does not work: {printable(whole.said)}")
    for each in rest:
        outcome = printable(each.said) if each.needed else "it works as well: the part is NOT NEEDED"
        outcome = f"this run does not show it, but the rule does: {outcome}" if each.ruled else outcome
        print(f"without {each.part}: {outcome}")
    if whole.works and not rest:
        print("nothing is granted beyond what the target has: there is nothing to take away")


def show_plan(request: Request, folder: Path, *, facts_file: Path | None, as_json: bool) -> int:
    """Print the decision; 126 when nothing within the ceiling works."""
    tool, mode = find_tool(request, folder)
    if facts_file is not None:
        decision = admitted.with_admission(with_lines(decide(tool, mode, read_facts(facts_file), request.ceiling)))
    elif request.container:
        with session.reach(request) as backend:
            found = with_lines(decide(tool, mode, backend.look(request, tool), request.ceiling))
            decision = backend.decide(found, everything=True)
    else:
        raise UsageError("no-target", "name a container, or give --facts FILE", f"debugrun plan {tool.name} CONTAINER")
    if as_json:
        print(report.plan_json(decision))
    else:
        pages.text(report.plan_text(decision))
    return EXIT_REFUSED if decision.option is None else 0
