"""Plans and facts as text and as JSON: one envelope with a version, the same keys in both. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping

from debugrun.core.decide import neighbour
from debugrun.core.decide.plan import Plan, within
from debugrun.core.grants import Gate, Grant, Layer, Option, Placement, Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.rules import emulation, sandbox

PLAN_SCHEMA = 1
_MARKS = {Verdict.OPEN: "open", Verdict.CLOSED: "closed", Verdict.UNKNOWN: "unknown"}


def plan_json(plan: Plan) -> str:
    """The plan as the JSON object that README documents under `plan --json`."""
    process, container = plan.facts.process, plan.facts.container
    envelope = {
        "schema": PLAN_SCHEMA,
        "tool": plan.tool.name,
        "mode": plan.mode.name,
        "target": {
            "container": container.id,
            "name": container.name,
            "pid": process.pid,
            "uid": process.uids[1],
            "gid": process.gids[1],
            "comm": process.comm,
            "exe": process.exe,
        },
        "harm": plan.harm or None,
        "chosen": plan.chosen,
        "options": [option_json(option) for option in plan.options],
    }
    return json.dumps(envelope, indent=2)


def option_json(option: Option) -> Mapping[str, object]:
    """One of the options of `plan --json`."""
    return {
        "placement": option.placement.value,
        "grant": option.grant.value,
        "user": option.user,
        "cap_add": list(option.cap_add),
        "cap_drop": list(option.cap_drop),
        "pid_namespace": option.pid_namespace,
        "security_opt": list(option.security_opt()),
        "image": option.image,
        "verdict": option.verdict.value,
        "gates": [
            {
                "need": gate.need,
                "layer": gate.layer.value,
                "verdict": gate.verdict.value,
                "fact": gate.fact,
                "source": gate.source,
            }
            for gate in option.gates
        ],
        "mounts": list(option.mounts),
        "lost": list(option.lost),
        "by_name": option.by_name or None,
        "command": option.command,
    }


def what(option: Option, own: Iterable[str] = (), *, in_pod: bool = False) -> str:
    """What an option takes: `sidecar as 1000:1000, no capabilities, default seccomp`.

    `own` are the target's capabilities: the same set is not spelled out. `in_pod`: in the words of Kubernetes.
    """
    place = f"{'ephemeral container' if in_pod else option.placement.value} as {option.user}"
    if option.privileged:
        return f"{place}, privileged: every capability, no seccomp, no AppArmor"
    if option.placement.value == "here":
        return f"{place}, the container's own capabilities and filter"
    own = sorted(own)
    if not option.cap_add:
        capabilities = "no more capabilities" if option.placement.value == "recreate" else "no capabilities"
    elif len(own) > 3 and list(option.cap_add) == own:  # noqa: PLR2004 - a longer list is noise
        capabilities = f"the target's own {len(own)} capabilities"
    else:
        capabilities = " + ".join(option.cap_add) + (" by file capability" if option.file_capability else "")
    default = "RuntimeDefault" if in_pod else "default seccomp"
    named = {"unconfined": "no seccomp filter"} | ({"custom": "a profile of the node's"} if in_pod else {})
    filters = named.get(option.seccomp, default)
    if option.opened_calls:
        filters += " + " + ", ".join(option.opened_calls)
    if option.apparmor:
        filters += ", no AppArmor profile" if option.apparmor == "unconfined" else f", AppArmor {option.apparmor}"
    if option.selinux:
        filters += ", no SELinux label"
    filters += "".join(f", the host's {path} read-only" for path in option.mounts)
    return f"{place}, {capabilities}, {filters}"


def why(plan: Plan) -> str:
    """Why the chosen option and nothing narrower, in a few words."""
    option = plan.option
    if option is None:
        return "nothing within the ceiling works"
    if option.grant is Grant.NONE and option.placement.value == "sidecar":
        layers = {Layer.PTRACE, Layer.YAMA, Layer.PERF}
        said = [gate.fact for gate in option.gates if gate.layer in layers and gate.verdict is Verdict.OPEN]
        unsure = [gate.fact for gate in option.gates if gate.verdict is Verdict.UNKNOWN]
        return ", ".join(dict.fromkeys(said + unsure)) or "nothing more is needed"
    own = [gate.fact for gate in neighbour.gates(option, plan.facts)]
    if own and not option.opened_calls:
        return own[0]
    # The narrower option that came nearest names the cause with the least noise.
    nearest = min(plan.narrower(), key=lambda each: len(each.closed_gates), default=option)
    blockers = dict.fromkeys(gate.fact for gate in nearest.closed_gates)
    return "; ".join(blockers) or "the narrowest that works"


def announce(plan: Plan) -> str:
    """The one line before a privilege is taken."""
    option = plan.option
    if option is None:
        return f"debugrun: {why(plan)}"
    own = option.placement is Placement.SIDECAR and neighbour.is_of_target(option, plan.facts)
    image = f", the image of {plan.facts.container.name}: {plan.facts.container.image}" if own else ""
    taken = what(option, plan.facts.process.permitted, in_pod=plan.facts.in_pod)
    line = f"debugrun: {taken}{image}{_admitted(option)} - {why(plan)}"
    return "\n".join([line, *(f"debugrun: note: {lost}" for lost in option.lost)])


def _admitted(option: Option) -> str:
    """What a namespace lets in, where the API server was asked."""
    gate = next((gate for gate in option.gates if gate.layer is Layer.ADMISSION), None)
    return f", {gate.fact}" if gate is not None and gate.verdict is Verdict.OPEN else ""


def danger(plan: Plan) -> tuple[str, str]:
    """(message, next command) for a tool that may kill this process by itself."""
    process, name = plan.facts.process, plan.tool.name
    threads = f", which has {process.threads} threads" if process.threads > 1 else ""
    message = f"{name} may kill PID {process.pid} ({process.comm}){threads}: {plan.harm}"
    spares = plan.tool.spares.replace("CONTAINER", plan.facts.container.name).replace("PID", str(process.pid))
    return message, f"{spares}; or --may-kill, where the process may die"


def plan_text(plan: Plan) -> str:
    """The plan for a person: the choice, what was rejected and why, what wider ones would cost, the docker line."""
    process, container = plan.facts.process, plan.facts.container
    own = process.permitted
    lines = [f"{plan.tool.name} {plan.mode.name} on PID {process.pid} ({process.comm}) of {container.name}", ""]
    for index, option in enumerate(plan.options):
        mark = "->" if index == plan.chosen else "  "
        how = _naming(option) if option.by_name else "--max-grant / --via"
        allowed = "" if within(option, plan.ceiling) else f" (only when named: {how})"
        taken = what(option, own, in_pod=plan.facts.in_pod)
        lines.append(f"{mark} {option.grant.value:<10} {taken}: {_MARKS[option.verdict]}{allowed}")
        lines += [f"      {line}" for line in gate_lines(_telling(option, chosen=index == plan.chosen))]
        lines += [f"      lost: {lost}" for lost in option.lost]
        lines += [f"      by name: {option.by_name}"] if option.by_name else []
    if plan.harm:
        lines += ["", f"{danger(plan)[0]}: not without --may-kill"]
    chosen = plan.option
    if chosen is None:
        return "\n".join([*lines, "", refusal(plan)[0], refusal(plan)[1]])
    return "\n".join([*lines, "", "the same by hand:", f"  {chosen.command}"])


def _telling(option: Option, *, chosen: bool) -> tuple[Gate, ...]:
    """The gates worth a line: those that close an option; all of the chosen one's."""
    return option.gates if chosen else option.closed_gates


