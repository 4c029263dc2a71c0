"""What kubectl debug's profiles, and other securityContexts, amount to: as measured on a real kubelet.

Kubernetes 1.34.4, containerd 1.6.20, gdb 16; `shape` is the target's uid:gid and its capabilities.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest

from debugrun.core.ask import kubectl_line
from debugrun.core.ask.attempt import Attempt
from debugrun.core.decide import admitted, judge_pod
from debugrun.core.decide.plan import plan
from debugrun.core.grants import Ceiling, Grant, Option, Placement, Verdict
from debugrun.core.know import facts as f
from debugrun.core.say import verdict
from debugrun.core.say.command import with_lines
from debugrun.errors import UsageError
from debugrun.toolbox import catalog
from tests import cases

POD = replace(
    cases.PLAIN,
    engine=replace(cases.PLAIN.engine, name="containerd", version="1.6.20", api_version="1.34.4"),
    container=replace(cases.PLAIN.container, name="pod/web/app", seccomp="unconfined", user="0:0"),
    pod=f.PodFacts(namespace="shop", level="privileged"),
)
GDB = catalog.load("gdb", cases.NOBODYS_FOLDER)
SAME = {"runAsUser": 1000, "runAsGroup": 1000}
A = {
    **SAME,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
    "allowPrivilegeEscalation": False,
}


def target(shape: str) -> f.Facts:
    """root, root-dropped, root-undumpable, or UID:GID with or without `-undumpable`."""
    who, _, rest = shape.partition("-")
    uid, gid = (0, 0) if who == "root" else tuple(map(int, who.split(":")))
    held = cases.DOCKER_DEFAULT if who == "root" and rest != "dropped" else ()
    process = replace(
        POD.process,
        uids=(uid,) * 4,
        gids=(gid,) * 4,
        permitted=held,
        effective=held,
        bounding=held or (cases.DOCKER_DEFAULT if who != "root" else ()),
        dumpable=rest != "undumpable",
    )
    container = replace(POD.container, user=f"{uid}:{gid}", capabilities=process.bounding)
    return replace(POD, process=process, container=container)


def judged(context: object, facts: f.Facts, image: str = "debugrun-toolbox:latest") -> Option:
    attempt = Attempt(
        placement=Placement.SIDECAR,
        image=image,
        pid_mode="container:pod/web/app",
        context=json.dumps(context),
    )
    return judge_pod.judged(attempt, GDB, GDB.mode(None), facts)


@pytest.mark.parametrize(
    ("profile", "shape", "works"),
    [
        ("legacy", "root", True),
        ("legacy", "root-dropped", True),
        ("legacy", "root-undumpable", False),
        ("legacy", "1000:0", False),
        ("baseline", "1000:1000", False),
        ("general", "root", True),
        ("general", "root-undumpable", True),
        ("general", "1000:1000", True),
        ("general", "1000:1000-undumpable", True),
        ("restricted", "root", False),
        ("restricted", "1000:1000", False),
        ("sysadmin", "root-undumpable", True),
        ("sysadmin", "1000:1000", True),
        ("netadmin", "1000:1000", False),
    ],
)
def test_profiles_of_kubectl_debug(profile: str, shape: str, *, works: bool) -> None:
    words = ["kubectl", "-n", "shop", "debug", "-it", "web", "--image=debugrun-toolbox:latest", "--target", "app"]
    line = kubectl_line.parse([*words, f"--profile={profile}", "--", "gdb", "-p", "1"])
    option = judge_pod.judged(line.attempt, GDB, GDB.mode(None), target(shape))
    assert (option.verdict is Verdict.OPEN, option.verdict is Verdict.CLOSED) == (works, not works), option.gates
    said = verdict.as_text(option, plan(GDB, GDB.mode(None), target(shape), Ceiling()))
    assert f"--profile={profile}" in said


@pytest.mark.parametrize(
    ("context", "shape", "works"),
    [
        (A, "1000:1000", True),
        (A, "1000:1000-undumpable", False),
        ({**A, "runAsGroup": 0}, "1000:1000", False),
        ({key: each for key, each in A.items() if key != "runAsGroup"}, "1000:1000", False),
        ({key: each for key, each in A.items() if key != "runAsGroup"}, "1000:0", True),
        ({"runAsUser": 0, "capabilities": {"drop": ["ALL"]}}, "root", False),
        ({"runAsUser": 0, "capabilities": {"drop": ["ALL"]}}, "root-dropped", True),
        ({"capabilities": {"drop": ["ALL"], "add": ["SYS_PTRACE"]}}, "root-undumpable", True),
        (
            {"runAsUser": 1000, "runAsGroup": 1000, "capabilities": {"add": ["SYS_PTRACE"]}},
            "1000:1000-undumpable",
            False,
        ),
        ({"runAsNonRoot": True}, "root", False),
        ({"capabilities": {"add": ["NO_SUCH"]}}, "root", False),
    ],
)
def test_security_contexts(context: object, shape: str, *, works: bool) -> None:
    option = judged(context, target(shape))
    assert (option.verdict is Verdict.OPEN) == works, option.gates
    assert option.verdict is not Verdict.UNKNOWN


def test_what_a_pod_says_counts_for_its_ephemeral_containers() -> None:
    facts = target("1000:1000")
    restricted = kubectl_line.PROFILES["restricted"]
    assert judged(restricted, facts).verdict is Verdict.CLOSED
    pod = replace(POD, pod=f.PodFacts(namespace="shop", uid=1000, gid=1000))
    inherits = replace(facts, pod=pod.pod)
    assert judged(restricted, inherits).verdict is Verdict.OPEN
    assert judged(restricted, inherits).user == "1000:1000"


def test_a_namespace_of_its_own_is_said() -> None:
    attempt = Attempt(placement=Placement.SIDECAR, context="{}")
    option = judge_pod.judged(attempt, GDB, GDB.mode(None), target("root"))
    assert "--target=app" in option.closed_gates[0].fact


def test_a_profile_of_the_nodes_is_not_known() -> None:
    context = {**A, "seccompProfile": {"type": "Localhost", "localhostProfile": "debug.json"}}
    assert judged(context, target("1000:1000")).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("level", "context", "said"),
    [
        ("privileged", {"privileged": True}, None),
        ("baseline", {}, None),
        ("baseline", {"privileged": True}, "privileged"),
        ("baseline", {"capabilities": {"add": ["SYS_PTRACE"]}}, '"SYS_PTRACE"'),
        ("baseline", {"capabilities": {"add": ["NET_ADMIN", "NET_RAW", "KILL"]}}, '"NET_ADMIN", "NET_RAW"'),
        ("baseline", {"seccompProfile": {"type": "Unconfined"}}, "seccompProfile"),
        ("baseline", {"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}}, None),
        ("baseline", {"procMount": "Unmasked"}, "procMount"),
        ("restricted", A, None),
        ("restricted", {}, "allowPrivilegeEscalation != false"),
        ("restricted", {**A, "runAsNonRoot": None}, "runAsNonRoot != true"),
        ("restricted", {**A, "runAsUser": 0}, "runAsUser=0"),
        ("restricted", {**A, "capabilities": {"drop": ["ALL"], "add": ["SYS_PTRACE"]}}, '"SYS_PTRACE"'),
        ("restricted", {**A, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}, None),
        ("privileged", {"privileged": True, "allowPrivilegeEscalation": False}, "cannot set"),
        (None, A, "is not known"),
    ],
)
def test_what_a_level_admits(level: str | None, context: dict[str, object], said: str | None) -> None:
    gate = admitted.predicted(context, f.PodFacts(namespace="shop", level=level))
    assert (gate.verdict is Verdict.OPEN) == (said is None)
    assert (said or "admitted") in gate.fact


def test_a_plan_from_saved_facts_knows_the_level() -> None:
    facts = replace(target("1000:1000-undumpable"), pod=f.PodFacts(namespace="shop", level="restricted"))
    facts = f.load(f.dump(facts))
    decision = admitted.with_admission(with_lines(plan(GDB, GDB.mode(None), facts, Ceiling(grant=Grant.PRIVILEGED))))
    assert decision.option is None
    wide = replace(facts, pod=f.PodFacts(namespace="shop", level="privileged"))
    option = admitted.with_admission(with_lines(plan(GDB, GDB.mode(None), wide, Ceiling()))).option
    assert option is not None
    assert "SYS_PTRACE" in option.cap_add
    assert "kubectl -n shop debug -it web" in option.command
    assert "--custom=debug.json" in option.command


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kubectl get pods", "start a tool"),
        ("kubectl debug node/n1 --image x", "pod of its own"),
        ("kubectl debug web --copy-to y --image x", "a copy"),
        ("kubectl debug web --profile=wide --image x", "no profile 'wide'"),
        ("kubectl debug deploy/web --image x", "takes a pod"),
        ("kubectl debug --image x", "names no pod"),
        ("kubectl debug web --nonsense", "not an option"),
        ("kubectl debug web --image", "needs a value"),
    ],
)
def test_lines_that_tell_nothing(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        kubectl_line.parse(line.split())


def test_lines_as_they_are_typed() -> None:
    typed = "kubectl --context prod debug -n shop -it pods web -c dbg --image=x --target=app -- gdb -p 7"
    line = kubectl_line.parse(shlex.split(typed))
    assert (line.container, line.namespace, line.kubernetes_context) == ("pod/web/app", "shop", "prod")
    assert line.argv == ("gdb", "-p", "7")
    assert json.loads(line.attempt.context or "") == {"capabilities": {"add": ["SYS_PTRACE"]}}
    line = kubectl_line.parse(shlex.split("kubectl exec -it deploy/web -c app -- strace -p 1"))
    assert line.container == "deploy/web/app"
    assert line.argv == ("strace", "-p", "1")


def test_a_custom_file_is_merged() -> None:
    typed = "kubectl debug web --image x --target app --profile=restricted --custom=f"
    attempt = kubectl_line.parse(shlex.split(typed)).attempt
    partial = {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "seccompProfile": None}, "image": "y"}
    merged = kubectl_line.customized(attempt, partial)
    context = json.loads(merged.context or "")
    assert context["runAsUser"] == 1000
    assert context["runAsNonRoot"] is True
    assert "seccompProfile" not in context
    assert merged.image == "y"
    assert judge_pod.judged(merged, GDB, GDB.mode(None), target("1000:1000")).verdict is Verdict.OPEN
