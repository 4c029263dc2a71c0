"""What `debugrun plan` does: the decision printed, or proved by runs without each part of the grant."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from debugrun import backends, pages
from debugrun.attach import prove as proving
from debugrun.attach.apply import ending
from debugrun.cli.saved_facts import read_facts
from debugrun.core.ask.request import Request
from debugrun.core.decide import admitted
from debugrun.core.decide.plan import plan as decide
from debugrun.core.know.printable import printable
from debugrun.core.say import report
from debugrun.core.say.command import with_lines
from debugrun.engine import engine
from debugrun.errors import EXIT_REFUSED, RefusedError, UsageError
from debugrun.observe.target import look
from debugrun.toolbox.catalog import find_tool

NOT_NEEDED = 1  # the exit status of --prove where something can be left out


def show_proof(request: Request, folder: Path, *, as_json: bool) -> int:
    """Run the chosen option whole and without each part, and print what failed; 1 where a part is not needed."""
    tool, mode = find_tool(request, folder)
    with engine.connect() as connection, ending():
        decision = decide(tool, mode, look(connection, request, tool), request.ceiling)
        option = decision.option
        if option is None:
            raise RefusedError("refused", *report.refusal(decision))
        if decision.harm:
            raise RefusedError("may-kill", *report.danger(decision))
        print(report.announce(decision), file=sys.stderr)
        proofs = list(proving.prove(connection, request, decision, option))
    whole, rest = proofs[0], proofs[1:]
    if as_json:
        rows = [{"without": each.part, "works": each.works, "needed": each.needed, "said": each.said} for each in rest]
        print(json.dumps({"schema": 1, "works": whole.works, "parts": rows}, indent=2))
    else:
        _print_proof(whole, rest)
    return EXIT_REFUSED if not whole.works else NOT_NEEDED if not all(each.needed for each in rest) else 0


def _print_proof(whole: proving.Proof, rest: Sequence[proving.Proof]) -> None:
    print("as planned: it works" if whole.works else f"as planned: it does not work: {printable(whole.said)}")
    for each in rest:
        outcome = printable(each.said) if each.needed else "it works as well: the part is NOT NEEDED"
        outcome = f"this run does not show it, but the rule does: {outcome}" if each.ruled else outcome
        print(f"without {each.part}: {outcome}")
    if whole.works and not rest:
        print("nothing is granted beyond what the target has: there is nothing to take away")


def show_plan(request: Request, folder: Path, *, facts_file: Path | None, as_json: bool) -> int:
    """Print the decision; 126 when nothing within the ceiling works."""
    tool, mode = find_tool(request, folder)
    if facts_file is not None:
        decision = admitted.with_admission(with_lines(decide(tool, mode, read_facts(facts_file), request.ceiling)))
    elif request.container:
        with backends.reach(request) as backend:
            found = with_lines(decide(tool, mode, backend.look(request, tool), request.ceiling))
            decision = backend.decide(found, everything=True)
    else:
        raise UsageError("no-target", "name a container, or give --facts FILE", f"debugrun plan {tool.name} CONTAINER")
    if as_json:
        print(report.plan_json(decision))
    else:
        pages.text(report.plan_text(decision))
    return EXIT_REFUSED if decision.option is None else 0
