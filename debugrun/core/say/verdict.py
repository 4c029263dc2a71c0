"""One option's verdict for a person, with what every layer says."""

from __future__ import annotations

from dataclasses import replace

from debugrun.core.decide import judge
from debugrun.core.decide.plan import Plan
from debugrun.core.grants import Option, Verdict
from debugrun.core.know.inspection import DOCKER_DEFAULT
from debugrun.core.say import report


def alone(option: Option, decision: Plan) -> Plan:
    """A plan that holds one option: it is chosen unless it is closed. Gives `judge` the shape of `plan`."""
    return replace(decision, options=(option,), chosen=None if option.verdict is Verdict.CLOSED else 0)


def as_text(option: Option, decision: Plan) -> str:
    """One option's verdict for a person, with what every layer says."""
    shown = replace(option, cap_add=_in_short(option, decision))
    lines = [
        f"{option.verdict.value}: {report.what(shown, decision.facts.process.permitted, in_pod=decision.facts.in_pod)}"
    ]
    said = (f"  {gate.verdict.value:<7} {gate.layer.value}: {gate.fact} [{gate.source}]" for gate in option.gates)
    lines += dict.fromkeys(said)
    lines += [f"  lost: {lost}" for lost in option.lost]
    return "\n".join([*lines, f"  {option.command}"])


def _in_short(option: Option, decision: Plan) -> tuple[str, ...]:
    """The engine's default capabilities are not spelled out; nor those that do nothing for a user other than root."""
    names = option.cap_add
    if names and not option.privileged and not judge.actor(option, decision.facts).capabilities:
        return ("no effective capabilities",)
    if not set(names) >= DOCKER_DEFAULT:
        return names
    whose = "the runtime's" if decision.facts.in_pod else "Docker's"
    return (f"{whose} {len(DOCKER_DEFAULT)} default capabilities", *(n for n in names if n not in DOCKER_DEFAULT))
