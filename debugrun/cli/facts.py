"""`debugrun facts`: what was observed."""

from __future__ import annotations

from debugrun import backends, pages
from debugrun.cli.options import Comm, Container, HostPid, Json, KubernetesContext, Namespace, Pid, interruptible
from debugrun.core.ask.request import Request
from debugrun.core.know.facts import dump
from debugrun.core.say import report


@interruptible
def facts(  # noqa: PLR0913 - each is an option of the command line
    *,
    container: Container,
    pid: Pid = None,
    host_pid: HostPid = None,
    name: Comm = None,
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
    as_json: Json = False,
) -> None:
    """Show what was observed of the engine, the host, the container and the process; never a secret."""
    request = Request(
        tool="",
        container=container,
        pid=pid,
        host_pid=host_pid,
        comm=name,
        namespace=namespace,
        kubernetes_context=kubernetes_context,
    )
    show_facts(request, as_json=as_json)


def show_facts(request: Request, *, as_json: bool) -> None:
    """Print what was observed."""
    with backends.reach(request) as backend:
        found = backend.look(request, None)
    if as_json:
        print(dump(found))
    else:
        pages.text(report.facts_text(found))
