"""A tool that starts with its sidecar behaves as one that is started in it: streams, status, signals, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from debugrun.attach import attach
from debugrun.attach.apply import place
from debugrun.attach.invocation import Invocation, Result
from debugrun.attach.place import Place
from debugrun.core.grants import Grant, Option, Placement, Verdict
from debugrun.core.know.facts import ContainerFacts
from debugrun.engine.engine import Engine, connect
from debugrun.engine.sidecar import Sidecar
from debugrun.errors import UsageError
from tests.live.victims import Victim, interrupting, released, victims

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def connection(toolbox: str) -> Iterator[Engine]:
    assert toolbox
    with connect() as engine:
        yield engine


@pytest.fixture(scope="module")
def victim(engine: docker.APIClient, toolbox: str) -> Iterator[Victim]:
    assert toolbox
    with victims(engine) as made:
        yield made


@contextlib.contextmanager
def sidecar(
    connection: Engine, victim: Victim, image: str, argv: tuple[str, ...], *, breakpoints: bool = False
) -> Iterator[Place]:
    option = Option(
        placement=Placement.SIDECAR, grant=Grant.NONE, user="1000:1000", verdict=Verdict.OPEN, gates=(), image=image
    )
    facts = ContainerFacts(id=victim.id, name=victim.name, image=victim.image, image_id="", state="running")
    with place(connection, option, facts, session="test", tool="sh", breakpoints=breakpoints, only=argv) as spot:
        yield spot


def started(
    connection: Engine, victim: Victim, image: str, argv: tuple[str, ...], **more: object
) -> tuple[Result, bytes, bytes]:
    """A sidecar that starts with these words: their result, standard output and standard error."""
    said = more.pop("said", None)
    invocation = Invocation(argv=argv, tool="sh", input=False, **more)  # type: ignore[arg-type]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with sidecar(connection, victim, image, argv) as spot:
            if isinstance(said, list):
                said.append(out.fileno())
            result = attach.run(spot, invocation, stdout=out.fileno(), stderr=err.fileno())
        out.seek(0)
        err.seek(0)
        return result, out.read(), err.read()


def test_each_stream_passes_unchanged(connection: Engine, victim: Victim, toolbox: str) -> None:
    every = "for n in 1 2 3 4 5 6 7 8; do head -c 100000 /dev/zero | tr '\\0' $n; done"
    result, out, err = started(
        connection, victim, toolbox, ("sh", "-c", f"{every}; ({every}) >&2; printf debugrun- >&2")
    )
    whole = b"".join(b"%d" % n * 100000 for n in range(1, 9))
    assert (result.status, out, err) == (0, whole, whole + b"debugrun-")


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("exit 126", 126),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -SEGV $$", 139),
        ("kill -KILL $$", 137),
        ("exec nosuch", 127),
    ],
)
def test_its_status_is_the_tool_s(connection: Engine, victim: Victim, toolbox: str, script: str, status: int) -> None:
    assert started(connection, victim, toolbox, ("sh", "-c", script))[0].status == status


def test_a_program_that_is_not_there(connection: Engine, victim: Victim, toolbox: str) -> None:
    result, _, err = started(connection, victim, toolbox, ("nosuch",))
    assert result.status == 127
    assert b"nosuch" in err


def test_its_arguments_arrive_as_given(connection: Engine, victim: Victim, toolbox: str) -> None:
    words = ("-n", "a b", "'\"$(id)`\\", "line\nline", "", "ümlaut", "--", "*")
    show = ("sh", "-c", 'for word; do printf "%s\\0" "$word"; done', "sh", *words)
    assert started(connection, victim, toolbox, show)[1].decode().split("\0")[:-1] == list(words)
    with pytest.raises(UsageError, match="not UTF-8"):
        started(connection, victim, toolbox, ("sh", os.fsdecode(b"\xff")))
    released(victim)


def test_no_signal_is_blocked_or_ignored_and_no_input_comes(connection: Engine, victim: Victim, toolbox: str) -> None:
    """As the kernel gives them to a container's first process: a shell's background job would ignore INT and QUIT.

    Signal 32 is glibc's own: an engine that was started with it ignored cannot but hand that on.
    """
    script = "grep -E '^Sig(Blk|Ign)' /proc/self/status; cat; ls /proc/self/fd | wc -l"
    _, out, _ = started(connection, victim, toolbox, ("sh", "-c", script))
    blocked, ignored, files = (int(word, 16) for word in out.split() if not word.startswith(b"Sig"))
    assert (blocked, ignored & ((1 << 31) - 1), files) == (0, 0, 4)  # three files, and the directory


def test_a_duration_ends_with_an_interrupt(connection: Engine, victim: Victim, toolbox: str) -> None:
    script = "trap 'echo interrupted; exit 3' INT; while :; do sleep .1; done"
    result, out, _ = started(connection, victim, toolbox, ("sh", "-c", script), duration=1)
    assert (result.status, out) == (3, b"interrupted\n")


def test_ctrl_c_reaches_it_and_twice_ends_it(connection: Engine, victim: Victim, toolbox: str) -> None:
    script = "trap 'echo once' INT; echo up; while :; do sleep .1; done"
    with interrupting() as said:
        result, out, _ = started(connection, victim, toolbox, ("sh", "-c", script), said=said)
    assert (result.status, out) == (143, b"up\nonce\n")


def test_what_it_orphans_does_not_stay_with_the_target(connection: Engine, victim: Victim, toolbox: str) -> None:
    script = "busybox usleep 100000 </dev/null >/dev/null 2>&1 & exit 3"
    assert started(connection, victim, toolbox, ("sh", "-c", script))[0].status == 3
    released(victim)


@pytest.mark.parametrize("breakpoints", [False, True])
def test_one_that_will_not_end_is_killed(
    connection: Engine, victim: Victim, toolbox: str, monkeypatch: pytest.MonkeyPatch, *, breakpoints: bool
) -> None:
    """By its lease, whose own end is not the container's; also one with breakpoints, where it traces nothing."""
    monkeypatch.setattr("debugrun.attach.lease.PATIENCE", 2)
    deaf = ("sh", "-c", "trap '' INT TERM HUP; while :; do sleep .1; done")
    with sidecar(connection, victim, toolbox, deaf, breakpoints=breakpoints) as spot:
        time.sleep(0.5)
        assert spot.running is not None
        spot.running.ended = True  # we do not wait for it, like a client that was killed
    assert released(victim) > 1.0


