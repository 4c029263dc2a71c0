"""What our rules predict of PodSecurity is what a real server answers, for many pods, levels and contexts.

The pods are never run: admission looks at the specification alone. With DEBUGRUN_RECORD the answers are written down
for the tests that run without a server.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from debugrun.core.ask.kubectl_line import PROFILES
from debugrun.core.decide import admitted, ephemeral
from debugrun.core.grants import Verdict
from debugrun.core.know import pod as knowledge
from debugrun.kubernetes import admission
from debugrun.kubernetes.cluster import ApiError
from debugrun.kubernetes.pods import Found
from tests.core.decide.test_admitted import RECORD
from tests.live.kubernetes.conftest import APP, HARDENED, LEVELS, Pods

pytestmark = [pytest.mark.live, pytest.mark.kubernetes]

#: What pods say for all of their containers.
SHARED: tuple[Mapping[str, object], ...] = (
    {},
    {"runAsUser": 1000, "runAsGroup": 1000},
    {"runAsNonRoot": True},
    {"runAsUser": 0},
    {"seccompProfile": {"type": "RuntimeDefault"}},
    {"seccompProfile": {"type": "Unconfined"}},
    {"seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}},
    {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
)
#: And what their container says itself.
OWN: tuple[Mapping[str, object], ...] = (
    {},
    HARDENED,
    {"privileged": True},
    {"capabilities": {"add": ["SYS_PTRACE"]}},
    {"capabilities": {"drop": ["ALL"]}},
)
CONTEXTS: tuple[Mapping[str, object], ...] = (
    *PROFILES.values(),
    HARDENED,
    {**HARDENED, "runAsUser": 0, "runAsNonRoot": False},
    {key: each for key, each in HARDENED.items() if key != "runAsNonRoot"},
    {key: each for key, each in HARDENED.items() if key != "seccompProfile"},
    {**HARDENED, "capabilities": {"drop": ["ALL"], "add": ["SYS_PTRACE"]}},
    {**HARDENED, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}},
    {**HARDENED, "seccompProfile": {"type": "Localhost", "localhostProfile": "debugrun/debugrun-perf-record.json"}},
    {**HARDENED, "seccompProfile": {"type": "Unconfined"}},
    {**HARDENED, "appArmorProfile": {"type": "Unconfined"}},
    {**HARDENED, "seLinuxOptions": {"type": "spc_t"}},
    {"capabilities": {"add": ["NET_RAW"]}},
    {"capabilities": {"add": ["KILL", "DAC_OVERRIDE"]}},
    {"capabilities": {"add": ["ALL"]}},
    {"privileged": True, "allowPrivilegeEscalation": False},
    {"capabilities": {"add": ["SYS_ADMIN"]}, "allowPrivilegeEscalation": False},
)


def shapes(pods: Pods) -> Iterator[tuple[str, Found, str, Mapping[str, object]]]:
    """Each pod that its namespace lets in: forty kinds, three levels."""
    for level, (number, (shared, own)) in itertools.product(LEVELS, enumerate(itertools.product(SHARED, OWN))):
        name = f"shape-{number}"
        path = f"/api/v1/namespaces/{level}/pods"
        container = {"name": "app", "image": APP, "securityContext": dict(own)}
        spec = {"containers": [container], "securityContext": dict(shared), "terminationGracePeriodSeconds": 0}
        body = {"metadata": {"name": name}, "spec": spec}
        try:
            if pods.cluster.maybe(f"{path}/{name}") is None:
                pods.cluster.post(path, body)
        except ApiError:
            continue
        yield level, Found(pod=pods.get(level, name), container="app"), name, shared


def test_predicted_admission_is_the_servers_answer(pods: Pods) -> None:
    record: dict[str, bool] = {}
    wrong, asked = [], 0
    for level, found, name, shared in shapes(pods):
        space = pods.cluster.get(f"/api/v1/namespaces/{level}")
        around = knowledge.pod_facts(found.pod, "app", space)
        for context in CONTEXTS:
            answer = admission.gate(pods.cluster, found, context, "x", level)
            said = admitted.predicted(context, around)
            asked += 1
            record[json.dumps([level, shared, context])] = answer.verdict is Verdict.OPEN
            if said.verdict is not answer.verdict:
                wrong.append((name, level, context, answer.fact, said.fact))
        pods.cluster.delete(f"/api/v1/namespaces/{level}/pods/{name}", grace=0)
    assert not wrong, (len(wrong), wrong[:3])
    assert asked > 1000
    if os.environ.get("DEBUGRUN_RECORD"):
        rows = (json.dumps([*json.loads(key), open_]) for key, open_ in record.items())
        Path(RECORD).write_text("[\n" + ",\n".join(rows) + "\n]\n")


def test_an_old_ephemeral_container_may_keep_ours_out_and_is_named(pods: Pods) -> None:
    """PodSecurity judges the whole pod at each update: what came in before the label blocks all that follows."""
    namespace = f"tightened-{os.urandom(3).hex()}"
    path = f"/api/v1/namespaces/{namespace}"
    pods.cluster.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
    container = {"name": "app", "image": APP, "securityContext": dict(HARDENED)}
    pods.cluster.post(f"{path}/pods", {"metadata": {"name": "old"}, "spec": {"containers": [container]}})
    wide = ephemeral.patch(
        "debugger-old", {"privileged": True}, image="x", target="app", command=("sh",), pull_policy="Never"
    )
    pods.cluster.patch(f"{path}/pods/old/ephemeralcontainers", wide)
    pods.cluster.patch(path, {"metadata": {"labels": {knowledge.ENFORCE: "restricted"}}})
    found = Found(pod=pods.get(namespace, "old"), container="app")
    said = admission.refuses_all(pods.cluster, found, "x")
    assert "debugger-old" in said
    around = knowledge.pod_facts(found.pod, "app", pods.cluster.get(path), refuses=said)
    assert admitted.predicted(HARDENED, around).verdict is Verdict.CLOSED
    pods.cluster.delete(path)
