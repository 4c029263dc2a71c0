"""The filter that libseccomp really builds for a profile, run by a small BPF machine, to hold predictions against.

It drives the same library, in the same order of calls, as runc does (libcontainer/seccomp), without loading anything
into the kernel: seccomp_export_bpf(3) writes the program out.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from debugrun.core.rules.seccomp import Outcome, Rule

TOKENS = {"x86_64": 0xC000003E, "x86": 0x40000003, "x32": 0x4000003E, "aarch64": 0xC00000B7, "arm": 0x40000028}
AUDIT = {**TOKENS, "x32": TOKENS["x86_64"]}
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
VERDICTS = {
    0x00000000: "kill",
    0x80000000: "kill",
    0x00030000: "trap",
    0x00050000: "errno",
    0x7FC00000: "notify",
    0x7FF00000: "trace",
    0x7FFC0000: "log",
    0x7FFF0000: "allow",
}
OPERATORS = {"NE": 1, "LT": 2, "LE": 3, "EQ": 4, "GE": 5, "GT": 6, "MASKED_EQ": 7}


Library = ctypes.CDLL


class _Arg(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


class Instruction(NamedTuple):
    """One struct sock_filter."""

    code: int
    jt: int
    jf: int
    k: int


class RuleError(Exception):
    """libseccomp refused a rule: runc would refuse the container."""


def library(path: str | None = None) -> ctypes.CDLL | None:
    """The given libseccomp, or the machine's own; None: there is none."""
    found = path or ctypes.util.find_library("seccomp")
    if not found:
        return None
    loaded = ctypes.CDLL(found)
    loaded.seccomp_init.restype = ctypes.c_void_p
    loaded.seccomp_init.argtypes = [ctypes.c_uint32]
    for name in ("seccomp_arch_add", "seccomp_arch_remove"):
        getattr(loaded, name).argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    loaded.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Arg),
    ]
    loaded.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    loaded.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    loaded.seccomp_release.argtypes = [ctypes.c_void_p]
    return loaded


def action_value(action: str, errno: int | None) -> int:
    """The number that libseccomp and the kernel use; errno and trace without a number mean EPERM, as in runc."""
    base = ACTIONS[action]
    return base | ((1 if errno is None else errno) & 0xFFFF) if action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else base


def compile_filter(
    lib: ctypes.CDLL, default: tuple[str, int | None], rules: Iterable[Rule], arches: Sequence[str]
) -> list[Instruction]:
    """Build the filter of some resolved rules for some of the machine's architectures."""
    default_value = action_value(*default)
    context = lib.seccomp_init(default_value)
    try:
        if arches[0] not in ("x86_64", "x86", "x32"):
            lib.seccomp_arch_add(context, TOKENS[arches[0]])
            lib.seccomp_arch_remove(context, TOKENS["x86_64"])
        for arch in arches:
            lib.seccomp_arch_add(context, TOKENS[arch])
        for rule in rules:
            _add(lib, context, rule, default_value)
        return _export(lib, context)
    finally:
        lib.seccomp_release(context)


def _add(lib: ctypes.CDLL, context: int, rule: Rule, default: int) -> None:
    value = action_value(rule.action, rule.errno)
    if value == default:
        return
    args = [_Arg(m.index, OPERATORS[m.op.removeprefix("SCMP_CMP_")], m.value, m.value_two) for m in rule.args]
    together = len({match.index for match in rule.args}) == len(rule.args)
    for name in rule.names:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            continue
        for group in [args] if together else [[arg] for arg in args]:
            code = lib.seccomp_rule_add_array(context, value, number, len(group), (_Arg * len(group))(*group))
            if code:
                raise RuleError(f"{rule}: {code}")


def _export(lib: ctypes.CDLL, context: int) -> list[Instruction]:
    descriptor = os.memfd_create("bpf")
    try:
        if lib.seccomp_export_bpf(context, descriptor):
            raise RuleError("export")
        size = os.fstat(descriptor).st_size
        data = os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)
    return [Instruction(*struct.unpack_from("=HBBI", data, at)) for at in range(0, size, 8)]


def run(program: Sequence[Instruction], arch: str, number: int, args: Sequence[int]) -> Outcome:
    """Run a filter on one call, as the kernel does; `number` with the x32 bit where that ABI is meant."""
    data = struct.pack("=iIQ6Q", number, AUDIT[arch], 0, *[*args, 0, 0, 0, 0, 0, 0][:6])
    accumulator = at = 0
    while True:
        code, jt, jf, k = program[at]
        at += 1
        match code:
            case 0x20:  # BPF_LD | BPF_W | BPF_ABS
                (accumulator,) = struct.unpack_from("=I", data, k)
            case 0x54:  # BPF_ALU | BPF_AND | BPF_K
                accumulator &= k
            case 0x05:  # BPF_JMP | BPF_JA
                at += k
            case 0x15:  # BPF_JMP | BPF_JEQ
                at += jt if accumulator == k else jf
            case 0x25:  # BPF_JMP | BPF_JGT
                at += jt if accumulator > k else jf
            case 0x35:  # BPF_JMP | BPF_JGE
                at += jt if accumulator >= k else jf
            case 0x06:  # BPF_RET
                action = VERDICTS[k & 0xFFFF0000]
                return Outcome(action, k & 0xFFFF if action in ("errno", "trace") else None, "filter")
            case _:
                raise NotImplementedError(hex(code))
