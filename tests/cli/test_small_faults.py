"""Small faults met in the field: each told in words, none by a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from debugrun.cli import app as cli
from debugrun.errors import ToolError, UsageError
from debugrun.toolbox import catalog

PROGRAM = Path(sys.executable).with_name("debugrun")
TOOL = """
schema = 1
name = "peek"
summary = "look"
binary = "peek"
default_mode = "attach"
[modes.attach]
summary = "look once"
command = ["peek", "{pid}", "{args}"]
[[modes.attach.needs]]
gate = "ptrace-read"
why = "look"
"""


def test_a_tool_file_need_not_be_called_as_the_tool_is(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(TOOL)
    assert catalog.load_file(path, called="peek").name == "peek"
    done = subprocess.run([PROGRAM, "peek", "--tool-file", path, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "look" in done.stdout


def test_a_tool_file_of_another_tool_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(TOOL)
    with pytest.raises(ToolError, match=r"x\.toml describes the tool peek, and gdb was asked for"):
        catalog.load_file(path, called="gdb")


def test_ctrl_c_while_it_starts_leaves_no_traceback() -> None:
    for moment in range(12):
        process = subprocess.Popen(
            [PROGRAM, "gdb", "nothere-at-all"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 10
        while b"debugrun" not in Path(f"/proc/{process.pid}/cmdline").read_bytes() and time.monotonic() < deadline:
            pass
        end = time.monotonic() + 0.03 + moment * 0.02  # by then Python itself has started
        while time.monotonic() < end and process.poll() is None:
            pass
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert b"debugrun/" not in said, said.decode()
        # 1 is Python's own, before the first line of ours.
        assert process.returncode in {-signal.SIGINT, 130, 125, 1}


@pytest.mark.parametrize(
    "words",
    [
        ("ps", "web", "--watch"),
        ("core", "web", "-o", "core", "--max-pause"),
        ("run", "strace", "app", "--cpus"),
        ("minimize", "--within"),
        ("flame", "web", "--duration"),
        ("strace", "web", "--duration"),
        ("gdb", "web", "--host-pid"),
    ],
)
def test_a_number_that_is_none_or_too_large_is_a_fault_of_the_line(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    for number in ("nan", "inf", "-1", "1e300", "9" * 400):
        given = [*words, number]
        with pytest.raises((SystemExit, UsageError)) as ended:
            cli.application(given, ())(args=given, obj=(), prog_name="debugrun")
        assert getattr(ended.value, "code", 2) == 2 or isinstance(ended.value, UsageError), number
