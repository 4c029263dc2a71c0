"""`debugrun tools`: what tools there are, and whether their files are right."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from debugrun import streams
from debugrun.cli.options import Json, interruptible
from debugrun.core.know.printable import printable
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
        rows = [
            {"name": tool.name, "summary": tool.summary, "modes": {m.name: m.summary for m in tool.modes}}
            for tool in found
        ]
        print(json.dumps({"schema": 1, "tools": rows}, indent=2))
        return 0
    from rich import box  # noqa: PLC0415 - 60 ms that --json and --help need not pay
    from rich.table import Table  # noqa: PLC0415

    table = Table("tool", "mode", "what it does", box=box.SIMPLE_HEAD)
    for tool in found:
        table.add_row(printable(tool.name), "", printable(tool.summary))
        for mode in tool.modes:
            default = " (default)" if mode.name == tool.default_mode and len(tool.modes) > 1 else ""
            table.add_row("", printable(mode.name), printable(mode.summary + default))
    streams.console().print(table)
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
