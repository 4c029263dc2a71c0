"""`debugrun toolbox`: the image that holds the tools."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from debugrun import streams
from debugrun.cli.options import interruptible
from debugrun.engine import engine
from debugrun.toolbox import catalog, image, volume


class Action(enum.Enum):
    """What to do with the toolbox."""

    BUILD = "build"


@interruptible
def toolbox(*, action: Annotated[Action, typer.Argument(help="build: make the image when it is missing")]) -> None:
    """The image that holds the tools, made of Debian packages, with or without a registry."""
    del action  # there is one
    make_toolbox(catalog.user_directory())


def make_toolbox(folder: Path) -> None:
    """Make the toolbox image, showing what goes on; the volumes of others go."""
    console = streams.console(stderr=True)
    recipe = image.recipe(catalog.load(name, folder) for name in catalog.names(folder))
    with engine.connect() as connection, console.status("toolbox") as status:
        made = image.build(connection.client, recipe, status.update)
        volume.remove(connection, keep=str(connection.inspect_image(made)["Id"]))
        print(made)
