"""Denials in the kernel's log: what was logged by a stock Debian kernel, and what a Fedora one documents."""

from __future__ import annotations

import pytest

from debugrun.observe import kernel_log

APPARMOR = (
    'type=1400 apparmor="DENIED" operation="ptrace" class="ptrace" profile="docker-default" pid=7 comm="strace" '
    'requested_mask="trace" denied_mask="trace" peer="unconfined"'
)
SELINUX = (
    'type=1400 avc:  denied  { ptrace } for  pid=7 comm="gdb" scontext=system_u:system_r:container_t:s0:c1,c2 '
    "tcontext=system_u:system_r:spc_t:s0 tclass=process permissive=0"
)


@pytest.mark.parametrize("text", [APPARMOR, SELINUX])
def test_a_denial_is_told_without_number_and_time(text: str) -> None:
    logged = text.replace("type=1400 ", "audit: type=1400 audit(1700000000.123:45): ")
    record = f"5,812,2000000,-;{logged}\n SUBSYSTEM=x\n".encode()
    assert kernel_log.line(record, since=1.5) == [text]
    assert kernel_log.line(record, since=2.5) == []


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"6,1,1,-;usb 1-1: new device\n",
        b'5,8,2000000,-;audit: type=1400 audit(1.2:3): apparmor="ALLOWED" operation="ptrace"\n',
        b'5,8,2000000,-;audit: type=1400 audit(1.2:3): apparmor="DENIED" operation="open" name="/x"\n',
        b"\xff\xfe;\xff",
    ],
)
def test_other_lines_are_none(record: bytes) -> None:
    assert kernel_log.line(record, since=0.0) == []


def test_a_log_that_cannot_be_read_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_log, "KMSG", "/nonexistent")
    assert kernel_log.denials(0.0) == ()
