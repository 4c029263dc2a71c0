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
_FILE = b"$vFile:"
_MOST = 1 << 16  # bytes of a request for a file
# Those that read: flags 0 is O_RDONLY.
_NAMED = re.compile(rb"(vFile:(?:open|readlink|stat|lstat):)((?:[0-9a-fA-F]{2})+)(|,0,[0-9a-fA-F]+)")


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


class Files:
    """Leads the requests of gdb for files of the process to a view of them in the stub's own mount namespace.

    GDB manual, "Host I/O Packets": `vFile:setfs:PID` says whose files are meant, `vFile:open:PATH,FLAGS,MODE` and its
    like name one. gdbserver enters the mount namespace of PID for that, which takes SYS_ADMIN. What would write is
    left to the stub's own, read-only files.
    """

    def __init__(self, pid: int, view: str) -> None:
        self._pid = pid
        self._view = view
        self._theirs = False  # the files of the process are meant
        self._kept = b""  # the beginning of such a request

    def feed(self, data: bytes) -> bytes:
        """What of it may pass now, changed where it has to be."""
        rest, self._kept = self._kept + data, b""
        passed = []
        while rest:
            at = rest.find(b"$")
            if at < 0:
                passed.append(rest)
                break
            passed.append(rest[:at])
            rest = rest[at:]
            end = rest.find(b"#")
            if not (rest.startswith(_FILE) or _FILE.startswith(rest)):
                passed.append(rest[:1])
                rest = rest[1:]
            elif end < 0 or len(rest) < end + 1 + _CHECKSUM:
                if len(rest) > _MOST:
                    passed.append(rest)
                else:
                    self._kept = rest
                break
            else:
                passed.append(self._led(rest[1:end]) or rest[: end + 1 + _CHECKSUM])
                rest = rest[end + 1 + _CHECKSUM :]
        return b"".join(passed)

    def _led(self, text: bytes) -> bytes | None:
        """The packet in place of `text`; None: as it is."""
        if text == b"vFile:setfs:%x" % self._pid:
            self._theirs = True
            return packet(b"vFile:setfs:0")
        if text.startswith(b"vFile:setfs:"):
            self._theirs = False
            return None
        named = _NAMED.fullmatch(text)
        if not self._theirs or named is None:
            return None
        path = bytes.fromhex(named[2].decode())
        if path == b"/proc/%d/exe" % self._pid:
            return None
        return packet(named[1] + (self._view.encode() + b"/" + path.lstrip(b"/")).hex().encode() + named[3])


def packet(text: bytes) -> bytes:
    """The text as a packet, with its checksum: GDB manual, "Remote Protocol, Overview"."""
    return b"$%b#%02x" % (text, sum(text) % 256)
