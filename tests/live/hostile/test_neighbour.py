"""A target that attacks whatever is put beside it: no process of a sidecar lets it in, whoever it is.

`neighbour.py` runs in the target while a tool is at work. The attacks that were tried are printed by kind.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import docker
import pexpect
import pytest

from debugrun.engine.engine import Engine, connect
from debugrun.engine.stream import Frames
from debugrun.observe import hostproc
from debugrun.oncall import look, memory
from debugrun.oncall.ground import OfEngine
from tests.live.hostile.conftest import Count
from tests.live.victims import Victim, released, victims

pytestmark = pytest.mark.live

TEXT = Path(__file__).with_name("neighbour.py").read_text()
HOLDS_PYTHON = "debugrun-test/full"
UNDUMPABLE = ["/opt/app/worker", "undumpable"]
BACKTRACE = ["--", "-batch", "-ex", "bt", "-ex", "shell sleep 0.5"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What it tells: attacks by kind; those that got through, and on whom; the names and command lines that it saw."""

    tried: Mapping[str, int]
    through: Mapping[str, list[str]]
    names: list[str]
    commands: list[str]


class Neighbour:
    """The hostile program at work in a victim."""

    def __init__(self, engine: Engine, victim: Victim, user: str) -> None:
        self._engine = engine
        self._id = engine.exec_create(victim.id, ["python3", "-c", TEXT], user=user)
        self._stream = engine.exec_start(self._id)
        self._frames = Frames()
        self._text = b""
        self._read(b"ready\n")

    def _read(self, until: bytes) -> None:
        while until not in self._text and self._stream.wait(60):
            data = self._stream.receive()
            if data == b"":
                break
            self._text += b"".join(part for _, part in self._frames.feed(data or b""))

    def report(self) -> Report:
        """End it, and read what it tells."""
        os.kill(int(str(self._engine.exec_inspect(self._id)["Pid"])), signal.SIGTERM)
        self._read(b"}\n")
        self._stream.close()
        return Report(**json.loads(self._text.partition(b"ready\n")[2]))


def assert_kept_out(report: Report) -> None:
    """Nothing got through, and every kind was tried on something of ours."""
    assert report.through == {}
    assert all(report.tried.values()), report.tried
    assert {"tini", "sh"} & set(report.names), report.names
    # The mark of the lease: who reads it may forge how the tool ended.
    assert not [each for each in report.commands if re.search(r"debugrun-[0-9a-f]{16,}:", each)]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "debugrun", *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


Attacked = Callable[..., AbstractContextManager[tuple[Victim, Callable[[], Report]]]]


@pytest.fixture
def attacked(engine: docker.APIClient, count: Count) -> Attacked:
    """A victim that attacks, as `user`, and what ends the attack and tells of it."""

    @contextlib.contextmanager
    def begin(user: str, command: list[str] | None = None) -> Iterator[tuple[Victim, Callable[[], Report]]]:
        with victims(engine, user=user, image=HOLDS_PYTHON, command=command) as victim, connect() as connection:
            neighbour = Neighbour(connection, victim, user)

            def told() -> Report:
                report = neighbour.report()
                count(report.tried, {kind: len(each) for kind, each in report.through.items()})
                return report

            yield victim, told

    return begin


@pytest.mark.parametrize("user", ["1000:1000", "0:0"])
def test_a_debugger_of_the_targets_own_uid(attacked: Attacked, toolbox: str, user: str) -> None:
    assert toolbox
    with attacked(user) as (victim, report):
        done = run("gdb", victim.name, *BACKTRACE)
        assert_kept_out(report())
        assert done.returncode == 0, done.stderr
        assert "#0" in done.stdout
        assert "password" not in done.stdout + done.stderr
        assert "/proc/self/mem" not in done.stderr
        released(victim)


@pytest.mark.parametrize(("tool", "words"), [("strace", ["--", "-f"]), ("perf", [])])
def test_what_is_given_stays_with_the_tool(attacked: Attacked, toolbox: str, tool: str, words: list[str]) -> None:
    """By file capability: strace has SYS_PTRACE. Perf has a system call that the target's filter refuses."""
    assert toolbox
    for user, command in (("1000:1000", UNDUMPABLE if tool == "strace" else None), ("0:0", None)):
        with attacked(user, command) as (victim, report):
            done = run(tool, victim.name, "--duration", "1", *words)
            assert_kept_out(report())
            assert done.returncode == 0 or "was not seen on a CPU" in done.stderr, done.stderr
            released(victim)


@pytest.mark.parametrize(
    ("user", "command"),
    [
        pytest.param("1000:1000", None, marks=pytest.mark.slow),
        pytest.param("1000:1000", UNDUMPABLE, marks=pytest.mark.slow),
        ("0:0", None),
    ],
)
def test_what_is_looked_at_on_call(
    attacked: Attacked, toolbox: str, tmp_path: Path, user: str, command: list[str] | None
) -> None:
    """The sidecars of ps, memory, stacks, core and flame, as where the engine is elsewhere."""
    assert toolbox
    with attacked(user, command) as (victim, report), connect() as connection:
        for verb in (["stacks", "1"], ["core", "-o", str(tmp_path / "core")], ["flame", "--duration", "1"]):
            done = run(verb[0], victim.name, *verb[1:])
            idle = verb[0] == "flame" and "there is nothing to draw" in done.stderr
            assert done.returncode == 0 or idle, (verb, done.stdout, done.stderr)
        ground = OfEngine(connection)
        chosen = ground.choose([victim.name], None, everything=False)
        seen = look.sent(ground.backend, ground.facts(chosen.containers[0]), "x86_64")
        with pytest.MonkeyPatch.context() as elsewhere:
            elsewhere.setattr(hostproc, "is_local", lambda *_: False)
            read = memory._read(ground, chosen.containers[0], seen.processes)  # noqa: SLF001
        assert_kept_out(report())
        assert read[1].error == "" or command == UNDUMPABLE
        released(victim)


def test_a_terminal(attacked: Attacked, toolbox: str) -> None:
    """No false prompt on the user's screen, and nothing is read of what he types."""
    assert toolbox
    with attacked("1000:1000") as (victim, report):
        child = pexpect.spawn(
            sys.executable, ["-m", "debugrun", "gdb", victim.name], timeout=60, encoding="utf-8", codec_errors="replace"
        )
        try:
            seen = ""
            for line in ("bt", "set confirm off", "quit"):
                child.expect_exact("(gdb) ")
                seen += child.before or ""
                child.sendline(line)
            child.expect(pexpect.EOF)
            assert_kept_out(report())
            assert "password" not in seen + (child.before or "")
            assert "worker.c" in seen
        finally:
            child.close(force=True)
        released(victim)
