"""However and whenever a tool or its client is ended, a worker that is not PID 1 is as it was before.

The default cases are those that did harm; many more come of `make trials`, which draws them at random.
"""

from __future__ import annotations

import itertools
import random
import time

import docker
import pytest

from tests.live import crowds, harm
from tests.live.crowds import Kind
from tests.live.harm import Trial

pytestmark = pytest.mark.live

SEED = 20261127
SECONDS = 120  # of the random ones in `make test-slow`


def trial(tool: str, kind: Kind, end: str, moment: str = "traced", delay: float = 0.0) -> Trial:
    return Trial(tool=tool, kind=kind, end=end, moment=moment, delay=delay, pause=7.0)


CASES = [
    # A SIGINT of gdb's own, still on its way as gdb went, killed them.
    trial("gdb", Kind(), "tool INT"),
    trial("gcore", Kind(threads=40), "client TERM"),
    # They stayed in state T: SIGSTOP is what PTRACE_ATTACH stops by.
    trial("gdb", Kind(threads=40), "tool KILL"),
    trial("gcore", Kind(threads=3, catches=True), "client KILL"),
    # Nor was this one let go of: of one that was interrupted while it attached, nobody counted how long that took.
    trial("gdb", Kind(threads=3, does="vfork"), "twice INT", moment="at work", delay=0.2),
    # A second SIGSTOP was left to one that was stopped before.
    trial("gdb", Kind(threads=3, stopped=True), "client HUP", moment="at work"),
    # Told twice while it took its breakpoints out.
    trial("gdb break", Kind(threads=3, does="calls"), "paused", moment="at work"),
    # The breakpoint's own commands let the program go on.
    trial("gdb loop", Kind(does="calls"), "client TERM", moment="at work"),
    # At a terminal it never saw the end of its input.
    trial("gdbserver", Kind(), "terminal closed", moment="at work"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_end_that_did_harm(engine: docker.APIClient, toolbox: str, case: Trial) -> None:
    assert toolbox
    with crowds.worker(engine, case.kind) as worker:
        before, after, left, said = harm.run(worker, case)
        assert (harm.difference(before, after), left) == ("", []), said


def test_a_target_that_is_restarted(engine: docker.APIClient, toolbox: str) -> None:
    assert toolbox
    with crowds.worker(engine, Kind(does="calls")) as worker:
        case = trial("gdb break", worker.kind, "client TERM")
        with harm.client(worker, case) as (process, _):
            crowds.until(worker.tracer, harm.ATTACHES)
            engine.restart(worker.id, timeout=1)
            _, said = process.communicate(timeout=harm.SETTLES)
    assert process.returncode == 125
    # By the time that we look it may be down still.
    assert b"was restarted while gdb was at it" in said or b"ended while gdb was at it" in said
    assert b"sidecar was killed" not in said


@pytest.mark.parametrize("tool", ["gdb", "gcore"])
def test_a_target_that_nothing_can_stop_is_told_of(engine: docker.APIClient, toolbox: str, tool: str) -> None:
    assert toolbox
    with crowds.worker(engine, Kind(does="vfork")) as worker:
        before = worker.look()
        case = trial(tool, worker.kind, "client TERM")
        with harm.client(worker, case) as (process, _):
            assert process.stderr is not None
            told = next((line for line in process.stderr if b"in state D" in line), b"")
            process.terminate()
            process.stderr.read()
            process.wait(harm.SETTLES)
        after, left = worker.settled(before, harm.SETTLES)
    assert f"{tool} waits: ".encode() in told
    assert (harm.difference(before, after), left) == ("", [])


@pytest.mark.slow
def test_random_ends(engine: docker.APIClient, toolbox: str) -> None:
    assert toolbox
    dice = random.Random(SEED)  # noqa: S311 - for a repetition
    drawn = (harm.drawn(dice, list(harm.TOOLS), harm.KINDS, harm.ENDS, direct=True) for _ in itertools.count())
    bench = harm.Bench(engine, SECONDS, drawn, direct=True)
    began = time.monotonic()
    bench.work()
    print(f"seed {SEED}, {time.monotonic() - began:.0f} s\n{bench.report()}")
    assert bench.done["all", ""] > 0
    assert bench.harmed["all", ""] == 0, bench.report()
