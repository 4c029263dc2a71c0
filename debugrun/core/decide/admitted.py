"""What a namespace's PodSecurity says to the options of a plan, by its rules: where no API server is asked. Pure."""

from __future__ import annotations

import json
from dataclasses import replace

from debugrun.core.decide import ephemeral
from debugrun.core.decide.plan import Plan
from debugrun.core.grants import Gate, Layer, Option, Placement, Verdict
from debugrun.core.know.facts import PodFacts
from debugrun.core.know.json_access import Json
from debugrun.core.rules import pod_security

SOURCE = "pod-security-admission policy/; the server was not asked, nor any webhook"


def with_admission(decision: Plan) -> Plan:
    """The plan with that answer among the gates of each ephemeral container."""
    pod = decision.facts.pod
    if pod is None:
        return decision
    decision = with_profiles(decision, None)
    return decision.with_answers(tuple(answered(each, pod) for each in decision.options))


def with_profiles(decision: Plan, folder: str | None) -> Plan:
    """The plan where an opened call takes a file of the node: in `folder`, below the kubelet's own; None: not there.

    https://kubernetes.io/docs/reference/node/seccomp/: the API takes no profile, only its path on the node.
    """
    pod, name = decision.facts.pod, f"debugrun-{decision.tool.name}-{decision.mode.name}.json"

    def placed(option: Option) -> Option:
        if not option.opened_calls or option.context is not None or option.placement is not Placement.SIDECAR:
            return option
        if folder is None:
            fact = f"no profile that opens {', '.join(option.opened_calls)} is known to be on the node"
            source = "DEBUGRUN_KUBERNETES_SECCOMP; debugrun export --to kubernetes makes it"
            gate = Gate(need="container", layer=Layer.ENGINE, verdict=Verdict.CLOSED, fact=fact, source=source)
            return replace(option, gates=(*option.gates, gate), verdict=Verdict.CLOSED)
        profile = {"type": "Localhost", "localhostProfile": f"{folder}/{name}"}
        context = {**ephemeral.security_context(option, pod), "seccompProfile": profile}
        return replace(option, context=json.dumps(context))

    return decision.with_answers(tuple(placed(each) for each in decision.options))


def answered(option: Option, pod: PodFacts) -> Option:
    """The option with the answer, first of its gates: nobody else is asked when the server says no."""
    if option.placement is not Placement.SIDECAR:
        return option
    gate = predicted(context_of(option, pod), pod)
    return first(option, gate)


def first(option: Option, gate: Gate) -> Option:
    """The option with an answer of admission."""
    verdict = option.verdict
    if Verdict.CLOSED in {gate.verdict, verdict}:
        verdict = Verdict.CLOSED
    elif gate.verdict is Verdict.UNKNOWN:
        verdict = Verdict.UNKNOWN
    return replace(option, gates=(gate, *option.gates), verdict=verdict)


def context_of(option: Option, pod: PodFacts | None) -> Json:
    """The securityContext that an option is, or that was typed for it."""
    if option.context is None:
        return ephemeral.security_context(option, pod)
    found = json.loads(option.context)
    return found if isinstance(found, dict) else {}


def predicted(context: Json, pod: PodFacts) -> Gate:
    """What the namespace's level says to a container with that securityContext."""
    if wrong := pod_security.invalid(context):
        return _gate(Verdict.CLOSED, wrong)
    if pod.refuses:
        return _gate(Verdict.CLOSED, pod.refuses)
    if pod.level not in pod_security.LEVELS:
        return _gate(Verdict.UNKNOWN, "which level of PodSecurity the namespace enforces is not known")
    refused = pod_security.refusals(context, pod, pod.level)
    if refused:
        return _gate(Verdict.CLOSED, f'violates PodSecurity "{pod.level}": {", ".join(refused)}')
    return _gate(Verdict.OPEN, f"admitted by `{pod.level}`")


def _gate(verdict: Verdict, fact: str) -> Gate:
    return Gate(need="container", layer=Layer.ADMISSION, verdict=verdict, fact=fact, source=SOURCE)
