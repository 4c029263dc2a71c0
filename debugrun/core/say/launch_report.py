"""What a started program takes, in words: the announcing line, the plan as text and as JSON, the docker line. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace

from debugrun.core.decide.launch import MOUNT, SCRATCH, Source, Under, added
from debugrun.core.decide.plan import Plan, within
from debugrun.core.grants import Option, Verdict
from debugrun.core.say import report
from debugrun.errors import RefusedError
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """A plan with what a person is told about it.

    `base` is how the container would run without the tool, `under` how it runs with it; `home` names the image that
    the tool comes from. `options` are docker's own, as words; `again` is what was typed for a plan of it.
    """

    plan: Plan
    base: Option
    source: Source
    under: Under
    image: str
    image_id: str
    home: str
    options: tuple[str, ...]
    again: tuple[str, ...]
    terminal: bool


def what(option: Option, base: Option) -> str:
    """What an option takes: `run as 1000:1000, the container's own capabilities, default seccomp`."""
    if option.privileged:
        return f"run as {option.user}, privileged: every capability, no seccomp, no AppArmor"
    more = "".join(f" + {name}" for name in added(option, base))
    own = "the container's own capabilities" if base.cap_add else "no capabilities"
    filters = "no seccomp filter" if option.seccomp == "unconfined" else "default seccomp"
    return f"run as {option.user}, {own}{more}, " + " + ".join((filters, *option.opened_calls))


def announce(decided: Decided) -> str:
    """The one line before it starts: what is taken, where the tool comes from, and why no less."""
    option = decided.plan.option
    assert option is not None  # noqa: S101 - refused before
    reasons = [gate.fact for each in decided.plan.narrower() for gate in each.closed_gates]
    if not reasons:
        unsure = [gate.fact for gate in option.gates if gate.verdict is Verdict.UNKNOWN]
        reasons = unsure or ["a program that it starts itself needs no more"]
    home = "of the image" if decided.source.in_image else f"of {decided.home}, read-only at {MOUNT}"
    why = "; ".join(dict.fromkeys(reasons))
    line = f"debugrun: {what(option, decided.base)}; {decided.plan.tool.binary} {home} - {why}"
    return "\n".join([line, *(f"debugrun: note: {lost}" for lost in option.lost)])


def refusal(decided: Decided) -> RefusedError:
    """Nothing within the ceiling works: the true layer, and the flag that allows more."""
    plan = decided.plan
    blockers = [gate for option in plan.options[:1] for gate in option.closed_gates]
    reason = "; ".join(dict.fromkeys(f"{gate.layer.value}: {gate.fact}" for gate in blockers))
    message = (
        f"nothing within --max-grant {plan.ceiling.grant.value} starts {decided.image} under {plan.tool.name}: {reason}"
    )
    wider = plan.beyond()
    if wider is None:
        return RefusedError("refused", message, "no grant opens it while the user stays who it is")
    line = shlex.join((*decided.again, "--max-grant", wider.grant.value))
    return RefusedError("refused", message, f"{line}  ({what(wider, decided.base)})")


def text(decided: Decided) -> str:
    """The plan for a person."""
    plan = decided.plan
    lines = [f"{plan.tool.name} {plan.mode.name}: {decided.image}, {plan.tool.binary} of {decided.home}", ""]
    for index, option in enumerate(plan.options):
        mark = "->" if index == plan.chosen else "  "
        allowed = "" if within(option, plan.ceiling) else " (only when named: --max-grant)"
        words = what(option, decided.base)
        lines.append(f"{mark} {option.grant.value:<10} {words}: {option.verdict.value}{allowed}")
        gates = option.gates if index == plan.chosen else option.closed_gates
        lines += [f"      {line}" for line in report.gate_lines(gates)]
        lines += [f"      lost: {lost}" for lost in option.lost]
    if plan.option is None:
        error = refusal(decided)
        return "\n".join([*lines, "", error.message, error.hint])
    return "\n".join([*lines, "", "the same by hand:", f"  {docker_line(decided, plan.option)}"])


def as_json(decided: Decided) -> str:
    """The plan as one object: options and gates as `plan --json` has them, and where the tool comes from."""
    plan = decided.plan
    options = [replace(option, command=docker_line(decided, option)) for option in plan.options]
    envelope = {
        "schema": 1,
        "tool": plan.tool.name,
        "mode": plan.mode.name,
        "image": {"name": decided.image, "id": decided.image_id},
        "tool_from": {
            "image": decided.image if decided.source.in_image else decided.home,
            "volume": None if decided.source.in_image else decided.source.volume,
            "mounts": [each["Target"] for each in decided.under.mounts],
        },
        "environment": [name for name, _ in decided.under.environment],
        "chosen": plan.chosen,
        "options": [report.option_json(option) for option in options],
    }
    return json.dumps(envelope, indent=2)


def docker_line(decided: Decided, option: Option) -> str:
    """The `docker run` line that does the same, but for the passing on of signals."""
    terminal = "-it" if decided.terminal else "-i"
    words: list[str] = ["docker", "run", terminal, *decided.options]
    prefix = ""
    if option.privileged:
        words.append("--privileged")
    for name in added(option, decided.base) if not option.privileged else ():
        words += ["--cap-add", name]
    if option.seccomp == "unconfined":
        words += ["--security-opt", "seccomp=unconfined"]
    elif option.opened_calls:
        profile = f"{decided.plan.tool.name}-{decided.plan.mode.name}.json"
        prefix = shlex.join((*decided.again, "--plan", "--save-profile", profile)) + " >/dev/null && "
        words += ["--security-opt", f"seccomp={profile}"]
    words += _mounted(decided)
    for name, value in decided.under.environment:
        words += ["-e", f"{name}={value}"]
    entrypoint, *arguments = decided.under.argv
    return prefix + shlex.join([*words, "--entrypoint", entrypoint, decided.image, *arguments])


def _mounted(decided: Decided) -> Sequence[str]:
    words = []
    for mount in decided.under.mounts:
        if mount["Target"] == SCRATCH:
            words += ["--tmpfs", SCRATCH]
        elif not decided.source.in_image:
            words += ["-v", f"{decided.source.volume}:{MOUNT}:ro,nocopy"]
    return words
