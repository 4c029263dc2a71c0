"""What the user may do in a namespace (RBAC), and the Role that gives what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from debugrun.core.know.json_access import mapping
from debugrun.errors import TargetError
from debugrun.kubernetes.cluster import ApiError, Cluster

#: What a tool in a pod takes: resource, verb. A websocket asks for `get` (1.34), later servers for `create` as well.
NEEDED = (
    ("pods", "get"),
    ("pods/ephemeralcontainers", "patch"),
    ("pods/attach", "get"),
    ("pods/attach", "create"),
    ("pods/exec", "get"),
    ("pods/exec", "create"),
)


ROLE_HINT = "a RoleBinding to you of this Role:"


def allowed(cluster: Cluster, resource: str, verb: str) -> bool:
    """Whether we may, as the server says: SelfSubjectAccessReview."""
    kind, _, subresource = resource.partition("/")
    attributes = {"namespace": cluster.namespace, "verb": verb, "resource": kind, "subresource": subresource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = cluster.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return mapping(answer, "status").get("allowed") is True


def by_admission(error: ApiError) -> bool:
    """Whether a 403 is admission's and not RBAC's, which names the user and the verb.

    apiserver pkg/endpoints/handlers/responsewriters/errors.go forbiddenMessage().
    """
    return " cannot " not in error.text or " in API group " not in error.text


def missing(cluster: Cluster, resource: str, verb: str, error: ApiError) -> TargetError:
    """The error of a right that is missing, with the Role that holds all that are."""
    lacking = [each for each in NEEDED if each == (resource, verb) or not allowed(cluster, *each)]
    message = f"you may not {verb} {resource} in namespace {cluster.namespace}: {error.text}"
    return TargetError("kubernetes-forbidden", message, ROLE_HINT, lines=role(cluster, lacking))


def role(cluster: Cluster, rules: Sequence[tuple[str, str]], group: str = "") -> tuple[str, ...]:
    """A Role with these (resource, verb) of an API group, as lines of YAML."""
    verbs: dict[str, list[str]] = {}
    for resource, verb in rules:
        verbs.setdefault(resource, []).append(verb)
    lines = [
        f'- {{apiGroups: ["{group}"], resources: ["{name}"], verbs: {_flow(each)}}}' for name, each in verbs.items()
    ]
    metadata = f"metadata: {{name: debugrun, namespace: {cluster.namespace}}}"
    return ("apiVersion: rbac.authorization.k8s.io/v1", "kind: Role", metadata, "rules:", *lines)


def _flow(words: list[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"
