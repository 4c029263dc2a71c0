"""`doctor --report`: everything becomes what was predicted, the file tells nothing of anybody, nothing stays behind."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from debugrun.core.say import record
from tests import golden
from tests.conftest import Completed

pytestmark = pytest.mark.live


@pytest.mark.usefixtures("toolbox")
def test_the_report(engine: docker.APIClient, debugrun: Callable[..., Completed], tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    done: Completed = debugrun("doctor", "--report", str(path), timeout=200, status=0)
    made = record.load(path.read_text())
    assert f"{len(made.trials)} predictions tried, 0 wrong" in done.stdout
    assert {trial.tool for trial in made.trials} == {"gdb", "strace", "perf"}
    assert {trial.works for trial in made.trials} == {True, False}
    assert list(golden.disagreements(made)) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert engine.containers(all=True, filters={"label": "debugrun.kind=selftest"}) == []
