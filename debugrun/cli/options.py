"""Options and arguments that several verbs share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from debugrun import CEILING_VARIABLE
from debugrun.cli.completion import complete_containers, complete_grants, complete_placements, complete_tools
from debugrun.core.ask.number import number
from debugrun.errors import EXIT_INTERRUPT

EPILOG = "Exit status as docker run: the tool's own; 125 debugrun failed; 126 refused; 127 no such tool; 130 Ctrl-C."


def typed_number(text: str) -> int:
    """A number of the command line: ASCII digits."""
    try:
        return number(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def finite(value: float | None) -> float | None:
    """A number that can be reckoned with: "nan" is one to Python, and lies in no range nor out of one."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number of anything")
    return value


Container = Annotated[
    str, typer.Argument(metavar="CONTAINER", help="name or id", autocompletion=complete_containers, show_default=False)
]
OptionalContainer = Annotated[
    str,
    typer.Argument(metavar="[CONTAINER]", help="name or id", autocompletion=complete_containers, show_default=False),
]
ToolName = Annotated[str, typer.Argument(metavar="TOOL", help="see `debugrun tools`", autocompletion=complete_tools)]
OptionalTool = Annotated[
    str,
    typer.Argument(metavar="[TOOL]", help="see `debugrun tools`", autocompletion=complete_tools, show_default=False),
]
Pid = Annotated[
    int | None, typer.Argument(metavar="[PID]", parser=typed_number, help="PID inside the container (default: 1)")
]
HostPid = Annotated[
    int | None, typer.Option("--host-pid", metavar="PID", parser=typed_number, help="the process by the host's PID")
]
Comm = Annotated[str | None, typer.Option("--name", metavar="COMM", help="the process by its name")]
ModeName = Annotated[str | None, typer.Option("--mode", "-m", metavar="MODE", help="see `debugrun tools`")]
MaxGrant = Annotated[
    str,
    typer.Option(
        "--max-grant",
        metavar="GRANT",
        help="the widest grant to take: none, caps, seccomp, broad, unconfined or privileged",
        envvar=CEILING_VARIABLE,
        autocompletion=complete_grants,
    ),
]
Via = Annotated[
    str | None,
    typer.Option(
        "--via",
        metavar="PLACEMENT",
        help="sidecar, here (exec in the container) or recreate (restarts it)",
        autocompletion=complete_placements,
    ),
]
Image = Annotated[str | None, typer.Option("--image", help="image of the sidecar, instead of the toolbox")]
DetachKeys = Annotated[str, typer.Option("--detach-keys", help="keys that leave the tool and let the process go on")]
ToolFile = Annotated[Path | None, typer.Option("--tool-file", help="a data file of your own for the tool")]
FactsFile = Annotated[Path | None, typer.Option("--facts", help="decide from a facts file, with no engine")]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAME", help="the pod's namespace (default: the kubeconfig's)"),
]
KubernetesContext = Annotated[
    str | None, typer.Option("--kubernetes-context", metavar="NAME", help="the kubeconfig's context for a pod")
]
Json = Annotated[bool, typer.Option("--json", help="one JSON object on standard output")]


def interruptible(function: Callable[..., None]) -> Callable[..., None]:
    """Ctrl-C ends with 130, once everything below has cleaned up."""

    @functools.wraps(function)
    def wrapper(*args: object, **kwargs: object) -> None:
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPT) from None

    return wrapper
