"""The main job: each tool on each kind of target works with the chosen option, and every part of it is needed.

The parts of an option are each capability, each opened call, the user, and the file capability. Without a part the
rules must say closed, and then the kernel must say no: a disagreement is a bug in our data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from debugrun import backends, session
from debugrun.core.ask.request import Request
from debugrun.core.decide import judge
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Option, Placement, Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.know.tool_file import Failure
from debugrun.engine.engine import Engine, connect
from debugrun.observe.target import look
from debugrun.toolbox.catalog import find_tool
from tests.cases import DOCKER_DEFAULT
from tests.trials import ask_for_memory

pytestmark = pytest.mark.live

NATIVE = ("root", "u1000", "hard", "rootcap", "undump", "undump1000", "static", "musl", "owngdb")
# ltrace may kill what has several threads. A static program makes no library calls; of musl's loader it takes a path
# that is the target's for its own.
LONE = ("lone", "lone1000", "lonehard", "lonerootcap", "loneundump", "loneundump1000")
# gdb must be able to signal its target, or it can't stop it again: one backtrace alone would not show that.
SIGNAL = "python import os; os.kill(1, 0); print('may signal')"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a tool is run with, what its output holds when it did its job, and on which targets.

    `memory`: it is asked on its standard input for the first four bytes of the target's memory.
    """

    tool: str
    args: tuple[str, ...] = ()
    mode: str | None = None
    duration: int | None = None
    memory: bool = False
    shows: tuple[bytes, ...]
    names: tuple[str, ...] = NATIVE


WORK = (
    Work(tool="gdb", args=("-batch", "-ex", "bt", "-ex", SIGNAL), shows=(b"#0 ", b"may signal")),
    Work(tool="strace", duration=1, shows=(b"nanosleep",)),
    Work(tool="perf", mode="stat", duration=1, shows=(b"seconds time elapsed",)),
    Work(tool="gdbserver", duration=1, memory=True, shows=(b"Remote debugging using stdio", b"$7f454c46#")),
    Work(tool="ltrace", duration=1, shows=(b"(",), names=LONE),
    Work(tool="py-spy", shows=(b"Thread",), names=("python",)),
    Work(tool="tcpdump", duration=1, shows=(b"listening on any",)),
)
CASES = [pytest.param(work, name, id=f"{work.tool}-{name}") for work in WORK for name in work.names]


@pytest.fixture(scope="module")
def connection(toolbox: str) -> Iterator[Engine]:
    assert toolbox
    with connect() as engine:
        yield engine


def decide(connection: Engine, work: Work, container: str) -> tuple[Request, Plan]:
    request = Request(tool=work.tool, container=container, mode=work.mode, args=work.args, duration=work.duration)
    tool, mode = find_tool(request, Path("/nonexistent"))
    facts = look(connection, request, tool)
    return request, plan(tool, mode, facts, request.ceiling)


@contextlib.contextmanager
def typing(data: bytes) -> Iterator[None]:
    """`data` is what comes on standard input, and nothing after it."""
    before = os.dup(0)
    with tempfile.TemporaryFile() as keys:
        keys.write(data)
        keys.seek(0)
        os.dup2(keys.fileno(), 0)
        try:
            yield
        finally:
            os.dup2(before, 0)
            os.close(before)


def without(option: Option, facts: Facts, *, every: bool) -> Iterator[tuple[str, Option]]:
    """The option with one part of its grant taken away, each in turn.

    Of a long set of the target's own capabilities every one is taken away on one target, and three on the others.
    """
    names = option.cap_add if every or len(option.cap_add) < len(DOCKER_DEFAULT) else option.cap_add[::6]
    for name in names:
        rest = tuple(each for each in option.cap_add if each != name)
        yield f"without {name}", dataclasses.replace(option, cap_add=rest, file_capability=False)
    for call in option.opened_calls:
        rest = tuple(each for each in option.opened_calls if each != call)
        yield f"without {call}", dataclasses.replace(option, opened_calls=rest)
    if option.file_capability:
        yield "with a plain binary", dataclasses.replace(option, file_capability=False)
    if facts.process.uids[1] != 0 and not option.cap_add:
        other = facts.process.uids[1] + 1
        yield "as another user", dataclasses.replace(option, user=f"{other}:{other}")


@pytest.mark.parametrize(("work", "name"), CASES)
def test_the_chosen_option_works_and_nothing_narrower_does(  # noqa: PLR0913, PLR0917 - fixtures
    work: Work,
    name: str,
    connection: Engine,
    target: Callable[[str], str],
    assert_harmless: Callable[[str], None],
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    container = target(name)
    request, decision = decide(connection, work, container)
    option = decision.option
    assert option is not None, decision
    assert option.placement is Placement.SIDECAR

    process = decision.facts.process.host_pid
    assert process is not None

    def does_its_job(tried: Option) -> tuple[bool, bytes, Failure | None]:
        with typing(ask_for_memory(process) if work.memory else b""):
            result = session.attempt(backends.Containers(connection), request, decision, tried)
        output = b"".join(capfdbinary.readouterr())
        works = result.refuted is None and result.status == 0 and all(text in output for text in work.shows)
        return works, output, result.refuted

    works, output, refuted = does_its_job(option)
    # In a remapped engine nothing tells whether root's processes are dumpable: what is unknown is tried.
    failures = {Verdict.CLOSED}
    while not works and option.verdict is Verdict.UNKNOWN and refuted is not None:
        failures.add(Verdict.UNKNOWN)
        decision = decision.refute(refuted.layer, refuted.text)
        assert decision.option is not None, decision
        option = decision.option
        works, output, refuted = does_its_job(option)
    assert works, output
    for part, narrower in without(option, decision.facts, every=name == "root"):
        verdict, gates, _ = judge.judge(narrower, decision.mode, decision.facts)
        assert verdict in failures, f"the rules think that {work.tool} on {name} works {part}: {gates}"
        works, output, _ = does_its_job(narrower)
        assert not works, f"{part}: {output!r}"
    assert_harmless(container)
