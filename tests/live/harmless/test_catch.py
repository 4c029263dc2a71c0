"""`debugrun catch` on real containers: the stacks of the moment, and every process meets its own fate."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.live import crashing
from tests.live.waiting import WITHIN, until

pytestmark = pytest.mark.live

Completed = subprocess.CompletedProcess[str]
# What ends each child of crashing.SOURCE, and the functions that its stack names first.
FATES = {
    "segv": ("segv 11 0", "at_null"),
    "forged": ("forged 11 0", "at_null"),  # by its name it would clear the screen
    "abrt": ("abrt 6 0", "gives_up"),
    "fpe": ("fpe 8 0", "divides"),
    "ill": ("ill 4 0", "not_code"),
    "bus": ("bus 7 0", "behind_the_end"),
    "thread": ("thread 11 0", "at_null"),
    "exec": ("exec 11 0", "at_null"),
}


class Crasher:
    """A container of a program that crashes as it is told."""

    def __init__(self, engine: docker.APIClient, *words: str, delay: str = "", **options: Any) -> None:  # noqa: ANN401
        self.engine, self.name = engine, f"debugrun-catch-{uuid.uuid4().hex[:8]}"
        build = f"[ -x /tmp/crasher ] || {{\n{crashing.COMMAND}\n}}; {delay}"
        command = ["sh", "-c", f"{build}\nexec /tmp/crasher {' '.join(words)}"]
        host = engine.create_host_config(network_mode="none", **options)
        engine.create_container("debugrun-test/full", command, name=self.name, host_config=host, user="1000:1000")
        engine.start(self.name)

    def said(self) -> list[str]:
        return self.engine.logs(self.name).decode().splitlines()

    def until(self, line: str, count: int = 1) -> None:
        until(lambda: self.said().count(line) >= count, self.said)

    def run(self, script: str, user: str = "1000:1000") -> str:
        made = self.engine.exec_create(self.name, ["sh", "-ec", script], user=user)
        return self.engine.exec_start(made["Id"]).decode()

    def go(self) -> None:
        """Have it start its children, one after the other."""
        self.run("for p in /proc/[0-9]*; do read -r n <$p/comm; [ $n != crasher ] || kill -USR1 ${p#/proc/}; done")


@pytest.fixture
def crasher(engine: docker.APIClient, targets: object, toolbox: str) -> Iterator[Callable[..., Crasher]]:
    assert targets is not None
    assert toolbox
    made: list[Crasher] = []

    def start(*words: str, **options: Any) -> Crasher:  # noqa: ANN401 - the engine's JSON
        made.append(Crasher(engine, *words, **options))
        return made[-1]

    yield start
    for each in made:
        engine.remove_container(each.name, force=True)


@contextmanager
def watching(tmp_path: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """`debugrun catch`, once it watches; its output goes to files."""
    program = Path(sys.executable).with_name("debugrun")
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        process = subprocess.Popen([program, "catch", *args, "--json"], stdout=out, stderr=err, text=True)
    try:
        until(lambda: "watching" in said(tmp_path) or process.poll() is not None, lambda: said(tmp_path))
        yield process
    finally:
        process.terminate()
        process.wait(WITHIN)


def said(tmp_path: Path) -> str:
    return (tmp_path / "err").read_text()


def caught(process: subprocess.Popen[str], tmp_path: Path, status: int = 0) -> list[dict[str, Any]]:
    assert process.wait(WITHIN * 5) == status, said(tmp_path)
    return [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]


def own(found: dict[str, Any]) -> list[str]:
    """The functions of the program's own on the stack of the thread that it happened to."""
    (stack,) = [each for each in found["process"]["threads"] if each["tid"] == found["tid"]]
    return [frame["function"] for frame in stack["frames"] if frame["file"]]


def test_children_crash_with_their_stacks_and_die_as_they_would(
    crasher: Callable[..., Crasher], tmp_path: Path
) -> None:
    words = ("forged", "handled", "thread", "exec")
    target = crasher(*words, init=True)
    target.until("ready")
    with watching(tmp_path, target.name, "-c", "3") as process:
        target.go()
        found = caught(process, tmp_path)
    target.until("done")
    assert [own(each)[0] for each in found] == ["at_null"] * 3
    assert [len(each["process"]["threads"]) for each in found] == [1, 7, 1]
    assert all("SIGSEGV at a null pointer" in each["what"] and own(each)[-1] != "" for each in found)
    assert target.said()[1:] == [FATES["forged"][0], "handled 0 0", FATES["thread"][0], FATES["exec"][0], "done"]
    assert found[0]["process"]["name"] == "\\x1b[2Jroot"
    assert all("\x1b" not in each["what"] for each in found)
    assert said(tmp_path).count("has met its fate: ended by SIGSEGV") == 3


