"""`python -m tests.golden FILE NAME`: make a golden case of what `debugrun doctor --report FILE` wrote.

It becomes tests/records/NAME.json: from then on the tests hold every verdict and every decision of today against what
became of it on that machine. Exit status 1 when they disagree already: that is the bug to fix.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from debugrun.core.decide import judge
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Ceiling, Grant, Verdict
from debugrun.core.say import record, report
from debugrun.core.say.record import Record, RecordError, Trial
from debugrun.toolbox import catalog
from tests.cases import NOBODYS_FOLDER

FOLDER = Path(__file__).with_name("records")
Spot = tuple[str, int | None, int | None, str, str]  # facts, ptrace_scope, perf_event_paranoid, tool, mode


def disagreements(made: Record) -> Iterator[str]:
    """Verdicts of today that are not what became of it."""
    for trial in made.trials:
        facts = made.facts_of(trial)
        tool = catalog.load(trial.tool, NOBODYS_FOLDER)
        verdict, gates, _ = judge.judge(trial.option, tool.mode(trial.mode), facts)
        wrong = verdict is not (Verdict.OPEN if trial.works else Verdict.CLOSED)
        if wrong and not (verdict is trial.verdict is Verdict.UNKNOWN):
            closed = "; ".join(gate.fact for gate in gates if gate.verdict is not Verdict.OPEN)
            yield f"{where(spot(made, trial))}, given {report.what(trial.option)}: {verdict.value} ({closed})"


def spot(made: Record, trial: Trial) -> Spot:
    """What is tried, where: all trials of one spot are ways to do the same."""
    host = made.facts_of(trial).host
    return trial.target, host.yama_ptrace_scope, host.perf_event_paranoid, trial.tool, trial.mode


def where(each: Spot) -> str:
    """In words."""
    target, scope, level, tool, mode = each
    return f"{tool} {mode} on {target}, ptrace_scope {scope}, perf_event_paranoid {level}"


def decisions(made: Record) -> dict[Spot, tuple[Plan, list[Trial]]]:
    """For each spot the decision of today, with the widest ceiling, and what was tried there."""
    found: dict[Spot, tuple[Plan, list[Trial]]] = {}
    for trial in made.trials:
        tool = catalog.load(trial.tool, NOBODYS_FOLDER)
        facts = made.facts_of(trial)
        if spot(made, trial) not in found:
            widest = Ceiling(grant=Grant.PRIVILEGED)
            found[spot(made, trial)] = plan(tool, tool.mode(trial.mode), facts, widest), []
        found[spot(made, trial)][1].append(trial)
    return found


def main() -> None:
    """Keep the record, and say what disagrees."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m tests.golden FILE NAME")
    try:
        made = record.load(Path(sys.argv[1]).read_text())
    except (OSError, RecordError) as error:
        sys.exit(f"golden: {sys.argv[1]}: {error}")
    path = FOLDER / f"{sys.argv[2]}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(record.dump(made))
    wrong = list(disagreements(made))
    print("\n".join([f"{path}: {len(made.trials)} outcomes, {len(wrong)} disagree", *wrong]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
