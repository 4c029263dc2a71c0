"""`debugrun flame`: where the CPU time goes, as a picture."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from debugrun.cli.options import Container, KubernetesContext, MaxGrant, Namespace, Pid, interruptible
from debugrun.core.ask.request import ceiling
from debugrun.oncall import flame as flow
from debugrun.toolbox import catalog


class Unwinder(enum.Enum):
    """How perf finds the callers: perf-record(1), --call-graph."""

    DWARF = "dwarf"
    FP = "fp"


Output = Annotated[
    list[Path] | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="*.html, *.svg, *.folded, *.speedscope.json, *.data or a folder"
    ),
]
Seconds = Annotated[int, typer.Option("--duration", metavar="SECONDS", min=1, help="how long to sample")]
Rate = Annotated[int, typer.Option("--rate", metavar="HZ", min=1, max=10_000, help="samples a second")]
CallGraph = Annotated[
    Unwinder, typer.Option("--call-graph", help="dwarf: copy 16 KiB of stack with each sample; fp: frame pointers")
]
Before = Annotated[
    Path | None, typer.Option("--diff", metavar="FILE.folded", help="colour the picture by the change since that one")
]


@interruptible
def flame(  # noqa: PLR0913 - each is an option of the command line
    *,
    container: Container,
    pid: Pid = None,
    duration: Seconds = 10,
    rate: Rate = 99,
    call_graph: CallGraph = Unwinder.DWARF,
    output: Output = None,
    diff: Before = None,
    max_grant: MaxGrant = "seccomp",
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
) -> None:
    r"""Sample a process with perf, name the hottest functions, and write flame graphs.

    The HTML file needs nothing else and no network: zoom, search, reversed, by mouse and keys. Ctrl-C ends the
    sampling sooner. `debugrun perf CONTAINER -o FILE` is the same.

    \b
    debugrun flame web                                  the short answer only
    debugrun flame web 7 -o cpu.html -o cpu.folded
    debugrun flame web -o now.html --diff cpu.folded    what has changed

    Exit status: 0; 125 when it used no CPU; 126 when perf was refused.
    """
    wish = flow.Wish(
        container=container,
        pid=pid,
        duration=duration,
        rate=rate,
        call_graph=call_graph.value,
        outputs=tuple(output or ()),
        diff=diff,
        ceiling=ceiling(max_grant, "sidecar"),
        namespace=namespace,
        kubernetes_context=kubernetes_context,
    )
    raise typer.Exit(flow.run(wish, catalog.user_directory()))
