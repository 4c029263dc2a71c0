"""Verbs about what is ours on an engine: the toolbox image, leftovers, the names that a shell completes."""

from __future__ import annotations

import sys
from pathlib import Path

from debugrun.attach import leftovers
from debugrun.core.know import tool_file
from debugrun.engine import engine
from debugrun.errors import DebugrunError
from debugrun.toolbox import catalog


def make_toolbox(folder: Path) -> None:
    """Make the toolbox image, showing what goes on; the volumes of others go."""
    from rich.console import Console  # noqa: PLC0415 - not on the way of a tool

    from debugrun.toolbox import image, volume  # noqa: PLC0415 - the same

    console = Console(stderr=True)
    recipe = image.recipe(tool_file.load(name, folder) for name in catalog.names(folder))
    with engine.connect() as connection, console.status("toolbox") as status:
        made = image.build(connection.client, recipe, status.update)
        volume.remove(connection, keep=str(connection.inspect_image(made)["Id"]))
        print(made)


def collect(*, everything: bool) -> None:
    """Remove what a crash left; say what went and what stays, and what still runs recreated."""
    from debugrun.cli import restore  # noqa: PLC0415 - not for a shell that completes
    from debugrun.toolbox import volume  # noqa: PLC0415 - not for a shell that completes

    with engine.connect() as connection:
        gone = leftovers.collect(connection, everything=everything)
        left = leftovers.leftovers(connection)
        recreated = restore.lines(connection)
        volumes = volume.remove(connection)
    for name in (*(each.name for each in gone), *volumes):
        print(f"removed {name}")
    for each in left:
        if each.id not in {other.id for other in gone}:
            print(f"in use: {each.name}, {each.age:.0f} s old; debugrun gc --all ends it too", file=sys.stderr)
    for line in recreated:
        print(line, file=sys.stderr)


def container_names() -> list[str]:
    """Names of running containers; none when the engine does not answer (a shell is completing)."""
    try:
        with engine.connect(timeout=2) as connection:
            return list(connection.container_names())
    except DebugrunError:
        return []
