"""A tool on a process: `debugrun gdb web 7`, the command of every tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from debugrun.cli.options import (
    Comm,
    Container,
    DetachKeys,
    HostPid,
    Image,
    KubernetesContext,
    MaxGrant,
    ModeName,
    Namespace,
    Pid,
    ToolFile,
    Via,
    interruptible,
    typed_number,
)
from debugrun.toolbox import catalog

Duration = Annotated[
    int | None,
    typer.Option("--duration", metavar="SECONDS", parser=typed_number, help="interrupt the tool after this time"),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="the tool's file (strace -o, gdb's log, a core), on this machine"
    ),
]
MayKill = Annotated[bool, typer.Option("--may-kill", help="the process may die: for tools known to kill some (ltrace)")]
Yes = Annotated[bool, typer.Option("--yes", help="with --via recreate: do not ask for confirmation")]
AutoRestore = Annotated[bool, typer.Option("--auto-restore", help="with --via recreate: undo it when the tool ends")]
RestartUnder = Annotated[bool, typer.Option("--restart-under", help="with --via recreate: start it under the tool")]
ForceCompose = Annotated[bool, typer.Option("--force-compose", help="with --via recreate: also what Compose manages")]


@interruptible
def run_tool(  # noqa: PLR0913 - each is an option of the command line
    *,
    ctx: typer.Context,
    container: Container,
    pid: Pid = None,
    host_pid: HostPid = None,
    name: Comm = None,
    mode: ModeName = None,
    max_grant: MaxGrant = "seccomp",
    via: Via = None,
    image: Image = None,
    duration: Duration = None,
    detach_keys: DetachKeys = "ctrl-p,ctrl-q",
    may_kill: MayKill = False,
    output: Output = None,
    tool_file: ToolFile = None,
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
    yes: Yes = False,
    auto_restore: AutoRestore = False,
    force_compose: ForceCompose = False,
    restart_under: RestartUnder = False,
) -> None:
    """Run a tool on a process; shared by the commands of all tools."""
    # Here, and not above: the flow takes 100 ms, which `debugrun gdb --help` and a shell that completes need not pay.
    from debugrun import session  # noqa: PLC0415
    from debugrun.core.ask.request import Recreation, Request, ceiling  # noqa: PLC0415
    from debugrun.core.grants import Placement  # noqa: PLC0415

    request = Request(
        tool=str(ctx.info_name),
        container=container,
        mode=mode,
        pid=pid,
        host_pid=host_pid,
        comm=name,
        args=ctx.obj or (),
        ceiling=ceiling(max_grant, via, recreate=True),
        image=image,
        duration=duration,
        detach_keys=detach_keys,
        may_kill=may_kill,
        output=output,
        tool_file=tool_file,
        namespace=namespace,
        kubernetes_context=kubernetes_context,
        recreation=Recreation(restart_under, yes, auto_restore, force_compose),
    )
    by = session.run
    if request.ceiling.via is Placement.RECREATE:
        from debugrun.recreate import flow  # noqa: PLC0415 - only where a container is recreated
        from debugrun.recreate import restart_under as under  # noqa: PLC0415 - the same

        by = under.run if request.recreation.restart_under else flow.run
    raise typer.Exit(by(request, catalog.user_directory()))
