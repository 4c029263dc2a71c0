"""How a container of a pod is written on the command line: pod/web, pod/web/app, deploy/web, job/x. Pure."""

from __future__ import annotations

import re

from debugrun.errors import UsageError
from debugrun.values import dataclass

#: kubectl's short names (`kubectl api-resources`) and the plural that the API has in its paths.
KINDS = {
    "pod": "pods", "po": "pods", "pods": "pods",
    "deploy": "deployments", "deployment": "deployments", "deployments": "deployments",
    "rs": "replicasets", "replicaset": "replicasets", "replicasets": "replicasets",
    "sts": "statefulsets", "statefulset": "statefulsets", "statefulsets": "statefulsets",
    "ds": "daemonsets", "daemonset": "daemonsets", "daemonsets": "daemonsets",
    "job": "jobs", "jobs": "jobs",
}  # fmt: skip
#: The API's group of each kind that holds a pod template.
GROUPS = {
    "deployments": "apps/v1", "replicasets": "apps/v1", "statefulsets": "apps/v1", "daemonsets": "apps/v1",
    "jobs": "batch/v1",
}  # fmt: skip
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # apimachinery validation.go IsDNS1123Subdomain


@dataclass(frozen=True, kw_only=True, slots=True)
class PodReference:
    """What was typed: `kind` is the API's plural, `container` None where the pod's only or default one is meant."""

    kind: str
    name: str
    container: str | None = None

    def __str__(self) -> str:
        """As it is typed, with the short kind."""
        kind = next(short for short, plural in KINDS.items() if plural == self.kind)
        return "/".join(part for part in (kind, self.name, self.container) if part)


def is_pod_reference(text: str) -> bool:
    """Whether this names something of Kubernetes: no name or id of a container on an engine holds a slash."""
    return "/" in text.lstrip("/")


def parse(text: str) -> PodReference:
    """KIND/NAME or KIND/NAME/CONTAINER. Raises UsageError for anything else."""
    kind, name, *rest = [*text.split("/"), ""][: text.count("/") + 1]
    plural = KINDS.get(kind.lower())
    if plural is None:
        known = ", ".join(dict.fromkeys(KINDS.values()))
        raise UsageError("bad-kind", f"{text!r}: Kubernetes has no {kind!r} that holds processes", f"one of {known}")
    if len(rest) > 1 or not all(_NAME.fullmatch(part) for part in (name, *rest)):
        raise UsageError("bad-pod", f"{text!r} is not a pod's name", "pod/NAME or pod/NAME/CONTAINER")
    return PodReference(kind=plural, name=name, container=rest[0] if rest else None)
