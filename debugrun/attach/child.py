"""A tool that the lease started itself: one connection carries its output, its exit status and the lease's words.

It has no input. That saves an exec, which takes the engine about as long as gdb takes for a backtrace.
"""

from __future__ import annotations

from debugrun.attach.lease import Lease
from debugrun.attach.place import Running
from debugrun.engine.engine import Engine

STREAMS = (1, 2)  # standard output, standard error


class Child(Running):
    """As the tools of a place, without input; `mark` is what data/lease.sh puts before the lines that are its own.

    Each stream ends with such a line, the exit status: nothing is waited for then, and the engine takes 30 ms to notice
    the end of a container and to close the connection.
    """

    def __init__(self, engine: Engine, lease: Lease, mark: str) -> None:
        super().__init__(engine, "", lease.stream, tty=False)
        self._lease = lease
        self._mark = mark.encode()
        self._kept = dict.fromkeys(STREAMS, b"")
        self._statuses: dict[int, int] = {}

    def receive(self) -> list[tuple[int, bytes]] | None:
        """As Running.receive(), without the lines of the lease."""
        parts = None if self.over else self._lease.receive()
        if parts is None:
            rest = [(source, kept) for source, kept in self._kept.items() if kept]
            self._kept.clear()
            self.ended = not rest
            return rest or None
        found = [(source, self._without_ours(source, data)) for source, data in parts]
        self.over = len(self._statuses) == len(STREAMS)
        return [(source, data) for source, data in found if data]

    def _without_ours(self, source: int, data: bytes) -> bytes:
        """What of a stream is the tool's; what may become a line of the lease is kept for the next time."""
        text = self._kept[source] + data
        tools = b""
        while (at := text.find(self._mark)) >= 0:
            line, newline, rest = text[at + len(self._mark) :].partition(b"\n")
            if not newline:
                break
            self._heard(source, line.decode(errors="replace"))
            tools, text = tools + text[:at], rest
        if at < 0:
            at = len(text) - self._begun_at_the_end_of(text)
        self._kept[source] = text[at:]
        return tools + text[:at]

    def _begun_at_the_end_of(self, text: bytes) -> int:
        """How many bytes at its end may be the beginning of a mark."""
        return next((size for size in range(len(self._mark) - 1, 0, -1) if text.endswith(self._mark[:size])), 0)

    def _heard(self, source: int, word: str) -> None:
        if word.isascii() and word.isdecimal():
            self._statuses[source] = int(word)
        else:
            self._lease.heard(word)

    def close_input(self) -> None:
        """It has none; the connection's belongs to the lease."""

    def status(self, timeout: float = 0.0) -> int | None:  # noqa: ARG002 - it came with the output or never will
        """The tool's exit status; None when it was lost with the container."""
        return next(iter(self._statuses.values()), None)
