"""Waiting for what a test expects."""

from __future__ import annotations

import time
from collections.abc import Callable

WITHIN = 120.0  # seconds for whatever is waited for


def until(true: Callable[[], bool], said: Callable[[], object]) -> None:
    """Wait until it is true; what is `said` is shown when it never is."""
    deadline = time.monotonic() + WITHIN
    while not true():
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)
