"""The other verbs on pods: who says no, what kubectl debug would do, replayed facts, and the on-call pages."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from debugrun.core.ask import kubectl_line
from debugrun.core.ask.kubectl_line import PROFILES
from debugrun.core.decide import admitted, ephemeral, judge_pod
from debugrun.core.know.facts import load
from debugrun.core.know.json_access import maps
from debugrun.kubernetes import pods as addresses
from debugrun.kubernetes.cluster import ApiError
from debugrun.toolbox import catalog
from tests.live.kubernetes.conftest import HARDENED, WORKER, Pods
from tests.live.kubernetes.test_attach import untraced

pytestmark = [pytest.mark.live, pytest.mark.kubernetes]

Run = Callable[..., subprocess.CompletedProcess[str]]
TOOLBOX = "docker.io/library/debugrun-toolbox:latest"
UID_AND_GID = {"runAsUser": 1000, "runAsGroup": 1000}
#: What a gdb is put on, by name: its securityContext and its command.
SHAPES: Mapping[str, tuple[Mapping[str, object], tuple[str, ...]]] = {
    "root": ({}, (WORKER,)),
    "root-dropped": ({"capabilities": {"drop": ["ALL"]}}, (WORKER,)),
    "root-undumpable": ({}, (WORKER, "undumpable")),
    "uid-1000": ({"runAsUser": 1000}, (WORKER,)),
    "uid-and-gid": (UID_AND_GID, (WORKER,)),
    "undumpable": (UID_AND_GID, (WORKER, "undumpable")),
    "hardened": (HARDENED, (WORKER,)),
}
READ = ("gdb", "-p", "1", "-batch", "-ex", "info registers rip", "-ex", "x/i $pc", "-ex", 'printf "read it\\n"')


def tried(pods: Pods, namespace: str, name: str, context: Mapping[str, object]) -> bool:
    """Whether gdb in an ephemeral container with that securityContext attaches and reads: by the API alone."""
    made = f"peer-{os.urandom(4).hex()}"
    path = addresses.pod_path(namespace, name)
    body = ephemeral.patch(made, context, image=TOOLBOX, target="app", command=READ, pull_policy="Never")
    try:
        pods.cluster.patch(f"{path}/ephemeralcontainers", body)
    except ApiError:
        return False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = pods.state(namespace, name, made)
        if "terminated" in state:
            break
        if "running" not in state and failed(pods, namespace, name, made):
            return False
        time.sleep(0.2)
    log = subprocess.run(
        ["curl", "-s", *_curl(), f"{_server()}{path}/log?container={made}"], capture_output=True, text=True, check=True
    ).stdout
    return "read it" in log and "not permitted" not in log and "Cannot access memory" not in log


def failed(pods: Pods, namespace: str, name: str, container: str) -> bool:
    """Whether the kubelet has said in an event that it can't start it: the status says so up to 13 s later."""
    field = f"involvedObject.name={name},involvedObject.fieldPath=spec.ephemeralContainers{{{container}}}"
    listed = pods.cluster.get(f"/api/v1/namespaces/{namespace}/events", (("fieldSelector", field),))
    return any(each.get("reason") == "Failed" for each in maps(listed, "items"))


def _server() -> str:
    return next(
        line.split()[1] for line in Path(os.environ["KUBECONFIG"]).read_text().splitlines() if "server:" in line
    )


def _curl() -> list[str]:
    pki = Path(os.environ["KUBECONFIG"]).parent / "pki"
    return ["--cacert", str(pki / "ca.crt"), "--cert", str(pki / "admin.crt"), "--key", str(pki / "admin.key")]


