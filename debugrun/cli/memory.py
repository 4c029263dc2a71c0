"""`debugrun memory`: what the memory of processes is made of."""

from __future__ import annotations

import typer

from debugrun.cli.options import Container, Json, KubernetesContext, Namespace, Pid, interruptible
from debugrun.oncall import memory as flow
from debugrun.oncall.ground import Where


@interruptible
def memory(
    *,
    container: Container,
    pid: Pid = None,
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
    as_json: Json = False,
) -> None:
    r"""Show what the memory of each process is made of: heap, anonymous, libraries, shared; and the container's limit.

    Nobody is stopped and nothing is granted. Without a PID: all processes. For a runtime's own types it says how those
    are had.

    \b
    debugrun memory web
    debugrun memory web 7 --json

    Exit status: 0; 125 when a process could not be read.
    """
    raise typer.Exit(
        flow.run(
            container, pid, as_json=as_json, where=Where(namespace=namespace, kubernetes_context=kubernetes_context)
        )
    )
