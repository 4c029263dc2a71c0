"""Whether the API server would admit an option: it is asked, by a dry run, and answers for all that has a say.

PodSecurity, validation and the webhooks that support dry runs: https://kubernetes.io/docs/reference/using-api/
api-concepts/#dry-run. The whole pod is judged at each update, with the ephemeral containers that it has already.
"""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import replace

from debugrun.core.decide import ephemeral
from debugrun.core.decide.plan import Plan, within
from debugrun.core.grants import Gate, Layer, Option, Placement, Verdict
from debugrun.core.know import pod as knowledge
from debugrun.kubernetes.cluster import FORBIDDEN, UNPROCESSABLE, ApiError, Cluster
from debugrun.kubernetes.pods import Found

NAME = "debugrun-dry-run"
SOURCE = "dry run of pods/ephemeralcontainers"


def asked(cluster: Cluster, found: Found, decision: Plan, image: str, *, everything: bool = False) -> Plan:
    """The plan with the server's own answer among the gates: of the option that is taken, or of `everything`."""
    options = list(decision.options)
    space = cluster.maybe(f"/api/v1/namespaces/{urllib.parse.quote(knowledge.namespace(found.pod))}")
    level = knowledge.enforced(space)
    for number, option in enumerate(options):
        if option.placement is not Placement.SIDECAR:
            continue
        if not everything and (option.verdict is Verdict.CLOSED or not within(option, decision.ceiling)):
            continue
        if any(gate.layer is Layer.ADMISSION for gate in option.gates):
            continue
        gate = _gate(cluster, found, option, image, level)
        verdict = Verdict.CLOSED if gate.verdict is Verdict.CLOSED else option.verdict
        options[number] = replace(option, gates=(*option.gates, gate), verdict=verdict)
        if not everything and verdict is not Verdict.CLOSED:
            break
    answered = decision.with_answers(tuple(options))
    if answered.chosen is None and not everything:  # then what is wider must not be proposed unasked
        return asked(cluster, found, answered, image, everything=True)
    return answered


def _gate(cluster: Cluster, found: Found, option: Option, image: str, level: str | None) -> Gate:
    body = ephemeral.patch(
        NAME, option, image=image, target=found.container, command=("sh",), pull_policy="IfNotPresent"
    )
    try:
        cluster.patch(f"{found.path}/ephemeralcontainers", body, dry_run=True)
    except ApiError as error:
        if error.http not in {FORBIDDEN, UNPROCESSABLE}:
            raise
        fact = re.sub(r'^pods "[^"]*" is forbidden: ', "", error.text)
        return Gate(need="container", layer=Layer.ADMISSION, verdict=Verdict.CLOSED, fact=fact, source=SOURCE)
    fact = f"admitted by `{level}`" if level else "admitted"
    return Gate(need="container", layer=Layer.ADMISSION, verdict=Verdict.OPEN, fact=fact, source=SOURCE)
