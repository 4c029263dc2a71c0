"""What is recreated: with what, since when, and what ends that."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence

from debugrun.core.rebuild.transaction import Scene

SCHEMA = 1


def state(scene: Scene) -> str:
    """recreated, interrupted (neither was finished), kept (the original is gone), removed (both are)."""
    if scene.original is None:
        return "kept" if scene.stand_ins else "removed"
    return "recreated" if scene.complete else "interrupted"


def as_text(scenes: Sequence[Scene], now: float) -> str:
    """A line for each."""
    return "\n".join(line(each, now) for each in scenes) or "nothing is recreated"


def line(scene: Scene, now: float) -> str:
    """What a container still runs with, since when, and what ends that; `now` in seconds since the epoch."""
    record = scene.record
    layers = ", ".join(layer.removeprefix("sha256:")[:12] for layer in scene.layers)
    name = scene.current.name if scene.current else record.name
    since = f"for {record.tool} {_age(now - record.since)} ago"
    renamed = f" as {record.name} and renamed since" if name != record.name else ""
    return {
        "recreated": f"{name} runs with {record.grant}, recreated {since}{renamed}: `debugrun restore {name}`",
        "interrupted": f"{name} was being recreated {since}, not to the end{renamed}: `debugrun restore {name}`",
        "kept": f"{name} runs with {record.grant}, recreated {since}{renamed}; its original was removed",
        "removed": f"{record.name} was removed, recreated {since}; what it had written is in the image {layers}",
    }[state(scene)]


def _age(seconds: float) -> str:
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{seconds:.0f} s"


def as_json(scenes: Sequence[Scene]) -> str:
    """The list as one JSON object."""
    rows = [
        {
            "name": each.record.name,
            "state": state(each),
            "original": each.record.original,
            "container": each.current.id if each.current else None,
            "container_name": each.current.name if each.current else None,
            "tool": each.record.tool,
            "grant": each.record.grant,
            "since": dt.datetime.fromtimestamp(each.record.since, tz=dt.UTC).isoformat(timespec="seconds"),
        }
        for each in scenes
    ]
    return json.dumps({"schema": SCHEMA, "recreated": rows}, indent=2)