@pytest.mark.slow
def test_the_first_process_crashes_life_after_life(
    crasher: Callable[..., Crasher], engine: docker.APIClient, tmp_path: Path
) -> None:
    # After ten seconds of life an engine does not wait longer with each restart.
    target = crasher("alone", "segv", delay="sleep 11;", restart_policy={"Name": "always"})
    with watching(tmp_path, target.name, "-c", "2") as process:
        found = caught(process, tmp_path)
    assert [own(each)[0] for each in found] == ["at_null"] * 2
    assert all(each["process"]["pid"] == each["tid"] == 1 for each in found)
    until(lambda: engine.inspect_container(target.name)["RestartCount"] > 1, lambda: said(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["segv", "abrt"])
def test_a_crash_at_the_start_of_each_life(
    how: str, crasher: Callable[..., Crasher], engine: docker.APIClient, tmp_path: Path
) -> None:
    target = crasher("alone", how, delay="sleep 0.2;", restart_policy={"Name": "always"})
    until(lambda: engine.inspect_container(target.name)["RestartCount"] > 1, target.said)
    with watching(tmp_path, target.name, "--from-start") as process:
        found = caught(process, tmp_path)
    assert [own(each)[0] for each in found] == [FATES[how][1]]
    assert all(each["process"]["pid"] == each["tid"] == 1 for each in found)
    assert "in the host's PID namespace" in said(tmp_path)
    until(lambda: engine.inspect_container(target.name)["State"]["ExitCode"] == 139, lambda: said(tmp_path))


@pytest.mark.slow
def test_two_hundred_crashes_two_hundred_stacks_and_no_death_more(
    crasher: Callable[..., Crasher], tmp_path: Path
) -> None:
    words = [*FATES, "handled"] * 25
    crashes = [each for each in words if each in FATES]
    assert len(crashes) == 200
    target = crasher(*words, init=True)
    target.until("ready")
    with watching(tmp_path, target.name, "-c", "200") as process:
        target.go()
        found = caught(process, tmp_path)
    target.until("done")
    assert Counter(own(each)[0] for each in found) == Counter(FATES[each][1] for each in crashes)
    expected = [FATES[each][0] if each in FATES else "handled 0 0" for each in words]
    assert target.said()[1:] == [*expected, "done"]
    assert all(own(each)[-1] in {"main", "doomed"} for each in found)
    assert " stops, " in said(tmp_path)


@pytest.mark.slow
def test_a_program_that_gains_privileges_gains_them(crasher: Callable[..., Crasher], tmp_path: Path) -> None:
    target = crasher("gain", "segv", init=True)
    target.until("ready")
    target.run(crashing.GAIN, user="0:0")
    with watching(tmp_path, target.name, "-c", "1") as process:
        target.go()
        (found,) = caught(process, tmp_path)
    assert own(found)[0] == "at_null"
    target.until("done")
    assert "gain 0 42" in target.said()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["waiting", "holding"])
def test_whoever_kills_the_watcher_changes_no_fate(
    when: str, crasher: Callable[..., Crasher], engine: docker.APIClient, tmp_path: Path
) -> None:
    target = crasher("segv", "thread", "handled", init=True)
    target.until("ready")
    with watching(tmp_path, target.name, "-c", "9") as process:
        (sidecar,) = [each["Id"] for each in engine.containers(filters={"label": "debugrun.tool=gdb"})
                      if each["Labels"]["debugrun.target"] == engine.inspect_container(target.name)["Id"]]  # fmt: skip
        if when == "holding":
            target.go()
        engine.kill(sidecar, "KILL")
        caught(process, tmp_path, status=125)
    if when == "waiting":
        target.go()
    target.until("done")
    assert target.said()[1:] == ["segv 11 0", "thread 11 0", "handled 0 0", "done"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "words", "function", "what"),
    [
        ("exit", ("exit",), "leaves", "exit with status 3"),
        ("signal:SEGV", ("outlived",), "at_null", "SIGSEGV at a null pointer, which the process outlives"),
        ("syscall:pause", ("idle",), "crash", "the system call pause"),
        ("cpu>50", ("busy",), "crash", "% of a processor"),
    ],
)
def test_other_moments(  # noqa: PLR0913, PLR0917 - fixtures
    moment: str, words: tuple[str, ...], function: str, what: str, crasher: Callable[..., Crasher], tmp_path: Path
) -> None:
    target = crasher(*words, init=True)
    target.until("ready")
    with watching(tmp_path, target.name, "--on", moment) as process:
        target.go()
        (found,) = caught(process, tmp_path)
    assert function in own(found)
    assert what in found["what"]
    if words not in {("busy",), ("idle",)}:  # which go on
        target.until("done")
        assert target.said()[1] in {"exit 0 3", "outlived 0 0"}


@pytest.mark.slow
def test_a_process_that_does_not_run(crasher: Callable[..., Crasher], tmp_path: Path) -> None:
    target = crasher("alone", "idle")
    until(lambda: "crasher" in str(target.engine.top(target.name)), target.said)
    with watching(tmp_path, target.name, "1", "--on", "stuck:2s", "-o", str(tmp_path)) as process:
        (found,) = caught(process, tmp_path)
    assert own(found) == ["crash", "main"]
    assert "not run for 2 s" in found["what"]
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text()) == found
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_nothing_is_caught_and_an_action_runs(
    crasher: Callable[..., Crasher], debugrun: Callable[..., Completed], tmp_path: Path
) -> None:
    target = crasher("segv", init=True)
    target.until("ready")
    done = debugrun("catch", target.name, "--duration", "2", status=124)
    assert "nothing was caught" in done.stderr
    action = ("sh", "-c", 'echo "$DEBUGRUN_CAUGHT" >"$0"', str(tmp_path / "acted"))
    program = Path(sys.executable).with_name("debugrun")
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(
            [program, "catch", target.name, "--", *action], stderr=err, stdout=subprocess.DEVNULL
        )
    until(lambda: "watching" in said(tmp_path), lambda: said(tmp_path))
    target.go()
    assert process.wait(WITHIN) == 0
    assert "SIGSEGV at a null pointer" in (tmp_path / "acted").read_text()
