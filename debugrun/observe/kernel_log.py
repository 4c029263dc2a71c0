"""The kernel's own words when a security module said no: the denial in its log, on the engine's machine."""

from __future__ import annotations

import os
import re
from contextlib import suppress

KMSG = "/dev/kmsg"
# AppArmor: apparmor="DENIED" operation="ptrace" ...; SELinux: avc:  denied  { ptrace } ...
_DENIAL = re.compile(r'apparmor="DENIED" operation="ptrace"|avc:\s+denied\s+\{[^}]*\bptrace\b')
_RECORD = 8192  # a record is read as a whole or not at all: Documentation/ABI/testing/dev-kmsg


def denials(since: float) -> tuple[str, ...]:
    """The lines about a refused ptrace since `since` (time.monotonic(), seconds), each once.

    Empty where the log may not be read (dmesg_restrict), and where auditd takes the lines for itself. The kernel
    writes no more than a few a second: no line proves nothing.
    """
    found: list[str] = []
    with suppress(OSError):
        log = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK)
        try:
            while True:
                with suppress(BrokenPipeError):  # overwritten before it was read: the next one
                    found += line(os.read(log, _RECORD), since)
        finally:
            os.close(log)
    return tuple(dict.fromkeys(found))


def line(record: bytes, since: float) -> list[str]:
    """The denial that a record of the log is, without its number and time, if it is one and not older."""
    head, _, text = record.decode(errors="replace").partition("\n")[0].partition(";")
    fields = head.split(",")
    if len(fields) < 3 or not _DENIAL.search(text) or int(fields[2]) / 1e6 < since:  # noqa: PLR2004 - level,number,µs
        return []
    return [re.sub(r"\baudit\([^)]*\): ", "", text).removeprefix("audit: ")]
