"""What an engine's API answers, as facts: Docker 20.10 to 29 and Podman's Docker-compatible API.

Pure: decoded JSON in (GET /version, /info, /containers/ID/json, /images/ID/json), facts out. Values of environment
variables and command lines are in that JSON; nothing here takes them over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from debugrun.core.know import procfs
from debugrun.core.know.facts import ContainerFacts, EngineFacts

Json = Mapping[str, object]

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
    options = [_options(str(entry)) for entry in _list(info, "SecurityOptions")]
    names = {option.get("name", "") for option in options}
    seccomp = next((o.get("profile", "default") for o in options if o.get("name") == "seccomp"), None)
    return EngineFacts(
        name="podman" if _is_podman(version) else "docker",
        version=_text(version, "Version") or _text(info, "ServerVersion"),
        api_version=_text(version, "ApiVersion"),
        architecture=machine(_text(info, "Architecture") or _text(version, "Arch")),
        kernel=_text(info, "KernelVersion") or _text(version, "KernelVersion"),
        operating_system=_text(info, "OperatingSystem"),
        rootless="rootless" in names or info.get("Rootless") is True,
        userns_remap="userns" in names,
        seccomp="default" if seccomp == "builtin" else seccomp,
        apparmor="apparmor" in names,
        selinux="selinux" in names,
        no_new_privileges="no-new-privileges" in names,
        runtimes=tuple(sorted(_map(info, "Runtimes"))),
        default_runtime=_text(info, "DefaultRuntime") or "runc",
    )


def removes_running(version: Json) -> bool:
    """Whether an engine of that GET /version removes containers that run and shall be removed at their end.

    With live-restore, as it starts again: moby before 24.0.8 and 25.0, daemon/daemon.go restore().
    """
    numbers = tuple(int(each) for each in re.findall(r"\d+", _text(version, "Version"))[:3])
    return not _is_podman(version) and bool(numbers) and numbers < (24, 0, 8)


def _is_podman(version: Json) -> bool:
    components = [part for part in _list(version, "Components") if isinstance(part, Mapping)]
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
    config, host, state = (_map(inspected, key) for key in ("Config", "HostConfig", "State"))
    privileged = host.get("Privileged") is True
    options = security_options(_list(host, "SecurityOpt"))
    seccomp, profile = _seccomp(options.get("seccomp"), engine, privileged=privileged)
    runtime = _text(host, "Runtime")
    apparmor = _text(inspected, "AppArmorProfile")
    pid_mode, memory, pid = _text(host, "PidMode"), host.get("Memory"), state.get("Pid")
    return ContainerFacts(
        id=_text(inspected, "Id"),
        name=_text(inspected, "Name").removeprefix("/"),
        image=_text(config, "Image"),
        image_id=_text(inspected, "Image"),
        state=_state(state),
        user=_text(config, "User"),
        architecture=image_architecture(inspected, image),
        pid=pid if isinstance(pid, int) else 0,
        privileged=privileged,
        capabilities=capabilities(inspected, engine),
        seccomp=seccomp,
        seccomp_profile=profile,
        apparmor=apparmor or ("unconfined" if engine.apparmor and privileged else None),
        selinux=_text(inspected, "ProcessLabel") or None,
        no_new_privileges=_no_new_privileges(options.get("no-new-privileges"), engine),
        read_only=host.get("ReadonlyRootfs") is True,
        pid_mode="" if pid_mode == "private" else pid_mode,
        network_mode=_text(host, "NetworkMode"),
        userns_mode=_text(host, "UsernsMode"),
        runtime=engine.default_runtime if runtime in {"", "oci"} else runtime,
        memory_limit=memory if isinstance(memory, int) and memory > 0 else 0,
        orchestrator=orchestrator(_map(config, "Labels")),
    )


def _state(state: Json) -> str:
    """Podman's words as Docker's; Docker says `running` of a paused or restarting container in Running only."""
    said = {"configured": "created", "initialized": "created", "stopped": "exited", "stopping": "running"}
    status = _text(state, "Status")
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
    late = engine.name == "podman" or _major(engine.version) >= 27  # noqa: PLR2004 - see docstring
    if privileged and (not late or value in {None, "builtin"}):
        return "unconfined", None
    if value is None or value in {"builtin", "default"}:
        return "default", None
    return "custom", value if value.lstrip().startswith("{") else None


def _no_new_privileges(value: str | None, engine: EngineFacts) -> bool:
    return engine.no_new_privileges if value is None else value in {"", "true"}


def _major(version: str) -> int:
    match = re.match(r"\d+", version)
    return int(match[0]) if match else 0


def capabilities(inspected: Json, engine: EngineFacts) -> tuple[str, ...] | None:
    """What an exec as root has in this container, by configuration; None where that can't be known.

    moby oci/caps/utils.go TweakCapabilities(): CapDrop ALL starts from nothing, CapAdd ALL from everything.
    Privileged is everything that the engine has and knows.
    """
    bounding = inspected.get("BoundingCaps")
    if isinstance(bounding, list):
        return tuple(sorted(_names(bounding)))
    host = _map(inspected, "HostConfig")
    add, drop = _names(_list(host, "CapAdd")), _names(_list(host, "CapDrop"))
    everything = _everything(engine)
    if host.get("Privileged") is True:
        return None if everything is None else tuple(sorted(everything))
    if "ALL" in add:
        return None if everything is None else tuple(sorted((everything - drop) | (add - {"ALL"})))
    if "ALL" in drop:
        return tuple(sorted(add))
    # Podman before 5 lists the difference to Docker's default list, later ones to its own (measured).
    old_podman = engine.name == "podman" and _major(engine.version) < 5  # noqa: PLR2004 - see above
    default = PODMAN_DEFAULT if engine.name == "podman" and not old_podman else DOCKER_DEFAULT
    return tuple(sorted((default | add) - drop))


def _everything(engine: EngineFacts) -> frozenset[str] | None:
    """All capabilities that the engine can give; None while its own bounding set is not known."""
    if engine.capabilities is None:
        return None
    held = frozenset(engine.capabilities)
    if engine.name == "docker" and _major(engine.version) < 23:  # noqa: PLR2004 - the version that lifted the limit
        return held & frozenset(procfs.CAPABILITIES[: _LAST_OF_DOCKER_20 + 1])
    return held


def _names(entries: Iterable[object]) -> frozenset[str]:
    return frozenset(str(entry).upper().removeprefix("CAP_") for entry in entries)


def orchestrator(labels: Json) -> str | None:
    """Who manages the container, by the label that each sets; None: nobody known."""
    return next((name for name, label in _ORCHESTRATORS.items() if label in labels), None)


def image_architecture(inspected: Json, image: Json | None) -> str | None:
    """The architecture of a container's image: of the image, else as Docker 28 and later say in the container."""
    platform = _map(_map(inspected, "ImageManifestDescriptor"), "platform")
    found = _text(image or {}, "Architecture") or _text(platform, "architecture")
    return machine(found) if found else None


def labels(image: Json) -> dict[str, str]:
    """An image's labels."""
    return {str(key): str(value) for key, value in _map(_map(image, "Config"), "Labels").items()}


def search_path(inspected: Json) -> tuple[str, ...]:
    """The folders where a container's programs are: its PATH, then the usual ones. Only for looking."""
    own: list[str] = []
    for entry in _list(_map(inspected, "Config"), "Env"):
        name, _, value = str(entry).partition("=")
        if name == "PATH":
            own = [folder.rstrip("/") for folder in value.split(":") if folder.startswith("/")]
    return tuple(dict.fromkeys([*own, *_FOLDERS]))


def _text(data: Json, key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def _map(data: Json, key: str) -> Json:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def _list(data: Json, key: str) -> list[object]:
    value = data.get(key)
    return list(value) if isinstance(value, list) else []
