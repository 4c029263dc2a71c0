"""What the API server says of a pod, its node and its namespace, as facts. Pure: decoded JSON in, facts out.

Sources: the API reference of Pod v1 core; kubelet pkg/securitycontext/util.go DetermineEffectiveSecurityContext();
pod-security-admission api/constants.go for the labels of a namespace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from debugrun.core.know.facts import ContainerFacts, EngineFacts, PodFacts
from debugrun.core.know.inspection import DOCKER_DEFAULT, machine
from debugrun.core.know.json_access import Json, mapping, maps, text
from debugrun.core.know.json_access import items as list_items
from debugrun.core.know.procfs import CAPABILITIES
from debugrun.errors import TargetError

ENFORCE = "pod-security.kubernetes.io/enforce"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
MIRROR = "kubernetes.io/config.mirror"  # of a static pod: the kubelet's own, the API can't change it
SANDBOXES = {"gvisor": "runsc", "runsc": "runsc", "kata": "kata"}  # RuntimeClass names as their handlers are called


def name(pod: Json) -> str:
    """Its name."""
    return text(mapping(pod, "metadata"), "name")


def namespace(pod: Json) -> str:
    """Its namespace."""
    return text(mapping(pod, "metadata"), "namespace")


def phase(pod: Json) -> str:
    """Pending, Running, Succeeded, Failed, Unknown."""
    return text(mapping(pod, "status"), "phase")


def is_terminating(pod: Json) -> bool:
    """Whether its deletion has begun."""
    return bool(mapping(pod, "metadata").get("deletionTimestamp"))


def items(listed: Json) -> list[Json]:
    """The objects of a List."""
    return [each for each in list_items(listed, "items") if isinstance(each, Mapping)]


def selector(owner: Json) -> str:
    """The pods of a Deployment, ReplicaSet, StatefulSet, DaemonSet or Job as a labelSelector."""
    chosen = mapping(mapping(owner, "spec"), "selector")
    terms = [f"{key}={value}" for key, value in mapping(chosen, "matchLabels").items()]
    for each in list_items(chosen, "matchExpressions"):
        if isinstance(each, Mapping):
            values = ",".join(str(value) for value in list_items(each, "values"))
            key, operator = text(each, "key"), text(each, "operator")
            written = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})"}
            terms.append(written.get(operator) or {"Exists": key, "DoesNotExist": f"!{key}"}[operator])
    return ",".join(terms)


def check(pod: Json, container: str | None) -> str:
    """The container that is meant. Raises TargetError where no ephemeral container can reach it, with what to do."""
    called, where = name(pod), namespace(pod)
    spec, metadata = mapping(pod, "spec"), mapping(pod, "metadata")
    describe = f"kubectl -n {where} describe pod {called}"
    if MIRROR in mapping(metadata, "annotations"):
        message = f"pod/{called} is a static pod: the kubelet takes it from a file, and the API can't change it"
        raise TargetError("kubernetes-static-pod", message, "on its node: debugrun TOOL CONTAINER, with its engine")
    if is_terminating(pod):
        raise TargetError("kubernetes-terminating", f"pod/{called} is being deleted", f"kubectl -n {where} get pods")
    system = text(mapping(spec, "os"), "name") or text(mapping(spec, "nodeSelector"), "kubernetes.io/os")
    if system == "windows":
        raise TargetError("kubernetes-windows", f"pod/{called} runs on Windows, which has no ptrace", "a Linux pod")
    if phase(pod) != "Running":
        reason = text(mapping(pod, "status"), "reason")
        message = f"pod/{called} does not run: it is {phase(pod)}" + (f" ({reason})" if reason else "")
        raise TargetError("kubernetes-not-running", message, describe)
    return _container(pod, container, describe)


def _container(pod: Json, wanted: str | None, describe: str) -> str:
    called, spec = name(pod), mapping(pod, "spec")
    names = [text(each, "name") for each in maps(spec, "containers")]
    restarting = [text(e, "name") for e in maps(spec, "initContainers") if e.get("restartPolicy") == "Always"]
    if wanted is None:
        default = text(mapping(mapping(pod, "metadata"), "annotations"), DEFAULT_CONTAINER)
        wanted = default if default in names else names[0] if len(names) == 1 else None
    if wanted is None:
        message = f"which container of pod/{called}? It has {', '.join(names)}"
        raise TargetError("kubernetes-several-containers", message, f"pod/{called}/{names[0]}")
    initial = {text(each, "name") for each in maps(spec, "initContainers")} - set(restarting)
    if wanted in initial:
        message = f"{wanted} is an init container of pod/{called}: it has ended before the others began"
        raise TargetError("kubernetes-init-container", message, f"pod/{called}/{names[0]}")
    if wanted not in {*names, *restarting}:
        message = f"pod/{called} has no container {wanted}"
        raise TargetError("kubernetes-no-container", message, f"one of {', '.join(names)}")
    state = mapping(status_of(pod, wanted), "state")
    if "running" not in state:
        waiting = next(iter(state.values()), {})
        reason = text(waiting, "reason") if isinstance(waiting, Mapping) else ""
        message = f"container {wanted} of pod/{called} does not run" + (f": {reason}" if reason else "")
        raise TargetError("kubernetes-not-running", message, describe)
    return wanted


def status_of(pod: Json, container: str) -> Json:
    """The status of one of its containers, of any kind; empty where the kubelet has told none."""
    status = mapping(pod, "status")
    kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    every = (each for kind in kinds for each in maps(status, kind))
    return next((each for each in every if each.get("name") == container), {})


def spec_of(pod: Json, container: str) -> Json:
    """The specification of one of its containers."""
    spec = mapping(pod, "spec")
    every = (each for kind in ("containers", "initContainers") for each in maps(spec, kind))
    return next((each for each in every if each.get("name") == container), {})


def context_of(pod: Json, container: str) -> Json:
    """The container's securityContext with the pod's behind it, field by field."""
    shared = mapping(mapping(pod, "spec"), "securityContext")
    own = mapping(spec_of(pod, container), "securityContext")
    both = ("runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile", "appArmorProfile", "seLinuxOptions")
    return {**{key: shared[key] for key in both if shared.get(key) is not None}, **own}


def user_of(pod: Json, container: str) -> str:
    """Its uid:gid as the pod asks; "" where its image decides.

    The kubelet takes the image's uid alone: the gid is 0 unless runAsGroup says otherwise (measured).
    """
    context = context_of(pod, container)
    uid, gid = context.get("runAsUser"), context.get("runAsGroup")
    if not isinstance(uid, int):
        return ""
    return f"{uid}:{gid if isinstance(gid, int) else 0}"


def engine_facts(version: Json, node: Json | None, pod: Json) -> EngineFacts:
    """The container runtime of the pod's node, as far as the API tells; unknown fields where nodes are not ours to see.

    `version` is GET /version of the API server.
    """
    told = mapping(mapping(node or {}, "status"), "nodeInfo")
    runtime, _, release = text(told, "containerRuntimeVersion").partition("://")
    spec = mapping(pod, "spec")
    handler = SANDBOXES.get(text(spec, "runtimeClassName"), "runc")
    return EngineFacts(
        name=runtime or "kubernetes",
        version=release,
        api_version=text(version, "gitVersion").removeprefix("v"),
        architecture=machine(text(told, "architecture")),
        kernel=text(told, "kernelVersion"),
        operating_system=text(told, "osImage"),
        seccomp="default",
        default_runtime=handler,
        local=False,
    )


def container_facts(pod: Json, container: str, *, architecture: str | None = None) -> ContainerFacts:
    """The target container, as the pod asks for it."""
    context, spec, status = context_of(pod, container), mapping(pod, "spec"), status_of(pod, container)
    privileged = context.get("privileged") is True
    shared = spec.get("shareProcessNamespace") is True
    seccomp, profile = _seccomp(mapping(context, "seccompProfile"), privileged=privileged)
    added, dropped = (names(mapping(context, "capabilities"), key) for key in ("add", "drop"))
    return ContainerFacts(
        id=text(status, "containerID").partition("://")[2],
        name=f"pod/{name(pod)}/{container}",
        image=text(spec_of(pod, container), "image"),
        image_id=text(status, "imageID"),
        state="running",
        user=user_of(pod, container),
        architecture=architecture,
        privileged=privileged,
        capabilities=None if privileged else capabilities(added, dropped),
        seccomp=seccomp,
        seccomp_profile=profile,
        no_new_privileges=context.get("allowPrivilegeEscalation") is False,
        read_only=context.get("readOnlyRootFilesystem") is True,
        pid_mode="host" if spec.get("hostPID") is True else "shareable" if shared else "",
        network_mode="host" if spec.get("hostNetwork") is True else "",
        runtime=SANDBOXES.get(text(spec, "runtimeClassName"), "runc"),
        memory_limit=_bytes(mapping(mapping(spec_of(pod, container), "resources"), "limits").get("memory")),
        orchestrator="kubernetes",
    )


def pod_facts(pod: Json, container: str, space: Json | None, *, refuses: str = "") -> PodFacts:
    """The pod around it; `space` is its namespace, None where that can't be read."""
    shared = mapping(mapping(pod, "spec"), "securityContext")
    uid, gid, non_root = (shared.get(key) for key in ("runAsUser", "runAsGroup", "runAsNonRoot"))
    return PodFacts(
        namespace=namespace(pod),
        level=enforced(space),
        refuses=refuses,
        uid=uid if isinstance(uid, int) else None,
        gid=gid if isinstance(gid, int) else None,
        non_root=non_root if isinstance(non_root, bool) else None,
        seccomp=text(mapping(shared, "seccompProfile"), "type"),
        own_seccomp=text(mapping(context_of(pod, container), "seccompProfile"), "type"),
    )


