"""The flow of `debugrun flame`: sample with perf, and make pictures and files of it here.

The plan is that of perf's mode `record`, in a sidecar; what was recorded is read there, where the target's files are.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import IO

from rich.bar import Bar
from rich.console import Console
from rich.text import Text

from debugrun import backends
from debugrun.attach import attach
from debugrun.attach.invocation import Invocation, Result
from debugrun.backends import Backend
from debugrun.core.ask.request import Request
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Ceiling, Option
from debugrun.core.know.printable import printable
from debugrun.core.oncall import flame, profile
from debugrun.core.oncall.profile import Profile
from debugrun.core.say import report
from debugrun.core.say.command import Filling, tool_argv
from debugrun.errors import EngineError, RefusedError, UsageError
from debugrun.oncall.first_look import console
from debugrun.toolbox.catalog import find_tool
from debugrun.values import dataclass

DATA = "/tmp/perf.data"  # noqa: S108 - in the sidecar, as the tool file has it
ENDINGS = (".speedscope.json", ".html", ".svg", ".folded", ".data")
# Distributions build without frame pointers: then only a copy of the stack and its unwind tables tell who called.
CALL_GRAPHS = {"dwarf": "dwarf,16384", "fp": "fp"}
TOP = 10  # functions that the short answer names
INTERRUPTED = 130
SCRIPT = ("{perf-symbols}", "perf", "script", "-i", DATA, "-F", "comm,pid,tid,ip,sym,dso")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What was asked for: seconds of sampling, its rate per second and processor, and the files to write."""

    container: str
    pid: int | None = None
    duration: int = 10
    rate: int = 99
    call_graph: str = "dwarf"
    outputs: tuple[Path, ...] = ()
    diff: Path | None = None
    ceiling: Ceiling = field(default_factory=Ceiling)
    namespace: str | None = None
    kubernetes_context: str | None = None


def run(wish: Wish, folder: Path) -> int:
    """Sample, write the files, and give the short answer. 125 without one sample. Raises DebugrunError."""
    for output in wish.outputs:
        if not output.name.endswith(ENDINGS) and not output.is_dir():
            message = f"{output}: a picture's name ends with one of {', '.join(ENDINGS)}, or is a folder's"
            raise UsageError("which-picture", message, "-o cpu.html; perf's own options go behind --")
    before = _saved(wish.diff) if wish.diff else None
    with tempfile.TemporaryDirectory(prefix="debugrun-") as scratch:
        script, data = Path(scratch, "script"), Path(scratch, "data")
        decision = _sampled(wish, folder, script, data)
        found = profile.parse(script.read_text("utf-8", errors="replace"))
        title = f"{decision.facts.container.name} PID {decision.facts.process.pid}, {wish.duration} s of CPU"
        for output in wish.outputs:
            _write(output, found, title, data=data, before=before)
    _answer(found, decision, wish)
    if not found.total:
        message = (
            f"{decision.facts.container.name} was not seen on a CPU in {wish.duration} s: there is nothing to draw"
        )
        raise EngineError("no-samples", message, f"what does it wait for? debugrun ps {decision.facts.container.name}")
    return 0


def _saved(path: Path) -> Profile:
    """A profile of before, from folded lines. Raises UsageError."""
    try:
        return profile.unfolded(path.read_text("utf-8", errors="replace"))
    except (OSError, ValueError) as error:
        raise UsageError("bad-profile", f"{path}: {error}", "give a file that -o NAME.folded has written") from error


def _sampled(wish: Wish, folder: Path, script: Path, data: Path) -> Plan:
    request = Request(
        tool="perf",
        container=wish.container,
        mode="record",
        pid=wish.pid,
        duration=wish.duration,
        ceiling=wish.ceiling,
        namespace=wish.namespace,
        kubernetes_context=wish.kubernetes_context,
    )
    with backends.reach(request) as backend:
        return _by(backend, request, wish, folder, (script, data))


def _by(backend: Backend, request: Request, wish: Wish, folder: Path, files: tuple[Path, Path]) -> Plan:
    """Sample by the narrowest option that works, into the files: the stacks as text, and perf's own."""
    tool, mode = find_tool(request, folder)
    decision = backend.decide(plan(tool, mode, backend.look(request, tool), request.ceiling))
    while (option := decision.option) is not None:
        print(report.announce(decision), file=sys.stderr)
        result = _attempt(backend, decision, option, wish, *files)
        if result.refuted is None:
            return decision
        print(f"debugrun: refused: {result.refuted.text}", file=sys.stderr)
        decision = backend.decide(decision.refute(result.refuted.layer, result.refuted.text))
    raise RefusedError("refused", *report.refusal(decision))