def gate_lines(gates: Iterable[Gate]) -> list[str]:
    """A line for each layer and source, with all facts that were read there."""
    said: dict[tuple[str, str], list[str]] = {}
    for gate in gates:
        said.setdefault((gate.layer.value, gate.source), []).append(gate.fact)
    return [f"{layer}: {', '.join(dict.fromkeys(facts))} [{source}]" for (layer, source), facts in said.items()]


def refusal(plan: Plan) -> tuple[str, str]:
    """(message, next command) when nothing within the ceiling works: the true layer, and the flag that allows more."""
    facts = plan.facts
    wider = plan.beyond()
    if plan.ceiling.via is Placement.HERE and not any(each.placement is Placement.HERE for each in plan.options):
        name, binary = facts.container.name, plan.tool.binary
        return f"{name} holds no {binary}: there is nothing to run in it", _in_a_sidecar(plan)
    blockers = [gate for option in plan.options[:1] for gate in option.closed_gates]
    # What closes every option is the cause; the others are only in the way of some.
    blockers = [gate for gate in blockers if all(gate in each.closed_gates for each in plan.options)] or blockers
    refused = [gate for each in plan.options if facts.in_pod and (gate := _kept_out(each)) is not None]
    blockers += refused[:1]
    reason = "; ".join(dict.fromkeys(f"{gate.layer.value}: {gate.fact}" for gate in blockers)) or "every option failed"
    verb = "attach" if plan.mode.about_process else "work"
    message = f"nothing within --max-grant {plan.ceiling.grant.value} lets {plan.tool.name} {verb}: {reason}"
    if wider is None and (advice := emulation.advice(facts) or sandbox.advice(facts)):
        return message, advice
    if wider is None and all(each.image is None for each in plan.options if each.placement is Placement.SIDECAR):
        image = "name an image that holds it: --image IMAGE"
        kept = "" if plan.tool.toolbox else f" --with {plan.tool.name}"
        build = not facts.images.toolbox or (kept and plan.tool.debian)
        return message, f"debugrun toolbox build{kept}; or {image}" if build else image
    if wider is None and facts.images.missing:
        kept = "" if plan.tool.toolbox else f" --with {plan.tool.name}"
        return message, f"debugrun toolbox build{kept}, and leave --image out; or name another image"
    if wider is None:
        facts_met = dict.fromkeys(gate.fact for gate in blockers)
        return message, f"no grant opens it: {'; '.join(list(facts_met)[:3])}"
    flag = f"--max-grant {wider.grant.value}"
    if wider.by_name:
        flag = f"{_naming(wider)} {flag}"
        message = f"{message}{'; ' if blockers else ''}{wider.by_name}"
    elif plan.ceiling.via is not None and plan.ceiling.via is not wider.placement:
        flag = f"--via {wider.placement.value} {flag}"
    what_it_takes = what(wider, facts.process.permitted, in_pod=facts.in_pod)
    return message, f"debugrun {plan.tool.name} {target(facts)} {flag}  ({what_it_takes})"


