"""What data/gdb/catch.py decides by the kernel's rules: which signal ends a process, which program gives more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

GDB = files("debugrun") / "data" / "gdb"
FUTURE = "from __future__ import annotations\n"
TEXT = "\n".join(
    (GDB / name).read_text("utf-8").replace(FUTURE, "") for name in ("prelude.py", "stacks.py", "catch.py")
)
RULES: dict[str, Any] = {"__name__": "debugrun"}
exec(TEXT, RULES)  # noqa: S102 - as gdb does
fatal: Callable[[int, int, dict[str, str]], bool] = RULES["fatal"]
gives: Callable[[int, str], bool] = RULES["gives"]
resolved: Callable[[int, str], str] = RULES["resolved"]
USER, FAULT = 0, 1  # si_code: SI_USER, of a fault
NEITHER = sorted({*range(1, 32)} - {signal.SIGKILL, signal.SIGSTOP})


def facts(*, caught: int = 0, ignored: int = 0, pids: str = "700\t7") -> dict[str, str]:
    return {"SigCgt": f"{caught:016x}", "SigIgn": f"{ignored:016x}", "NSpid": pids}


@pytest.mark.parametrize("number", NEITHER)
def test_a_signal_that_nobody_handles_ends_a_process_as_the_kernel_has_it(number: int) -> None:
    argv = [sys.executable, "-c", f"import os, signal; signal.signal({number}, 0); os.kill(os.getpid(), {number})"]
    with subprocess.Popen(argv) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            process.kill()
            os.waitpid(process.pid, 0)
        process.returncode = 0
    assert fatal(number, USER, facts()) == os.WIFSIGNALED(status)


@given(st.sampled_from(NEITHER), st.sampled_from([USER, FAULT]), st.sampled_from(["7", "700\t7", "700\t1", "1"]))
def test_what_is_handled_or_ignored_ends_nobody(number: int, code: int, pids: str) -> None:
    bit = 1 << (number - 1)
    assert not fatal(number, code, facts(caught=bit, pids=pids))
    assert not fatal(number, code, facts(ignored=bit, pids=pids))


def test_the_first_of_a_pid_namespace_dies_of_its_own_faults_only() -> None:
    assert not fatal(signal.SIGTERM, USER, facts(pids="700\t1"))
    assert fatal(signal.SIGSEGV, FAULT, facts(pids="700\t1"))
    assert fatal(signal.SIGTERM, USER, facts(pids="1\t7"))


def test_a_link_of_the_target_is_followed_in_its_own_files(tmp_path: Path) -> None:
    me = os.getpid()
    program = tmp_path / "a" / "program"
    program.parent.mkdir()
    program.write_bytes(b"\x7fELF")
    (tmp_path / "absolute").symlink_to(program)
    (tmp_path / "relative").symlink_to("a/../a/program")
    for name in ("absolute", "relative"):
        assert resolved(me, str(tmp_path / name)) == f"/proc/{me}/root{program}"
        assert not gives(me, str(tmp_path / name))
    program.chmod(0o4755)
    assert gives(me, str(tmp_path / "absolute"))
    script = tmp_path / "script"
    script.write_text(f"#! {tmp_path}/relative -x\n")
    assert gives(me, str(script))
    program.chmod(0o755)
    assert not gives(me, str(script))


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    me = os.getpid()
    (tmp_path / "round").symlink_to("round")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "again").write_text(f"#!{tmp_path}/again\n")
    assert gives(me, str(tmp_path / "round"))  # not known: so it is let go of
    assert gives(me, str(tmp_path / "again"))
    assert not gives(me, str(tmp_path / "pipe"))
    assert not gives(me, str(tmp_path / "nothing"))
    assert not gives(me, str(tmp_path / "pipe" / "below"))
