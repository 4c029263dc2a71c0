"""Who says no, for a person or as JSON: the attempt, who stops it in the order met, who does not, the narrowest fix."""

from __future__ import annotations

import json
from collections.abc import Mapping

from debugrun.core.decide.why import Diagnosis
from debugrun.core.grants import Gate, Layer, Verdict
from debugrun.core.say import report
from debugrun.core.say.verdict import alone


def as_text(diagnosis: Diagnosis) -> str:
    """The diagnosis for a person: the attempt, who stops it in the order met, who does not, the narrowest fix."""
    option, known = diagnosis.option, diagnosis.known
    lines = [option.command]
    if known is not None:
        lines.append(f"the text says: {known.says}")
    elif diagnosis.error is not None:
        lines.append("the text is not known here; this is what stops the line above")
    lines += _verdict(diagnosis)
    lines += [f"  {each}" for each in diagnosis.not_it]
    fix = _fix(diagnosis)
    lines += ["", *fix] if fix else []
    return "\n".join(lines)


def _verdict(diagnosis: Diagnosis) -> list[str]:
    first, *others = [f"{gate.layer.value}: {gate.fact} [{gate.source}]" for gate in diagnosis.refusals] or [""]
    if first:
        return [f"stopped by {first}", *(f"then by    {each}" for each in others)]
    if diagnosis.unsure:
        return [f"not known: {gate.fact} [{gate.source}]" for gate in diagnosis.unsure]
    if diagnosis.known is None:
        return ["nothing says no to that: it works"]
    if diagnosis.known.layers == (Layer.ENGINE,):
        return []
    stops = [f"{gate.layer.value}: {gate.fact}" for gate in diagnosis.option.closed_gates[:1]]
    told = f"that is stopped earlier, by {stops[0]}" if stops else "nothing says that to the line above"
    return [f"{told}: another line was typed; debugrun why ... -- docker ... asks about that one"]


def _fix(diagnosis: Diagnosis) -> list[str]:
    known, plan = diagnosis.known, diagnosis.plan
    lines = [f"without it: {known.instead}"] if known is not None and known.instead else []
    best = plan.option
    if best is None:
        return [*lines, *report.refusal(plan)]
    if diagnosis.option.verdict is not Verdict.CLOSED:
        return lines
    mode = f" --mode {plan.mode.name}" if plan.mode.name != plan.tool.default_mode else ""
    return [
        *lines,
        f"narrowest fix: {report.what(best, plan.facts.process.permitted, in_pod=plan.facts.in_pod)}",
        f"  debugrun {plan.tool.name} {report.target(plan.facts)}{mode}",
        f"  {best.command}",
    ]


def as_json(diagnosis: Diagnosis) -> str:
    """The diagnosis as one JSON object; gates and options as in `plan --json`."""
    attempted = json.loads(report.plan_json(alone(diagnosis.option, diagnosis.plan)))
    closed = diagnosis.option.verdict is Verdict.CLOSED
    chosen = json.loads(report.plan_json(diagnosis.plan))
    envelope = {
        **{key: attempted[key] for key in ("schema", "tool", "mode", "target")},
        "attempt": attempted["options"][0],
        "refusals": [_gate(gate) for gate in diagnosis.refusals],
        "unknown": [_gate(gate) for gate in diagnosis.unsure],
        "not": list(diagnosis.not_it),
        "says": diagnosis.known.says if diagnosis.known else None,
        "instead": diagnosis.known.instead or None if diagnosis.known else None,
        "fix": chosen["options"][chosen["chosen"]] if closed and chosen["chosen"] is not None else None,
    }
    return json.dumps(envelope, indent=2)


def _gate(gate: Gate) -> Mapping[str, str]:
    return {
        "need": gate.need,
        "layer": gate.layer.value,
        "verdict": gate.verdict.value,
        "fact": gate.fact,
        "source": gate.source,
    }
