"""`debugrun plan --prove`: the chosen grant for real, and then without each of its parts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from debugrun.attach import attach, planned
from debugrun.attach.invocation import invocations
from debugrun.core.ask.request import Request
from debugrun.core.decide import judge
from debugrun.core.decide.plan import Plan
from debugrun.core.decide.reduced import reduced
from debugrun.core.grants import Option, Verdict
from debugrun.engine.engine import Engine
from debugrun.errors import EngineError
from debugrun.values import dataclass

SECONDS = 2.0  # for tools that go on until they are told to end
_SHOWN = 200  # characters of what a tool said


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """One run: `part` is what was taken away, "" where nothing was; `said` is the tool's word where it was refused.

    `ruled`: the run did not come to what the part is for, and a rule says that it is needed; `said` is its fact then.
    """

    part: str
    works: bool
    said: str = ""
    ruled: bool = False

    @property
    def needed(self) -> bool:
        """Whether the grant would be too little without the part."""
        return not self.works or self.ruled


def prove(connection: Engine, request: Request, decision: Plan, option: Option) -> Iterator[Proof]:
    """The option whole, and without each part, each in a sidecar (or an exec) of its own, for a moment.

    Where it does not work whole there is nothing to prove. Raises DebugrunError.
    """
    whole = _run(connection, request, decision, option, part="")
    yield whole
    if whole.works:
        for part, less in reduced(option, decision.facts):
            shown = _run(connection, request, decision, less, part=part)
            verdict, gates, _ = judge.judge(less, decision.mode, decision.facts)
            if shown.works and verdict is Verdict.CLOSED:
                facts = "; ".join(gate.fact for gate in gates if gate.verdict is Verdict.CLOSED)
                shown = replace(shown, ruled=True, said=facts)
            yield shown


def _run(connection: Engine, request: Request, decision: Plan, option: Option, *, part: str) -> Proof:
    first = invocations(request, decision, option)[0]
    step = replace(
        first, duration=first.duration or SECONDS, tty=False, input=False, hold_output=False, prompt=None, handover=()
    )
    with tempfile.TemporaryFile() as output, Path(os.devnull).open("rb") as nothing:
        try:
            with planned.place(connection, decision, option) as place:
                end = output.fileno()
                result = attach.run(place, step, stdin=nothing.fileno(), stdout=end, stderr=end)
        except EngineError as error:
            return Proof(part=part, works=False, said=error.message)
        output.seek(0)
        text = output.read().decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if result.refuted is not None:
        found = next((line for line in lines if result.refuted.text in line), result.refuted.text)
        return Proof(part=part, works=False, said=found[:_SHOWN])
    if result.status != 0:
        return Proof(part=part, works=False, said=(lines[-1:] or [f"exit status {result.status}"])[0][:_SHOWN])
    return Proof(part=part, works=True)
