"""Looks at containers through the engine: which are meant, what they use, and one census of their processes.

On the engine's own host, as root, our own /proc tells all. Elsewhere a sidecar looks, with no privilege that the
target lacks; what processes of another uid wait for is hidden from it, and a second one with that uid is sent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from debugrun.backends import Backend, Containers
from debugrun.core.ask.request import TOOLBOX
from debugrun.core.decide import neighbour
from debugrun.core.grants import Grant, Option, Placement, Verdict
from debugrun.core.know import inspection, kinds
from debugrun.core.know.facts import ContainerFacts
from debugrun.core.know.json_access import Json
from debugrun.core.oncall import containers, processes
from debugrun.core.oncall.containers import Container, Use
from debugrun.core.oncall.processes import Census, Process
from debugrun.core.rules.seccomp import calls
from debugrun.engine.engine import Engine
from debugrun.errors import EngineError, TargetError
from debugrun.observe import hostproc, named, scout
from debugrun.oncall import helper
from debugrun.values import dataclass

INTERVAL = 0.25  # seconds over which CPU use is measured
SIDECARS = 4  # at most that are sent to one container for uids of its processes


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """The containers that are meant: what the engine says of each, and of all others what they are called."""

    inspected: tuple[Json, ...]
    containers: tuple[Container, ...]
    hosts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What was found of the chosen containers. `unseen`: by name, why a container's processes could not be seen."""

    chosen: Chosen
    census: Census
    use: Mapping[str, Use]
    logs: Mapping[str, str]
    unseen: Mapping[str, str]


def choose(engine: Engine, refs: Sequence[str], project: str | None, *, everything: bool) -> Chosen:
    """The containers by name, of a compose project, or all that run. Raises TargetError: there is none."""
    listed = engine.list_containers(everything=True)
    if project is not None:
        ids = containers.project_members(listed, project)
        if not ids:
            known = sorted({each for each in (_project(one) for one in listed) if each})
            hint = f"there are: {', '.join(known)}" if known else "docker compose ls --all"
            raise TargetError("no-such-project", f"no container of a compose project {project!r}", hint)
    else:
        ids = containers.interesting(listed) if everything else list(refs)
    typed = not everything and project is None
    inspected = [named.container(engine, each) if typed else engine.inspect_container(each) for each in ids]
    found = [containers.container(each) for each in inspected]
    kept = [at for at, each in enumerate(found) if not _ours(inspected[at])] if not refs else list(range(len(found)))
    return Chosen(
        inspected=tuple(inspected[at] for at in kept),
        containers=tuple(found[at] for at in kept),
        hosts=containers.hosts(listed, found[0].project if found else ""),
    )


def _project(listed: Json) -> str:
    labels = listed.get("Labels")
    return str(labels.get(containers.PROJECT, "")) if isinstance(labels, Mapping) else ""


def _ours(inspected: Json) -> bool:
    config = inspected.get("Config")
    labels = config.get("Labels") if isinstance(config, Mapping) else None
    name = str(inspected.get("Name", "")).removeprefix("/")
    return isinstance(labels, Mapping) and kinds.is_helper(name, labels)


def look(engine: Engine, chosen: Chosen) -> Look:
    """One look at all of them. Raises EngineError."""
    running = [(one, each) for one, each in zip(chosen.inspected, chosen.containers, strict=True) if each.running]
    kernel = str(engine.version().get("KernelVersion", ""))
    local = [each for _, each in running if os.geteuid() == 0 and hostproc.is_local(each.pid, each.id, kernel)]
    found: list[Census] = [here(local, _machine(engine))] if local else []
    unseen = {}
    for inspected, each in running:
        if each not in local:
            try:
                found.append(sent(Containers(engine), facts_of(engine, inspected), _machine(engine)))
            except (EngineError, TargetError) as error:
                unseen[each.name] = f"{error.message}; try: {error.hint}"
    return Look(
        chosen=chosen,
        census=together(found),
        use={each.id: containers.use(engine.use(each.id)) for _, each in running},
        logs={each.id: engine.log_tail(each.id, 5) for each in chosen.containers if not each.running},
        unseen=unseen,
    )


