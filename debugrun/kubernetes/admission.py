"""Whether the API server would admit an option: it is asked, by a dry run, and answers for all that has a say.

PodSecurity, validation and the webhooks that support dry runs: https://kubernetes.io/docs/reference/using-api/
api-concepts/#dry-run. The whole pod is judged at each update, with the ephemeral containers that it has already.
"""

from __future__ import annotations

import re
import urllib.parse

from debugrun.core.decide import admitted, ephemeral
from debugrun.core.decide.plan import Plan, within
from debugrun.core.grants import Gate, Grant, Layer, Option, Placement, Verdict
from debugrun.core.know import pod as knowledge
from debugrun.core.know.json_access import Json
from debugrun.kubernetes import rights
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
        context = admitted.context_of(option, decision.facts.pod)
        options[number] = admitted.first(option, gate(cluster, found, context, image, level))
        if not everything and options[number].verdict is not Verdict.CLOSED:
            break
    answered = decision.with_answers(tuple(options))
    if answered.chosen is None and not everything:  # then what is wider must not be proposed unasked
        return asked(cluster, found, answered, image, everything=True)
    return answered


def gate(cluster: Cluster, found: Found, context: Json, image: str, level: str | None) -> Gate:
    """The server's answer to a container with that securityContext; `level` is what its namespace enforces."""
    body = ephemeral.patch(
        NAME, context, image=image, target=found.container, command=("sh",), pull_policy="IfNotPresent"
    )
    try:
        cluster.patch(f"{found.path}/ephemeralcontainers", body, dry_run=True)
    except ApiError as error:
        if error.http == FORBIDDEN and not rights.by_admission(error):
            raise rights.missing(cluster, "pods/ephemeralcontainers", "patch", error) from error
        if error.http not in {FORBIDDEN, UNPROCESSABLE}:
            raise
        fact = re.sub(r'^(?:pods|Pod) "[^"]*" is (?:forbidden|invalid): ', "", error.text)
        return Gate(need="container", layer=Layer.ADMISSION, verdict=Verdict.CLOSED, fact=fact, source=SOURCE)
    fact = f"admitted by `{level}`" if level else "admitted"
    return Gate(need="container", layer=Layer.ADMISSION, verdict=Verdict.OPEN, fact=fact, source=SOURCE)


def refuses_all(cluster: Cluster, found: Found, image: str) -> str:
    """What the server says to the narrowest container that there is; "" where it admits that.

    It judges the whole pod: one that was there before the namespace's label may keep every other out.
    """
    narrowest = Option(
        placement=Placement.SIDECAR, grant=Grant.NONE, user="65534:65534", verdict=Verdict.UNKNOWN, gates=()
    )
    answer = gate(cluster, found, ephemeral.security_context(narrowest), image, None)
    return answer.fact if answer.verdict is Verdict.CLOSED else ""