@pytest.mark.parametrize("namespace", ["privileged", "baseline", "restricted"])
def test_the_verdict_on_kubectl_debug_is_its_outcome(
    debugrun: Run, pods: Pods, pod: Callable[..., str], namespace: str
) -> None:
    shapes = SHAPES if namespace != "restricted" else {"hardened": SHAPES["hardened"]}  # no other is admitted there
    made = {shape: pod(namespace, context, command) for shape, (context, command) in shapes.items()}
    gdb = catalog.load("gdb")

    def outcomes(shape: str) -> list[tuple[str, str, str, str]]:
        name = made[shape]
        facts = load(debugrun("facts", f"pod/{name}", "-n", namespace, "--json", status=0).stdout)
        assert facts.pod is not None
        found = []
        for profile, asked in PROFILES.items():
            words = ["debug", "-it", name, f"--image={TOOLBOX}", "--target=app", f"--profile={profile}"]
            line = kubectl_line.parse(["kubectl", *words, "--", "gdb", "-p", "1"])
            option = judge_pod.judged(line.attempt, gdb, gdb.mode(None), facts)
            verdict = admitted.answered(option, facts.pod).verdict.value
            found.append((shape, profile, verdict, "open" if tried(pods, namespace, name, asked) else "closed"))
        return found

    with ThreadPoolExecutor(4) as pool:
        every = [each for found in pool.map(outcomes, shapes) for each in found]
    assert [each for each in every if each[2] != each[3]] == []
    assert {verdict for _, _, verdict, _ in every} == ({"open", "closed"} if namespace != "restricted" else {"closed"})
    assert all(untraced(pods.first_process(namespace, name)) for name in made.values())


def test_a_context_of_ones_own_is_judged(debugrun: Run, pod: Callable[..., str], tmp_path: Path) -> None:
    name = pod("restricted", HARDENED)
    path = tmp_path / "context.yaml"
    path.write_text("securityContext:\n  runAsUser: 1000\n  runAsGroup: 1000\n")
    line = ["--", "kubectl", "debug", name, f"--image={TOOLBOX}", "--target=app", "--profile=restricted"]
    words = ["judge", "gdb", f"pod/{name}", "-n", "restricted"]
    assert debugrun(*words, *line, f"--custom={path}", "--", "gdb", "-p", "1", status=0).stdout.startswith("open")
    closed = debugrun(*words, *line, "--", "gdb", "-p", "1", status=126)
    assert "CreateContainerConfigError" in closed.stdout
    refused = debugrun(*words, "--security-context", str(path), status=126)
    assert 'violates PodSecurity "restricted' in refused.stdout


def test_why_names_admission_first_and_the_fix_works(debugrun: Run, pods: Pods, pod: Callable[..., str]) -> None:
    name = pod("restricted", HARDENED)
    said = debugrun("why", "gdb", f"pod/{name}", "-n", "restricted", status=0).stdout
    assert said.splitlines()[0].startswith("kubectl -n restricted debug")
    assert 'stopped by admission: violates PodSecurity "restricted' in said
    assert '"SYS_PTRACE"' in said
    assert f"debugrun gdb pod/{name}/app 1 -n restricted" in said
    text = "Warning: container debugger-x: container has runAsNonRoot and image will run as root"
    words = ["why", "gdb", f"pod/{name}", "-n", "restricted", "--from-error", text]
    line = ["kubectl", "debug", "-it", name, f"--image={TOOLBOX}", "--target=app", "--profile=restricted"]
    told = debugrun(*words, "--", *line, "--", "gdb", "-p", "1", status=0).stdout
    assert "stopped by engine: CreateContainerConfigError" in told
    assert untraced(pods.first_process("restricted", name))


def test_saved_facts_decide_as_the_server_does(debugrun: Run, pod: Callable[..., str], tmp_path: Path) -> None:
    for namespace, context in (("restricted", HARDENED), ("baseline", {}), ("privileged", {"runAsUser": 1000})):
        name = pod(namespace, context)
        path = tmp_path / f"{namespace}.json"
        path.write_text(debugrun("facts", f"pod/{name}", "-n", namespace, "--json", status=0).stdout)
        for tool in ("gdb", "strace", "perf"):
            live = json.loads(debugrun("plan", tool, f"pod/{name}", "-n", namespace, "--json").stdout)
            saved = json.loads(debugrun("plan", tool, "--facts", str(path), "--json").stdout)
            assert saved["chosen"] == live["chosen"], tool
            verdicts = [[each["verdict"] for each in plan["options"]] for plan in (live, saved)]
            assert verdicts[0] == verdicts[1], tool


