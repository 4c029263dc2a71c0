"""A place where tools run, one after the other, and a tool that runs there.

A tool never runs without a lease where there is a shell to hold one: it starts by way of a few lines of shell that
say its identity and wait for a go, which is given once the lease knows whom to end.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from debugrun.attach.lease import Lease
from debugrun.core.know.facts import ContainerFacts
from debugrun.core.know.json_access import Json
from debugrun.core.say import refusals
from debugrun.engine.stream import Frames, LostError, Stream
from debugrun.errors import DebugrunError, EngineError, TargetError
from debugrun.values import dataclass

# Three scripts, each starting the next. Where there is a tini, a subreaper stands above the tool: an orphan of the
# tool (gdb's and gdbserver's helper in the target's mount namespace ends after them) would go to the PID namespace's
# PID 1, the target, and stay there as a zombie when that one reaps no strangers. gVisor has no subreapers, and says who
# it is by a file of its own.
LAUNCHER = """\
reaper=$1 starter=$2
shift 2
type tini >/dev/null 2>&1 && [ ! -e /proc/sentry-meminfo ] && exec tini -s -- "$0" -c "$reaper" "$0" "$starter" "$@"
exec "$0" -c "$starter" debugrun "$@"
"""

# Outlives the tool until tini has no other child, which takes a helper some milliseconds. That `read` fails, since no
# newline ends the file. Says nothing itself: shells report a signal that killed their child.
REAPER = """\
starter=$1
shift
trap : INT QUIT HUP
exec 9>&2 2>/dev/null
(exec 2>&9 9>&- && exec "$0" -c "$starter" debugrun "$@")
status=$?
tries=0
while [ $tries -lt 20000 ]; do
    children=
    read -r children <"/proc/$PPID/task/$PPID/children"
    [ "${children:-$$}" = $$ ] && break
    tries=$((tries + 1))
