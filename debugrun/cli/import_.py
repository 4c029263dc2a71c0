"""`debugrun import`: what the debug grants of a manifest open, and the narrowest instead, as a diff."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from debugrun.cli.options import Json, interruptible
from debugrun.cli.saved_facts import read_facts
from debugrun.core.decide.launch import wanted
from debugrun.core.export.choose import assumed
from debugrun.core.know.printable import printable
from debugrun.core.manifest import report
from debugrun.core.manifest.document import LARGEST, bad
from debugrun.core.manifest.judged import Judged, judged
from debugrun.core.manifest.read import READERS
from debugrun.core.manifest.review import Asked
from debugrun.errors import EXIT_USAGE, UsageError
from debugrun.toolbox import catalog

WIDER = 1  # the exit status of --check

Manifests = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="the manifests to read; - reads standard input")
]
ForTools = Annotated[
    str, typer.Option("--for", metavar="TOOLS", help="the tools that have to work, separated by commas")
]
NoAslr = Annotated[bool, typer.Option("--no-aslr", help="debuggers also turn address space randomisation off")]
Write = Annotated[bool, typer.Option("--write", help="change the files, and write the profiles beside them")]
Check = Annotated[bool, typer.Option("--check", help="exit with 1 where a grant is not needed: for CI")]
Sarif = Annotated[bool, typer.Option("--sarif", help="SARIF 2.1.0 on standard output: for code review")]
From = Annotated[str, typer.Option("--from", metavar="FORMAT", help=f"one of: {', '.join(READERS)}")]
FactsFile = Annotated[Path | None, typer.Option("--facts", metavar="FILE", help="the host that it is decided for")]


@interruptible
def import_(  # noqa: PLR0913 - each is an option of the command line
    *,
    manifests: Manifests,
    tools: ForTools = "gdb,strace,perf",
    no_aslr: NoAslr = False,
    write: Write = False,
    check: Check = False,
    sarif: Sarif = False,
    form: From = "",
    facts: FactsFile = None,
    as_json: Json = False,
) -> None:
    r"""Say what the debug grants in a manifest open, whether tools need them, and the narrowest instead as a diff.

    Read are Compose files, devcontainer.json, Kubernetes manifests, Marathon apps, Nomad jobs, ECS task definitions,
    Quadlet units and Beats policies. Comments and order survive. Nothing in a file is carried out.

    \b
    debugrun import compose.yaml
    debugrun import --check --for gdb .devcontainer/devcontainer.json
    debugrun import --write k8s/*.yaml
    debugrun import --sarif compose.yaml > debugrun.sarif

    Exit status: 0; 1 with --check where a grant is not needed, or is a variable; 2 for a file that can't be read.
    """
    if form and form not in READERS:
        raise UsageError("no-format", f"{form!r} is not a format", f"one of: {', '.join(READERS)}")
    asked = _asked(tools, aslr=not no_aslr)
    host = read_facts(facts) if facts is not None else assumed(asked[0][0], "")
    found, wrong = list[Judged](), 0
    for path in manifests:
        try:
            found.append(judged(_read(path), str(path), asked, host, form=form))
        except UsageError as error:
            wrong += 1
            print(f"debugrun: {error.message}", file=sys.stderr)
            print(f"debugrun: try: {error.hint}", file=sys.stderr)
    if sarif:
        print(report.as_sarif(result for each in found for result in report.results(each)))
    elif as_json:
        print(report.as_json(found))
    else:
        _show(found)
    for each in found:
        for left in each.unread:
            print(f"debugrun: {each.where}:{left.line}:{left.column}: {printable(left.what)}", file=sys.stderr)
            print(f"debugrun: try: {left.hint}", file=sys.stderr)
    if write:
        for each in found:
            _write(each)
    wider = any(each.wider or any(left.grant for left in each.unread) for each in found)
    raise typer.Exit(EXIT_USAGE if wrong else WIDER if check and wider else 0)


def _asked(names: str, *, aslr: bool) -> list[Asked]:
    """The tools by name, or `TOOL:MODE`. Raises ToolError and UsageError."""
    folder = catalog.user_directory()
    asked = []
    for word in filter(None, (each.strip() for each in names.split(","))):
        name, _, mode = word.partition(":")
        tool = catalog.load(name, folder)
        launch = next((each for each in tool.launches if each.mode.name == mode), None)
        chosen = wanted(launch, aslr=aslr) if launch is not None else tool.mode(mode or None)
        if not aslr and launch is None and tool.launches:
            asked.append((tool, wanted(tool.launch(None), aslr=False)))
        asked.append((tool, chosen))
    if not asked:
        raise UsageError("no-tools", "--for names no tool", "--for gdb,strace")
    return asked


def _read(path: Path) -> str:
    """A file's text, of a size that a manifest has. Raises UsageError."""
    try:
        if str(path) == "-":
            return sys.stdin.read(LARGEST + 1)
        with path.open(encoding="utf-8", newline="") as file:
            return file.read(LARGEST + 1)
    except UnicodeDecodeError as error:
        raise bad(str(path), 1, 1, f"not UTF-8: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise UsageError("bad-manifest", f"{path}: {error.strerror}", "name a readable file") from error


def _show(found: Sequence[Judged]) -> None:
    for each in found:
        print(report.text(each))
        if diff := each.diff:
            print(f"\n{diff}", end="")
            for name, _ in each.profiles:
                print(f"debugrun: --write also writes {Path(each.where).parent / name}", file=sys.stderr)


def _write(file: Judged) -> None:
    """The file with the narrowest grants, in one step, with the mode that it had; and its profiles."""
    if file.after is None or file.after == file.text or file.where == "-":
        return
    path = Path(file.where)
    for name, text in file.profiles:
        _replace(path.parent / name, text + "\n", mode=0o644)
    _replace(path, file.after, mode=path.stat().st_mode & 0o7777)
    print(f"debugrun: changed {path}", file=sys.stderr)


def _replace(path: Path, text: str, *, mode: int) -> None:
    """The whole text or the old one, whatever ends us. Raises UsageError."""
    try:
        path = path.resolve()
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".debugrun-")
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
            out.write(text)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except OSError as error:
        raise UsageError("not-written", f"{path}: {error.strerror}", "make it writable") from error
