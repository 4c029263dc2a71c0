"""What a seccomp profile says and what a question about it answers: plain values, nothing resolved."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import field

from debugrun.values import dataclass

ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"
NOTIFY = "SCMP_ACT_NOTIFY"
KILL_PROCESS = "SCMP_ACT_KILL_PROCESS"

#: Actions of the OCI runtime specification (config-linux.md, "seccomp") and the verdict each one is.
#: SCMP_ACT_KILL is the old name of SCMP_ACT_KILL_THREAD (seccomp_init(3)).
ACTIONS: dict[str, str] = {
    "SCMP_ACT_KILL": "kill",
    "SCMP_ACT_KILL_THREAD": "kill",
    KILL_PROCESS: "kill",
    "SCMP_ACT_TRAP": "trap",
    ERRNO: "errno",
    NOTIFY: "notify",
    "SCMP_ACT_TRACE": "trace",
    "SCMP_ACT_LOG": "log",
    ALLOW: "allow",
}

#: Verdicts from the most to the least severe: the order in which the kernel ranks filter results (seccomp(2)).
SEVERITY = ("kill", "trap", "errno", "notify", "trace", "log", "allow")

OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    f"SCMP_CMP_{name.upper()}": getattr(operator, name) for name in ("ne", "lt", "le", "eq", "ge", "gt")
}

EPERM = 1
ENOSYS = 38
MAX_ARGUMENTS = 6
UINT64_MAX = 2**64 - 1


class ProfileError(ValueError):
    """A profile that no engine would accept; `where` is the path of the bad key, e.g. ``syscalls[3].args[0].op``."""

    def __init__(self, where: str, problem: str) -> None:
        """Keep both parts: reports show them apart."""
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


@dataclass(frozen=True, slots=True)
class ArgMatch:
    """One comparison of a 64-bit system call argument; for MASKED_EQ `value` is the mask, `value_two` the datum."""

    index: int
    op: str
    value: int
    value_two: int = 0

    def matches(self, argument: int) -> bool:
        """Whether the comparison holds for an argument, both sides unsigned (seccomp_rule_add(3))."""
        if self.op == "SCMP_CMP_MASKED_EQ":
            return argument & self.value == self.value_two & self.value
        return _COMPARE[self.op](argument, self.value)

    def __str__(self) -> str:
        """For example ``arg0 & 0x7e020000 == 0x0``."""
        if self.op == "SCMP_CMP_MASKED_EQ":
            return f"arg{self.index} & {self.value:#x} == {self.value_two:#x}"
        sign = {"NE": "!=", "LT": "<", "LE": "<=", "EQ": "==", "GE": ">=", "GT": ">"}[self.op.removeprefix("SCMP_CMP_")]
        return f"arg{self.index} {sign} {self.value:#x}"


@dataclass(frozen=True, slots=True)
class SyscallNeed:
    """A system call that has to pass, for the arguments that satisfy all of `args` (none: for any)."""

    call: str
    args: tuple[ArgMatch, ...] = ()

    def __str__(self) -> str:
        """For example ``personality(arg0 == 0x40000)``."""
        return f"{self.call}({', '.join(map(str, self.args))})"


@dataclass(frozen=True, slots=True)
class Filter:
    """The `includes` or `excludes` of a rule of an unresolved profile (empty: no condition)."""

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    min_kernel: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `syscalls`: an action for some calls, if the filters hold and all of `args` match."""

    names: tuple[str, ...]
    action: str
    errno: int | None = None
    args: tuple[ArgMatch, ...] = ()
    includes: Filter = Filter()
    excludes: Filter = Filter()


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile as written: Docker's or Podman's form, or the resolved form of an OCI runtime spec.

    `arch_map` (Docker, Podman) and `architectures` (OCI) exclude each other: (architecture, its sub-architectures).
    `off`: it was empty, and an engine filters nothing then.
    Its hash leaves the hundreds of `rules` out: profiles are the keys of caches, and few are in use.
    """

    default_action: str
    default_errno: int | None = None
    architectures: tuple[str, ...] = ()
    arch_map: tuple[tuple[str, tuple[str, ...]], ...] = ()
    rules: tuple[Rule, ...] = field(default=(), hash=False)
    flags: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    off: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the filter does with a call.

    `action` is allow, errno, kill, trap, log, trace or notify; `errno` the number for errno (and the message of trace);
    `rule` says what decided. `certain` is False when an argument was left open and another value of it would get
    another verdict: then this is the most severe one that is possible.
    """

    action: str
    errno: int | None
    rule: str
    certain: bool = True

    @property
    def passes(self) -> bool:
        """Whether the kernel carries the call out without asking anyone."""
        return self.action in ("allow", "log")


@dataclass(frozen=True, slots=True)
class Runtime:
    """What differs between container runtimes and their libraries, for the same profile.

    The defaults are those of runc 1.0.0-rc93 and later with a current libseccomp.
    """

    #: Release of libseccomp: a call that it has no name for yet is left out of the filter. Where it is not known which
    #: one there is, `oldest_libseccomp` is the oldest that may be: a verdict that they differ in is not certain.
    libseccomp: tuple[int, int, int] = (2, 6, 1)
    oldest_libseccomp: tuple[int, int, int] = (2, 6, 1)
    #: runc answers ENOSYS to calls above the highest number in the profile (libcontainer/seccomp/patchbpf).
    enosys_stub: bool = True
    #: crun takes names that runc does not, and an errno for errno and trace only.
    crun: bool = False
    #: Docker before 23.0 drops `defaultErrnoRet` and uses EPERM.
    default_errno: bool = True
