"""An option as an ephemeral container of a pod: the body that the API server takes. Pure.

Source: EphemeralContainer v1 core of the API reference. It can have no limits, ports, probes or volumes of its own,
and once it is there it can't be changed or removed: only its end can be had.
"""

from __future__ import annotations

from collections.abc import Sequence

from debugrun.core.grants import Option
from debugrun.core.know.inspection import DOCKER_DEFAULT
from debugrun.core.know.json_access import Json


def security_context(option: Option) -> dict[str, object]:
    """The securityContext that gives what the option names, and nothing else.

    The gid must be said: without it the kubelet makes it 0. `runAsNonRoot` must be said for `restricted`.
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
    kind = "Unconfined" if option.seccomp == "unconfined" else "RuntimeDefault"
    return context | {"seccompProfile": {"type": kind}}


def patch(  # noqa: PLR0913 - the parts of one object
    name: str, option: Option, *, image: str, target: str, command: Sequence[str], pull_policy: str
) -> Json:
    """A strategic merge patch of pods/NAME/ephemeralcontainers that adds one."""
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "targetContainerName": target,
        "command": list(command),
        "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 - the sidecar's own
        "workingDir": "/tmp",  # noqa: S108 - as above
        "stdin": True,
        "stdinOnce": True,  # the end of our connection is the end of its input, which the lease hears
        "securityContext": security_context(option),
    }
    return {"spec": {"ephemeralContainers": [container]}}