def together(found: Sequence[Census]) -> Census:
    """Of any number of looks one. PIDs of different sidecars may be equal: pipes are told apart by container too."""
    if len(found) == 1:
        return found[0]
    pipes = {inode: ends for each in found for inode, ends in each.pipes.items()}
    return Census(processes=tuple(process for each in found for process in each.processes), pipes=pipes)


def _machine(engine: Engine) -> str:
    return inspection.machine(str(engine.version().get("Arch", "")))


def _question(ids: Mapping[str, int], machine: str) -> str:
    names = {call.numbers[machine]: call.name for call in calls.calls().values() if machine in call.numbers}
    return json.dumps({"containers": ids, "interval": INTERVAL, "calls": names})


def here(found: Sequence[Container], machine: str) -> Census:
    """The census by our own /proc."""
    argv = [sys.executable, "-I", "-S", "-B", "-c", helper.program("census")]
    argv.append(_question({each.id: each.pid for each in found}, machine))
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return _parsed(done.stdout, done.stderr, "this machine")


def facts_of(engine: Engine, inspected: Json) -> ContainerFacts:
    """The container's configuration."""
    return inspection.container_facts(inspected, inspection.engine_facts(engine.version(), engine.info()))


def sent(backend: Backend, facts: ContainerFacts, machine: str) -> Census:
    """The census by sidecars. Raises EngineError."""
    who = scout.peer(facts) or scout.nobody(facts)
    question = _question({facts.id: 0}, machine)
    found = _by(backend, facts, option(facts, who.user, who.capabilities), question)
    tried = {who.user}
    while len(tried) < SIDECARS and (hidden := _hidden(found.processes, tried)):
        tried.add(hidden)
        found = _completed(found, _by(backend, facts, option(facts, hidden, ()), question))
    return found


def option(facts: ContainerFacts, user: str, capabilities: tuple[str, ...]) -> Option:
    """A sidecar that holds nothing the target lacks."""
    return Option(
        placement=Placement.SIDECAR,
        grant=Grant.NONE,
        user=user,
        verdict=Verdict.OPEN,
        gates=(),
        cap_add=capabilities,
        no_new_privileges=not neighbour.needs_groups(user, capabilities),
        apparmor=facts.apparmor,
        image=TOOLBOX,
    )


def _by(backend: Backend, facts: ContainerFacts, chosen: Option, question: str) -> Census:
    output = helper.sent(backend, chosen, facts, (*helper.PYTHON, helper.program("census"), question), tool="ps")
    return _parsed(output.out.decode(errors="replace"), output.err, facts.name)


def _parsed(printed: str, complaint: str, where: str) -> Census:
    try:
        return processes.parse(printed)
    except ValueError as error:
        last = (complaint.strip().splitlines() or [str(error)])[-1]
        raise EngineError("census", f"the processes of {where} could not be read: {last}", "debugrun doctor") from error


def _hidden(found: Sequence[Process], tried: set[str]) -> str:
    """The "uid:gid" of a process whose waits nobody has seen, and that was not tried; "" when there is none."""
    for each in found:
        who = f"{each.uid}:{each.gid}"
        waits = any(thread.wait is not None for thread in each.threads)
        if each.state in "SD" and not waits and who not in tried and each.uid:
            return who
    return ""


def _completed(first: Census, more: Census) -> Census:
    """The first look, with what the second has seen of processes that hid their waits from it."""
    by_seen = {each.seen: each for each in more.processes}

    def better(each: Process) -> Process:
        other = by_seen.get(each.seen)
        if other is None or other.name != each.name or any(thread.wait for thread in each.threads):
            return each
        return replace(each, threads=other.threads, files=other.files, listening=other.listening)

    pipes = {**first.pipes}
    for inode, ends in more.pipes.items():
        pipes[inode] = tuple(dict.fromkeys((*pipes.get(inode, ()), *ends)))
    return Census(processes=tuple(better(each) for each in first.processes), pipes=pipes)
