"""What is tried in the test machine: settings, targets, and on each the tools and the grants. Pure.

What bears on tracing is tried for each ptrace_scope, what bears on events for each perf_event_paranoid; that neither
setting bears on the other's tools is tried as well. Every option that the planner offers is tried too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.cases import DOCKER_DEFAULT
from tests.trials import GDB, GDBSERVER, LTRACE, NOBODY, OWN, PERF, PY_SPY, STRACE, TCPDUMP, Given, Work

APP, TOOLBOX = "debugrun-test/app:latest", "debugrun-toolbox:latest"
OWN_PROFILE, MUTE_PROFILE = "debugrun-test-own", "debugrun-test-mute"  # may trace its equal; nobody at all
PROFILES = """\
profile debugrun-test-own flags=(attach_disconnected,mediate_deleted) {
  network, capability, file, umount, signal,
  ptrace (trace, read, tracedby, readby) peer=debugrun-test-own,
}
profile debugrun-test-mute flags=(attach_disconnected,mediate_deleted) {
  network, capability, file, umount, signal,
  ptrace (tracedby, readby),
}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Kernel settings of the machine."""

    scope: int
    paranoid: int

    def __str__(self) -> str:
        return f"ptrace_scope {self.scope}, perf_event_paranoid {self.paranoid}"


# ptrace_scope 3 is for good: it comes last.
SCOPES = tuple(Setting(scope=scope, paranoid=2) for scope in (0, 1, 2))
LEVELS = tuple(Setting(scope=1, paranoid=level) for level in (-1, 0, 1, 3, 4))
LAST = Setting(scope=3, paranoid=2)
SETTINGS = (SCOPES[0], SCOPES[1], *LEVELS, SCOPES[2], LAST)
CROSSED = tuple(Setting(scope=scope, paranoid=level) for scope in (0, 2) for level in (-1, 0, 1, 3, 4))
EVERY_SETTING = (*SETTINGS[:-1], *CROSSED, LAST)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A container of the machine: what it runs, as whom, with what."""

    image: str = APP
    user: str = "0:0"
    command: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    apparmor: str | None = None


TARGETS = {
    "root": Target(),
    "u1000": Target(user="1000:1000"),
    "rootcap": Target(cap_add=("NET_ADMIN",)),
    "undump": Target(command=("/opt/app/worker", "undumpable")),
    "undump1000": Target(command=("/opt/app/worker", "undumpable"), user="1000:1000"),
    "lone1000": Target(command=("/opt/app/worker", "lone"), user="1000:1000"),
    "python": Target(image=TOOLBOX, user="1000:1000", command=("python3", "-c", "{worker.py}")),
    "unconfined": Target(apparmor="unconfined"),
    "own": Target(apparmor=OWN_PROFILE),
    "mute": Target(apparmor=MUTE_PROFILE),
}

UNSURE = frozenset({"own", "mute"})  # profiles of one's own: what they say cannot be read

PERF_RECORD = Work(tool="perf", mode="record", seconds=0.3, shows=())
PERF_KERNEL = Work(tool="perf", mode="kernel", seconds=0.3, shows=())
EVENTS = (PERF, PERF_RECORD, PERF_KERNEL)
PTRACE = ("SYS_PTRACE",)
ROOTS = (Given(), Given(caps=DOCKER_DEFAULT), Given(caps=PTRACE), Given(user=NOBODY, caps=PTRACE, by_file=True))
USERS = (
    Given(caps=PTRACE),
    Given(caps=(*PTRACE, "DAC_OVERRIDE", "KILL")),
    Given(user=OWN),
    Given(user=OWN, caps=PTRACE),
    Given(user=OWN, caps=PTRACE, by_file=True),
)
HERE = (Given(here=True), Given(user=OWN, here=True))
LABELS = tuple(Given(caps=PTRACE, apparmor=label) for label in (None, "unconfined", OWN_PROFILE, MUTE_PROFILE))
PERFS = (
    Given(seccomp="opened"),
    Given(caps=DOCKER_DEFAULT, seccomp="opened"),
    Given(caps=PTRACE, seccomp="unconfined"),
    Given(caps=("PERFMON",)),
    Given(caps=("PERFMON", "SYS_PTRACE")),
    Given(caps=("SYS_ADMIN",)),
    Given(user=OWN, seccomp="opened"),
    Given(user=OWN, caps=("PERFMON",), by_file=True),
)
PACKETS = (Given(), Given(caps=("NET_RAW", "SETUID", "SETGID")), Given(user=OWN, caps=("NET_RAW",), by_file=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One tool under these grants; `offered`: under every option of its plan as well."""

    work: Work
    given: tuple[Given, ...] = ()
    offered: bool = True


def rows(setting: Setting, target: str, *, everything: bool) -> Iterator[Row]:
    """What is tried of a target under a setting."""
    if everything:
        yield from _everything(setting, target)
        return
    if setting in {*SCOPES, LAST}:
        yield from _tracing(setting.scope, target)
    if setting.scope == 1 and target in {"root", "u1000"}:
        yield from _counting(setting.paranoid, target)
    if setting == LEVELS[-1] and target == "u1000":
        yield Row(work=STRACE, given=USERS[2:], offered=False)
    if setting in {SCOPES[2], LAST} and target == "u1000":
        yield Row(work=PERF)


def _tracing(scope: int, target: str) -> Iterator[Row]:
    match target, scope:
        case (("root" | "u1000"), _):
            yield Row(work=GDB)
            yield Row(work=STRACE, given=() if scope == LAST.scope else ROOTS if target == "root" else USERS)
            if scope == 1:
                yield Row(work=GDBSERVER)
            elif scope == 0 and target == "u1000":
                yield Row(work=TCPDUMP)
        case (("rootcap" | "undump" | "undump1000"), (0 | 1)):
            yield Row(work=STRACE)
        case "python", (0 | 1):
            yield Row(work=PY_SPY)
            yield Row(work=STRACE, given=HERE, offered=False)
        case "lone1000", 1:
            yield Row(work=LTRACE)
        case (("unconfined" | "own" | "mute"), 1):  # under Yama as well, which the kernel asks first
            label = TARGETS[target].apparmor
            given = (LABELS[0], *(each for each in LABELS[1:] if each.apparmor in {label, "unconfined"}))
            yield Row(work=STRACE, given=given, offered=target == "unconfined")
            yield Row(work=GDB, given=given, offered=False)
        case _:
            pass


def _counting(level: int, target: str) -> Iterator[Row]:
    yield Row(work=PERF, given=PERFS[3:5] if level in {1, 3} and target == "root" else ())
    if level in {1, 2, 3}:
        yield Row(work=PERF_KERNEL if target == "root" else PERF_RECORD)


def _everything(setting: Setting, target: str) -> Iterator[Row]:
    if target in UNSURE or target == "unconfined":
        yield from (Row(work=work, given=LABELS) for work in (GDB, STRACE, GDBSERVER))
        return
    if setting in {*SCOPES, LAST}:
        own = {"python": (GDB, STRACE, PY_SPY), "lone1000": (LTRACE,)}.get(target, (GDB, STRACE, GDBSERVER))
        given = (*ROOTS, *USERS[1:], *(HERE if target == "python" else ()))
        yield from (Row(work=work, given=given) for work in own)
        yield Row(work=TCPDUMP, given=PACKETS)
    yield from (Row(work=work, given=PERFS) for work in EVENTS)
