"""Which layer refused a call of the application's own, and the narrowest mend. Pure.

The kernel asks in this order: the seccomp filter, then the permissions of the files on a path, capabilities, and the
security module (seccomp(2), path_resolution(7), capabilities(7), security/security.c). A filter is known, so what it
says is computed; the modes on the path were read at the moment; a capability is named where the call's manual page
names it and the process lacks it.
"""

from __future__ import annotations

import errno
import functools
import stat
import tomllib
from collections.abc import Iterable, Mapping

from debugrun.core import package_data
from debugrun.core.know.json_access import Json, items, mapping, text
from debugrun.core.know.procfs import CAPABILITIES
from debugrun.core.rules import seccomp
from debugrun.core.rules.seccomp import calls
from debugrun.values import dataclass

ABIS = {0xC000003E: "x86_64", 0xC00000B7: "aarch64", 0x40000003: "x86", 0x40000028: "arm"}  # linux/audit.h
LAYERS = ("seccomp", "file permissions", "capability", "security module", "kernel")
RIGHTS = {1: "search or execute", 2: "write", 3: "change", 4: "read", 6: "read and write"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """The seccomp filter of a container: what it is called, its rules (None: not known, or none), and for whom."""

    name: str
    profile: seccomp.Profile | None
    capabilities: frozenset[str]
    kernel: tuple[int, int]
    runtime: seccomp.Runtime


@dataclass(frozen=True, kw_only=True, slots=True)
class Denied:
    """One kind of refused call. `barrier` is what on its path was not permitted, if anything was."""

    call: str
    arch: str
    words: tuple[int, ...]
    number: int
    path: str | None
    barrier: Json
    uid: int
    effective: int
    filters: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Who refused (one of LAYERS), why that is known, and what would let it pass."""

    layer: str
    fact: str
    mend: str


@functools.cache
def rules() -> Mapping[str, Mapping[str, object]]:
    """What is known of each call: data/denials.toml."""
    return tomllib.loads(package_data.text("denials.toml"))


def question(machine: str) -> dict[str, Mapping[str, object]]:
    """The part of it that data/gdb/catch.py is asked with: by the call's number, where its path is."""
    table = calls.calls()
    numbers = {name: table[name].numbers.get(machine) for name in rules()}
    return {str(numbers[name]): told for name, told in rules().items() if numbers[name] is not None and "path" in told}


def numbers(names: Iterable[str], machine: str) -> list[int]:
    """The numbers of calls on an architecture; those that it lacks are left out."""
    table = calls.calls()
    found = (table[name].numbers.get(machine) for name in names)
    return [each for each in found if each is not None]


def decoded(why: Json) -> Denied:
    """What data/gdb/catch.py tells of a refusal. Raises ValueError: it makes no sense."""
    arch = ABIS.get(_number(why, "arch"), "")
    names = {each.numbers.get(arch): each.name for each in calls.calls().values()}
    call = names.get(_number(why, "call"))
    words = [each for each in items(why, "words") if isinstance(each, int)]
    if call is None or not words:
        raise ValueError(f"no call {why.get('call')} of {why.get('arch')}")
    facts = mapping(why, "facts")
    path = why.get("path")
    return Denied(
        call=call,
        arch=arch,
        words=tuple(words),
        number=_number(why, "errno"),
        path=path if isinstance(path, str) else None,
        barrier=mapping(why, "barrier"),
        uid=int((text(facts, "Uid").split() or ["0", "0"])[1]),
        effective=int(text(facts, "CapEff") or "0", 16),
        filters=int(text(facts, "Seccomp_filters") or "0"),
    )


def answer(denied: Denied, filtered: Filter, module: str) -> Answer:
    """Who refused it. `module`: the security module's label that confines the process, "" none."""
    found = _by_filter(denied, filtered)
    if found is not None:
        return found
    if denied.number == errno.ENOSYS:
        return Answer(layer="kernel", fact=f"this kernel has no {denied.call}", mend="a newer kernel")
    if denied.barrier:
        return _by_mode(denied)
    return _by_capability(denied) or _by_others(denied, module)


def _by_capability(denied: Denied) -> Answer | None:
    rule = rules().get(denied.call, {})
    capability = str(rule.get("capability", ""))
    if not capability or _holds(denied, capability):
        return None
    when = f", if {rule['when']}" if "when" in rule else ""
    fact = f"{denied.call} takes {capability} here{when}; the process has it not in effect"
    return Answer(layer="capability", fact=fact, mend=f"--cap-add {capability}{_whose(denied)}")


def _by_others(denied: Denied, module: str) -> Answer:
    if module:
        fact = f"nothing else forbids it, and {module} confines the process"
        return Answer(layer="security module", fact=fact, mend="a rule for it there")
    if denied.filters > 1:
        fact = f"the process has {denied.filters} seccomp filters, its own among them"
        return Answer(layer="seccomp", fact=fact, mend="change what the program forbids itself")
    fact = "no layer that we know of forbids it"
    return Answer(layer="kernel", fact=fact, mend=f"man 2 {denied.call}, section ERRORS")


def _by_filter(denied: Denied, filtered: Filter) -> Answer | None:
    outcome = _outcome(denied, filtered, filtered.capabilities)
    if outcome is None or outcome.action != "errno" or outcome.errno != denied.number:
        return None
    capability = str(rules().get(denied.call, {}).get("capability", ""))
    lacks = bool(capability) and not _holds(denied, capability)
    with_it = _outcome(denied, filtered, filtered.capabilities | {capability}) if lacks else None
    if with_it is not None and with_it.passes:
        mend = f"--cap-add {capability}, which the call takes, and which opens it in this profile{_whose(denied)}"
    else:
        also = f", and --cap-add {capability}, which the call takes" if lacks else ""
        mend = f"--security-opt seccomp=FILE: that profile with {denied.call} allowed{also}"
    return Answer(layer="seccomp", fact=f"{filtered.name}: {outcome.rule}", mend=mend)


def _outcome(denied: Denied, filtered: Filter, capabilities: frozenset[str]) -> seccomp.Outcome | None:
    """What the filter makes of the call; None: there is none, or it is not known."""
    if filtered.profile is None:
        return None
    try:
        return seccomp.evaluate(
            filtered.profile, denied.call, denied.words, caps=capabilities, arch=denied.arch,
            kernel=filtered.kernel, runtime=filtered.runtime,
        )  # fmt: skip
    except seccomp.ProfileError:
        return None


def _whose(denied: Denied) -> str:
    return "" if denied.uid == 0 else "; a process that is not root has it in effect only by its file, or as ambient"


def _holds(denied: Denied, capability: str) -> bool:
    return bool(denied.effective >> CAPABILITIES.index(capability) & 1)


def _by_mode(denied: Denied) -> Answer:
    found = denied.barrier
    mode, uid, gid, want = (_number(found, key) for key in ("mode", "uid", "gid", "want"))
    path = text(found, "path")
    may_not = f"the process, uid {denied.uid}, may not {RIGHTS.get(want, 'use')} it"
    fact = f"{path} is {stat.filemode(mode)} {uid}:{gid}; {may_not}"
    if mode >> 3 & want == want:
        mend = f"--group-add {gid}"
    elif mode >> 6 & want == want:
        mend = f"--user {uid}, or change the file's owner or mode"
    else:
        mend = "change the file's mode"
    return Answer(layer="file permissions", fact=fact, mend=mend)


def shown(denied: Denied) -> str:
    """The call as strace(1) would begin it: its path, or its first words."""
    inner = f'"{denied.path}"' if denied.path is not None else ", ".join(f"{word:#x}" for word in denied.words[:3])
    return f"{denied.call}({inner}) = {errno.errorcode.get(denied.number, denied.number)}"


def _number(told: Json, key: str) -> int:
    value = told.get(key)
    return value if isinstance(value, int) else 0
