"""`debugrun minimize`: the smallest grant with which a line still passes a check."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from debugrun import pages
from debugrun.attach.apply import ending
from debugrun.cli.options import Json, finite, interruptible
from debugrun.core.ask.number import LONGEST
from debugrun.core.decide import judge, widen_profile
from debugrun.core.export import FORMATS, Ask
from debugrun.core.export.choose import assumed
from debugrun.core.grants import Placement
from debugrun.core.know import inspection
from debugrun.core.know.facts import Facts
from debugrun.core.know.printable import printable
from debugrun.core.minimize import line as lines
from debugrun.core.minimize.calls import blocked
from debugrun.core.minimize.line import Line
from debugrun.core.minimize.search import Outcome, Search
from debugrun.core.rules import seccomp
from debugrun.engine import engine as engines
from debugrun.errors import RefusedError, UsageError
from debugrun.launch import trial
from debugrun.launch.compose import as_line
from debugrun.launch.trial import Check
from debugrun.toolbox import catalog
from debugrun.values import dataclass

SCHEMA = 1
PROFILE = "debugrun-minimized.json"


class Mounts(Enum):
    """What every run does with volumes that it may write to."""

    ASK = "ask"
    AS_IS = "as-is"
    FRESH = "fresh"


CheckOption = Annotated[
    str,
    typer.Option("--check", metavar="CMD", help="what has to pass in the container (default: the line's own exit)"),
]
Within = Annotated[
    float,
    typer.Option(
        "--within", metavar="SECONDS", min=0, max=LONGEST, callback=finite, help="how long a run and its check may take"
    ),
]
Compose = Annotated[str, typer.Option("--compose", metavar="SERVICE", help="a service of the Compose project here")]
MountsOption = Annotated[
    Mounts, typer.Option("--mounts", help="volumes that a run would write to: fresh and empty ones, or as they are")
]
Output = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="FILE", help="write the seccomp profile to this file, if one is needed"),
]
To = Annotated[str, typer.Option("--to", metavar="FORMAT", help="the result in a format of export's as well, or all")]


@dataclass(kw_only=True, slots=True)
class _Found:
    """What came out: the parts that are needed, each with what failed without it, the calls, and the runs.

    `candidates` counts the calls that were searched: each is a part as well.
    """

    needed: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    runs: int = 0
    candidates: int = 0
    profile: str | None = None


@interruptible
def minimize(  # noqa: PLR0913 - each is an option of the command line
    *,
    ctx: typer.Context,
    check: CheckOption = "",
    within: Within = 30.0,
    compose: Compose = "",
    mounts: MountsOption = Mounts.ASK,
    output: Output = Path(PROFILE),
    to: To = "",
    as_json: Json = False,
) -> None:
    r"""Find the smallest grant with which a `docker run` line still passes a check.

    The line runs many times, each time with parts of its grant left out: capabilities, a missing seccomp filter (and
    then which calls it takes), AppArmor, host namespaces, the engine's socket, root. Each run is a container of its
    own, gone afterwards. What can't be left out is shown with what failed without it.

    \b
    debugrun minimize -- docker run --privileged alpine ping -c 1 127.0.0.1
    debugrun minimize --check 'pg_isready' -- docker run -e POSTGRES_PASSWORD=x postgres
    debugrun minimize --compose web --check 'wget -qO- localhost'

    Exit status: 0; 126 where the line does not pass as it is.
    """
    if to and to != "all" and to not in FORMATS:
        raise UsageError("no-format", f"{to!r} is not a format", f"all, or one of: {', '.join(FORMATS)}")
    typed = as_line(compose) if compose else tuple(ctx.obj or ())
    if not typed:
        raise UsageError("no-line", "there is no line to minimize", "debugrun minimize -- docker run IMAGE COMMAND")
    line = _with_mounts(lines.parse(typed), mounts)
    with engines.connect() as connection:
        host = replace(
            assumed(catalog.load("gdb"), ""),
            engine=inspection.engine_facts(connection.version(), connection.info()),
        )
    with ending(), tempfile.TemporaryDirectory(prefix="debugrun-") as folder:
        found = _search(line, Check(words=tuple(shlex.split(check)), within=within), host, Path(folder))
    if found.profile is not None:
        output.touch(mode=0o600)
        output.write_text(found.profile + "\n", encoding="utf-8")
    exports = _exports(line, found, to, compose)
    _show(line, found, output, exports, as_json=as_json)


def _with_mounts(line: Line, mounts: Mounts) -> Line:
    """The line whose runs write to nothing of the user's unsaid. Raises UsageError."""
    if not line.writable or mounts is Mounts.AS_IS:
        return line
    if mounts is Mounts.ASK:
        message = f"every run would write to {', '.join(line.writable)}"
        raise UsageError(
            "writable-mounts", message, "--mounts fresh gives each run empty volumes, --mounts as-is these"
        )
    plain = []
    for name, value in line.plain:
        if name in {"-v", "--volume"} and value.partition(":")[0] in line.writable:
            plain.append((name, value.split(":")[1]))
        elif not (name == "--mount" and any(each and each in value for each in line.writable)):
            plain.append((name, value))
    return replace(line, plain=tuple(plain))


