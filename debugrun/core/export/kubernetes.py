"""Kubernetes: an ephemeral container as a patch, a part of a container for `kubectl debug --custom`, a whole pod. Pure.

kubernetes.io/docs/reference/node/seccomp, core/v1 SecurityContext. Where no profile is named a kubelet may run the
container without any, so RuntimeDefault is written out.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from debugrun.core.export.ask import Ask, Export
from debugrun.core.export.words import as_json, as_yaml
from debugrun.core.know.inspection import DOCKER_DEFAULT
from debugrun.core.rules.seccomp.evaluate import resolve
from debugrun.core.rules.seccomp.parse import parse_profile

FOLDER = "debugrun"  # below the kubelet's seccomp folder
# kubernetes.io/docs/concepts/security/pod-security-standards: what `baseline` lets a container add.
BASELINE = DOCKER_DEFAULT - {"NET_RAW"}
KUBELET = f"/var/lib/kubelet/seccomp/{FOLDER}"


def patch(ask: Ask) -> Export:
    """The patch of the subresource `ephemeralcontainers`; kubectl debug sends the same."""
    container = {"name": _name(ask), "image": ask.image, "targetContainerName": ask.target}
    notes = _notes(ask)
    if ask.privileges.mounts:
        notes += (f"an ephemeral container mounts nothing of the node: {', '.join(ask.privileges.mounts)} is missing",)
    spec = {"ephemeralContainers": [{**container, **_process(ask), "securityContext": security(ask)}]}
    path = "/api/v1/namespaces/NAMESPACE/pods/POD/ephemeralcontainers"
    return Export(
        text=as_json({"spec": spec}),
        files=_files(ask),
        notes=notes,
        usage=f"kubectl proxy & curl -X PATCH -H 'Content-Type: application/strategic-merge-patch+json' "
        f"--data-binary @FILE localhost:8001{path}; or `--to kubernetes-custom` for kubectl debug",
    )


def custom(ask: Ask) -> Export:
    """What `kubectl debug --custom` merges into the container that it makes."""
    line = f"kubectl debug -it POD --image={ask.image} --target={ask.target} --profile=baseline --custom=FILE"
    return Export(
        text=as_json({"securityContext": security(ask)}),
        files=_files(ask),
        notes=_notes(ask),
        usage=f"{line} -- {shlex.join(ask.argv)}",
    )


def pod(ask: Ask) -> Export:
    """The target's pod with a second container that waits for `kubectl exec`, or with the grant on the target's own."""
    own: dict[str, object] = {"name": ask.target, "image": "IMAGE" if ask.beside else ask.image}
    if not ask.beside:
        spec: dict[str, object] = {"containers": [{**own, "securityContext": security(ask)}]}
        usage = f"kubectl apply -f FILE; kubectl exec -it POD -c {ask.target} -- {ask.tool}"
    else:
        debugger: dict[str, object] = {"name": _name(ask), "image": ask.image, "command": ["sleep", "infinity"]}
        debugger |= {"securityContext": {**security(ask), "readOnlyRootFilesystem": True}}
        mounts = {"tmp": "/tmp", **{f"host-{at}": path for at, path in enumerate(ask.privileges.mounts)}}  # noqa: S108 - of the container
        debugger["volumeMounts"] = [
            {"name": name, "mountPath": path, **({} if name == "tmp" else {"readOnly": True})}
            for name, path in mounts.items()
        ]
        volumes: list[Mapping[str, object]] = [{"name": "tmp", "emptyDir": {}}]
        volumes += [{"name": name, "hostPath": {"path": path}} for name, path in mounts.items() if name != "tmp"]
        spec = {"shareProcessNamespace": True, "containers": [own, debugger], "volumes": volumes}
        usage = f"kubectl apply -f FILE; kubectl exec -it POD -c {_name(ask)} -- {ask.tool} ..."
    notes = _notes(ask) + (("in a shared PID namespace PID 1 is the pause container: find PIDs with ps",) * ask.beside)
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{_label(ask.target)}-debug"}, "spec": spec}
    return Export(text=as_yaml(manifest), files=_files(ask), notes=notes, usage=usage)


def security(ask: Ask) -> dict[str, object]:
    """The container's securityContext."""
    given = ask.privileges
    context: dict[str, object] = {}
    if given.user:
        uid, _, gid = given.user.partition(":")
        context |= {"runAsUser": int(uid), **({"runAsGroup": int(gid)} if gid else {})}
        context |= {"runAsNonRoot": False} if uid == "0" else {}
    if given.privileged:
        return {**context, "privileged": True}
    context |= {"allowPrivilegeEscalation": False} if given.no_new_privileges else {}
    caps = {"drop": list(given.cap_drop), "add": list(given.cap_add)}
    context |= {"capabilities": {key: names for key, names in caps.items() if names}} if any(caps.values()) else {}
    context["seccompProfile"] = _seccomp(given.seccomp)
    if given.apparmor:
        context["appArmorProfile"] = (
            {"type": "Unconfined"}
            if given.apparmor == "unconfined"
            else {"type": "Localhost", "localhostProfile": given.apparmor}
        )
    return {**context, **({"seLinuxOptions": {"type": "spc_t"}} if given.no_labels else {})}


