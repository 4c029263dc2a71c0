"""The flow of `debugrun ps`: choose, look, show; once or again and again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

from debugrun.core.know.masked import command_line, masked
from debugrun.core.know.printable import printable
from debugrun.core.oncall import containers
from debugrun.core.oncall.containers import Use
from debugrun.core.oncall.processes import Process
from debugrun.core.oncall.waits import Words, describe
from debugrun.errors import EXIT_FAILED, UsageError
from debugrun.oncall import first_look
from debugrun.oncall.ground import HERE, Where, reach
from debugrun.oncall.look import Look

SCHEMA = 1


def run(  # noqa: PLR0913 - what is looked at, and how it is shown
    refs: Sequence[str],
    project: str | None,
    *,
    everything: bool,
    watch: float | None,
    as_json: bool,
    where: Where = HERE,
) -> int:
    """Show the processes of the containers. 0, or 125 when those of a running one could not be seen."""
    if bool(refs) + (project is not None) + everything != 1:
        raise UsageError("which-containers", "which containers?", "debugrun ps CONTAINER..., --project NAME or --all")
    with reach(refs, where) as ground:
        while True:
            found = ground.look(ground.choose(refs, project, everything=everything))
            if as_json:
                print(json.dumps(as_dict(found)), flush=True)
            else:
                if watch is not None and sys.stdout.isatty():
                    print("\x1b[H\x1b[2J", end="")
                first_look.show(found)
                sys.stdout.flush()
            if watch is None:
                return EXIT_FAILED if found.unseen else 0
            time.sleep(watch)


def as_dict(found: Look) -> dict[str, object]:
    """The look as JSON: numbers in bytes, percent and seconds; text is printable and without secrets."""
    words = Words(census=found.census, hosts=found.chosen.hosts)
    shown = []
    for each in found.chosen.containers:
        tree = first_look.rows([p for p in found.census.processes if p.container == each.id], words)
        shown.append(
            {
                "id": each.id,
                "name": each.name,
                "service": each.service,
                "project": each.project,
                "state": each.state,
                "health": each.health,
                "restarts": each.restarts,
                "ended": None if each.running else printable(masked(containers.ending(each))),
                "exit_code": None if each.running else each.exit_code,
                "oom_killed": each.oom_killed,
                "log": [printable(line) for line in masked(found.logs.get(each.id, "")).splitlines()],
                "use": asdict(found.use.get(each.id, Use())) if each.running else None,
                "unseen": found.unseen.get(each.name),
                "processes": [_row(row, words) for row in tree],
            }
        )
    return {"schema": SCHEMA, "containers": shown}


def _is_parent(each: Process, process: Process) -> bool:
    return each.container == process.container and each.seen == process.parent


def _row(row: first_look.Row, words: Words) -> dict[str, object]:
    process = row.process
    command = process.command
    return {
        "pid": process.pid,
        "parent": next((each.pid for each in words.census.processes if _is_parent(each, process)), 0),
        "name": printable(process.name),
        "state": process.state,
        "cpu_percent": round(process.cpu, 1),
        "age": round(process.age, 1),
        "rss": process.rss,
        "uid": process.uid,
        "tracer": process.tracer,
        "files": process.files,
        "files_limit": process.files_limit,
        "command": None if command is None else command_line(command),
        "suspicion": row.suspicion.score,
        "reason": row.suspicion.reason,
        "threads": [
            {
                "tid": each.tid,
                "name": printable(each.name),
                "state": each.state,
                "call": each.wait.call if each.wait else None,
                "waits_for": describe(each, process, words),
                "since": None if each.idle is None else round(each.idle, 3),
            }
            for each in process.threads
        ],
        "thread_count": process.count,
    }
