"""Where the test machinery keeps what outlives a run: the private engine, Compose."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_state_path


class HostError(Exception):
    """This machine cannot do what the tests need: what, why, and the next command."""


def folder() -> Path:
    """The state folder; DEBUGRUN_TEST_STATE names another one."""
    chosen = os.environ.get("DEBUGRUN_TEST_STATE")
    path = Path(chosen).absolute() if chosen else user_state_path("debugrun-test")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
