"""The page of `debugrun ps`: a line and a tree for each container, the most suspicious first, and what to do next."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from debugrun import streams
from debugrun.core.know.masked import command_line, masked
from debugrun.core.know.printable import printable
from debugrun.core.oncall import containers
from debugrun.core.oncall.containers import Container, Use
from debugrun.core.oncall.processes import Process, Thread
from debugrun.core.oncall.suspicion import Suspicion, suspect
from debugrun.core.oncall.waits import Words, describe
from debugrun.oncall.look import Look
from debugrun.values import dataclass

PIPED = 160  # columns of a line that goes to no terminal
LEADS = 5  # suspects that are named at the end
NOTABLE = 20  # the score from which a process is marked
# Columns that are left out below a width of the terminal.
FROM_WIDTH = {"UID": 100, "RSS": 72, "THR": 72, "S": 60, "CPU": 50, "SINCE": 44}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One process in its tree: `depth` generations below the first that is shown."""

    process: Process
    suspicion: Suspicion
    depth: int


def rows(found: Sequence[Process], words: Words) -> list[Row]:
    """The processes of one container as a tree, the subtree with the strongest suspicion first."""
    known = {each.seen for each in found}
    suspicions = {each.seen: suspect(each, words) for each in found}
    children: dict[int, list[Process]] = {}
    for each in found:
        children.setdefault(each.parent if each.parent in known else 0, []).append(each)

    strongest: dict[int, int] = {}

    def weigh(process: Process, above: frozenset[int]) -> int:
        below = [each for each in children.get(process.seen, []) if each.seen not in above]
        inner = (weigh(each, above | {process.seen}) for each in below)
        strongest[process.seen] = max([suspicions[process.seen].score, *inner])
        return strongest[process.seen]

    result: list[Row] = []

    def add(siblings: Sequence[Process], depth: int) -> None:
        for each in sorted(siblings, key=lambda one: (-strongest.get(one.seen, 0), one.pid)):
            result.append(Row(process=each, suspicion=suspicions[each.seen], depth=depth))
            add(children.get(each.seen, []), depth + 1)

    for each in children.get(0, []):
        weigh(each, frozenset())
    add(children.get(0, []), 0)
    shown = {row.process.seen for row in result}
    # Parents that were read at different moments may form a circle.
    return result + [
        Row(process=each, suspicion=suspicions[each.seen], depth=0) for each in found if each.seen not in shown
    ]


def notable(process: Process, words: Words) -> Thread | None:
    """The thread that stands for a process: one that runs or is stuck, else the first."""
    ranked = sorted(process.threads, key=lambda each: "DTtRS".find(each.state) % 9)
    first = next(iter(ranked), None)
    if first is not None and first.state in "DTtR":
        return first
    held = next((each for each in process.threads if describe(each, process, words).startswith("futex held")), None)
    return held or process.main


def command(process: Process) -> str:
    """The command line; the name in brackets where there is none, as ps(1) has it."""
    if process.command is None:
        return f"[{printable(process.name)}] (reading its command line did not end)"
    return command_line(process.command) if process.command else f"[{printable(process.name)}]"


def show(found: Look) -> None:
    """Print the page."""
    out = console()
    words = Words(census=found.census, hosts=found.chosen.hosts)
    trees = {
        each.id: rows([p for p in found.census.processes if p.container == each.id], words)
        for each in found.chosen.containers
    }
    weight = {name: max((row.suspicion.score for row in tree), default=0) for name, tree in trees.items()}
    order = sorted(found.chosen.containers, key=lambda each: (each.running, -weight[each.id], each.name))
    for each in order:
        out.print(Text(heading(each, found.use.get(each.id, Use()), time.time())), soft_wrap=False)
        if each.name in found.unseen:
            out.print(Text(f"  its processes cannot be seen: {found.unseen[each.name]}"))
        if trees[each.id]:
            out.print(table(trees[each.id], words, out.width))
        for line in masked(found.logs.get(each.id, "")).splitlines():
            out.print(Text(f"  | {printable(line)}"), no_wrap=True, overflow="ellipsis")
        if not each.running and (help_ := containers.helps(each)):
            out.print(Text(f"  try: {help_}"), soft_wrap=True)
    _leads(out, found, trees)


def console() -> Console:
    """Where pages go: as wide as the terminal, or as COLUMNS says, or wide."""
    if sys.stdout.isatty():
        return streams.console()
    columns = os.environ.get("COLUMNS", "")
    return streams.console(width=int(columns) if columns.isdecimal() and int(columns) else PIPED)


