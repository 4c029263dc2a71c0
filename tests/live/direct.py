"""The lease and its tool in a sidecar's namespaces, without client and engine: what costs a trial most.

The same words as debugrun's own are run there, and told to end as a client or an engine would; see session.attempt().
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from debugrun.attach import lease
from debugrun.attach.invocation import attached_to, invocations
from debugrun.attach.place import IDENTITY, LAUNCHER, REAPER, STARTER
from debugrun.core.ask.request import Request
from debugrun.core.decide.plan import plan
from debugrun.engine.engine import connect
from debugrun.observe.target import look
from debugrun.toolbox.catalog import find_tool
from tests.live.crowds import Worker, children
from tests.live.victims import remove

BEAT = 2.0  # seconds


class Sidecar:
    """One that stays, beside a worker; what is run in it has the worker's user and no capability."""

    def __init__(self, worker: Worker, image: str) -> None:
        self.worker = worker
        client = worker.client
        host = client.create_host_config(network_mode="none", pid_mode=f"container:{worker.id}", cap_drop=["ALL"])
        made = client.create_container(image, ["busybox", "sleep", "999999"], user="1000:1000", host_config=host)
        self.id = made["Id"]
        client.start(self.id)
        self.pid = client.inspect_container(self.id)["State"]["Pid"]
        self._words: dict[str, tuple[tuple[str, ...], str, bool, int | None]] = {}

    def close(self) -> None:
        remove(self.worker.client, self.id)

    def enter(self, words: Sequence[str], **streams: int | None) -> subprocess.Popen[bytes]:
        """Run something in it."""
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid"]
        prefix = ["nsenter", "--target", str(self.pid), *namespaces, "--setuid", "1000", "--setgid", "1000", "--wdns=/"]
        return subprocess.Popen([*prefix, *words], **streams)  # type: ignore[call-overload,no-any-return]

    def words(self, tool: str, args: tuple[str, ...]) -> tuple[tuple[str, ...], str, bool, int | None]:
        """What debugrun would run: argv, stop signal, whether it writes breakpoints, and the process it attaches to."""
        key = f"{tool} {args}"
        if key not in self._words:
            with connect() as engine:
                request = Request(tool=tool, container=self.worker.name, pid=self.worker.pid, args=args)
                found, mode = find_tool(request, Path("/nonexistent"))
                decision = plan(found, mode, look(engine, request, found), request.ceiling)
                assert decision.option is not None
                argv = invocations(request, decision, decision.option)[0].argv
                self._words[key] = (argv, found.stop_signal, found.breakpoints, attached_to(decision))
        return self._words[key]


class Held:
    """A tool that a lease holds: with its input, or `alone` as the lease's own child."""

    def __init__(self, sidecar: Sidecar, tool: str, args: tuple[str, ...], *, alone: bool) -> None:
        argv, stop, breakpoints, process = sidecar.words(tool, args)
        words = lease.command(
            stop_signal=stop, breakpoints=breakpoints, process=process, mender=True, tool=argv if alone else (),
        )  # fmt: skip
        theirs, self._input = os.pipe()
        if alone:
            os.write(self._input, b"held:\n")  # what it puts before its own lines
        said, errors = os.pipe()  # what the script reads as well, for a sleep without a process
        os.fchown(errors, 1000, 1000)
        self.script = sidecar.enter(words, stdin=theirs, stdout=errors, stderr=errors)
        os.close(theirs)
        os.close(errors)
        threading.Thread(target=_drain, args=(os.fdopen(said, "rb"),), daemon=True).start()
        self.tool: subprocess.Popen[bytes] | None = None
        self._open = True
        self._lock = threading.Lock()
        if not alone:
            self.tool = sidecar.enter(
                ["sh", "-c", LAUNCHER, "sh", REAPER, STARTER, "", *argv],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            assert self.tool.stdout is not None
            assert self.tool.stdin is not None
            found = IDENTITY.fullmatch(self.tool.stdout.readline())
            assert found is not None
            self.tell(f"tool {int(found[1])} {int(found[2])}")
            self.tool.stdin.write(b"\n")
            self.tool.stdin.flush()
            threading.Thread(target=_drain, args=(self.tool.stdout,), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while self.tell(""):
            time.sleep(BEAT)

    def tell(self, line: str) -> bool:
        """Send the script a line, while there is somebody to send it."""
        with self._lock:
            if not self._open:
                return False
            with contextlib.suppress(BrokenPipeError):
                os.write(self._input, f"{line}\n".encode())
                return True
            return False

    def end_input(self) -> None:
        """As the kernel does for a client that has gone."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._input)
        self.end_input_of_tool()

    def end_input_of_tool(self) -> None:
        """As a client does that leaves."""
        if self.tool is not None and self.tool.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.tool.stdin.close()

    def stop(self) -> None:
        """As the engine does."""
        for child in children(self.script.pid):  # of nsenter, which stays outside of the PID namespace
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child.parent.name), signal.SIGTERM)

    @property
    def running(self) -> bool:
        """Whether the tool runs."""
        return (self.tool or self.script).poll() is None

    def ended(self, within: float) -> bool:
        """Whether script and tool end within that time."""
        deadline = time.monotonic() + within
        for each in (self.tool, self.script):
            if each is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    each.wait(max(0.1, deadline - time.monotonic()))
        return all(each is None or each.poll() is not None for each in (self.tool, self.script))


def _drain(stream: IO[bytes]) -> None:
    """Read it to its end, so that nobody waits for a full pipe."""
    with stream, contextlib.suppress(OSError):
        for _ in stream:
            pass
