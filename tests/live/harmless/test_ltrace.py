"""ltrace kills processes by itself, so it is not put on one unless that may die; what is named instead does its job."""

from __future__ import annotations

import signal
import subprocess
import sys

import docker
import pytest

from tests.host import images
from tests.live import crowds
from tests.live.crowds import Kind, Worker
from tests.live.harm import difference

pytestmark = pytest.mark.live

CALLS = Kind(does="calls")
PATTERNS = [[], ["-x", "*@libc.so.6"], ["-e", "malloc"], ["-l", "libc.so.6"]]


def debugrun(worker: Worker, tool: str, *args: str) -> list[str]:
    return [sys.executable, "-m", "debugrun", tool, worker.name, str(worker.pid), *args]


def refused(worker: Worker, args: list[str]) -> str:
    """What is said of ltrace with these arguments, which leaves the worker as it was."""
    before = worker.look()
    done = subprocess.run(
        debugrun(worker, "ltrace", "--", *args), capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (126, "")
    assert difference(before, worker.look()) == ""
    assert worker.sidecars() == []
    return done.stderr


def dprintf(worker: Worker) -> bytes:
    """The calls of work(), as gdb says them until Ctrl-C."""
    args = ["-batch", "-ex", 'dprintf work,"called work\\n"', "-ex", "continue"]
    words = debugrun(worker, "gdb", "--", *args)
    before = worker.look()
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, b"")
        found = next((line for line in lines if b"called work" in line), b"")
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    after, left = worker.settled(before, 60)
    assert (difference(before, after), left) == ("", [])
    return found


@pytest.mark.parametrize("args", PATTERNS, ids=" ".join)
def test_ltrace_is_refused_with_the_reason_and_what_does_as_much(
    engine: docker.APIClient, toolbox: str, args: list[str]
) -> None:
    assert toolbox
    with crowds.worker(engine, CALLS) as worker:
        said = refused(worker, args)
        assert "32-bit" in said
        assert "longjmp" in said
        assert ("names wrong functions" in said) == bool(args)
        assert f"debugrun strace {worker.name} {worker.pid}" in said
        assert "--may-kill" in said


@pytest.mark.slow
@pytest.mark.parametrize("program", ["/opt/crowd", "/opt/crowd32"], ids=["another-glibc", "32-bit"])
def test_of_programs_that_it_would_kill_gdb_tells_the_calls(
    engine: docker.APIClient, toolbox: str, program: str
) -> None:
    assert toolbox
    image = images.foreign(engine)
    with crowds.worker(engine, CALLS, image=image, program=program) as worker:
        for args in PATTERNS:
            refused(worker, args)
        assert dprintf(worker) == b"called work\n"


@pytest.mark.slow
def test_what_may_die_of_it_does(engine: docker.APIClient, toolbox: str) -> None:
    """The reason for all this: when this fails, ltrace has been mended, and may be let in again."""
    assert toolbox
    image = images.foreign(engine)
    with crowds.worker(engine, CALLS, image=image, program="/opt/crowd32") as worker:
        words = debugrun(worker, "ltrace", "--may-kill", "--duration", "5")
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
        crowds.until(lambda: b"died 5" in engine.logs(worker.id), 30)
