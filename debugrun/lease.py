"""The client's end of the lease: while it beats, the tool may run; data/lease.sh is the other end."""

from __future__ import annotations

import threading
from importlib import resources

from debugrun.stream import Frames, LostError, Stream

SILENCE = 20  # seconds without a line after which the script ends the tool: the client is asleep or cut off
BEAT = 5.0  # seconds between two lines
PATIENCE = 10  # seconds that a tool without breakpoints has to end


def command(*, stop_signal: str = "TERM", breakpoints: bool, shell: str = "sh") -> tuple[str, ...]:
    """The script as argv. A tool with `breakpoints` is waited for without end: KILL would kill the target."""
    text = (resources.files("debugrun") / "data" / "lease.sh").read_text(encoding="utf-8")
    return (shell, "-c", text, "debugrun-lease", stop_signal, "0" if breakpoints else str(PATIENCE), str(SILENCE))


class Lease:
    """Beats from a thread of its own until closed, whatever the rest of the program is waiting for.

    The kernel closes the connection of a client that was killed; a client that is stopped beats no more.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._frames = Frames()
        self._output = b""
        self.over = False  # the script has ended
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

    def said(self) -> frozenset[str]:
        """What the script has told so far: "ready"; "stopped" by a signal; "gone": it missed our beats."""
        with self._lock:  # TLS connections must not be read and written at once
            try:
                while data := self._stream.receive():
                    self._output += b"".join(part for _, part in self._frames.feed(data))
            except LostError:
                data = b""
        self.over = data == b""
        return frozenset(self._output.decode(errors="replace").split())

    @property
    def read_fd(self) -> int:
        """For polling: the script has said something, or ended."""
        return self._stream.read_fd

    @property
    def ending(self) -> bool:
        """Whether the script is ending its tool, and not because we said so."""
        return not self.said().isdisjoint({"stopped", "gone"})

    def close(self) -> None:
        """End the lease: the script ends its tool, if one still runs, and then itself."""
        self._closed.set()
        with self._lock:
            self._stream.close_write()
            self._stream.close()
