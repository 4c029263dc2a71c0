"""The flow of `debugrun denials`: watch every call of the application, and say of what was refused who did that."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from rich.text import Text

from debugrun.core.decide import judge
from debugrun.core.grants import Ceiling
from debugrun.core.know.facts import Facts
from debugrun.core.know.json_access import Json, mapping
from debugrun.core.know.masked import masked
from debugrun.core.know.printable import printable
from debugrun.core.oncall import denials, stacks
from debugrun.core.oncall.denials import Answer, Denied, Filter
from debugrun.core.oncall.stacks import Copied
from debugrun.engine import engine
from debugrun.errors import EngineError, RefusedError
from debugrun.oncall import stacks_page, watching
from debugrun.oncall.first_look import console
from debugrun.values import dataclass

SCHEMA = 1
KINDS = 100  # of refusals that are looked at; more are counted
FRAMES = 6  # of a stack that a page shows
UNCONFINED = {"", "unconfined"}
# Calls of which the first words say what was asked for, so that two of them are two refusals: socket(2), prctl(2) ...
EXACT = ("socket", "prctl", "clone", "unshare", "setns", "personality", "ioctl", "kill", "bpf", "keyctl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What was asked for; `duration` in seconds."""

    container: str
    pid: int | None = None
    duration: int = 10
    as_json: bool = False
    ceiling: Ceiling = field(default_factory=Ceiling)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A refusal, who did it, and the stack that it came from."""

    name: str
    key: str
    tid: int
    denied: Denied
    answer: Answer
    copied: Copied


class Heard:
    """What the watcher has said."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._filter = filter_of(facts)
        self.found: list[Found] = []
        self.refused: dict[int, str] = {}
        self.watched = False
        self.over: Json = {}

    def hear(self, told: Json) -> None:
        """One line. Raises ValueError."""
        event, pid = told.get("event"), told.get("pid")
        if event == "caught":
            why, process, tid = mapping(told, "why"), mapping(told, "process"), told.get("tid")
            denied = denials.decoded(why)
            found = denials.answer(denied, self._filter, module_of(self._facts))
            self.found.append(
                Found(
                    name=printable(str(told.get("name", ""))),
                    key=str(why.get("key", "")),
                    tid=tid if isinstance(tid, int) else 0,
                    denied=denied,
                    answer=found,
                    copied=next(iter(stacks.decoded([process]))),
                )
            )
        elif event == "ready":
            print(f"debugrun: watching every call of {self._facts.container.name}; that slows it", file=sys.stderr)
        elif event == "watched":
            self.watched = True
        elif event == "refused" and isinstance(pid, int):
            self.refused[pid] = printable(str(told.get("error", "")))
        elif event == "end":
            self.over = told


def filter_of(facts: Facts) -> Filter:
    """The seccomp filter that the container was made with."""
    container = facts.container
    name, profile = judge.engine_profile(facts.engine)
    if container.seccomp == "unconfined" or facts.process.seccomp == 0:
        name, profile = "off", None
    elif container.seccomp == "custom" or container.seccomp_profile is not None:
        name, profile = "the container's own profile", judge.own_profile(container, facts.engine.name)
    return Filter(
        name=name,
        profile=profile,
        capabilities=frozenset(container.capabilities or facts.process.bounding),
        kernel=judge.kernel_version(facts),
        runtime=judge.runtime(facts),
    )


def module_of(facts: Facts) -> str:
    """The label by which a security module confines it; "": none."""
    label = facts.process.label or ""
    return "" if label.partition(" ")[0] in UNCONFINED else printable(label)


def run(wish: Wish, folder: Path) -> int:
    """Show what was refused. 0, also when nothing was. Raises DebugrunError."""
    with engine.connect() as connection:
        chance, facts = watching.decided(connection, wish.container, wish.pid, wish.ceiling, folder)
        machine = facts.engine.architecture
        table = denials.question(machine)
        heard = Heard(facts)
        lines = watching.Lines(heard.hear)
        question: Mapping[str, object] = {
            "on": "denial",
            "argument": table,
            "exact": denials.numbers(EXACT, machine),
            "pid": wish.pid or 0,
            "container": chance.target.id,
            "across": False,
            "count": KINDS,
            "hold": 1.0,
            "tick": 0.02,
        }
        watching.attend(connection, chance, question, lines, wish.duration)
    if lines.error:
        message = f"what came of {facts.container.name} makes no sense: {printable(lines.error)}"
        raise EngineError("denials", message, "the target runs on; try again")
    if not heard.watched and heard.refused:
        raise RefusedError("refused", *watching.refusal(facts.container.name, heard.refused))
    counts = mapping(heard.over, "denied")
    if wish.as_json:
        print(json.dumps({"schema": SCHEMA, "denials": [_as_dict(each, counts) for each in heard.found]}))
    else:
        _show(heard.found, counts, wish)
    watching.overhead(heard.over)
    return 0


def _times(found: Found, counts: Json) -> int:
    count = counts.get(found.key)
    return count if isinstance(count, int) else 1


def _show(found: list[Found], counts: Json, wish: Wish) -> None:
    out = console()
    if not found:
        out.print(Text(f"nothing was refused in {wish.duration} s"))
    for each in found:
        line = (
            f"{_times(each, counts)} x  {each.name}/{each.copied.pid}: {printable(masked(denials.shown(each.denied)))}"
        )
        out.print(Text(line, style="bold"))
        out.print(Text(f"    {each.answer.layer}: {printable(each.answer.fact)}"))
        out.print(Text(f"    mend: {each.answer.mend}", style="green"))
        stacks_page.top(out, each.copied, tid=each.tid, frames=FRAMES)


def _as_dict(found: Found, counts: Json) -> dict[str, object]:
    return {
        "process": {"pid": found.copied.pid, "name": found.name, "tid": found.tid},
        "times": _times(found, counts),
        "call": found.denied.call,
        "arguments": list(found.denied.words),
        "path": None if found.denied.path is None else printable(masked(found.denied.path)),
        "errno": found.denied.number,
        "layer": found.answer.layer,
        "fact": printable(found.answer.fact),
        "mend": found.answer.mend,
        "threads": [each for each in stacks.threads(found.copied, {}) if each["tid"] == found.tid],
    }
