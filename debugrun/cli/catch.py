"""`debugrun catch`: the stacks of the moment when something happens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from debugrun.cli.options import Container, Json, MaxGrant, Pid, interruptible
from debugrun.core.ask.request import ceiling
from debugrun.core.oncall.moments import KINDS, moment
from debugrun.oncall import catch as flow
from debugrun.toolbox import catalog

On = Annotated[str, typer.Option("--on", metavar="MOMENT", help=f"one of {', '.join(KINDS)}")]
Count = Annotated[int, typer.Option("--count", "-c", min=1, help="end after so many")]
Seconds = Annotated[
    int | None, typer.Option("--duration", metavar="SECONDS", min=1, help="give up after so long; without: never")
]
Hold = Annotated[
    float,
    typer.Option("--hold", metavar="SECONDS", min=0.1, max=60, help="a dying process waits for us at most so long"),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="a JSON file there for each, 0600")
]
FromStart = Annotated[
    bool, typer.Option("--from-start", help="be there before its processes are, from the host's PID namespace")
]


@interruptible
def catch(  # noqa: PLR0913 - each is an option of the command line
    ctx: typer.Context,
    *,
    container: Container,
    pid: Pid = None,
    on: On = "crash",
    count: Count = 1,
    duration: Seconds = None,
    hold: Hold = 10,
    output: Output = None,
    from_start: FromStart = False,
    max_grant: MaxGrant = "seccomp",
    as_json: Json = False,
) -> None:
    r"""Wait until a process of the container crashes, and show the stacks of that moment; then it meets its fate.

    Processes, their children and what is started later are watched without stopping any of them; a container that is
    restarted is watched again. What dies stands still until its stacks are known, all else for a copy only. With a PID:
    that process and what it starts. What follows -- is run here after each, with DEBUGRUN_FILE and DEBUGRUN_CAUGHT.

    \b
    debugrun catch web                          the next crash
    debugrun catch web --from-start             also one at the start of a container that crashes again and again
    debugrun catch web --on exit                who called exit
    debugrun catch web --on signal:TERM         who sent it, and what was done meanwhile
    debugrun catch web --on cpu:90              attached to nobody until then
    debugrun catch web 7 --on stuck:30s
    debugrun catch web -c 9 -o crashes -- mail -s crash oncall

    SIGKILL, the kernel's for want of memory too, is seen by no tracer.

    Exit status: 0; 124 when nothing was caught in the time.
    """
    wish = flow.Wish(
        container=container,
        on=moment(on),
        pid=pid,
        count=count,
        duration=duration,
        hold=hold,
        output=output,
        from_start=from_start,
        action=tuple(ctx.obj or ()),
        as_json=as_json,
        ceiling=ceiling(max_grant, "sidecar"),
    )
    raise typer.Exit(flow.run(wish, catalog.user_directory()))