def _search(line: Line, check: Check, host: Facts, folder: Path) -> _Found:
    """The parts without any one of which it fails. Raises RefusedError where the line does not pass as it is."""
    session = os.urandom(6).hex()

    def run(held: frozenset[str]) -> Outcome:
        calls = sorted(each[5:] for each in held if each.startswith("call:"))
        file = folder / "profile.json"
        if calls:
            file.write_text(_profile(calls, held, host), encoding="utf-8")
        ordered = [each for each in line.parts if each in held]
        grant = lines.words(line, ordered, profile=str(file) if calls else "")
        print(f"debugrun: run {search.runs}: {_counted(ordered, calls)}", file=sys.stderr, flush=True)
        return trial.run(line, grant, check, session=session)

    search = Search(run=run)
    parts = list(line.parts)
    whole = search.tried(parts)
    if not whole.passed:
        hint = "give it a --check, more time (--within), or correct the line"
        raise RefusedError("line-fails", f"the line does not pass as it is: {printable(whole.said)}", hint)
    if "privileged" in parts:
        apart = [each for each in parts if each != "privileged"]
        if (split := search.tried(apart)).passed:
            parts = apart
        else:
            search.failed["privileged"] = split.said
            parts = ["privileged", *(each for each in apart if not each.startswith("cap:") and each != "seccomp")]
    needed = list(search.smallest([each for each in parts if each != "privileged"], _fixed(parts)))
    found = _Found(needed=[*_fixed(parts), *needed])
    if "seccomp" in needed:
        _calls(search, found, host)
    if found.calls:
        found.profile = _profile(found.calls, frozenset(found.needed), host)
    found.dropped = [each for each in line.parts if each not in found.needed]
    found.failed, found.runs = search.failed, search.runs
    return found


def _fixed(parts: Sequence[str]) -> list[str]:
    return [each for each in parts if each == "privileged"]


def _calls(search: Search, found: _Found, host: Facts) -> None:
    """Which calls of those that the default profile blocks are needed, instead of all of them."""
    kept = [each for each in found.needed if each != "seccomp"]
    candidates = [f"call:{call}" for call in blocked(host, _caps(kept))]
    found.candidates = len(candidates)
    if not candidates or not search.tried([*kept, *candidates]).passed:
        return
    calls = search.smallest(candidates, kept, some=True)
    found.needed = kept
    found.calls = [each[5:] for each in calls]


def _caps(held: Iterable[str]) -> frozenset[str]:
    return frozenset(each[4:] for each in held if each.startswith("cap:"))


