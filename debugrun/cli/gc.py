"""`debugrun gc`: what a crash left behind goes."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from debugrun.attach import leftovers
from debugrun.cli.options import interruptible
from debugrun.core.say import recreated
from debugrun.engine import engine
from debugrun.recreate import restore
from debugrun.toolbox import volume


@interruptible
def gc(
    *,
    everything: Annotated[bool, typer.Option("--all", help="also end sessions that are still alive")] = False,
) -> None:
    """Remove what a crash left behind, gently: tools are told to detach before their container goes."""
    collect(everything=everything)


def collect(*, everything: bool) -> None:
    """Remove what a crash left; say what went and what stays, and what still runs recreated."""
    with engine.connect() as connection:
        gone = leftovers.collect(connection, everything=everything)
        left, doubted = leftovers.look(connection)
        scenes = restore.scenes(connection)
        volumes = volume.remove(connection)
        images, kept = restore.collect_images(connection)
    for name in (*(each.name for each in gone), *volumes, *(each.name for each in images)):
        print(f"removed {name}")
    for each in left:
        if each.id not in {other.id for other in gone}:
            print(f"in use: {each.name}, {each.age:.0f} s old; debugrun gc --all ends it too", file=sys.stderr)
    for image in kept:
        print(f"kept: {image.name} holds what was written to a recreated container; `docker rmi` it", file=sys.stderr)
    for other in doubted:
        print(f"not touched: {other.name} carries debugrun's label, but {other.why}", file=sys.stderr)
    for scene in scenes:
        print(recreated.line(scene, time.time()), file=sys.stderr)
