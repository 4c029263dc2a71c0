"""The moment that `debugrun catch` waits for: as typed, as data/gdb/catch.py is asked, and what it saw. Pure."""

from __future__ import annotations

import re

from debugrun.core.know.json_access import Json
from debugrun.core.rules.seccomp import calls
from debugrun.errors import UsageError
from debugrun.values import dataclass

KINDS = ("crash", "exit", "restart", "signal:NAME", "syscall:NAME", "cpu:PERCENT", "stuck:SECONDSs")
# signal(7), as x86 and ARM number them.
SIGNALS = {
    1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 10: "USR1", 11: "SEGV",
    12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 16: "STKFLT", 17: "CHLD", 18: "CONT", 20: "TSTP", 21: "TTIN",
    22: "TTOU", 23: "URG", 24: "XCPU", 25: "XFSZ", 26: "VTALRM", 27: "PROF", 28: "WINCH", 29: "IO", 30: "PWR",
    31: "SYS",
}  # fmt: skip
UNSEEN = {9: "KILL", 19: "STOP"}  # no tracer is asked before them: ptrace(2), kernel/signal.c
FAULTS = (7, 11)  # whose address is that of what was not to be had
LARGEST = 64  # the last of the real-time signals


@dataclass(frozen=True, slots=True)
class Moment:
    """One kind of moment. `argument`: a signal's number, a call's name, percent of one processor, seconds; or None."""

    kind: str
    argument: int | str | None = None

    def question(self, machine: str) -> dict[str, object]:
        """As data/gdb/catch.py is asked on a machine of that architecture. Raises UsageError: no such call there."""
        argument = self.argument
        if self.kind == "syscall":
            call = calls.calls().get(str(argument))
            argument = call.numbers.get(machine) if call else None
            if argument is None:
                raise UsageError("no-such-call", f"{machine} has no system call {self.argument}", "man 2 syscalls")
        return {"on": self.kind, "argument": argument}


def moment(typed: str) -> Moment:
    """What was typed after --on. Raises UsageError."""
    if typed in {"crash", "exit", "restart"}:
        return Moment(typed)
    if found := re.fullmatch(r"signal:(?:SIG)?(\w+)", typed, re.IGNORECASE | re.ASCII):
        return Moment("signal", _signal(found[1].upper()))
    if found := re.fullmatch(r"syscall:([a-z0-9_]{1,64})", typed, re.ASCII):
        if found[1] not in calls.calls():
            raise UsageError("no-such-call", f"there is no system call {found[1]}", "man 2 syscalls")
        return Moment("syscall", found[1])
    if found := re.fullmatch(r"cpu[>:](\d{1,5})%?", typed, re.ASCII):
        return Moment("cpu", int(found[1]))
    if (found := re.fullmatch(r"stuck:(\d{1,6})s?", typed, re.ASCII)) and int(found[1]):
        return Moment("stuck", int(found[1]))
    raise UsageError("no-such-moment", f"--on {typed}: no such moment", f"one of: {', '.join(KINDS)}")


def _signal(name: str) -> int:
    names = {each: number for number, each in (SIGNALS | UNSEEN).items()}
    number = int(name) if name.isdecimal() and len(name) <= 2 else names.get(name, 0)  # noqa: PLR2004 - two digits
    if number in UNSEEN:
        message = f"no tracer sees SIG{UNSEEN[number]} before it is over: nothing can be caught there"
        raise UsageError("unseen-signal", message, "--on exit: all other ends")
    if not 0 < number <= LARGEST:
        raise UsageError("no-such-signal", f"there is no signal {name}", "man 7 signal")
    return number


def signal_name(number: int) -> str:
    """SIGSEGV for 11."""
    known = (SIGNALS | UNSEEN).get(number)
    return f"SIG{known}" if known else f"signal {number}"


def happened(why: Json) -> str:
    """What happened, from what data/gdb/catch.py tells as `why`."""
    number, code = why.get("signal"), why.get("exit")
    if isinstance(number, int):
        words = signal_name(number)
        address, sender = why.get("address"), why.get("sender")
        if isinstance(address, int) and number in FAULTS:
            words += f" at address {address:#x}" if address else " at a null pointer"
        elif isinstance(sender, int) and sender:
            words += f" sent by PID {sender}"
        return words if why.get("fatal") else f"{words}, which the process outlives"
    if isinstance(code, int):
        return f"exit with status {code}"
    if isinstance(why.get("cpu"), int):
        return f"{why['cpu']} % of a processor"
    if isinstance(stuck := why.get("stuck"), int | float):
        return f"not run for {stuck:.0f} s"
    return "the system call"
