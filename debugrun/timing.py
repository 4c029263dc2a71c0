"""`--timing`: where one command's time went, on standard error once it has ended."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

OPTION = "--timing"

_spans: list[tuple[float, float, str]] = []
_begun = 0.0
_on = False


def take(words: list[str]) -> list[str]:
    """The words without --timing, which is turned on by it wherever it stands before `--`."""
    global _on, _begun
    if OPTION in words:
        _on, _begun = True, _started()
        _spans.append((_begun, time.monotonic(), "start Python, read the command line"))
    return [word for word in words if word != OPTION]


def _started() -> float:
    """When this process was started, on time.monotonic()'s clock: proc_pid_stat(5) has it in hundredths of a second."""
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - pathlib is not needed else
        ticks = int(file.read().rpartition(")")[2].split()[19])
    ago = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - ago


@contextmanager
def span(what: str) -> Iterator[None]:
    """What is done here is one line of the table."""
    if not _on:
        yield
        return
    begun = time.monotonic()
    try:
        yield
    finally:
        _spans.append((begun, time.monotonic(), what))


def show() -> None:
    """Print the table: when each part began, how long it took; parts may overlap, and may be part of another."""
    if not _on:
        return
    now = time.monotonic()
    lines = ["debugrun: timing, in ms:", "    began    took"]
    lines += [
        f"{(begun - _begun) * 1000:9.0f}{(ended - begun) * 1000:8.0f}  {what}" for begun, ended, what in sorted(_spans)
    ]
    used = os.times()
    lines.append(
        f"{'':9}{(now - _begun) * 1000:8.0f}  in all; {(used.user + used.system) * 1000:.0f} of processor time"
    )
    print("\n".join(lines), file=sys.stderr)
