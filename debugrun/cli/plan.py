"""`debugrun plan`: the decision without doing it."""

from __future__ import annotations

from typing import Annotated

import typer

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
from debugrun.core.ask.request import Request, ceiling
from debugrun.errors import UsageError
from debugrun.toolbox import catalog

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
    # Here, and not above: the flow takes 100 ms, which `debugrun plan --help` need not pay.
    from debugrun.cli import planning  # noqa: PLC0415

    if prove:
        if facts is not None or not container:
            raise UsageError(
                "no-target", "--prove needs a running container", f"debugrun plan {tool} CONTAINER --prove"
            )
        raise typer.Exit(planning.show_proof(request, catalog.user_directory(), as_json=as_json))
    raise typer.Exit(planning.show_plan(request, catalog.user_directory(), facts_file=facts, as_json=as_json))
