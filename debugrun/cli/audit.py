"""`debugrun audit`: running containers that hold more than debugging needs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated

import typer

from debugrun import pages
from debugrun.cli.options import Json, interruptible
from debugrun.core.export.ask import Privileges
from debugrun.core.export.choose import assumed
from debugrun.core.know import inspection
from debugrun.core.know.facts import Facts
from debugrun.core.know.json_access import mapping
from debugrun.core.know.printable import printable
from debugrun.core.manifest import report, running
from debugrun.core.manifest.holding import Part
from debugrun.core.manifest.review import LEVELS, Asked, Finding, Review, instead_of, openings, review
from debugrun.engine import contexts
from debugrun.engine import engine as engines
from debugrun.errors import EXIT_FAILED, DebugrunError, TargetError, UsageError
from debugrun.observe import hostproc
from debugrun.toolbox import catalog
from debugrun.values import dataclass

SCHEMA = 1
AT_ONCE = 8  # inspections: the engine answers each in a few milliseconds, most of them on the way
FOUND = 1  # the exit status of --fail-on

AllContexts = Annotated[bool, typer.Option("--all-contexts", help="ask the engines of all Docker contexts")]
ForTools = Annotated[
    str, typer.Option("--for", metavar="TOOLS", help="the tools that have to work, separated by commas")
]
Sarif = Annotated[bool, typer.Option("--sarif", help="SARIF 2.1.0 on standard output")]
FailOn = Annotated[
    str,
    typer.Option("--fail-on", metavar="LEVEL", help="exit with 1 where a grant of that level is not needed: low, ..."),
]


# What a container holds, and what was found about that.
Known = dict[tuple[Privileges, tuple[tuple[str, str], ...]], Review]


@dataclass(frozen=True, kw_only=True, slots=True)
class Audited:
    """One container with what was found; `context` is "" where one engine is asked."""

    context: str
    id: str
    name: str
    found: Review
    instead: str


@interruptible
def audit(
    *,
    all_contexts: AllContexts = False,
    tools: ForTools = "gdb,strace,perf",
    fail_on: FailOn = "",
    sarif: Sarif = False,
    as_json: Json = False,
) -> None:
    r"""List the running containers that hold more than debugging needs, what it opens, and the narrowest instead.

    That are privileged containers, those without a seccomp, AppArmor or SELinux profile, with SYS_ADMIN, SYS_PTRACE
    and their like, with the host's processes or the engine's socket, and what debug sessions left behind. Nothing is
    started, changed or looked into: each container is inspected once.

    \b
    debugrun audit
    debugrun audit --fail-on high --for gdb
    debugrun audit --all-contexts --json

    Exit status: 0; 1 with --fail-on; 125 where an engine or a container could not be asked.
    """
    if fail_on and fail_on not in LEVELS:
        raise UsageError("no-level", f"{fail_on!r} is not a level", f"one of: {', '.join(LEVELS)}")
    folder = catalog.user_directory()
    loaded = [catalog.load(name.strip(), folder) for name in tools.split(",") if name.strip()]
    if not loaded:
        raise UsageError("no-tools", "--for names no tool", "--for gdb,strace")
    asked = [(tool, tool.mode(None)) for tool in loaded]
    rows, failed = _all_contexts(asked) if all_contexts else _one(asked, "")
    if sarif:
        print(report.as_sarif(result for row in rows for result in _results(row)))
    elif as_json:
        print(
            json.dumps({"schema": SCHEMA, "complete": not failed, "containers": [_json(row) for row in rows]}, indent=2)
        )
    else:
        _table(rows)
    worst = max((LEVELS.index(each.level) for row in rows for each in row.found.wider), default=-1)
    reached = bool(fail_on) and worst >= LEVELS.index(fail_on)
    raise typer.Exit(EXIT_FAILED if failed else FOUND if reached else 0)


def _all_contexts(asked: Sequence[Asked]) -> tuple[list[Audited], bool]:
    """The containers of every context; an engine that does not answer is told and skipped."""
    rows, failed = list[Audited](), False
    before = {name: os.environ.get(name) for name in ("DOCKER_HOST", "DOCKER_CONTEXT")}
    for name in contexts.names():
        contexts.take(["--context", name])
        try:
            found, wrong = _one(asked, name)
            rows, failed = rows + found, failed or wrong
        except DebugrunError as error:
            failed = True
            print(f"debugrun: context {printable(name)}: {error.message}", file=sys.stderr)
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)
    return rows, failed


def _one(asked: Sequence[Asked], context: str) -> tuple[list[Audited], bool]:
    """(the containers of one engine with a debug grant, whether one of them could not be asked)."""
    with engines.connect() as connection:
        host = _host(connection, asked)
        listed = connection.list_containers()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            inspected = list(pool.map(lambda row: _inspected(connection, str(row.get("Id", ""))), listed))
    there = [each for each in inspected if each is not None and each]
    host = _with_settings(host, there)
    known: Known = {}
    rows = [row for each in there if (row := _audited(each, asked, host, context, known)) is not None]
    return rows, any(each == {} for each in inspected)


def _host(connection: engines.Engine, asked: Sequence[Asked]) -> Facts:
    """The engine as facts; of the host nothing is asked that the engine does not say."""
    facts = assumed(asked[0][0], "")
    return replace(facts, engine=inspection.engine_facts(connection.version(), connection.info()))


def _with_settings(host: Facts, inspected: Sequence[engines.Json]) -> Facts:
    """The facts with this machine's settings, where the engine runs here."""
    for each in inspected[:1]:
        pid = mapping(each, "State").get("Pid")
        if isinstance(pid, int) and hostproc.is_local(pid, str(each.get("Id", "")), host.engine.kernel):
            return replace(host, host=hostproc.host_facts())
    return host


