"""The page of `debugrun stacks`: of each container every distinct stack once, the odd one first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from debugrun.core.know.printable import printable
from debugrun.core.oncall import stacks
from debugrun.core.oncall.processes import Process
from debugrun.core.oncall.stacks import Copied, Frame, Group
from debugrun.oncall.first_look import command, console
from debugrun.values import dataclass

FRAMES = 16  # of one stack that a page shows unless it is asked for all
NAMES = 6  # threads of one stack that are named


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One process of the page; `waits` says by TID what a thread waited for, `suspicion` is the process's score."""

    container: str
    process: Process
    copied: Copied
    waits: Mapping[int, str]
    suspicion: int


def show(parts: Sequence[Part], *, full: bool, variables: bool) -> None:
    """Print the page."""
    out = console()
    for name in dict.fromkeys(each.container for each in parts):
        own = [each for each in parts if each.container == name]
        out.print(Text(name, style="bold"))
        for part in own:
            _process(out, part)
        scores = {stack.tid: part.suspicion for part in own for stack in part.copied.stacks}
        waits = {tid: words for part in own for tid, words in part.waits.items()}
        groups = stacks.folded(stack for part in own for stack in part.copied.stacks)
        for group in sorted(groups, key=lambda each: (len(each.stacks), -scores[each.stacks[0].tid])):
            _group(out, group, waits, full=full, variables=variables)


def one(out: Console, found: Copied, *, first: int) -> None:
    """The stacks of one process, every frame and variable; that of thread `first` before all others."""
    if found.error:
        out.print(Text(f"  no stacks: {printable(found.error)}", style="red"))
    mine = [each for each in found.stacks if each.tid == first]
    rest = stacks.folded(each for each in found.stacks if each.tid != first)
    for group in (*([Group(stacks=tuple(mine))] if mine else ()), *rest):
        _group(out, group, {}, full=True, variables=True)
    still = f"stood still for {1000 * found.still:.1f} ms"
    late = f"; not stopped in time, in the kernel (state D?): {', '.join(map(str, found.late))}" if found.late else ""
    out.print(Text(f"  {still}{late}", style="dim"))


def top(out: Console, found: Copied, *, tid: int, frames: int) -> None:
    """The newest frames of one thread, without libraries that have no names."""
    for stack in found.stacks:
        named = [each for each in stack.frames if each.function] if stack.tid == tid else []
        for frame in named[:frames]:
            out.print(Text(f"       {printable(stacks.words(frame))}", style="dim"), no_wrap=True, overflow="ellipsis")


def _process(out: Console, part: Part) -> None:
    found = part.copied
    line = f"  PID {part.process.pid}: "
    if found.error:
        out.print(Text(f"{line}no stacks: {printable(found.error)}", style="red"))
        return
    count = len(found.stacks)
    line += f"{count} thread{'s' if count != 1 else ''}, stood still for {1000 * found.still:.1f} ms: "
    out.print(Text(line + command(part.process), style="dim"), no_wrap=True, overflow="ellipsis")
    if found.late:
        listed = ", ".join(map(str, found.late))
        out.print(Text(f"    not stopped in time, in the kernel (state D?): {listed}", style="yellow"))
    if found.interpreter_error:
        last = found.interpreter_error.splitlines()[-1]
        out.print(Text(f"    py-spy could not tell the Python frames: {printable(last)}", style="yellow"))


def _group(out: Console, group: Group, waits: Mapping[int, str], *, full: bool, variables: bool) -> None:
    count = len(group.stacks)
    named = ", ".join(f"{each.tid} {printable(each.name)}" for each in group.stacks[:NAMES])
    more = f" and {count - NAMES} more" if count > NAMES else ""
    waited = dict.fromkeys(waits[each.tid] for each in group.stacks if waits.get(each.tid))
    line = f"  {count} x  {named}{more}" + (f": {' | '.join(list(waited)[:3])}" if waited else "")
    out.print(Text(line, style="cyan"))
    frames = stacks.shown_frames(group.frames)
    shown = frames if full else frames[:FRAMES]
    for frame in shown:
        out.print(Text(f"       {printable(stacks.words(frame))}"), no_wrap=True, overflow="ellipsis")
        if variables:
            _variables(out, frame)
    if len(frames) > len(shown):
        out.print(Text(f"       ... {len(frames) - len(shown)} more: --full", style="dim"))
    if group.stacks[0].cut:
        out.print(Text(f"       (the rest is missing: {printable(group.stacks[0].cut)})", style="dim"))


def _variables(out: Console, frame: Frame) -> None:
    for each in frame.variables:
        mark = "" if each.argument else "local "
        text = Text(f"           {mark}{printable(each.name)} = {printable(each.value)}", style="dim")
        out.print(text, no_wrap=True, overflow="ellipsis")
