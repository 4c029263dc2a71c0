"""System call numbers of the architectures that we judge: data/syscalls/numbers.tsv."""

from __future__ import annotations

from functools import cache

from debugrun.core import package_data
from debugrun.values import dataclass

#: Calls of the x32 ABI carry this bit in their number (arch/x86/include/uapi/asm/unistd.h).
X32_BIT = 0x40000000


@dataclass(frozen=True, slots=True)
class Arch:
    """A system call ABI: `native` is the architecture of an engine whose kernel also runs it."""

    name: str
    scmp: str
    native: str
    go: str
    bits: int


ARCHES: dict[str, Arch] = {
    "x86_64": Arch("x86_64", "SCMP_ARCH_X86_64", "x86_64", "amd64", 64),
    "x86": Arch("x86", "SCMP_ARCH_X86", "x86_64", "x86", 32),
    "x32": Arch("x32", "SCMP_ARCH_X32", "x86_64", "x32", 32),
    "aarch64": Arch("aarch64", "SCMP_ARCH_AARCH64", "aarch64", "arm64", 64),
    "arm": Arch("arm", "SCMP_ARCH_ARM", "aarch64", "arm", 32),
}


#: Calls that 32-bit x86 programs also make through another one, by its first argument (socketcall(2), ipc(2)):
#: libseccomp puts rules on those under that argument, in place of what they say of the call's own first one.
MULTIPLEXED: dict[str, str] = dict.fromkeys(
    "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmsg send "  # noqa: SIM905 - words read better
    "sendmmsg sendmsg sendto setsockopt shutdown socket socketpair".split(),
    "socketcall",
) | dict.fromkeys(
    "msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget".split(),  # noqa: SIM905
    "ipc",
)


@dataclass(frozen=True, slots=True)
class Call:
    """A call's number on each architecture that has it, and the libseccomp release that learned its name."""

    name: str
    numbers: dict[str, int]
    libseccomp: tuple[int, int, int]


@cache
def calls() -> dict[str, Call]:
    """Every call that Linux has had on these architectures, by name."""
    lines = package_data.text("syscalls/numbers.tsv")
    rows = [line.split("\t") for line in lines.splitlines() if line and not line.startswith("#")]
    header = rows[0]
    return {row[0]: _call(dict(zip(header, row, strict=True))) for row in rows[1:]}


def _call(row: dict[str, str]) -> Call:
    numbers = {arch: int(row[arch], 0) for arch in ARCHES if row[arch] != "-"}
    if "x32" in numbers:
        numbers["x32"] |= X32_BIT
    since = row["libseccomp"]
    major, minor, patch = (0, 0, 0) if since == "-" else map(int, since.split("."))
    return Call(row["call"], numbers, (major, minor, patch))


@cache
def _names(arch: str) -> dict[int, str]:
    return {call.numbers[arch]: call.name for call in calls().values() if arch in call.numbers}


def identify(call: str, arch: str) -> tuple[str, int | None]:
    """Name and number of a call that is given by either; the number is None where the architecture lacks the call."""
    if call.isdecimal():
        number = int(call)
        return _names(arch).get(number, call), number
    known = calls().get(call)
    return call, None if known is None else known.numbers.get(arch)
