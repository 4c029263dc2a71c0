"""`debugrun stacks`: all stacks, from a copy that is taken in a moment."""

from __future__ import annotations

from typing import Annotated

import typer

from debugrun.cli.completion import complete_containers
from debugrun.cli.options import Json, KubernetesContext, MaxGrant, Namespace, interruptible
from debugrun.core.ask.request import ceiling
from debugrun.oncall import stacks as flow
from debugrun.oncall.ground import Where
from debugrun.toolbox import catalog

OneContainer = Annotated[
    str,
    typer.Argument(metavar="[CONTAINER]", help="name or id", autocompletion=complete_containers, show_default=False),
]
Pids = Annotated[list[int] | None, typer.Argument(metavar="[PID]...", help="PIDs inside the container (default: all)")]


@interruptible
def stacks(  # noqa: PLR0913 - each is an option of the command line
    *,
    container: OneContainer = "",
    pid: Pids = None,
    project: Annotated[
        str | None, typer.Option("--project", "-p", metavar="NAME", help="all containers of a Compose project")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="all containers that run")] = False,
    consistent: Annotated[bool, typer.Option("--consistent", help="stop all processes at one instant")] = False,
    variables: Annotated[bool, typer.Option("--variables", help="with arguments and locals, as `bt` has them")] = False,
    full: Annotated[bool, typer.Option("--full", help="show every frame, not only the newest")] = False,
    folded: Annotated[bool, typer.Option("--folded", help="a line for each stack, for flame graph programs")] = False,
    max_grant: MaxGrant = "seccomp",
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
    as_json: Json = False,
) -> None:
    r"""Show the stacks of all threads: equal ones once with their count, the odd one first.

    Each process stands still only while its registers and stacks are copied, and how long is printed; a debugger then
    reads the copy. No signal is sent. Python frames come from py-spy, which stops nobody.

    \b
    debugrun stacks web            all processes of a container
    debugrun stacks web 7 8        two of them
    debugrun stacks --project shop
    debugrun stacks web --folded > web.folded

    Exit status: 0; 125 when some stack could not be had.
    """
    wish = flow.Wish(
        refs=(container,) if container else (),
        pids=tuple(pid or ()),
        project=project,
        everything=everything,
        together=consistent,
        variables=variables,
        full=full,
        folded=folded,
        as_json=as_json,
        ceiling=ceiling(max_grant, "sidecar"),
        where=Where(namespace=namespace, kubernetes_context=kubernetes_context),
    )
    raise typer.Exit(flow.run(wish, catalog.user_directory()))
