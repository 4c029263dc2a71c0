"""`debugrun syscalls`: the reference as a table, one call's page, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from debugrun import pages
from debugrun.cli.completion import complete_tools
from debugrun.cli.options import Json, interruptible
from debugrun.core.know import inspection
from debugrun.core.know.facts import EngineFacts
from debugrun.core.rules import seccomp
from debugrun.core.say import reference
from debugrun.core.say.reference import Entry, Standing
from debugrun.engine import engine
from debugrun.errors import EngineError, RefusedError
from debugrun.toolbox import catalog

CallName = Annotated[str | None, typer.Argument(metavar="[NAME]", help="one call, or one with its argument")]
Blocked = Annotated[bool, typer.Option("--blocked", help="list every blocked call, not only the notable ones")]
ForTool = Annotated[
    str | None,
    typer.Option("--for", metavar="TOOL", help="list the calls that a tool needs", autocompletion=complete_tools),
]
NamedEngine = Annotated[
    str | None, typer.Option("--engine", metavar="NAME:VERSION", help="use this release's table, without an engine")
]


@interruptible
def syscalls(
    *,
    name: CallName = None,
    blocked: Blocked = False,
    tool: ForTool = None,
    named_engine: NamedEngine = None,
    as_json: Json = False,
) -> None:
    """Show the system calls that the default seccomp profile blocks: why, and what this engine does with each.

    `personality(0x40000)` asks about one value of the first argument. Another release's table: --engine docker:28.5
    """
    shown = show(
        name, blocked=blocked, tool=tool, named_engine=named_engine, folder=catalog.user_directory(), as_json=as_json
    )
    raise typer.Exit(shown)


def show(  # noqa: PLR0913 - each is an option of the command line
    name: str | None, *, blocked: bool, tool: str | None, named_engine: str | None, folder: Path, as_json: bool
) -> int:
    """Print one call, a tool's calls, all blocked calls, or the reference.

    Raises UsageError: no such call or table; ToolError, EngineError; RefusedError: this engine's profile is not known.
    """
    if name is not None:
        asked: Iterable[Entry] = [reference.entry(name)]
    elif tool is not None:
        asked = reference.of_tool(catalog.load(tool, folder))
    else:
        asked = reference.entries().values()
    about = reference.named_engine(named_engine) if named_engine else _ours()
    profile = reference.profile_of(about)
    if profile is None:
        whose = f"{about.name} {about.version}, seccomp {about.seccomp or 'off'}"
        message = f"the default seccomp profile of this engine is not known: {whose}"
        raise RefusedError("no-such-table", message, "debugrun syscalls --engine docker:28.5.2")
    if blocked:
        asked = reference.blocked(about, profile)
    found = [reference.standing(each, about, profile) for each in asked]
    if as_json:
        print(as_json_text(found, about))
    elif name is not None:
        print(page(found[0], about))
    else:
        _table(found, about)
    return 0


def _ours() -> EngineFacts:
    try:
        with engine.connect() as connection:
            return inspection.engine_facts(connection.version(), connection.info())
    except EngineError as error:
        hint = "debugrun syscalls --engine docker:28.5.2 shows that release's table without an engine"
        raise EngineError(error.code, error.message, hint) from error


def heading(about: EngineFacts) -> str:
    """Whose profile it is."""
    return f"default seccomp profile of {about.name} {about.version} on kernel {about.kernel}, {about.architecture}"


def page(found: Standing, about: EngineFacts) -> str:
    """All about one call."""
    asked = found.entry
    lines = [f"{called(asked)}: {found.word} by the {heading(about)}"]
    opened = " or ".join(found.opened_by) or "no capability: a profile only"
    lines += [f"  opened by     {opened}"] * (not found.bare.passes)
    lines += [f"  why           {asked.why}"] * bool(asked.why)
    asks = f"asks for {' or '.join(asked.kernel)}, " if asked.kernel else ""
    lines += [f"  the kernel    {asks}see {asked.source}"] * bool(asked.source)
    lines += [f"  documentation {asked.correction}"] * bool(asked.correction)
    for change in reference.history(asked, about):
        if change.allowed:
            what = "allowed"
        else:
            what = f"blocked, opened by {' or '.join(change.opened_by)}" if change.opened_by else "blocked"
        lines.append(f"  since {change.since:<7} {what}")
    return "\n".join(lines)


def called(asked: Entry) -> str:
    """`personality(0x40000)`."""
    return asked.call if asked.argument is None else f"{asked.call}({asked.argument:#x})"


def _table(found: Iterable[Standing], about: EngineFacts) -> None:
    rows = list[tuple[str, ...]]()
    for each in found:
        opened = "" if each.bare.passes else ", ".join(each.opened_by) or "a profile only"
        rows.append((called(each.entry), each.word, opened, ", ".join(each.entry.kernel), each.entry.why))
    pages.table(("call", "here", "opened by", "kernel asks", "why"), rows, title=heading(about))


def as_json_text(found: Iterable[Standing], about: EngineFacts) -> str:
    """The standings with their history as one JSON object."""
    engine_json = {
        "name": about.name,
        "version": about.version,
        "kernel": about.kernel,
        "architecture": about.architecture,
    }
    rows = [_json(each, about) for each in found]
    return json.dumps({"schema": 1, "engine": engine_json, "calls": rows}, indent=2)


def _json(found: Standing, about: EngineFacts) -> Mapping[str, object]:
    asked = found.entry
    return {
        "call": asked.call,
        "argument": asked.argument,
        "means": asked.means or None,
        "arch": found.arch,
        "no_capabilities": _outcome(found.bare),
        "default_capabilities": _outcome(found.default),
        "opened_by": list(found.opened_by),
        "kernel_asks": list(asked.kernel),
        "why": asked.why or None,
        "source": asked.source or None,
        "correction": asked.correction or None,
        "history": [
            {"since": change.since, "allowed": change.allowed, "opened_by": list(change.opened_by)}
            for change in reference.history(asked, about)
        ],
    }


def _outcome(outcome: seccomp.Outcome) -> Mapping[str, object]:
    return {"action": outcome.action, "errno": outcome.errno, "certain": outcome.certain}
