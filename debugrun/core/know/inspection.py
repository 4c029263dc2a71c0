"""What an engine's API answers, as facts: Docker 20.10 to 29 and Podman's Docker-compatible API.

Pure: decoded JSON in (GET /version, /info, /containers/ID/json, /images/ID/json), facts out. Values of environment
variables and command lines are in that JSON; nothing here takes them over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from debugrun.core.know import procfs, versions
from debugrun.core.know.facts import ContainerFacts, EngineFacts
from debugrun.core.know.json_access import Json, items, mapping, text

# moby oci/caps/defaults.go DefaultCapabilities(), unchanged from 1.x to 29.
DOCKER_DEFAULT = frozenset(
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW "  # noqa: SIM905 - words read better
    "SETFCAP SETGID SETPCAP SETUID SYS_CHROOT".split()
)
# containers.conf(5) default_capabilities.
PODMAN_DEFAULT = DOCKER_DEFAULT - {"AUDIT_WRITE", "MKNOD", "NET_RAW"}
# Docker's own table ended here up to 20.10 (moby oci/caps/utils.go).
_LAST_OF_DOCKER_20 = procfs.CAPABILITIES.index("AUDIT_READ")

# Go's names (GOARCH) as uname -m says them.
_MACHINES = {
    "386": "i686",
    "amd64": "x86_64",
    "arm": "armv7l",
    "arm64": "aarch64",
    "loong64": "loongarch64",
    "mips64le": "mips64",
}
# A label that each orchestrator sets, in the order asked: Kubernetes on Docker, Swarm, then the others.
_ORCHESTRATORS = {
    "kubernetes": "io.kubernetes.pod.name",
    "swarm": "com.docker.swarm.task",
    "nomad": "com.hashicorp.nomad.alloc_id",
    "ecs": "com.amazonaws.ecs.task-arn",
    "compose": "com.docker.compose.project",
}
_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def machine(architecture: str) -> str:
    """An architecture as uname -m says it, from that or from Go's name."""
    return _MACHINES.get(architecture, architecture)


def engine_facts(version: Json, info: Json) -> EngineFacts:
    """GET /version and GET /info. `local` and `capabilities` are not in there: None."""
    options = [_options(str(entry)) for entry in items(info, "SecurityOptions")]
    names = {option.get("name", "") for option in options}
    seccomp = next((o.get("profile", "default") for o in options if o.get("name") == "seccomp"), None)
    return EngineFacts(
        name="podman" if _is_podman(version) else "docker",
        version=text(version, "Version") or text(info, "ServerVersion"),
        api_version=text(version, "ApiVersion"),
        architecture=machine(text(info, "Architecture") or text(version, "Arch")),
        kernel=text(info, "KernelVersion") or text(version, "KernelVersion"),
        operating_system=text(info, "OperatingSystem"),
        rootless="rootless" in names or info.get("Rootless") is True,
        userns_remap="userns" in names,
        seccomp="default" if seccomp == "builtin" else seccomp,
        apparmor="apparmor" in names,
        selinux="selinux" in names,
        no_new_privileges="no-new-privileges" in names,
        runtimes=tuple(sorted(mapping(info, "Runtimes"))),
        default_runtime=text(info, "DefaultRuntime") or "runc",
    )


def removes_running(version: Json) -> bool:
    """Whether an engine of that GET /version removes containers that run and shall be removed at their end.

    With live-restore, as it starts again: moby before 24.0.8 and 25.0, daemon/daemon.go restore().
    """
    found = versions.numbers(text(version, "Version"))
    return not _is_podman(version) and bool(found) and found < (24, 0, 8)


def _is_podman(version: Json) -> bool:
    components = [part for part in items(version, "Components") if isinstance(part, Mapping)]
    return any(part.get("Name") == "Podman Engine" for part in components)


def _options(entry: str) -> dict[str, str]:
    """`name=seccomp,profile=default` as a mapping; a path in the last value may hold commas."""
    name, _, profile = entry.partition(",profile=")
    words = {"profile": profile} if profile else {}
    for word in name.split(","):
        key, equals, value = word.partition("=")
        words.update({key: value} if equals else {"name": key})
    return words


def container_facts(inspected: Json, engine: EngineFacts, image: Json | None = None) -> ContainerFacts:
    """GET /containers/ID/json, with GET /images/ID/json of its image when that was asked."""
    config, host, state = (mapping(inspected, key) for key in ("Config", "HostConfig", "State"))
    privileged = host.get("Privileged") is True
    options = security_options(items(host, "SecurityOpt"))
    seccomp, profile = _seccomp(options.get("seccomp"), engine, privileged=privileged)
    runtime = text(host, "Runtime")
    apparmor = text(inspected, "AppArmorProfile")
    pid_mode, memory, pid = text(host, "PidMode"), host.get("Memory"), state.get("Pid")
    return ContainerFacts(
        id=text(inspected, "Id"),
        name=text(inspected, "Name").removeprefix("/"),
        image=text(config, "Image"),
        image_id=text(inspected, "Image"),
        state=_state(state),
        user=text(config, "User"),
        architecture=image_architecture(inspected, image),
        pid=pid if isinstance(pid, int) else 0,
        privileged=privileged,
        capabilities=capabilities(inspected, engine),
        seccomp=seccomp,
        seccomp_profile=profile,
        apparmor=apparmor or ("unconfined" if engine.apparmor and privileged else None),
        selinux=text(inspected, "ProcessLabel") or None,
        no_new_privileges=_no_new_privileges(options.get("no-new-privileges"), engine),
        read_only=host.get("ReadonlyRootfs") is True,
        pid_mode="" if pid_mode == "private" else pid_mode,
        network_mode=text(host, "NetworkMode"),
        userns_mode=text(host, "UsernsMode"),
        runtime=engine.default_runtime if runtime in {"", "oci"} else runtime,
        memory_limit=memory if isinstance(memory, int) and memory > 0 else 0,
        orchestrator=orchestrator(mapping(config, "Labels")),
    )


