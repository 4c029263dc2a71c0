"""`debugrun toolbox`: the image that holds the tools."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from debugrun import streams
from debugrun.cli.completion import complete_tools
from debugrun.cli.options import interruptible
from debugrun.core.know.tool_file import Tool
from debugrun.engine import engine
from debugrun.errors import ToolError
from debugrun.toolbox import catalog, image, volume

ALL = "all"
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with", metavar="TOOL,...", help="tools that it leaves out otherwise, or all", autocompletion=complete_tools
    ),
]


class Action(enum.Enum):
    """What to do with the toolbox."""

    BUILD = "build"


@interruptible
def toolbox(
    *, action: Annotated[Action, typer.Argument(help="build: make the image when it is missing")], with_: With = None
) -> None:
    """The image that holds the tools, made of Debian packages, with or without a registry.

    It leaves out large tools that few need: lldb, delve, bpftrace and others. `--with lldb,delve` puts these in,
    `--with all` every one; without it the next build is the small one again.
    """
    del action  # there is one
    wanted = tuple(name for each in with_ or () for name in each.split(",") if name)
    make_toolbox(catalog.user_directory(), wanted)


def make_toolbox(folder: Path, wanted: Sequence[str] = ()) -> None:
    """Make the toolbox image, showing what goes on; the volumes of others go.

    `wanted` are tools that it leaves out otherwise, or "all". Raises ToolError.
    """
    console = streams.console(stderr=True)
    recipe = image.recipe(chosen(folder, wanted))
    with engine.connect() as connection, console.status("toolbox") as status:
        made = image.build(connection.client, recipe, status.update)
        volume.remove(connection, keep=str(connection.inspect_image(made)["Id"]))
        print(made)


def chosen(folder: Path, wanted: Sequence[str]) -> list[Tool]:
    """All tools, those `wanted` marked as the toolbox's. Raises ToolError: no such tool, no package of it."""
    tools = [catalog.load(name, folder) for name in catalog.names(folder)]
    for name in wanted:
        tool = catalog.load(name, folder) if name != ALL else None
        if tool is not None and not (tool.debian or tool.pypi):
            raise ToolError("no-package", f"{name} names no package", f"[packages] in its file, or --image for {name}")
    return [
        dataclasses.replace(tool, toolbox=tool.toolbox or tool.name in wanted or (ALL in wanted and bool(tool.debian)))
        for tool in tools
    ]
