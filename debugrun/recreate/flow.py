"""`--via recreate` on one screen: draw -> say -> ask -> recreate -> attach -> go back when asked to."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from debugrun import backends, session
from debugrun.attach import apply
from debugrun.core.ask.request import Recreation, Request
from debugrun.core.decide import regrant
from debugrun.core.decide.plan import plan
from debugrun.core.grants import Ceiling, Option, Placement
from debugrun.core.know import json_access, versions
from debugrun.core.know.json_access import Json
from debugrun.core.know.kinds import LABEL_RECORD
from debugrun.core.rebuild import comparison, orchestrated, transaction
from debugrun.core.rebuild.blueprint import Blueprint, blueprint, with_grant
from debugrun.core.rebuild.dependents import Dependent, dependents
from debugrun.core.rebuild.transaction import Record
from debugrun.core.say import report
from debugrun.engine import engine
from debugrun.engine.engine import Engine
from debugrun.errors import DebugrunError, RefusedError, TargetError, UsageError
from debugrun.observe import layer
from debugrun.observe.target import look
from debugrun.recreate import recreate, restore
from debugrun.recreate.recreate import Change
from debugrun.toolbox.catalog import find_tool
from debugrun.values import dataclass

LARGE = 256 << 20  # bytes of a writable layer that take seconds to commit
_OWN = re.compile(r"/containers/([0-9a-f]{64})/")  # what the engine mounts into a container: /etc/hostname and others


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a container is recreated with: a grant, and for a tool that it starts under mounts and a command.

    `profile` is the seccomp profile to send, `engine` "docker" or "podman". `start` are entrypoint and command.
    """

    option: Option
    profile: str | None
    engine: str
    mounts: tuple[Json, ...] = ()
    start: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    terminal: bool = False


def run(request: Request, folder: Path) -> int:
    """Recreate the container with what the tool needs, and put the tool on it. The tool's exit status.

    Raises DebugrunError; the original is then in its place, or the hint says how to have it back.
    """
    if request.pid not in {None, 1} or request.host_pid is not None:
        raise UsageError("new-pids", "a recreated container has new PIDs", "--name COMM instead of the PID")
    tool, _ = find_tool(request, folder)
    with engine.connect() as connection, apply.ending():
        facts = look(connection, request, tool)
        decision = plan(tool, tool.mode(request.mode), facts, request.ceiling)
        if (option := decision.option) is None:
            raise RefusedError("refused", *report.refusal(decision))
        before = connection.inspect_container(facts.container.id)
        wanted = Wanted(option=option, profile=regrant.profile_json(option, facts), engine=facts.engine.name)
        change, said = draw(connection, request, before, wanted)
        ask(request, change, [report.announce(decision), *said])
        done = recreate.recreate(connection, change)
        with _afterwards(connection, request, change.record):
            say(f"{change.record.name} is recreated; it was down for {done.down:.2f} s")
            held = tool.binary in dict(facts.container.tools)
            via = Placement.HERE if held else Placement.SIDECAR
            ceiling = Ceiling(grant=request.ceiling.grant, via=via)
            there = replace(request, container=done.id, ceiling=ceiling, recreation=Recreation())
            return session.debug(backends.Containers(connection), there, folder)


def draw(connection: Engine, request: Request, before: Json, wanted: Wanted) -> tuple[Change, list[str]]:
    """What is to be done, and what a person should know of it. Raises TargetError for what is not recreated."""
    image = _image(connection, before)
    _refuse_again(connection, before)
    _refuse(request, wanted.option, before, image)
    others = [each for each in _others(connection) if each["Id"] != before["Id"]]
    warnings = list(_dependents(dependents(before, others), json_access.text(before, "Name").removeprefix("/")))
    api = versions.two(connection.client.api_version)
    plain = blueprint(before, image or {}, api=api, engine=wanted.engine, others=others)
    drawn = _started(with_grant(plain, wanted.option, profile_json=wanted.profile, mounts=wanted.mounts), wanted)
    seen = restore.described(before)
    record = Record(
        original=seen.id,
        name=plain.name,
        running=seen.running,
        restart=seen.restart,
        tool=request.tool,
        grant=_grant(wanted),
        since=time.time(),
        session=f"{os.getuid()}-{os.urandom(6).hex()}",
    )
    said = [
        *_diff(plain, drawn),
        *_layer(connection, before),
        *_random_ports(before),
        *(f"debugrun: note: {each}" for each in [*warnings, *drawn.warnings]),
        *(f"debugrun: lost: {each}" for each in drawn.lost),
    ]
    return Change(before=before, drawn=drawn, record=record), said


def _started(drawn: Blueprint, wanted: Wanted) -> Blueprint:
    """The same, in the foreground of whoever starts it, where it starts something else."""
    if wanted.start is None:
        return drawn
    return recreate.in_foreground(drawn, wanted.start, terminal=wanted.terminal)


def _grant(wanted: Wanted) -> str:
    """What the stand-in has beyond the original, in a few words."""
    option = wanted.option
    if option.privileged:
        return "privileged"
    parts = [*option.cap_add, *(f"{call} opened" for call in option.opened_calls)]
    parts += ["no seccomp filter"] * (option.seccomp == "unconfined")
    return ", ".join(parts) or "nothing more"


def _diff(before: Blueprint, after: Blueprint) -> list[str]:
    changes = comparison.added(before, after)
    if not changes:
        return ["debugrun: its configuration stays as it is"]
    return [f"  {'+' if each.before is None else '~'} {each.path}: {each.after}" for each in changes]


