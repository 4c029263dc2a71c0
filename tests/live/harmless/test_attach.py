"""The relay on a real engine: bytes, statuses, signals, the terminal, and every end that is not the tool's own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pexpect
import pytest

from debugrun.attach import apply, attach
from debugrun.attach.apply import place
from debugrun.attach.invocation import Invocation, Result
from debugrun.attach.place import Place
from debugrun.core.grants import Grant, Layer, Option, Placement, Verdict
from debugrun.core.know.facts import ContainerFacts
from debugrun.core.know.tool_file import Failure
from debugrun.engine.engine import Engine, connect
from debugrun.errors import DebugrunError, UsageError
from tests.live.victims import Victim, interrupting, released, spares_execs, victims

pytestmark = pytest.mark.live

EVERY_BYTE = bytes(range(256)) * 4000  # a megabyte


@pytest.fixture(scope="module")
def connection(toolbox: str) -> Iterator[Engine]:
    assert toolbox
    with connect() as engine:
        yield engine


@pytest.fixture
def victim(engine: docker.APIClient, toolbox: str) -> Iterator[Victim]:
    assert toolbox
    with victims(engine) as made:
        yield made


@pytest.fixture(scope="module", params=[Placement.SIDECAR, Placement.HERE], ids=lambda each: each.value)
def spot(request: pytest.FixtureRequest, engine: docker.APIClient, connection: Engine, toolbox: str) -> Iterator[Place]:
    """A place to run shell commands in: a sidecar, and an exec in a target that has a shell."""
    image = "debugrun-test/app" if request.param is Placement.SIDECAR else "debugrun-test/full"
    with victims(engine, image=image) as target, made(connection, target, request.param, toolbox) as place_:
        yield place_


@contextlib.contextmanager
def made(connection: Engine, target: Victim, placement: Placement, image: str) -> Iterator[Place]:
    option = Option(
        placement=placement, grant=Grant.NONE, user="1000:1000", verdict=Verdict.OPEN, gates=(), image=image
    )
    facts = ContainerFacts(  # noqa: S604 - a path, not a call
        id=target.id, name=target.name, image=target.image, image_id="", state="running", shell="/bin/sh"
    )
    with place(connection, option, facts, session="test", tool="sh", breakpoints=False) as place_:
        yield place_


def relayed(spot: Place, script: str, stdin: bytes = b"", **more: object) -> tuple[Result, bytes, bytes]:
    """A shell script through the relay: its result, what came on standard output, what on standard error."""
    argv = ("sh", "-c", script)
    pipes = [os.pipe() for _ in range(3)]
    got: dict[int, bytes] = {}

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(pipes[0][1], "wb") as file:
            file.write(stdin)

    def read(number: int) -> None:
        with os.fdopen(pipes[number][0], "rb") as file:
            got[number] = file.read()

    threads = [threading.Thread(target=feed), *(threading.Thread(target=read, args=(n,)) for n in (1, 2))]
    for thread in threads:
        thread.start()
    try:
        invocation = Invocation(argv=argv, tool="sh", **more)  # type: ignore[arg-type]
        result = attach.run(spot, invocation, stdin=pipes[0][0], stdout=pipes[1][1], stderr=pipes[2][1])
    finally:
        for fd in (pipes[0][0], pipes[1][1], pipes[2][1]):
            os.close(fd)
        for thread in threads:
            thread.join(10)
    return result, got[1], got[2]


def test_bytes_pass_unchanged_both_ways(spot: Place) -> None:
    result, out, err = relayed(spot, "cat", EVERY_BYTE)
    assert out == EVERY_BYTE
    assert (result.status, err, result.output_seen) == (0, b"", True)


def test_output_and_errors_stay_apart(spot: Place) -> None:
    result, out, err = relayed(spot, "printf out; printf err >&2; exit 7")
    assert (result.status, out, err) == (7, b"out", b"err")


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -SEGV $$", 139), ("exec nosuch", 127)],
)
def test_exit_statuses_are_the_tool_s(spot: Place, script: str, status: int) -> None:
    assert relayed(spot, script)[0].status == status


def test_arguments_arrive_as_given(connection: Engine, spot: Place) -> None:
    words = ["-n", "a b", "'\"$(id)`\\", "line\nline", "", "ümlaut", "--", "*"]
    running = spot.start(["sh", "-c", 'for word; do printf "%s\\0" "$word"; done', "sh", *words], tty=False)
    out = b""
    while (parts := running.receive()) is not None:
        out += b"".join(data for _, data in parts)
        running.stream.wait(1)
    assert out.decode().split("\0")[:-1] == words
    with pytest.raises(UsageError, match="not UTF-8"):
        connection.exec_create(spot.container, ["x", os.fsdecode(b"\xff")], user="0")


REFUSED = Failure(text="Operation not permitted", layer=Layer.PTRACE)


@pytest.mark.parametrize("script", ["echo Operation not permitted >&2; sleep 60", "printf 'Operation not '; sleep .1; echo permitted; sleep 60"])  # fmt: skip  # noqa: E501
def test_a_refused_try_is_not_seen(spot: Place, script: str) -> None:
    began = time.monotonic()
    result, out, err = relayed(spot, script, failures=(REFUSED,), hold_output=True)
    assert (result.refuted, out, err, result.output_seen) == (REFUSED, b"", b"", False)
    assert time.monotonic() - began < 8


def test_a_try_that_stands_is_seen_soon(spot: Place) -> None:
    result, out, _ = relayed(spot, "echo first; sleep 2; echo Operation not permitted", failures=(REFUSED,), hold_output=True)  # fmt: skip  # noqa: E501
    assert out == b"first\nOperation not permitted\n"
    assert (result.refuted, result.output_seen) == (REFUSED, True)


def test_a_duration_ends_with_an_interrupt(spot: Place) -> None:
    result, out, _ = relayed(spot, "trap 'echo interrupted; exit 3' INT; while :; do sleep .1; done", duration=1)
    assert (result.status, out) == (3, b"interrupted\n")


def test_a_reader_that_goes_ends_the_tool(spot: Place) -> None:
    read, write = os.pipe()
    os.close(read)
    invocation = Invocation(argv=("sh", "-c", "exec sleep 60"), tool="sh")
    with Path(os.devnull).open() as nothing:
        result = attach.run(spot, invocation, stdin=nothing.fileno(), stdout=write)
    os.close(write)
    assert result.left
    assert result.status == 143


def test_ctrl_c_reaches_the_tool_and_twice_ends_it(spot: Place) -> None:
    script = "trap 'echo once' INT; echo up; while :; do sleep .1; done"
    with tempfile.TemporaryFile() as out_file, interrupting() as said, Path(os.devnull).open() as nothing:
        said.append(out_file.fileno())
        invocation = Invocation(argv=("sh", "-c", script), tool="sh")
        result = attach.run(spot, invocation, stdin=nothing.fileno(), stdout=out_file.fileno())
        out_file.seek(0)
        out = out_file.read()
    assert (result.status, out) == (143, b"up\nonce\n")


def test_nothing_is_written_into_a_target(engine: docker.APIClient, connection: Engine, toolbox: str) -> None:
    with victims(engine, image="debugrun-test/full") as target:
        before = engine.diff(target.id)  # Podman itself writes to /etc
        with made(connection, target, Placement.HERE, toolbox) as spot:
            assert relayed(spot, "true")[0].status == 0
        assert engine.diff(target.id) == before


def test_what_a_tool_orphans_does_not_stay_with_the_target(connection: Engine, victim: Victim, toolbox: str) -> None:
    """As gdb and gdbserver do with a helper; the victim's PID 1 reaps nobody."""
    with made(connection, victim, Placement.SIDECAR, toolbox) as spot:
        assert relayed(spot, "busybox usleep 100000 </dev/null >/dev/null 2>&1 & exit 3")[0].status == 3
    released(victim)


