"""One clear line for each thing that can be wrong with a pod, a cluster or one's rights there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.host.kubernetes import cluster as host_cluster
from tests.live.kubernetes.conftest import APP, HARDENED, WORKER, Pods

pytestmark = [pytest.mark.live, pytest.mark.kubernetes]

Run = Callable[..., subprocess.CompletedProcess[str]]
BACKTRACE = ("--", "-batch", "-ex", "bt")


def test_names_that_are_near(debugrun: Run, pod: Callable[..., str]) -> None:
    name = pod("restricted", HARDENED)
    done = debugrun("gdb", f"pod/{name[:-1]}", "-n", "restricted", status=125)
    assert f"did you mean pod/{name}" in done.stderr
    done = debugrun("gdb", f"pod/{name}", "-n", "baseline", status=125)
    assert "there is one in namespace restricted: -n restricted" in done.stderr


def test_several_containers(debugrun: Run, pod: Callable[..., str]) -> None:
    second = {"name": "app", "image": APP, "imagePullPolicy": "Never", "command": [WORKER]}
    name = pod("privileged", {}, containers=[second, {**second, "name": "side"}])
    done = debugrun("gdb", f"pod/{name}", "-n", "privileged", status=125)
    assert "which container" in done.stderr
    assert f"pod/{name}/app" in done.stderr
    done = debugrun("gdb", f"pod/{name}/none", "-n", "privileged", status=125)
    assert "has no container none" in done.stderr
    done = debugrun("gdb", f"pod/{name}/side", "-n", "privileged", *BACKTRACE, status=0)
    assert "in main (" in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cronjob/x", "no 'cronjob'"),
        ("pod/", "not a pod's name"),
        ("pod/a/b/c", "not a pod's name"),
        ("pod/A_b", "not a pod's name"),
    ],
)
def test_what_is_no_reference(debugrun: Run, kubeconfig: str, text: str, said: str) -> None:
    assert kubeconfig
    assert said in debugrun("gdb", text, status=2).stderr


def test_no_configuration_or_no_such_context(debugrun: Run, kubeconfig: str, tmp_path: Path) -> None:
    assert "no cluster is configured" in debugrun("gdb", "pod/x", KUBECONFIG=str(tmp_path / "none"), status=125).stderr
    done = debugrun("gdb", "pod/x", "--kubernetes-context", "prod", status=125)
    assert "no context 'prod'; there are: admin" in done.stderr
    broken = tmp_path / "config"
    broken.write_text(Path(kubeconfig).read_text().replace("127.0.0.1", "127.0.0.3"))
    assert "can't be reached" in debugrun("gdb", "pod/x", KUBECONFIG=str(broken), status=125).stderr


def test_a_user_that_acts_as_another_is_refused(debugrun: Run, kubeconfig: str, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(Path(kubeconfig).read_text().replace("    client-key:", "    as: someone\n    client-key:"))
    assert "acts as another one" in debugrun("gdb", "pod/x", KUBECONFIG=str(config), status=125).stderr


RIGHTS = [
    (["pods"], ["get"]),
    (["pods/ephemeralcontainers"], ["patch"]),
    (["pods/attach"], ["get", "create"]),
    (["pods/exec"], ["get", "create"]),
]


@pytest.mark.parametrize("lacking", range(len(RIGHTS)), ids=lambda number: RIGHTS[number][0][0])
def test_each_right_that_is_missing_is_named_with_its_role(
    debugrun: Run, pods: Pods, pod: Callable[..., str], lacking: int
) -> None:
    name = pod("restricted", HARDENED)
    who = f"lacks-{lacking}"
    rules = [
        {"apiGroups": [""], "resources": resources, "verbs": verbs}
        for number, (resources, verbs) in enumerate(RIGHTS)
        if number != lacking
    ]
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/restricted"
    if pods.cluster.maybe(f"{path}/roles/{who}") is None:
        pods.cluster.post(f"{path}/roles", {"metadata": {"name": who}, "rules": rules})
        group = "rbac.authorization.k8s.io"
        subject = {"kind": "User", "name": who, "apiGroup": group}
        reference = {"apiGroup": group, "kind": "Role", "name": who}
        pods.cluster.post(
            f"{path}/rolebindings", {"metadata": {"name": who}, "roleRef": reference, "subjects": [subject]}
        )
    config = str(host_cluster.user(who))
    done = debugrun("gdb", f"pod/{name}", "-n", "restricted", *BACKTRACE, KUBECONFIG=config, status=125)
    resource, verb = RIGHTS[lacking][0][0], RIGHTS[lacking][1][0]
    assert f"you may not {verb} {resource}" in done.stderr
    assert f'resources: ["{resource}"], verbs: ["{verb}"' in done.stderr


def unscheduled(pods: Pods, name: str, spec: dict[str, object], status: dict[str, object] | None = None) -> str:
    """A pod that no kubelet has seen, with the status that one would have told; its path."""
    path = "/api/v1/namespaces/privileged/pods"
    container = {"name": "app", "image": APP}
    pods.cluster.post(path, {"metadata": {"name": name}, "spec": {"containers": [container], **spec}})
    if status:
        pods.cluster.patch(f"{path}/{name}/status", {"status": status})
    return f"{path}/{name}"


@pytest.mark.parametrize(
    ("spec", "status", "target", "said"),
    [
        ({}, {}, "", "does not run: it is Pending"),
        ({}, {"phase": "Failed", "reason": "Evicted"}, "", "does not run: it is Failed (Evicted)"),
        ({}, {"phase": "Succeeded"}, "", "does not run: it is Succeeded"),
        ({"os": {"name": "windows"}}, {"phase": "Running"}, "", "runs on Windows"),
        ({"initContainers": [{"name": "first", "image": APP}]}, {"phase": "Running"}, "/first", "an init container"),
        ({}, {"phase": "Running"}, "/none", "has no container none"),
        (
            {},
            {
                "phase": "Running",
                "containerStatuses": [
                    {
                        "name": "app", "image": APP, "imageID": "", "ready": False, "restartCount": 3,
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    }
                ],
            },
            "",
            "does not run: CrashLoopBackOff",
        ),
    ],
    ids=["pending", "evicted", "completed", "windows", "init", "no-container", "crashing"],
)  # fmt: skip
def test_a_pod_that_no_tool_can_reach(  # noqa: PLR0913, PLR0917 - a pod's state and what is said of it
    debugrun: Run, pods: Pods, spec: dict[str, object], status: dict[str, object], target: str, said: str
) -> None:
    name = f"odd-{os.urandom(3).hex()}"
    path = unscheduled(pods, name, spec, status)
    try:
        done = debugrun("gdb", f"pod/{name}{target}", "-n", "privileged", status=125)
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 2
    finally:
        pods.cluster.delete(path, grace=0)


def test_a_controller_that_may_not_be_read(debugrun: Run, kubeconfig: str) -> None:
    assert kubeconfig
    config = str(host_cluster.user("nobody-special"))
    done = debugrun("gdb", "deploy/web", "-n", "restricted", KUBECONFIG=config, status=125)
    assert "you may not get deployments" in done.stderr
    assert '- {apiGroups: ["apps"], resources: ["deployments"], verbs: ["get"]}' in done.stderr.splitlines()


def test_an_image_that_can_not_be_had(debugrun: Run, pods: Pods, pod: Callable[..., str]) -> None:
    name = pod("restricted", HARDENED)
    image = "registry.invalid/toolbox:1"
    done = debugrun("gdb", f"pod/{name}", "-n", "restricted", "--image", image, status=125)
    assert f"of image {image} does not start" in done.stderr
    assert "debugrun toolbox" in done.stderr
    assert pods.state("restricted", name).keys() == {"running"}
