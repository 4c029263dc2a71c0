"""Who says no: one attempt, asked of every layer, and the narrowest way that works. Pure.

An error text narrows the layers down to those that can print it; the facts decide among them.
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

from debugrun.core.decide import judge as judging
from debugrun.core.decide import judge_attempt as attempting
from debugrun.core.decide.judge_attempt import Attempt
from debugrun.core.decide.plan import Plan
from debugrun.core.grants import Gate, Layer, Option, Placement, Verdict
from debugrun.core.know.inspection import DOCKER_DEFAULT
from debugrun.core.know.tool_file import Need, Tool
from debugrun.core.say import report

_NAMES = {Layer.YAMA: "Yama", Layer.PERF: "perf_event_paranoid", Layer.LSM: "AppArmor", Layer.SECCOMP: "seccomp"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """An entry of data/errors.toml: a text, and who may be behind it; its head documents the fields."""

    text: re.Pattern[str]
    says: str
    layers: tuple[Layer, ...]
    tools: tuple[str, ...] = ()
    need: Need | None = None
    blames: Layer | None = None
    asks: str = ""
    instead: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What stops an attempt. `refusals` are in the order met: the first one is the cause.

    `known` says what an error text means; None without one, or where nobody knows it. `not_it` are the layers that a
    tool blames and that let it pass, `plan` holds the way that works.
    """

    option: Option
    refusals: tuple[Gate, ...]
    unsure: tuple[Gate, ...]
    not_it: tuple[str, ...]
    plan: Plan
    error: str | None = None
    known: Known | None = None

    @property
    def cause(self) -> Gate | None:
        """The first layer that says no; None: none does, or it is not known."""
        return self.refusals[0] if self.refusals else None


@functools.cache
def known_errors() -> tuple[Known, ...]:
    """data/errors.toml."""
    table = tomllib.loads((files("debugrun") / "data" / "errors.toml").read_text(encoding="utf-8"))
    return tuple(_known(entry) for entry in table["error"])


def _known(entry: Mapping[str, object]) -> Known:
    def texts(key: str) -> tuple[str, ...]:
        value = entry.get(key, [])
        return tuple(map(str, value)) if isinstance(value, list) else ()

    gate, blames = entry.get("gate"), entry.get("blames")
    return Known(
        text=re.compile(str(entry["text"]), re.IGNORECASE | re.MULTILINE),
        says=str(entry["says"]),
        layers=tuple(Layer(name) for name in texts("layers")),
        tools=texts("tools"),
        need=Need(gate=str(gate), calls=texts("calls")) if gate else None,
        blames=Layer(str(blames)) if blames else None,
        asks=str(entry.get("asks", "")),
        instead=str(entry.get("instead", "")),
    )


def recognise(error: str, tool: Tool) -> Known | None:
    """What an error text means; the tool's own file is asked last, it names one layer only."""
    for known in known_errors():
        if (not known.tools or tool.name in known.tools) and known.text.search(error):
            return known
    for failure in tool.failures:
        if failure.text in error:
            return Known(text=re.compile(re.escape(failure.text)), says=f"{tool.name} failed", layers=(failure.layer,))
    return None


def diagnose(attempt: Attempt, decision: Plan, error: str | None = None) -> Diagnosis:
    """What stops `attempt` at the tool of `decision`; `error` is what it printed.

    Raises UsageError: a user that only the image's /etc/passwd can tell.
    """
    tool, facts = decision.tool, decision.facts
    known = recognise(error, tool) if error else None
    if known is not None and error:
        attempt = _as_asked(attempt, known, error)
    option = attempting.judged(attempt, tool, decision.mode, facts)
    gates: Sequence[Gate] = option.gates
    if known is not None and known.need is not None:
        about = judging.ask(known.need, option, facts)
        gates = [*(gate for gate in option.gates if gate.layer is Layer.ENGINE), *about]
    if known is not None:
        gates = [gate for gate in gates if gate.layer in known.layers]
    return Diagnosis(
        option=option,
        refusals=tuple(dict.fromkeys(gate for gate in gates if gate.verdict is Verdict.CLOSED)),
        unsure=tuple(dict.fromkeys(gate for gate in gates if gate.verdict is Verdict.UNKNOWN)),
        not_it=_not_it(option, tool, known),
        plan=decision,
        error=error,
        known=known,
    )


def _as_asked(attempt: Attempt, known: Known, error: str) -> Attempt:
    """The attempt with what the text says was asked for."""
    match = known.text.search(error)
    name = match.groupdict().get("capability") if match else None
    if name and name not in attempt.cap_add:
        attempt = replace(attempt, cap_add=(*attempt.cap_add, name.upper()))
    if known.asks == "exec":
        return Attempt(placement=Placement.HERE)
    return replace(attempt, privileged=True) if known.asks == "privileged" else attempt


def _not_it(option: Option, tool: Tool, known: Known | None) -> tuple[str, ...]:
    """The layers that the tool's own text blames and that let it pass, with the fact: people believe the text."""
    entries = (known,) if known else known_errors()
    blamed = {each.blames for each in entries if each.blames and (known or tool.name in each.tools)}
    return tuple(
        dict.fromkeys(
            f"not {_NAMES.get(gate.layer, gate.layer.value)}: {gate.fact} [{gate.source}]"
            for gate in option.gates
            if gate.layer in blamed and gate.verdict is Verdict.OPEN
        )
    )


def text(diagnosis: Diagnosis) -> str:
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
        f"narrowest fix: {report.what(best, plan.facts.process.permitted)}",
        f"  debugrun {plan.tool.name} {plan.facts.container.name} {plan.facts.process.pid}{mode}",
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


def alone(option: Option, decision: Plan) -> Plan:
    """A plan that holds one option: it is chosen unless it is closed. Gives `judge` the shape of `plan`."""
    return replace(decision, options=(option,), chosen=None if option.verdict is Verdict.CLOSED else 0)


def verdict_text(option: Option, decision: Plan) -> str:
    """One option's verdict for a person, with what every layer says."""
    shown = replace(option, cap_add=_in_short(option, decision))
    lines = [f"{option.verdict.value}: {report.what(shown, decision.facts.process.permitted)}"]
    said = (f"  {gate.verdict.value:<7} {gate.layer.value}: {gate.fact} [{gate.source}]" for gate in option.gates)
    lines += dict.fromkeys(said)
    lines += [f"  lost: {lost}" for lost in option.lost]
    return "\n".join([*lines, f"  {option.command}"])


def _in_short(option: Option, decision: Plan) -> tuple[str, ...]:
    """The engine's default capabilities are not spelled out; nor those that do nothing for a user other than root."""
    names = option.cap_add
    if names and not option.privileged and not judging.actor(option, decision.facts).capabilities:
        return ("no effective capabilities",)
    if not set(names) >= DOCKER_DEFAULT:
        return names
    return (f"Docker's {len(DOCKER_DEFAULT)} default capabilities", *(n for n in names if n not in DOCKER_DEFAULT))
