"""Numbers as people type them: ASCII digits, and no more of them than a kernel takes. Pure."""

from __future__ import annotations

LARGEST_PID = 4 << 20  # include/linux/threads.h PID_MAX_LIMIT
MOST_CPUS = 1 << 20  # far more than a machine has; what is too many the engine says
LONGEST = 2_000_000  # seconds: poll(2) takes its timeout in milliseconds, as an int


def is_number(text: str) -> bool:
    """Whether these are decimal digits: `str.isdigit` is also true of those of other scripts, and of superscripts."""
    return text.isascii() and text.isdigit()


def number(text: str) -> int:
    """A count as typed. Raises ValueError, with what was expected."""
    if not is_number(text) or len(text) > len(str(LARGEST_PID)) + 3:
        raise ValueError(f"{text!r} is not a number" + (" that fits" if is_number(text) else ""))
    return int(text)
