"""What was observed: the engine, its host, the container and the process. Unknown is a value (None).

Shapes only; `observe` reads them from the world, `inspect` and `procfs` parse what was read. Facts are saved and
loaded as JSON (`dump`, `load`) so that a plan can be replayed with no engine in reach. They never hold the value
of an environment variable or a command line.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing

from debugrun.core.know.printable import cleaned
from debugrun.values import dataclass

SCHEMA = 1
# What earlier versions wrote and no rule asks for: files of theirs are still read.
FORMER = frozenset({"tracer_comm", "unprivileged_bpf_disabled", "dmesg_restrict"})


class FactsError(ValueError):
    """A facts file that cannot be read: the message names the key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineFacts:
    """The engine as it reports itself (GET /version, GET /info)."""

    name: str  # "docker" or "podman"
    version: str
    api_version: str
    architecture: str  # as uname -m: x86_64, aarch64
    kernel: str  # as uname -r
    operating_system: str = ""
    rootless: bool = False
    userns_remap: bool = False
    seccomp: str | None = None  # "default" (compiled in), "unconfined", a path; None: no seccomp support
    seccomp_profile: str | None = None  # where the default is a file that could be read: its JSON text
    apparmor: bool = False
    selinux: bool = False
    no_new_privileges: bool = False  # forced on every container by the daemon
    runtimes: tuple[str, ...] = ()
    default_runtime: str = "runc"
    capabilities: tuple[str, ...] | None = None  # the daemon's own bounding set; None: not readable
    local: bool | None = None  # its processes are visible in our own /proc


@dataclass(frozen=True, kw_only=True, slots=True)
class HostFacts:
    """Kernel settings of the machine that the engine runs on (/proc/sys there).

    `lockdown` is the word in brackets of /sys/kernel/security/lockdown, "none" too where that module is not in use;
    `proc_mem_override` "always", "ptrace" or "never": who may write read-only pages through /proc/PID/mem.
    `gpu_counters` says whose the NVIDIA driver's performance counters are: "everybody" or "admin".
    """

    yama_ptrace_scope: int | None = None  # 0 also where Yama is not built in or not enabled
    perf_event_paranoid: int | None = None
    kptr_restrict: int | None = None
    tracefs: bool | None = None  # mounted at /sys/kernel/tracing, where the engine sees it
    lockdown: str | None = None
    proc_mem_override: str | None = None
    cross_memory_attach: bool | None = None  # process_vm_readv(2) and process_vm_writev(2) are in the kernel
    gpu_counters: str | None = None
    gpu_driver: str | None = None  # the NVIDIA driver's version


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerFacts:
    """The target container (GET /containers/ID/json, and its image's architecture)."""

    id: str
    name: str
    image: str  # the reference it was created from
    image_id: str
    state: str  # running, paused, restarting, exited, created, dead, removing
    user: str = ""  # Config.User
    architecture: str | None = None  # of its image, as uname -m; None: not asked or image gone
    pid: int = 0  # PID 1 of the container in the engine host's PID namespace
    privileged: bool = False
    capabilities: tuple[str, ...] | None = None  # what an exec as root gets; None: unknown
    seccomp: str = "default"  # "default", "unconfined", "custom"
    seccomp_profile: str | None = None  # the operator's own profile, JSON text
    apparmor: str | None = None  # label, as AppArmorProfile says; None: AppArmor is not in use
    selinux: str | None = None  # ProcessLabel
    no_new_privileges: bool = False
    read_only: bool = False
    pid_mode: str = ""
    network_mode: str = ""
    userns_mode: str = ""
    runtime: str = "runc"
    memory_limit: int = 0  # bytes; 0: none
    memory_used: int | None = None
    orchestrator: str | None = None  # compose, swarm, kubernetes, nomad, ecs
    tools: tuple[tuple[str, str], ...] = ()  # (binary, path) found in the container's file system
    shell: str | None = None  # path of a shell in the container's file system


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessFacts:
    """The target process (/proc/PID/status and its neighbours). `pid` is the container's own.

    `uids` and `gids` are (real, effective, saved, file system) as seen from the container.
    """

    pid: int
    comm: str
    state: str = "S"  # one letter of proc_pid_status(5)
    tgid: int = 0
    ppid: int = 0
    uids: tuple[int, ...] = (0, 0, 0, 0)
    gids: tuple[int, ...] = (0, 0, 0, 0)
    groups: tuple[int, ...] = ()
    permitted: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    bounding: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()
    dumpable: bool | None = None
    tracer: int = 0  # in the reader's PID namespace; 0: not traced
    no_new_privileges: bool = False
    seccomp: int = 0  # 0 off, 1 strict, 2 filter
    seccomp_filters: int | None = None
    threads: int = 1
    exe: str | None = None
    label: str | None = None  # /proc/PID/attr/current
    host_pid: int | None = None
    start_time: int | None = None  # clock ticks since the boot: starttime of proc_pid_stat(5)
    by_target: tuple[str, ...] = ()  # fields that a process of the target's own uid told: it may have been made to lie

    @property
    def identity(self) -> str:
        """PID and start, which no other process of its PID namespace ever has; "" where the start is not known."""
        return "" if self.start_time is None else f"{self.pid} {self.start_time}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFacts:
    """Images at hand that hold the tool, as sidecar candidates."""

    toolbox: str | None = None  # reference of the toolbox image, when the engine has it
    toolbox_binaries: tuple[str, ...] = ()  # binaries it holds; empty with a toolbox: not known
    toolbox_copies: tuple[str, ...] = ()  # paths of its programs that carry file capabilities
    target_holds_tool: bool = False  # the target's own image holds the tool and a shell
    named: bool = False  # `toolbox` is an image that a person named, and none that debugrun built
    missing: tuple[str, ...] = ()  # then: programs that it lacks, of the tool and the shell that a sidecar takes


