"""What `debugrun doctor` does: the engine and its host examined, and the page printed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from debugrun import pages
from debugrun.attach import leftovers
from debugrun.core.ask.request import Request
from debugrun.core.decide import doctor as deciding
from debugrun.core.decide.doctor import Findings
from debugrun.core.decide.plan import Plan
from debugrun.core.grants import Ceiling
from debugrun.core.say import recreated
from debugrun.engine import engine as engines
from debugrun.errors import EXIT_REFUSED
from debugrun.observe import engine_host
from debugrun.observe.target import look
from debugrun.recreate import restore
from debugrun.toolbox import catalog


def show(container: str | None, limit: Ceiling, folder: Path, *, as_json: bool) -> int:
    """Print the page. 0 when every tool of the toolbox has a way within the ceiling, else 126."""
    with engines.connect() as connection:
        found = examine(connection, container)
    rows = deciding.matrix(found, (catalog.load(name, folder) for name in catalog.names(folder)), limit)
    if as_json:
        print(deciding.as_json(found, rows))
    else:
        _page(found, rows)
    return 0 if deciding.everything_works(rows) else EXIT_REFUSED


def examine(connection: engines.Engine, container: str | None = None) -> Findings:
    """What is found, and what of ours is there.

    For the settings of another machine `container` names one of its containers to look through (by a scout).
    """
    found = engine_host.examine(connection)
    if container is not None and not found.engine.local:
        seen = look(connection, Request(tool="", container=container), None)
        found = replace(found, engine=seen.engine, host=seen.host)
    scenes = restore.scenes(connection)
    still = tuple(recreated.line(scene, time.time()) for scene in scenes)
    return replace(found, leftovers=_leftovers(connection), recreated=still)


def _leftovers(connection: engines.Engine) -> tuple[str, ...]:
    """Names of containers that sessions made: live ones, and what a crash left."""
    return tuple(sorted(each.name for each in leftovers.leftovers(connection)))


def _page(found: Findings, rows: Mapping[str, Mapping[str, Plan]]) -> None:
    marks = {"ok": "ok", "note": "!", "unknown": "?"}
    checks = [(marks[each.state], each.name, each.value, each.source) for each in deciding.checks(found)]
    pages.table(("", "what", "is", "read in"), checks)
    title = "what each tool takes beyond what the target has"
    needs = list[tuple[str, ...]]()
    for name, row in rows.items():
        apart = any(not decision.tool.toolbox for decision in row.values())
        needs.append((f"{name} *" if apart else name, *(deciding.cell(decision) for decision in row.values())))
    caption = "* not in the toolbox: `debugrun toolbox build --with NAME`, or an image that holds it, --image"
    pages.table(("tool", *deciding.targets(found)), needs, title=title, caption=caption)
