"""One turn of the relay between our own descriptors and a running tool: what came, from where. Decides nothing."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from types import FrameType

from debugrun.attach.lease import Lease
from debugrun.attach.place import Running
from debugrun.engine.stream import CHUNK
from debugrun.values import dataclass

BACKLOG = 4 * CHUNK  # bytes of input that wait for the tool before we stop reading more
GRACE = 2.0  # seconds for the last output after the lease's end: Docker does not always close an exec's connection
RETRY = 0.02  # seconds between two tries to send over a connection that can't be polled for writing


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What one turn brought.

    `typed` is b"" at the end of input. `unread`: nobody reads our output any more. `leaving`: the lease is ending the
    tool, said once.
    """

    output: tuple[tuple[int, bytes], ...] = ()
    ended: bool = False
    typed: bytes | None = None
    signals: tuple[int, ...] = ()
    unread: bool = False
    leaving: bool = False


class Wakeups:
    """Signals as bytes of a pipe, so that poll returns for them."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def taken(self) -> tuple[int, ...]:
        """The signals since the last time."""
        try:
            return tuple(os.read(self.fd, 64))
        except BlockingIOError:
            return ()


@contextlib.contextmanager
def wakeups(*numbers: int) -> Iterator[Wakeups]:
    """Catch these signals; outside the main thread, where Python lets nobody, none."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in numbers} if main else {}
    previous = signal.set_wakeup_fd(write, warn_on_full_buffer=False) if main else -1
    try:
        for number in before:
            signal.signal(number, _noted)
        yield Wakeups(read)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if main:
            signal.set_wakeup_fd(previous)
        os.close(read)
        os.close(write)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The wake-up byte says it all."""


class Relay:
    """Polls the tool's stream, our input and the wake-ups; keeps what the tool has not taken yet."""

    def __init__(
        self, running: Running, woken: Wakeups, *, stdin: int, stdout: int, lease: Lease | None = None
    ) -> None:
        self.running = running
        self._lease = lease
        self._told = False
        self._over_at: float | None = None
        self._woken = woken
        self._stdin: int | None = stdin
        self._stdout = stdout
        self._backlog = b""
        self._closing = False

    def send(self, data: bytes) -> None:
        """Queue input for the tool. Raises LostError."""
        self._backlog += data
        self._flush()

    def close_input(self) -> None:
        """End the tool's input, after what is queued."""
        self._stdin = None
        self._closing = True
        self._flush()

    def _flush(self) -> None:
        if self._backlog:
            self._backlog = self._backlog[self.running.stream.send(self._backlog) :]
        if self._closing and not self._backlog:
            self._closing = False
            self.running.close_input()

    def turn(self, timeout: float | None) -> Turn:
        """Wait for anything, at most `timeout` seconds. Raises LostError."""
        if self._over_at is not None:
            left = self._over_at + GRACE - time.monotonic()
            timeout = left if timeout is None else min(timeout, left)
        ready = self._poll(timeout)
        self._flush()
        output: tuple[tuple[int, bytes], ...] = ()
        ended = False
        if self.running.stream.read_fd in ready or self.running.stream.ready or self.running.over:
            parts = self.running.receive()
            ended = parts is None
            output = tuple(parts or ())
        elif self._over_at is not None and time.monotonic() >= self._over_at + GRACE:
            ended = self.running.ended = True
        typed = None
        if self._stdin is not None and self._stdin in ready:
            typed = self._read(self._stdin)
        return Turn(
            output=output,
            ended=ended,
            typed=typed,
            signals=self._woken.taken() if self._woken.fd in ready else (),
            leaving=self._leaving(ready),
            unread=bool(ready.get(self._stdout, 0) & (select.POLLERR | select.POLLHUP | select.POLLNVAL)),
        )

    def _leaving(self, ready: Mapping[int, int]) -> bool:
        if self._lease is None or self._lease.stream.read_fd not in ready:
            return False
        leaving = self._lease.ending and not self._told
        self._told = self._told or leaving
        if self._lease.over:
            self._over_at = time.monotonic()
            self._lease = None
        return leaving

    def _poll(self, timeout: float | None) -> dict[int, int]:
        stream = self.running.stream
        poller = select.poll()
        poller.register(self._stdout, 0)
        poller.register(self._woken.fd, select.POLLIN)
        if self._stdin is not None and len(self._backlog) < BACKLOG:
            poller.register(self._stdin, select.POLLIN)
        if self._lease is not None:
            poller.register(self._lease.stream.read_fd, select.POLLIN)
        writing = select.POLLOUT if self._backlog else 0
        if stream.write_fd == stream.read_fd:
            poller.register(stream.read_fd, select.POLLIN | writing)
        else:
            poller.register(stream.read_fd, select.POLLIN)
            if writing and stream.write_fd is not None:
                poller.register(stream.write_fd, writing)
            elif writing:
                timeout = RETRY if timeout is None else min(timeout, RETRY)
        if stream.ready or self.running.over:
            timeout = 0
        return dict(poller.poll(None if timeout is None else max(0.0, timeout) * 1000))

    @staticmethod
    def _read(fd: int) -> bytes | None:
        try:
            return os.read(fd, CHUNK)
        except BlockingIOError:
            return None
        except OSError:  # closed, or a terminal that is not ours to read (we are in the background)
            return b""
