"""`debugrun doctor`: the engine and its host on one page, and what each tool would need here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from debugrun.cli.completion import complete_containers
from debugrun.cli.options import Json, MaxGrant, interruptible
from debugrun.core.ask.request import ceiling
from debugrun.toolbox import catalog


@interruptible
def doctor(
    *,
    container: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONTAINER]",
            help="look at the host of an engine elsewhere through this container",
            autocompletion=complete_containers,
        ),
    ] = None,
    max_grant: MaxGrant = "seccomp",
    as_json: Json = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE", help="try gdb, strace and perf on two targets of our own, for a bug report"
        ),
    ] = None,
) -> None:
    """Show the engine and its host on one page, and what each tool would need here.

    Exit status: 0 when every tool of the toolbox has a way within --max-grant, for each kind of target; else 126. With
    --report 0 when all that was tried became what was predicted, else 1.
    """
    # Here, and not above: the flow takes 100 ms, which `debugrun doctor --help` need not pay.
    from debugrun.cli import checkup, selftest  # noqa: PLC0415

    if report is not None:
        raise typer.Exit(selftest.run(report, ceiling(max_grant, None), catalog.user_directory()))
    raise typer.Exit(checkup.show(container, ceiling(max_grant, None), catalog.user_directory(), as_json=as_json))
