"""Trials: a tool is put on a worker and ended at a random moment; then the worker is as it was, or was harmed.

    python -m tests.live.harm --seconds 600 [--seed N] [--jobs 3] [--tools gdb,gcore] [--ends ...] [--kinds ...]

Prints the seed, each harm as it comes, and the counts by tool and by end; its status is 1 when there was any harm.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import functools
import os
import pty
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import docker

from debugrun.attach.place import GENTLE
from debugrun.core.ask.request import TOOLBOX
from tests.live import crowds
from tests.live.crowds import Kind, Look, Worker
from tests.live.direct import Held, Sidecar

SETTLES = 45.0  # seconds for the last of it to be gone, on a busy machine
PER_THREAD = 0.05  # more of them: each look of the lease, and each step of a debugger, goes through all threads
ATTACHES = 90.0  # seconds for a tool to be there, on a busy machine
LINGERS = 6.0  # seconds that a tool which was told itself has before its client is

BREAK = ["-batch", "-ex", "break work", "-ex", "ignore 1 1000000", "-ex", "continue"]
LOOP = [
    "-batch",
    "-ex",
    "break work",
    "-ex",
    r"python gdb.breakpoints()[0].commands='silent\ncontinue'",
    "-ex",
    "continue",
]
TOOLS: Mapping[str, tuple[str, list[str]]] = {
    "gdb": ("gdb", ["-batch", "-ex", "thread apply all bt 1"]),
    "gdb break": ("gdb", BREAK),
    "gdb loop": ("gdb", LOOP),
    "gcore": ("gcore", []),
    "strace": ("strace", ["-f", "-o", "/dev/null"]),
    "ltrace": ("ltrace", ["-o", "/dev/null"]),
    "gdbserver": ("gdbserver", []),
}  # fmt: skip
CLIENT = {
    f"client {number.name[3:]}": number for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
}
TOOL = {f"tool {number.name[3:]}": number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)}
ENDS = (*CLIENT, *TOOL, "twice INT", "sidecar stopped", "paused", "terminal closed")
MOMENTS = ("any", "traced", "at work")
KINDS = (
    Kind(), Kind(catches=True), Kind(does="busy"), Kind(does="vfork"), Kind(stopped=True), Kind(does="calls"),
    Kind(threads=3), Kind(threads=3, does="calls"), Kind(threads=3, does="vfork"), Kind(threads=3, stopped=True),
    Kind(threads=40), Kind(threads=40, catches=True), Kind(threads=40, does="calls"), Kind(threads=40, stopped=True),
    Kind(threads=800), Kind(threads=800, does="busy"), Kind(threads=800, does="vfork"), Kind(threads=2000),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One to be made. `moment`: any time after the client's start; just traced; or at work for `delay` seconds."""

    tool: str
    kind: Kind
    end: str
    moment: str
    delay: float
    pause: float

    def __str__(self) -> str:
        return f"{self.tool} on {self.kind}: {self.end}, {self.moment} + {self.delay:.3f} s"


def drawn(
    dice: random.Random, tools: Sequence[str], kinds: Sequence[Kind], ends: Sequence[str], *, direct: bool
) -> Trial:
    """A trial that makes sense."""
    while True:
        tool, kind, end = dice.choice(tools), dice.choice(kinds), dice.choice(ends)
        moment = dice.choice(MOMENTS)
        delay = (
            dice.uniform(0, 1.5) if moment == "any" else dice.choice([0.0, dice.uniform(0, 0.05), dice.uniform(0, 1)])
        )
        if direct and end == "terminal closed":
            continue
        if tool == "ltrace" and kind.threads > 1:
            continue  # it may kill them, and says so
        if tool == "ltrace" and end == "tool KILL":
            continue  # a debugger that is killed with its breakpoints in
        if tool in {"gdb break", "gdb loop"} and (kind.does != "calls" or end == "tool KILL"):
            continue
        return Trial(tool=tool, kind=kind, end=end, moment=moment, delay=delay, pause=dice.uniform(1, 12))


def settles(kind: Kind) -> float:
    """Seconds for the last of it to be gone."""
    return SETTLES + PER_THREAD * kind.threads


