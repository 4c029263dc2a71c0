"""What a gdb stub sends, without the requests that would make the gdb at the other end open, write or run files.

GDB manual, "File-I/O Remote Protocol Extension": `$Fopen,...#..` and its like ask gdb for a system call on gdb's own
machine; gdbserver never sends one. An answer to gdb's own vFile request begins with F too, and goes on with a number.
"""

from __future__ import annotations

import re

# gdb's remote.c read_frame(): a packet begins at $, wherever that stands, and ends two characters after #.
_START = b"$F"
_NUMBER = rb"-?(?:[0-9a-fA-F](?:\*[ -~])?)+"  # run-length encoded, as everything may be
_ANSWER = re.compile(rb"\$F" + _NUMBER + rb"(?:," + _NUMBER + rb")?[;#]")
_LONGEST = 80  # of an answer's beginning: two numbers of 16 digits, encoded or not
_CHECKSUM = 2  # characters


class Requests:
    """Takes such requests out of a stub's output, in whatever parts that comes."""

    def __init__(self) -> None:
        self.dropped: list[str] = []  # the calls that were asked for
        self._kept = b""  # what may become a request, or the end of an answer
        self._dropping: bytes | None = None  # the beginning of the one that is on its way

    def feed(self, data: bytes) -> bytes:
        """What of it may pass now."""
        rest, self._kept = self._kept + data, b""
        passed = []
        while rest:
            if self._dropping is not None:
                rest = self._drop(rest)
                continue
            at = rest.find(_START)
            if at < 0:
                at = len(rest) - rest.endswith(_START[:1])
                self._kept = rest[at:]
                passed.append(rest[:at])
                break
            passed.append(rest[:at])
            rest = rest[at:]
            if answer := _ANSWER.match(rest):
                passed.append(answer[0])
                rest = rest[answer.end() :]
            elif len(rest) < _LONGEST and not re.search(rb"[;#]", rest):
                self._kept = rest  # not told yet
                break
            else:
                self._dropping = b""
        return b"".join(passed)

    def _drop(self, rest: bytes) -> bytes:
        """Swallow up to the end of the request; what follows it."""
        text = (self._dropping or b"") + rest
        end = text.find(b"#")
        if end < 0 or len(text) < end + 1 + _CHECKSUM:
            self._dropping = text[:_LONGEST] if end < 0 else text[:_LONGEST] + text[max(_LONGEST, end) :]
            return b""
        call = text[len(_START) : end].split(b",")[0]
        self.dropped.append(call.decode(errors="replace")[:_LONGEST])
        self._dropping = None
        return text[end + 1 + _CHECKSUM :]

    def rest(self) -> bytes:
        """What is left at the end of the output, unless it was to become a request."""
        kept, self._kept = self._kept, b""
        return b"" if kept.startswith(_START) else kept
