"""What our rules say of PodSecurity is what a real API server of 1.34.4 answered.

The record is written by tests/live/kubernetes/test_admission.py; each row: the level, what the pod says for all of its
containers, what was asked for, and whether it was let in.
"""

from __future__ import annotations

import json
from pathlib import Path

from debugrun.core.decide import admitted
from debugrun.core.grants import Verdict
from debugrun.core.know import pod as knowledge

RECORD = Path(__file__).parents[2] / "admitted" / "kubernetes-1.34.json"


def test_what_a_real_server_has_answered_is_predicted() -> None:
    rows = json.loads(RECORD.read_text())
    wrong = []
    for level, shared, context, let_in in rows:
        pod = {"metadata": {"name": "x", "namespace": "x"}, "spec": {"securityContext": shared}}
        space = {"metadata": {"labels": {knowledge.ENFORCE: level}}}
        said = admitted.predicted(context, knowledge.pod_facts(pod, "app", space))
        if said.verdict is not (Verdict.OPEN if let_in else Verdict.CLOSED):
            wrong.append((level, shared, context, said.fact))
    assert not wrong
    assert len(rows) > 200
    assert {True, False} == {let_in for *_, let_in in rows}
