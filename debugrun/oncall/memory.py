"""The flow of `debugrun memory`: which processes, read by ourselves or by a sidecar, and the page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.table import Table
from rich.text import Text

from debugrun.core.know.printable import printable
from debugrun.core.oncall import memory as made_of
from debugrun.core.oncall.containers import Container, Use
from debugrun.core.oncall.memory import Memory
from debugrun.core.oncall.processes import Process
from debugrun.errors import EXIT_FAILED, EngineError, TargetError
from debugrun.observe import scout
from debugrun.oncall import first_look, helper
from debugrun.oncall import look as looking
from debugrun.oncall.first_look import size
from debugrun.oncall.ground import HERE, Ground, Where, reach

SCHEMA = 1
WIDE = 64  # columns that all of a table takes


def run(ref: str, pid: int | None, *, as_json: bool, where: Where = HERE) -> int:
    """Show it. 0, or 125 when a process could not be read. Raises DebugrunError."""
    with reach([ref], where) as ground:
        chosen = ground.choose([ref], None, everything=False)
        container = chosen.containers[0]
        if not container.running:
            message = f"{container.name} does not run: it is {container.state}"
            raise TargetError("container-not-running", message, f"debugrun ps {container.name}")
        seen = ground.look(chosen)
        processes = [each for each in seen.census.processes if each.state not in "ZX" and pid in {None, each.pid}]
        if container.name in seen.unseen:
            raise EngineError("memory", seen.unseen[container.name], "debugrun doctor")
        if not processes:
            raise TargetError("no-such-pid", f"no PID {pid} in {container.name}", f"debugrun ps {container.name}")
        found = _read(ground, container, processes)
        used = ground.use(container)
    if as_json:
        print(json.dumps(_as_dict(container, used, found)))
    else:
        _show(container, used, [(each, found[each.pid]) for each in processes])
    return EXIT_FAILED if any(each.error or each.cut for each in found.values()) else 0


def _read(ground: Ground, container: Container, processes: Sequence[Process]) -> dict[int, Memory]:
    """What each process's memory is made of, by the container's own PID."""
    if ground.is_here(container):
        argv = [sys.executable, *helper.PYTHON[1:], helper.program("memory"), _question(processes)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        return _parsed(done.stdout, done.stderr, processes)
    facts = ground.facts(container)
    who = scout.peer(facts) or scout.nobody(facts)
    found: dict[int, Memory] = {}
    for user in dict.fromkeys(f"{each.uid}:{each.gid}" for each in processes):
        members = [each for each in processes if f"{each.uid}:{each.gid}" == user]
        chosen = looking.option(facts, user, who.capabilities if user == who.user else ())
        argv = [*helper.PYTHON, helper.program("memory"), _question(members)]
        output = helper.sent(ground.backend, chosen, facts, argv, tool="memory")
        found |= _parsed(output.out.decode(errors="replace"), output.err, members)
    return found


def _question(processes: Sequence[Process]) -> str:
    return json.dumps({"pids": [each.seen for each in processes]})


def _parsed(printed: str, complaint: str, processes: Sequence[Process]) -> dict[int, Memory]:
    try:
        told = {each.pid: each for each in made_of.parse(printed)}
    except ValueError as error:
        last = (complaint.strip().splitlines() or [str(error)])[-1]
        raise EngineError("memory", f"the memory could not be read: {printable(last)}", "debugrun doctor") from error
    unread = Memory(pid=0, error="nothing was told of it: it may have ended")
    return {each.pid: replace(told.get(each.seen, unread), pid=each.pid) for each in processes}


def _show(container: Container, used: Use, found: Sequence[tuple[Process, Memory]]) -> None:
    out = first_look.console()
    limit = f" of {size(used.memory_limit)}" if used.memory_limit else ""
    whole = f"memory {size(used.memory)}{limit}, without files that can be dropped"
    if not used.memory:
        whole = f"memory of each process{f', within {size(used.memory_limit)}' if limit else ''}"
    out.print(Text(f"{container.name}: {whole}", style="bold"))
    for process, memory in sorted(found, key=lambda each: -each[1].rss):
        title = f"  PID {process.pid}: {size(memory.rss)} in memory: {first_look.command(process)}"
        out.print(Text(title), no_wrap=True, overflow="ellipsis")
        if memory.error:
            out.print(Text(f"    not read: {printable(memory.error)}", style="red"))
            continue
        if memory.cut:
            out.print(Text("    it has more mappings than were read: these are the first", style="yellow"))
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("    KIND", no_wrap=True)
        shown = ("RSS", "PRIVATE", "SWAP", "RESERVED", "MAPPINGS")[: 5 if out.width >= WIDE else 2]
        for name in shown:
            table.add_column(name, justify="right", no_wrap=True)
        for kind in memory.kinds:
            sizes = [size(each) for each in (kind.rss, kind.private, kind.swap, kind.size)]
            table.add_row(f"    {kind.name}", *[*sizes, str(kind.count)][: len(shown)])
        out.print(table)
        named = [f"{printable(name) or kind} {size(rss)}" for name, kind, rss in memory.largest[:3] if rss]
        out.print(Text(f"    largest: {', '.join(named)}"), no_wrap=True, overflow="ellipsis")
        for line in made_of.advice(memory.runtimes, container.name, process.pid):
            out.print(Text(f"    {line}", style="cyan"), soft_wrap=True)


def _as_dict(container: Container, used: Use, found: dict[int, Memory]) -> dict[str, object]:
    """Sizes in bytes."""
    processes = [
        {
            "pid": each.pid,
            "error": printable(each.error),
            "cut": each.cut,
            "rss": each.rss,
            "kinds": [asdict(kind) for kind in each.kinds],
            "largest": [{"name": printable(name), "kind": kind, "rss": rss} for name, kind, rss in each.largest],
            "runtimes": list(each.runtimes),
        }
        for each in found.values()
    ]
    return {"schema": SCHEMA, "container": container.name, "use": asdict(used), "processes": processes}
