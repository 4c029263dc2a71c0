"""Verbs that show and do nothing to the target: the plan and the facts."""

from __future__ import annotations

from pathlib import Path

from debugrun.core.ask.request import Request
from debugrun.core.decide.plan import plan
from debugrun.core.know.facts import Facts, FactsError, dump, load
from debugrun.core.say import report
from debugrun.engine import engine
from debugrun.errors import EXIT_REFUSED, UsageError
from debugrun.session import find_tool, look


def show_plan(request: Request, folder: Path, *, facts_file: Path | None, as_json: bool) -> int:
    """Print the decision; 126 when nothing within the ceiling works."""
    tool, mode = find_tool(request, folder)
    if facts_file is not None:
        facts = read_facts(facts_file)
    elif request.container:
        with engine.connect() as connection:
            facts = look(connection, request, tool)
    else:
        raise UsageError("no-target", "a container or --facts FILE is missing", f"debugrun plan {tool.name} CONTAINER")
    decision = plan(tool, mode, facts, request.ceiling)
    print(report.plan_json(decision) if as_json else report.plan_text(decision))
    return EXIT_REFUSED if decision.option is None else 0


def read_facts(path: Path) -> Facts:
    """Facts that were saved. Raises UsageError naming the file and the key."""
    try:
        return load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, FactsError) as error:
        hint = "debugrun facts CONTAINER --json writes one"
        raise UsageError("bad-facts", f"{path}: {error}", hint) from error


def show_facts(request: Request, *, as_json: bool) -> None:
    """Print what was observed."""
    with engine.connect() as connection:
        facts = look(connection, request, None)
    print(dump(facts) if as_json else report.facts_text(facts))