@dataclass(frozen=True, kw_only=True, slots=True)
class PodFacts:
    """The pod around a container: what is asked of whatever is added to it, and what that inherits.

    `level` is the PodSecurity level that its namespace enforces, None where that can't be read. `refuses`: what the
    API server says to any container that would be added, "" where that is not so. The rest is the pod's own
    securityContext: None and "" where it says nothing.
    """

    namespace: str
    level: str | None = None
    refuses: str = ""
    uid: int | None = None
    gid: int | None = None
    non_root: bool | None = None
    seccomp: str = ""  # RuntimeDefault, Localhost, Unconfined
    own_seccomp: str = ""  # of the container, the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Everything a decision needs. Texts are made printable: names were compared, and paths opened, before this."""

    engine: EngineFacts
    host: HostFacts
    container: ContainerFacts
    process: ProcessFacts
    images: ImageFacts = ImageFacts()
    pod: PodFacts | None = None  # None: a container of an engine
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name in ("engine", "host", "container", "process", "images", "pod"):
            object.__setattr__(self, name, cleaned(getattr(self, name)))

    @property
    def in_pod(self) -> bool:
        """Whether the target is a pod's container: no name on an engine holds a slash."""
        return "/" in self.container.name

    @property
    def in_user_namespace(self) -> bool:
        """Whether the target's capabilities, and a sidecar's, count in a user namespace below the initial one only.

        Docker's only userns_mode is "host"; Podman's others each make a namespace (podman-run(1) --userns).
        """
        mode = self.container.userns_mode
        return self.engine.rootless or (self.engine.userns_remap and mode != "host") or mode not in {"", "host"}


def dump(facts: Facts) -> str:
    """The facts as JSON text, stable and indented."""
    return json.dumps(dataclasses.asdict(facts), indent=2, sort_keys=False)


def load(text: str) -> Facts:
    """Facts from JSON text.

    Raises FactsError: not JSON, a missing or unknown key, a value of another type, another schema.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise FactsError(f"not JSON: {error}") from error
    if isinstance(data, dict) and data.get("schema") != SCHEMA:
        raise FactsError(f"schema: {data.get('schema')!r}, this version reads {SCHEMA}")
    facts = _build(Facts, data, "facts")
    assert isinstance(facts, Facts)  # noqa: S101 - tells the type checker what _build was asked for
    return facts


def host(data: object) -> HostFacts:
    """A host's settings alone, of decoded JSON. Raises FactsError as `load`."""
    built = _build(HostFacts, data, "host")
    assert isinstance(built, HostFacts)  # noqa: S101 - as above
    return built


def _build(kind: object, value: object, where: str) -> object:
    """`value` (decoded JSON) as the annotated type `kind`; only the types that this module uses."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    origin = typing.get_origin(kind)
    if origin in {typing.Union, types.UnionType}:
        if value is None:
            return None
        return _build(next(k for k in typing.get_args(kind) if k is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise FactsError(f"{where}: expected a list")
        items = typing.get_args(kind)
        each = [items[0]] * len(value) if items[-1] is Ellipsis else list(items)
        if len(each) != len(value):
            raise FactsError(f"{where}: expected {len(each)} items")
        return tuple(_build(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(each, value, strict=True)))
    if isinstance(kind, type) and isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
        return value
    raise FactsError(f"{where}: expected {getattr(kind, '__name__', kind)}, found {type(value).__name__}")


def _build_dataclass(kind: type, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise FactsError(f"{where}: expected an object")
    hints = typing.get_type_hints(kind)
    value = {key: item for key, item in value.items() if key not in FORMER}
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise FactsError(f"{where}.{unknown[0]}: unknown key")
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in value:
            raise FactsError(f"{where}.{field.name}: missing")
    built: object = kind(**{key: _build(hints[key], item, f"{where}.{key}") for key, item in value.items()})
    return built
