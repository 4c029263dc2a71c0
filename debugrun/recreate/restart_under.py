"""`--via recreate --restart-under`: the container's own program, started anew under the tool, in our foreground."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from debugrun.attach import apply, foreground
from debugrun.core.ask.request import TOOLBOX, Request
from debugrun.core.decide import launch
from debugrun.core.decide.launch import Source, Under
from debugrun.core.decide.plan import Plan
from debugrun.core.decide.widen_profile import profile_json
from debugrun.core.grants import Grant, Option, Placement, Verdict
from debugrun.core.know import inspection
from debugrun.core.know.facts import ContainerFacts, Facts, ProcessFacts
from debugrun.core.know.json_access import Json
from debugrun.core.know.tool_file import Launch, Tool
from debugrun.core.rebuild.transaction import Record
from debugrun.core.say import report
from debugrun.engine import engine as engines
from debugrun.engine.engine import Engine
from debugrun.errors import EngineError, RefusedError
from debugrun.launch import staging
from debugrun.observe import engine_host, named
from debugrun.recreate import flow, recreate, restore
from debugrun.recreate.flow import Wanted
from debugrun.toolbox import catalog
from debugrun.toolbox import volume as volumes


def run(request: Request, folder: Path) -> int:
    """Restart the container's program under the tool; the tool's exit status. The original is back when it ends.

    Raises DebugrunError; the original is then in its place, or the hint says how to have it back.
    """
    tool = (
        catalog.load_file(request.tool_file, called=request.tool)
        if request.tool_file
        else catalog.load(request.tool, folder)
    )
    way = tool.launch(request.mode)
    with engines.connect() as connection, apply.ending():
        before = named.container(connection, request.container)
        facts, base = facts_of(connection, before)
        decision = launch.decide(tool, launch.wanted(way, aslr=True), facts, replace(request.ceiling, via=None), base)
        if (option := decision.option) is None:
            raise RefusedError("refused", *report.refusal(decision))
        under = under_tool(connection, before, request, tool, way, decision)
        given = replace(option, placement=Placement.RECREATE, cap_add=launch.added(option, base))
        wanted = Wanted(
            option=given,
            profile=profile_json(option, facts),
            engine=facts.engine.name,
            mounts=under.mounts,
            start=(under.entrypoint, under.command),
            terminal=terminal(),
        )
        change, said = flow.draw(connection, request, before, wanted)
        flow.ask(request, change, [f"debugrun: {report.what(given)}, started under {tool.name}", *said])
        done = recreate.recreate(connection, change, start=False)
        return _foreground(connection, request, change.record, done.id, tool.unsaid)


def _foreground(connection: Engine, request: Request, record: Record, stand_in: str, unsaid: Sequence[str]) -> int:
    """Start it and be its foreground; the original comes back when it has ended, and on every failure."""
    left = False
    try:
        status = foreground.run(
            connection,
            stand_in,
            name=record.name,
            tty=terminal(),
            detach_keys=request.detach_keys,
            removed=False,
            unsaid=unsaid,
        )
        left = restore.described(connection.inspect_container(stand_in)).running
        return status
    finally:
        if left:
            flow.say(f"{record.name} runs on under {record.tool}: `debugrun restore {record.name}` ends that")
        else:
            flow.say(flow.restored(record.name, restore.undo(connection, record, stopping=False)))


def terminal() -> bool:
    """Whether a person is there, to type at the tool."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def facts_of(connection: Engine, before: Json) -> tuple[Facts, Option]:
    """The program that is to be, as a process, and how it would run without the tool, as an option to widen."""
    found = engine_host.examine(connection)
    container = inspection.container_facts(before, found.engine, connection.inspect_image(str(before["Image"])))
    user = staging.user(connection, container.id, before)
    uid, gid = (int(number) for number in user.split(":"))
    process = ProcessFacts(
        pid=1,
        comm=container.name[:15],
        uids=(uid,) * 4,
        gids=(gid,) * 4,
        permitted=container.capabilities or () if uid == 0 else (),
        dumpable=True,
        no_new_privileges=container.no_new_privileges,
    )
    return Facts(engine=found.engine, host=found.host, container=container, process=process), _base(container, user)


def _base(container: ContainerFacts, user: str) -> Option:
    return Option(
        placement=Placement.RUN,
        grant=Grant.NONE,
        user=user,
        verdict=Verdict.UNKNOWN,
        gates=(),
        cap_add=tuple(sorted(container.capabilities or ())),
        cap_drop=(),
        seccomp=container.seccomp,
        profile=container.seccomp_profile,
        no_new_privileges=container.no_new_privileges,
        image=container.image,
    )


def under_tool(  # noqa: PLR0913, PLR0917 - what, by what, and where it comes from
    connection: Engine, before: Json, request: Request, tool: Tool, way: Launch, decision: Plan, *, aslr: bool = True
) -> Under:
    """The container's program under the tool, which comes from the toolbox's volume where it does not hold it."""
    container = str(before["Id"])
    in_image = staging.find(connection, container, before, tool.binary) is not None
    image_id = None if in_image else _toolbox(connection, request.image or TOOLBOX)
    under = launch.under(
        tool,
        way,
        staging.program(connection, container, before, elf=way.elf),
        Source(
            in_image=in_image,
            volume=volumes.name_of(image_id) if image_id else None,
            architecture=decision.facts.engine.architecture,
        ),
        args=request.args,
        option=decision.option,
        aslr=aslr,
        terminal=terminal(),
    )
    if under.mounts and image_id and not volumes.exists(connection, volumes.name_of(image_id)):
        flow.say("copying the toolbox into a volume, once")
        volumes.fill(connection, image_id)
    return under


def _toolbox(connection: Engine, reference: str) -> str | None:
    try:
        return str(connection.inspect_image(reference)["Id"])
    except EngineError as error:
        if error.code == "no-such-image":
            return None
        raise
