"""The flow of `debugrun catch`: wait beside a container for a moment, and take the stacks of it; over restarts as well.

The plan is that of gdb's mode `stacks`: the same calls, the same memory. The sidecar lives in the container's PID
namespace and ends with it; for the next life a new one is sent, by the same plan. `from_start` keeps one in the host's
PID namespace instead, which is there before the container's processes are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import field, replace
from pathlib import Path

from rich.text import Text

from debugrun.core.grants import Ceiling
from debugrun.core.know import inspection
from debugrun.core.know.json_access import Json
from debugrun.core.know.printable import printable
from debugrun.core.oncall import containers, moments, stacks
from debugrun.core.oncall.containers import Container
from debugrun.core.oncall.moments import Moment
from debugrun.core.oncall.stacks import Copied
from debugrun.engine import engine
from debugrun.engine.engine import Engine
from debugrun.errors import DebugrunError, EngineError, RefusedError, TargetError, UsageError
from debugrun.observe import scout
from debugrun.oncall import look as looking
from debugrun.oncall import stacks_page, watching
from debugrun.oncall.first_look import console
from debugrun.oncall.watching import Chance
from debugrun.values import dataclass

SCHEMA = 1
BETWEEN = 0.05  # seconds between two looks at whether a container has started again
SETTLES = 3.0  # seconds in which the engine notices that a container has ended
TICKS = {False: 0.02, True: 0.002}  # seconds between looks for new processes, by from_start: those may die soon


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What was asked for. `action` is run here after each catch; `duration` in seconds, None: without end.

    `hold`: seconds that a dying process stands still at most until its stacks are known.
    """

    container: str
    on: Moment
    pid: int | None = None
    count: int = 1
    duration: int | None = None
    hold: float = 10.0
    output: Path | None = None
    from_start: bool = False
    action: tuple[str, ...] = ()
    as_json: bool = False
    ceiling: Ceiling = field(default_factory=Ceiling)


class Told:
    """Hears what the watcher says, and shows each catch as it comes."""

    def __init__(self, wish: Wish, name: str, ready: threading.Event) -> None:
        self._wish, self._name = wish, name
        self._out, self._ready = console(), ready
        self.caught = 0
        self.watched: set[int] = set()
        self.refused: dict[int, str] = {}
        self.over: Json = {}

    def hear(self, told: Json) -> None:
        """One line."""
        event, pid = told.get("event"), told.get("pid")
        if event == "caught":
            self.caught += 1
            self._caught(told)
        elif event == "ready" and not self._ready.is_set():
            self._ready.set()
            print(f"debugrun: watching {self._name}; Ctrl-C ends that, and it goes on", file=sys.stderr)
        elif event == "watched" and isinstance(pid, int):
            self.watched.add(pid)
            self.refused.pop(pid, None)
        elif event == "refused" and isinstance(pid, int):
            self.refused[pid] = printable(str(told.get("error", "")))
        elif event == "fate":
            number = told.get("signal")
            words = f"ended by {moments.signal_name(number)}" if isinstance(number, int) and number else "exited"
            print(f"debugrun: PID {pid} has met its fate: {words}", file=sys.stderr)
        elif event == "end":
            self.over = told

    def _caught(self, told: Json) -> None:
        process = told.get("process")
        (copied,) = stacks.decoded([process] if isinstance(process, dict) else [{}])
        tid = told.get("tid")
        why = told.get("why")
        words = moments.happened(why if isinstance(why, dict) else {})
        if self._wish.on.kind == "syscall":
            words = f"{words} {self._wish.on.argument}"
        line = f"{self._name} {printable(str(told.get('name', '')))}/{copied.pid}, thread {tid}: {words}"
        first = tid if isinstance(tid, int) else 0
        if self._wish.as_json:
            print(json.dumps(as_dict(told, copied, self._name, line)), flush=True)
        else:
            self._out.print(Text(line, style="bold red"))
            stacks_page.one(self._out, copied, first=first)
            sys.stdout.flush()
        path = self._save(told, copied, line)
        if self._wish.action:
            environment = {"DEBUGRUN_CAUGHT": line, "DEBUGRUN_FILE": str(path or "")}
            subprocess.run(self._wish.action, env={**os.environ, **environment}, check=False, stdin=subprocess.DEVNULL)

    def _save(self, told: Json, copied: Copied, line: str) -> Path | None:
        if self._wish.output is None:
            return None
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        path = self._wish.output / f"{stamp}-{os.getpid()}-{self.caught}.json"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            json.dump(as_dict(told, copied, self._name, line), file)
        print(f"debugrun: wrote {path}", file=sys.stderr)
        return path


def as_dict(told: Json, copied: Copied, name: str, line: str) -> dict[str, object]:
    """One catch as JSON; times in seconds."""
    why = told.get("why")
    return {
        "schema": SCHEMA,
        "container": name,
        "what": line,
        "why": why if isinstance(why, dict) else {},
        "tid": told.get("tid"),
        "process": {
            "pid": copied.pid,
            "name": printable(str(told.get("name", ""))),
            "stood_still": copied.still,
            "not_stopped": list(copied.late),
            "error": printable(copied.error),
            "threads": stacks.threads(copied, {}),
        },
        "overhead": {key: told.get(key) for key in ("stops", "handled", "passed")},
    }


def run(wish: Wish, folder: Path) -> int:
    """Wait and show. 0; 124 when the time is over and nothing was caught; 125 when a stack is missing."""
    if wish.output is not None and not wish.output.is_dir():
        raise UsageError("no-folder", f"there is no folder {wish.output}", f"mkdir -p {wish.output}")
    with engine.connect() as connection:
        return _Lives(connection, wish, folder).run()


