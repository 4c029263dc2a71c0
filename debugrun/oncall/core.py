"""The flow of `debugrun core`: a copy of a process's memory, written here as it comes; no disk of the target is used.

The plan is that of gdb's mode `stacks`: the same calls, the same memory.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from rich.console import Console

from debugrun import backends
from debugrun.attach import attach
from debugrun.attach.invocation import Invocation
from debugrun.backends import Backend
from debugrun.core.ask.request import Request
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Ceiling, Option
from debugrun.core.know import symbols
from debugrun.core.know.printable import printable
from debugrun.core.say import report
from debugrun.core.say.command import copies
from debugrun.errors import EXIT_FAILED, EngineError, RefusedError, TargetError, UsageError
from debugrun.oncall.first_look import size
from debugrun.toolbox.catalog import find_tool
from debugrun.values import dataclass

HEAD = struct.Struct("<BQQ")  # data/gdb/core.py: stream, offset, length
CORE, BUNDLE, END = range(3)
LONGEST = 16 << 20  # bytes of one record
# data/gdb/stacks.py, PATIENCE: nobody stands still for longer.
CUT = "the copy was cut off: gdb was killed, or 20 s did not suffice, and then the kernel ends it and lets all go on"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What was asked for. `output` is the core file, `output`.bundle the tar of what the process runs."""

    container: str
    output: Path
    pid: int | None = None
    bundle: bool = True
    zstd: bool = False
    pause: float = 5.0
    ceiling: Ceiling = field(default_factory=Ceiling)
    namespace: str | None = None
    kubernetes_context: str | None = None


class Writer:
    """Writes one of the two files, mode 0600: with holes, or through zstd(1), which takes bytes in order only."""

    def __init__(self, path: Path, *, zstd: bool) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._fd = fd
        self._packer: subprocess.Popen[bytes] | None = None
        self._at = 0
        if zstd:
            argv = ["zstd", "-q", "-T0", "-c"]
            self._packer = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=fd)

    def put(self, offset: int, data: bytes) -> None:
        """Write `data` at `offset`. Raises OSError."""
        if self._packer is None:
            while data:
                written = os.pwrite(self._fd, data, offset)
                data, offset = data[written:], offset + written
            return
        assert self._packer.stdin is not None  # noqa: S101 - as it was opened
        while self._at < offset:
            zeros = bytes(min(1 << 20, offset - self._at))
            self._packer.stdin.write(zeros)
            self._at += len(zeros)
        self._packer.stdin.write(data)
        self._at += len(data)

    def close(self, length: int) -> None:
        """End the file at `length`, where its last bytes are a hole too. Raises OSError."""
        try:
            if self._packer is None:
                os.ftruncate(self._fd, length)
                return
            self.put(max(length, self._at), b"")
            self._packer.communicate()
            if self._packer.returncode != 0:
                raise OSError(0, f"zstd ended with status {self._packer.returncode}")
        finally:
            os.close(self._fd)


class Taken(threading.Thread):
    """Takes records from a descriptor apart and writes them; what went wrong is in `error`, the end in `told`."""

    def __init__(self, source: int, writers: Mapping[int, Writer]) -> None:
        super().__init__(name="core", daemon=True)
        self._source = os.fdopen(source, "rb")
        self._writers = writers
        self.told: Mapping[str, object] = {}
        self.error = ""
        self.ends = dict.fromkeys(writers, 0)

    def run(self) -> None:
        """Until the end of the records; what follows an error is read and thrown away, so that nobody waits for us."""
        try:
            with self._source:
                while not self.error and self._one():
                    pass
                while self._source.read(LONGEST):
                    pass
        except OSError as error:
            self.error = self.error or error.strerror or str(error)

    def _one(self) -> bool:
        head = self._source.read(HEAD.size)
        if len(head) < HEAD.size:
            return False
        stream, offset, length = HEAD.unpack(head)
        data = self._source.read(length) if length <= LONGEST else b""
        if len(data) != length or (stream not in self._writers and stream != END):
            self.error = "what came is no core file"
            return False
        if stream == END:
            self._end(data)
            return False
        try:
            self._writers[stream].put(offset, data)
        except OSError as error:
            self.error = f"could not write: {error.strerror or error}"
            return False
        self.ends[stream] = max(self.ends[stream], offset + length)
        return True

    def _end(self, data: bytes) -> None:
        try:
            told = json.loads(data)
        except ValueError:
            told = None
        self.told = told if isinstance(told, dict) else {}


