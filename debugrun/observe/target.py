"""The target that a request names, observed; a person says which process is meant where that is not clear."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence

from debugrun.core.ask.request import TOOLBOX, Request
from debugrun.core.ask.selection import Row, Wanted, table
from debugrun.core.know.facts import Facts
from debugrun.core.know.tool_file import Tool
from debugrun.engine import engine
from debugrun.errors import EngineError
from debugrun.observe import observe, programs, seen

_COMMAND = 60  # characters of a command line in a sentence


def look(connection: engine.Engine, request: Request, tool: Tool | None) -> Facts:
    """Observe the target, and ask which process is meant when that is not clear and a person is there to say."""
    wanted = Wanted(pid=request.pid, host_pid=request.host_pid, comm=request.comm)
    binaries = (tool.binary,) if tool else ()
    image = request.image or TOOLBOX
    try:
        facts = observe.observe(
            connection, request.container, wanted, binaries=binaries, toolbox_ref=image, note=_note_for(request)
        )
    except seen.AmbiguousError as error:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        wanted = Wanted(pid=pick(error.rows))
        facts = observe.observe(connection, request.container, wanted, binaries=binaries, toolbox_ref=image)
    if request.image and facts.images.toolbox is None:
        raise EngineError("no-image", f"the engine has no image {request.image}", f"docker pull {request.image}")
    images = facts.images
    if request.image and not images.toolbox_binaries:
        missing = programs.missing(connection, request.image, (*binaries, "sh"))
        facts = dataclasses.replace(facts, images=dataclasses.replace(images, named=True, missing=missing))
    return facts


def _note_for(request: Request) -> Callable[[Row, tuple[Row, ...]], None]:
    """Says of a supervisor where its work is done, with the command for its busiest child."""

    def note(row: Row, found: tuple[Row, ...]) -> None:
        first = found[0]
        line = f"debugrun {request.tool or 'bt'} {request.container} {first.pid}"
        what = first.command[:_COMMAND] or first.comm
        children = f"{len(found)} children" if len(found) > 1 else "child"
        text = f"PID {row.pid} {row.comm!r} supervises, the work is in its {children}: {line}  ({what})"
        print(f"debugrun: {text}", file=sys.stderr)

    return note


def pick(rows: Sequence[Row]) -> int:
    """Let a person choose a process; its PID."""
    import typer  # noqa: PLC0415 - loaded already unless the command line was a plain one

    head, *lines = table(rows)
    print(f"     {head}", file=sys.stderr)
    for number, line in enumerate(lines, start=1):
        print(f"  {number}) {line}", file=sys.stderr)
    while True:
        number = int(typer.prompt("which process", type=int, err=True))
        if 1 <= number <= len(rows):
            return rows[number - 1].pid
