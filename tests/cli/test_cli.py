"""The command line without an engine: help, completion, usage errors, decisions from a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from debugrun.core.know import facts
from tests.cases import PLAIN


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """debugrun with no engine in reach."""
    surroundings = {**os.environ, "DOCKER_HOST": "unix:///nonexistent/docker.sock", **env}
    return subprocess.run(
        [sys.executable, "-m", "debugrun", *args], capture_output=True, text=True, env=surroundings, check=False
    )


def test_help_lists_every_tool_and_verb_with_examples() -> None:
    done = run("--help")
    assert done.returncode == 0
    tools = ("gdb", "strace", "perf", "gdbserver", "ltrace", "py-spy", "tcpdump")
    for word in (*tools, "plan", "facts", "gc", "tools", "why", "judge"):
        assert f"\n  {word} " in done.stdout
    assert "debugrun gdb web 7 -- -batch -ex bt" in done.stdout


def test_version() -> None:
    assert run("--version").stdout.startswith("debugrun ")


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (["gbd", "web"], 127, "did you mean gdb?"),
        (["gdb", "web", "--max-grant", "everything"], 2, "none, caps, seccomp, broad, unconfined, privileged"),
        (["gdb", "web", "--via", "magic"], 2, "sidecar, here"),
        (["gdb", "web", "1", "--name", "x"], 2, "exclude each other"),
        (["gdb", "web", "0"], 2, "at least 1"),
        (["gdb", "web", "--mode", "fly"], 2, "--mode with one of: attach"),
        (["gdb"], 2, "CONTAINER"),
        (["gdb", "web"], 125, "/nonexistent/docker.sock"),
    ],
)
def test_bad_input_is_one_clear_line_with_the_next_command(args: list[str], status: int, says: str) -> None:
    done = run(*args)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def completions(line: str) -> list[str]:
    words = line.split(" ")
    done = run(_DEBUGRUN_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    return done.stdout.split()


def test_completion_of_tools_verbs_and_options() -> None:
    assert completions("debugrun g") == ["gcore", "gdb", "gdbserver", "gc"]
    assert completions("debugrun plan st") == ["strace"]
    assert "--max-grant" in completions("debugrun gdb --m")


def test_a_verdict_and_a_diagnosis_from_a_facts_file_need_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(facts.dump(PLAIN))
    judged = run("judge", "gdb", "--facts", str(path), "--json")
    assert judged.returncode == 0, judged.stderr
    assert json.loads(judged.stdout)["options"][0]["verdict"] == "open"
    closed = run("judge", "--facts", str(path), "--", "docker", "run", "--cap-drop", "ALL", "tb", "gdb", "-p", "1")
    assert closed.returncode == 126
    assert "PID namespace of its own" in closed.stdout
    missing = run("judge", "gdb", "--facts", str(path), "--seccomp", "/nonexistent/profile.json")
    assert (missing.returncode, missing.stdout) == (2, "")
    why = run("why", "perf", "--facts", str(path), "--from-error", "No permission to enable cpu-clock event.")
    assert why.returncode == 0, why.stderr
    assert "stopped by seccomp" in why.stdout


def test_the_reference_needs_no_engine_where_one_is_named() -> None:
    assert run("syscalls", "ptrace", "--engine", "docker:28.5").returncode == 0
    refused = run("syscalls", "ptrace")
    assert refused.returncode == 125
    assert "--engine docker:28.5.2" in refused.stderr


def test_unknown_is_not_open(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(facts.dump(PLAIN).replace('"dumpable": true', '"dumpable": null'))
    assert run("judge", "gdb", "--facts", str(path)).returncode == 125


def test_a_plan_from_a_facts_file_needs_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(facts.dump(PLAIN))
    done = run("plan", "gdb", "--facts", str(path), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["options"][json.loads(done.stdout)["chosen"]]["grant"] == "none"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 9}', '{"schema": 1, "engine": {"name": 3}}'])
def test_a_wrong_facts_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "facts.json"
    path.write_text(text)
    done = run("plan", "gdb", "--facts", str(path))
    assert done.returncode == 2
    assert "facts.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_that_refuses_exits_126(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(facts.dump(PLAIN).replace('"yama_ptrace_scope": 0', '"yama_ptrace_scope": 3'))
    done = run("plan", "gdb", "--facts", str(path))
    assert done.returncode == 126
    assert "until the host reboots" in done.stdout


@pytest.mark.parametrize("args", [["tools"], ["--help"], ["--version"]], ids=" ".join)
def test_a_full_disk_is_one_line(args: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "debugrun", *args]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (125, "debugrun: could not write the output: No space left on device\n")


def test_a_stream_that_our_caller_closed_is_nothing_and_not_the_next_file() -> None:
    words = [sys.executable, "-m", "debugrun", "tools"]
    closed = ["sh", "-c", '"$@" <&- 2>&-; status=$?; "$@" >&- || exit; exit $status', "sh", *words]
    done = subprocess.run(closed, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "gdbserver" in done.stdout
    assert done.stderr == ""