def _seccomp(name: str) -> dict[str, object]:
    if name in {"default", "unconfined"}:
        return {"type": "RuntimeDefault" if name == "default" else "Unconfined"}
    return {"type": "Localhost", "localhostProfile": f"{FOLDER}/{name}"}


def _process(ask: Ask) -> dict[str, object]:
    return {"command": list(ask.argv), "stdin": True, **({"tty": True} if ask.terminal else {})}


def _files(ask: Ask) -> dict[str, str]:
    """The profile for the node, and the same as an object of the Security Profiles Operator."""
    if ask.profile is None:
        return {}
    name = ask.privileges.seccomp
    stem = name.removesuffix(".json")
    operator = {
        "apiVersion": "security-profiles-operator.x-k8s.io/v1beta1",
        "kind": "SeccompProfile",
        "metadata": {"name": stem},
        "spec": _operator_spec(json.loads(ask.profile), ask),
    }
    return {name: ask.profile + "\n", f"{stem}.seccompprofile.yaml": as_yaml(operator)}


def _operator_spec(document: Mapping[str, object], ask: Ask) -> dict[str, object]:
    """A SeccompProfile's fields: no includes and excludes, so the rules are those that hold for this container."""
    resolved = resolve(parse_profile(json.dumps(document)), ask.held, ask.architecture, ask.kernel)
    rules = []
    for _, rule in resolved.rules:
        entry: dict[str, object] = {"names": list(rule.names), "action": rule.action}
        entry |= {"errnoRet": rule.errno} if rule.errno is not None else {}
        matches = [
            {"index": match.index, "value": match.value, "valueTwo": match.value_two, "op": match.op}
            for match in rule.args
        ]
        rules.append({**entry, **({"args": matches} if matches else {})})
    return {
        "defaultAction": document["defaultAction"],
        "architectures": list(resolved.architectures),
        "syscalls": rules,
    }


def _notes(ask: Ask) -> tuple[str, ...]:
    given, notes = ask.privileges, []
    if ask.profile is not None:
        where = f"{KUBELET}/{given.seccomp} on every node that may run the pod"
        operator = f"{given.seccomp.removesuffix('.json')}.seccompprofile.yaml"
        notes.append(f"put {given.seccomp} at {where}; or with the Security Profiles Operator apply {operator}, and")
        notes.append("name as localhostProfile what the object's status.localhostProfile says")
    taken = [name for name in given.cap_add if name not in BASELINE]
    taken += ["privileged"] if given.privileged else []
    taken += ["an unconfined seccomp profile"] if given.seccomp == "unconfined" else []
    if taken:
        forbidden = ", ".join(taken)
        notes.append(f"PodSecurity `baseline` and `restricted` forbid {forbidden}: label the namespace `privileged`")
    if ask.beside and given.network == "none":
        notes.append("containers of a pod share its network: this one has it too, though the tool needs none")
    if given.apparmor:
        notes.append("appArmorProfile is a field since Kubernetes 1.30; before it is an annotation of the pod")
    return tuple(notes)


def _name(ask: Ask) -> str:
    return f"debugrun-{_label(ask.tool)}"


def _label(text: str) -> str:
    """A name as RFC 1123 has labels."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())
    return kept.strip("-")[:50] or "app"
