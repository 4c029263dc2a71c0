"""A real API server and a real kubelet, and pods of all shapes on it."""

from __future__ import annotations

import os
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import docker
import pytest

from debugrun.core.know import pod as knowledge
from debugrun.core.know.json_access import Json, mapping
from debugrun.kubernetes import cluster as clusters
from tests.host.kubernetes import cluster as host_cluster
from tests.host.state import HostError

APP = "docker.io/debugrun-test/app:latest"
STATIC = "docker.io/debugrun-test/static:latest"
IMAGES = tuple(f"debugrun-test/{name}:latest" for name in ("pause", "app", "static", "full"))
WORKER = "/opt/app/worker"
#: What `restricted` asks for, of a user whose uid and gid are both said.
HARDENED: Mapping[str, object] = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
LEVELS = ("privileged", "baseline", "restricted")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pods:
    """Makes pods, and looks at them."""

    cluster: clusters.Cluster

    def make(
        self,
        namespace: str,
        name: str,
        context: Mapping[str, object],
        command: tuple[str, ...] = (WORKER,),
        *,
        image: str = APP,
        **spec: object,
    ) -> str:
        """A pod that runs; its name. One of that name goes first."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        container = {"name": "app", "image": image, "imagePullPolicy": "Never", "securityContext": dict(context)}
        if command:
            container["command"] = list(command)
        body = {
            "metadata": {"name": name},
            "spec": {
                "nodeName": host_cluster.NODE,
                "terminationGracePeriodSeconds": 0,
                "containers": [container],
                **spec,
            },
        }
        self.cluster.post(path, body)
        self.await_state(namespace, name, "running")
        return name

    def get(self, namespace: str, name: str) -> Json:
        return self.cluster.get(f"/api/v1/namespaces/{namespace}/pods/{name}")

    def state(self, namespace: str, name: str, container: str = "app") -> Json:
        return mapping(knowledge.status_of(self.get(namespace, name), container), "state")

    def await_state(self, namespace: str, name: str, word: str, container: str = "app") -> None:
        deadline = time.monotonic() + 60
        while word not in (state := self.state(namespace, name, container)):
            assert time.monotonic() < deadline, state
            time.sleep(0.1)

    def ours(self, namespace: str, name: str) -> list[str]:
        """The ephemeral containers that a pod has been given."""
        spec = mapping(self.get(namespace, name), "spec").get("ephemeralContainers")
        return [str(each["name"]) for each in spec] if isinstance(spec, list) else []

    def first_process(self, namespace: str, name: str) -> int:
        """PID of its container's first process, as this machine counts."""
        number = str(knowledge.status_of(self.get(namespace, name), "app")["containerID"]).partition("://")[2]
        return host_cluster.pid_of(number)


@pytest.fixture(scope="session")
def kubeconfig(engine: docker.APIClient, toolbox: str) -> Iterator[str]:
    """The administrator's; the cluster is up, and has the images."""
    from tests.host import images  # noqa: PLC0415 - only where there is a cluster

    try:
        path = host_cluster.up()
    except HostError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    images.build(engine)
    host_cluster.load(engine, (*IMAGES, "debugrun-toolbox:latest"))
    assert toolbox
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(path))
        yield str(path)


@pytest.fixture(scope="session")
def pods(kubeconfig: str) -> Iterator[Pods]:
    assert kubeconfig
    with clusters.connect() as cluster:
        for level in LEVELS:
            labels = {knowledge.ENFORCE: level}
            if cluster.maybe(f"/api/v1/namespaces/{level}") is None:
                cluster.post("/api/v1/namespaces", {"metadata": {"name": level, "labels": labels}})
        yield Pods(cluster=cluster)


@pytest.fixture
def pod(pods: Pods) -> Iterator[Callable[..., str]]:
    """Make a pod for one test: pod(namespace, context, command...); its name."""
    made: list[tuple[str, str]] = []

    def make(
        namespace: str, context: Mapping[str, object], command: tuple[str, ...] = (WORKER,), **more: object
    ) -> str:
        name = f"t{os.urandom(4).hex()}"
        made.append((namespace, name))
        return pods.make(namespace, name, context, command, **more)  # type: ignore[arg-type]

    yield make
    for namespace, name in made:
        path = f"/api/v1/namespaces/{urllib.parse.quote(namespace)}/pods/{name}"
        if pods.cluster.maybe(path) is not None:
            pods.cluster.delete(path, grace=0)