class _Lives:
    """The lives of one container, one after the other."""

    def __init__(self, connection: Engine, wish: Wish, folder: Path) -> None:
        self.engine, self.wish, self.folder = connection, wish, folder
        self.end = None if wish.duration is None else time.monotonic() + wish.duration
        self.caught = 0
        self.chance: Chance | None = None
        self.ready = threading.Event()
        self.missed = 0
        self.over = False

    def run(self) -> int:
        before = ""
        while self.caught < self.wish.count and not self.over:
            now = self._next_life(before)
            if now is None:
                break
            before = now.started
            try:
                self._watch(now)
            except DebugrunError as error:
                if isinstance(error, UsageError | RefusedError) or not self._life_is_over(before):
                    raise
                if self.chance is None:  # it was over before anything was known of it
                    self.missed += 1
        return self._settled()

    def _state(self) -> Container:
        return containers.container(self.engine.inspect_container(self.wish.container))

    def _next_life(self, before: str) -> Container | None:
        """The container once it runs and is not what it was; None: the time is over, or it will not run again."""
        said = False
        while True:
            found = self._state()
            if found.running and (found.started != before or self.wish.from_start):
                return found
            if self.wish.from_start and found.state == "restarting":
                return found
            if not found.running and found.state != "restarting" and (not before or self._stays(found)):
                if before:
                    print(f"debugrun: {found.name} {containers.ending(found)}; nothing restarts it", file=sys.stderr)
                    return None
                raise TargetError(
                    "container-not-running",
                    f"{found.name} does not run: it is {found.state}",
                    f"debugrun ps {found.name}",
                )
            if before and not said and not found.running:
                said = True
                print(f"debugrun: {found.name} {containers.ending(found)}; waiting for its restart", file=sys.stderr)
            if self._left() == 0:
                return None
            time.sleep(BETWEEN)

    @staticmethod
    def _stays(found: Container) -> bool:
        return found.restart_policy in {"", "no"} or (found.restart_policy == "on-failure" and found.exit_code == 0)

    def _left(self) -> float | None:
        return None if self.end is None else max(0.0, self.end - time.monotonic())

    def _life_is_over(self, started: str) -> bool:
        """Whether this life is over, as the engine notices it."""
        deadline = time.monotonic() + SETTLES
        while time.monotonic() < deadline:
            found = self._state()
            if not found.running or found.started != started:
                return True
            time.sleep(BETWEEN)
        return False

    def _watch(self, found: Container) -> None:
        """One life, from now on."""
        if self.chance is None:
            self.chance = self._from_start() if self.wish.from_start else self._decided(found.id)
        told = Told(self.wish, found.name, self.ready)
        lines = watching.Lines(told.hear)
        left = self._left()
        seconds = None if left is None else max(1, round(left))
        try:
            watching.attend(self.engine, self.chance, self._question(self.chance), lines, seconds)
        finally:
            self.caught += told.caught
        if lines.error:
            why = printable(lines.error)
            raise EngineError(
                "catch", f"what came of {found.name} makes no sense: {why}", "the target runs on; try again"
            )
        if not told.watched and told.refused and self.wish.on.kind not in {"cpu", "stuck"}:
            raise RefusedError("refused", *watching.refusal(found.name, told.refused))
        watching.overhead(told.over)
        if self.caught < self.wish.count and seconds is None:
            raise TargetError("target-ended", f"container {found.name} ended", f"debugrun ps {found.name}")
        self.over = self.over or seconds is not None

    def _question(self, chance: Chance) -> dict[str, object]:
        machine = inspection.machine(str(self.engine.version().get("Arch", "")))
        main = chance.decision.facts.process.pid if chance.decision else 0
        return {
            **self.wish.on.question(machine),
            "pid": self.wish.pid or (main if self.wish.on.kind == "stuck" else 0),
            "container": chance.target.id,
            "across": self.wish.from_start,
            "count": self.wish.count - self.caught,
            "hold": self.wish.hold,
            "tick": TICKS[self.wish.from_start],
        }

    def _decided(self, container: str) -> Chance:
        return watching.decided(self.engine, container, self.wish.pid, self.wish.ceiling, self.folder)[0]

    def _from_start(self) -> Chance:
        """Without facts of a process, which may not live long enough: as the container's user, with what it has."""
        inspected = self.engine.inspect_container(self.wish.container)
        facts = inspection.container_facts(
            inspected, inspection.engine_facts(self.engine.version(), self.engine.info())
        )
        who = scout.peer(facts)
        if who is None:
            message = (
                f"{facts.name} runs as {facts.user or 'root'}: from outside nobody knows which ids and capabilities"
            )
            raise TargetError("no-peer", message, "without --from-start, or with `user: UID:GID` in the container")
        option = replace(looking.option(facts, who.user, who.capabilities), pid_namespace="host")
        print(
            f"debugrun: sidecar as {who.user} in the host's PID namespace, where it sees the processes of all "
            f"containers; no capability that {facts.name} lacks",
            file=sys.stderr,
        )
        return Chance(option=option, target=facts)

    def _settled(self) -> int:
        if self.missed and not self.caught:
            message = f"debugrun: {self.missed} lives of it ended before we were there: --from-start sees those"
            print(message, file=sys.stderr)
        if not self.caught:
            print("debugrun: nothing was caught", file=sys.stderr)
            return 124
        return 0
