"""`debugrun tools`: what tools there are, and whether their files are right."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from debugrun import pages
from debugrun.cli.options import Json, interruptible
from debugrun.errors import EXIT_FAILED, ToolError
from debugrun.toolbox import catalog


@interruptible
def tools(
    *,
    as_json: Json = False,
    vet: Annotated[bool, typer.Option("--vet", help="check every tool file; 125 when one is wrong")] = False,
) -> None:
    """List the tools that have a data file, with their modes."""
    raise typer.Exit(check(catalog.user_directory()) if vet else show(catalog.user_directory(), as_json=as_json))


def show(folder: Path, *, as_json: bool) -> int:
    """Print every tool with its modes; returns the exit status."""
    found = [catalog.load(name, folder) for name in catalog.names(folder)]
    if as_json:
        described = [
            {"name": tool.name, "summary": tool.summary, "modes": {m.name: m.summary for m in tool.modes}}
            for tool in found
        ]
        print(json.dumps({"schema": 1, "tools": described}, indent=2))
        return 0
    rows = list[tuple[str, str, str]]()
    for tool in found:
        rows.append((tool.name, "", tool.summary))
        for mode in tool.modes:
            default = " (default)" if mode.name == tool.default_mode and len(tool.modes) > 1 else ""
            rows.append(("", mode.name, mode.summary + default))
    pages.table(("tool", "mode", "what it does"), rows)
    return 0


def check(folder: Path) -> int:
    """Check every tool file, the user's own and the shipped ones; one line for each that is wrong."""
    wrong = checked = 0
    for place in catalog.directories(folder):
        for path in catalog.files(place):
            checked += 1
            try:
                catalog.load_file(path)
            except ToolError as error:
                wrong += 1
                print(error.message, file=sys.stderr)
    print(f"{checked} tool files, {wrong} wrong")
    return EXIT_FAILED if wrong else 0