@contextlib.contextmanager
def client(worker: Worker, trial: Trial) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], None]]]:
    """debugrun at work, and how its terminal is closed."""
    tool, args = TOOLS[trial.tool]
    own = ["--may-kill"] if tool == "ltrace" else []
    words = [
        sys.executable,
        "-m",
        "debugrun",
        tool,
        worker.name,
        str(worker.pid),
        *own,
        *(["--", *args] if args else []),
    ]
    if trial.end != "terminal closed":
        # With input in half of them: a tool without any starts with its sidecar, and is held in another way.
        stdin = subprocess.PIPE if tool == "gdbserver" or int(trial.delay * 1000) % 2 else subprocess.DEVNULL
        with subprocess.Popen(words, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            yield process, lambda: None
            process.kill()
        return
    master, slave = pty.openpty()
    words = ["setsid", "--ctty", *words]  # which becomes it: we lead a process group of no session of our own
    with subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        threading.Thread(target=_drain, args=(master,), daemon=True).start()
        yield process, lambda: os.close(master)
        process.kill()


def _drain(master: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(master, 65536):
            pass


def run(worker: Worker, trial: Trial) -> tuple[Look, Look, list[str], str]:
    """How the worker was, how it is, what is left of ours, and what the client said last."""
    before = worker.look()
    with client(worker, trial) as (process, close):
        if _wait(worker, trial, lambda: process.poll() is None):
            _end(worker, trial, process, close)
        deadline = time.monotonic() + settles(worker.kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LINGERS if trial.end in TOOL else settles(worker.kind))
        if process.poll() is None:
            process.terminate()
            deadline = time.monotonic() + settles(worker.kind)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(deadline - time.monotonic())
        after, left = worker.settled(before, max(settles(worker.kind) / 2, deadline - time.monotonic()))
        said = ""
        if process.stderr is not None:
            process.kill()
            said = process.stderr.read().decode(errors="replace")[-600:]
    return before, after, left, said


def _wait(worker: Worker, trial: Trial, running: Callable[[], bool]) -> bool:
    """Wait for the moment; whether there is still something to end."""
    if trial.moment != "any":
        deadline = time.monotonic() + ATTACHES
        while not worker.tracer() and running() and time.monotonic() < deadline:
            time.sleep(0.0005)
        if trial.moment == "at work":
            time.sleep(0.5)
    time.sleep(trial.delay)
    return running()


def _end(worker: Worker, trial: Trial, process: subprocess.Popen[bytes], close: Callable[[], None]) -> None:
    if trial.end in CLIENT:
        process.send_signal(CLIENT[trial.end])
    elif trial.end in TOOL:
        if tracer := worker.tracer():
            with contextlib.suppress(ProcessLookupError):
                os.kill(tracer, TOOL[trial.end])
    elif trial.end == "twice INT":
        process.send_signal(signal.SIGINT)
        time.sleep(trial.delay / 2)
        process.send_signal(signal.SIGINT)
    elif trial.end == "sidecar stopped":
        for each in worker.sidecars():
            with contextlib.suppress(docker.errors.APIError):
                worker.client.kill(each, signal="TERM")
    elif trial.end == "paused":
        worker.client.pause(worker.id)
        process.kill()
        time.sleep(trial.pause)
        worker.client.unpause(worker.id)
    else:
        close()


def run_direct(sidecar: Sidecar, trial: Trial) -> tuple[Look, Look, list[str], str]:
    """As run(), where the lease and the tool are started without client and engine."""
    worker = sidecar.worker
    before = worker.look()
    tool, args = TOOLS[trial.tool]
    alone = tool != "gdbserver" and int(trial.delay * 1000) % 2 == 0
    held = Held(sidecar, tool, tuple(args), alone=alone)
    if _wait(worker, trial, lambda: held.running):
        _end_direct(worker, trial, held)
    if trial.end in TOOL or trial.end == "client INT":
        held.ended(LINGERS)
    held.end_input()
    deadline = time.monotonic() + settles(worker.kind)
    left = [] if held.ended(settles(worker.kind)) else ["the lease has not ended"]
    after, _ = worker.settled(before, max(2.0, deadline - time.monotonic()))
    return before, after, left, ""


def _end_direct(worker: Worker, trial: Trial, held: Held) -> None:
    if trial.end in {"client INT", "twice INT"}:
        held.tell("int")
    elif trial.end in {"client TERM", "client HUP"}:
        held.end_input_of_tool()
        held.tell("stop")
        held.ended(GENTLE)
    elif trial.end in TOOL:
        if tracer := worker.tracer():
            with contextlib.suppress(ProcessLookupError):
                os.kill(tracer, TOOL[trial.end])
    elif trial.end == "sidecar stopped":
        held.stop()
    elif trial.end == "paused":
        worker.client.pause(worker.id)
        held.end_input()
        time.sleep(trial.pause)
        worker.client.unpause(worker.id)
    if trial.end == "twice INT":
        time.sleep(trial.delay / 2)
        held.end_input_of_tool()
        held.tell("stop")
        held.ended(GENTLE)


class Bench:
    """Workers by kind, used again for as long as they are unharmed, and the counts."""

    def __init__(self, api: docker.APIClient, seconds: float, trials: Iterator[Trial], *, direct: bool) -> None:
        self.api = api
        self.direct = direct
        self.until = time.monotonic() + seconds
        self.trials = trials
        self.lock = threading.Lock()
        self.done: collections.Counter[tuple[str, str]] = collections.Counter()
        self.harmed: collections.Counter[tuple[str, str]] = collections.Counter()
        self.noticed = 0

    def work(self) -> None:
        """Make trials until the time is over."""
        with contextlib.ExitStack() as stack:
            mine: dict[Kind, tuple[Callable[[Trial], tuple[Look, Look, list[str], str]], contextlib.ExitStack]] = {}
            while time.monotonic() < self.until:
                with self.lock:
                    trial = next(self.trials, None)
                if trial is None:
                    return
                if trial.kind not in mine:
                    holder = stack.enter_context(contextlib.ExitStack())
                    worker = holder.enter_context(crowds.worker(self.api, trial.kind))
                    by = functools.partial(run, worker)
                    if self.direct:
                        sidecar = holder.enter_context(contextlib.closing(Sidecar(worker, TOOLBOX)))
                        by = functools.partial(run_direct, sidecar)
                    mine[trial.kind] = by, holder
                if not self._made(mine[trial.kind][0], trial):
                    mine.pop(trial.kind)[1].close()

    def _made(self, by: Callable[[Trial], tuple[Look, Look, list[str], str]], trial: Trial) -> bool:
        before, after, left, said = by(trial)
        well = before == after and not left
        with self.lock:
            for key in (("tool", trial.tool), ("end", trial.end), ("worker", str(trial.kind)), ("all", "")):
                self.done[key] += 1
                self.harmed[key] += not well
            self.noticed += after.noticed > before.noticed
            if not well:
                print(f"HARMED {trial}\n  {difference(before, after)} {left or ''}\n  {said[-300:]!r}", flush=True)
        return well

    def report(self) -> str:
        rows = [f"  {' '.join(key):<36} {self.harmed[key]:>4} of {count}" for key, count in sorted(self.done.items())]
        told = f"  unharmed, but its parent was told that it stopped and went on: {self.noticed}"
        return "\n".join(["harmed:", *rows, told])


def difference(before: Look, after: Look) -> str:
    """The fields that differ."""
    names = [each.name for each in dataclasses.fields(Look) if each.compare]
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in names)
    return ", ".join(f"{name}: {old!r} -> {new!r}" for name, old, new in pairs if old != new)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--direct", action="store_true", help="without client and engine: many more in the same time")
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--ends", default=",".join(ENDS))
    parser.add_argument("--kinds", default="")
    given = parser.parse_args()
    dice = random.Random(given.seed)  # noqa: S311 - for a repetition
    kinds = [kind for kind in KINDS if given.kinds in str(kind)]
    print(f"seed {given.seed}", flush=True)
    left = [given.count if given.count is not None else 1 << 30]

    def trials() -> Iterator[Trial]:
        while left[0] > 0:
            left[0] -= 1
            yield drawn(dice, given.tools.split(","), kinds, given.ends.split(","), direct=given.direct)

    bench = Bench(docker.from_env(timeout=120).api, given.seconds, trials(), direct=given.direct)
    workers = [threading.Thread(target=bench.work) for _ in range(given.jobs)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    print(bench.report())
    return 1 if bench.harmed["all", ""] else 0


if __name__ == "__main__":
    sys.exit(main())
