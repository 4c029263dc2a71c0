"""`debugrun restore`: puts originals back, and lists what was recreated."""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Sequence

from debugrun.core.rebuild.transaction import Scene
from debugrun.engine import engine
from debugrun.engine.engine import Engine
from debugrun.errors import TargetError
from debugrun.recreate import flow, journal, restore

SCHEMA = 1


def run(ref: str, *, keep_new: bool, as_json: bool) -> int:
    """Restore the container `ref`, or stay with its stand-in; without one: list them all. 0; raises DebugrunError."""
    with engine.connect() as connection:
        scenes = restore.scenes(connection)
        if not ref:
            print(as_text(scenes) if not as_json else listed_json(scenes))
            return 0
        found = _find(scenes, ref)
        record = found.record
        with journal.working_on(record.original, record.name):
            if keep_new:
                restore.keep(connection, record)
                said = f"{record.name} stays as it is, with {record.grant}; its original is removed"
            else:
                said = flow.restored(record.name, restore.undo(connection, record))
    print(f"debugrun: {said}", file=sys.stderr)
    return 0


def _find(scenes: Sequence[Scene], ref: str) -> Scene:
    """The one that is meant by a name or an id. Raises TargetError."""
    for each in scenes:
        record = each.record
        ids = [record.original, *(stand_in.id for stand_in in each.stand_ins)]
        names = {record.name, record.lock, record.parked, *(stand_in.name for stand_in in each.stand_ins)}
        if ref in names or any(found.startswith(ref) for found in ids):
            return each
    known = ", ".join(each.record.name for each in scenes)
    message = f"{ref} was not recreated, or its original is back already"
    raise TargetError("not-recreated", message, f"one of: {known}" if known else "debugrun restore lists all")


def state(scene: Scene) -> str:
    """recreated, interrupted (neither was finished), kept (the original is gone)."""
    if scene.original is None:
        return "kept"
    return "recreated" if scene.complete else "interrupted"


def as_text(scenes: Sequence[Scene]) -> str:
    """A line for each."""
    return "\n".join(line(each) for each in scenes) or "nothing is recreated"


def line(scene: Scene) -> str:
    """What a container still runs with, since when, and what ends that."""
    record = scene.record
    since = f"for {record.tool} {_age(time.time() - record.since)} ago"
    return {
        "recreated": f"{record.name} runs with {record.grant}, recreated {since}: `debugrun restore {record.name}`",
        "interrupted": f"{record.name} was being recreated {since}, not to the end: `debugrun restore {record.name}`",
        "kept": f"{record.name} runs with {record.grant}, recreated {since}; its original was removed",
    }[state(scene)]


def _age(seconds: float) -> str:
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{seconds:.0f} s"


def listed_json(scenes: Sequence[Scene]) -> str:
    """The list as one JSON object."""
    rows = [
        {
            "name": each.record.name,
            "state": state(each),
            "original": each.record.original,
            "container": each.current.id if each.current else None,
            "tool": each.record.tool,
            "grant": each.record.grant,
            "since": dt.datetime.fromtimestamp(each.record.since, tz=dt.UTC).isoformat(timespec="seconds"),
        }
        for each in scenes
    ]
    return json.dumps({"schema": SCHEMA, "recreated": rows}, indent=2)


def lines(connection: Engine) -> list[str]:
    """What must not be forgotten, for other verbs."""
    return [line(each) for each in restore.scenes(connection)]