def test_ps_stacks_bt_and_memory(debugrun: Run, pods: Pods, pod: Callable[..., str]) -> None:
    name = pod("restricted", HARDENED)
    where = (f"pod/{name}", "-n", "restricted")
    shown = json.loads(debugrun("ps", *where, "--json", status=0).stdout)["containers"][0]
    assert shown["name"] == f"pod/{name}/app"
    assert [(each["pid"], each["uid"]) for each in shown["processes"]] == [(1, 1000)]
    assert shown["processes"][0]["threads"][0]["waits_for"]
    assert "main" in debugrun("stacks", *where, status=0).stdout
    told = json.loads(debugrun("bt", f"pod/{name}", "1", "-n", "restricted", "--json", status=0).stdout)
    assert any(frame["function"] == "main" for frame in told["processes"][0]["threads"][0]["frames"])
    memory = json.loads(debugrun("memory", *where, "--json", status=0).stdout)
    assert memory["processes"][0]["rss"] > 100_000
    assert untraced(pods.first_process("restricted", name))
    for each in pods.ours("restricted", name):
        pods.await_state("restricted", name, "terminated", each)


def test_a_core_of_a_pods_process(debugrun: Run, pods: Pods, pod: Callable[..., str], tmp_path: Path) -> None:
    name = pod("restricted", HARDENED)
    core = tmp_path / "core"
    debugrun("core", f"pod/{name}", "-n", "restricted", "-o", str(core), "--no-bundle", status=0)
    assert core.read_bytes()[:4] == b"\x7fELF"
    assert core.stat().st_size > 100_000
    assert untraced(pods.first_process("restricted", name))


def test_a_flame_graph_takes_going_without_a_filter(
    debugrun: Run, pods: Pods, pod: Callable[..., str], tmp_path: Path
) -> None:
    refused = debugrun("flame", f"pod/{pod('restricted', HARDENED)}", "-n", "restricted", status=126)
    assert "no profile that opens" in refused.stderr
    name = pod("baseline", UID_AND_GID, ("/opt/app/worker", "busy"))
    picture = tmp_path / "cpu.folded"
    words = ("flame", f"pod/{name}", "-n", "baseline", "--duration", "6", "--max-grant", "unconfined")
    done = debugrun(*words, "-o", str(picture), status=0)
    assert "no seccomp filter, admitted by `baseline`" in done.stderr
    assert "main" in picture.read_text()
    assert untraced(pods.first_process("baseline", name))


def test_a_profile_on_the_node_opens_perf_in_a_restricted_namespace(
    debugrun: Run, pods: Pods, pod: Callable[..., str], tmp_path: Path
) -> None:
    name = pod("restricted", HARDENED, ("/opt/app/worker", "busy"))
    where = (f"pod/{name}", "-n", "restricted")
    out = tmp_path / "patch.json"
    said = debugrun("export", "perf", *where, "--to", "kubernetes", "--mode", "record", "-o", str(out), status=0)
    assert "/var/lib/kubelet/seccomp/debugrun" in said.stderr
    node = Path(os.environ["KUBECONFIG"]).parent / "kubelet/seccomp/debugrun"  # bound to /var/lib/kubelet there
    node.mkdir(parents=True, exist_ok=True)
    profile = tmp_path / "debugrun-perf-record.json"
    (node / profile.name).write_text(profile.read_text())
    picture = tmp_path / "cpu.folded"
    done = debugrun(
        "flame", *where, "--duration", "6", "-o", str(picture), DEBUGRUN_KUBERNETES_SECCOMP="debugrun", status=0
    )
    assert "admitted by `restricted`" in done.stderr
    assert "main" in picture.read_text()
    assert untraced(pods.first_process("restricted", name))
