"""Joins a running tool to our own input and output until it ends; its first output is the proof of the option.

Without a terminal everything passes byte for byte: standard output to standard output, standard error to standard
error. With one, `terminal` does it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from debugrun import timing
from debugrun.attach.ending import ending, lost, waiting, write
from debugrun.attach.invocation import Invocation, Result
from debugrun.attach.place import Place
from debugrun.attach.relay import Relay, Turn, wakeups
from debugrun.attach.remote_protocol import Files, Requests
from debugrun.engine.stream import LostError

HOLD_BYTES = 64 * 1024  # output that is held back at most while an option is on trial
HOLD_SECONDS = 1.5  # and for how long after its first byte
TWICE = 2.0  # seconds between two Ctrl-C that mean it
INTERRUPTED = 128 + signal.SIGINT


class Meaning(Protocol):
    """What a text in a tool's output stands for."""

    @property
    def text(self) -> str:
        """The text."""


Found = TypeVar("Found", bound=Meaning)


class Search(Generic[Found]):
    """Finds texts in a stream, also across the borders of its chunks."""

    def __init__(self, meanings: Sequence[Found]) -> None:
        self._texts = [(each.text.encode(), each) for each in meanings]
        self._keep = max((len(text) for text, _ in self._texts), default=1) - 1
        self._tail: dict[int, bytes] = {}
        self.found: Found | None = None

    def feed(self, source: int, data: bytes) -> None:
        """Look at the next bytes of one stream; the first text that was ever found stays."""
        if self.found is not None or not self._texts:
            return
        window = self._tail.get(source, b"") + data
        hits = [(window.find(text), meaning) for text, meaning in self._texts if text in window]
        self.found = min(hits, key=lambda hit: hit[0])[1] if hits else None
        self._tail[source] = window[-self._keep :] if self._keep else b""


def run(place: Place, invocation: Invocation, *, stdin: int = 0, stdout: int = 1, stderr: int = 2) -> Result:
    """Run a tool to its end, or to the user's leaving it.

    Ctrl-C goes to the tool; a second one within 2 s makes it let go of the target. Raises DebugrunError when the
    tool's end was not its own: the target stopped, the sidecar was stopped, the engine went away.
    """
    with timing.span(f"the tool: {invocation.argv[0]}"):
        return _run(place, invocation, stdin=stdin, stdout=stdout, stderr=stderr)


def _run(place: Place, invocation: Invocation, *, stdin: int, stdout: int, stderr: int) -> Result:
    if invocation.tty:
        from debugrun.attach import terminal  # noqa: PLC0415 - pexpect: only where there is a terminal

        return terminal.run(place, invocation, stdin=stdin, stdout=stdout, stderr=stderr)
    with wakeups(signal.SIGINT) as woken:
        running = place.first or place.start(invocation.argv, tty=False)
        lease = None if place.first else place.lease  # whose words come with the tool's output then
        relay = Relay(running, woken, stdin=stdin, stdout=stdout, lease=lease)
        if not invocation.input:
            relay.close_input()
        return _Batch(place, invocation, relay, stdout=stdout, stderr=stderr).run()