def test_no_debugger_is_left_by_output_that_has_no_room(victim: Victim) -> None:
    words = [sys.executable, "-m", "debugrun", "gdb", victim.name, "--", "-batch", "-ex", "bt"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 125
    assert done.stderr.splitlines()[-1] == "debugrun: could not write the output: No space left on device"
    released(victim)


@pytest.mark.parametrize("at", ["create", "start"])
def test_an_interrupt_before_the_engine_has_answered(
    connection: Engine, victim: Victim, toolbox: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it made of the request is undone: a container is removed, a tool let go by its lease."""
    create, start = connection.create_sidecar, connection.start

    def interrupted_create(wanted: Sidecar) -> str:
        threading.Timer(0.2, create, [wanted]).start()
        raise KeyboardInterrupt

    def interrupted_start(container: str) -> None:
        start(container)
        time.sleep(0.2)  # the tool runs
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "create_sidecar", interrupted_create if at == "create" else create)
    monkeypatch.setattr(connection, "start", interrupted_start if at == "start" else start)
    with pytest.raises(KeyboardInterrupt), sidecar(connection, victim, toolbox, ("sleep", "60")):
        pass
    time.sleep(0.5)
    released(victim)


@pytest.mark.parametrize("tracer", ["tool", "child"])
def test_one_that_traces_is_not_killed_while_it_may_have_breakpoints(
    connection: Engine, victim: Victim, toolbox: str, tracer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("debugrun.attach.lease.PATIENCE", 1)
    strace = "strace -I never -o /dev/null -f -p 1"
    script = f"trap '' INT TERM HUP; {'exec ' * (tracer == 'tool')}{strace}; exit 3"
    with sidecar(connection, victim, toolbox, ("sh", "-c", script), breakpoints=True) as spot:
        deadline = time.monotonic() + 10
        while not victim.tracer() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert spot.running is not None
        spot.running.ended = True
    time.sleep(4)
    held = victim.tracer()
    assert held != 0
    os.kill(held, signal.SIGKILL)
    released(victim)
