"""The main job: each tool on each kind of target works with the chosen option, and every part of it is needed.

The parts of an option are each capability, each opened call, the user, and the file capability. Without a part the
rules must say closed, and then the kernel must say no: a disagreement is a bug in our data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from debugrun import judge, session
from debugrun.engine import Engine, connect
from debugrun.facts import Facts
from debugrun.grants import Option, Placement, Verdict
from debugrun.plan import Plan, plan
from debugrun.request import Request

pytestmark = pytest.mark.live

NATIVE = ("root", "u1000", "hard", "rootcap", "undump", "undump1000", "static", "musl", "owngdb")
# What a tool is run with, and what its output holds when it did its job.
WORK: dict[str, tuple[tuple[str, ...], int | None, bytes, tuple[str, ...]]] = {
    "gdb": (("-batch", "-ex", "bt", "-ex", "info threads"), None, b"#0 ", NATIVE),
    "strace": (("-f", "-e", "trace=all"), 1, b"clock_nanosleep", NATIVE),
    "perf": (("-e", "cpu-clock:u", "-F", "999"), 1, b"worker", NATIVE),
    "gdbserver": ((), 1, b"Remote debugging", NATIVE),
    "ltrace": ((), 1, b"(", ("root", "u1000", "hard", "rootcap", "undump", "undump1000")),
    "py-spy": ((), None, b"Thread", ("python",)),
    "tcpdump": (("-n", "-i", "any"), 1, b"listening on any", ("root", "u1000", "hard")),
}
CASES = [(tool, name) for tool, (_, _, _, names) in WORK.items() for name in names]


@pytest.fixture(scope="module")
def connection(toolbox: str) -> Iterator[Engine]:
    assert toolbox
    with connect() as engine:
        yield engine


def decide(connection: Engine, tool: str, container: str) -> tuple[Request, Plan]:
    args, duration, _, _ = WORK[tool]
    request = Request(tool=tool, container=container, args=args, duration=duration)
    found, mode = session.find_tool(request, Path("/nonexistent"))
    facts = session.look(connection, request, found)
    return request, plan(found, mode, facts, request.ceiling)


def without(option: Option, facts: Facts) -> Iterator[tuple[str, Option]]:
    """The option with one part of its grant taken away, each in turn."""
    for name in option.cap_add:
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


@pytest.mark.parametrize(("tool", "name"), CASES)
def test_the_chosen_option_works_and_nothing_narrower_does(  # noqa: PLR0913, PLR0917 - fixtures
    tool: str,
    name: str,
    connection: Engine,
    target: Callable[[str], str],
    assert_harmless: Callable[[str], None],
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    container = target(name)
    request, decision = decide(connection, tool, container)
    option = decision.option
    assert option is not None, decision
    assert option.placement is Placement.SIDECAR
    expected = WORK[tool][2]

    result = session.attempt(connection, request, decision, option)
    output = b"".join(capfdbinary.readouterr())
    assert result.refuted is None, output
    assert expected in output

    for part, narrower in without(option, decision.facts):
        verdict, gates, _ = judge.judge(narrower, decision.mode, decision.facts)
        assert verdict is Verdict.CLOSED, f"the rules think that {tool} on {name} works {part}: {gates}"
        result = session.attempt(connection, request, decision, narrower)
        output = b"".join(capfdbinary.readouterr())
        assert result.refuted is not None or result.status != 0 or expected not in output, f"{part}: {output!r}"
    assert_harmless(container)