def test_a_place_without_a_shell_has_no_lease(engine: docker.APIClient, connection: Engine) -> None:
    option = Option(placement=Placement.HERE, grant=Grant.NONE, user="0:0", verdict=Verdict.OPEN, gates=())
    with victims(engine) as target:
        facts = ContainerFacts(id=target.id, name=target.name, image="", image_id="", state="running")
        with place(connection, option, facts, session="test", tool="x", breakpoints=False) as spot:
            assert not spot.leased


def test_a_sidecar_that_the_engine_refuses_leaves_nothing(connection: Engine, victim: Victim, toolbox: str) -> None:
    option = Option(
        placement=Placement.SIDECAR, grant=Grant.CAPS, user="0:0", verdict=Verdict.OPEN, gates=(), image=toolbox,
        apparmor="no-such-profile", cap_add=("SYS_PTRACE",), seccomp="custom",
    )  # fmt: skip
    facts = ContainerFacts(id=victim.id, name=victim.name, image="", image_id="", state="running")
    with (
        pytest.raises(DebugrunError),
        place(connection, option, facts, session="test", tool="x", breakpoints=False, profile_json="{"),
    ):
        pass
    assert victim.sidecars() == []


def test_an_interrupt_between_create_and_start_leaves_nothing(
    connection: Engine, victim: Victim, toolbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), made(connection, victim, Placement.SIDECAR, toolbox):
        pass
    assert victim.sidecars() == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_a_place_as_exceptions(
    connection: Engine, victim: Victim, toolbox: str, number: signal.Signals, status: int
) -> None:
    with pytest.raises(apply.Ended) as caught, made(connection, victim, Placement.SIDECAR, toolbox):
        signal.raise_signal(number)
    assert caught.value.code == status
    released(victim)


