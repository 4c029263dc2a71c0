"""`debugrun bt`: the stacks of one process, with what they hold."""

from __future__ import annotations

from typing import Annotated

import typer

from debugrun.cli.options import Container, Json, KubernetesContext, MaxGrant, Namespace, interruptible
from debugrun.core.ask.request import ceiling
from debugrun.oncall import stacks as flow
from debugrun.oncall.ground import Where
from debugrun.toolbox import catalog

OnePid = Annotated[
    int, typer.Argument(metavar="[PID]", help="PID inside the container (default: 1)", show_default=False)
]


@interruptible
def bt(  # noqa: PLR0913 - each is an option of the command line
    *,
    container: Container,
    pid: OnePid = 1,
    max_grant: MaxGrant = "seccomp",
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
    as_json: Json = False,
) -> None:
    r"""Show the stacks of one process with arguments and locals, every frame: `debugrun stacks` in depth.

    The process stands still only while its registers and stacks are copied. What lies elsewhere in its memory is not in
    the copy: then a value says that it cannot be accessed.

    \b
    debugrun bt web 7
    """
    limit = ceiling(max_grant, "sidecar")
    where = Where(namespace=namespace, kubernetes_context=kubernetes_context)
    wish = flow.Wish(
        refs=(container,), pids=(pid,), variables=True, full=True, as_json=as_json, ceiling=limit, where=where
    )
    raise typer.Exit(flow.run(wish, catalog.user_directory()))
