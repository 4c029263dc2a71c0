"""Containers that someone else would put back, or that must not stop: what to do instead of recreating them. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping

from debugrun.core.grants import Option
from debugrun.core.know import kinds
from debugrun.core.know.inspection import orchestrator
from debugrun.core.know.json_access import Json, items, mapping, text
from debugrun.values import dataclass

# Who manages a container, as people say it, and how a grant is asked for there. The fields in braces are labels.
MANAGERS: Mapping[str, tuple[str, str]] = {
    "kubernetes": (
        "the kubelet would start another one beside it",
        (
            "debug it where it is: kubectl debug -n {io.kubernetes.pod.namespace} {io.kubernetes.pod.name} -it "
            "--target {io.kubernetes.container.name} --profile general --image IMAGE"
        ),
    ),
    "swarm": (
        "Swarm would start another task",
        "change the service: docker service update --cap-add {capability} {com.docker.swarm.service.name}",
    ),
    "nomad": (
        "Nomad would start another allocation",
        'change the job: cap_add = ["{lower}"] in the task\'s config, then nomad job run',
    ),
    "ecs": (
        "the ECS agent would start another task",
        (
            "change the task definition {com.amazonaws.ecs.task-definition-family}: "
            "linuxParameters.capabilities.add {capability}"
        ),
    ),
    "compose": (
        "`docker compose` would not know the new container's options, and undo them",
        "use the override file for the service {com.docker.compose.service}",
    ),
    "systemd": (
        "its unit would remove it, or start another one",
        "change the unit {PODMAN_SYSTEMD_UNIT}: AddCapability={capability} of a Quadlet, or --cap-add in ExecStart",
    ),
    "marathon": (
        "Mesos would start another task",
        'change the app: {"key": "cap-add", "value": "{capability}"} among container.docker.parameters',
    ),
}
# Labels of what inspection.orchestrator() does not name: they play no part in decisions.
OTHERS = {"systemd": "PODMAN_SYSTEMD_UNIT", "marathon": "MESOS_TASK_ID"}
# What engines and their tools run for themselves: by label, and by image or name.
SYSTEM_LABELS = {
    "io.x-k8s.kind.cluster": "a node of a kind cluster",
    "k3d.cluster": "a node of a k3d cluster",
    "name.minikube.sigs.k8s.io": "a node of a minikube cluster",
    "com.docker.desktop.extension": "an extension of Docker Desktop",
}
SYSTEM_NAMES = {
    re.compile(r"buildx_buildkit_"): "a builder of docker buildx",
    re.compile(r"k8s_POD_"): "a pod's own container",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a container is not recreated: a stable code, one line, and what to do instead.

    `by` names who manages it (compose, swarm, kubernetes, ...; "" nobody). `forcible` says that a person may insist:
    for Compose, whose labels are kept.
    """

    code: str
    message: str
    hint: str
    by: str = ""
    forcible: bool = False


def refusal(container: Json, *, image: Json | None, own: str = "", capability: str = "SYS_PTRACE") -> Refusal | None:
    """Why this inspected container is not recreated; None: it may be.

    `image` is its image by id, None when it is gone; `own` is the id of the container that debugrun itself runs in;
    `capability` is what the hints ask others for.
    """
    name, labels = text(container, "Name").removeprefix("/"), mapping(mapping(container, "Config"), "Labels")
    marks = _marks(container)
    by = orchestrator(labels) or next((who for who, mark in OTHERS.items() if mark in marks), "")
    return _our_own(container, name, own) or (
        _managed(name, by, marks, capability) if by else _lacking(name, container, image)
    )


