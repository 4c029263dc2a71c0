"""What can be given to a tool and where it can run: the two axes of every decision, as plain values."""

from __future__ import annotations

import enum

from debugrun.values import dataclass


class Grant(enum.Enum):
    """How much is given, narrow to broad; the definition order is the order of cost."""

    NONE = "none"  # nothing beyond what the target itself has
    CAPS = "caps"  # narrow capabilities
    SECCOMP = "seccomp"  # the profile in force plus named calls
    BROAD = "broad"  # a capability that opens the machine (SYS_ADMIN, SYS_MODULE, ...)
    UNCONFINED = "unconfined"
    PRIVILEGED = "privileged"

    @property
    def rank(self) -> int:
        """Position on the ladder: 0 for `none`, 5 for `privileged`."""
        return list(Grant).index(self)


class Placement(enum.Enum):
    """Where the tool runs, harmless to disruptive; the definition order is the order of disruption."""

    SIDECAR = "sidecar"
    HERE = "here"
    RUN = "run"
    RECREATE = "recreate"

    @property
    def rank(self) -> int:
        """Position in the order of disruption: 0 for `sidecar`."""
        return list(Placement).index(self)


class Verdict(enum.Enum):
    """Would it work: `unknown` is a value, resolved by trying."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class Layer(enum.Enum):
    """Who may say no."""

    SECCOMP = "seccomp"
    PTRACE = "ptrace"
    DAC = "dac"
    YAMA = "yama"
    PERF = "perf"
    LSM = "lsm"
    ENGINE = "engine"
    ADMISSION = "admission"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ceiling:
    """What a person allowed: the widest grant, and the only placement when one was named."""

    grant: Grant = Grant.SECCOMP
    via: Placement | None = None


# Capabilities that open the machine rather than one facility of it: capabilities(7) calls SYS_ADMIN
# "overloaded"; the others load code into the kernel, write raw devices or replace any file's owner check.
BROAD_CAPABILITIES = frozenset({"SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "SYS_BOOT"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """One layer's answer to one need: the answer, the fact that decides, and where the rule is written."""

    need: str
    layer: Layer
    verdict: Verdict
    fact: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One way to run the tool: a placement with a grant, and what every layer says to it.

    `user` is "uid:gid". `cap_add` holds capability names without CAP_, everything else is dropped
    in a sidecar. `seccomp` is "default" (the engine's own), "unconfined", "target" (exec: the target's
    filter), or "custom": `profile`, a person's own as JSON text. `opened_calls` are seccomp needs opened on top of it.
    `file_capability` says that the tool's copy carries `cap_add` as file capabilities because a
    non-root process gets none from Docker. `apparmor` is a label other than the engine's own, `selinux` "disable"
    or None. `pid_namespace` is "target", or "own" for a tool that has no business with the process, or "host" for one
    that must be there before the process is. `mounts` are paths of the engine's host, read-only at the same path.
    `tool_args` replace the mode's default arguments so that the tool asks for less; `lost` says what that costs.
    `by_name` says why it is taken only when a person names what runs (--image, --via here): the target could use what
    is given. `command` is the equivalent docker line, for a POSIX shell. `context` is the securityContext of an
    ephemeral container as somebody typed it, JSON text.
    """

    placement: Placement
    grant: Grant
    user: str
    verdict: Verdict
    gates: tuple[Gate, ...]
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ("ALL",)
    seccomp: str = "default"
    profile: str | None = None
    opened_calls: tuple[str, ...] = ()
    apparmor: str | None = None
    selinux: str | None = None
    no_new_privileges: bool = True
    file_capability: bool = False
    privileged: bool = False
    network: str = "none"
    pid_namespace: str = "target"
    mounts: tuple[str, ...] = ()
    image: str | None = None
    lost: tuple[str, ...] = ()
    tool_args: tuple[str, ...] = ()
    by_name: str = ""
    command: str = ""
    context: str | None = None

    @property
    def uid(self) -> int:
        """The numeric uid that the tool runs as."""
        return int(self.user.split(":", 1)[0])

    @property
    def closed_gates(self) -> tuple[Gate, ...]:
        """The gates that say no, in the order met."""
        return tuple(gate for gate in self.gates if gate.verdict is Verdict.CLOSED)

    def security_opt(self, profile_json: str | None = None) -> tuple[str, ...]:
        """The `security_opt` list as the Docker API takes it.

        `profile_json` is the seccomp profile to send inline; without it an opened profile is written
        symbolically (`seccomp=default+perf_event_open`), as plans show it.
        """
        opts = []
        if self.no_new_privileges:
            opts.append("no-new-privileges")
        if profile_json is not None:
            opts.append(f"seccomp={profile_json}")
        elif self.opened_calls:
            opts.append(f"seccomp={self.seccomp}+{','.join(self.opened_calls)}")
        elif self.seccomp in {"unconfined", "custom"}:
            opts.append(f"seccomp={self.seccomp}")
        if self.apparmor:
            opts.append(f"apparmor={self.apparmor}")
        if self.selinux:
            opts.append(f"label={self.selinux}")
        return tuple(opts)