def _seccomp(profile: Json, *, privileged: bool) -> tuple[str, str | None]:
    """Unconfined unless a profile is named: kubelet's seccompDefault can't be seen, the process' status corrects it."""
    kind = text(profile, "type")
    if privileged or kind in {"", "Unconfined"}:
        return "unconfined", None
    return ("custom", None) if kind == "Localhost" else ("default", None)


def capabilities(added: frozenset[str], dropped: frozenset[str]) -> tuple[str, ...]:
    """What a container is given, sorted: containerd pkg/cri/opts WithCapabilities().

    The default fourteen (oci/spec.go), all when ALL is added, none when ALL is dropped; then what is added by name,
    then without what is dropped by name: unlike with Docker, a name that is in both is dropped.
    """
    start = frozenset(CAPABILITIES) if "ALL" in added else DOCKER_DEFAULT
    if "ALL" in dropped:
        start = frozenset()
    return tuple(sorted((start | (added - {"ALL"})) - dropped))


def names(listed: Json, key: str) -> frozenset[str]:
    """The capabilities in one of the lists of a securityContext, as SYS_PTRACE."""
    return frozenset(str(each).upper().removeprefix("CAP_") for each in list_items(listed, key))


_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}


def _bytes(quantity: object) -> int:
    """A resource.Quantity of bytes; 0: none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]{0,2})", str(quantity or ""))
    return int(float(match[1]) * _UNITS.get(match[2], 0)) if match else 0


def enforced(space: Json | None) -> str | None:
    """The PodSecurity level that a namespace enforces; None where it can't be read."""
    return None if space is None else text(mapping(mapping(space, "metadata"), "labels"), ENFORCE) or "privileged"
