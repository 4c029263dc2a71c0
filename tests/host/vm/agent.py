"""Runs many tools in one place by one exec: in an emulated machine each exec by the engine takes a second or two.

The agent is a child of the engine's own exec, and the tool a child of the agent: user, capabilities, filter and label
are what the engine gave. `PROGRAM` runs in the place; requests and answers are lines, each a Python literal.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Sequence

from debugrun.attach.place import Place, Running
from debugrun.engine.engine import Engine
from debugrun.errors import DebugrunError

# Imports nothing that takes time: emulated, a plain start of Python takes seconds.
PROGRAM = """
import _signal, os, select, sys, time
for line in sys.stdin:
    argv, typed, seconds, limit = eval(line)
    keys, typing = os.pipe()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(keys, 0)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.closerange(3, 64)
        _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
        try:
            os.execvp(argv[0], argv)
        except OSError as error:
            print(error, flush=True)
        os._exit(127)
    os.close(keys)
    os.close(writing)
    os.write(typing, typed)
    os.close(typing)
    began, output, sent, ends = time.monotonic(), b"", [], []
    if seconds is not None:
        ends.append((seconds, _signal.SIGINT))
    ends += [(limit, _signal.SIGTERM), (limit + 10, _signal.SIGKILL)]
    while True:
        while ends and time.monotonic() - began >= ends[0][0]:
            sent.append(ends.pop(0)[1])
            os.kill(pid, sent[-1])
        if select.select([reading], [], [], 0.1)[0]:
            data = os.read(reading, 65536)
            if not data:
                break
            output += data
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print((0 if sent == [2] and status == -2 else status, bool(set(sent) - {2}), output), flush=True)
"""


class Agent:
    """Our end."""

    def __init__(self, engine: Engine, place: Place) -> None:
        exec_id = engine.exec_create(
            place.container, ["python3", "-I", "-S", "-c", PROGRAM], user=place.user, privileged=place.privileged
        )
        self.running = Running(engine, exec_id, engine.exec_start(exec_id), tty=False)

    def run(self, argv: Sequence[str], *, typed: bytes, seconds: float | None, limit: float) -> tuple[int, bytes]:
        """(exit status, output) of a tool; it gets SIGINT after `seconds`. Raises DebugrunError when it is stuck."""
        self.running.stream.send_all(repr((list(argv), typed, seconds, limit)).encode() + b"\n")
        status, stuck, output = ast.literal_eval(self._line(limit + 60).decode())
        if stuck:
            raise DebugrunError("stuck", f"not over within {limit:.0f} s: {output[-500:]!r}", "")
        return status, output

    def _line(self, timeout: float) -> bytes:
        text = b""
        deadline = time.monotonic() + timeout
        while not text.endswith(b"\n"):
            left = deadline - time.monotonic()
            parts = self.running.receive() if left > 0 and self.running.stream.wait(left) else None
            if parts is None:
                raise DebugrunError("agent", f"no answer: {text[-500:]!r}", "")
            text += b"".join(part for _, part in parts)
        return text
