"""The client's end of the lease: while it beats, the tool may run; data/lease.sh is the other end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from debugrun.core import package_data
from debugrun.engine.stream import Frames, LostError, Stream

SILENCE = 12  # seconds without a line after which the script ends the tool: the client is asleep or cut off
BEAT = 3.0  # seconds between two lines
PATIENCE = 10  # seconds that a tool has to end, unless it holds breakpoints
TINI = ("tini", "-s", "-g", "--")  # of the toolbox: takes in orphans, passes signals on to the script


def command(  # noqa: PLR0913 - what the script has to know
    *,
    stop_signal: str = "TERM",
    breakpoints: bool,
    process: int | None = None,
    mender: bool = False,
    shell: str = "sh",
    closed: bool = False,
    expected: str = "",
    tool: Sequence[str] = (),
) -> tuple[str, ...]:
    """The script as argv. A tool with `breakpoints` is waited for while it traces: KILL would kill the target.

    `process` is the PID that the tool attaches to by ptrace(2), if it does: its state is the same afterwards. `mender`
    says that there is a Python 3 to do what takes more than a signal. With `tool`, its argv, the script starts that
    itself, after a first line of input: the mark that it puts before what it says. `closed`: it does nothing where the
    target can get in. Both below tini, in the toolbox only. `expected` is the process that the `tool` is for, as
    `ProcessFacts.identity`: where another one has its PID, nothing is started.
    """
    text = package_data.text("lease.sh")
    mending = package_data.text("mend.py") if mender and process is not None else ""
    writes = "writes" if breakpoints else ""
    target = "" if process is None else str(process)
    numbers = (str(PATIENCE), str(SILENCE))
    shut = "closed" if closed else ""
    words = (shell, "-c", text, "debugrun-lease", stop_signal, *numbers, writes, target, mending, shut, expected)
    return (*TINI, *words, *tool) if tool or closed else words


class Lease:
    """Beats from a thread of its own until closed, whatever the rest of the program is waiting for.

    The kernel closes the connection of a client that was killed; a client that is stopped beats no more.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._frames = Frames()
        self._output = b""
        self.over = False  # the script has ended
        self._told_of_wait = False
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._closed.wait(BEAT):
            if not self.tell(""):
                return

    def tell(self, line: str) -> bool:
        """Send one line of data/lease.sh's protocol; whether the engine took it."""
        with self._lock:
            try:
                self._stream.send_all(f"{line}\n".encode())
            except LostError:
                return False
        return True

    def await_ready(self, timeout: float) -> bool:
        """Whether the script has said that it holds the lease, within `timeout` seconds."""
        return self._stream.wait(timeout) and "ready" in self.said()

    def awaited(self, word: str, timeout: float) -> bool:
        """Whether the script has said that word, or says it within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while word not in (said := self.said()) and not self.over and (left := deadline - time.monotonic()) > 0:
            self._stream.wait(left)
        return word in said

    def receive(self) -> list[tuple[int, bytes]] | None:
        """What the script and a tool of its own have put out as (stream, bytes); None: the end. Raises LostError."""
        with self._lock:  # TLS connections must not be read and written at once
            data = self._stream.receive()
        self.over = data == b""
        return None if self.over else self._frames.feed(data or b"")

    def heard(self, word: str) -> None:
        """A word of the script was found in its tool's output."""
        self._output += f"{word}\n".encode()

    def said(self) -> frozenset[str]:
        """What the script has told so far.

        "ready"; "stopped" by a signal; "gone": it missed our beats; "open" and "other": why it started nothing;
        "waits": what the tool attaches to waits in the kernel.
        """
        try:
            while parts := self.receive():
                self._output += b"".join(data for _, data in parts)
        except LostError:
            self.over = True
        return frozenset(self._output.decode(errors="replace").split())

    @property
    def stream(self) -> Stream:
        """For polling: the script has said something, or ended. Read by `receive`, written by `tell`."""
        return self._stream

    @property
    def ending(self) -> bool:
        """Whether the script is ending its tool, and not because we said so."""
        return not self.said().isdisjoint({"stopped", "gone"})

    def found_waiting(self) -> bool:
        """Whether what has been read says that the target can't be stopped, as it waits in the kernel; once."""
        news = not self._told_of_wait and b"waits" in self._output.split()
        self._told_of_wait = self._told_of_wait or news
        return news

    def close(self) -> None:
        """End the lease: the script ends its tool, if one still runs, and then itself."""
        self._closed.set()
        with self._lock:
            self._stream.close_write()
            self._stream.close()