def _profile(calls: Sequence[str], held: frozenset[str], host: Facts) -> str:
    base = judge.engine_profile(host.engine)[1]
    assert base is not None  # noqa: S101 - no call is blocked without one
    return seccomp.dump_profile(widen_profile.widened(base, calls, caps=_caps(held), facts=host))


def _counted(parts: Sequence[str], calls: Sequence[str]) -> str:
    more = f", {len(calls)} calls open" if calls else ""
    return f"{len(parts)} part{'' if len(parts) == 1 else 's'}{more}"


def _final(line: Line, found: _Found, output: Path) -> list[str]:
    grant = lines.words(line, found.needed, profile=str(output) if found.calls else "")
    # Values of the environment may be secrets, and this is printed: the client takes them from its own.
    plain = [(name, value.partition("=")[0] if name in {"-e", "--env"} else value) for name, value in line.plain]
    return [line.client, "run", "--rm", *lines.plain_words(replace(line, plain=tuple(plain))), *grant, *line.rest]


def _show(line: Line, found: _Found, output: Path, exports: Mapping[str, str], *, as_json: bool) -> None:
    final = shlex.join(_final(line, found, output))
    if as_json:
        kept = {**{each: found.failed.get(each, "") for each in found.needed}}
        kept |= {f"call:{call}": found.failed.get(f"call:{call}", "") for call in found.calls}
        envelope = {"schema": SCHEMA, "runs": found.runs, "parts": len(line.parts) + found.candidates, "needed": kept}
        print(json.dumps({**envelope, "dropped": found.dropped, "line": final, "exports": exports}, indent=2))
        return
    rows = list[tuple[str, str, str]]()
    for each in [*found.needed, *(f"call:{call}" for call in found.calls)]:
        rows.append((_named(each), "needed", found.failed.get(each, "")))
    if "seccomp" in found.dropped and found.calls:
        rows.append((_named("seccomp"), "not needed", "the calls above are enough"))
    dropped = [_named(each) for each in found.dropped if each != "seccomp" or not found.calls]
    rows += [(", ".join(dropped), "not needed", "")] if dropped else []
    pages.table(("part", "", "what failed without it"), rows)
    print(f"{found.runs} runs\n\n{final}")
    for name, text in exports.items():
        print(f"\n# {name}\n{text}", end="")
    if found.profile is not None:
        print(f"debugrun: wrote {output}", file=sys.stderr)


def _named(part: str) -> str:
    kind, _, value = part.partition(":")
    if part == "root":
        return "root (else 65534)"
    return {"seccomp": "seccomp=unconfined", "apparmor": "apparmor=unconfined", "label": "label=disable"}.get(
        part, value if kind in {"cap", "socket", "device"} else f"system call {value}" if kind == "call" else part
    )


def _exports(line: Line, found: _Found, to: str, service: str) -> dict[str, str]:
    """The texts by format: those that were asked for and can say it. `service` is the name in a Compose project."""
    ask = _ask(line, found, service)
    return {name: FORMATS[name].render(ask).text for name in _formats(ask, to)}


def _formats(ask: Ask, to: str) -> list[str]:
    given = ask.privileges
    if to in FORMATS:
        if said := FORMATS[to].missing(given):
            raise RefusedError("not-expressible", "; ".join(said), "name another format with --to")
        return [to]
    own = (name for name, each in FORMATS.items() if Placement.RECREATE in each.placements and name != "beats")
    return [name for name in own if to == "all" and not FORMATS[name].missing(given)]


def _ask(line: Line, found: _Found, service: str) -> Ask:
    """What is left, as the container's own grant."""
    given = lines.privileges(line, found.needed, profile=PROFILE if found.calls else "")
    image = line.rest[0]
    name = service or image.rsplit("/", 1)[-1].partition(":")[0].partition("@")[0] or "app"
    return Ask(
        tool="minimize", mode="launch", target=name, image=image, privileges=given, beside=False, argv=line.rest[1:],
        profile=found.profile,
    )  # fmt: skip
