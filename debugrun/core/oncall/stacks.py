"""Stacks as they were copied: decoded, an interpreter's frames put among the native ones, equal ones folded. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from debugrun.core.know.json_access import items, maps, text
from debugrun.core.know.printable import printable
from debugrun.values import dataclass

INTERPRETED = "python"


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """A variable of a frame as the debugger prints it, in one line."""

    name: str
    value: str
    argument: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One frame; "" and 0 are unknown. `module` is the library's file name, "" the program itself."""

    function: str
    module: str
    file: str = ""
    line: int = 0
    variables: tuple[Variable, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What makes two frames equal when stacks are folded."""
        return self.function, self.module


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """The stack of one thread, the newest frame first. `cut` says why the rest is missing, where it is."""

    tid: int
    name: str
    frames: tuple[Frame, ...]
    cut: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """The stacks of one process. `still`: seconds that it stood still; `late`: threads that could not be stopped.

    `error` is why there are none, `interpreter_error` why an interpreter's frames are missing; "" is none.
    """

    pid: int
    still: float = 0.0
    late: tuple[int, ...] = ()
    stacks: tuple[Stack, ...] = ()
    error: str = ""
    interpreter_error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Threads of a process with equal stacks."""

    stacks: tuple[Stack, ...]

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Of one of them."""
        return self.stacks[0].frames


def parse(printed: bytes) -> tuple[Copied, ...]:
    """What data/gdb/stacks.py printed. Raises ValueError: it was cut off or is something else."""
    told = json.loads(printed)
    if not isinstance(told, dict) or told.get("schema") != 1:
        raise ValueError("not a list of stacks")
    return decoded(maps(told, "processes"))


def decoded(told: Iterable[Mapping[str, object]]) -> tuple[Copied, ...]:
    """The processes of such a list."""
    return tuple(_copied(each) for each in told)


def _copied(told: Mapping[str, object]) -> Copied:
    still = told.get("still")
    found = Copied(
        pid=_number(told, "pid"),
        still=float(still) if isinstance(still, int | float) else 0.0,
        late=tuple(each for each in items(told, "late") if isinstance(each, int)),
        stacks=tuple(_stack(each) for each in maps(told, "threads")),
        error=text(told, "error"),
    )
    python = told.get("python")
    if isinstance(python, dict):
        return replace(found, interpreter_error=text(python, "error").strip())
    if isinstance(python, list):
        frames = {_number(each, "os_thread_id"): _python_frames(each) for each in python if isinstance(each, dict)}
        return replace(found, stacks=tuple(with_interpreted(each, frames.get(each.tid, ())) for each in found.stacks))
    return found


def _stack(told: Mapping[str, object]) -> Stack:
    return Stack(
        tid=_number(told, "tid"),
        name=text(told, "name"),
        frames=tuple(_frame(each) for each in maps(told, "frames")),
        cut=text(told, "cut"),
    )


def _frame(told: Mapping[str, object]) -> Frame:
    variables = [each for each in items(told, "variables") if isinstance(each, list)]
    return Frame(
        function=text(told, "function"),
        module=text(told, "library"),
        file=text(told, "file"),
        line=_number(told, "line"),
        variables=tuple(Variable(name=str(n), value=str(v), argument=bool(a)) for n, v, a in variables),
    )


def _python_frames(thread: Mapping[str, object]) -> tuple[Frame, ...]:
    return tuple(
        Frame(
            function=text(each, "name"),
            module=INTERPRETED,
            file=text(each, "short_filename") or text(each, "filename"),
            line=_number(each, "line"),
        )
        for each in maps(thread, "frames")
    )


def with_interpreted(stack: Stack, frames: Sequence[Frame]) -> Stack:
    """The native frames that the interpreted code has called, then that code; the interpreter's own are left out."""
    if not frames:
        return stack
    called = []
    for each in stack.frames:
        if not each.module or each.module.startswith("libpython") or each.function.startswith(("_Py", "Py")):
            break
        called.append(each)
    return replace(stack, frames=(*called, *frames), cut="")


def folded(stacks: Iterable[Stack]) -> list[Group]:
    """Threads with equal stacks together, the rarest first; of equally rare ones the thread with the lowest TID."""
    found: dict[tuple[tuple[str, str], ...], list[Stack]] = {}
    for each in stacks:
        found.setdefault(tuple(frame.key for frame in each.frames), []).append(each)
    groups = [Group(stacks=tuple(each)) for each in found.values()]
    return sorted(groups, key=lambda group: (len(group.stacks), group.stacks[0].tid))


def shown_frames(frames: Sequence[Frame]) -> list[Frame]:
    """The frames for a page: of several in a row of one library that has no names, one."""
    result: list[Frame] = []
    for each in frames:
        if each.function or not result or result[-1].function or result[-1].module != each.module:
            result.append(each)
    return result


def words(frame: Frame) -> str:
    """A frame in one line: function, then file and line, else the library; the text is not yet fit for a terminal."""
    name = frame.function or "??"
    if frame.file:
        return f"{name} ({frame.file}:{frame.line})"
    return f"{name} ({frame.module})" if frame.module else name


def folded_lines(name: str, stacks: Iterable[Stack]) -> list[str]:
    """One line for each distinct stack, as flame graph programs read it: `program;outer;...;inner COUNT`."""
    lines = []
    for group in folded(stacks):
        frames = [_plain(each.function or f"[{each.module or 'unknown'}]") for each in reversed(group.frames)]
        lines.append(f"{';'.join([_plain(name), *frames])} {len(group.stacks)}")
    return sorted(lines)


def threads(found: Copied, waits: Mapping[int, str]) -> list[dict[str, object]]:
    """Every thread by itself, for JSON; `waits` says by TID what it waited for. All text is fit for a terminal."""
    return [
        {
            "tid": each.tid,
            "name": printable(each.name),
            "waits_for": waits.get(each.tid, ""),
            "cut": printable(each.cut),
            "frames": [_as_dict(frame) for frame in each.frames],
        }
        for each in found.stacks
    ]


def _as_dict(frame: Frame) -> dict[str, object]:
    return {
        "function": printable(frame.function),
        "module": printable(frame.module),
        "file": printable(frame.file),
        "line": frame.line,
        "variables": [
            {"name": printable(v.name), "value": printable(v.value), "argument": v.argument} for v in frame.variables
        ],
    }


def _plain(name: str) -> str:
    return name.replace(";", ":").replace("\n", " ")


def _number(told: Mapping[str, object], key: str) -> int:
    value = told.get(key)
    return value if isinstance(value, int) else 0