def _state(state: Json) -> str:
    """Podman's words as Docker's; Docker says `running` of a paused or restarting container in Running only."""
    said = {"configured": "created", "initialized": "created", "stopped": "exited", "stopping": "running"}
    status = text(state, "Status")
    return said.get(status, status) or ("running" if state.get("Running") is True else "exited")


def security_options(entries: Iterable[object]) -> dict[str, str]:
    """HostConfig.SecurityOpt as {name: value}: `name=value`, `name:value` of old, or `name` alone."""
    found = {}
    for entry in entries:
        match = re.match(r"([a-z-]+)(?:[=:](.*))?\Z", str(entry), re.DOTALL)
        if match:
            found[match[1]] = match[2] or ""
    return found


def _seccomp(value: str | None, engine: EngineFacts, *, privileged: bool) -> tuple[str, str | None]:
    """("default" | "unconfined" | "custom", the operator's own profile as JSON text).

    moby daemon/seccomp_linux.go WithSeccomp(): privileged means no filter, whatever was asked up to 26; later ones
    load the profile that was asked. Podman names a file on the engine's host: custom, and not readable.
    """
    if value == "unconfined":
        return "unconfined", None
    late = engine.name == "podman" or versions.numbers(engine.version) >= (27,)
    if privileged and (not late or value in {None, "builtin"}):
        return "unconfined", None
    if value is None or value in {"builtin", "default"}:
        return "default", None
    return "custom", value if value.lstrip().startswith("{") else None


def _no_new_privileges(value: str | None, engine: EngineFacts) -> bool:
    return engine.no_new_privileges if value is None else value in {"", "true"}


def capabilities(inspected: Json, engine: EngineFacts) -> tuple[str, ...] | None:
    """What an exec as root has in this container, by configuration; None where that can't be known.

    moby oci/caps/utils.go TweakCapabilities(): CapDrop ALL starts from nothing, CapAdd ALL from everything.
    Privileged is everything that the engine has and knows.
    """
    bounding = inspected.get("BoundingCaps")
    if isinstance(bounding, list):
        return tuple(sorted(_names(bounding)))
    host = mapping(inspected, "HostConfig")
    add, drop = _names(items(host, "CapAdd")), _names(items(host, "CapDrop"))
    everything = _everything(engine)
    if host.get("Privileged") is True:
        return None if everything is None else tuple(sorted(everything))
    if "ALL" in add:
        return None if everything is None else tuple(sorted((everything - drop) | (add - {"ALL"})))
    if "ALL" in drop:
        return tuple(sorted(add))
    # Podman before 5 lists the difference to Docker's default list, later ones to its own (measured).
    old_podman = engine.name == "podman" and versions.numbers(engine.version) < (5,)
    default = PODMAN_DEFAULT if engine.name == "podman" and not old_podman else DOCKER_DEFAULT
    return tuple(sorted((default | add) - drop))


def _everything(engine: EngineFacts) -> frozenset[str] | None:
    """All capabilities that the engine can give; None while its own bounding set is not known."""
    if engine.capabilities is None:
        return None
    held = frozenset(engine.capabilities)
    if engine.name == "docker" and versions.numbers(engine.version) < (23,):  # which lifted the limit
        return held & frozenset(procfs.CAPABILITIES[: _LAST_OF_DOCKER_20 + 1])
    return held


def _names(entries: Iterable[object]) -> frozenset[str]:
    return frozenset(str(entry).upper().removeprefix("CAP_") for entry in entries)


def orchestrator(labels: Json) -> str | None:
    """Who manages the container, by the label that each sets; None: nobody known."""
    return next((name for name, label in _ORCHESTRATORS.items() if label in labels), None)


def image_architecture(inspected: Json, image: Json | None) -> str | None:
    """The architecture of a container's image: of the image, else as Docker 28 and later say in the container."""
    platform = mapping(mapping(inspected, "ImageManifestDescriptor"), "platform")
    found = text(image or {}, "Architecture") or text(platform, "architecture")
    return machine(found) if found else None


def labels(image: Json) -> dict[str, str]:
    """An image's labels."""
    return {str(key): str(value) for key, value in mapping(mapping(image, "Config"), "Labels").items()}


def search_path(inspected: Json) -> tuple[str, ...]:
    """The folders where a container's programs are: its PATH, then the usual ones. Only for looking."""
    own: list[str] = []
    for entry in items(mapping(inspected, "Config"), "Env"):
        name, _, value = str(entry).partition("=")
        if name == "PATH":
            own = [folder.rstrip("/") for folder in value.split(":") if folder.startswith("/")]
    return tuple(dict.fromkeys([*own, *_FOLDERS]))
