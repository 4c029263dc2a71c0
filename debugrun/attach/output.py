"""Files of a tool on the caller's machine: their names come from the caller alone, and one that is not whole says so.

What arrives over the connection is taken for bytes, never for names: whoever speaks in the tool's place can put
something wrong into the file that was asked for, and nothing anywhere else.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from debugrun.core.ask.request import Request
from debugrun.core.know import tool_output
from debugrun.core.know.tool_file import Mode
from debugrun.errors import DebugrunError, UsageError

HEAD = 9  # bytes of a record's letter and length: data/gcore/dump.py
MAX_JSON = 4096
MAX_SIZE = 1 << 62
PATIENT = 1.0  # seconds without a word about progress
EVERY = 0.2  # seconds between two words at a terminal,
RARELY = 10.0  # and without one
ZEROS = bytes(1 << 20)


class OutputError(DebugrunError):
    """The file could not be written, or is not whole."""


def settled(request: Request, mode: Mode) -> Request:
    """The request with the file that its arguments name as its own. Raises UsageError where the mode writes none."""
    output = mode.output
    if output is None:
        if request.output is not None:
            raise UsageError("no-output", f"{request.tool} {mode.name} writes no file", "> FILE keeps what it prints")
        return request
    named, args = tool_output.taken(request.args, output) if output.options else (None, request.args)
    if named is not None and request.output is None:
        if not named:
            raise UsageError("no-output", f"{request.tool}: {output.options[0]} without a file", "-o FILE")
        request = replace(request, output=Path(named), args=args)
    if output.kind == "core" and request.output is None and os.isatty(1):
        hint = f"debugrun {request.tool} {request.container} -o core"
        raise UsageError("to-terminal", "a core dump is not for a terminal", hint)
    return request


class Plain:
    """What the tool writes, as it comes."""

    whole = True

    def __init__(self, fd: int, name: str) -> None:
        self._file = _File(fd, name)

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises OutputError, BrokenPipeError."""
        self._file.write(data)

    def check(self, status: int) -> None:
        """The tool has ended with `status`: what it wrote is whole as far as that says so."""


class Core:
    """A core dump out of records: holes stay holes where the file can have them."""

    def __init__(self, fd: int, name: str) -> None:
        self._file = _File(fd, name)
        self._kept = b""
        self._left = 0  # bytes that the record at hand still lacks
        self._size: int | None = None
        self._come = 0
        self.whole = False
        self._progress = _Progress()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the records. Raises OutputError, BrokenPipeError."""
        while data:
            if self._left:
                now, data = data[: self._left], data[self._left :]
                self._put(now)
                continue
            self._kept += data
            data = b""
            if len(self._kept) >= HEAD:
                data, self._kept = self._begin(self._kept[:1], int.from_bytes(self._kept[1:HEAD], "little"))

    def _begin(self, letter: bytes, length: int) -> tuple[bytes, bytes]:
        """Start a record: (what follows its head, what is kept until more has come)."""
        body = self._kept[HEAD:]
        if letter == b"B" and self._size is None and length <= MAX_JSON:
            if len(body) < length:
                return b"", self._kept
            self._announced(body[:length])
            return body[length:], b""
        within = self._size is not None and not self.whole and length <= self._size - self._come
        if letter == b"D" and within:
            self._left = length
        elif letter == b"Z" and within:
            self._come += length
            self._file.hole(length)
            self._progress.tick(self._come, self._size or 0)
        elif letter == b"E" and self._come == self._size:
            self._file.end()
            self.whole = True
        else:
            raise self._file.error("what came is not a core", "report it as a bug, with the tool's version")
        return body, b""

    def _announced(self, text: bytes) -> None:
        try:
            told = json.loads(text)
            size, data = int(told["size"]), int(told["data"])
        except (ValueError, KeyError, TypeError):
            size = data = -1
        if not 0 <= data <= size <= MAX_SIZE:
            raise self._file.error("what came is not a core", "report it as a bug, with the tool's version")
        self._file.refuse_full(data)
        self._size = size

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._left -= len(data)
        self._come += len(data)
        self._progress.tick(self._come, self._size or 0)

    def check(self, status: int) -> None:
        """The tool has ended with `status`. Raises OutputError unless the core is whole, or the tool told why not."""
        self._progress.end()
        if not self.whole and status == 0:
            raise self._file.error(f"the core is not whole: {self._come} of {self._size or '?'} bytes", "try again")


Sink = Plain | Core


class _File:
    """A file of the caller's, which holes can be left in where it is a regular one."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd, self._name = fd, name
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        self._sparse = regular and not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND

    def error(self, why: str, hint: str) -> OutputError:
        return OutputError("output-not-whole", f"{self._name}: {why}", hint)

    def refuse_full(self, size: int) -> None:
        """Raise OutputError where the file system has no room for that many bytes."""
        if not self._sparse:
            return
        told = os.fstatvfs(self._fd)
        if (free := told.f_bavail * told.f_frsize) < size:
            why = f"there is room for {free / 1e6:.0f} MB, and {size / 1e6:.0f} MB are needed"
            raise self.error(why, "-o FILE on another file system")

    def write(self, data: bytes) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self.error(f"could not be written: {error.strerror}", "-o FILE on another file system") from error

    def hole(self, size: int) -> None:
        if self._sparse:
            os.lseek(self._fd, size, os.SEEK_CUR)
            return
        while size:
            self.write(ZEROS[:size])
            size -= min(size, len(ZEROS))

    def end(self) -> None:
        """A hole at its end needs a size."""
        if self._sparse:
            os.ftruncate(self._fd, os.lseek(self._fd, 0, os.SEEK_CUR))


class _Progress:
    """A word on standard error while something takes its time."""

    def __init__(self) -> None:
        self._terminal = os.isatty(2)
        self._next = time.monotonic() + PATIENT
        self._said = False

    def tick(self, done: int, whole: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (EVERY if self._terminal else RARELY)
        line = f"debugrun: {done / 1e6:.0f} of {whole / 1e6:.0f} MB"
        print(f"\r{line}" if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr, flush=True)
        self._said = True

    def end(self) -> None:
        if self._said and self._terminal:
            print(file=sys.stderr)


@contextlib.contextmanager
def opened(request: Request, mode: Mode) -> Iterator[Callable[[], Sink] | None]:
    """What makes the sink of a try; None: the tool writes no file. Raises OutputError.

    A core comes under its name when it is whole, any other file as it grows: mode 0600.
    """
    output = mode.output
    if output is None or (request.output is None and output.kind != "core"):
        yield None
        return
    kind = Core if output.kind == "core" else Plain
    if request.output is None:
        yield lambda: kind(1, "standard output")
        return
    path = request.output
    whole_only = kind is Core and (path.is_file() or not path.exists())
    written = path.with_name(f".{path.name}.{os.getpid()}") if whole_only else path
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if whole_only else os.O_TRUNC)
        fd = os.open(written, flags, 0o600)
    except OSError as error:
        raise OutputError("output-failed", f"{path}: {error.strerror}", "name a file in a folder of yours") from error
    made: list[Sink] = []

    def make() -> Sink:
        made.append(kind(fd, str(path)))
        return made[-1]

    try:
        yield make
        if whole_only and made and made[-1].whole:
            written.replace(path)
    finally:
        os.close(fd)
        if whole_only:
            written.unlink(missing_ok=True)
