"""An option as an ephemeral container of a pod: the body that the API server takes. Pure.

Source: EphemeralContainer v1 core of the API reference. It can have no limits, ports, probes or volumes of its own,
and once it is there it can't be changed or removed: only its end can be had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from debugrun.core.grants import Option
from debugrun.core.know.facts import PodFacts
from debugrun.core.know.inspection import DOCKER_DEFAULT
from debugrun.core.know.json_access import Json

SCRATCH = "/tmp"  # noqa: S108 - the sidecar's own


def security_context(option: Option, pod: PodFacts | None = None) -> dict[str, object]:
    """The securityContext that gives what the option names, and nothing else.

    The gid must be said: without it the kubelet makes it 0. `runAsNonRoot` must be said for `restricted`. To go without
    a filter must not be said where it is so anyhow: `baseline` refuses the word, and not its absence.
    """
    uid, gid = (int(number) for number in option.user.split(":"))
    context: dict[str, object] = {"runAsUser": uid, "runAsGroup": gid, "runAsNonRoot": uid != 0}
    if option.privileged:
        return context | {"privileged": True}
    context["allowPrivilegeEscalation"] = not option.no_new_privileges
    # The runtime's own fourteen need no word of ours: `baseline` admits them, and not one of them (NET_RAW) by name.
    if set(option.cap_add) != DOCKER_DEFAULT:
        added = {"add": list(option.cap_add)} if option.cap_add else {}
        context["capabilities"] = {"drop": ["ALL"], **added}
    if option.seccomp != "unconfined":
        return context | {"seccompProfile": {"type": "RuntimeDefault"}}
    inherits = pod is None or pod.seccomp not in {"", "Unconfined"}
    return context | ({"seccompProfile": {"type": "Unconfined"}} if inherits else {})


def patch(  # noqa: PLR0913 - the parts of one object
    name: str,
    context: Json,
    *,
    image: str,
    target: str,
    command: Sequence[str],
    pull_policy: str,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Json:
    """A strategic merge patch of pods/NAME/ephemeralcontainers that adds one."""
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "targetContainerName": target,
        "command": list(command),
        "env": [{"name": key, "value": value} for key, value in {"HOME": SCRATCH, **environment}.items()],
        "workingDir": SCRATCH,
        "stdin": True,
        "stdinOnce": True,  # the end of our connection is the end of its input, which the lease hears
        "securityContext": dict(context),
    }
    return {"spec": {"ephemeralContainers": [container]}}
