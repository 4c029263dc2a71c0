"""The flow of `debugrun stacks` and `debugrun bt`: which processes, the narrowest grant for each uid, copy, fold, show.

One sidecar copies all processes of one uid. The plan is that of gdb's mode `stacks`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

from debugrun.backends import Backend
from debugrun.core.ask.request import Request
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Ceiling, Option
from debugrun.core.know import symbols
from debugrun.core.know.printable import printable
from debugrun.core.oncall import stacks as copied
from debugrun.core.oncall.containers import Container
from debugrun.core.oncall.processes import Process
from debugrun.core.oncall.stacks import Copied
from debugrun.core.oncall.suspicion import suspect
from debugrun.core.oncall.waits import Words, describe
from debugrun.core.say import report
from debugrun.core.say.command import copies
from debugrun.errors import EXIT_FAILED, EngineError, RefusedError, TargetError, UsageError
from debugrun.oncall import helper, stacks_page
from debugrun.oncall.ground import HERE, Where, reach
from debugrun.oncall.look import Look
from debugrun.toolbox.catalog import find_tool
from debugrun.values import dataclass

SCHEMA = 1
MODE = "stacks"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What was asked for. `pids` are those of the only container in `refs`; `together`: all at one instant."""

    refs: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    project: str | None = None
    everything: bool = False
    together: bool = False
    variables: bool = False
    full: bool = False
    folded: bool = False
    as_json: bool = False
    ceiling: Ceiling = field(default_factory=Ceiling)
    where: Where = HERE


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The stacks of one process, and what `ps` has seen of it."""

    container: Container
    process: Process
    copied: Copied
    waits: Mapping[int, str]
    suspicion: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """One container of a wish."""

    backend: Backend
    container: Container
    wish: Wish
    folder: Path
    announced: set[str]


def run(wish: Wish, folder: Path) -> int:
    """Show the stacks. 0, or 125 when some could not be had."""
    if bool(wish.refs) + (wish.project is not None) + wish.everything != 1:
        raise UsageError("which-containers", "which containers?", "debugrun stacks CONTAINER, --project NAME or --all")
    with reach(wish.refs, wish.where) as ground:
        chosen = ground.choose(wish.refs, wish.project, everything=wish.everything)
        running = [each for each in chosen.containers if each.running]
        if not running:
            each = chosen.containers[0] if chosen.containers else None
            message = f"{each.name} does not run: it is {each.state}" if each else "no container runs"
            raise TargetError(
                "container-not-running", message, f"debugrun ps {each.name}" if each else "docker ps --all"
            )
        seen = ground.look(chosen)
        found: list[Found] = []
        announced: set[str] = set()
        for container in running:
            processes = [each for each in seen.census.processes if each.container == container.id]
            job = _Job(backend=ground.backend, container=container, wish=wish, folder=folder, announced=announced)
            found.extend(_of_container(job, _wanted(wish, container, processes), seen))
    if wish.as_json:
        print(json.dumps(as_dict(found)))
    elif wish.folded:
        print("\n".join(line for each in found for line in _folded(each)))
    else:
        stacks_page.show([_page(each) for each in found], full=wish.full, variables=wish.variables)
    missing = [each for each in found if each.copied.error or each.copied.late]
    return EXIT_FAILED if missing or seen.unseen else 0


def _wanted(wish: Wish, container: Container, processes: Sequence[Process]) -> list[Process]:
    if wish.pids:
        known = {each.pid: each for each in processes}
        for pid in wish.pids:
            if pid not in known:
                raise TargetError("no-such-pid", f"no PID {pid} in {container.name}", f"debugrun ps {container.name}")
        return [known[pid] for pid in dict.fromkeys(wish.pids)]
    return sorted((each for each in processes if each.state not in "ZX"), key=lambda each: each.pid)


def _of_container(job: _Job, processes: Sequence[Process], seen: Look) -> list[Found]:
    container, words = job.container, Words(census=seen.census, hosts=seen.chosen.hosts)
    groups: dict[tuple[int, int], list[Process]] = {}
    for each in processes:
        groups.setdefault((each.uid, each.gid), []).append(each)
    if job.wish.together and len(groups) > 1:
        users = ", ".join(f"{uid}:{gid}" for uid, gid in sorted(groups))
        message = f"the processes of {container.name} have different users ({users}): no sidecar can stop them together"
        raise TargetError("several-users", message, "give the PIDs of one user, or leave --consistent out")
    found = []
    for members in groups.values():
        answers = {each.pid: each for each in _copies(job, members)}
        for each in members:
            answer = answers.get(each.pid, Copied(pid=each.pid, error="nothing was told of it: it may have ended"))
            waits = {thread.tid: describe(thread, each, words) for thread in each.threads}
            score = suspect(each, words).score
            found.append(Found(container=container, process=each, copied=answer, waits=waits, suspicion=score))
    return found


def _copies(job: _Job, members: Sequence[Process]) -> tuple[Copied, ...]:
    """Copy the processes of one user by the narrowest option that works."""
    pids = [each.pid for each in members]
    request = Request(tool="gdb", container=job.container.id, mode=MODE, pid=pids[0], ceiling=job.wish.ceiling)
    tool, mode = find_tool(request, job.folder)
    try:
        facts = job.backend.look(request, tool)
    except TargetError as error:
        return tuple(Copied(pid=pid, error=error.message) for pid in pids)
    decision = job.backend.decide(plan(tool, mode, facts, request.ceiling))
    while (option := decision.option) is not None:
        if (line := report.announce(decision)) not in job.announced:
            job.announced.add(line)
            print(line, file=sys.stderr)
        try:
            answers = _attempt(job, decision, option, pids)
        except TargetError as error:
            if error.code != "process-replaced":
                raise
            ended = Copied(pid=pids[0], error=error.message)
            return (ended, *(_copies(job, members[1:]) if members[1:] else ()))
        refuted = next(
            (
                each
                for each in tool.failures
                for answer in answers
                if answer.pid == pids[0] and each.text in answer.error
            ),
            None,
        )
        if refuted is None:
            return answers
        print(f"debugrun: refused: {refuted.text}", file=sys.stderr)
        decision = job.backend.decide(decision.refute(refuted.layer, refuted.text))
    raise RefusedError("refused", *report.refusal(decision))


def _attempt(job: _Job, decision: Plan, option: Option, pids: Sequence[int]) -> tuple[Copied, ...]:
    place = copies(option)
    arguments = symbols.stacks_arguments(
        pids, together=job.wish.together, variables=job.wish.variables, py_spy=f"{place}py-spy"
    )
    argv = (f"{place}gdb", *arguments)
    where = job.backend.planned(decision, option, only=argv, lets_go=True, helpers=("py-spy",))
    output = helper.beside(where, argv, tool="gdb")
    try:
        return copied.parse(output.out)
    except ValueError as error:
        last = (output.err.strip().splitlines() or [f"gdb ended with {output.status}"])[-1]
        message = f"no stacks of {decision.facts.container.name}: {printable(last)}"
        raise EngineError(
            "stacks", message, "the target runs on; try again, or: debugrun gdb ... -- -batch -ex bt"
        ) from error


def _title(found: Found) -> str:
    return f"{printable(found.process.name)}/{found.process.pid}"


def _page(found: Found) -> stacks_page.Part:
    return stacks_page.Part(
        container=found.container.name,
        process=found.process,
        copied=found.copied,
        waits=found.waits,
        suspicion=found.suspicion,
    )


def _folded(found: Found) -> list[str]:
    return copied.folded_lines(f"{found.container.name} {_title(found)}", found.copied.stacks)


def as_dict(found: Sequence[Found]) -> dict[str, object]:
    """The stacks as JSON, every thread by itself; times in seconds."""
    return {"schema": SCHEMA, "processes": [_process(each) for each in found]}


def _process(found: Found) -> dict[str, object]:
    return {
        "container": found.container.name,
        "pid": found.process.pid,
        "name": printable(found.process.name),
        "stood_still": found.copied.still,
        "not_stopped": list(found.copied.late),
        "error": printable(found.copied.error),
        "interpreter_error": printable(found.copied.interpreter_error),
        "threads": copied.threads(found.copied, found.waits),
    }
