"""A container in the foreground, as `docker run` has one: its streams, its terminal, our signals, its exit status."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from debugrun.attach.attach import Lines
from debugrun.attach.ending import write
from debugrun.attach.place import Running
from debugrun.attach.relay import Relay, Turn, wakeups
from debugrun.engine.engine import Engine
from debugrun.engine.stream import LostError
from debugrun.errors import DebugrunError, EngineError

# As docker/cli ForwardAllSignals() does, but for those about children, pipes and the terminal's size.
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
INSISTING = 3  # so many of INT and TERM mean that it shall end now
Size = tuple[int, int]  # rows, columns
ANSWERED = 2.0  # seconds for the engine to say that it waits with us
REMOVED = 30.0  # seconds for the engine to remove what has ended
STOPPING = 10  # seconds that a program has to end when nobody reads its output any more


class Main(Running):
    """A container's first process, with the terminal's size and no exec of its own."""

    def __init__(self, engine: Engine, container: str, *, tty: bool) -> None:
        super().__init__(engine, "", engine.attach(container), tty=tty)
        self._owner = engine
        self._container = container

    def resize(self, rows: int, columns: int) -> None:
        """Tell the TTY its size; a container that has just ended is no error."""
        with contextlib.suppress(DebugrunError), self._owner.asking("resize a terminal"):
            self._owner.client.resize(self._container, height=rows, width=columns)


class Ending:
    """Waits for a container's end, on a connection and a thread of its own, from before its start."""

    def __init__(self, engine: Engine, container: str, *, removed: bool) -> None:
        self._engine = engine
        self._container = container
        self._condition = "removed" if removed else "next-exit"
        self._asked = threading.Event()
        self._status: int | None = None
        self._thread = threading.Thread(target=self._wait, name="ending", daemon=True)
        self._thread.start()
        # Docker answers with the head at once, and from then on no end is missed. Podman answers at the end only.
        self._asked.wait(ANSWERED)

    def _wait(self) -> None:
        client = self._engine.client
        address = f"{client.base_url}/v{client.api_version}/containers/{self._container}/wait"
        with contextlib.suppress(OSError, ValueError):
            answer = client.post(address, params={"condition": self._condition}, stream=True, timeout=None)
            self._asked.set()
            told = answer.json()
            self._status = int(told["StatusCode"]) if "StatusCode" in told else None

    def status(self) -> int:
        """The exit status. Raises EngineError when the engine does not tell it."""
        self._thread.join(REMOVED)
        if self._status is None:
            message = f"{self._engine.endpoint} did not say how the program ended"
            raise EngineError("engine-lost", message, "docker ps -a")
        return self._status


def run(  # noqa: PLR0913 - which one, and how it ends
    engine: Engine, container: str, *, name: str, tty: bool, detach_keys: str, removed: bool, unsaid: Sequence[str] = ()
) -> int:
    """Start a container that was created, with our own streams as its own; its exit status.

    Lines `unsaid` of its errors, at a terminal of its output, are left out. INT, TERM and other signals go to the
    program; the third INT or TERM ends it. Raises EngineError.
    """
    with wakeups(*PASSED_ON, signal.SIGWINCH) as woken:
        ending = Ending(engine, container, removed=removed)
        main = Main(engine, container, tty=tty)
        engine.start(container)
        relay = Relay(main, woken, stdin=0, stdout=1)
        try:
            lines = {1: Lines([f"{each}\r" for each in unsaid])} if tty else {2: Lines(unsaid)}
            if tty and not _at_terminal(_Session(engine, container, relay, lines), detach_keys):
                print(f"debugrun: you left {name}, and it runs on: docker attach {name}", file=sys.stderr)
                return 0
            if not tty:
                _Session(engine, container, relay, lines).run()
        except LostError as error:
            message = f"{engine.endpoint} broke the connection to {name} ({error}); it runs on"
            raise EngineError("engine-lost", message, f"docker attach {name}, or docker rm -f {name}") from error
        finally:
            main.stream.close()
    return ending.status()


def _at_terminal(session: _Session, detach_keys: str) -> bool:
    """Relay with our terminal in raw mode; False when the user left it, or it has gone."""
    from debugrun.attach import terminal  # noqa: PLC0415 - pexpect: only where there is a terminal

    keys = terminal.Keys(terminal.parse_keys(detach_keys))
    try:
        with terminal.raw(0):
            session.run(size=lambda: terminal.size_of(1), typed=keys.pass_on)
    except terminal.LeftError:
        return False
    return not session.gone


class _Session:
    """The relay to the end."""

    def __init__(self, engine: Engine, container: str, relay: Relay, lines: Mapping[int, Lines]) -> None:
        self.gone = False  # the terminal has
        self._engine = engine
        self._container = container
        self._relay = relay
        self._lines = lines
        self._insisted = 0

    def run(self, *, size: Callable[[], Size | None] | None = None, typed: Callable[[bytes], bytes] = bytes) -> None:
        """Relay until the container or the terminal ends; `typed` looks at what goes to the program."""
        self._fit(size)
        while not self._relay.running.ended and not self.gone:
            turn = self._relay.turn(None)
            if signal.SIGWINCH in turn.signals:
                self._fit(size)
            for number in turn.signals:
                self._pass_on(number)
            if turn.typed:
                self._relay.send(typed(turn.typed))
            elif turn.typed is not None:
                self.gone = size is not None
                self._relay.close_input()
            self._show(turn)
        with contextlib.suppress(BrokenPipeError):
            for source, lines in self._lines.items():
                write(source, lines.rest())

    def _fit(self, size: Callable[[], Size | None] | None) -> None:
        if size is not None and (found := size()) is not None:
            self._relay.running.resize(*found)

    def _show(self, turn: Turn) -> None:
        """Write what came; when nobody reads it, the program is told to end."""
        try:
            for source, data in turn.output:
                write(source, self._lines[source].feed(data) if source in self._lines else data)
            if turn.unread:
                raise BrokenPipeError  # noqa: TRY301 - the same as what a write says
        except BrokenPipeError:
            self._engine.stop(self._container, timeout=STOPPING)
            self._relay.running.ended = True

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGWINCH:
            return
        self._insisted += number in {signal.SIGINT, signal.SIGTERM}
        sent = signal.SIGKILL if self._insisted >= INSISTING else number
        with contextlib.suppress(DebugrunError), self._engine.asking("send a signal to", self._container):
            self._engine.client.kill(self._container, signal=int(sent))
