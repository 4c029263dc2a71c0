"""The parts of the relay that need no engine: framing, searching, keys, streams, and what an engine's no means."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.attach import lease, terminal
from debugrun.attach.attach import Search
from debugrun.attach.relay import wakeups
from debugrun.core.grants import Layer
from debugrun.core.know.tool_file import Failure
from debugrun.core.say import refusals
from debugrun.engine.stream import Frames, LostError, Stream
from debugrun.errors import EngineError, TargetError, UsageError


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40))), st.lists(st.integers(0, 30)))
def test_frames_come_apart_wherever_the_bytes_are_cut(frames: list[tuple[int, bytes]], sizes: list[int]) -> None:
    data = b"".join(bytes([stream, 0, 0, 0]) + len(part).to_bytes(4) + part for stream, part in frames)
    taken = Frames()
    assert [frame for chunk in cut(data, sizes) for frame in taken.feed(chunk)] == frames


REFUSED = Failure(text="ptrace: Operation not permitted.", layer=Layer.PTRACE)
SHORT = Failure(text="Cannot", layer=Layer.DAC)


@given(st.binary(max_size=50), st.binary(max_size=50), st.lists(st.integers(0, 12)))
def test_a_failure_text_is_found_across_any_border(before: bytes, after: bytes, sizes: list[int]) -> None:
    search = Search([SHORT, REFUSED])
    for chunk in cut(before + REFUSED.text.encode() + after, sizes):
        search.feed(2, chunk)
    assert search.found in {REFUSED, SHORT}
    assert search.found is REFUSED or b"Cannot" in before + after


def test_a_failure_text_is_not_put_together_of_two_streams() -> None:
    search = Search([REFUSED])
    search.feed(1, b"ptrace: Operation ")
    search.feed(2, b"not permitted.")
    assert search.found is None


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("q", b"q"), ("ctrl-@,a", b"\x00a"), ("ctrl-\\", b"\x1c"), ("ctrl-_", b"\x1f")],
)
def test_detach_keys_are_written_as_docker_writes_them(text: str, keys: bytes) -> None:
    assert terminal.parse_keys(text) == keys


@pytest.mark.parametrize("text", ["", "ctrl-", "ctrl-1", "control-p", "ctrl-p,,q", "ä"])
def test_a_key_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="detach-keys"):
        terminal.parse_keys(text)


def test_detach_keys_work_across_reads_and_hold_nothing_back() -> None:
    keys = terminal.Keys(b"\x10\x11")
    assert keys.pass_on(b"up\x10") == b"up\x10"
    assert keys.pass_on(b"x") == b"x"
    assert keys.pass_on(b"\x10") == b"\x10"
    with pytest.raises(terminal.LeftError):
        keys.pass_on(b"\x11")


def test_the_terminal_is_as_before_after_an_exception() -> None:
    leader, follower = pty.openpty()
    before = termios.tcgetattr(follower)

    def fail() -> None:
        with terminal.raw(follower):
            assert termios.tcgetattr(follower) != before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert termios.tcgetattr(follower) == before
    os.close(leader)
    os.close(follower)


def test_a_signal_wakes_the_relay_and_its_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGWINCH)
    with wakeups(signal.SIGWINCH) as woken:
        os.kill(os.getpid(), signal.SIGWINCH)
        assert woken.taken() == (signal.SIGWINCH,)
        assert woken.taken() == ()
    assert signal.getsignal(signal.SIGWINCH) == before


@pytest.fixture
def pair() -> Iterator[tuple[Stream, socket.socket]]:
    ours, theirs = socket.socketpair()
    stream = Stream(ours)
    yield stream, theirs
    stream.close()
    theirs.close()


def test_a_stream_never_blocks(pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    assert stream.receive() is None
    sent = 0
    while more := stream.send(bytes(65536)):
        sent += more
    assert sent > 0
    theirs.sendall(b"answer")
    assert stream.wait(1)
    assert stream.receive() == b"answer"


def test_a_half_closed_stream_still_receives(pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    stream.send_all(b"last")
    stream.close_write()
    assert theirs.recv(10) == b"last"
    assert theirs.recv(10) == b""
    theirs.sendall(b"answer")
    theirs.close()
    assert stream.wait(1)
    assert stream.receive() == b"answer"
    assert stream.receive() == b""


def test_a_broken_stream_says_so(pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    theirs.close()
    with pytest.raises(LostError):
        stream.send_all(b"x")


class Upgraded:
    """As docker-py hands out a connection: its response has read more than the head of the answer."""

    def __init__(self, connection: socket.socket) -> None:
        self._sock = connection
        self.reader = connection.makefile("rb")
        assert self.reader.readline() == b"HTTP/1.1 101 UPGRADED\r\n"
        self._response = SimpleNamespace(raw=SimpleNamespace(_fp=SimpleNamespace(fp=self.reader)))

    def close(self) -> None:
        self.reader.close()


def test_bytes_that_came_with_the_head_of_the_answer_are_not_lost() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 101 UPGRADED\r\nfirst output")
    time.sleep(0.05)
    stream = Stream(Upgraded(ours))
    assert stream.ready
    assert stream.receive() == b"first output"
    theirs.sendall(b" and more")
    assert stream.receive() == b" and more"
    stream.close()
    theirs.close()


SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def start_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


@contextlib.contextmanager
def leased(shell: str, *, silence: int = 20) -> Iterator[subprocess.Popen[bytes]]:
    script = lease.command(breakpoints=True, shell=shell)
    words = [*script[:-6], str(silence), *script[-5:]]
    if shell == "busybox":
        words.insert(1, "sh")
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process


@pytest.mark.parametrize("shell", SHELLS)
def test_the_lease_ends_its_tool_with_its_client(shell: str, sleeper: subprocess.Popen[bytes]) -> None:
    with leased(shell) as script:
        assert script.stdin is not None
        script.stdin.write(f"tool {sleeper.pid} {start_of(sleeper.pid)}\n".encode())
        time.sleep(0.1)
        assert sleeper.poll() is None
        script.stdin.close()
        assert sleeper.wait(2) == -signal.SIGTERM
        assert script.wait(3) == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_the_lease_never_signals_a_process_that_got_the_tool_s_pid(
    shell: str, sleeper: subprocess.Popen[bytes]
) -> None:
    with leased(shell) as script:
        assert script.stdin is not None
        script.stdin.write(f"tool {sleeper.pid} {int(start_of(sleeper.pid)) + 1}\nint\nstop\n".encode())
        script.stdin.close()
        assert script.wait(3) == 0
    assert sleeper.poll() is None


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "dash"])
def test_the_lease_ends_its_tool_when_its_client_sleeps(shell: str, sleeper: subprocess.Popen[bytes]) -> None:
    with leased(shell, silence=1) as script:
        assert script.stdin is not None
        script.stdin.write(f"tool {sleeper.pid} {start_of(sleeper.pid)}\n".encode())
        assert sleeper.wait(3) == -signal.SIGTERM
        assert script.wait(3) == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_a_stopped_lease_ends_its_tool_and_waits_for_it(shell: str, sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.send_signal(signal.SIGSTOP)
    with leased(shell) as script:
        assert script.stdin is not None
        assert script.stdout is not None
        script.stdin.write(f"tool {sleeper.pid} {start_of(sleeper.pid)}\n".encode())
        time.sleep(0.2)
        script.terminate()
        assert sleeper.wait(2) == -signal.SIGTERM
        assert script.stdout.readline() == b"stopped\n"
        assert script.wait(3) == 0


def test_a_lease_beats_while_the_main_thread_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.05)
    ours, theirs = socket.socketpair()
    held = lease.Lease(Stream(ours))
    time.sleep(0.3)
    assert set(theirs.recv(100)) == set(b"\n")
    held.close()
    theirs.close()


@pytest.mark.parametrize(
    ("status", "text", "kind", "code"),
    [
        (404, "No such container: nosuch", TargetError, "no-such-container"),
        (404, "Multiple IDs found with provided prefix: 7", TargetError, "ambiguous-container"),
        (404, "No such image: tb:9", EngineError, "no-such-image"),
        (409, "Container abc is not running", TargetError, "container-not-running"),
        (409, "Container abc is paused, unpause the container before exec", TargetError, "container-paused"),
        (409, "Container abc is restarting, wait until the container is running", TargetError, "container-restarting"),
        (400, 'invalid CapAdd: unknown capability: "CAP_PERFMON"', EngineError, "unknown-capability"),
        (500, '"CAP_BOGUS": unknown capability', EngineError, "unknown-capability"),
        (500, 'capability "CAP_SYS_PTRACE" cannot be dropped and added', EngineError, "caps-contradicted"),
        (500, "adding all caps and removing all caps not allowed", EngineError, "caps-contradicted"),
        (400, "OCI runtime create failed: unable to apply caps: operation not permitted", EngineError, "caps-refused"),
        (500, "Decoding seccomp profile failed: invalid character 'b'", EngineError, "seccomp-refused"),
        (500, "opening seccomp profile failed: open {: no such file or directory", EngineError, "seccomp-refused"),
        (500, "write /x: no space left on device", EngineError, "disk-full"),
        (400, "Client sent an HTTP request to an HTTPS server.", EngineError, "engine-tls"),
        (500, "cannot join PID namespace of a non running container", TargetError, "container-not-running"),
        (409, 'Conflict. The container name "/x" is already in use', EngineError, "engine-conflict"),
        (500, "something new", EngineError, "engine-error"),
    ],
)
def test_what_an_engine_s_no_means(status: int, text: str, kind: type[Exception], code: str) -> None:
    error = refusals.refused(status, text, "the engine", "do it with", "web")
    assert type(error) is kind
    assert error.code == code
    assert error.hint
    assert "\n" not in error.message
