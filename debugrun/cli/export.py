"""`debugrun export`: the grant of a plan in the words of an orchestrator."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from debugrun import backends
from debugrun.cli.options import (
    HostPid,
    Image,
    Json,
    KubernetesContext,
    MaxGrant,
    Namespace,
    OptionalContainer,
    Pid,
    ToolFile,
    ToolName,
    interruptible,
)
from debugrun.cli.saved_facts import read_facts
from debugrun.core.ask.pod_reference import is_pod_reference
from debugrun.core.ask.request import TOOLBOX, Request, ceiling
from debugrun.core.export import FORMATS, Ask, Export
from debugrun.core.export.choose import ASSUMED, Wish, assumed, choose
from debugrun.core.export.merge import into_marathon
from debugrun.core.know.json_access import mapping, text
from debugrun.core.know.tool_file import Tool
from debugrun.engine import engine as engines
from debugrun.errors import UsageError
from debugrun.observe.target import look
from debugrun.toolbox import catalog

SCHEMA = 1
SERVICE = "com.docker.compose.service"


def complete_formats(incomplete: str) -> list[str]:
    """Names of formats for the shell."""
    return [name for name in FORMATS if name.startswith(incomplete)]


To = Annotated[
    str,
    typer.Option("--to", metavar="FORMAT", help=f"one of: {', '.join(FORMATS)}", autocompletion=complete_formats),
]
Mode = Annotated[
    str,
    typer.Option("--mode", metavar="MODE", help="attach to a process, launch a program, or a mode of the tool by name"),
]
Number = Annotated[
    int | None,
    typer.Option("--option", metavar="N", help="take option N of `debugrun plan`, from 0, instead of the narrowest"),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="write it to this file, and what belongs to it beside that"),
]
Service = Annotated[
    str, typer.Option("--service", metavar="NAME", help="the service's name, where it is not the container's")
]
Into = Annotated[
    Path | None, typer.Option("--into", metavar="FILE", help="with marathon: your app, with the grant merged into it")
]
FactsFile = Annotated[Path | None, typer.Option("--facts", metavar="FILE", help="decide from a facts file")]


@interruptible
def export(  # noqa: PLR0913 - each is an option of the command line
    *,
    tool: ToolName,
    container: OptionalContainer = "",
    pid: Pid = None,
    to: To,
    mode: Mode = "attach",
    option: Number = None,
    output: Output = None,
    service: Service = "",
    into: Into = None,
    facts: FactsFile = None,
    host_pid: HostPid = None,
    max_grant: MaxGrant = "seccomp",
    image: Image = None,
    tool_file: ToolFile = None,
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
    as_json: Json = False,
) -> None:
    r"""Write the grant that a tool needs in the words of an orchestrator.

    Decided as `debugrun plan` does, for a running container, a facts file, or, with neither, a plain container on a
    stock host. What the orchestrator can't say is told on standard error; nothing wider is put in its place.

    \b
    debugrun export gdb web --to compose -o compose.debug.yaml
    debugrun export gdb --to marathon --into app.json
    debugrun export perf --to beats
    debugrun export strace web --to kubernetes-custom -o strace.json

    Exit status: 0; 126 when nothing within --max-grant works, or the format can't say it.
    """
    if to not in FORMATS:
        raise UsageError("no-format", f"{to!r} is not a format", f"one of: {', '.join(FORMATS)}")
    if into is not None and to != "marathon":
        raise UsageError("bad-into", "--into is for --to marathon", "docker compose takes a second -f")
    request = Request(
        tool=tool,
        container=container,
        pid=pid,
        host_pid=host_pid,
        image=image,
        tool_file=tool_file,
        ceiling=ceiling(max_grant, None),
        namespace=namespace,
        kubernetes_context=kubernetes_context,
    )
    wish = Wish(name=to, format=FORMATS[to], ceiling=request.ceiling, number=option, target=service, image=image or "")
    made, why = _decided(request, wish, mode, facts)
    found = FORMATS[to].render(made)
    if into is not None:
        found = replace(found, text=into_marathon(_read(into), str(into), made))
    _say(made, found, why, output)
    if as_json:
        print(_as_json(to, found, why))
    elif output is None:
        sys.stdout.write(found.text)
    if output is not None:
        _write(output, found)


def _decided(request: Request, wish: Wish, mode: str, facts_file: Path | None) -> tuple[Ask, str]:
    """What is asked for, and why. Raises DebugrunError."""
    folder = catalog.user_directory()
    tool = (
        catalog.load_file(request.tool_file, called=request.tool)
        if request.tool_file
        else catalog.load(request.tool, folder)
    )
    wish = _with_mode(wish, tool, mode)
    if facts_file is not None:
        facts = read_facts(facts_file)
    elif not request.container:
        facts = assumed(tool, request.image or TOOLBOX)
        print(f"debugrun: {ASSUMED}", file=sys.stderr)
    elif is_pod_reference(request.container):
        with backends.reach(request) as backend:
            facts = backend.look(request, tool)
        wish = replace(wish, target=wish.target or facts.container.name.rpartition("/")[2])
    else:
        with engines.connect() as connection:
            facts = look(connection, request, tool)
            labels = connection.inspect_container(facts.container.id).get("Config", {})
        if not wish.target and wish.name == "compose":
            wish = replace(wish, target=text(mapping(labels, "Labels") if isinstance(labels, dict) else {}, SERVICE))
    return choose(wish, tool, facts)


def _with_mode(wish: Wish, tool: Tool, mode: str) -> Wish:
    """`attach` and `launch` are the tool's own first mode of that kind; any other name is a mode's."""
    if mode in {"attach", "launch"}:
        return replace(wish, launching=mode == "launch")
    attaching = {each.name for each in tool.modes}
    return replace(wish, mode=mode, launching=mode not in attaching and bool(tool.launches))


def _say(made: Ask, found: Export, why: str, output: Path | None) -> None:
    """On standard error: which option, what is not said, and what comes next."""
    lines = [why, *(f"note: {lost}" for lost in made.lost), *(f"note: {note}" for note in found.notes)]
    if found.files and output is None:
        lines.append(f"note: -o FILE writes what belongs to it, too: {', '.join(found.files)}")
    if made.image.startswith("debugrun-toolbox"):
        lines.append(f"note: {made.image} is on this engine only: push it to a registry, or name another with --image")
    for line in [*lines, f"next: {found.usage}" if found.usage else ""]:
        print(f"debugrun: {line}" if line else "", end="\n" if line else "", file=sys.stderr)


def _as_json(name: str, found: Export, why: str) -> str:
    envelope = {"schema": SCHEMA, "format": name, "why": why, **dataclasses.asdict(found)}
    return json.dumps(envelope, indent=2)


def _write(output: Path, found: Export) -> None:
    """The export with mode 0600, and its files in the same folder. Raises UsageError."""
    for path, content in [(output, found.text), *((output.parent / name, body) for name, body in found.files.items())]:
        try:
            path.touch(mode=0o600)
            path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise UsageError("not-written", f"{path}: {error.strerror}", "name another file with -o") from error
        print(f"debugrun: wrote {path}", file=sys.stderr)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("bad-file", f"{path}: {error}", "name a readable file") from error
