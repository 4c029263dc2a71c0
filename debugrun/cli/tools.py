"""What tools there are, and whether their files are right."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from debugrun.core.know import tool_file
from debugrun.errors import EXIT_FAILED, ToolError
from debugrun.toolbox import catalog


def show(folder: Path, *, as_json: bool) -> int:
    """Print every tool with its modes; returns the exit status."""
    found = [tool_file.load(name, folder) for name in catalog.names(folder)]
    if as_json:
        rows = [
            {"name": tool.name, "summary": tool.summary, "modes": {m.name: m.summary for m in tool.modes}}
            for tool in found
        ]
        print(json.dumps({"schema": 1, "tools": rows}, indent=2))
        return 0
    from rich import box  # noqa: PLC0415 - 60 ms that --json and --help need not pay
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("tool", "mode", "what it does", box=box.SIMPLE_HEAD)
    for tool in found:
        table.add_row(tool.name, "", tool.summary)
        for mode in tool.modes:
            default = " (default)" if mode.name == tool.default_mode and len(tool.modes) > 1 else ""
            table.add_row("", mode.name, mode.summary + default)
    Console().print(table)
    return 0


def vet(folder: Path) -> int:
    """Check every tool file, the user's own and the shipped ones; one line for each that is wrong."""
    wrong = checked = 0
    for place in catalog.directories(folder):
        for path in sorted(place.glob("*.toml")) if place.is_dir() else ():
            checked += 1
            try:
                tool_file.load_file(path)
            except ToolError as error:
                wrong += 1
                print(error.message, file=sys.stderr)
    print(f"{checked} tool files, {wrong} wrong")
    return EXIT_FAILED if wrong else 0