def _attempt(  # noqa: PLR0913, PLR0917 - what runs, where, and what becomes of it
    backend: Backend, decision: Plan, option: Option, wish: Wish, script: Path, data: Path
) -> Result:
    tool, mode = decision.tool, decision.mode
    asked = (each for each in option.tool_args or mode.default_args if each != "-g")
    arguments = (*asked, "--call-graph", CALL_GRAPHS[wish.call_graph], "-F", str(wish.rate))
    filling = Filling(option=option, tool=tool, mode=mode, pid=decision.facts.process.pid, args=arguments)
    record = Invocation(
        argv=tool_argv(mode.command, filling), tool=tool.name, input=False, failures=tool.failures,
        hold_output=True, duration=wish.duration,
    )  # fmt: skip
    with (
        tempfile.TemporaryFile() as said,
        backend.planned(decision, option) as place,
    ):
        with Console(stderr=True).status(f"sampling for {wish.duration} s; Ctrl-C ends it sooner"):
            result = attach.run(place, record, stdout=said.fileno(), stderr=said.fileno())
        if result.refuted is not None:
            return result
        if result.status not in {0, INTERRUPTED}:
            raise EngineError("perf", f"perf record failed: {_last(said)}", "debugrun doctor")
        steps: list[tuple[Sequence[str], Path]] = [(tool_argv(SCRIPT, filling), script)]
        if any(each.name.endswith(".data") or each.is_dir() for each in wish.outputs):
            steps.append((("cat", DATA), data))
        for argv, to in steps:
            with to.open("wb") as out:
                step = Invocation(argv=tuple(argv), tool=tool.name, input=False)
                done = attach.run(place, step, stdout=out.fileno(), stderr=said.fileno())
            if done.status != 0:
                raise EngineError("perf", f"{argv[-1]}: reading the samples failed: {_last(said)}", "debugrun doctor")
        return result


def _last(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return printable(lines[-1]) if lines else "it said nothing"


def _write(output: Path, found: Profile, title: str, *, data: Path, before: Profile | None) -> None:
    """Write one file, mode 0600; in a folder one of each kind."""
    if output.is_dir():
        for ending in ENDINGS:
            _write(output / f"cpu{ending}", found, title, data=data, before=before)
        return
    if output.name.endswith(".speedscope.json"):
        content = profile.speedscope(found, printable(title)).encode()
    elif output.suffix == ".html":
        content = flame.page(found, title, before=before).encode()
    elif output.suffix == ".svg":
        content = flame.svg(found, title).encode()
    elif output.suffix == ".folded":
        content = profile.folded(found).encode(errors="replace")
    else:
        content = data.read_bytes()
    fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(content)
    print(f"debugrun: wrote {output}", file=sys.stderr)


def _answer(found: Profile, decision: Plan, wish: Wish) -> None:
    """The short answer: how many samples, of what, and where most of them are."""
    out = console()
    total = found.total
    where = "user space and kernel" if found.has_kernel else "user space only"
    lost = decision.option.lost if decision.option is not None else ()
    out.print(Text(f"{total} samples in {wish.duration} s, {where}" + (f" ({'; '.join(lost)})" if lost else "")))
    if not total:
        return
    if found.unresolved:
        out.print(Text(f"{100 * found.unresolved / total:.0f} % end in a function without a name", style="yellow"))
        for line in _advice(found):
            out.print(Text(f"  {line}"), soft_wrap=True)
    for frame, count in profile.hottest(found)[:TOP]:
        share = f"{100 * count / total:5.1f} % "
        module = f" ({frame.module})" if frame.module else ""
        named = Text(f"{share} {printable(frame.function + module)}")
        named.truncate(max(20, out.width - 24), overflow="ellipsis", pad=True)
        if out.width >= 60:  # noqa: PLR2004 - narrower ones have no room for bars
            out.print(named, Bar(total, 0, count, width=20), sep=" ", end="")
        else:
            out.print(named)


def _advice(found: Profile) -> list[str]:
    """How names are had where a program makes its code at run time."""
    modules = {frame.module for _, frames in found.stacks for frame in frames}
    told = {
        "node": "node names its functions when it is started with --perf-basic-prof",
        "libjvm.so": "a JVM names its methods after: jcmd PID Compiler.perfmap",
        "python": "Python names its functions when it is started with -X perf, or ask: debugrun py-spy",
    }
    return [line for name, line in told.items() if any(each.startswith(name) for each in modules)]