done
exit $status
"""

# Says who it is (proc_pid_stat(5): the name in parentheses may hold anything, so the fields are counted after the
# last one), waits for the go, and becomes the tool. Its first argument is the process that the tool is for: where that
# PID is another one's by now, it says so.
STARTER = """\
expected=$1
shift
same() {
    last=
    while read -r line; do
        last=$line
    done 2>/dev/null <"/proc/$1/stat"
    born=$2 n=0
    for field in ${last##*) }; do
        n=$((n + 1))
        [ $n -eq 20 ] && [ "$field" = "$born" ] && return
    done
    return 1
}
if [ "$expected" ] && ! same $expected; then
    echo other
    exit 1
fi
read -r line </proc/self/stat
n=0
for field in ${line##*) }; do
    n=$((n + 1))
    [ $n -eq 20 ] && echo "$$ $field"
done
read -r line && exec "$@"
"""

OTHER = re.compile(rb"other\r?\n")
IDENTITY = re.compile(rb"(\d+) (\d+)\r?\n")
START_TIMEOUT = 30.0  # seconds for a shell in a container to say who it is
SAYS_WHY = 1.0  # seconds for a lease's last words to come, once the engine has said that its container ended
GENTLE = 10.0  # seconds that we wait for a tool to end; the lease goes on waiting without us
INTERRUPT, END_OF_INPUT = b"\x03", b"\x04"  # as a terminal sends them


class Runner(Protocol):
    """Who runs commands in containers: an engine, or the API server of a cluster. See `engine.Engine` for each call."""

    @property
    def endpoint(self) -> object:
        """What is talked to, for messages."""

    def exec_create(  # noqa: PLR0913 - the API's own
        self,
        container: str,
        argv: Sequence[str],
        *,
        user: str,
        tty: bool = False,
        privileged: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """A command that may be started; its id."""

    def exec_start(self, exec_id: str, *, tty: bool = False) -> Stream:
        """Start it: its standard input and output."""

    def exec_inspect(self, exec_id: str) -> Json:
        """`Running`, and `ExitCode` once it has ended."""

    def resize(self, exec_id: str, *, rows: int, columns: int) -> None:
        """The size of its TTY."""

    def inspect_container(self, ref: str) -> Json:
        """`State.Running` of a container."""

    def remove(self, container: str, *, force: bool = False) -> None:
        """Remove a container, where that can be."""


class Running:
    """A tool that was started by exec: its streams, its signals and its end."""

    def __init__(self, engine: Runner, exec_id: str, stream: Stream, *, tty: bool) -> None:
        self.stream = stream
        self.tty = tty
        self.ended = False
        self.over = False  # `receive` will say so without waiting
        self._engine = engine
        self._exec_id = exec_id
        self._frames = Frames()
        self._echo = b""

    def receive(self) -> list[tuple[int, bytes]] | None:
        """What has arrived as (1 for standard output or 2 for standard error, bytes); None: the end.

        An empty list: nothing yet. With a TTY everything is standard output. Raises LostError.
        """
        data = self.stream.receive()
        if data is None:
            return []
        if not data:
            self.ended = True
            return None
        if not self.tty:
            return self._frames.feed(data)
        if self._echo:
            common = min(len(self._echo), len(data))
            self._echo, data = self._echo[common:], data[common:]
        return [(1, data)] if data else []

    def identify(self) -> tuple[int, int] | None:
        """PID and starttime of the shell that becomes the tool: its first line; None: its process is another one.

        Raises EngineError without one.
        """
        text = b""
        deadline = time.monotonic() + START_TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            if not self.stream.wait(left):
                break
            parts = self.receive()
            if parts is None:
                break
            text += b"".join(part for _, part in parts)
            if found := IDENTITY.fullmatch(text):
                return int(found[1]), int(found[2])
            if OTHER.fullmatch(text):
                return None
        said = text.decode(errors="replace").strip() or "its shell said nothing"
        raise refusals.refused(self.status() or 126, said, "the engine", "run a command in the container", "")

    def go(self) -> None:
        """Let the shell become the tool. A TTY echoes the line, and not as output of the tool."""
        self._echo = b"\r\n" if self.tty else b""
        self.stream.send_all(b"\n")

    def close_input(self) -> None:
        """Tell the tool that no more input comes."""
        self.stream.close_write()

    def resize(self, rows: int, columns: int) -> None:
        """Tell the TTY its size; a tool that has just ended is no error."""
        with contextlib.suppress(EngineError):
            self._engine.resize(self._exec_id, rows=rows, columns=columns)

    def status(self, timeout: float = 2.0) -> int | None:
        """The tool's exit status; None when the engine has lost it with its container.

        The engine notices the end of a process some milliseconds after the end of its output.
        """
        deadline = time.monotonic() + timeout
        pause = 0.002
        while True:
            try:
                told = self._engine.exec_inspect(self._exec_id)
            except DebugrunError:
                return None
            code = told.get("ExitCode")
            if not told.get("Running") and isinstance(code, int):
                return code
            if time.monotonic() > deadline:
                return None
            time.sleep(pause)
            pause = min(pause * 2, 0.1)


@dataclass(kw_only=True, slots=True)
class Place:
    """Where tools run: an exec in `container` as `user`.

    Without a `lease` (no shell in the target) a tool outlives a client that is killed, and takes no signals but the
    terminal's. `first` is a tool that was started with the place, the only one then. The first one that is started
    here is for the process `expected`, as `ProcessFacts.identity`: later ones may read what it left.
    """

    engine: Runner
    container: str
    target: ContainerFacts
    user: str
    lease: Lease | None
    privileged: bool
    shell: str = "sh"
    running: Running | None = None
    first: Running | None = None
    expected: str = ""

    @property
    def leased(self) -> bool:
        """Whether a tool ends when this program does, however it does."""
        return self.lease is not None

    def start(
        self,
        argv: Sequence[str],
        *,
        tty: bool,
        size: tuple[int, int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Running:
        """Start a tool; `size` is (rows, columns) of its TTY, in force before its first output.

        Raises EngineError: no such program, no shell, connection lost; UsageError: an argument that is not UTF-8.
        """
        expected = self.expected if self.running is None else ""
        if self.running is not None:
            self.running.stream.close()
        words = [self.shell, "-c", LAUNCHER, self.shell, REAPER, STARTER, expected, *argv]
        with self._unless_open():
            exec_id = self.engine.exec_create(
                self.container,
                list(argv) if self.lease is None else words,
                user=self.user,
                tty=tty,
                privileged=self.privileged,
                environment=environment,
            )
            self.running = running = Running(self.engine, exec_id, self.engine.exec_start(exec_id, tty=tty), tty=tty)
            identity = running.identify() if self.lease is not None else None
        if size is not None:
            running.resize(*size)
        if self.lease is None:
            return running
        if identity is None:
            raise self.replaced()
        self.lease.tell(f"tool {identity[0]} {identity[1]}")
        running.go()
        return running

    @contextlib.contextmanager
    def _unless_open(self) -> Iterator[None]:
        """What the engine says of a sidecar that has ended is no answer, where its lease has said why."""
        try:
            yield
        except DebugrunError as error:
            if self.lease is not None and self.lease.awaited("open", SAYS_WHY):
                raise self.opened() from error
            raise

    def opened(self) -> EngineError:
        """The lease found that the kernel would let the target into the sidecar, and started nothing."""
        message = f"processes of {self.target.name} could get into the sidecar, which would have more than they have"
        return EngineError("sidecar-open", message, "debugrun toolbox build; on the host: sysctl fs.suid_dumpable=0")

    def replaced(self) -> TargetError:
        """The process that was decided about has ended: nothing was started, whoever has its PID now."""
        message = f"PID {self.expected.split()[0]} of {self.target.name} has ended since it was looked at"
        return TargetError("process-replaced", message, f"debugrun ps {self.target.name}; start again")

    def signal(self, name: str) -> bool:
        """Send the tool "int", "hup", or "stop", what makes it detach; whether there is a lease to do it."""
        return self.lease is not None and self.lease.tell(name)

    def end(self, timeout: float = GENTLE) -> bool:
        """Make the running tool let go of the target, and wait; whether it has ended. Its output is thrown away."""
        running = self.running
        if running is None or running.ended:
            return True
        deadline = time.monotonic() + timeout
        with contextlib.suppress(LostError):
            if running.tty and not self.leased:
                running.stream.send_all(INTERRUPT + END_OF_INPUT)
            if not running.tty:
                running.close_input()
            self.signal("stop")
            while (left := deadline - time.monotonic()) > 0:
                if running.stream.wait(left) and running.receive() is None:
                    return True
        return False

    def clear(self) -> None:
        """Make a tool let go that has outlived its sidecar, and remove that.

        Podman ends a container's main process only; what runs in it by exec goes on without end, and keeps the
        container from being removed. A tool at a terminal is told by its keys, so that its breakpoints go; any other is
        killed, as Docker does with all.
        """
        if self.running is not None and self.running.tty:
            self._end_input(self.running)
        if self.container != self.target.id:
            with contextlib.suppress(DebugrunError):
                self.engine.remove(self.container, force=True)

    @staticmethod
    def _end_input(running: Running) -> None:
        deadline = time.monotonic() + GENTLE
        word = INTERRUPT
        with contextlib.suppress(LostError):
            while time.monotonic() < deadline:
                running.stream.send_all(word)
                # The end of input more than once: a tool that changes the TTY's mode does not see it.
                word, again = END_OF_INPUT, time.monotonic() + 0.5
                while (left := again - time.monotonic()) > 0:
                    if running.stream.wait(left) and running.receive() is None:
                        return

    def leave(self) -> None:
        """End what still runs and close its connection; the lease does the rest."""
        try:
            self.end()
        finally:
            if self.running is not None:
                self.running.stream.close()
