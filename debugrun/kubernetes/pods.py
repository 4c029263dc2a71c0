"""Finds the pod and the container that are meant, and says what is wrong with it where no tool can run there."""

from __future__ import annotations

import difflib
import urllib.parse
from collections.abc import Mapping, Sequence

from debugrun.core.ask.pod_reference import GROUPS, PodReference
from debugrun.core.know import pod as knowledge
from debugrun.errors import TargetError
from debugrun.kubernetes import rights
from debugrun.kubernetes.cluster import FORBIDDEN, NOT_FOUND, ApiError, Cluster
from debugrun.values import dataclass

Json = Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A pod as the API has it, and the name of the container that is meant."""

    pod: Json
    container: str

    @property
    def path(self) -> str:
        """Of the pod in the API."""
        return pod_path(knowledge.namespace(self.pod), knowledge.name(self.pod))


def pod_path(namespace: str, name: str) -> str:
    """A pod in the API."""
    return f"/api/v1/namespaces/{urllib.parse.quote(namespace)}/pods/{urllib.parse.quote(name)}"


def find(cluster: Cluster, reference: PodReference) -> Found:
    """The pod and its container. Raises TargetError: none, several, or one that no tool can reach."""
    pod = _pod(cluster, reference)
    return Found(pod=pod, container=knowledge.check(pod, reference.container))


def _pod(cluster: Cluster, reference: PodReference) -> Json:
    if reference.kind == "pods":
        try:
            return cluster.get(pod_path(cluster.namespace, reference.name))
        except ApiError as error:
            if error.http == FORBIDDEN:
                raise forbidden(error, cluster, "pods", "get") from error
            if error.http != NOT_FOUND:
                raise
            raise _not_there(cluster, reference) from error
    group = GROUPS[reference.kind]
    path = f"/apis/{group}/namespaces/{urllib.parse.quote(cluster.namespace)}/{reference.kind}/{reference.name}"
    try:
        owner = cluster.get(path)
    except ApiError as error:
        if error.http == FORBIDDEN:
            raise forbidden(error, cluster, reference.kind, "get", group.partition("/")[0]) from error
        if error.http != NOT_FOUND:
            raise
        raise _not_there(cluster, reference) from error
    return _one_of(cluster, reference, knowledge.selector(owner))


def _one_of(cluster: Cluster, reference: PodReference, selector: str) -> Json:
    """The pod of a controller: the first by name of those that run."""
    namespace = urllib.parse.quote(cluster.namespace)
    try:
        listed = cluster.get(f"/api/v1/namespaces/{namespace}/pods", (("labelSelector", selector),))
    except ApiError as error:
        if error.http == FORBIDDEN:
            raise forbidden(error, cluster, "pods", "list") from error
        raise
    found = [each for each in knowledge.items(listed) if not knowledge.is_terminating(each)]
    running = sorted((each for each in found if knowledge.phase(each) == "Running"), key=knowledge.name)
    if running:
        return {**running[0], "apiVersion": "v1", "kind": "Pod"}
    states = ", ".join(f"{knowledge.name(each)} is {knowledge.phase(each)}" for each in found) or "it has no pod"
    message = f"no pod of {reference} runs: {states}"
    raise TargetError("no-such-pod", message, f"kubectl -n {cluster.namespace} describe {reference}")


def _not_there(cluster: Cluster, reference: PodReference) -> TargetError:
    """What is near: names in this namespace, the same name in others."""
    namespace = cluster.namespace
    message = f"no {reference} in namespace {namespace}"
    hint = f"kubectl -n {namespace} get {reference.kind}"
    if reference.kind != "pods":
        return TargetError("no-such-pod", message, hint)
    here = _names(cluster, f"/api/v1/namespaces/{urllib.parse.quote(namespace)}/pods")
    if near := difflib.get_close_matches(reference.name, [name for _, name in here], n=2):
        hint = f"did you mean {' or '.join(f'pod/{name}' for name in near)}?"
    elif elsewhere := [space for space, name in _names(cluster, "/api/v1/pods") if name == reference.name]:
        hint = f"there is one in namespace {elsewhere[0]}: -n {elsewhere[0]}"
    return TargetError("no-such-pod", message, hint)


def _names(cluster: Cluster, path: str) -> Sequence[tuple[str, str]]:
    listed = cluster.maybe(path)
    return [(knowledge.namespace(each), knowledge.name(each)) for each in knowledge.items(listed or {})]


def forbidden(error: ApiError, cluster: Cluster, resource: str, verb: str, group: str = "") -> TargetError:
    """A right that is missing, with the Role that gives it. Source: RBAC's own message names the user."""
    message = f"you may not {verb} {resource} in namespace {cluster.namespace}: {error.text}"
    lines = rights.role(cluster, [(resource, verb)], group)
    return TargetError("kubernetes-forbidden", message, rights.ROLE_HINT, lines=lines)