def _inspected(connection: engines.Engine, container: str) -> engines.Json | None:
    """One container; None where it has ended meanwhile, {} where the engine would not say."""
    try:
        return connection.inspect_container(container)
    except TargetError:
        return None
    except DebugrunError as error:
        print(f"debugrun: {container[:12]}: {error.message}", file=sys.stderr)
        return {}


def _audited(
    inspected: engines.Json, asked: Sequence[Asked], host: Facts, context: str, known: Known
) -> Audited | None:
    """The container with its findings; None where there are none. `known`: one review serves all that hold the same."""
    parts = running.parts(inspected)
    labels = mapping(mapping(inspected, "Config"), "Labels")
    if said := running.left_over(labels):
        about = openings()["leftover"]
        finding = Finding(
            part=Part(kind="leftover", value=""), rule="leftover", level=about["level"], opens=about["opens"],
            needed=False, why=said,
        )  # fmt: skip
        found = Review(findings=(finding,), narrowest=running.privileges(inspected))
        instead = said.rsplit(": ", maxsplit=1)[-1]
    else:
        given = running.privileges(inspected)
        key = (given, tuple((part.kind, part.value) for part in parts))
        if key not in known:
            known[key] = review(parts, given, asked, host)
        found = known[key]
        instead = instead_of(found)
    if not found.findings:
        return None
    name = str(inspected.get("Name", "")).removeprefix("/")
    return Audited(context=context, id=str(inspected.get("Id", "")), name=name, found=found, instead=instead)


def _table(rows: Sequence[Audited]) -> None:
    if not rows:
        print("no running container holds a debug grant")
        return
    heads = ["container", "holds", "what it opens; why", "instead"]
    several = any(row.context for row in rows)
    shown = list[tuple[str, ...]]()
    for row in rows:
        first = [*([row.context] if several else []), row.name]
        for each in sorted(row.found.findings, key=lambda each: -LEVELS.index(each.level)):
            needed = "needed" if each.needed else "NOT NEEDED"
            holds = f"{each.rule} ({each.level}): {needed}"
            instead = row.instead if first[-1] else ""
            shown.append((*first, holds, f"{each.opens}; {each.why}", instead))
            first = [""] * len(first)
    pages.table(["context", *heads] if several else heads, shown)


def _json(row: Audited) -> dict[str, object]:
    findings = [
        {"grant": each.rule, "level": each.level, "needed": each.needed, "opens": each.opens, "why": each.why}
        for each in row.found.findings
    ]
    context = {"context": row.context} if row.context else {}
    return {**context, "id": row.id, "name": row.name, "findings": findings, "instead": row.instead}


def _results(row: Audited) -> Iterator[dict[str, object]]:
    """SARIF knows logical places, too: a container is one."""
    for each in row.found.wider:
        place = {"logicalLocations": [{"name": row.name, "fullyQualifiedName": row.id, "kind": "resource"}]}
        message = f"{row.name} holds {each.rule}, which opens {each.opens}; {each.why}; instead: {row.instead}"
        yield dict(report.result(each.rule, each.level, message, place))