def target(facts: Facts) -> str:
    """The process as it is typed, with the namespace of its pod."""
    where = f" -n {facts.pod.namespace}" if facts.pod is not None else ""
    return f"{facts.container.name} {facts.process.pid}{where}"


def _naming(option: Option) -> str:
    """What a person types to trust the program that is not ours."""
    return "--via here" if option.placement is Placement.HERE else f"--image {option.image}"


def _kept_out(option: Option) -> Gate | None:
    """What admission, or a node, says to an option that nothing else closes."""
    closed = option.closed_gates
    return closed[0] if len(closed) == 1 and closed[0].layer in {Layer.ADMISSION, Layer.ENGINE} else None


def _in_a_sidecar(plan: Plan) -> str:
    """The command with a sidecar, by the ladder's next rung where it takes one."""
    open_ = (each for each in plan.options if each.verdict is not Verdict.CLOSED)
    found = next((each for each in open_ if each.placement is Placement.SIDECAR), None)
    flag = "" if found is None or found.grant.rank <= plan.ceiling.grant.rank else f" --max-grant {found.grant.value}"
    line = f"debugrun {plan.tool.name} {target(plan.facts)}{flag}"
    return line if found is None else f"{line}  ({what(found, plan.facts.process.permitted, in_pod=plan.facts.in_pod)})"


def facts_text(facts: Facts) -> str:
    """The facts for a person: one line a fact, `?` for what could not be read."""
    lines = []
    for part in ("engine", "host", "pod", "container", "process", "images"):
        if (value := getattr(facts, part)) is None:
            continue
        lines.append(part)
        lines += [f"  {each.name:<26} {_word(getattr(value, each.name))}" for each in dataclasses.fields(value)]
    return "\n".join(lines)


def _word(value: object) -> str:
    if value is None:
        return "?"
    if isinstance(value, tuple):
        return ", ".join(_word(item) for item in value) or "-"
    return str(value) if value != "" else "-"