def run(wish: Wish, folder: Path) -> int:
    """Write the files and say how they are opened. 0, or 125 when something is missing. Raises DebugrunError."""
    if wish.zstd and shutil.which("zstd") is None:
        raise UsageError("no-zstd", "--zstd needs the program zstd on this machine", "apt-get install zstd")
    if not wish.output.parent.is_dir():
        raise UsageError("no-folder", f"there is no folder {wish.output.parent}", f"mkdir -p {wish.output.parent}")
    request = Request(
        tool="gdb",
        container=wish.container,
        mode="stacks",
        pid=wish.pid,
        ceiling=wish.ceiling,
        namespace=wish.namespace,
        kubernetes_context=wish.kubernetes_context,
    )
    tool, mode = find_tool(request, folder)
    with backends.reach(request) as backend:
        facts = backend.look(request, tool)
        decision = backend.decide(plan(tool, mode, facts, request.ceiling))
        while (option := decision.option) is not None:
            print(report.announce(decision), file=sys.stderr)
            taken = _attempt(backend, decision, option, wish)
            error = str(taken.told.get("error", ""))
            refuted = next((each for each in tool.failures if each.text in error), None)
            if refuted is None:
                return _settled(taken, decision, wish)
            print(f"debugrun: refused: {refuted.text}", file=sys.stderr)
            decision = backend.decide(decision.refute(refuted.layer, refuted.text))
    _remove(wish)
    raise RefusedError("refused", *report.refusal(decision))


def _bundle(output: Path) -> Path:
    return output.with_name(f"{output.name}.bundle")


def _remove(wish: Wish) -> None:
    for path in (wish.output, _bundle(wish.output)):
        path.unlink(missing_ok=True)


def _attempt(backend: Backend, decision: Plan, option: Option, wish: Wish) -> Taken:
    pid = decision.facts.process.pid
    argv = (f"{copies(option)}gdb", *symbols.core_arguments(pid, bundle=wish.bundle, pause=wish.pause))
    writers = {CORE: Writer(wish.output, zstd=wish.zstd)}
    if wish.bundle:
        writers[BUNDLE] = Writer(_bundle(wish.output), zstd=wish.zstd)
    source, sink = os.pipe()
    taken = Taken(source, writers)
    taken.start()
    try:
        with (
            tempfile.TemporaryFile() as said,
            backend.planned(decision, option, only=argv, lets_go=True) as place,
            Console(stderr=True).status(f"copying PID {pid} of {decision.facts.container.name}"),
        ):
            attach.run(place, Invocation(argv=argv, tool="gdb", input=False), stdout=sink, stderr=said.fileno())
    except BaseException:
        _remove(wish)  # half a core is none
        raise
    finally:
        os.close(sink)
        taken.join()
        length = taken.told.get("size")
        for stream, writer in writers.items():
            writer.close(max(taken.ends[stream], length if isinstance(length, int) and stream == CORE else 0))
    return taken


def _settled(taken: Taken, decision: Plan, wish: Wish) -> int:
    """Say what there is, how long the process stood still, and how the file is opened."""
    name, pid = decision.facts.container.name, decision.facts.process.pid
    told = taken.told
    if taken.error or not told or "error" in told:
        _remove(wish)
        why = taken.error or printable(str(told.get("error", CUT)))
        if "were copied in the time" in why:
            message = f"no core of PID {pid} of {name}: {why}, {wish.pause:g} s; it goes on"
            raise TargetError("too-slow", message, "--max-pause SECONDS, on a quieter machine")
        if "room for a copy" in why:
            raise TargetError("too-large", f"no core of PID {pid} of {name}: {why}", "debugrun stacks: it takes little")
        raise EngineError("core", f"no core of PID {pid} of {name}: {why}", "the target runs on; try again")
    still = told.get("still")
    milliseconds = 1000 * still if isinstance(still, float) else 0.0
    length, on_disk = taken.ends[CORE], wish.output.stat().st_blocks * 512
    threads, sizes = told.get("threads"), f"{size(length)}, {size(on_disk)} on disk"
    print(f"{wish.output}: {threads} threads, {sizes}; stood still for {milliseconds:.0f} ms")
    print("debugrun: a core file holds what the process knows, its secrets too: mode 0600", file=sys.stderr)
    print("\n".join(opening(wish, decision.facts.process.exe or "EXECUTABLE")))
    missing = told.get("missing")
    if told.get("late") or missing:
        print(f"debugrun: not whole: threads {told.get('late')} not copied, {missing} files missing", file=sys.stderr)
        return EXIT_FAILED
    return 0


def opening(wish: Wish, executable: str) -> list[str]:
    """The lines that open it in gdb, on any machine that has one."""
    core, bundle = shlex.quote(str(wish.output)), shlex.quote(str(_bundle(wish.output)))
    if not wish.bundle:
        return [f"gdb {shlex.quote(executable)} {core}"]
    lines = [f"mkdir -p {core}.root", f"tar -xf {bundle} -C {core}.root"]
    if wish.zstd:
        lines[1] = f"zstd -dc {bundle} | tar -x -C {core}.root"
        lines.append(f"zstd -d --sparse {core} -o {core}.core")
        core_file = f"{core}.core"
    else:
        core_file = core
    program = shlex.quote(printable(executable.removesuffix(" (deleted)")))
    return [*lines, f"gdb -iex 'set auto-load no' -iex 'set sysroot '{core}.root {core}.root{program} {core_file}"]
