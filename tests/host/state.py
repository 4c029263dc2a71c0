"""Where the test machinery keeps what outlives a run: private engines, unpacked programs, Compose.

Tests run in lanes, side by side: what is unpacked or built is shared, but each lane has engines of its own, so that
a test that counts what is left behind meets nothing of another's.
"""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_state_path

LANE = "DEBUGRUN_TEST_LANE"


class HostError(Exception):
    """This machine cannot do what the tests need: what, why, and the next command."""


def folder() -> Path:
    """The state folder; DEBUGRUN_TEST_STATE names another one."""
    chosen = os.environ.get("DEBUGRUN_TEST_STATE")
    path = Path(chosen).absolute() if chosen else user_state_path("debugrun-test")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def lane() -> Path:
    """The folder of this lane's engines: the state folder itself where tests run one after the other."""
    name = os.environ.get(LANE)
    path = folder() / f"lane-{name}" if name else folder()
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def lanes() -> list[Path]:
    """The folders of all lanes that there were."""
    return [folder(), *sorted(folder().glob("lane-*"))]