def _our_own(container: Json, name: str, own: str) -> Refusal | None:
    """Of debugrun or of the engine."""
    labels = mapping(mapping(container, "Config"), "Labels")
    if own and text(container, "Id").startswith(own):
        return Refusal(
            code="own-container",
            message=f"{name} is the container that debugrun runs in: it would end itself half way",
            hint="run debugrun outside of it, or in another container",
        )
    if kinds.is_helper(name, labels):
        return Refusal(
            code="own-sidecar", message=f"{name} is a sidecar of debugrun's own", hint="debugrun gc removes them"
        )
    if system := _system(container, name, labels):
        return Refusal(
            code="engine-system",
            message=f"{name} is {system}: what runs there would end, and its maker would not find it",
            hint=f"debug it as it runs: debugrun TOOL {name}",
        )
    return None


def _lacking(name: str, container: Json, image: Json | None) -> Refusal | None:
    """Without what a new one is made of."""
    state = text(mapping(container, "State"), "Status")
    if state in {"removing", "dead"}:
        return Refusal(code="not-there", message=f"{name} is {state}", hint="debugrun needs a container that runs")
    if image is None:
        return Refusal(
            code="image-gone",
            message=f"the image of {name} is gone from the engine: {text(container, 'Image')[:19]}",
            hint=f"debug it as it runs: debugrun TOOL {name}",
        )
    return None


def _managed(name: str, by: str, marks: Mapping[str, str], capability: str) -> Refusal:
    why, instead = MANAGERS[by]
    fields = {**marks, "capability": capability, "lower": capability.lower()}
    return Refusal(
        code=f"managed-by-{by}",
        message=f"{name} is managed by {by}: {why}",
        hint=re.sub(r"\{([\w./-]+)\}", lambda field: fields.get(field[1], field[1].upper()), instead),
        by=by,
        forcible=by == "compose",
    )


def _marks(container: Json) -> dict[str, str]:
    """Labels, and the names of environment variables: Marathon's tasks have only those."""
    config = mapping(container, "Config")
    names = {str(entry).partition("=")[0]: "" for entry in items(config, "Env")}
    return {**names, **{key: str(value) for key, value in mapping(config, "Labels").items()}}


def _system(container: Json, name: str, labels: Json) -> str:
    """What of the engine's own the container is; "" nothing. Podman: pods are made as a whole."""
    if container.get("IsInfra") is True or text(container, "Pod"):
        return "part of a pod"
    by_name = (what for pattern, what in SYSTEM_NAMES.items() if pattern.match(name))
    return next((what for label, what in SYSTEM_LABELS.items() if label in labels), next(by_name, ""))


def compose_override(container: Json, option: Option, *, profile: str | None = None) -> str:
    """A Compose file that gives the container's service what the option grants, as YAML text.

    `profile` is the path of a seccomp profile on the client's side. The first lines say how it is used. Compose
    appends the lists of several files, and the last seccomp= counts.
    """
    labels = {key: str(value) for key, value in mapping(mapping(container, "Config"), "Labels").items()}
    service = labels.get("com.docker.compose.service", "SERVICE")
    files = labels.get("com.docker.compose.project.config_files", "") or "compose.yaml"
    words = ["docker", "compose", "-p", labels.get("com.docker.compose.project", "PROJECT")]
    words += [word for file in files.split(",") for word in ("-f", file)]
    after = ["up", "-d", "--no-deps", service]
    grant: dict[str, object] = {}
    if option.privileged:
        grant["privileged"] = True
    elif option.cap_add:
        grant["cap_add"] = list(option.cap_add)
    security = [f"apparmor={option.apparmor}"] if option.apparmor else []
    if option.seccomp == "unconfined" or profile:
        security.append(f"seccomp={profile or 'unconfined'}")
    if security and not option.privileged:
        grant["security_opt"] = security
    lines = [
        "# Grants for debugging. Save as debugrun.override.yaml, then:",
        f"#   {shlex.join([*words, '-f', 'debugrun.override.yaml', *after])}",
        "# And back to what it was:",
        f"#   {shlex.join([*words, *after])}",
        "services:",
        f"  {json.dumps(service)}:",
        *(f"    {key}: {json.dumps(value)}" for key, value in grant.items()),
    ]
    return "\n".join([*lines, ""])
