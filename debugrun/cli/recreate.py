"""`debugrun recreate`: more for a container's own program."""

from __future__ import annotations

from typing import Annotated

import typer

from debugrun.cli.options import Container, MaxGrant, interruptible
from debugrun.core.ask.dockerline import capability_names
from debugrun.core.ask.request import Recreation, ceiling
from debugrun.recreate import granted

CapAdd = Annotated[
    list[str] | None, typer.Option("--cap-add", metavar="CAP", help="a capability, as docker run has it")
]
Open = Annotated[
    list[str] | None, typer.Option("--open", metavar="CALL", help="a system call that its seccomp filter blocks")
]
ForceCompose = Annotated[bool, typer.Option("--force-compose", help="also what Compose manages")]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask for confirmation")]


@interruptible
def recreate(  # noqa: PLR0913 - each is an option of the command line
    *,
    container: Container,
    cap_add: CapAdd = None,
    open_call: Open = None,
    max_grant: MaxGrant = "seccomp",
    yes: Yes = False,
    force_compose: ForceCompose = False,
) -> None:
    """Make a container again with more for its own program; `debugrun restore` puts the original back.

    What it needs is what `debugrun why --from-error TEXT CONTAINER` says of a text that the program printed.
    """
    raise typer.Exit(
        granted.run(
            container,
            caps=capability_names(cap_add or ()),
            calls=tuple(open_call or ()),
            ceiling=ceiling(max_grant, None),
            recreation=Recreation(yes=yes, force_compose=force_compose),
        )
    )
