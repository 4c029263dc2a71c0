"""`debugrun denials`: what the application is refused."""

from __future__ import annotations

from typing import Annotated

import typer

from debugrun.cli.options import Container, Json, MaxGrant, Pid, interruptible
from debugrun.core.ask.request import ceiling
from debugrun.oncall import denials as flow
from debugrun.toolbox import catalog

Seconds = Annotated[int, typer.Option("--duration", metavar="SECONDS", min=1, help="how long to watch")]


@interruptible
def denials(
    *,
    container: Container,
    pid: Pid = None,
    duration: Seconds = 10,
    max_grant: MaxGrant = "seccomp",
    as_json: Json = False,
) -> None:
    r"""Show which calls of the running application the kernel refuses (EPERM, EACCES, ENOSYS), and which layer did it.

    seccomp, file permissions, a capability that it lacks, or a security module; with the path, the stack of the first
    of each kind, how often, and the narrowest mend. Each call stops its thread twice for a moment: it runs slower
    meanwhile, and the cost is printed.

    \b
    debugrun denials web
    debugrun denials web 7 --duration 30
    """
    wish = flow.Wish(
        container=container, pid=pid, duration=duration, as_json=as_json, ceiling=ceiling(max_grant, "sidecar")
    )
    raise typer.Exit(flow.run(wish, catalog.user_directory()))
