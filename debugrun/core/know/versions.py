"""Versions as their makers write them, made comparable: the only place that takes them apart. Pure."""

from __future__ import annotations

import re

_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def digits(version: str) -> str:
    """The numbers at the beginning, as they are written: `6.18.44` of `6.18.44-fc`; "" where there are none."""
    match = _NUMBERS.match(version)
    return match[0] if match else ""


def numbers(version: str) -> tuple[int, ...]:
    """`20.10.24+dfsg1` as (20, 10, 24); () where it does not begin with a number."""
    return tuple(int(part) for part in digits(version).split(".") if part)


def two(version: str) -> tuple[int, int]:
    """Major and minor number: of a kernel's release, of an API; (0, 0) where there are none."""
    major, minor, *_ = (*numbers(version), 0, 0)
    return major, minor
