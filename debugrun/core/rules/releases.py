"""Releases of the kernel, to be compared. Pure."""

from __future__ import annotations

import re


def version(release: str) -> tuple[int, ...]:
    """Major and minor number of a kernel release; (0, 0) where there is none."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)