def _layer(connection: Engine, before: Json) -> list[str]:
    paths = layer.written(connection, before)
    if not paths:
        return []
    with connection.asking("measure", str(before["Id"])):
        rows = connection.client.containers(all=True, size=True, filters={"id": before["Id"]})
    size = int(rows[0].get("SizeRw", 0)) if rows else 0
    line = f"debugrun: its writable layer ({len(paths)} paths, {size / 1e6:.1f} MB) is committed while it is down"
    return [f"{line}: that takes a while" if size > LARGE else line]


def _image(connection: Engine, before: Json) -> Json | None:
    try:
        return connection.inspect_image(json_access.text(before, "Image"))
    except DebugrunError as error:
        if error.code != "no-such-image":
            raise
        return None


def _others(connection: Engine) -> Iterator[Json]:
    for each in connection.list_containers(everything=True):
        try:
            yield connection.inspect_container(str(each["Id"]))
        except TargetError:
            continue  # gone since


def _refuse_again(connection: Engine, before: Json) -> None:
    """Raise TargetError for a stand-in whose original is still there: there is one way back at a time."""
    labels = json_access.mapping(json_access.mapping(before, "Config"), "Labels")
    try:
        record = transaction.load(json_access.text(labels, LABEL_RECORD))
    except ValueError:
        return
    if restore.scene(connection, record).original is not None:
        message = f"{record.name} is recreated already, with {record.grant}"
        raise TargetError("recreated-already", message, f"debugrun restore {record.name}")


def _random_ports(before: Json) -> list[str]:
    """What to know of ports that the engine has chosen itself."""
    host = json_access.mapping(before, "HostConfig")
    bindings = json_access.mapping(host, "PortBindings")
    chosen = {
        port
        for port in bindings
        if any(json_access.text(each, "HostPort") in {"", "0"} for each in json_access.maps(bindings, port))
    }
    known = restore.published(before)
    ports = [f"{port} at {known[port]}" for port in known if port in chosen or host.get("PublishAllPorts")]
    if not ports:
        return []
    return [f"debugrun: note: the original gets a new random port when it comes back, instead of: {', '.join(ports)}"]


def _refuse(request: Request, option: Option, before: Json, image: Json | None) -> None:
    found = orchestrated.refusal(before, image=image, own=_own_container())
    if found is not None and not (found.forcible and request.recreation.force_compose):
        if found.forcible:
            profile = f"{request.tool}.json" if option.opened_calls else None
            print(orchestrated.compose_override(before, option, profile=profile), end="")
        insist = ", or --force-compose" if found.forcible else ""
        raise TargetError(found.code, found.message, f"{found.hint}{insist}")
    if json_access.mapping(before, "HostConfig").get("AutoRemove"):
        name = json_access.text(before, "Name").removeprefix("/")
        message = f"{name} was started with --rm: the engine removes it as soon as it stops, and nothing brings it back"
        raise TargetError("auto-remove", message, "start it without --rm, or use a sidecar: --via sidecar")


def _own_container() -> str:
    try:
        found = _OWN.search(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    except OSError:
        return ""
    return found[1] if found else ""


def _dependents(found: tuple[Dependent, ...], name: str) -> Iterator[str]:
    """What to know about containers that refer to this one. Raises TargetError for those that would lose it."""
    hurt = [each for each in found if each.running and set(each.relations) & {"network", "pid", "ipc"}]
    if hurt:
        names = ", ".join(f"{each.name} ({', '.join(each.relations)})" for each in hurt)
        message = f"running containers share namespaces with {name}, and would lose it: {names}"
        raise TargetError("has-dependents", message, f"stop them first: docker stop {' '.join(e.name for e in hurt)}")
    for each in found:
        yield f"{each.name} refers to {name} ({', '.join(each.relations)}): restart it when {name} is back"


def ask(request: Request, change: Change, said: list[str]) -> None:
    """Say what will be done, and let a person allow it. Raises UsageError where nobody does."""
    print("\n".join(said), file=sys.stderr)
    name = change.record.name
    if request.recreation.yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        message = f"recreating stops {name} and starts it anew: this needs a confirmation, and there is no terminal"
        raise UsageError("not-confirmed", message, "--yes")
    import typer  # noqa: PLC0415 - loaded already: there was an option

    if not typer.confirm(f"debugrun: stop {name} and start it anew?", err=True):
        raise UsageError("not-confirmed", f"{name} stays as it is", "")


@contextmanager
def _afterwards(connection: Engine, request: Request, record: Record) -> Iterator[None]:
    """The original comes back when the tool could not do its work, or ended and this was asked for."""
    back = True
    try:
        yield
        back = request.recreation.auto_restore
    except DebugrunError:
        raise
    except BaseException:  # Ctrl-C, TERM: the tool was at work
        back = request.recreation.auto_restore
        raise
    finally:
        if back:
            say(restored(record.name, restore.undo(connection, record, stopping=False)))
        else:
            say(f"{record.name} goes on with {record.grant}: `debugrun restore {record.name}` puts the original back")


def restored(name: str, outcome: restore.Outcome) -> str:
    """What was done, in a sentence for each thing."""
    down = f"; it was down for {outcome.down:.2f} s" if outcome.down is not None else ""
    lines = [f"the original {name} is back{down}", *outcome.moved]
    for image, paths in outcome.saved:
        some = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")  # noqa: PLR2004
        lines.append(f"what was written to its own layer meanwhile is in the image {image}: {some}")
    return "\ndebugrun: ".join(lines)


def say(line: str) -> None:
    """A line of ours."""
    print(f"debugrun: {line}", file=sys.stderr)
