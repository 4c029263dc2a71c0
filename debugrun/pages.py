"""What verbs print for a person: broken at words for a terminal, verdicts in colour there, no column without a word.

A text that goes to no terminal keeps one line a fact, for grep(1), unless COLUMNS is set; a table has 80 columns.
Neither has a colour.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from debugrun.core.know.printable import lines, printable
from debugrun.streams import Printing, console

NARROWEST = 40  # columns; a narrower terminal breaks lines itself
# ECMA-48 SGR: green, red, yellow. What is not known is where to be careful.
COLOURS = {"open": 32, "ok": 32, "closed": 31, "no": 31, "unknown": 33, "!": 33, "?": 33}
COLOURS |= {"allowed": 32, "blocked": 31, "limited": 33}
# Lines to copy, which a line end would break: the terminal breaks them.
_COMMAND = re.compile(r"(?:debugrun: try: |\s*)(?:docker|podman|kubectl|debugrun) ")
# A verdict stands where our own texts put it: before all, before a layer, or after what an option takes.
_VERDICT = re.compile(
    r"^(?P<first>open|closed|unknown)(?=: )"
    r"|^  (?P<gate>open|closed|unknown)(?= +[a-z ]+: )"
    r"|^(?:->|  ) \w+ +\S.*: (?P<last>open|closed|unknown)(?= \(only when named: |$)"
    r"|^(?P<stops>stopped by|then by) "
    r"|^(?P<unsure>not known): "
)
_WORDS = {"stops": "closed", "unsure": "unknown"}


def width(stream: TextIO) -> int | None:
    """Columns of the terminal that a stream is, or of COLUMNS, at least NARROWEST; None where there is neither."""
    said = os.environ.get("COLUMNS", "")
    columns = int(said) if said.isascii() and said.isdecimal() else 0
    if not columns and stream.isatty():
        try:
            columns = os.get_terminal_size(stream.fileno()).columns
        except OSError:
            columns = 0
    return max(NARROWEST, columns) if columns else None


def colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal with colours, and nobody asked for none (no-color.org; terminfo's dumb)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") not in {"dumb", ""}


def wrapped(text: str, columns: int) -> str:
    """The text with its lines broken at words, what follows indented below; lines to copy stay whole."""
    import textwrap  # noqa: PLC0415 - a plain line of a tool breaks none

    shown = list[str]()
    for line in text.split("\n"):
        if len(line) <= columns or _COMMAND.match(line):
            shown.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip(" "))]
        below = indent + "  " if len(indent) < columns // 4 else indent
        shown += textwrap.wrap(
            line.strip(),
            width=columns,
            initial_indent=indent,
            subsequent_indent=below,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(shown)


def coloured(text: str, columns: int | None) -> str:
    """The text, broken where `columns` are given, with its verdicts in their colours, which take no column."""
    shown = list[str]()
    for line in text.split("\n"):
        broken = line if columns is None else wrapped(line, columns)
        found = _VERDICT.search(line)  # before it is broken it is where it belongs
        if found is not None and found.lastgroup is not None:
            start, end = (_past(broken, len("".join(line[:at].split()))) for at in found.span(found.lastgroup))
            start += len(broken[start:]) - len(broken[start:].lstrip())
            word = _WORDS.get(found.lastgroup, found[found.lastgroup])
            broken = f"{broken[:start]}\x1b[{COLOURS[word]}m{broken[start:end]}\x1b[0m{broken[end:]}"
        shown.append(broken)
    return "\n".join(shown)


def _past(text: str, count: int) -> int:
    """The index behind so many characters that are no space."""
    at = 0
    while count and at < len(text):
        count -= not text[at].isspace()
        at += 1
    return at


def text(said: str, *, stderr: bool = False) -> None:
    """Print a text of ours for a person."""
    stream = sys.stderr if stderr else sys.stdout
    columns = width(stream)
    if colours(stream) and isinstance(stream, Printing):
        stream.marked(lines(said) + "\n", lambda shown: coloured(shown, columns))
    else:
        print(said if columns is None else wrapped(said, columns), file=stream)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", caption: str = "") -> None:
    """Print a table without the columns that say nothing; each row as a paragraph where no word would be whole.

    A row whose first cell is empty goes on with the row above. A cell that is a verdict's word has its colour.
    """
    from rich import box  # noqa: PLC0415 - 60 ms, for tables only
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    found = [[printable(cell) for cell in row] for row in rows]
    kept = [at for at in range(len(heads)) if any(row[at].strip() for row in found)]
    sys.stdout.flush()  # the console writes past it
    out = console(width=width(sys.stdout))
    if sum(_longest([heads[at], *(row[at] for row in found)]) + 3 for at in kept) > out.width:
        text("\n".join([*[title][: bool(title)], *_paragraphs(heads, found), *[caption][: bool(caption)]]))
        return
    made = Table(*(heads[at] for at in kept), box=box.SIMPLE_HEAD, title=title or None, caption=caption or None)
    for row in found:
        made.add_row(*(Text(row[at], style=_style(row[at])) for at in kept))
    out.print(made)


def _longest(cells: Iterable[str]) -> int:
    return max((len(word) for cell in cells for word in cell.split()), default=0)


def _paragraphs(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    said = list[str]()
    for row in rows:
        named = [f"{head}: {cell}" if head else cell for head, cell in zip(heads, row, strict=True) if cell.strip()]
        said += [row[0], *(f"  {each}" for each in named[1:])] if row[0] else [f"  {each}" for each in named]
    return said


def _style(cell: str) -> str:
    """Of the verdict that a cell is or begins with, such as `no: ...`."""
    word = cell.partition(":")[0]
    return {31: "red", 32: "green", 33: "yellow"}.get(COLOURS.get(word, 0), "")
