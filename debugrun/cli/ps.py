"""`debugrun ps`: what each process waits for."""

from __future__ import annotations

from typing import Annotated

import typer

from debugrun.cli.completion import complete_containers
from debugrun.cli.options import Json, KubernetesContext, Namespace, finite, interruptible
from debugrun.core.ask.number import LONGEST

Containers = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONTAINER]...", help="names or ids", autocompletion=complete_containers, show_default=False
    ),
]
Project = Annotated[
    str | None, typer.Option("--project", "-p", metavar="NAME", help="all containers of a Compose project")
]
Everything = Annotated[bool, typer.Option("--all", "-a", help="all containers that run or are being restarted")]


@interruptible
def ps(  # noqa: PLR0913 - each is an option of the command line
    *,
    container: Containers = None,
    project: Project = None,
    everything: Everything = False,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch",
            "-w",
            metavar="SECONDS",
            min=0.5,
            max=LONGEST,
            callback=finite,
            help="look again after this time, until Ctrl-C",
        ),
    ] = None,
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
    as_json: Json = False,
) -> None:
    r"""Show what each process waits for, the most suspicious first: who waits for whom, since when; how others ended.

    Nobody is stopped and nothing is granted. Secrets in command lines are masked. "?" is what the kernel hides from us.

    \b
    debugrun ps web                one container
    debugrun ps --project shop     a whole compose project, also what of it has ended
    debugrun ps --all --watch 2    everything, every two seconds
    debugrun ps pod/web -n shop    a pod's container
    """
    # Here, and not above: the flow takes 100 ms, which `debugrun ps --help` need not pay.
    from debugrun.oncall import ps as flow  # noqa: PLC0415
    from debugrun.oncall.ground import Where  # noqa: PLC0415

    where = Where(namespace=namespace, kubernetes_context=kubernetes_context)
    status = flow.run(container or (), project, everything=everything, watch=watch, as_json=as_json, where=where)
    raise typer.Exit(status)
