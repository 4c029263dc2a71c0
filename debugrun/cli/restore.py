"""`debugrun restore`: originals come back; what is recreated is listed."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from debugrun.cli.options import Json, OptionalContainer, interruptible
from debugrun.core.rebuild.transaction import Scene
from debugrun.core.say import recreated
from debugrun.engine import engine
from debugrun.errors import TargetError
from debugrun.recreate import flow, journal
from debugrun.recreate import restore as restoring


@interruptible
def restore(
    *,
    container: OptionalContainer = "",
    keep_new: Annotated[
        bool, typer.Option("--keep-new", help="stay with the recreated container and remove the original")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put the original of a recreated container back, as it was: under its name, running, with its data.

    Also where recreating it, or restoring it, was interrupted. Without a container: list what is recreated, since
    when, and what it still runs with.
    """
    raise typer.Exit(run(container, keep_new=keep_new, as_json=as_json))


def run(ref: str, *, keep_new: bool, as_json: bool) -> int:
    """Restore the container `ref`, or stay with its stand-in; without one: list them all. 0; raises DebugrunError."""
    with engine.connect() as connection:
        scenes = restoring.scenes(connection)
        if not ref:
            print(recreated.as_json(scenes) if as_json else recreated.as_text(scenes, time.time()))
            return 0
        found = _find(scenes, ref, restoring.unproven(connection))
        record = found.record
        with journal.working_on(record.original, record.name):
            if keep_new:
                restoring.keep(connection, record)
                name = found.current.name if found.current else record.name
                said = f"{name} stays as it is, with {record.grant}; its original is removed"
            else:
                said = flow.restored(record.name, restoring.undo(connection, record))
    print(f"debugrun: {said}", file=sys.stderr)
    return 0


def _find(scenes: Sequence[Scene], ref: str, unproven: Mapping[str, str]) -> Scene:
    """The one that is meant by a name or an id: one that there is a way back from first. Raises TargetError."""
    for each in sorted(scenes, key=lambda scene: (scene.original is None, -scene.record.since)):
        record = each.record
        ids = [record.original, *(stand_in.id for stand_in in each.stand_ins)]
        names = {record.name, record.lock, record.parked, *(stand_in.name for stand_in in each.stand_ins)}
        if ref in names or any(found.startswith(ref) for found in ids):
            return each
    if ref in unproven:
        message = f"{ref} carries debugrun's label, but {unproven[ref]}"
        by_hand = f"docker rm -f {ref}; docker rename {ref}.debugrun-original {ref}; docker start {ref}"
        raise TargetError("not-proven", message, f"debugrun restore there, or, if you trust the label: {by_hand}")
    known = ", ".join(each.record.name for each in scenes)
    message = f"{ref} was not recreated, or its original is back already"
    raise TargetError("not-recreated", message, f"one of: {known}" if known else "debugrun restore lists all")
