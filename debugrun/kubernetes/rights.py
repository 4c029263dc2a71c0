"""What the user may do in a namespace (RBAC), and the Role that gives what is missing."""

from __future__ import annotations

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


def missing(cluster: Cluster, resource: str, verb: str, error: ApiError) -> TargetError:
    """The error of a right that is missing, with the Role that holds all that are."""
    lacking = [each for each in NEEDED if each == (resource, verb) or not allowed(cluster, *each)]
    message = f"you may not {verb} {resource} in namespace {cluster.namespace}: {error.text}"
    return TargetError("kubernetes-forbidden", message, f"a RoleBinding to you of this Role:\n{role(cluster, lacking)}")


def role(cluster: Cluster, rules: list[tuple[str, str]]) -> str:
    """A Role with these (resource, verb), as YAML."""
    verbs: dict[str, list[str]] = {}
    for resource, verb in rules:
        verbs.setdefault(resource, []).append(verb)
    lines = [f'- {{apiGroups: [""], resources: ["{name}"], verbs: {_flow(each)}}}' for name, each in verbs.items()]
    metadata = f"metadata: {{name: debugrun, namespace: {cluster.namespace}}}"
    return "\n".join(["apiVersion: rbac.authorization.k8s.io/v1", "kind: Role", metadata, "rules:", *lines])


def _flow(words: list[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"
