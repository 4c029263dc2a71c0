"""What a process's memory is made of: read from a smaps file, kinds told apart, sums kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.resources import files

import pytest

from debugrun.core.oncall import memory

PROGRAM = (files("debugrun") / "data" / "oncall" / "memory.py").read_text("utf-8")
# It takes memory of each kind that it can.
EATER = """
import mmap, os, sys
kept = bytearray(64 << 20)
for at in range(0, len(kept), 4096): kept[at] = 1
shared = mmap.mmap(-1, 8 << 20)
for at in range(0, len(shared), 4096): shared[at] = 1
file = open(sys.argv[1], "wb+"); file.truncate(4 << 20)
mapped = mmap.mmap(file.fileno(), 4 << 20)
for at in range(0, len(mapped), 4096): mapped[at] = 1
print("ready", flush=True)
sys.stdin.read()
"""


def test_kinds_of_a_process_and_their_sum(tmp_path: object) -> None:
    argv = [sys.executable, "-c", EATER, f"{tmp_path}/a\nfile"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as eater:
        assert eater.stdout is not None
        assert eater.stdout.readline() == "ready\n"
        question = json.dumps({"pids": [eater.pid, 1 << 22]})
        done = subprocess.run([sys.executable, "-c", PROGRAM, question], capture_output=True, text=True, check=True)
        found, gone = memory.parse(done.stdout)
        with open(f"/proc/{eater.pid}/statm", encoding="utf-8") as statm:  # noqa: PTH123 - of the kernel's
            resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        eater.communicate("")
    kinds = {each.name: each for each in found.kinds}
    assert 64 << 20 <= kinds["anonymous"].rss < 80 << 20
    assert kinds["anonymous"].private >= 64 << 20
    assert kinds["shared memory"].rss >= 8 << 20
    assert kinds["mapped files"].rss >= 4 << 20
    assert {"heap", "stack", "program and libraries"} <= set(kinds)
    assert abs(found.rss - resident) < 1 << 20
    assert found.largest[0][2] >= 64 << 20
    assert found.runtimes == ("python",)
    assert gone.error == "No such file or directory"


@pytest.mark.parametrize("printed", ["", "{", "[]", '{"schema": 2}'])
def test_what_was_cut_off_is_an_error(printed: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what json says is its own
        memory.parse(printed)


def test_a_runtime_that_is_not_known_gets_no_advice() -> None:
    assert memory.advice(("perl",), "web", 7) == []
    assert "debugrun jattach web 7 --mode jcmd -- GC.class_histogram" in memory.advice(("jvm",), "web", 7)[0]