Spawn = Callable[..., "pexpect.spawn[bytes]"]


@pytest.fixture
def gdb(victim: Victim) -> Iterator[Spawn]:
    children: list[pexpect.spawn[bytes]] = []

    def spawn(*args: str) -> pexpect.spawn[bytes]:
        words = ["-m", "debugrun", "gdb", victim.name, *args]
        child: pexpect.spawn[bytes] = pexpect.spawn(sys.executable, words, timeout=30, dimensions=(31, 97))
        children.append(child)
        child.expect_exact(b"(gdb) ")
        return child

    yield spawn
    for child in children:
        child.close(force=True)


def before(child: pexpect.spawn[bytes]) -> bytes:
    assert isinstance(child.before, bytes)
    return child.before


def ask(child: pexpect.spawn[bytes], line: str, pattern: bytes) -> bytes:
    """What the group of `pattern` is in gdb's answer."""
    child.sendline(line)
    child.expect_exact(b"(gdb) ")
    found = re.search(pattern, before(child))
    assert found, before(child)
    return found[1]


def test_the_window_size_is_gdb_s_from_the_start_and_follows(gdb: Spawn) -> None:
    child = gdb()
    assert ask(child, "show width", rb"line is (\d+)") == b"97"
    assert ask(child, "show height", rb"page is (\d+)") == b"31"
    child.setwinsize(44, 133)
    time.sleep(0.5)
    child.expect_exact(b"(gdb) ")
    assert ask(child, "show width", rb"line is (\d+)") == b"133"


def test_ours_is_not_seen_and_gdb_s_is(gdb: Spawn) -> None:
    child = gdb()
    assert b"attach 1" not in before(child)
    assert b"(gdb)" not in before(child)
    assert b"LWP" in before(child)
    child.sendline("quit")
    child.expect_exact(b"(y or n)")
    child.sendline("y")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_ctrl_c_stops_the_target(gdb: Spawn) -> None:
    child = gdb()
    for _ in range(3):
        child.sendline("continue")
        child.expect_exact(b"Continuing.")
        time.sleep(0.3)
        child.sendintr()
        child.expect_exact(b"SIGINT")
        child.expect_exact(b"(gdb) ")


@pytest.mark.parametrize("end", ["keys", "TERM", "HUP", "sidecar", "target"])
def test_the_terminal_is_as_before(engine: docker.APIClient, gdb: Spawn, victim: Victim, end: str) -> None:
    goes_on = end == "sidecar" and spares_execs(engine)
    child = gdb("--detach-keys", "ctrl-p,ctrl-q")
    raw = termios.tcgetattr(child.child_fd)
    child.sendline("continue")
    child.expect_exact(b"Continuing.")
    if end == "keys":
        child.send(b"\x10\x11")
    elif end == "sidecar":
        engine.kill(victim.sidecars()[0])
        if goes_on:  # nobody can see that anything has ended, and gdb works
            child.sendintr()
            child.expect_exact(b"(gdb) ")
            child.sendline("quit")
            child.expect_exact(b"(y or n)")
            child.sendline("y")
    elif end == "target":
        engine.stop(victim.id, timeout=0)
    else:
        child.kill(getattr(signal, f"SIG{end}"))
    child.expect(pexpect.EOF, timeout=20)
    assert not raw[3] & termios.ICANON
    assert termios.tcgetattr(child.child_fd)[3] & termios.ICANON
    assert goes_on or b"\x1b[?2004l" in before(child)
    child.close()
    expected = {"keys": 0, "TERM": 143, "HUP": 129, "sidecar": 0 if goes_on else 125, "target": 125}
    assert child.exitstatus == expected[end]
    assert b"Traceback" not in before(child)
    if end == "target":
        assert b"ended while gdb was at it" in before(child)
        assert victim.sidecars() == []
    else:
        released(victim, reaped=end != "sidecar")


def test_a_killed_sidecar_takes_a_tool_along_that_runs_in_it_by_exec(engine: docker.APIClient, victim: Victim) -> None:
    """Podman kills its main process only."""
    if spares_execs(engine):
        pytest.skip("the engine does not see that the sidecar was killed: one with cgroups runs it")
    words = [sys.executable, "-m", "debugrun", "strace", victim.name]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        victim.await_work(process, traced=True)
        engine.kill(victim.sidecars()[0])
        _, told = process.communicate(timeout=30)
    assert process.returncode == 125
    assert b"debugrun: the sidecar was killed while strace was at" in told
    released(victim, reaped=False)


def test_batch_output_is_the_tool_s_byte_for_byte(victim: Victim) -> None:
    command = ["-batch", "-ex", r'printf "%c%c%c\n", 255, 0x1b, 13']
    words = [sys.executable, "-m", "debugrun", "gdb", victim.name, "--", *command]
    ours = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert b"\xff\x1b\r\n[Inferior 1" in ours.stdout
    released(victim)
