"""The relay with a terminal: raw mode, window size, detach keys, and the talk with the tool before handing over."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import termios
import time
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pexpect import EOF
from pexpect.spawnbase import SpawnBase

from debugrun.attach.ending import ending, lost, waiting, write
from debugrun.attach.invocation import Invocation, Result
from debugrun.attach.place import INTERRUPT, Place
from debugrun.attach.relay import Relay, Turn, wakeups
from debugrun.core.know.tool_file import Failure
from debugrun.engine.stream import LostError
from debugrun.errors import UsageError

# Debian's ncurses-base, which the toolbox holds; a terminal that names itself otherwise speaks xterm's language.
TERMINALS = frozenset(
    {"ansi", "dumb", "linux", "screen", "screen-256color", "tmux", "tmux-256color", "vt100", "vt220", "xterm"}
)
# What a tool that was cut off may have left on: bracketed paste, a hidden cursor, the alternate screen, colours.
RESET = b"\x1b[?2004l\x1b[?25h\x1b[?1049l\x1b[0m\r\n"
IDLE = 0.3  # seconds after which an unfinished line of output is shown although it may be the prompt


if TYPE_CHECKING:
    Spawn = SpawnBase[bytes]  # generic in its stubs only
else:
    Spawn = SpawnBase


class LeftError(Exception):
    """The user typed the detach keys, or the terminal has gone."""


def parse_keys(text: str) -> bytes:
    """The bytes of a sequence as Docker writes them: "ctrl-p,ctrl-q", "q". Raises UsageError."""
    keys = bytearray()
    for word in text.split(","):
        if re.fullmatch(r"ctrl-[a-z@\[\\\]^_]", word):
            keys.append(ord(word[-1].upper()) & 0x1F)
        elif len(word) == 1 and word.isascii():
            keys += word.encode()
        else:
            raise UsageError("bad-detach-keys", f"--detach-keys: {word!r} is not a key", "--detach-keys ctrl-p,ctrl-q")
    return bytes(keys)


class Keys:
    """Watches what is typed for the detach keys.

    All but the last key go to the tool at once: what it makes of them no longer matters when the rest follows, and
    ctrl-p, which Docker's client holds back, goes on working in readline.
    """

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._recent = b""

    def pass_on(self, typed: bytes) -> bytes:
        """What the tool shall get of `typed`. Raises LeftError after the last key."""
        for number in range(len(typed)):
            self._recent = (self._recent + typed[number : number + 1])[-len(self._sequence) :]
            if self._sequence and self._recent == self._sequence:
                raise LeftError
        return typed


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """The terminal in raw mode; as before afterwards, whatever happens."""
    before = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSANOW)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # it may have gone
            termios.tcsetattr(fd, termios.TCSANOW, before)


def size_of(fd: int) -> tuple[int, int] | None:
    """(rows, columns) of a terminal; None when it does not know."""
    try:
        size = os.get_terminal_size(fd)
    except OSError:
        return None
    return (size.lines, size.columns) if size.lines and size.columns else None


def run(place: Place, invocation: Invocation, *, stdin: int, stdout: int, stderr: int) -> Result:
    """As attach.run, at the terminal `stdin`."""
    keys = Keys(parse_keys(invocation.detach_keys))
    name = os.environ.get("TERM", "xterm")
    environment = {"TERM": name if name in TERMINALS else "xterm-256color"}
    with wakeups(signal.SIGWINCH, signal.SIGINT) as woken:
        running = place.start(invocation.argv, tty=True, size=size_of(stdout), environment=environment)
        relay = Relay(running, woken, stdin=stdin, stdout=stdout, lease=place.lease)
        session = _Session(place, invocation, keys, relay, stdout)
        try:
            with raw(stdin):
                return session.run()
        except LeftError:
            ended = place.end()
            session.reset()
            then = "let go of it, and it runs on" if ended else "was told to let go of it; its lease sees to that"
            write(stderr, f"debugrun: you left {place.target.name}: {invocation.tool} {then}\n".encode())
            return Result(status=0, output_seen=session.seen, left=True)
        except LostError as error:
            session.reset()
            raise lost(place, invocation.tool, error) from error
        except BaseException:
            session.reset()
            raise


class _Session:
    """The relay at a terminal."""

    def __init__(self, place: Place, invocation: Invocation, keys: Keys, relay: Relay, stdout: int) -> None:
        self.place = place
        self.invocation = invocation
        self.relay = relay
        self.seen = False
        self._keys = keys
        self._stdout = stdout
        self._waiting: bytes | None = None

    def run(self) -> Result:
        """Talk, hand over, relay to the end."""
        refuted = None
        if self.invocation.prompt is not None:
            refuted = _Talk(self).hold()
            if refuted is not None:
                self.place.end()
        duration = self.invocation.duration
        until = None if duration is None else time.monotonic() + duration
        while refuted is None and not self.relay.running.ended:
            turn = self.relay.turn(None if until is None else until - time.monotonic())
            self.take(turn)
            self.show(b"".join(data for _, data in turn.output))
            if until is not None and time.monotonic() >= until:
                until = None
                self.relay.send(INTERRUPT)
        status = ending(self.place, self.relay.running, self.invocation.tool)
        return Result(status=status, refuted=refuted, output_seen=self.seen)

    def keep_typed(self, *, keep: bool) -> None:
        """Keep what is typed, but for Ctrl-C, or let the tool have it, also what was kept."""
        waiting, self._waiting = self._waiting, b"" if keep else None
        if not keep and waiting:
            self.relay.send(waiting)

    def take(self, turn: Turn) -> None:
        """Act on what came from our side. Raises LeftError."""
        if turn.typed is not None:
            typed = self._keys.pass_on(turn.typed)
            if not typed:
                raise LeftError
            if self._waiting is None or typed == INTERRUPT:
                self.relay.send(typed)
            else:
                self._waiting += typed
        if turn.unread:
            raise LeftError
        if news := waiting(self.place, self.invocation.tool):
            self.show(f"\r\n{news.rstrip()}\r\n".encode())
        if signal.SIGINT in turn.signals:
            self.relay.send(INTERRUPT)
        if signal.SIGWINCH in turn.signals and (size := size_of(self._stdout)):
            self.relay.running.resize(*size)

    def show(self, data: bytes) -> None:
        """Write to the terminal. Raises LeftError when it has gone."""
        if data:
            self.seen = True
            if self.invocation.sink is not None:
                self.invocation.sink.feed(data)
            try:
                write(self._stdout, data)
            except OSError as error:
                raise LeftError from error

    def reset(self) -> None:
        """Undo what a tool that was cut off may have done to the terminal."""
        if self.seen:
            with contextlib.suppress(OSError):
                write(self._stdout, RESET)


class _Talk(Spawn):
    """What is said to the tool before the user takes over; pexpect looks for the texts.

    The tool's lines are shown as they come, but for its first prompts and the echo of our lines. The user's keys go
    to the tool once ours have been said, so that they can't mix; Ctrl-C does at any time.
    """

    def __init__(self, session: _Session) -> None:
        super().__init__(timeout=None)
        self._session = session
        self._unfinished = b""
        self._echoes = 0
        self._held: list[bytes] | None = [] if session.invocation.hold_output else None

    def hold(self) -> Failure | None:
        """Say the handover lines, one at each prompt; the failure that came of it."""
        invocation = self._session.invocation
        prompt = (invocation.prompt or "").encode()
        failures = {failure.text.encode(): failure for failure in invocation.failures}
        self._session.keep_typed(keep=bool(invocation.handover))
        wanted: list[bytes | type[EOF]] = [prompt, *failures, EOF]
        lines = list(invocation.handover)
        while True:
            found = self.expect_exact(wanted)
            if found == 0 and lines:
                self._say(lines.pop(0))
                continue
            if 0 < found < len(wanted) - 1:
                for line in lines:  # what makes gdb hear signals again
                    self._say(line)
                return list(failures.values())[found - 1]
            break
        self._release()
        return None

    def _say(self, line: str) -> None:
        self._unfinished = b""
        self._echoes += 1
        self._session.relay.send(line.encode() + b"\n")
        if line == self._session.invocation.handover[-1]:
            self._session.keep_typed(keep=False)

    def read_nonblocking(self, size: int = 1, timeout: float | None = None) -> bytes:  # noqa: ARG002 - pexpect's
        """The tool's next output; meanwhile the relay goes on. Raises pexpect's EOF."""
        while True:
            turn = self._session.relay.turn(IDLE if self._unfinished else None)
            self._session.take(turn)
            if turn.ended:
                self.flag_eof = True
                raise EOF("the tool has ended")
            if data := b"".join(data for _, data in turn.output):
                self._show(data)
                return data
            if turn == Turn() and not self._echoes:
                self._flush_unfinished()

    def _show(self, data: bytes) -> None:
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            if self._echoes:
                self._echoes -= 1
            elif line.rstrip(b"\r").decode(errors="replace") not in self._session.invocation.unsaid:
                self._pass(line + b"\n")

    def _flush_unfinished(self) -> None:
        self._pass(self._unfinished)
        self._unfinished = b""

    def _pass(self, data: bytes) -> None:
        if self._held is None:
            self._session.show(data)
        else:
            self._held.append(data)

    def _release(self) -> None:
        held, self._held = self._held or [], None
        self._session.show(b"".join(held))
        self._flush_unfinished()