def heading(each: Container, used: Use, now: float) -> str:
    """The line above a container's processes."""
    name = f"{each.service} ({each.name})" if each.service else each.name
    if not each.running:
        since = containers.age(each.finished, now)
        ended = f"{name}: {each.state}, {printable(masked(containers.ending(each)))}"
        ended += f", {span(since)} ago" if since is not None else ""
        return ended + (f", restarted {each.restarts} times" if each.restarts else "")
    since = containers.age(each.started, now)
    told = [f"{each.state if each.state == 'paused' else 'up'} {span(since or 0.0)}"]
    if each.health:
        told.append(each.health)
    if each.restarts:
        told.append(f"restarted {each.restarts} times")
    if used.memory_limit:
        told.append(f"memory {size(used.memory)} of {size(used.memory_limit)}")
    if used.pids_limit:
        told.append(f"{used.pids} of {used.pids_limit} PIDs")
    if used.throttled:
        told.append(f"CPU throttled in {used.throttled} of {used.periods} periods")
    return f"{name}: {', '.join(told)}"


def table(tree: Sequence[Row], words: Words, width: int) -> Table:
    """The processes of one container, without the columns for which there is no room, or nothing to say."""
    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", width=min(width, 4 * PIPED))
    told = [(row, _cells(row, words)) for row in tree]
    left_out = {name for name, least in FROM_WIDTH.items() if width < least}
    left_out |= {name for name in told[0][1] if name != "COMMAND" and not any(cells[name].plain for _, cells in told)}
    right = {"PID", "CPU", "RSS", "THR", "UID", "SINCE"}
    for name in ("", "PID", "CPU", "RSS", "THR", "S", "UID", "SINCE", "WAITS FOR"):
        if name not in left_out:
            wide = {"max_width": max(14, width // 3)} if name == "WAITS FOR" else {}
            justify = "right" if name in right else "left"
            made.add_column(name, no_wrap=True, justify=justify, overflow="ellipsis", **wide)  # type: ignore[arg-type]
    made.add_column("COMMAND", no_wrap=True, overflow="ellipsis", ratio=1)
    for row, cells in told:
        made.add_row(*(cells[name] for name in cells if name not in left_out), style=_style(row.suspicion))
    return made


def _style(suspicion: Suspicion) -> str | None:
    return "bold red" if suspicion.score >= 3 * NOTABLE else "yellow" if suspicion.score >= NOTABLE else None


def _cells(row: Row, words: Words) -> dict[str, Text]:
    process = row.process
    thread = notable(process, words)
    idle = thread.idle if thread is not None else None
    hidden = thread is not None and thread.state in "SD" and thread.wait is None and not thread.kernel
    cells = {
        "": "!" if row.suspicion.score >= NOTABLE else "",
        "PID": str(process.pid),
        "CPU": f"{process.cpu:.0f}%",
        "RSS": size(process.rss),
        "THR": str(process.count),
        "S": thread.state if thread is not None else process.state,
        "UID": str(process.uid),
        "SINCE": span(idle) if idle is not None and thread is not None and thread.state not in "RZ" else "",
        "WAITS FOR": "?" if hidden else describe(thread, process, words) if thread is not None else "",
        "COMMAND": "  " * min(row.depth, 8) + command(process),
    }
    return {name: Text(text) for name, text in cells.items()}


def leads(found: Look, trees: dict[str, list[Row]]) -> list[tuple[Container, Row]]:
    """The suspects, the strongest first."""
    by_id = {each.id: each for each in found.chosen.containers}
    every = [(by_id[name], row) for name, tree in trees.items() for row in tree if row.suspicion.score >= NOTABLE]
    return sorted(every, key=lambda lead: -lead[1].suspicion.score)[:LEADS]


def _leads(out: Console, found: Look, trees: dict[str, list[Row]]) -> None:
    named = leads(found, trees)
    if not named:
        return
    out.print(Text("\nlook first at:", style="bold"))
    for each, row in named:
        out.print(Text(f"  {each.name} PID {row.process.pid}: {row.suspicion.reason}"))
        out.print(Text(f"      debugrun stacks {each.name} {row.process.pid}", style="cyan"), soft_wrap=True)


def size(count: int) -> str:
    """Bytes in at most four characters: 512K, 21M, 1.5G."""
    for unit, factor in (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20)):
        if count >= factor:
            number = count / factor
            return f"{number:.1f}{unit}" if number < 10 else f"{number:.0f}{unit}"  # noqa: PLR2004 - three digits are enough
    return f"{count >> 10}K"


def span(seconds: float) -> str:
    """A time in its two largest words: 0.4 s, 12 s, 3 min, 2 h, 5 d."""
    if seconds < 10:  # noqa: PLR2004 - one more digit for short ones
        return f"{seconds:.1f} s"
    for unit, factor in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * factor:
            return f"{seconds / factor:.0f} {unit}"
    return f"{seconds:.0f} s"