class _Batch:
    """The relay without a terminal."""

    def __init__(self, place: Place, invocation: Invocation, relay: Relay, *, stdout: int, stderr: int) -> None:
        self.place = place
        self.invocation = invocation
        self.relay = relay
        self.fds = {1: stdout, 2: stderr}
        self.search = Search(invocation.failures)
        self.nothing = Search(invocation.nothing)
        self.requests = Requests() if invocation.remote_protocol else None
        self.files = Files(invocation.pid, invocation.view) if invocation.view else None
        self.lines = Lines(invocation.unsaid)
        self.held: list[tuple[int, bytes]] | None = [] if invocation.hold_output else None
        self.release_at: float | None = None
        self.interrupt_at = None if invocation.duration is None else time.monotonic() + invocation.duration
        self.interrupted = float("-inf")
        self.exclusive = invocation.sink is not None and not invocation.copied
        self.seen = False
        self.time_is_up = False

    def run(self) -> Result:
        left = False
        try:
            while not (turn := self.relay.turn(self._timeout())).ended:
                self._take(turn)
                if turn.unread:
                    raise BrokenPipeError  # noqa: TRY301 - the same as what a write says
                if self.held is not None and self.search.found is not None:
                    self.place.end()
                    break
            if self.search.found is None or self.held is None:
                self._release()
                self._show(2, self.lines.rest())
                self._show(1, self.requests.rest() if self.requests else b"")
        except BrokenPipeError:
            left = True
            self.place.end()
        except LostError as error:
            raise lost(self.place, self.invocation.tool, error) from error
        status = ending(self.place, self.relay.running, self.invocation.tool)
        if self.time_is_up and status == INTERRUPTED:
            status = 0
        if self.invocation.sink is not None and self.search.found is None:
            self.invocation.sink.check(status)
        return Result(
            status=status,
            refuted=self.search.found,
            output_seen=self.seen,
            left=left,
            nothing=self.nothing.found,
        )

    def _timeout(self) -> float | None:
        times = [at for at in (self.release_at, self.interrupt_at) if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _take(self, turn: Turn) -> None:
        for source, data in turn.output:
            if not (source == 1 and self.exclusive):  # the target's memory may hold any text
                self.search.feed(source, data)
                self.nothing.feed(source, data)
            self._show(source, self._passed(source, data))
        if turn.typed is not None:
            typed = self.files.feed(turn.typed) if self.files and turn.typed else turn.typed
            self.relay.send(typed) if turn.typed else self.relay.close_input()
        if turn.leaving:
            self.relay.close_input()
        if news := waiting(self.place, self.invocation.tool):
            write(self.fds[2], news.encode())
        if signal.SIGINT in turn.signals:
            self._interrupt()
        now = time.monotonic()
        if self.release_at is not None and now >= self.release_at:
            self._release()
        if self.interrupt_at is not None and now >= self.interrupt_at:
            self.interrupt_at = None
            self.time_is_up = True
            self.place.signal("int")

    def _passed(self, source: int, data: bytes) -> bytes:
        """What of it is for the user: all, but for what the target may not ask of gdb, and what we know already."""
        if source != 1:
            return self.lines.feed(data)
        if self.requests is None:
            return data
        passed = self.requests.feed(data)
        while self.requests.dropped:
            call = "".join(each if each.isprintable() else "?" for each in self.requests.dropped.pop())
            warning = f"debugrun: dropped a File-I/O request to gdb ({call}): no stub of ours sends one\n"
            self._show(2, warning.encode())
        return passed

    def _interrupt(self) -> None:
        now = time.monotonic()
        if not self.place.leased:
            raise KeyboardInterrupt
        self.place.signal("stop" if now - self.interrupted < TWICE else "int")
        self.interrupted = now

    def _show(self, source: int, data: bytes) -> None:
        if not data:
            return
        if self.held is None:
            self.seen = True
            if source == 1 and self.invocation.sink is not None:
                self.invocation.sink.feed(data)
            if source != 1 or not self.exclusive:
                write(self.fds[source], data)
            return
        self.held.append((source, data))
        if self.release_at is None:
            self.release_at = time.monotonic() + HOLD_SECONDS
        if sum(len(each) for _, each in self.held) >= HOLD_BYTES and self.search.found is None:
            self._release()

    def _release(self) -> None:
        held, self.held, self.release_at = self.held or [], None, None
        for source, data in held:
            self._show(source, data)


class Lines:
    """Takes some lines out of a stream; holds back only what may become one of them."""

    def __init__(self, unwanted: Sequence[str]) -> None:
        self._unwanted = [f"{line}\n".encode() for line in unwanted]
        self._at_start = True  # of a line
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """What of it may pass now."""
        if not self._unwanted:
            return data
        text, self._kept = self._kept + data, b""
        passed = b""
        while text:
            if self._at_start:
                if line := next((each for each in self._unwanted if text.startswith(each)), None):
                    text = text[len(line) :]
                    continue
                if any(each.startswith(text) for each in self._unwanted):
                    self._kept = text
                    break
            end = text.find(b"\n") + 1
            self._at_start = end > 0
            passed, text = passed + text[: end or len(text)], text[end or len(text) :]
        return passed

    def rest(self) -> bytes:
        """What is left at the end of the stream."""
        kept, self._kept = self._kept, b""
        return kept
