"""Our standard streams: whatever a text of others holds, a terminal is not moved by it, and no character is fatal.

The tools' own output does not pass here: it goes from the engine to the file descriptors as it is.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from debugrun.core.know import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console


class Printing(io.TextIOWrapper):
    """A stream that shows escapes for control characters and for what its encoding lacks."""

    def write(self, text: str) -> int:
        """Write it, printable; how many characters of `text` that was."""
        super().write(printable.lines(text))
        return len(text)

    def marked(self, text: str, mark: Callable[[str], str]) -> None:
        """Write it, printable, with what `mark` puts into it: our own colours."""
        super().write(mark(printable.lines(text)))


def guard() -> None:
    """Have both streams printing; open /dev/null where our caller has closed one of the three.

    Else a connection to the engine would get its number.
    """
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, open(fd, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - until the end
    for name in ("stdout", "stderr"):
        plain = getattr(sys, name)
        if isinstance(plain, io.TextIOWrapper):
            # What we say on standard error comes before what a tool writes there, past us: so line by line.
            encoding, by_line = plain.encoding, name == "stderr" or plain.line_buffering
            made = Printing(plain.detach(), encoding, "backslashreplace", line_buffering=by_line)
            setattr(sys, name, made)
            setattr(sys, f"__{name}__", made)


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console of rich, which colours: what goes into its cells has to be `printable` already."""
    from rich.console import Console  # noqa: PLC0415 - 60 ms, for tables only

    stream = sys.stderr if stderr else sys.stdout
    if not isinstance(stream, Printing):
        return Console(stderr=stderr, markup=False, highlight=False, width=width)
    plain = open(  # noqa: SIM115 - until the end, and it is a descriptor
        stream.fileno(), "w", encoding=stream.encoding, errors="backslashreplace", closefd=False
    )
    return Console(file=plain, markup=False, highlight=False, width=width)
