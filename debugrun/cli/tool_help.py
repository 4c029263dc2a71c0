"""What `debugrun TOOL --help` says of the tool itself: its modes, and lines to type."""

from __future__ import annotations

import functools
import shutil
import textwrap
from collections.abc import Sequence

from debugrun.core.know.printable import printable
from debugrun.core.know.tool_file import Tool

_NARROWEST, _WIDEST = 40, 100


def text(tool: Tool) -> str:
    """The summary, the modes and the examples, as Typer prints a command's help."""
    width = max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size().columns)) - 4
    parts = [printable(tool.summary)]
    modes = [
        (mode.name + (" (default)" if mode.name == tool.default_mode and len(tool.modes) > 1 else ""), mode.summary)
        for mode in tool.modes
    ]
    if modes:
        parts.append("\b\nModes, for --mode:\n" + _rows(modes, width))
    launches = [(launch.mode.name, launch.mode.summary) for launch in tool.launches]
    if launches:
        parts.append(
            f"\b\nModes that start a program, for `debugrun run {tool.name} IMAGE`:\n" + _rows(launches, width)
        )
    if tool.examples:
        parts.append("\b\nExamples:\n" + _rows(tool.examples, width))
    return "\n\n".join(parts)


def _rows(rows: Sequence[tuple[str, str]], width: int) -> str:
    """Two columns; where the second would be narrow it goes below the first, and all is broken at words."""
    first = max(len(left) for left, _ in rows) + 2
    wrap = functools.partial(textwrap.wrap, width=width, break_long_words=False, break_on_hyphens=False)
    lines = list[str]()
    for left, right in rows:
        if first > width // 2:
            lines += wrap(printable(left), initial_indent="  ", subsequent_indent="      ")
            lines += wrap(printable(right), initial_indent="    ", subsequent_indent="    ")
        else:
            start = f"  {printable(left):<{first}}"
            lines += wrap(printable(right), initial_indent=start, subsequent_indent=" " * len(start))
    return "\n".join(lines)
