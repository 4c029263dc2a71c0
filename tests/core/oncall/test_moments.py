"""Moments as typed, as asked, and in words."""

from __future__ import annotations

import pytest

from debugrun.core.oncall.moments import Moment, happened, moment
from debugrun.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("crash", Moment("crash")),
        ("exit", Moment("exit")),
        ("restart", Moment("restart")),
        ("signal:TERM", Moment("signal", 15)),
        ("signal:sigusr1", Moment("signal", 10)),
        ("signal:34", Moment("signal", 34)),
        ("syscall:openat", Moment("syscall", "openat")),
        ("cpu>90", Moment("cpu", 90)),
        ("cpu:90", Moment("cpu", 90)),
        ("cpu>350%", Moment("cpu", 350)),
        ("stuck:30s", Moment("stuck", 30)),
        ("stuck:5", Moment("stuck", 5)),
    ],
)
def test_what_is_typed_is_meant(typed: str, meant: Moment) -> None:
    assert moment(typed) == meant


@pytest.mark.parametrize(
    "typed",
    [
        "", "Crash", "signal:", "signal:KILL", "signal:STOP", "signal:0", "signal:65", "signal:99999999999999999999",
        "signal:٣", "syscall:", "syscall:open;reboot", "syscall:nothing", "cpu>", "cpu>-1", "cpu>999999", "stuck:0s",
        "stuck:1h", "crash exit",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_what_there_is(typed: str) -> None:
    with pytest.raises(UsageError) as error:
        moment(typed)
    assert error.value.hint


def test_a_call_has_a_number_by_machine() -> None:
    assert Moment("syscall", "openat").question("x86_64") == {"on": "syscall", "argument": 257}
    assert Moment("syscall", "openat").question("aarch64") == {"on": "syscall", "argument": 56}
    with pytest.raises(UsageError, match="no system call open"):
        Moment("syscall", "open").question("aarch64")


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ({"signal": 11, "fatal": True, "address": 0}, "SIGSEGV at a null pointer"),
        ({"signal": 11, "fatal": True, "address": 0xDEAD}, "SIGSEGV at address 0xdead"),
        ({"signal": 8, "fatal": True, "address": 0xDEAD}, "SIGFPE"),
        ({"signal": 6, "fatal": True, "sender": 7}, "SIGABRT sent by PID 7"),
        ({"signal": 15, "fatal": False, "sender": 0}, "SIGTERM, which the process outlives"),
        ({"signal": 40, "fatal": True}, "signal 40"),
        ({"exit": 3}, "exit with status 3"),
        ({"cpu": 98}, "98 % of a processor"),
        ({"stuck": 30.2}, "not run for 30 s"),
        ({"signal": "11"}, "the system call"),
    ],
)
def test_what_happened_in_words(why: dict[str, object], words: str) -> None:
    assert happened(why) == words
